"""Rows E of the fidelity table, the boundaries of encapsulated frames: each rule on the tree, with real codestreams.

The pictures are compared with what was encoded, samples with pydicom. What a frame's status says must be what its
reader gets.
"""

import json
import struct
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array
from support.archives import CORPUS, files
from support.builders import (
    EXPLICIT_LITTLE,
    EXTENDED_OFFSET_TABLE,
    EXTENDED_OFFSET_TABLE_LENGTHS,
    IMPLICIT_LITTLE,
    ITEM,
    SEQUENCE_END,
    UNDEFINED,
    Raw,
    dicom,
    encapsulated,
    image,
    items,
    offsets,
    pad,
    pieces,
)
from support.mounting import Loop
from support.object_directories import FOUND, Shown
from support.real_films import ENCODERS, EXTENSIONS, SYNTAXES, Film, Seen, file_of, film, grey

KINDS = list(SYNTAXES)


def sample(loop: Loop, name: str) -> Seen:
    return Seen(Shown(loop, FOUND[name]))


def reference(name: str) -> np.ndarray:
    """Have pydicom decode a sample, frames first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pixels = pixel_array(FOUND[name])
        return pixels if pydicom.dcmread(FOUND[name]).get("NumberOfFrames", 1) != 1 else pixels[None]


def split(frames: list[bytes], count: int = 3) -> list[list[bytes]]:
    return [pieces(frame, count) for frame in frames]


def flat(frames: list[list[bytes]]) -> list[bytes]:
    return [fragment for frame in frames for fragment in frame]


def see(loop: Loop, folder: Path, kind: str, fragments: list[bytes], frames: int | None, **how: object) -> Seen:
    """Look at a file with these fragments."""
    more = how.pop("more", None)
    value = encapsulated(fragments, **how)
    return Seen.of(loop, folder, file_of(value, frames, SYNTAXES[kind], more=more))


@pytest.mark.parametrize("kind", KINDS)
def test_e01_one_fragment_a_frame(kind: str, loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film(kind, 5)
    seen = see(loop, tmp_path, kind, frames, 5)
    assert seen.are([*pictures])
    assert seen.problems == []
    assert seen.statuses == ["ok"] * 5
    assert seen.index["found_by"] == "one fragment a frame"


@pytest.mark.parametrize("name", ["emri_small_jpeg_2k_lossless.dcm", "sm_image_jpegls_nobot.dcm"])
def test_e01_samples(name: str, loop: Loop) -> None:
    if name not in FOUND:
        return
    seen, dataset = sample(loop, name), pydicom.dcmread(FOUND[name])
    assert seen.count == dataset.NumberOfFrames
    assert set(seen.statuses) == {"ok"}
    frames = list(generate_frames(dataset.PixelData, number_of_frames=seen.count))
    raw = sorted(entry for entry in seen.names if entry.startswith("raw/"))
    assert [pad(seen.shown.read(entry)) for entry in raw] == frames
    assert all(seen.shown.picture(number).shape[:2] == (dataset.Rows, dataset.Columns) for number in (1, seen.count))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [None, 1])
def test_e02_many_fragments_of_a_single_frame(kind: str, frames: int | None, loop: Loop, tmp_path: Path) -> None:
    made = film(kind, 1)
    seen = see(loop, tmp_path, kind, pieces(made.frames[0], 7), frames)
    assert seen.are([*made.pictures])
    assert seen.problems == []


@pytest.mark.parametrize("kind", KINDS)
def test_e03_fragments_are_grouped_by_codestreams(kind: str, loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film(kind, 4)
    seen = see(loop, tmp_path, kind, flat(split(frames)), 4)
    assert seen.are([*pictures])
    assert seen.problems == []
    assert seen.index["found_by"] == "starts of codestreams"
    assert [len(frame["extents"]) for frame in seen.index["frames"]] == [3] * 4


def test_e03_a_start_within_a_frame_is_none_where_no_end_comes_before_it(loop: Loop, tmp_path: Path) -> None:
    """A thumbnail in a JPEG's own header, of which a fragment happens to begin."""
    pictures, frames = film("jpeg", 3)
    thumbnail = ENCODERS["jpeg"](grey(99, 8, 8))
    segment = b"\xff\xe1" + struct.pack(">H", 8 + len(thumbnail)) + b"Exif\0\0" + thumbnail
    frames = [frame[:2] + segment + frame[2:] for frame in frames]
    seen = see(loop, tmp_path, "jpeg", flat([[frame[:12], frame[12:]] for frame in frames]), 3)
    assert seen.are([*pictures])


@pytest.mark.parametrize("with_table", [False, True])
@pytest.mark.parametrize("kind", ["jpeg", "jpeg-ls", "jpeg 2000", "rle"])
def test_e04_extra_frames_are_shown_and_told(kind: str, with_table: bool, loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film(kind, 5)
    seen = see(loop, tmp_path, kind, frames, 4, table=offsets([[frame] for frame in frames]) if with_table else b"")
    assert seen.are([*pictures])
    assert seen.told("E4")
    seen = see(loop, tmp_path, kind, flat(split(frames)), 4, table=offsets(split(frames)) if with_table else b"")
    assert seen.are([*pictures])
    assert seen.told("E4")


@pytest.mark.parametrize("table", [b"", [0]], ids=["no table", "table of one"])
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("kind", ["jpeg", "jpeg-ls", "jpeg 2000", "rle"])
def test_e05_hidden_frames_are_shown_and_told(
    kind: str, parts: int, table: list[int] | bytes, loop: Loop, tmp_path: Path
) -> None:
    pictures, frames = film(kind, 10)
    seen = see(loop, tmp_path, kind, flat(split(frames, parts)), None, table=table)
    assert seen.are([*pictures])
    assert seen.told("E5", "E7") if table else seen.told("E5")


@pytest.mark.parametrize("with_table", [False, True])
def test_e06_declared_frames_that_are_missing_are_errors(with_table: bool, loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film("jpeg 2000", 3)
    table = offsets([[frame] for frame in frames]) if with_table else b""
    seen = see(loop, tmp_path, "jpeg 2000", frames, 5, table=table)
    assert seen.are([*pictures, None, None])
    assert "E6" in " ".join(seen.problems)
    assert seen.statuses[3:] == ["error (E6)"] * 2
    assert "frame 4 is declared but not in the file" in seen.shown.refusal(4)


def tables(right: list[int], before: int) -> dict[str, tuple[list[int], bool]]:
    """Give tables as they are in the field, and whether each can be put right."""
    length = 8 + 4 * len(right)
    return {
        "all zeros": ([0] * len(right), False),
        "one zero": ([0], False),
        "counts from the table": ([entry + length for entry in right], True),
        "points at values": ([entry + 8 for entry in right], True),
        "reversed": (right[::-1], False),
        "beyond": ([*right[:-1], right[-1] + 10_000], False),
        "counts from the start of the file": ([entry + before + length for entry in right], True),
        "maxima": ([0xFFFFFFFF] * len(right), False),
    }


@pytest.mark.parametrize("name", tables([0], 0))
@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("kind", ["jpeg", "jpeg-ls", "jpeg xl"])
def test_e07_wrong_tables(kind: str, parts: int, name: str, loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film(kind, 4)
    groups = split(frames, parts)
    before = len(file_of(Raw(b"", UNDEFINED), 4, SYNTAXES[kind]))
    table, is_moved = tables(offsets(groups), before)[name]
    seen = see(loop, tmp_path, kind, flat(groups), 4, table=table)
    assert seen.are([*pictures])
    assert seen.told() if is_moved else seen.told("E7")
    assert (seen.index["found_by"] == "Basic Offset Table") == is_moved


def test_e08_an_entry_too_many_is_the_end(loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film("jpeg-ls", 3)
    groups = split(frames)
    end = sum(8 + len(pad(fragment)) for fragment in flat(groups))
    seen = see(loop, tmp_path, "jpeg-ls", flat(groups), 3, table=[*offsets(groups), end])
    assert seen.are([*pictures])
    assert seen.problems == []


def extended(table: list[int], lengths: list[int] | None) -> dict[int, tuple[str, bytes]]:
    more = {EXTENDED_OFFSET_TABLE: ("OV", struct.pack(f"<{len(table)}Q", *table))}
    if lengths is not None:
        more[EXTENDED_OFFSET_TABLE_LENGTHS] = ("OV", struct.pack(f"<{len(lengths)}Q", *lengths))
    return more


@pytest.mark.parametrize("kind", KINDS)
def test_e09_the_extended_table_and_its_lengths(kind: str, loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film(kind, 9)
    assert kind == "rle" or any(len(frame) % 2 for frame in frames)
    more = extended(offsets([[frame] for frame in frames]), [len(frame) for frame in frames])
    seen = see(loop, tmp_path, kind, frames, 9, more=more)
    assert seen.are([*pictures])
    assert seen.problems == []
    assert seen.index["found_by"] == "Extended Offset Table"
    # Its lengths are without padding, so that even where no end marker tells it the bitstreams are exact.
    assert [seen.shown.read(f"raw/{n:04}.{EXTENSIONS[kind]}") for n in range(1, 10)] == frames


@pytest.mark.parametrize(
    ("table", "lengths", "told"),
    [
        (lambda right: right, [10**6] * 4, True),
        (lambda right: right, [2**63] * 4, True),
        (lambda right: right, [1, 1], True),
        (lambda right: [entry + 500 for entry in right], None, False),
        (lambda right: [entry + 1 for entry in right[:1]] + right[1:], None, True),
        (lambda right: [0, 2**63, 2**63 + 8, 2**64 - 1], None, True),
        (lambda right: [], [], True),
    ],
    ids=["long lengths", "lengths of 2^63", "two lengths", "moved", "odd", "2^63", "empty"],
)
def test_e09_wrong_extended_tables(
    table: Callable[[list[int]], list[int]], lengths: list[int] | None, told: bool, loop: Loop, tmp_path: Path
) -> None:
    pictures, frames = film("jpeg 2000", 4)
    right = offsets([[frame] for frame in frames])
    seen = see(loop, tmp_path, "jpeg 2000", frames, 4, more=extended(table(right), lengths))
    assert seen.are([*pictures])
    assert seen.told("E9") if told else seen.told()


def test_e10_both_tables(loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film("jpeg xl", 4)
    right = offsets([[frame] for frame in frames])
    seen = see(loop, tmp_path, "jpeg xl", frames, 4, table=right, more=extended(right, None))
    assert seen.are([*pictures])
    assert seen.told("E10")
    assert seen.index["found_by"] == "Extended Offset Table"
    seen = see(loop, tmp_path, "jpeg xl", frames, 4, table=right, more=extended([4, 3, 2, 1], None))
    assert seen.are([*pictures])
    assert seen.told("E9", "E10")
    assert seen.index["found_by"] == "Basic Offset Table"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [1, 2])
def test_e11_empty_fragments_are_skipped(kind: str, parts: int, loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film(kind, 3)
    fragments = flat(split(frames, parts))
    fragments[1:1] = [b"", b""]
    seen = see(loop, tmp_path, kind, [*fragments, b""], 3)
    assert seen.are([*pictures])
    assert [seen.shown.read(f"fragments/{n:04}") for n in (2, 3)] == [b"", b""]


@pytest.mark.parametrize("kind", KINDS)
def test_e12_no_delimiter_at_the_end(kind: str, loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film(kind, 3)
    seen = see(loop, tmp_path, kind, flat(split(frames)), 3, delimited=False)
    assert seen.are([*pictures])
    assert seen.told("E12")


def test_e12_pydicoms_sample(loop: Loop) -> None:
    cut, whole = (sample(loop, f"emri_small_jpeg_2k_lossless{how}.dcm") for how in ("_too_short", ""))
    assert cut.are([whole.shown.picture(number) for number in range(1, whole.count + 1)])
    assert cut.told("E12")


def test_e13_stray_delimiters_in_the_data_set(loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film("jpeg-ls", 2)
    whole = file_of(encapsulated(frames), 2, SYNTAXES["jpeg-ls"])
    rows = whole.index(b"\x28\x00\x10\x00US")
    stray = SEQUENCE_END + ITEM + bytes(4)
    seen = Seen.of(loop, tmp_path, whole[:rows] + stray + whole[rows:])
    assert seen.are([*pictures])
    assert seen.told("E13")
    header = json.loads(seen.shown.read("header.json"))
    assert header["00280010"]["Value"] == [24]
    assert not any(tag.startswith("FFFE") for tag in header)
    assert Seen.of(loop, tmp_path, whole + SEQUENCE_END).are([*pictures])


def test_e14_a_delimiter_inside_a_codestream_is_data(loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film("jpeg 2000", 2)
    comment = b"\xff\x64" + struct.pack(">HH", 4 + 24, 0) + SEQUENCE_END + ITEM + bytes(4) + SEQUENCE_END
    frames = [frame[: frame.index(b"\xff\x90")] + comment + frame[frame.index(b"\xff\x90") :] for frame in frames]
    seen = see(loop, tmp_path, "jpeg 2000", frames, 2)
    assert seen.are([*pictures])
    assert seen.problems == []


def test_e14_pydicoms_sample(loop: Loop) -> None:
    """Its codestream is whole, but for the size marker that the delimiter overwrote: an error, and no other frame."""
    seen = sample(loop, "JPEG2000-embedded-sequence-delimiter.dcm")
    dataset = pydicom.dcmread(FOUND["JPEG2000-embedded-sequence-delimiter.dcm"])
    assert [pad(seen.shown.read("raw/0001.j2k"))] == list(generate_frames(dataset.PixelData, number_of_frames=1))
    assert seen.statuses == ["error (E21)"]
    assert "E21" in seen.shown.refusal()
    assert seen.told("E21")


@pytest.mark.parametrize("kind", ["jpeg", "jpeg-ls", "jpeg 2000", "jp2"])
@pytest.mark.parametrize("parts", [1, 2])
def test_e15_a_pad_byte_is_left_out_of_the_bitstream_alone(kind: str, parts: int, loop: Loop, tmp_path: Path) -> None:
    made = film(kind, 12)
    # Half of the frames end in an odd place: the pad byte of the others is made here.
    odd = [number for number, frame in enumerate(made.frames) if len(frame) % 2]
    assert 0 < len(odd) < 12
    syntax = SYNTAXES.get(kind, SYNTAXES["jpeg 2000"])
    seen = Seen.of(loop, tmp_path, file_of(encapsulated(flat(split(made.frames, parts))), 12, syntax))
    assert seen.are([*made.pictures])
    for number, frame in enumerate(made.frames):
        assert seen.shown.read(f"raw/{number + 1:04}.{EXTENSIONS[kind]}") == frame
        assert len(seen.shown.read(f"fragments/{(number + 1) * parts:04}")) % 2 == 0


@pytest.mark.parametrize("padding", [b"\xff\xff", b"\0\0\0", b"\xff" * 30, b"\0" * 300, b"\xff\0" * 40])
def test_e15_more_padding_stays(padding: bytes, loop: Loop, tmp_path: Path) -> None:
    for kind in ("jpeg", "jpeg-ls", "jpeg 2000"):
        made = film(kind, 2)
        if kind == "jpeg-ls" and b"\xff" in padding:
            continue  # CharLS wants its end marker last, but for zeros
        frames = [pad(frame + padding) for frame in made.frames]
        seen = see(loop, tmp_path, kind, frames, 2)
        assert seen.are([*made.pictures])
        assert seen.shown.read(f"raw/0002.{EXTENSIONS[kind]}") == frames[1]


@pytest.mark.parametrize("padding", [b"\xff", b"\xff" * 9, b"\0\0", b"\0" * 40])
def test_e15_padding_before_the_start(padding: bytes, loop: Loop, tmp_path: Path) -> None:
    for kind in ("jpeg", "jpeg-ls", "jpeg 2000", "jpeg xl"):
        made = film(kind, 2)
        seen = see(loop, tmp_path, kind, [padding + frame for frame in made.frames], 2)
        assert seen.are([*made.pictures])
        assert seen.statuses == ["repaired (E15)"] * 2
        assert seen.told("E15")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_e16_a_cut_codestream_is_an_error_and_the_others_are_fine(
    kind: str, keep: float, loop: Loop, tmp_path: Path
) -> None:
    pictures, frames = film(kind, 3)
    frames[1] = frames[1][: int(len(frames[1]) * keep) // 2 * 2]
    seen = see(loop, tmp_path, kind, frames, 3)
    assert np.array_equal(seen.shown.picture(1), pictures[0])
    assert np.array_equal(seen.shown.picture(3), pictures[2])
    assert seen.shown.refusal(2)
    if kind in ("jpeg", "jpeg 2000", "htj2k"):
        assert seen.statuses == ["ok", "error (E16)", "ok"]
        assert seen.told("E16")


def test_e16_a_file_that_ends_in_a_frame(loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film("jpeg", 3)
    whole = file_of(encapsulated(frames), 3, SYNTAXES["jpeg"])
    seen = Seen.of(loop, tmp_path, whole[:-100])
    assert seen.are([*pictures[:2], None])
    assert "E16" in " ".join(seen.problems)


def test_e17_jp2_files(loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film("jp2", 3)
    seen = see(loop, tmp_path, "jpeg 2000", frames, 3)
    assert seen.are([*pictures])
    assert seen.statuses == ["repaired (E17)"] * 3
    assert seen.told("E17")
    assert seen.shown.read("raw/0001.jp2") == frames[0]


@pytest.mark.parametrize("name", ["GDCMJ2K_TextGBR.dcm", "ELSCINT1_JP2vsJ2K.dcm", "MAROTECH_CT_JP2Lossy.dcm"])
def test_e17_samples(name: str, loop: Loop) -> None:
    if name in FOUND:
        seen = sample(loop, name)
        assert seen.statuses == ["repaired (E17)"]
        assert seen.told("E17")
        assert "raw/0001.jp2" in seen.names
        assert seen.shown.picture().shape[:2] == reference(name).shape[1:3]


def test_e18_rle_in_several_fragments(loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film("rle", 4)
    for table in (b"", offsets(split(frames, 2))):
        seen = see(loop, tmp_path, "rle", flat(split(frames, 2)), 4, table=table)
        assert seen.are([*pictures])
        assert seen.problems == []
        assert seen.shown.read("raw/0003.rle") == frames[2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, None])
def test_e19_items_are_found_whatever_the_syntax_and_the_length(
    kind: str, undefined: bool, syntax: str | None, loop: Loop, tmp_path: Path
) -> None:
    pictures, frames = film(kind, 3)
    if undefined and syntax is None:
        return  # this is how it should be
    value = encapsulated(frames) if undefined else items(frames)
    seen = Seen.of(loop, tmp_path, file_of(value, 3, syntax or SYNTAXES[kind]))
    assert seen.are([*pictures])
    assert seen.told("E19")
    assert [name for name in seen.names if name.startswith("fragments/")] == [f"fragments/{n:04}" for n in range(4)]


@pytest.mark.parametrize("kind", KINDS)
def test_e19_native_data_in_an_encapsulated_syntax(kind: str, loop: Loop, tmp_path: Path) -> None:
    pictures = [grey(number) for number in range(3)]
    pixels = b"".join(picture.tobytes() for picture in pictures)
    seen = Seen.of(loop, tmp_path, file_of(pixels, 3, SYNTAXES[kind]))
    assert seen.are([*pictures])
    assert seen.told("E19")
    assert not any(name.startswith("fragments/") for name in seen.names)
    assert seen.shown.read("raw/0002.bin") == pictures[1].tobytes()


@pytest.mark.parametrize("counts_its_pad", [False, True])
@pytest.mark.parametrize("kind", ["jpeg", "jpeg-ls", "jpeg 2000", "jpeg xl"])
def test_e20_odd_lengths(kind: str, counts_its_pad: bool, loop: Loop, tmp_path: Path) -> None:
    made = film(kind, 12)
    odd = [(picture, frame) for picture, frame in zip(*made, strict=True) if len(frame) % 2]
    assert odd
    value = ITEM + bytes(4)
    for _, frame in odd:
        value += ITEM + struct.pack("<L", len(frame)) + frame + b"\0" * counts_its_pad
    seen = Seen.of(loop, tmp_path, file_of(Raw(value + SEQUENCE_END, UNDEFINED), len(odd), SYNTAXES[kind]))
    assert seen.are([picture for picture, _ in odd])
    assert [seen.shown.read(f"fragments/{n:04}") for n in range(1, len(odd) + 1)] == [frame for _, frame in odd]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(24, 36), (48, 68), (8, 8)])
def test_e21_a_frame_of_another_size_is_the_only_error(
    kind: str, size: tuple[int, int], loop: Loop, tmp_path: Path
) -> None:
    pictures, frames = film(kind, 4)
    frames[2] = ENCODERS[kind](grey(7, *size))
    seen = see(loop, tmp_path, kind, frames, 4)
    assert np.array_equal(seen.shown.picture(4), pictures[3])
    assert np.array_equal(seen.shown.picture(2), pictures[1])
    if kind == "rle":  # its header has no size: only decoding it tells
        assert ("E16" if size == (8, 8) else "E21") in seen.shown.refusal(3)
        return
    assert seen.are([*pictures[:2], None, pictures[3]])
    assert seen.statuses[2] == "error (E21)"
    assert [line for line in seen.problems if "frame 3" in line and line.endswith("(E21)")] == seen.problems != []


def test_e21_frames_beyond_those_looked_at_have_their_status(loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film("jpeg-ls", 30)
    frames[4] = ENCODERS["jpeg-ls"](grey(7, 10, 10))
    seen = see(loop, tmp_path, "jpeg-ls", frames, 30)
    assert seen.are([*pictures[:4], None, *pictures[5:]])
    assert seen.statuses[4] == "error (E21)"


def test_e22_a_wrong_spectral_selection_is_corrected(loop: Loop, tmp_path: Path) -> None:
    values = np.random.default_rng(22).integers(0, 4096, (24, 34)).astype(np.uint16)
    right = imagecodecs.jpeg8_encode(values, level=95, bitspersample=12)
    scan = right.index(b"\xff\xda")
    assert right[scan + 7 : scan + 10] == b"\0\x3f\0"
    wrong = right[: scan + 8] + b"\0" + right[scan + 9 :]
    shown = []
    for frame, status in ((right, "ok"), (wrong, "repaired (E22)")):
        data = image(24, 34, encapsulated([frame]), bits=16, stored=12, vr="OB")
        seen = Seen.of(loop, tmp_path, dicom(data, "1.2.840.10008.1.2.4.51"))
        assert seen.statuses == [status]
        assert seen.told("E22") if frame is wrong else seen.told()
        assert pad(seen.shown.read("raw/0001.jpg")) == pad(frame)
        shown.append(seen.shown.picture())
    assert np.array_equal(*shown)


def test_e22_samples(loop: Loop) -> None:
    # pydicom's own, on which pydicom fails.
    assert sample(loop, "JPEG-lossy.dcm").statuses == ["repaired (E22)"]
    assert sample(loop, "JPEG-lossy.dcm").shown.picture().shape == (1024, 256)
    assert sample(loop, "JPGExtended.dcm").statuses == ["ok"]
    if "RG2_JPLY.dcm" in FOUND:
        wrong, fixed = sample(loop, "RG2_JPLY.dcm"), sample(loop, "RG2_JPLY_fixed.dcm")
        assert wrong.statuses == ["repaired (E22)"]
        assert np.array_equal(wrong.shown.picture(), fixed.shown.picture())
    for path in files(CORPUS / "WG04" / "JPLY") if CORPUS.is_dir() else ():
        seen = Seen(Shown(loop, path))
        assert set(seen.statuses) <= {"repaired (E22)", "ok"}
        assert seen.shown.picture().size


@pytest.mark.parametrize(("option", "syntax"), [("+es", "1.2.840.10008.1.2.4.53"), ("+ep", "1.2.840.10008.1.2.4.55")])
@pytest.mark.parametrize("bits", [8, 12])
def test_e23_retired_processes(
    option: str, syntax: str, bits: int, program: Callable[[str], str], loop: Loop, tmp_path: Path
) -> None:
    smooth = np.add.outer(np.arange(48) * 3, np.arange(64) * 2) * (1 << bits - 8) % (1 << bits)
    native, coded, decoded = tmp_path / "native", tmp_path / "coded", tmp_path / "decoded"
    values = smooth.astype(np.uint8 if bits == 8 else "<u2")
    native.write_bytes(dicom(image(48, 64, values.tobytes(), bits=8 if bits == 8 else 16, stored=bits)))
    subprocess.run([program("dcmcjpeg"), option, native, coded], check=True, capture_output=True)
    assert pydicom.dcmread(coded).file_meta.TransferSyntaxUID == syntax
    subprocess.run([program("dcmdjpeg"), coded, decoded], check=True, capture_output=True)
    ours, theirs = Seen(Shown(loop, coded)), Seen(Shown(loop, decoded))
    assert ours.statuses == ["ok"]
    assert np.abs(ours.shown.picture().astype(int) - theirs.shown.picture()).max() <= 1
    cut = coded.read_bytes()
    end = cut.rindex(b"\xff\xd9")
    broken = Seen.of(loop, tmp_path, cut[:end] + b"\0\0" + cut[end + 2 :])
    assert broken.are([None])
    assert "fragments/0001" in broken.names


@pytest.mark.parametrize("kind", [*KINDS, "jp2"])
@pytest.mark.parametrize("says", KINDS)
def test_e24_content_overrules_the_syntax(kind: str, says: str, loop: Loop, tmp_path: Path) -> None:
    families = [{"jpeg 2000", "htj2k", "jp2"}]
    if kind == says or any({kind, says} <= family for family in families):
        return
    pictures, frames = film(kind, 3)
    seen = see(loop, tmp_path, says, flat(split(frames, 2)), 3)
    assert seen.are([*pictures])
    rules = {"E24", "E17"} if kind == "jp2" else {"E24"}
    assert seen.told(*rules)
    assert all("E24" in status and status.startswith("repaired") for status in seen.statuses)
    assert f"raw/0001.{EXTENSIONS[kind]}" in seen.names


@pytest.mark.parametrize("kind", KINDS)
def test_e24_a_syntax_that_nobody_knows(kind: str, loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film(kind, 3)
    seen = Seen.of(loop, tmp_path, file_of(encapsulated(frames), 3, "1.2.3.4.5.6"))
    assert seen.are([*pictures])
    assert seen.told("E24")


def test_e24_frames_of_different_kinds(loop: Loop, tmp_path: Path) -> None:
    made = [film(kind, 6) for kind in KINDS]
    frames = [coded.frames[number] for number, coded in enumerate(made)]
    pictures = [coded.pictures[number] for number, coded in enumerate(made)]
    seen = see(loop, tmp_path, "jpeg", frames, 6)
    assert seen.are([*pictures])
    assert [status == "ok" for status in seen.statuses] == [kind == "jpeg" for kind in KINDS]


def test_c12_scrambled_files_of_zeiss(loop: Loop, tmp_path: Path) -> None:
    pictures = [grey(number, 60, 70) for number in range(3)]
    scrambled = [scramble(pad(ENCODERS["jp2"](picture))) for picture in pictures]
    syntax = SYNTAXES["jpeg 2000"]
    seen = Seen.of(loop, tmp_path, dicom(image(60, 70, encapsulated(scrambled), frames=3, vr="OB"), syntax))
    assert seen.are([*pictures])
    assert seen.statuses == ["repaired (C12)"] * 3
    assert seen.told("C12")
    assert seen.shown.read("raw/0002.bin") == seen.shown.read("fragments/0002") == scrambled[1]
    # Of another device, too short, or damaged where the proof is: errors.
    broken = [scrambled[0][7:], scrambled[1][:1000], bytes(2000)]
    seen = see(loop, tmp_path, "jpeg 2000", broken, 3)
    assert seen.are([None] * 3)


def test_c12_another_size_is_an_error(loop: Loop, tmp_path: Path) -> None:
    frame = scramble(pad(ENCODERS["jp2"](grey(1, 60, 70))))
    seen = see(loop, tmp_path, "jpeg 2000", [frame], 1)
    assert seen.are([None])
    assert seen.statuses == ["error (E21)"]


def scramble(plain: bytes) -> bytes:
    """Scramble a JP2 file as Zeiss devices do: its bytes in order to where they are found, then the mask."""
    middle, size = 3 * len(plain) // 5, len(plain)
    places = [(middle, middle + 253), (993, 1016), (276, 763), (23, 276), (1016, middle)]
    places += [(0, 23), (763, 993), (middle + 253, size)]
    out, position = bytearray(size), 0
    for start, stop in places:
        out[start:stop] = plain[position : position + stop - start]
        position += stop - start
    assert position == size
    return bytes(byte ^ 0x5A if index % 7 == 0 else byte for index, byte in enumerate(out))


def test_c09_a_misplaced_comment(loop: Loop, tmp_path: Path) -> None:
    pictures, frames = film("jpeg 2000", 2)
    odd = [frame[:-2] + b"\xff\x64\0\x0b\0\1PADDING" + frame[-2:] for frame in frames]
    seen = see(loop, tmp_path, "jpeg 2000", odd, 2)
    assert seen.are([*pictures])
    assert seen.statuses == ["repaired (C9)"] * 2
    assert seen.told("C9")
    if "966.dcm" in FOUND:
        assert sample(loop, "966.dcm").statuses == ["repaired (C9)"]


def test_the_film_itself(loop: Loop) -> None:
    """What the other tests rest on: the encoders lose nothing, and their frames differ."""
    for kind in KINDS:
        made: Film = film(kind, 3)
        assert len(set(made.frames)) == 3
        assert made.pictures[0].min() == 0
        assert made.pictures[0].max() == 255
