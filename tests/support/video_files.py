"""Videos for tests: made by ffmpeg, put into DICOM files by hand, measured by ffprobe."""

import json
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from support.builders import DataSet, Value, dicom, encapsulated, image, pieces

SECONDS, RATE, ROWS, COLUMNS = 2, 25, 48, 64
_PICTURES = ["-f", "lavfi", "-i", f"testsrc=size={COLUMNS}x{ROWS}:rate={RATE}:duration={SECONDS}"]
_TONE = ["-f", "lavfi", "-i", f"sine=frequency=440:duration={SECONDS}", "-c:a"]
_H264 = ["-c:v", "libx264", "-g", "10"]
_MPEG2 = ["-c:v", "mpeg2video", "-g", "10"]
_HEVC = ["-c:v", "libx265", "-x265-params", "log-level=none:keyint=10"]

# What the stream is named, how it is made, and the number of its transfer syntax.
MOVIES: dict[str, tuple[str, list[str], str]] = {
    "mp4": ("mp4", [*_H264, "-f", "mp4"], "102"),
    "mp4 with audio": ("mp4", [*_TONE, "aac", *_H264, "-f", "mp4"], "103"),
    "faststart mp4": ("mp4", [*_H264, "-movflags", "faststart", "-f", "mp4"], "105"),
    "fragmented mp4": ("mp4", [*_H264, "-movflags", "frag_keyframe+empty_moov", "-f", "mp4"], "104.1"),
    "ts": ("ts", [*_H264, "-f", "mpegts"], "103"),
    "m2ts": ("ts", [*_H264, "-mpegts_m2ts_mode", "1", "-f", "mpegts"], "104"),
    "mpeg-2 ts": ("ts", [*_TONE, "mp2", *_MPEG2, "-f", "mpegts"], "101"),
    "mpeg-2 ps": ("mpg", [*_TONE, "mp2", *_MPEG2, "-f", "vob"], "100"),
    "mpeg-1 ps": ("mpg", ["-c:v", "mpeg1video", "-f", "mpeg"], "100"),
    "m2v": ("m2v", [*_MPEG2, "-f", "mpeg2video"], "101.1"),
    "h264": ("h264", [*_H264, "-f", "h264"], "106"),
    "hevc mp4": ("mp4", [*_HEVC, "-tag:v", "hvc1", "-f", "mp4"], "107"),
    "hevc": ("h265", [*_HEVC, "-f", "hevc"], "108"),
}


@cache
def movie(ffmpeg: str, name: str) -> bytes:
    """Make one of MOVIES."""
    _, options, _ = MOVIES[name]
    inputs = [*_PICTURES]
    if options[:2] == _TONE[:2]:
        inputs, options = [*inputs, *_TONE[:4]], options[4:]
    # ffmpeg leaves out the code that ends an elementary stream (ISO/IEC 13818-2 6.2.2).
    return encoded(ffmpeg, *inputs, "-pix_fmt", "yuv420p", *options) + (b"\0\0\1\xb7" if name == "m2v" else b"")


@cache
def encoded(ffmpeg: str, *words: str) -> bytes:
    """Have ffmpeg make a file as *words* tell it."""
    with TemporaryDirectory() as folder:
        made = Path(folder) / "movie"
        subprocess.run([ffmpeg, "-v", "error", "-bitexact", "-threads", "1", *words, made], check=True)
        return made.read_bytes()


def longer(stream: bytes, kind: str) -> bytes:
    """Add what makes an even length odd and the other way round, and is nothing to a player."""
    return stream + {
        "mp4": b"\0\0\0\x09freex",
        "mpg": b"\0\0\1\xbe\0\1\xff",  # a packet of padding
        "m2v": b"\0\0\0\1\xb7",
        "h264": b"\0\0\1\x0c\xff\xff\x80",  # filler data
        "h265": b"\0\0\1\x4c\1\xff\x80",
    }.get(kind, b"")


def video(
    stream: bytes,
    number: str = "102",
    parts: int = 1,
    *,
    table: bytes = b"",
    even: bool = True,
    more: DataSet | None = None,
    shape: tuple[int, int] = (ROWS, COLUMNS),
) -> bytes:
    """Put a video into a DICOM file, as *parts* fragments; not *even* leaves an odd length odd."""
    value: Value = encapsulated(pieces(stream, parts), table, even=even)
    elements = image(*shape, value, frames=99, samples=3, photometric="YBR_PARTIAL_420", vr="OB", more=more)
    return dicom(elements, f"1.2.840.10008.1.2.4.{number}")


def probe(ffprobe: str, path: Path, *options: str) -> dict[str, Any]:
    """Ask ffprobe what a file is; options such as `-count_frames` go along."""
    command = [ffprobe, "-v", "error", *options, "-show_streams", "-show_format", "-of", "json", path]
    done = subprocess.run(command, check=True, capture_output=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def described(ffprobe: str, path: Path) -> list[list[object]]:
    """Describe the streams of a file by what players go by."""
    wanted = "codec_name profile width height pix_fmt duration start_time sample_rate nb_read_frames".split()
    streams: Sequence[dict[str, object]] = probe(ffprobe, path, "-count_frames")["streams"]
    return [[stream.get(name) for name in wanted] for stream in streams]
