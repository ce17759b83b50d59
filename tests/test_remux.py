"""Stored videos put into an MP4 without encoding them anew, and the picture of them: what players see is the same."""

import io
import os
import random
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.builders import DataSet, dicom, encapsulated, image
from support.mounting import Loop, files_below, mounted, read_all, tree_of
from support.real_films import ENCODERS, grey
from support.video_files import COLUMNS, MOVIES, RATE, ROWS, SECONDS, encoded, movie, probe, video

from dicomfs.video.timeline import MISSING, WrongOrder, decoding, growing, in_order

OTHERS = [name for name, (kind, _, _) in MOVIES.items() if kind != "mp4"]
CODECS = {"h264": "h264", "h265": "hevc", "m2v": "mpeg2video"}
CINE, FRAME_TIME, VECTOR, SOP_CLASS = 0x00180040, 0x00181063, 0x00181065, 0x00080016

_LONG = ["-f", "lavfi", "-i", f"testsrc=size={COLUMNS}x{ROWS}:rate=25:duration=4", "-pix_fmt", "yuv420p"]
_TONE = ["-f", "lavfi", "-i", "sine=frequency=440:duration=2"]
_TWO = ["-f", "lavfi", "-i", f"testsrc=size={COLUMNS}x{ROWS}:rate=25:duration=2", *_TONE]
_H264 = ["-pix_fmt", "yuv420p", "-c:v", "libx264"]
# Orders of pictures that encoders make: references to later ones, and to later ones of these; also before the picture
# at which decoding can begin.
ORDERS: dict[str, tuple[str, list[str]]] = {
    "mpeg-2 with B": ("m2v", [*_LONG, "-c:v", "mpeg2video", "-g", "12", "-bf", "2", "-f", "mpeg2video"]),
    "mpeg-2 interlaced": (
        "m2v",
        [*_LONG, "-c:v", "mpeg2video", "-bf", "2", "-flags", "+ildct+ilme", "-top", "1", "-f", "mpeg2video"],
    ),
    "h264 open": (
        "h264",
        [*_LONG, "-c:v", "libx264", "-x264-params", "keyint=20:open-gop=1:b-pyramid=normal:bframes=5:ref=6"],
    ),
    "h264 interlaced": ("h264", [*_LONG, "-c:v", "libx264", "-g", "30", "-flags", "+ildct+ilme"]),
    "h264 in order": ("h264", [*_LONG, "-c:v", "libx264", "-bf", "0"]),
    "h264 baseline": ("h264", [*_LONG, "-c:v", "libx264", "-profile:v", "baseline"]),
    "h264 4:4:4": ("h264", [*_LONG[:4], "-pix_fmt", "yuv444p", "-c:v", "libx264"]),
    "hevc open": (
        "h265",
        [*_LONG, "-c:v", "libx265", "-x265-params", "log-level=none:keyint=20:open-gop=1:bframes=8"],
    ),
}


@pytest.fixture(scope="session")
def ffmpeg(program: Callable[[str], str]) -> str:
    return program("ffmpeg")


@pytest.fixture(scope="session")
def ffprobe(program: Callable[[str], str]) -> str:
    return program("ffprobe")


def stream_of(ffmpeg: str, name: str) -> tuple[str, bytes]:
    """Give one of MOVIES or ORDERS and what it is."""
    if name in MOVIES:
        return MOVIES[name][0], movie(ffmpeg, name)
    kind, words = ORDERS[name]
    return kind, encoded(ffmpeg, *words, "-f", {"m2v": "mpeg2video", "h265": "hevc"}.get(kind, kind))


def read(loop: Loop, folder: Path, data: bytes, name: str = "video.mp4") -> bytes:
    """Read a file of a DICOM file, whose size is exact before."""
    (folder / "video.dcm").write_bytes(data)

    async def work() -> bytes:
        with tree_of(loop, folder / "video.dcm") as top:
            file = dict(await files_below(top))[name.encode()]
            size = file.attributes.size
            data = await read_all(file)
            assert len(data) == size == file.attributes.size
            return data

    return loop.run(work)


def names(loop: Loop, folder: Path, data: bytes) -> list[str]:
    (folder / "video.dcm").write_bytes(data)

    async def listed() -> list[str]:
        with tree_of(loop, folder / "video.dcm") as top:
            return [name.decode() for name, _ in await files_below(top)]

    return [name for name in loop.run(listed) if name.startswith(("video.", "thumbnail"))]


def hashes(ffmpeg: str, path: Path, *options: str) -> list[str]:
    """Have ffmpeg decode all pictures, or do with the file what *options* say; give a digest for each."""
    options = options or ("-map", "0:v", "-fps_mode", "passthrough")
    command = [ffmpeg, "-v", "quiet", "-i", path, *options, "-f", "framehash", "-hash", "md5", "-"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line.split(",")[5].strip() for line in lines if not line.startswith("#")]


def shown(ffprobe: str, path: Path) -> list[float]:
    """Ask when each picture is shown."""
    frames = probe(ffprobe, path, "-select_streams", "v", "-show_frames")["frames"]
    return [float(frame["pts_time"]) for frame in frames]


class Both:
    """A stream and the MP4 that it is put into, as files."""

    def __init__(self, loop: Loop, folder: Path, kind: str, stream: bytes, more: DataSet | None = None) -> None:
        self.original, self.film = folder / f"original.{kind}", folder / "film.mp4"
        self.original.write_bytes(stream)
        self.data = read(loop, folder, video(stream, parts=3, more=more))
        self.film.write_bytes(self.data)


# What players see


@pytest.mark.parametrize(
    "name", [*OTHERS[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in [*OTHERS[2:], *ORDERS])]
)
def test_the_same_pictures_at_the_right_times(name: str, ffmpeg: str, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    kind, stream = stream_of(ffmpeg, name)
    both = Both(loop, tmp_path, kind, stream)
    expected = hashes(ffmpeg, both.original)
    assert len(expected) == RATE * (SECONDS if name in MOVIES else 4)
    assert hashes(ffmpeg, both.film) == expected
    found, was = (probe(ffprobe, path)["streams"] for path in (both.film, both.original))
    for key in ("codec_name", "profile", "width", "height", "pix_fmt", "sample_aspect_ratio"):
        assert [stream.get(key) for stream in found[:1]] == [stream.get(key) for stream in was[:1]]
    times = shown(ffprobe, both.film)
    assert np.diff(times) == pytest.approx(1 / RATE, abs=1e-3)
    assert abs(times[0]) < 0.1
    assert float(found[0]["duration"]) == pytest.approx(len(expected) / RATE, abs=1e-3)
    assert both.data.index(b"moov") < both.data.index(b"mdat")


def coded(ffmpeg: str, path: Path, kind: str) -> list[bytes]:
    """Give the coded pictures of a file, slice by slice."""
    form = {"m2v": "mpeg2video", "h265": "hevc"}.get(kind, kind)
    command = [ffmpeg, "-v", "quiet", "-i", path, "-map", "0:v", "-c", "copy", "-f", form, "-"]
    parts = re.split(b"\0*\0\0\1", subprocess.run(command, capture_output=True, check=True).stdout)
    pictures = {
        "m2v": lambda part: part[0] < 0xB0,
        "h264": lambda part: part[0] & 31 in (1, 5),
        "h265": lambda part: part[0] >> 1 < 32,
    }[kind]
    return [part.rstrip(b"\0") for part in parts if part and pictures(part)]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("ts", "h264"), ("m2ts", "h264"), ("mpeg-2 ts", "m2v"), ("mpeg-2 ps", "m2v"), ("m2v", "m2v")),
        *(("h264", "h264"), ("hevc", "h265"), ("h264 open", "h264"), ("hevc open", "h265")),
    ],
)
def test_nothing_is_encoded_anew(name: str, kind: str, ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    both = Both(loop, tmp_path, *stream_of(ffmpeg, name))
    expected = coded(ffmpeg, both.original, kind)
    assert len(expected) >= 50
    assert coded(ffmpeg, both.film, kind) == expected


def test_apple_players_know_hevc_by_its_tag(ffmpeg: str, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    both = Both(loop, tmp_path, "h265", movie(ffmpeg, "hevc"))
    assert probe(ffprobe, both.film)["streams"][0]["codec_tag_string"] == "hvc1"


def test_parameter_sets_that_change_stay_where_they_are(ffmpeg: str, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    other = [*_LONG, "-c:v", "libx265", "-x265-params", "log-level=none:keyint=10:ctu=16:bframes=0:ref=1", "-f", "hevc"]
    both = Both(loop, tmp_path, "h265", movie(ffmpeg, "hevc") + encoded(ffmpeg, *other))
    assert probe(ffprobe, both.film)["streams"][0]["codec_tag_string"] == "hev1"
    assert len(hashes(ffmpeg, both.original)) == 150
    assert hashes(ffmpeg, both.film) == hashes(ffmpeg, both.original)


# Sound


@pytest.mark.parametrize("name", ["mpeg-2 ts", "mpeg-2 ps"])
def test_sound_goes_along(name: str, ffmpeg: str, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    both = Both(loop, tmp_path, *stream_of(ffmpeg, name))
    sound = ("-map", "0:a", "-c", "copy")
    assert len(hashes(ffmpeg, both.original, *sound)) == 77
    assert hashes(ffmpeg, both.film, *sound) == hashes(ffmpeg, both.original, *sound)
    # Pictures and sound begin as far apart as they did.
    starts = [
        [float(stream["start_time"]) for stream in probe(ffprobe, path)["streams"]]
        for path in (both.film, both.original)
    ]
    assert starts[0][1] - starts[0][0] == pytest.approx(starts[1][1] - starts[1][0], abs=2e-3)


def test_all_streams_of_sound_go_along(ffmpeg: str, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    maps = ["-map", "0", "-map", "1", "-map", "1", "-map", "1"]
    words = [*_TWO, *maps, *_H264, "-c:a:0", "ac3", "-c:a:1", "aac", "-c:a:2", "libmp3lame", "-f", "mpegts"]
    both = Both(loop, tmp_path, "ts", encoded(ffmpeg, *words))
    found = probe(ffprobe, both.film)["streams"]
    assert [stream["codec_name"] for stream in found] == ["h264", "ac3", "aac", "mp3"]
    for number in range(3):
        sound = ("-map", f"0:a:{number}")
        assert hashes(ffmpeg, both.film, *sound)[2:80] == hashes(ffmpeg, both.original, *sound)[2:80]
    assert all(float(stream["duration"]) == pytest.approx(2, abs=0.1) for stream in found)


@pytest.mark.expects_log
def test_what_mp4_does_not_hold_is_left_out_and_told(
    ffmpeg: str, ffprobe: str, loop: Loop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = [*_TWO, "-c:v", "mpeg2video", "-c:a", "pcm_s16be", "-ar", "48000", "-ac", "2", "-f", "vob"]
    both = Both(loop, tmp_path, "mpg", encoded(ffmpeg, *words))
    assert [stream["codec_name"] for stream in probe(ffprobe, both.original)["streams"]] == ["mpeg2video", "pcm_dvd"]
    found = probe(ffprobe, both.film)
    assert [stream["codec_name"] for stream in found["streams"]] == ["mpeg2video"]
    assert found["format"]["tags"]["comment"] == "left out, as MP4 does not hold it: pcm_dvd"
    assert "1 streams of a video are left out" in caplog.text
    assert hashes(ffmpeg, both.film) == hashes(ffmpeg, both.original)


# Rates


def silent(stream: bytes) -> bytes:
    """Take the rate out of all sequence parameter sets of an H.264 stream of 25 frames a second."""
    rate = f"1{1:032b}{50:032b}"
    out = []
    for part in re.split(b"(?<=\0\0\1)", stream):
        if part[:1] in (b"\x67", b"\x27"):
            end = part.index(b"\0\0\0\1") if b"\0\0\0\1" in part else len(part)
            bits = "".join(f"{byte:08b}" for byte in part[:end].replace(b"\0\0\3", b"\0\0"))
            place = bits.index(rate)
            bits = bits[:place] + "0" + bits[place + len(rate) + 1 :]
            bits = bits[: bits.rindex("1") + 1]
            bits += "0" * (-len(bits) % 8)
            made = int(bits, 2).to_bytes(len(bits) // 8, "big")
            part = re.sub(b"\0\0(?=[\0-\3])", b"\0\0\3", made) + part[end:]
        out.append(part)
    return b"".join(out)


@pytest.mark.parametrize(
    ("more", "rate"),
    [
        ({}, 25),
        ({SOP_CLASS: ("UI", "1.2.840.10008.5.1.4.1.1.77.1.1.1")}, 25),
        ({SOP_CLASS: ("UI", "1.2.840.10008.5.1.4.1.1.3.1")}, 30),
        ({CINE: ("IS", "50")}, 50),
        ({FRAME_TIME: ("DS", "33.3667")}, Fraction(30000, 1001)),
        ({FRAME_TIME: ("DS", "0")}, 25),
        ({VECTOR: ("DS", "\\".join(["0", *["100"] * 10, *["300"] * 10]))}, 5),
    ],
)
@pytest.mark.parametrize("kind", ["h264", "h265"])
def test_a_stream_without_a_rate_has_that_of_the_header(
    kind: str, more: DataSet, rate: float, ffmpeg: str, ffprobe: str, loop: Loop, tmp_path: Path
) -> None:
    if kind == "h264":
        stream = silent(movie(ffmpeg, "h264"))
    else:
        words = [*_LONG, "-t", "2", "-c:v", "libx265", "-x265-params", "log-level=none:vui-timing-info=0"]
        stream = encoded(ffmpeg, *words, "-f", "hevc")
    both = Both(loop, tmp_path, kind, stream, more)
    assert np.diff(shown(ffprobe, both.film)) == pytest.approx(1 / rate, rel=1e-3)
    assert hashes(ffmpeg, both.film) == hashes(ffmpeg, both.original)


def test_what_the_stream_says_goes_before_the_header(ffmpeg: str, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    for name in ("h264", "hevc", "m2v"):
        both = Both(loop, tmp_path, *stream_of(ffmpeg, name), {CINE: ("IS", "50")})
        assert np.diff(shown(ffprobe, both.film)) == pytest.approx(1 / 25)


def test_pixels_keep_their_shape(ffmpeg: str, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    words = [*_LONG, "-aspect", "16:9", "-c:v", "mpeg2video", "-f", "mpeg2video"]
    both = Both(loop, tmp_path, "m2v", encoded(ffmpeg, *words))
    assert probe(ffprobe, both.film)["streams"][0]["display_aspect_ratio"] == "16:9"


# Clocks


def test_the_clock_may_begin_anywhere(ffmpeg: str, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    # The last one passes the end of the clock, which has 33 bits of 90 kHz.
    for start in ("0", "30000", "95442.2"):
        words = [*_TWO, *_H264, "-c:a", "mp2", "-output_ts_offset", start, "-f", "mpegts"]
        both = Both(loop, tmp_path, "ts", encoded(ffmpeg, *words))
        assert hashes(ffmpeg, both.film) == hashes(ffmpeg, both.original)
        assert np.diff(shown(ffprobe, both.film)) == pytest.approx(1 / 25, abs=1e-3)
        for stream in probe(ffprobe, both.film)["streams"]:
            assert float(stream["duration"]) == pytest.approx(2, abs=0.1)
            assert float(stream["start_time"]) < 0.1


@pytest.mark.parametrize("starts", [("0", "0", "0"), ("500", "3", "7200"), ("10", "11", "9")])
def test_the_clock_may_begin_anew(
    starts: tuple[str, ...], ffmpeg: str, ffprobe: str, loop: Loop, tmp_path: Path
) -> None:
    """A recorder was paused: its clock jumps, and pictures and sound stay together."""
    parts = [
        encoded(ffmpeg, *_TWO, *_H264, "-c:a", "mp2", "-output_ts_offset", start, "-f", "mpegts") for start in starts
    ]
    both = Both(loop, tmp_path, "ts", b"".join(parts))
    assert len(hashes(ffmpeg, both.film)) == 150
    steps = np.diff(shown(ffprobe, both.film))
    assert steps == pytest.approx(1 / 25, abs=0.12)
    assert np.sum(np.abs(steps - 1 / 25) > 1e-3) <= 2
    durations = [float(stream["duration"]) for stream in probe(ffprobe, both.film)["streams"]]
    assert durations == pytest.approx([6, 6], abs=0.3)


@given(st.lists(st.integers(-(1 << 40), 1 << 40), max_size=40), st.integers(1, 100))
def test_times_only_grow(times: list[int], step: int) -> None:
    grown = growing(np.array(times, np.int64), step)
    assert (np.diff(grown) >= step).all()
    assert (grown >= times).all()
    shown, decoded = decoding(np.array(times, np.int64))
    assert len(set(shown.tolist())) == len(times)
    assert (np.diff(decoded) > 0).all()
    assert (decoded <= shown).all()
    assert np.argsort(shown).tolist() == np.argsort(times, kind="stable").tolist()


@given(
    st.permutations(range(12)),
    st.lists(st.booleans(), min_size=12, max_size=12),
    st.integers(0, 1 << 40),
)
def test_times_that_are_missing_are_found_by_the_order(order: list[int], known: list[bool], start: int) -> None:
    true = [start + 3000 * place for place in order]
    stamps = [time if there else MISSING for time, there in zip(true, known, strict=True)]
    found = in_order(stamps, [3000] * 12, order).tolist()
    assert found == (true if any(known) else [3000 * place for place in order])


def test_an_order_that_no_decoder_can_follow_is_refused() -> None:
    keys = [*range(100, 0, -1)]
    with pytest.raises(WrongOrder):
        in_order([MISSING] * 100, [1] * 100, keys)


def packets(stream: bytes) -> list[bytearray]:
    return [bytearray(stream[place : place + 188]) for place in range(0, len(stream), 188)]


def pes_header(packet: bytearray) -> int | None:
    """Find the header of a packet of pictures in a packet of a transport stream."""
    place = bytes(packet).find(b"\0\0\1\xe0")
    return place if packet[1] & 0x40 and place > 0 else None


def test_pictures_without_times_are_put_where_they_belong(
    ffmpeg: str, ffprobe: str, loop: Loop, tmp_path: Path
) -> None:
    stream, number = packets(movie(ffmpeg, "ts")), 0
    for packet in stream:
        place = pes_header(packet)
        if place is not None:
            number += 1
            if number % 10 != 1:
                packet[place + 7] &= 0x3F
                packet[place + 9 : place + 9 + packet[place + 8]] = b"\xff" * packet[place + 8]
    both = Both(loop, tmp_path, "ts", b"".join(map(bytes, stream)))
    assert number == 50
    assert hashes(ffmpeg, both.film) == hashes(ffmpeg, both.original)
    assert np.diff(shown(ffprobe, both.film)) == pytest.approx(1 / 25, abs=1e-3)


def test_one_wrong_time_is_not_followed(ffmpeg: str, ffprobe: str, loop: Loop, tmp_path: Path) -> None:
    words = [*_TWO, *_H264, "-bf", "0", "-c:a", "mp2", "-f", "mpegts"]
    for bit in (0x02, 0x08):  # hours later, and a day
        stream, number = packets(encoded(ffmpeg, *words)), 0
        for packet in stream:
            place = pes_header(packet)
            if place is not None:
                number += 1
                if number == 20:
                    packet[place + 9] ^= bit
        both = Both(loop, tmp_path, "ts", b"".join(map(bytes, stream)))
        times = shown(ffprobe, both.film)
        assert len(times) == 50
        assert np.diff(times) == pytest.approx(1 / 25, abs=1e-3)
        assert [float(each["duration"]) for each in probe(ffprobe, both.film)["streams"]] == pytest.approx(
            [2, 2], abs=0.1
        )


@pytest.mark.parametrize("name", ["ts", "mpeg-2 ts"])
def test_a_film_begins_with_a_picture_that_stands_alone(name: str, ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    stream = packets(movie(ffmpeg, name))
    pictures = [place for place, packet in enumerate(stream) if pes_header(packet) is not None]
    both = Both(loop, tmp_path, "ts", b"".join(map(bytes, stream[:3] + stream[pictures[4] :])))
    whole = hashes(ffmpeg, Path(shutil.copy(write(tmp_path / "whole.ts", movie(ffmpeg, name)), tmp_path / "copy.ts")))
    # There is a picture that stands alone every tenth.
    assert hashes(ffmpeg, both.film) == whole[10:]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# A real mount


@pytest.mark.slow
def test_files_of_a_mount_are_copied_and_sought_in(
    ffmpeg: str, ffprobe: str, program: Callable[[str], str], tmp_path: Path
) -> None:
    rsync, archive, target = program("rsync"), tmp_path / "archive", tmp_path / "target"
    archive.mkdir()
    target.mkdir()
    for name in OTHERS:
        (archive / f"{name}.dcm").write_bytes(video(movie(ffmpeg, name), MOVIES[name][2], 5))
    with mounted(archive, tmp_path) as mount:
        for name in OTHERS:
            film, kind = mount.path / f"{name}.dcm" / "video.mp4", MOVIES[name][0]
            assert film.stat().st_size > 0
            subprocess.run(["cp", film, target / "cp.mp4"], check=True)
            subprocess.run([rsync, "-c", film, target / "rsync.mp4"], check=True)
            data = film.read_bytes()
            assert (target / "cp.mp4").read_bytes() == (target / "rsync.mp4").read_bytes() == data
            assert film.stat().st_size == len(data)
            original = write(tmp_path / f"original.{kind}", movie(ffmpeg, name))
            # The 31st picture, whichever way one gets there.
            seek = [ffmpeg, "-v", "quiet", "-ss", "1.2", "-i", film]
            seek += "-map 0:v -frames:v 1 -f framehash -hash md5 -".split()
            line = subprocess.run(seek, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
            assert line.split(",")[5].strip() == hashes(ffmpeg, original)[30], name
            assert (film.parent / f"video.{kind}").read_bytes() == original.read_bytes()
            with Image.open(film.parent / "thumbnail.png") as picture:
                assert picture.size == (COLUMNS, ROWS)


def test_looking_at_names_makes_nothing(ffmpeg: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in ("ts", "mp4", "h264"):
        (archive / f"{name}.dcm").write_bytes(video(movie(ffmpeg, name), MOVIES[name][2]))
    with mounted(archive, tmp_path) as mount:
        assert os.system(f"ls -lR {mount.path} > /dev/null; du -a {mount.path} > /dev/null") == 0
        figures = mount.statistics()
        assert figures["decoded"] == figures["builds"] == 0


# Pictures


def first_picture(ffmpeg: str, path: Path, size: tuple[int, int], *more: str) -> np.ndarray:
    """Have ffmpeg make the first picture as small."""
    scale = ["-frames:v", "1", "-vf", ",".join([f"scale={size[0]}:{size[1]}:flags=area", *more])]
    command = [ffmpeg, "-v", "error", "-i", path, *scale, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    data = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(data, np.uint8).reshape(size[1], size[0], 3).astype(int)


def thumbnail(
    loop: Loop, folder: Path, stream: bytes, shape: tuple[int, int], more: DataSet | None = None
) -> Image.Image:
    return Image.open(io.BytesIO(read(loop, folder, video(stream, shape=shape, more=more), "thumbnail.png")))


@pytest.mark.parametrize("name", [*MOVIES, "h264 open", "hevc open", "mpeg-2 with B"])
def test_the_picture_is_the_first(name: str, ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    kind, stream = stream_of(ffmpeg, name)
    picture = thumbnail(loop, tmp_path, stream, (ROWS, COLUMNS))
    expected = first_picture(ffmpeg, write(tmp_path / f"original.{kind}", stream), (COLUMNS, ROWS))
    assert np.abs(np.asarray(picture).astype(int) - expected).max() <= 2
    assert picture.info["aspect"] == (1, 1)


def test_a_large_picture_is_made_small(ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    words = ["-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25:duration=0.2", "-pix_fmt", "yuv420p"]
    colours = ["-vf", "scale=out_color_matrix=bt709", "-colorspace", "bt709", "-color_range", "tv"]
    stream = encoded(ffmpeg, *words, *colours, "-c:v", "libx264", "-crf", "10", "-f", "mp4")
    picture = thumbnail(loop, tmp_path, stream, (720, 1280))
    assert picture.size == (256, 144)
    expected = first_picture(ffmpeg, write(tmp_path / "original.mp4", stream), picture.size)
    assert np.abs(np.asarray(picture).astype(int) - expected).mean() <= 2
    # Of such a size the same colours are meant where nothing says so.
    unsaid = encoded(ffmpeg, *words, *colours[:2], "-c:v", "libx264", "-crf", "10", "-f", "mp4")
    again = np.asarray(thumbnail(loop, tmp_path, unsaid, (720, 1280))).astype(int)
    assert np.abs(again - expected).mean() <= 2


@pytest.mark.parametrize(("turn", "matrix"), [("90", (0, 1, -1, 0)), ("270", (0, -1, 1, 0)), ("180", (-1, 0, 0, -1))])
def test_a_picture_that_players_turn_is_turned(
    turn: str, matrix: tuple[int, int, int, int], ffmpeg: str, loop: Loop, tmp_path: Path
) -> None:
    stream = bytearray(movie(ffmpeg, "mp4"))
    # ISO/IEC 14496-12 8.3.2: nine numbers of a matrix, 44 bytes behind the name of the box.
    place = stream.index(b"tkhd") + 44
    a, b, c, d = [number << 16 for number in matrix]
    struct.pack_into(">9i", stream, place, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    turned = write(tmp_path / "turned.mp4", bytes(stream))
    size = (COLUMNS, ROWS) if turn == "180" else (ROWS, COLUMNS)
    expected = first_picture(ffmpeg, turned, size)
    for shape in {size[::-1], (ROWS, COLUMNS)}:
        picture = thumbnail(loop, tmp_path, turned.read_bytes(), shape)
        if shape == size[::-1]:
            assert np.abs(np.asarray(picture).astype(int) - expected).mean() <= 2
        across, down = picture.info.get("aspect", (1, 1))
        assert picture.width / across / (picture.height / down) == pytest.approx(size[0] / size[1])


@pytest.mark.parametrize(("rows", "columns"), [(48, 64), (48, 96), (480, 640), (1, 1), (65535, 3)])
@pytest.mark.parametrize("aspect", [None, "16:9"])
def test_a_picture_is_as_large_as_the_header_says_and_has_its_own_shape(
    rows: int, columns: int, aspect: str | None, ffmpeg: str, loop: Loop, tmp_path: Path
) -> None:
    shape = ["-aspect", aspect] if aspect else []
    stream = encoded(ffmpeg, *_LONG, "-t", "0.2", *shape, "-c:v", "mpeg2video", "-f", "mpegts")
    picture = thumbnail(loop, tmp_path, stream, (rows, columns))
    longest = max(rows, columns, 256)
    assert picture.size == tuple(max(1, round(length * 256 / longest)) for length in (columns, rows))
    across, down = picture.info["aspect"]
    wide = float(Fraction((aspect or "4:3").replace(":", "/")))
    if rows < 1000:
        assert picture.width / across / (picture.height / down) == pytest.approx(wide, rel=1e-2)


def test_the_header_says_what_the_stream_does_not(ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    """H.264 may leave open which shape its pixels have."""
    stream = encoded(
        ffmpeg, *_LONG[:3], _LONG[3] + ",setsar=0", *_LONG[4:], "-t", "0.2", "-c:v", "libx264", "-f", "h264"
    )
    more = {0x00280034: ("IS", "4\\3")}
    assert thumbnail(loop, tmp_path, stream, (ROWS, COLUMNS), more).info["aspect"] == (4, 3)
    assert thumbnail(loop, tmp_path, movie(ffmpeg, "mpeg-2 ps"), (ROWS, COLUMNS), more).info["aspect"] == (1, 1)


@pytest.mark.expects_log
def test_the_picture_is_the_first_that_is_whole(ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    stream = bytearray(movie(ffmpeg, "m2v"))
    keys = [found.start() for found in re.finditer(b"\0\0\1\xb3", stream)]
    stream[keys[0] + 200 : keys[0] + 1200] = random.Random(3).randbytes(1000).replace(b"\0", b"\1")
    picture = np.asarray(thumbnail(loop, tmp_path, bytes(stream), (ROWS, COLUMNS))).astype(int)
    expected = first_picture(ffmpeg, write(tmp_path / "rest.m2v", bytes(stream[keys[1] :])), (COLUMNS, ROWS))
    assert np.abs(picture - expected).max() <= 2


@pytest.mark.parametrize("form", ["h264", "hevc", "mpeg2video"])
def test_half_a_picture_is_none(form: str, ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    codec = {"h264": "libx264", "hevc": "libx265"}.get(form, form)
    source = ["-f", "lavfi", "-i", "testsrc2=size=320x240:rate=25:duration=0.04", "-pix_fmt", "yuv420p"]
    stream = encoded(ffmpeg, *source, "-c:v", codec, "-f", form)
    whole = thumbnail(loop, tmp_path, stream, (240, 320))
    assert whole.size == (256, 192)
    for part in (2, 4, 6):
        cut = video(stream[: len(stream) * part // 8], shape=(240, 320))
        assert "picture" in refusal(loop, tmp_path, cut, "thumbnail.png")


def test_a_header_without_a_size_has_no_picture(ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    data = video(movie(ffmpeg, "ts"), shape=(0, 64))
    assert names(loop, tmp_path, data) == ["video.mp4", "video.ts"]


# Bad input


def refusal(loop: Loop, folder: Path, data: bytes, name: str = "video.mp4") -> str:
    try:
        read(loop, folder, data, name)
    except OSError as error:
        return error.strerror or ""
    raise AssertionError(f"{name} is there")


@pytest.mark.parametrize("name", OTHERS)
def test_a_stream_that_is_cut_is_there_as_far_as_it_goes(name: str, ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    kind, whole = stream_of(ffmpeg, name)
    both = Both(loop, tmp_path, kind, whole[: len(whole) * 6 // 10 + 33])
    complete = hashes(ffmpeg, write(tmp_path / f"whole.{kind}", whole))
    found = hashes(ffmpeg, both.film)
    assert found == hashes(ffmpeg, both.original)
    assert len(found) >= 15
    assert found[:-3] == complete[: len(found) - 3]


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("ts", b"\x47" + bytes(187)),
        ("mpg", b"\0\0\1\xba\x44" + bytes(9)),
        ("m2v", b"\0\0\1\xb3\4"),
        ("h264", b"\0\0\0\1\x67\x64"),
        ("h265", b"\0\0\0\1\x40\1"),
        ("mp4", b"\0\0\0\x18ftypmp42" + bytes(12)),
    ],
)
def test_rubbish_gives_a_reason(kind: str, head: bytes, loop: Loop, tmp_path: Path) -> None:
    for rest in (b"", bytes(5000), random.Random(5).randbytes(5000)):
        stream = head * 6 + rest if kind == "ts" else head + rest
        data = video(stream)
        assert f"video.{kind}" in names(loop, tmp_path, data)
        files = ["thumbnail.png"] if kind == "mp4" else ["video.mp4", "thumbnail.png"]
        for name in files:
            assert re.search("picture|stream|damaged|film", refusal(loop, tmp_path, data, name))


def test_what_is_no_video_has_neither(loop: Loop, tmp_path: Path) -> None:
    for value in (encapsulated([]), encapsulated([b"", b""]), b""):
        data = dicom(image(8, 8, value, vr="OB"), "1.2.840.10008.1.2.4.104")
        assert names(loop, tmp_path, data) == []
    picture = ENCODERS["jpeg"](grey(1))
    data = dicom(image(*grey(1).shape, encapsulated([picture]), vr="OB"), "1.2.840.10008.1.2.4.102")
    assert names(loop, tmp_path, data) == ["thumbnail.png"]
    assert names(loop, tmp_path, video(b"\x1a\x45\xdf" * 9)) == ["video.bin"]


@settings(deadline=None, max_examples=25)
@given(name=st.sampled_from([*MOVIES]), chance=st.randoms(use_true_random=False))
def test_damage_ends_in_a_file_or_a_reason(
    name: str, chance: random.Random, ffmpeg: str, loop: Loop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    stream = bytearray(movie(ffmpeg, name))
    for _ in range(chance.choice([1, 5, 40, 400])):
        place = chance.randrange(len(stream))
        stream[place : place + chance.choice([1, 1, 4, 188])] = chance.randbytes(chance.choice([1, 1, 4, 188]))
    del stream[: chance.choice([0, 0, 1, 1000])], stream[-chance.choice([1, 188, 3000]) :]
    data = video(bytes(stream), parts=chance.randint(1, 5))
    for file in names(loop, folder, data):
        try:
            made = read(loop, folder, data, file)
        except OSError as error:
            assert file in ("video.mp4", "thumbnail.png")
            assert error.strerror  # noqa: PT017
            continue
        if file == "thumbnail.png":
            assert Image.open(io.BytesIO(made)).size == (COLUMNS, ROWS)


def test_without_pyav_there_is_neither_and_the_doctor_says_so(ffmpeg: str, tmp_path: Path) -> None:
    hidden = (
        "import importlib.util as util, sys; find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'av' else find(name, *more)\n"
        "from dicomfs.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    for name, files in (("ts", {"video.ts"}), ("mp4", {"video.mp4"})):
        (tmp_path / "a.dcm").write_bytes(video(movie(ffmpeg, name)))
        run = [sys.executable, "-P", "-c", hidden]
        listed = subprocess.run([*run, "ls", tmp_path / "a.dcm"], capture_output=True, text=True, check=True).stdout
        assert {word for word in listed.split() if word.startswith(("video", "thumb"))} == files
        info = subprocess.run([*run, "info", tmp_path / "a.dcm"], capture_output=True, text=True, check=True).stdout
        assert "PyAV" not in info
    # A fact about the machine is no problem of a file.
    run = [sys.executable, "-P", "-c", hidden]
    doctor = subprocess.run([*run, "doctor"], capture_output=True, text=True, check=False).stdout
    assert "--  films (video.mp4): PyAV is not installed: pip install" in doctor
