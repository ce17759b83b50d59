"""Stored videos: the stream bit for bit, whatever Items it is cut into, named by what it is."""

import os
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.builders import ITEM, SEQUENCE_END, Raw, dicom, encapsulated, image, items, pieces
from support.mounting import Loop, mounted
from support.object_directories import Shown
from support.real_films import ENCODERS, Seen, file_of, grey
from support.video_files import COLUMNS, MOVIES, ROWS, described, encoded, longer, movie, probe, video

from dicomfs.dicom.fragments import Joined, JoinedStream, scan_fragments
from dicomfs.dicom.stream import Memory
from dicomfs.instance.instance import load
from dicomfs.pixeldata.video_stream import kind_of

GIB = 1 << 30


@pytest.fixture(scope="session")
def ffmpeg(program: Callable[[str], str]) -> str:
    return program("ffmpeg")


def named(shown: Shown) -> list[str]:
    """Give the names of the video files in a directory."""
    return [name for name in shown.names if name.startswith("video.")]


# The stream


@pytest.mark.parametrize("parts", [1, 5], ids=["one fragment", "five"])
@pytest.mark.parametrize("name", MOVIES)
def test_the_stream_is_there_bit_for_bit(name: str, parts: int, ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    kind, _, number = MOVIES[name]
    stream = movie(ffmpeg, name)
    streams = {len(variant) % 2: variant for variant in (stream, longer(stream, kind))}
    assert set(streams) == ({0} if kind == "ts" else {0, 1})
    for variant in streams.values():
        for padded in (True, False):
            shown = Shown.of(loop, tmp_path, video(variant, number, parts, even=padded))
            assert named(shown) == [*(["video.mp4"] if kind != "mp4" else []), f"video.{kind}"]
            assert shown.read(f"video.{kind}") == variant
            assert len(shown.problems.splitlines()) == 1


@pytest.mark.parametrize("name", MOVIES)
def test_a_pad_byte_behind_an_even_stream_is_left_out_too(name: str, ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    kind, _, number = MOVIES[name]
    stream = movie(ffmpeg, name)
    stream = longer(stream, kind) if len(stream) % 2 else stream
    shown = Shown.of(loop, tmp_path, video(stream + b"\0", number, even=False))
    assert shown.read(f"video.{kind}") == stream


@pytest.mark.parametrize("name", MOVIES)
def test_what_is_no_proven_padding_stays(name: str, ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    kind, _, number = MOVIES[name]
    for more in (b"\0\0", b"\1", b"\xff\xff"):
        stream = movie(ffmpeg, name) + more
        shown = Shown.of(loop, tmp_path, video(stream, number, even=False))
        assert shown.read(f"video.{kind}") == stream


def test_a_zero_that_may_belong_to_a_slice_stays(ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    stream = movie(ffmpeg, "m2v")[:-4] + b"\0"
    assert Shown.of(loop, tmp_path, video(stream, "100", even=False)).read("video.m2v") == stream


def test_a_basic_offset_table_is_no_part_of_it(ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    stream = movie(ffmpeg, "mp4")
    for table in (bytes(4), struct.pack("<3L", 0, 100, 200), b"\xff" * 4):
        shown = Shown.of(loop, tmp_path, video(stream, parts=3, table=table))
        assert shown.read("video.mp4") == stream


def test_a_stream_without_items(ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    stream = movie(ffmpeg, "mp4")
    data = image(ROWS, COLUMNS, stream + b"\0" * (len(stream) % 2), samples=3, vr="OB")
    shown = Shown.of(loop, tmp_path, dicom(data, "1.2.840.10008.1.2.4.102"))
    assert shown.read("video.mp4") == stream
    assert "fragments/0000" not in shown.names


# Kinds


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypmp42", "mp4"),
        (b"\0\0\0\x08wide\0\0\x10\0mdat", "mp4"),
        (b"\0\0\0\0mdat", "mp4"),
        (b"\0\0\0\1mdat\0\0\0\0\0\0\1\0", "mp4"),
        (b"\0\0\0\2ftyp", "bin"),
        ((b"\x47" + bytes(187)) * 5, "ts"),
        ((b"\x47" + bytes(187)) * 2, "ts"),
        ((b"\0\0\0\0\x47" + bytes(187)) * 5, "ts"),
        ((b"\x47" + bytes(186)) * 5, "bin"),
        (b"\x47" + bytes(100), "bin"),
        (b"\0\0\1\xba\x44", "mpg"),
        (b"\0\0\1\xb3\x04", "m2v"),
        (b"\0\0\0\1\xb3\x04", "m2v"),
        (b"\0\0\1\xb8\x04", "m2v"),
        (b"\0\0\0\1\x67\x64", "h264"),
        (b"\0\0\1\x27\x64", "h264"),
        (b"\0\0\0\1\x09\xf0\0\0\0\1\x67", "h264"),
        (b"\0\0\0\1\x06\x05\0\0\0\1\x65\x88", "h264"),
        (b"\0\0\0\1\x40\x01", "h265"),
        (b"\0\0\0\1\x46\x01\x50\0\0\0\1\x40\x01", "h265"),
        (b"\0\0\1\x26\x01", "h265"),
        (b"\0\0\1\x41\x9a", "bin"),
        (b"\0\0\1\xb6\x10", "bin"),
        (b"\x1a\x45\xdf\xa3", "mkv"),
        (b"RIFF\0\0\0\0AVI LIST", "avi"),
        (b"RIFF\0\0\0\0WAVEfmt ", "bin"),
        (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "wmv"),
        (b"", "bin"),
        (b"\0\0\1", "bin"),
        (bytes(4096), "bin"),
    ],
)
def test_kinds_of_streams(head: bytes, kind: str) -> None:
    assert kind_of(head, len(head)) == kind


# Bad input


def test_an_empty_stream(loop: Loop, tmp_path: Path) -> None:
    for value in (encapsulated([]), encapsulated([b"", b""]), Raw(items([], b"\0\0\0\0"), 0xFFFFFFFF), b""):
        shown = Shown.of(loop, tmp_path, dicom(image(8, 8, value, vr="OB"), "1.2.840.10008.1.2.4.104"))
        assert named(shown) == []
        assert shown.problems.splitlines()[0] == "Pixel Data is a video without a byte"


@pytest.mark.parametrize("name", ["mp4", "faststart mp4", "fragmented mp4", "ts", "m2ts", "mpeg-2 ps", "h264", "hevc"])
def test_a_stream_that_is_cut(name: str, ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    kind, _, number = MOVIES[name]
    whole = movie(ffmpeg, name)
    stream = whole[: len(whole) // 2 // 2 * 2 + 10]
    # The writer cut it: all Items are sound.
    shown = Shown.of(loop, tmp_path, video(stream, number, 3))
    assert shown.read(f"video.{kind}") == stream
    assert ("cut short" in shown.problems) == (kind not in ("h264", "h265"))
    # The file is cut: an Item promises more.
    data = video(whole, number, 3)
    shown = Shown.of(loop, tmp_path, data[: data.index(whole[-100:]) - 1000])
    kept = shown.read(f"video.{kind}")
    assert whole.startswith(kept)
    assert len(kept) > 1000
    assert "the video is cut short" in shown.problems


def test_a_picture_in_a_video_syntax_is_a_picture(loop: Loop, tmp_path: Path) -> None:
    pictures = [grey(number) for number in range(3)]
    frames = [ENCODERS["jpeg"](picture) for picture in pictures]
    seen = Seen.of(loop, tmp_path, file_of(encapsulated(frames), 3, "1.2.840.10008.1.2.4.102"))
    assert named(seen.shown) == []
    assert seen.are([*pictures])
    assert seen.told("E24")


@pytest.mark.parametrize("data", [bytes(5000), b"\x1a\x45\xdf" * 9, random.Random(1).randbytes(999)])
def test_what_is_no_known_video_is_there_all_the_same(data: bytes, loop: Loop, tmp_path: Path) -> None:
    shown = Shown.of(loop, tmp_path, video(data))
    assert named(shown) == ["video.bin"]
    assert shown.read("video.bin") == data + b"\0" * (len(data) % 2)
    assert "not known" in shown.problems


@pytest.mark.parametrize(("kind", "muxer"), [("avi", "avi"), ("wmv", "asf"), ("mkv", "matroska")])
def test_files_that_the_standard_does_not_provide_for(
    kind: str, muxer: str, ffmpeg: str, loop: Loop, tmp_path: Path, program: Callable[[str], str]
) -> None:
    """Capture stations write them under a video syntax: they are named by what they are, which players go by."""
    words = "-f lavfi -i testsrc=size=64x48:rate=25:duration=1 -c:v mjpeg -pix_fmt yuvj420p -f".split()
    stream = encoded(ffmpeg, *words, muxer)
    shown = Shown.of(loop, tmp_path, video(stream))
    assert named(shown) == [f"video.{kind}"]
    path = tmp_path / f"video.{kind}"
    path.write_bytes(shown.read(f"video.{kind}"))
    assert path.read_bytes().rstrip(b"\0") == stream.rstrip(b"\0")
    assert probe(program("ffprobe"), path, "-count_frames")["streams"][0]["nb_read_frames"] == "25"
    assert "does not provide for" in shown.problems


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from([*MOVIES]), chance=st.randoms(use_true_random=False))
def test_damaged_streams_are_served_as_they_are(name: str, chance: random.Random, ffmpeg: str) -> None:
    stream = bytearray(movie(ffmpeg, name))
    for _ in range(chance.randint(0, 40)):
        stream[chance.randrange(len(stream))] = chance.randrange(256)
    del stream[: chance.choice([0, 0, 1, 100])], stream[-chance.choice([1, 2, 188, 3000]) :]
    even = chance.random() < 0.5
    instance = load(Memory(video(bytes(stream), parts=chance.randint(1, 9), even=even)))
    if instance.video is not None:  # else it looks like a picture
        size = len(stream) + (len(stream) % 2 if even else 0)
        assert instance.video.joined.size == size
        assert size - 1 <= instance.video.size <= size


# Random access


@given(
    st.lists(st.binary(max_size=9), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300))),
)
def test_any_slice_of_any_items(fragments: list[bytes], slices: list[tuple[int, int]]) -> None:
    source = Memory(items(fragments, even=False))
    found = scan_fragments(source, 0)
    stream = JoinedStream(Joined([found.extent(index) for index in range(1, len(found))]), source)
    whole = b"".join(source.pread(*reversed(found.extent(index))) for index in range(1, len(found)))
    assert stream.size == len(whole)
    for offset, length in slices:
        assert stream.pread(length, offset) == whole[offset : offset + length]


def test_sixty_thousand_fragments(tmp_path: Path) -> None:
    stream = random.Random(2).randbytes(60_000 * 34)
    fragments = pieces(stream, 60_000)
    assert len(fragments) == 60_000
    (tmp_path / "archive").mkdir()
    data = dicom(image(ROWS, COLUMNS, encapsulated(fragments), samples=3, vr="OB"), "1.2.840.10008.1.2.4.102.1")
    (tmp_path / "archive" / "a.dcm").write_bytes(data)
    with mounted(tmp_path / "archive", tmp_path) as mount:
        shown = mount.path / "a.dcm" / "video.bin"
        assert shown.read_bytes() == stream
        with open(shown, "rb") as file:
            for offset in (0, 33, 34, 1_000_001, len(stream) - 5):
                assert os.pread(file.fileno(), 4000, offset) == stream[offset : offset + 4000]


def test_what_is_read_of_a_large_stream_is_what_is_wanted(tmp_path: Path) -> None:
    """Four fragments of one GiB, most of it a hole in a sparse file; the boxes are those of an MP4 of that size."""
    head = struct.pack(">L4s8s", 16, b"ftyp", b"isommp42") + struct.pack(">L4sQ", 1, b"mdat", 4 * GIB - 16)
    start = dicom(image(ROWS, COLUMNS, Raw(b"", 0xFFFFFFFF), samples=3, vr="OB"), "1.2.840.10008.1.2.4.102.1")
    (tmp_path / "archive").mkdir()
    with open(tmp_path / "archive" / "a.dcm", "wb") as file:
        file.write(start + ITEM + bytes(4))
        for index in range(4):
            file.write(ITEM + struct.pack("<L", GIB))
            value = file.tell()
            file.write(head if index == 0 else b"fragment %d" % index)
            file.seek(value + GIB)
        file.write(SEQUENCE_END)
    with mounted(tmp_path / "archive", tmp_path) as mount:
        shown = mount.path / "a.dcm" / "video.mp4"
        assert shown.stat().st_size == 4 * GIB
        with open(shown, "rb") as movie:
            for index in (3, 1, 2):
                os.posix_fadvise(movie.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                data = os.pread(movie.fileno(), 20, index * GIB - 10)
                assert data == bytes(10) + b"fragment %d" % index
            assert os.pread(movie.fileno(), 100, 4 * GIB - 10) == bytes(10)
        figures = dict(line.split(": ") for line in Path(f"/proc/{mount.process.pid}/io").read_text().splitlines())
        assert int(figures["rchar"]) < 64 << 20


# Players


@pytest.mark.slow
def test_players_see_the_same_in_a_mount(ffmpeg: str, program: Callable[[str], str], tmp_path: Path) -> None:
    ffprobe, archive = program("ffprobe"), tmp_path / "archive"
    archive.mkdir()
    for name, (kind, _, number) in MOVIES.items():
        (tmp_path / f"{name}.{kind}").write_bytes(movie(ffmpeg, name))
        (archive / f"{name}.dcm").write_bytes(video(movie(ffmpeg, name), number, 5))
    with mounted(archive, tmp_path) as mount:
        for name, (kind, _, _) in MOVIES.items():
            original, shown = tmp_path / f"{name}.{kind}", mount.path / f"{name}.dcm" / f"video.{kind}"
            expected = described(ffprobe, original)
            assert described(ffprobe, shown) == expected
            assert any("50" in str(stream[-1]) for stream in expected)
            # Seeking to the middle gives the same picture as in the original.
            seek = [] if kind in ("h264", "h265", "m2v") else ["-ss", "1.2"]
            pictures = [one_picture(ffmpeg, path, *seek) for path in (original, shown)]
            assert pictures[0] == pictures[1]


def one_picture(ffmpeg: str, path: Path, *options: str) -> bytes:
    """Have ffmpeg decode one picture."""
    command = [ffmpeg, "-v", "error", *options, "-i", path, *"-frames:v 1 -f rawvideo -pix_fmt rgb24 -".split()]
    picture = subprocess.run(command, check=True, capture_output=True).stdout
    assert len(picture) == ROWS * COLUMNS * 3
    return picture


def test_problems_say_how_to_get_frames(ffmpeg: str, loop: Loop, tmp_path: Path) -> None:
    shown = Shown.of(loop, tmp_path, video(movie(ffmpeg, "mp4")))
    command = shown.problems.partition("ffmpeg does that: ")[2].strip().replace("ffmpeg", f"{ffmpeg} -v error", 1)
    home, place = tmp_path / "home", tmp_path / "place"
    home.mkdir()
    place.mkdir()
    (place / "video.mp4").write_bytes(shown.read("video.mp4"))
    subprocess.run(command, shell=True, cwd=place, check=True, env=os.environ | {"HOME": str(home)})
    with Image.open(home / "0050.png") as picture:
        assert picture.size == (COLUMNS, ROWS)
