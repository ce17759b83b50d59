"""One object: its frames are right or missing, what is wrong is told once, and nothing that a file says breaks us."""

import io
import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.archives import SAMPLES, sample_id
from support.builders import (
    DEFLATED,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    EXTENDED_OFFSET_TABLE,
    IMPLICIT_LITTLE,
    JPEG,
    MPEG_4,
    PIXEL_DATA,
    RLE,
    Raw,
    Value,
    acr_nema,
    bits,
    codestream,
    data_set,
    dicom,
    encapsulated,
    image,
    items,
    offsets,
    pieces,
)
from support.mounting import Loop
from support.object_directories import Shown

from dicomfs.codecs.registry import decode
from dicomfs.dicom.data_set import DataSet
from dicomfs.dicom.stream import Memory
from dicomfs.instance.instance import Instance, load
from dicomfs.pixeldata.pixel_data import number_of_frames
from dicomfs.sources.local import LocalSource


def frames_of(file: bytes) -> tuple[list[bytes | None], Instance]:
    """Give the bytes of each frame, None where there is an error, and the object."""
    instance = load(Memory(file))
    assert instance.pixels is not None, instance.problems
    stream = instance.inflated or Memory(file)
    found: list[bytes | None] = []
    for frame in range(len(instance.pixels.frames)):
        extents = instance.pixels.frames.extents(frame)
        found.append(b"".join(stream.pread(length, offset) for offset, length in extents) if extents else None)
    return found, instance


def told(instance: Instance, rule: str) -> bool:
    return any(f"({rule})" in problem for problem in instance.problems)


def jpeg(shade: int, side: int = 16) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((side, side), shade, np.uint8)).save(buffer, "JPEG", quality=95)
    data = buffer.getvalue()
    return data + b"\0" * (len(data) % 2)


def values(file: bytes, frame: int) -> np.ndarray:
    """Decode one frame."""
    found, instance = frames_of(file)
    data = found[frame]
    assert instance.pixels is not None
    assert data is not None
    return decode(data, instance.pixels.format, instance.pixels.frames.bit_offset(frame)).values


# What is there


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG])
@pytest.mark.parametrize("meta", [False, True])
def test_native_frames_of_every_encoding(syntax: str, meta: bool) -> None:
    pixels = bytes(range(48))
    found, instance = frames_of(dicom(image(2, 4, pixels, frames=3, bits=16), syntax, preamble=meta, meta=meta))
    assert found == [pixels[:16], pixels[16:32], pixels[32:]]
    assert instance.transfer_syntax == syntax or not meta
    assert instance.fragments is None
    assert instance.inflated is None
    assert instance.weight > 0
    if meta:
        assert instance.problems == ()


def test_acr_nema() -> None:
    found, _ = frames_of(acr_nema(4, 4, bytes(range(16))))
    assert found == [bytes(range(16))]


def test_deflated_extents_refer_to_the_inflated_data_set() -> None:
    pixels = bytes(range(32))
    deflater = zlib.compressobj(wbits=-15)
    body = deflater.compress(data_set(image(4, 4, pixels, frames=2))) + deflater.flush()
    file = dicom({}, DEFLATED, tail=body + b"\0" * (len(body) % 2))
    found, instance = frames_of(file)
    assert found == [pixels[:16], pixels[16:]]
    assert instance.inflated is not None
    assert instance.weight > instance.inflated.size


def test_encapsulated_frames_and_fragments() -> None:
    frames = [codestream(number, 300) for number in range(3)]
    split = [pieces(frame, 2) for frame in frames]
    flat = [fragment for frame in split for fragment in frame]
    found, instance = frames_of(dicom(image(4, 4, encapsulated(flat, offsets(split)), frames=3, vr="OB"), JPEG))
    assert found == frames
    # These are no codestreams, and that is all that is wrong.
    assert instance.problems == ("all frames cannot be read: the codestream ends inside its header",)
    assert instance.fragments is not None
    assert len(instance.fragments) == 7


def test_extended_offset_table_of_the_data_set() -> None:
    frames = [bytes([number]) * 60 for number in range(1, 5)]
    table = struct.pack("<4Q", *offsets([[frame] for frame in frames]))
    for value, rule in ((table, ""), (b"", "E9"), (table[:8] * 4, "E9"), (table[:-3], "E9"), (bytes(80_000), "E9")):
        more = {EXTENDED_OFFSET_TABLE: ("OV", value)}
        file = dicom(image(6, 10, encapsulated(frames), frames=4, vr="OB", more=more), ENCAPSULATED_UNCOMPRESSED)
        found, instance = frames_of(file)
        assert found == frames
        assert told(instance, rule) if rule else not instance.problems


def test_no_pixels() -> None:
    elements = image(4, 4, b"")
    del elements[PIXEL_DATA]
    instance = load(Memory(dicom(elements)))
    assert (instance.pixels, instance.fragments) == (None, None)
    assert instance.problems == ("the object is an image by its class, but has no Pixel Data (M7)",)
    elements[0x00287FE0] = ("UR", "http://127.0.0.1:9/pixels")
    instance = load(Memory(dicom(elements)))
    assert instance.pixels is None
    assert any("nothing is fetched" in problem for problem in instance.problems)
    assert "127.0.0.1" not in str(instance.problems)


def test_video_is_one_stream_and_no_frames() -> None:
    instance = load(Memory(dicom(image(16, 16, encapsulated([b"ab" * 50, b"cd"]), frames=9, vr="OB"), MPEG_4)))
    assert instance.pixels is None
    assert instance.fragments is not None
    assert len(instance.fragments) == 3


def test_what_is_no_dicom_is_told() -> None:
    for data in (b"", b"text" * 100, b"PK\x03\x04" + bytes(500)):
        instance = load(Memory(data))
        assert instance.parsed is None
        assert instance.pixels is None
        assert len(instance.problems) == 1
        assert instance.transfer_syntax == ""
        assert instance.weight >= 0


# Numbers of frames


@pytest.mark.parametrize("frames", ["1A", "-5", "0", "2147483647", "99999999999999999999", "1.5", "abc", "\x7f", "+"])
def test_l4_lies_about_the_number_of_frames(frames: str) -> None:
    found, instance = frames_of(dicom(image(4, 4, bytes(range(32)), frames=frames)))
    assert bytes(range(16)) in found[:1]
    assert len(found) <= 2
    assert told(instance, "L4") or told(instance, "N3")


@pytest.mark.parametrize("frames", [None, "", " ", "1", "+1", " 1 ", "1.0"])
def test_numbers_of_frames_that_mean_one(frames: str | None) -> None:
    found, instance = frames_of(dicom(image(4, 4, bytes(16), frames=frames)))
    assert (found, instance.problems) == ([bytes(16)], ())


@pytest.mark.parametrize(("rows", "columns"), [(65535, 65535), (0, 4), (4, 0)])
def test_l4_n20_sizes_that_are_none(rows: int, columns: int) -> None:
    instance = load(Memory(dicom(image(rows, columns, bytes(16), frames=1_000_000))))
    assert instance.pixels is None or not any(
        instance.pixels.frames.extents(frame) for frame in range(len(instance.pixels.frames))
    )
    assert instance.problems


def test_number_of_frames_of_an_empty_data_set() -> None:
    assert number_of_frames(DataSet()) == (1, ())


# Native data


def test_n01_odd_length() -> None:
    pixels = bytes(range(27))
    found, instance = frames_of(dicom(image(3, 3, pixels + b"\0", samples=3)))
    assert (found, instance.problems) == ([pixels], ())


def test_n02_longer() -> None:
    found, instance = frames_of(dicom(image(4, 4, bytes(range(40)), frames=2)))
    assert found == [bytes(range(16)), bytes(range(16, 32))]
    assert told(instance, "N2")


@pytest.mark.parametrize("last_padded", [True, False])
@pytest.mark.parametrize("unit", [1, 2])
def test_n02_frames_that_each_begin_at_a_byte_or_are_padded_to_even(unit: int, last_padded: bool) -> None:
    """13 x 13 single bits take 22 bytes, 3 x 3 of RGB 27: the length tells how each is padded."""
    mask = [bytes(22 * [frame + 1])[:-1] + bytes([frame & 1]) for frame in range(5)]
    colour = [bytes([frame + 1] * 27) for frame in range(5)]
    for frames, more in (
        (mask, {"bits": 1, "rows": 13, "columns": 13}),
        (colour, {"samples": 3, "rows": 3, "columns": 3}),
    ):
        if unit == 1 and more is not None and "samples" in more:
            continue  # each begins at a byte anyway
        padded = [frame + bytes(-len(frame) % unit) for frame in frames]
        if not last_padded:
            padded[-1] = frames[-1]
        shape = dict(more)
        rows, columns = int(str(shape.pop("rows"))), int(str(shape.pop("columns")))
        found, instance = frames_of(dicom(image(rows, columns, b"".join(padded), frames=5, vr="OB", **shape)))
        assert found == frames
        assert told(instance, "N2")


def test_n02_single_bits_without_padding_stay_packed() -> None:
    packed = bits([[1] * 169, [0] * 169, [1] * 169])
    found, instance = frames_of(dicom(image(13, 13, packed, frames=3, bits=1, vr="OB")))
    assert instance.problems == ()
    assert found[1] == packed[21:43]


@pytest.mark.parametrize(("rows", "spare"), [(3, 1), (3, 7), (3, 15)])
def test_n02_frames_are_refused_where_nothing_tells_where_they_begin(rows: int, spare: int) -> None:
    """Five frames of nine bytes each, and a few more bytes than their padding would be."""
    data = bytes(range(45 + 2 * spare))
    instance = load(Memory(dicom(image(rows, 3, data, frames=5, vr="OB"))))
    if len(data) in (46, 50, 49):
        assert instance.pixels is not None
        return
    assert instance.pixels is None
    assert told(instance, "N2")


def test_n02_padded_frames_of_overlays() -> None:
    plane = {
        0x60000010: ("US", 13), 0x60000011: ("US", 13), 0x60000015: ("IS", "3"), 0x60000040: ("CS", "G"),
        0x60000050: ("SS", (1, 1)), 0x60000051: ("US", 1), 0x60000100: ("US", 1), 0x60000102: ("US", 0),
        0x60003000: ("OB", bytes([1] * 22 + [2] * 22 + [3] * 22)),
    }  # fmt: skip
    instance = load(Memory(dicom(image(13, 13, bytes(507), frames=3, more=plane))))
    (overlay,) = instance.overlays
    assert overlay.frames is not None
    assert [overlay.frames.bit_offset(frame) for frame in (0, 1)] == [0, 0]
    (first,), (second,) = (overlay.frames.extents(frame) for frame in (0, 1))
    assert (second.offset - first.offset, second.length) == (22, 22)
    assert told(instance, "G20")


def test_padded_frames_reach_every_file(tmp_path: Path) -> None:
    """Arrays, pictures and copies: the padding is in none of them."""
    frames = (np.arange(5 * 27).reshape(5, 3, 3, 3) * 3 % 251).astype(np.uint8)
    padded = b"".join(frame.tobytes() + b"\xee" for frame in frames)
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(image(3, 3, padded, frames=5, samples=3, vr="OB")))
    loop = Loop()
    try:
        shown = Shown(loop, path)
        assert np.array_equal(np.load(io.BytesIO(shown.read("pixels.npy"))), frames)
        for frame in range(5):
            assert np.array_equal(shown.picture(frame + 1), frames[frame])
            assert shown.read(f"raw/{frame + 1:04}.bin") == frames[frame].tobytes()
        copy = pydicom.dcmread(io.BytesIO(shown.read("native.dcm")))
        assert np.array_equal(copy.pixel_array, frames)
    finally:
        loop.close()


def test_h21_more_or_longer_values_are_told_where_they_were_used() -> None:
    more: dict[int, tuple[str, Value]] = {
        0x00280010: ("US", (4, 7)),
        0x00281052: ("DS", "0\\5"),
        0x00281053: ("DS", "1.2345678901234567"),
        0x00180050: ("DS", "1.2345678901234567"),  # of no importance for pixels
        0x00181020: ("LO", "several\\values"),
    }
    assert load(Memory(dicom(image(4, 4, bytes(16), more=more)))).problems == (
        "Rows has 2 values instead of one; the first is used (H21)",
        "RescaleIntercept has 2 values instead of one; the first is used (H21)",
        "RescaleSlope is longer than its VR allows; it is used all the same (H21)",
    )


@pytest.mark.parametrize("creator", ["ELSCINT1", "DOE^JANE"])
def test_m7_pixels_in_a_private_element_are_named(creator: str) -> None:
    elements = image(32, 32, b"") | {0x07A10010: ("LO", creator), 0x07A1100A: ("OW", bytes(900))}
    del elements[PIXEL_DATA]
    (problem,) = load(Memory(dicom(elements))).problems
    assert "(07A1,100A)" in problem
    assert ("of ELSCINT1" in problem) == (creator == "ELSCINT1")
    assert "DOE" not in problem
    inner = {0x7FE10010: ("LO", "GEMS_Ultrasound_MovieGroup_001"), 0x7FE11060: ("OB", bytes(2000))}
    nested = {0x7FE10010: ("LO", "GEMS_Ultrasound_MovieGroup_001"), 0x7FE11001: ("SQ", [{0x7FE11010: ("SQ", [inner])}])}
    nested[0x7FE11010] = ("SQ", [inner])
    elements = {tag: value for tag, value in elements.items() if tag >> 16 != 0x07A1} | nested
    assert "(7FE1,1060) of GEMS_Ultrasound_MovieGroup_001" in str(load(Memory(dicom(elements))).problems)


def test_m7_objects_that_are_no_images_lack_no_pixels() -> None:
    for sop_class in ("1.2.840.10008.5.1.4.1.1.4.2", "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.481.5"):
        elements = image(4, 4, b"") | {0x00080016: ("UI", sop_class)}
        del elements[PIXEL_DATA]
        assert load(Memory(dicom(elements))).problems == ()
    elements[0x00080016] = ("UI", "1.2.3.4.5")  # of a class that nobody knows, but with a size
    assert told(load(Memory(dicom(elements))), "M7")


def test_n03_shorter() -> None:
    found, instance = frames_of(dicom(image(4, 4, bytes(range(40)), frames=3)))
    assert found == [bytes(range(16)), bytes(range(16, 32)), None]
    assert told(instance, "N3")


def test_n03_a_file_cut_in_its_pixels() -> None:
    file = dicom(image(4, 4, bytes(range(48)), frames=3))
    for cut in range(len(file) - 48, len(file)):
        found, instance = frames_of(file[:cut])
        there = (cut - len(file) + 48) // 16
        assert [frame is not None for frame in found] == [number < there for number in range(3)]
        assert instance.problems


def test_n06_frames_of_single_bits() -> None:
    wanted = [np.random.default_rng(number).integers(0, 2, 5 * 7) for number in range(5)]
    packed = bits([frame.tolist() for frame in wanted])
    for syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE):
        file = dicom(image(5, 7, packed, frames=5, bits=1, vr="OB"), syntax)
        assert load(Memory(file)).problems == ()
        for number, frame in enumerate(wanted):
            assert values(file, number).ravel().tolist() == frame.tolist()


# Items where none should be, and the reverse


def test_e19_encapsulated_with_a_length() -> None:
    frames = [jpeg(60), jpeg(200)]
    value = items(frames)
    for syntax in (JPEG, EXPLICIT_LITTLE):
        file = dicom(image(16, 16, value, frames=2, vr="OB"), syntax)
        found, instance = frames_of(file)
        assert found == frames
        assert told(instance, "E19")
        assert [round(values(file, number).mean()) for number in range(2)] == [60, 200]


def test_e19_items_in_a_native_file_are_decoded_as_what_they_are() -> None:
    """Taken as native, a compressed frame that is longer than its pixels would show as noise."""
    file = dicom(image(16, 16, encapsulated([jpeg(60), jpeg(200)]), frames=2, vr="OB"), EXPLICIT_LITTLE)
    assert len(jpeg(60)) > 256
    assert [round(values(file, number).mean()) for number in range(2)] == [60, 200]
    native = [bytes([number]) * 256 for number in (7, 8)]
    file = dicom(image(16, 16, encapsulated(native), frames=2, vr="OB"), EXPLICIT_LITTLE)
    assert [values(file, number).mean() for number in range(2)] == [7, 8]


@pytest.mark.parametrize("syntax", [JPEG, RLE, ENCAPSULATED_UNCOMPRESSED])
def test_e19_native_data_in_an_encapsulated_syntax(syntax: str) -> None:
    pixels = bytes(range(32))
    file = dicom(image(4, 4, pixels, frames=2), syntax)
    assert told(load(Memory(file)), "E19")
    assert [values(file, number).tobytes() for number in range(2)] == [pixels[:16], pixels[16:]]


def test_e19_pixels_that_begin_like_an_item_are_pixels() -> None:
    pixels = b"\xfe\xff\x00\xe0" + struct.pack("<L", 4) + bytes(range(24))
    found, instance = frames_of(dicom(image(4, 4, pixels, bits=16)))
    assert (found, instance.problems) == ([pixels], ())


def test_an_empty_value_is_no_native_data() -> None:
    found, instance = frames_of(dicom(image(4, 4, b"", vr="OB"), JPEG))
    assert found == [None]
    assert not told(instance, "E19")


def test_n22_the_top_level_counts() -> None:
    icon: dict[int, tuple[str, Value]] = dict(image(2, 2, b"icon"))
    more = {0x00880200: ("SQ", [icon]), 0x7FE00008: ("OF", bytes(64))}
    found, instance = frames_of(dicom(image(4, 4, bytes(range(16)), more=more)))
    assert found == [bytes(range(16))]
    assert told(instance, "N22")
    elements = image(4, 4, b"", more={0x00880200: ("SQ", [icon])})
    del elements[PIXEL_DATA]
    assert load(Memory(dicom(elements))).pixels is None


def test_what_is_wrong_is_told_once() -> None:
    frames = [codestream(number) for number in range(3)]
    file = dicom(image(4, 4, encapsulated(frames, delimited=False), frames=3, vr="OB"), JPEG)
    for cut in (0, 5, 50):
        problems = load(Memory(file[: len(file) - cut])).problems
        assert problems
        assert len(problems) == len(set(problems))
        assert all("1.2.3.4" not in problem for problem in problems)


# Any file at all


def check(data: bytes) -> None:
    """Whatever *data* is: no exception, and all extents in the stream."""
    instance = load(Memory(data))
    assert instance.weight >= 0
    if instance.pixels is None:
        return
    stream = instance.inflated or Memory(data)
    frames = instance.pixels.frames
    assert instance.pixels.picture_samples in (1, 3)
    for frame in {*range(min(len(frames), 50)), len(frames) - 1} - {-1}:
        for offset, length in frames.extents(frame):
            assert length > 0
            assert 0 <= offset <= offset + length <= stream.size


BASES = [
    dicom(
        image(4, 4, encapsulated([codestream(number) for number in range(3)], [0, 60, 110]), frames=3, vr="OB"), JPEG
    ),
    dicom(image(4, 4, bytes(96), frames=2, samples=3)),
    dicom(image(5, 7, bytes(20), frames=4, bits=1), EXPLICIT_BIG),
    dicom(image(4, 4, Raw(bytes(16), 0xFFFFFFF0)), IMPLICIT_LITTLE, preamble=False),
    acr_nema(4, 4, bytes(16)),
]


@given(st.sampled_from(BASES), st.lists(st.tuples(st.integers(0, 2000), st.binary(min_size=1, max_size=4)), max_size=6))
@settings(max_examples=1500, deadline=None)
def test_any_damage_leaves_an_instance(base: bytes, damages: list[tuple[int, bytes]]) -> None:
    data = bytearray(base)
    for place, damage in damages:
        at = 120 + place % (len(data) - 120)
        data[at : at + len(damage)] = damage
    check(bytes(data))


@pytest.mark.parametrize("path", [path for path in SAMPLES if path.stat().st_size < 100_000][::4], ids=sample_id)
def test_damaged_samples_leave_an_instance(path: Path) -> None:
    chance = random.Random(path.name)
    original = path.read_bytes()
    for _ in range(15):
        data = bytearray(original)
        for _ in range(chance.randrange(1, 10)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        check(bytes(data[: chance.choice((len(data), chance.randrange(len(data) + 1)))]))


# Cost


def test_a_large_file_costs_small_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 frames of 1280 x 960 pixels of three bytes, encapsulated and native: a few kilobytes of 0.7 GB are read."""
    size, count = 1280 * 960 * 3, 200
    encapsulated_file, native_file = tmp_path / "encapsulated.dcm", tmp_path / "native.dcm"
    start = dicom(image(960, 1280, Raw(b"", 0xFFFFFFFF), frames=count, samples=3, vr="OB"), ENCAPSULATED_UNCOMPRESSED)
    with encapsulated_file.open("wb") as file:
        file.write(start + b"\xfe\xff\x00\xe0" + bytes(4))
        for number in range(count):
            file.write(b"\xfe\xff\x00\xe0" + struct.pack("<L", size))
            file.seek(len(start) + 8 + (number + 1) * (8 + size))
        file.write(b"\xfe\xff\xdd\xe0" + bytes(4))
    with native_file.open("wb") as file:
        file.write(dicom(image(960, 1280, Raw(b"", size * count), frames=count, samples=3, vr="OB")))
        file.truncate(file.tell() + size * count)
    lengths: list[int] = []
    pread = os.pread

    def counting(descriptor: int, length: int, offset: int) -> bytes:
        data = pread(descriptor, length, offset)
        lengths.append(len(data))
        return data

    source = LocalSource(str(tmp_path))
    for entry, most in zip(source.entries(b""), (count + 20, 20), strict=True):
        opened = source.open(entry.path, entry.fingerprint)
        with monkeypatch.context() as patch:
            patch.setattr(os, "pread", counting)
            instance = load(opened)
            assert instance.pixels is not None
            assert instance.problems == ()
        opened.close()
        assert [len(instance.pixels.frames.extents(frame)) for frame in (0, count - 1)] == [1, 1]
        assert len(lengths) <= most
        assert sum(lengths) < 200_000
        lengths.clear()
    source.close()


def test_declared_frames_cost_nothing() -> None:
    file = dicom(image(1, 1, bytes(1000), frames=2**31 - 1, bits=1))
    instance = load(Memory(file))
    assert instance.pixels is not None
    assert len(instance.pixels.frames) == 8000
