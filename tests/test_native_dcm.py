"""`native.dcm` beside pydicom, DCMTK, GDCM and dciodvfy; what it costs, and what it does with what is broken.

`ours` gives the stored values that `test_oracles` has compared with every decoder there is.
"""

import os
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from support.archives import SAMPLES
from support.builders import (
    DEFLATED,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    JPEG,
    JPEG_2000,
    JPEG_LS,
    MPEG_4,
    DataSet,
    Raw,
    bits,
    data_set,
    dicom,
    element,
    encapsulated,
    image,
    offsets,
)
from support.copying import SOURCES, copies, frames, kinds, read
from support.decoding import read_at
from support.mounting import Loop, files_below, mounted, read_all, tree_of
from support.object_directories import Shown
from support.oracles import Ours, as_stored, ask_dcmtk, ask_gdcm, ours

from dicomfs.instance.uncompressed_format import MAX_VALUE_BYTES, NOT_WHOLE, TOO_LONG

# JPEG processes that are never lossless.
LOSSY = [f"1.2.840.10008.1.2.4.{number}" for number in range(50, 57)]
GE_PRIVATE = "1.2.840.113619.5.2"
# Errors that dciodvfy sees in the copy and not in the source.
WORSE = {
    "image_dfl.dcm": "it does not read deflated data sets, so that it sees no error there",
    "bad_sequence.dcm": "a senseless SOP Instance UID is in the meta information, too",
    "JPEGLossless_1s_1f_i_16_16_bad.dcm": "a senseless SOP Instance UID is in the meta information, too",
}


def native(loop: Loop, path: Path) -> bytes | OSError | None:
    """Give native.dcm of a file; None where there is none."""
    return copies(loop, path, "native.dcm").get("native.dcm")


def of(loop: Loop, folder: Path, data: bytes) -> bytes:
    return Shown.of(loop, folder, data).read("native.dcm")


# Samples


def check(loop: Loop, path: Path, program: Callable[[str], str], folder: Path) -> None:
    data = path.read_bytes()
    mine, copy = ours(data), native(loop, path)
    if mine is None:
        assert not isinstance(copy, OSError)
        assert copy is None or not {0x7FE00008, 0x7FE00009, 0x7FE00010} & read(copy).keys()
        return
    broken = [values for values in mine.frames if isinstance(values, str)]
    if broken:
        assert isinstance(copy, OSError)
        assert copy.strerror in (*broken, "frame 1 is declared but not in the file")
        return
    assert isinstance(copy, bytes)
    dataset = read(copy)
    attributes_are_right(dataset, mine)
    if path.name != "no_meta.dcm":  # pydicom misreads it: there is a stray byte before the first element
        identity_is_kept(dataset, path)
    place = folder / "native.dcm"
    place.write_bytes(copy)
    count = int(dataset.get("NumberOfFrames") or 1)
    answers = {
        "pydicom": list(frames(pydicom.pixels.pixel_array(dataset, raw=True), count)),
        "DCMTK": ask_dcmtk(place, EXPLICIT_LITTLE, False, program, folder),
        "GDCM": ask_gdcm(place, False, program, folder),
    }
    for who, given in answers.items():
        for values, expected in zip(given, mine.frames, strict=False):
            if values is not None:
                assert isinstance(expected, np.ndarray)
                assert np.array_equal(as_stored(values, mine).astype(expected.dtype), expected), who
    assert count == len(mine.instance.pixels.frames)


def attributes_are_right(dataset: pydicom.FileDataset, mine: Ours) -> None:
    """What depends on the encoding is what an uncompressed file says."""
    assert mine.instance.pixels
    fmt = mine.instance.pixels.format
    assert dataset.file_meta.TransferSyntaxUID == EXPLICIT_LITTLE
    assert not {0x7FE00001, 0x7FE00002, 0x7FE00003, 0xFFFCFFFC} & dataset.keys()
    assert dataset.get("SOPInstanceUID") in (None, "", dataset.file_meta.get("MediaStorageSOPInstanceUID"))
    element = next(dataset[tag] for tag in (0x7FE00008, 0x7FE00009, 0x7FE00010) if tag in dataset)
    allowed = {0x7FE00008: ("OF",), 0x7FE00009: ("OD",)}
    assert element.VR in allowed.get(element.tag, ("OW",) if dataset.BitsAllocated > 8 else ("OB", "OW"))
    if fmt.samples > 1:
        assert dataset.PhotometricInterpretation in ("RGB", "YBR_FULL", "YBR_FULL_422")
        assert (dataset.PhotometricInterpretation == "RGB") == mine.rgb


def identity_is_kept(copy: pydicom.FileDataset, path: Path) -> None:
    """It is the same instance of the same series, and as lossy as before."""
    source = pydicom.dcmread(path, force=True, stop_before_pixels=True)
    for name in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert copy.get(name) == source.get(name), name
    lossy = copy.get("LossyImageCompression")
    syntax = source.file_meta.get("TransferSyntaxUID", "") if "file_meta" in source.__dict__ else ""
    assert lossy == ("01" if syntax in LOSSY else source.get("LossyImageCompression"))
    for name in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        assert copy.get(name) == source.get(name), name


# pydicom warns of senseless values.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", kinds(), ids=lambda path: path.name)
def test_a_sample_of_each_kind(path: Path, loop: Loop, program: Callable[[str], str], tmp_path: Path) -> None:
    check(loop, path, program, tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_sample(path: Path, loop: Loop, program: Callable[[str], str], tmp_path: Path) -> None:
    check(loop, path, program, tmp_path)


def errors(path: Path, program: Callable[[str], str]) -> set[str]:
    done = subprocess.run([program("dciodvfy"), path], capture_output=True, check=False)
    lines = (done.stdout + done.stderr).decode("latin-1").splitlines()
    return {line for line in lines if line.startswith("Error")}


def verify(loop: Loop, path: Path, program: Callable[[str], str], folder: Path) -> None:
    """Dciodvfy finds no error that the source has not, and dcmdump reads all."""
    copy = native(loop, path)
    if not isinstance(copy, bytes):
        return
    place = folder / "native.dcm"
    place.write_bytes(copy)
    worse = errors(place, program) - errors(path, program)
    assert bool(worse) == (path.name in WORSE), worse
    subprocess.run([program("dcmdump"), "-q", place], stdout=subprocess.DEVNULL, check=True)


@pytest.mark.parametrize("path", kinds()[::4], ids=lambda path: path.name)
def test_dciodvfy_finds_nothing_new(path: Path, loop: Loop, program: Callable[[str], str], tmp_path: Path) -> None:
    verify(loop, path, program, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_dciodvfy_finds_nothing_new_anywhere(
    path: Path, loop: Loop, program: Callable[[str], str], tmp_path: Path
) -> None:
    verify(loop, path, program, tmp_path)


def test_programs_read_it_out_of_the_mount(tmp_path: Path, program: Callable[[str], str]) -> None:
    path = next(path for path in SAMPLES if path.name == "SC_rgb_rle_2frame.dcm")
    archive, place = tmp_path / "archive", tmp_path / "mount"
    archive.mkdir()
    place.mkdir()
    (archive / "rgb.dcm").write_bytes(path.read_bytes())
    with mounted(archive, place) as mount:
        shown = mount.path / "rgb.dcm" / "native.dcm"
        expected = pydicom.dcmread(path).pixel_array
        assert np.array_equal(pydicom.dcmread(shown).pixel_array, expected)
        for index, given in enumerate(ask_gdcm(shown, False, program, tmp_path)):
            assert given is not None
            assert np.array_equal(given, expected[index])
        dumped = subprocess.run([program("dcmdump"), shown], capture_output=True, check=True).stdout
        assert b"=LittleEndianExplicit" in dumped


# Native sources: their bits stay


GREY = np.arange(6 * 5, dtype="<u2").reshape(6, 5) * 2001


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED, GE_PRIVATE])
@pytest.mark.parametrize(("allocated", "vr"), [(8, "OB"), (8, "OW"), (16, "OW"), (32, "OW"), (64, "OW")])
def test_byte_orders(syntax: str, allocated: int, vr: str, loop: Loop, tmp_path: Path) -> None:
    """Odd lengths too: the last word of big endian OW has a pad byte (N1, N4)."""
    values = (np.arange(15) * 17).astype(f"<u{allocated // 8}").reshape(1, 3, 5)
    pixels = values.tobytes() + bytes(values.nbytes % 2)
    if syntax in (EXPLICIT_BIG, GE_PRIVATE):
        word = 2 if (allocated, vr) == (8, "OW") else allocated // 8
        pixels = np.frombuffer(pixels, f">u{word}").astype(f"<u{word}").tobytes()
    elements = image(3, 5, pixels, bits=allocated, vr=vr)
    encoding = IMPLICIT_LITTLE if syntax == GE_PRIVATE else EXPLICIT_LITTLE if syntax == DEFLATED else syntax
    body = data_set(elements, encoding)
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-15)
        body = packer.compress(body) + packer.flush()
    if (syntax, vr, allocated) == (GE_PRIVATE, "OB", 8):
        return  # an implicit VR is OW
    dataset = read(of(loop, tmp_path, dicom({}, syntax) + body))
    assert dataset.PixelData == values.tobytes() + bytes(values.nbytes % 2)
    assert ("OB" if (allocated, vr, encoding) in _OCTETS else "OW") == dataset["PixelData"].VR


_OCTETS = {(8, "OB", EXPLICIT_LITTLE), (8, "OB", EXPLICIT_BIG)}


def test_bits_beside_the_stored_value_stay(loop: Loop, tmp_path: Path) -> None:
    """Overlays are there, and what nobody knows (G21, N11); nothing is shifted (N10)."""
    more: DataSet = {0x00280102: ("US", 13), 0x60000010: ("US", 6), 0x60000011: ("US", 5)}
    more |= {0x60000040: ("CS", "G"), 0x60000050: ("SS", (1, 1)), 0x60000100: ("US", 16), 0x60000102: ("US", 15)}
    dataset = read(of(loop, tmp_path, dicom(image(6, 5, GREY.tobytes(), bits=16, stored=12, more=more))))
    assert dataset.PixelData == GREY.tobytes()
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (16, 12, 13)


@pytest.mark.parametrize("vr", ["OF", "OD"])
def test_real_numbers_keep_their_element(vr: str, loop: Loop, tmp_path: Path) -> None:
    tag, size = (0x7FE00008, 4) if vr == "OF" else (0x7FE00009, 8)
    values = np.array([[1.5, -0.0], [np.inf, 1e-30]], f">f{size}")
    elements = {**image(2, 2, b"", bits=size * 8), tag: (vr, values.tobytes())}
    for name in (0x7FE00010, 0x00280101, 0x00280102, 0x00280103):
        del elements[name]
    dataset = read(of(loop, tmp_path, dicom(elements, EXPLICIT_BIG)))
    assert np.array_equal(dataset.pixel_array, values)
    assert 0x00280101 not in dataset


def test_planes_and_half_chrominance_stay(loop: Loop, tmp_path: Path) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (3, 4, 6), np.uint8)
    dataset = read(of(loop, tmp_path, dicom(image(4, 6, rgb.tobytes(), samples=3, planar=1))))
    assert np.array_equal(dataset.pixel_array, rgb.transpose(1, 2, 0))
    assert dataset.PlanarConfiguration == 1
    half = image(4, 6, rgb.tobytes()[:48], samples=3, photometric="YBR_FULL_422")
    dataset = read(of(loop, tmp_path, dicom(half, IMPLICIT_LITTLE)))
    assert dataset.PixelData == rgb.tobytes()[:48]
    assert dataset.PhotometricInterpretation == "YBR_FULL_422"
    # Called so, but with all of it (N2).
    full = image(4, 6, rgb.tobytes(), samples=3, photometric="YBR_FULL_422")
    assert read(of(loop, tmp_path, dicom(full))).PhotometricInterpretation == "YBR_FULL"


def test_twelve_bits_are_unpacked(loop: Loop, tmp_path: Path) -> None:
    """Packed samples are from ACR-NEMA, and most readers know none of them (N7)."""
    values = np.arange(2 * 3 * 3).reshape(2, 3, 3) * 200
    flat = values.reshape(-1).astype(np.uint16)
    packed = np.zeros((9, 3), np.uint8)
    packed[:, 0] = flat[::2] & 0xFF
    packed[:, 1] = flat[::2] >> 8 | (flat[1::2] & 0xF) << 4
    packed[:, 2] = flat[1::2] >> 4
    elements = image(3, 3, packed.tobytes() + b"\0", frames=2, bits=12)
    dataset = read(of(loop, tmp_path, dicom(elements)))
    assert np.array_equal(dataset.pixel_array, values)
    assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (16, 12, 11)


# Encapsulated sources


def encoded(values: np.ndarray, syntax: str) -> bytes:
    if syntax == JPEG_LS:
        return bytes(imagecodecs.jpegls_encode(values))
    if syntax == JPEG_2000:
        return bytes(imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", reversible=True))
    return values.tobytes()


NOISE = np.random.default_rng(2).integers(0, 4096, (3, 24, 20)).astype("<u2")


@pytest.mark.parametrize("syntax", [JPEG_LS, JPEG_2000, ENCAPSULATED_UNCOMPRESSED])
def test_compressed_grey(syntax: str, loop: Loop, tmp_path: Path) -> None:
    streams = [encoded(frame, syntax) for frame in NOISE]
    table = struct.pack("<3Q", *offsets([[stream] for stream in streams]))
    more = {0x7FE00001: ("OV", table), 0x7FE00002: ("OV", struct.pack("<3Q", *map(len, streams)))}
    elements = image(24, 20, encapsulated(streams), frames=3, bits=16, stored=12, vr="OB", more=more)
    dataset = read(of(loop, tmp_path, dicom(elements, syntax)))
    assert np.array_equal(dataset.pixel_array, NOISE)
    assert dataset["PixelData"].VR == "OW"
    assert (dataset.BitsStored, dataset.HighBit) == (12, 11)
    assert not {0x7FE00001, 0x7FE00002} & dataset.keys()
    assert "LossyImageCompression" not in dataset


@pytest.mark.parametrize("side", [16, 17])
def test_single_bits_are_packed_without_gaps(side: int, loop: Loop, tmp_path: Path) -> None:
    """Frames need not begin on a byte (N6)."""
    masks = np.random.default_rng(3).integers(0, 2, (5, side, side)).astype(np.uint8)
    streams = [np.packbits(mask, bitorder="little").tobytes() for mask in masks]
    elements = image(side, side, encapsulated(streams), frames=5, bits=1, vr="OB")
    shown = Shown.of(loop, tmp_path, dicom(elements, ENCAPSULATED_UNCOMPRESSED))
    copy = shown.read("native.dcm")
    assert copy.endswith(bits(masks.reshape(5, -1).tolist()))
    assert np.array_equal(read(copy).pixel_array, masks)


def jpeg(rgb: np.ndarray, **how: object) -> bytes:
    return bytes(imagecodecs.jpeg8_encode(rgb, level=90, **how))


def test_lossy_colour_is_what_its_decoder_gives(loop: Loop, tmp_path: Path) -> None:
    rgb = np.random.default_rng(4).integers(0, 256, (16, 16, 3), np.uint8)
    stream = jpeg(rgb)
    for more, lossy in (({}, "01"), ({0x00282110: ("CS", "00")}, "01"), ({0x00282110: ("CS", "01")}, "01")):
        elements = image(
            16, 16, encapsulated([stream]), samples=3, photometric="YBR_FULL_422", planar=1, vr="OB", more=more
        )
        dataset = read(of(loop, tmp_path, dicom(elements, JPEG)))
        assert (dataset.PhotometricInterpretation, dataset.PlanarConfiguration) == ("RGB", 0)
        assert dataset.LossyImageCompression == lossy
        assert np.array_equal(dataset.pixel_array, imagecodecs.jpeg8_decode(stream))


@pytest.mark.parametrize(("stated", "mct", "given"), [("YBR_RCT", True, "RGB"), ("YBR_FULL", False, "YBR_FULL")])
def test_colour_of_jpeg_2000(stated: str, mct: bool, given: str, loop: Loop, tmp_path: Path) -> None:
    values = np.random.default_rng(5).integers(0, 256, (16, 16, 3), np.uint8)
    stream = bytes(imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", reversible=True, mct=mct))
    elements = image(16, 16, encapsulated([stream]), samples=3, photometric=stated, vr="OB")
    dataset = read(of(loop, tmp_path, dicom(elements, JPEG_2000)))
    assert dataset.PhotometricInterpretation == given
    assert np.array_equal(pydicom.pixels.pixel_array(dataset, raw=True), values)


def test_a_frame_of_another_colour_space_is_an_error(loop: Loop, tmp_path: Path) -> None:
    """One header cannot be true of both (M8)."""
    values = np.random.default_rng(6).integers(0, 256, (16, 16, 3), np.uint8)
    streams = [
        bytes(imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", reversible=True, mct=mct))
        for mct in (False, True, False)
    ]
    data = dicom(image(16, 16, encapsulated(streams), frames=3, samples=3, photometric="YBR_FULL", vr="OB"), JPEG_2000)
    assert refusals(loop, tmp_path, data, 3, values.nbytes) == ["", "(M8)", ""]


def refusals(loop: Loop, folder: Path, data: bytes, count: int, each: int) -> list[str]:
    """Give for each frame of native.dcm the rule by which it cannot be read, or "" where it can."""
    path = folder / "broken.dcm"
    path.write_bytes(data)

    async def work() -> list[str]:
        with tree_of(loop, path) as top:
            file = dict(await files_below(top))[b"native.dcm"]
            content = await file.open()
            start, found = content.size - count * each, []
            assert len(await read_at(content, 0, start)) == start
            for frame in range(count):
                try:
                    assert len(await read_at(content, start + frame * each, each)) == each
                    found.append("")
                except OSError as error:
                    found.append((error.strerror or "").rpartition(" ")[2])
            content.close()
            return found

    return loop.run(work)


def test_lossy_samples_beyond_bits_stored(loop: Loop, tmp_path: Path) -> None:
    """The precision of a lossy stream is what bounds them (C6); of a lossless one Bits Stored does, or it is wrong."""
    values = np.full((16, 16), 1024, "<u2")
    stream = bytes(imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k", reversible=True, bitspersample=12))
    elements = image(16, 16, encapsulated([stream]), bits=16, stored=10, vr="OB")
    dataset = read(of(loop, tmp_path, dicom(elements, "1.2.840.10008.1.2.4.91")))
    assert (dataset.BitsStored, dataset.HighBit) == (12, 11)
    assert np.array_equal(dataset.pixel_array, values)
    assert refusals(loop, tmp_path, dicom(elements, JPEG_2000), 1, 512) == ["(C6)"]


def test_overlays_in_compressed_pixels_stay(loop: Loop, tmp_path: Path) -> None:
    values = NOISE[0] | (NOISE[1] & 1) << 15
    more: DataSet = {0x60000010: ("US", 24), 0x60000011: ("US", 20), 0x60000040: ("CS", "G")}
    more |= {0x60000050: ("SS", (1, 1)), 0x60000100: ("US", 16), 0x60000102: ("US", 15)}
    stream = encapsulated([encoded(values, JPEG_LS)])
    elements = image(24, 20, stream, bits=16, stored=12, vr="OB", more=more)
    dataset = read(of(loop, tmp_path, dicom(elements, JPEG_LS)))
    assert dataset.PixelData == values.tobytes()
    assert (dataset.BitsStored, dataset.HighBit) == (12, 11)


# What is broken


def test_bad_frames_are_errors_in_their_places_alone(loop: Loop, tmp_path: Path) -> None:
    streams = [encoded(frame, JPEG_2000) for frame in NOISE]
    streams[1] = streams[1][: len(streams[1]) // 2]
    data = dicom(image(24, 20, encapsulated(streams), frames=3, bits=16, stored=12, vr="OB"), JPEG_2000)
    assert refusals(loop, tmp_path, data, 3, NOISE[0].nbytes) == ["", "(E16)", ""]


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, EXPLICIT_BIG])
def test_missing_native_frames_are_errors(syntax: str, loop: Loop, tmp_path: Path) -> None:
    pixels = NOISE[:2].tobytes()[:-2]
    data = dicom(image(24, 20, Raw(pixels, NOISE.nbytes), frames=3, bits=16, stored=12), syntax)
    assert refusals(loop, tmp_path, data, 3, NOISE[0].nbytes) == ["", "file", "file"]


def test_copying_a_broken_file_fails_loudly(tmp_path: Path) -> None:
    streams = [encoded(frame, JPEG_2000) for frame in NOISE]
    streams[2] = streams[2][:100]
    archive, place = tmp_path / "archive", tmp_path / "mount"
    archive.mkdir()
    place.mkdir()
    data = dicom(image(24, 20, encapsulated(streams), frames=3, bits=16, stored=12, vr="OB"), JPEG_2000)
    (archive / "broken.dcm").write_bytes(data)
    with mounted(archive, place, warn=True) as mount:
        done = subprocess.run(
            ["cp", mount.path / "broken.dcm" / "native.dcm", tmp_path], capture_output=True, check=False
        )
    assert done.returncode == 1
    assert b"Input/output error" in done.stderr


def test_where_there_is_no_copy(loop: Loop, tmp_path: Path) -> None:
    """What cannot be decoded, lies elsewhere or is not whole; a DICOMDIR, whose offsets would be wrong."""
    video = dicom(image(16, 16, encapsulated([bytes(200)]), frames=3, samples=3, vr="OB"), MPEG_4)
    elsewhere = image(16, 16, b"", more={0x00287FE0: ("UR", "http://nowhere")})
    del elsewhere[0x7FE00010]
    jpip = dicom(elsewhere, "1.2.840.10008.1.2.4.94")
    directory = dicom({0x00041220: ("SQ", [{0x00041400: ("UL", 0)}])})
    for data in (video, jpip, directory):
        shown = Shown.of(loop, tmp_path, data)
        assert not {"native.dcm", "transcoded/rle.dcm"} & set(shown.names)
    cut = Shown.of(loop, tmp_path, dicom({0x00080060: ("CS", "OT"), 0x00204000: ("LT", Raw(b"abcd", 100))}))
    assert "native.dcm" not in cut.names
    assert NOT_WHOLE in cut.problems


def test_an_object_without_pixels_is_written_anew(loop: Loop, tmp_path: Path) -> None:
    report = {0x00080060: ("CS", "SR"), 0x0040A730: ("SQ", [{0x0040A040: ("CS", "TEXT")}])}
    assert of(loop, tmp_path, dicom(report, EXPLICIT_BIG)).endswith(data_set(report))


def test_number_of_frames_is_that_of_the_frames(loop: Loop, tmp_path: Path) -> None:
    """More than were declared are there (E5), or fewer than make sense."""
    streams = [encoded(frame, JPEG_2000) for frame in NOISE]
    elements = image(24, 20, encapsulated(streams), bits=16, stored=12, vr="OB", frames=1)
    dataset = read(of(loop, tmp_path, dicom(elements, JPEG_2000)))
    assert dataset.NumberOfFrames == 3
    assert np.array_equal(dataset.pixel_array, NOISE)


# Cost


def sparse(path: Path, elements: DataSet, length: int) -> None:
    """Write an object whose Pixel Data has *length* bytes, which take no space."""
    head = dicom(elements | {0x7FE00010: ("OW", Raw(b"", length))})
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(len(head) + length)


def test_as_much_as_a_length_can_state(loop: Loop, tmp_path: Path) -> None:
    """The size is arithmetic: nothing of the 4 GiB is looked at. One frame more would pass them."""
    path, side = tmp_path / "large.dcm", 1 << 12
    count = MAX_VALUE_BYTES // (side * side)
    sparse(path, image(side, side, b"", frames=count), count * side * side)
    shown = Shown(loop, path)
    assert "native.dcm" in shown.names

    async def tail() -> bytes:
        with tree_of(loop, path) as top:
            file = dict(await files_below(top, frames=2))[b"native.dcm"]
            content = await file.open()
            assert content.size == file.attributes.size > count * side * side
            data = bytes(await read_at(content, content.size - 10, 100))
            content.close()
            return data

    assert loop.run(tail) == bytes(10)


def test_more_than_a_length_can_state(loop: Loop, tmp_path: Path) -> None:
    """Compressed, it may well be there; so may the encapsulated copies."""
    stream = encoded(NOISE[0], JPEG_2000)
    count = MAX_VALUE_BYTES // NOISE[0].nbytes + 1
    small = image(24, 20, encapsulated([stream]), frames=1, bits=16, stored=12, vr="OB")
    large = image(8192, 8192, b"", frames=32, bits=16)
    assert count > 1_000_000
    assert "native.dcm" in Shown.of(loop, tmp_path, dicom(small, JPEG_2000)).names
    path = tmp_path / "large.dcm"
    sparse(path, large, MAX_VALUE_BYTES)
    shown = Shown(loop, path)
    assert "native.dcm" not in shown.names
    assert "transcoded/rle/large.dcm" in shown.names
    assert TOO_LONG in shown.problems


def test_only_what_is_read_is_decoded(loop: Loop, tmp_path: Path) -> None:
    frames = np.random.default_rng(7).integers(0, 256, (40, 256, 256), np.uint8)
    path = tmp_path / "film.dcm"
    streams = [encoded(frame, JPEG_2000) for frame in frames]
    path.write_bytes(dicom(image(256, 256, encapsulated(streams), frames=40, vr="OB"), JPEG_2000))

    async def work() -> tuple[int, int, int]:
        with tree_of(loop, path) as top:
            file = dict(await files_below(top, frames=2))[b"native.dcm"]
            before = loop.decoder.stats.decoded
            content = await file.open()
            start = content.size - frames.nbytes
            await read_at(content, 0, start)
            header = loop.decoder.stats.decoded - before
            part = await read_at(content, start + 30 * 65536 + 100, 50)
            assert bytes(part) == frames[30].tobytes()[100:150]
            one = loop.decoder.stats.decoded - before
            both = await read_at(content, start + 11 * 65536 - 8, 16)
            assert bytes(both) == frames[10].tobytes()[-8:] + frames[11].tobytes()[:8]
            content.close()
            return header, one, loop.decoder.stats.decoded - before

    assert loop.run(work) == (0, 1, 3)


def test_uncompressed_pixels_and_long_values_need_no_worker(loop: Loop, tmp_path: Path) -> None:
    long = os.urandom(1 << 17)
    path = tmp_path / "native.dcm"
    path.write_bytes(dicom(image(24, 20, NOISE.tobytes(), frames=3, bits=16, more={0x00420011: ("OB", long)})))

    async def work() -> bytes:
        with tree_of(loop, path) as top:
            before = loop.decoder.stats.decoded
            data = await read_all(dict(await files_below(top))[b"native.dcm"])
            assert loop.decoder.stats.decoded == before
            return data

    again = loop.run(work)
    assert element(0x00420011, "OB", long) in again
    assert again.endswith(NOISE.tobytes())
