"""Rows C of the fidelity table, compressed colour and sign: each rule on the tree, its pictures decoded by Pillow.

Samples are compared with pydicom and DCMTK, files made here with the pixels that were encoded.
"""

import functools
import struct
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import pixel_array
from support.builders import JPEG, JPEG_2000, JPEG_LS, dicom, encapsulated, image
from support.dcmtk import drawn_by_dcmtk
from support.mounting import Loop
from support.object_directories import FOUND, Shown, close, of_corpus, spread, window
from support.real_films import Seen

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import CodecError, decode

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"


def colours() -> np.ndarray:
    """Make a smooth picture with much colour."""
    y, x = np.mgrid[:48, :64]
    return np.dstack([y * 5, x * 4, 255 - y * 3]).astype(np.uint8)


def steps(signed: bool, bits: int) -> np.ndarray:
    """Make values over the whole range of *bits* bits."""
    low = -(1 << (bits - 1)) if signed else 0
    return np.linspace(low, low + (1 << bits) - 1, 48 * 64).astype(np.int64).reshape(48, 64)


@pytest.mark.parametrize(
    "name",
    of_corpus(
        "SC_jpeg_no_color_transform.dcm",
        "SC_jpeg_no_color_transform_2.dcm",
        "SC_rgb_jpeg_app14_dcmd.dcm",
        "SC_rgb_dcmtk_+eb+cr.dcm",
    ),
)
def test_c01_the_colours_of_a_jpeg_are_those_that_it_says_itself(loop: Loop, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        close(Shown(loop, FOUND[name]).picture(), pixel_array(FOUND[name], index=0), 2)


@functools.cache
@pytest.mark.parametrize("name", of_corpus("JPEGLosslessP14SV1_3s_2f_u_08_08.dcm", "SC_rgb_jpeg_gdcm.dcm"))
def test_c02_lossless_jpeg_is_not_transformed(
    loop: Loop, name: str, program: Callable[[str], str], tmp_path: Path
) -> None:
    for frame in range(1, 1 + int(pydicom.dcmread(FOUND[name]).get("NumberOfFrames", 1))):
        expected = drawn_by_dcmtk(program("dcmj2pnm"), FOUND[name], tmp_path, frame=frame)
        assert np.array_equal(Shown(loop, FOUND[name]).picture(frame), expected)


def test_c02_lossless_jpeg_of_ybr_is_converted_for_the_picture_alone(loop: Loop, tmp_path: Path) -> None:
    stream = bytes(imagecodecs.jpeg8_encode(colours(), lossless=True))
    plain = stream
    while plain[3] & 0xF0 == 0xE0:  # the segments in front, of which Adobe's says that nothing was transformed
        plain = plain[:2] + plain[4 + int.from_bytes(plain[4:6], "big") :]
    assert b"Adobe" in stream
    assert b"Adobe" not in plain
    for data, photometric, drawn_as in (
        (plain, "RGB", "RGB"),
        (plain, "YBR_FULL", "YBR_FULL"),
        (stream, "YBR_FULL", "YBR_FULL"),
    ):
        elements = image(48, 64, encapsulated([data]), samples=3, photometric=photometric, vr="OB")
        native = image(48, 64, colours().tobytes(), samples=3, photometric=drawn_as)
        picture = Shown.of(loop, tmp_path, dicom(elements, JPEG_LOSSLESS)).picture()
        assert np.array_equal(picture, Shown.of(loop, tmp_path, dicom(native)).picture())


@pytest.mark.parametrize("name", of_corpus("JLSL_RGB_ILV0.dcm", "JLSL_RGB_ILV1.dcm", "JLSL_RGB_ILV2.dcm"))
def test_c03_jpeg_ls_interleaves_in_three_ways(
    loop: Loop, name: str, program: Callable[[str], str], tmp_path: Path
) -> None:
    expected = drawn_by_dcmtk(program("dcml2pnm"), FOUND[name], tmp_path)
    assert np.array_equal(Shown(loop, FOUND[name]).picture(), expected)


def test_c03_jpeg_ls_of_ybr_is_ybr(loop: Loop, tmp_path: Path) -> None:
    stream = bytes(imagecodecs.jpegls_encode(colours()))
    for photometric in ("RGB", "YBR_FULL"):
        elements = image(48, 64, encapsulated([stream]), samples=3, photometric=photometric, vr="OB")
        native = image(48, 64, colours().tobytes(), samples=3, photometric=photometric)
        picture = Shown.of(loop, tmp_path, dicom(elements, JPEG_LS)).picture()
        assert np.array_equal(picture, Shown.of(loop, tmp_path, dicom(native)).picture())


@pytest.mark.parametrize("name", of_corpus("SC_rgb_gdcm_KY.dcm", "GDCMJ2K_TextGBR.dcm"))
def test_c04_samples_with_a_contradicting_colour_transform(loop: Loop, name: str) -> None:
    close(Shown(loop, FOUND[name]).picture(), pixel_array(FOUND[name], index=0), 2)


@pytest.mark.parametrize(
    ("mct", "photometric", "drawn_as"),
    [
        (True, "RGB", "RGB"),
        (True, "YBR_FULL", "RGB"),
        (False, "YBR_FULL", "YBR_FULL"),
        (False, "YBR_RCT", "RGB"),
        (False, "RGB", "RGB"),
    ],
)
def test_c04_the_stream_says_whether_colours_were_transformed(
    loop: Loop, tmp_path: Path, mct: bool, photometric: str, drawn_as: str
) -> None:
    stream = imagecodecs.jpeg2k_encode(colours(), codecformat="j2k", reversible=True, mct=mct)
    elements = image(48, 64, encapsulated([stream]), samples=3, photometric=photometric, vr="OB")
    native = image(48, 64, colours().tobytes(), samples=3, photometric=drawn_as)
    shown = Shown.of(loop, tmp_path, dicom(elements, JPEG_2000))
    assert np.array_equal(shown.picture(), Shown.of(loop, tmp_path, dicom(native)).picture())
    contradicts = photometric == ("YBR_FULL" if mct else "YBR_RCT")
    assert ("C4" in shown.read("frames.json").decode()) == contradicts


@pytest.mark.parametrize("name", of_corpus("J2K_pixelrep_mismatch.dcm", "TOSHIBA_J2K_SIZ0_PixRep1.dcm"))
def test_c05_pixel_representation_overrules_the_sign_of_the_stream(loop: Loop, name: str) -> None:
    dataset = pydicom.dcmread(FOUND[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)
    center, width = (float(np.atleast_1d(dataset[word].value)[0]) for word in ("WindowCenter", "WindowWidth"))
    expected = np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1) * 255
    shown = Shown(loop, FOUND[name])
    close(shown.picture(), expected)
    assert "C5" in shown.read("frames.json").decode()


@pytest.mark.parametrize(("compressed", "truth", "most"), [("693_J2KR", "693_UNCR", 0), ("693_J2KI", "693_UNCI", 0)])
def test_c06_the_precision_of_the_stream_rescales_nothing(loop: Loop, compressed: str, truth: str, most: int) -> None:
    expected = Shown(loop, FOUND[f"{truth}.dcm"]).picture().astype(int)
    drawn = Shown(loop, FOUND[f"{compressed}.dcm"]).picture()
    assert np.abs(drawn - expected).max() <= most


@pytest.mark.parametrize("stream_bits", [10, 12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_c06_c07_the_sign_lies_where_the_samples_end(
    loop: Loop, tmp_path: Path, signed: bool, stream_bits: int
) -> None:
    """Streams of more and of fewer bits than Bits Stored says: 12."""
    bits = min(stream_bits, 12)
    values = steps(signed, bits)
    words = (values & ((1 << bits) - 1)).astype("<u2")
    streams = {
        JPEG_2000: imagecodecs.jpeg2k_encode(words, codecformat="j2k", reversible=True, bitspersample=stream_bits),
        JPEG_LOSSLESS: bytes(imagecodecs.jpeg8_encode(words, lossless=True, bitspersample=stream_bits)),
    }
    if stream_bits >= 12:  # always coded with 16 bits here
        streams[JPEG_LS] = bytes(imagecodecs.jpegls_encode(words))
    low, high = int(values.min()), int(values.max())
    for syntax, stream in streams.items():
        elements = image(
            48, 64, encapsulated([stream]), bits=16, stored=12, signed=signed, vr="OB", more=window(low, high)
        )
        close(Shown.of(loop, tmp_path, dicom(elements, syntax)).picture(), spread(values, low, high))


@pytest.mark.parametrize("name", of_corpus("JLSL_16_15_1_1F.dcm"))
def test_c07_signed_jpeg_ls(loop: Loop, name: str, program: Callable[[str], str], tmp_path: Path) -> None:
    plain = tmp_path / "plain.dcm"
    subprocess.run([program("dcmdjpls"), FOUND[name], plain], check=True, capture_output=True)
    values = pydicom.dcmread(plain).pixel_array
    assert values.min() < 0
    close(Shown(loop, FOUND[name]).picture(), spread(values, values.min(), values.max()))


@pytest.mark.parametrize("name", of_corpus("JPEGLossless_1s_1f_i_16_16_bad.dcm"))
def test_c08_a_predictor_that_overflowed_is_undone(
    loop: Loop, name: str, program: Callable[[str], str], tmp_path: Path
) -> None:
    plain = tmp_path / "plain.dcm"
    # DCMTK makes an image of it when it is told of the fault of the encoder.
    subprocess.run([program("dcmdjpeg"), "+w6", FOUND[name], plain], check=True, capture_output=True)
    values = pydicom.dcmread(plain).pixel_array.astype(float) - 1024
    expected = np.clip((values - 549.5) / 1999 + 0.5, 0, 1) * 255
    expected[values == -3024] = 0
    close(Shown(loop, FOUND[name]).picture(), expected)


def test_c08_a_right_encoder_is_believed() -> None:
    """Values around 0 make predictor 6 leave 16 bits everywhere, which a right encoder handles."""
    noise = np.random.default_rng(3).normal(0, 20, (48, 64))
    values = (steps(True, 12) / 4 + noise).astype("<i2")
    stream = bytes(imagecodecs.jpeg8_encode(values.view("<u2"), lossless=True, bitspersample=16, predictor=6))
    fmt = PixelFormat(48, 64, 1, 16, 16, 15, True, "MONOCHROME2", False, JPEG_LOSSLESS)
    decoded = decode(stream, fmt)
    assert np.array_equal(decoded.values, values)
    assert decoded.repairs == ()


def signed_steps() -> np.ndarray:
    """Make a smooth signed picture around 0 with steep edges: taken as unsigned its steps leave 16 bits."""
    y, x = np.mgrid[:48, :64]
    return np.where((y // 8 + x // 8) % 2, 1200 + y * 3, -900 - x * 5).astype("<i2").view("<u2")


def of_faulty_encoder(values: np.ndarray) -> bytes:
    """Encode lossless JPEG with predictor 6 as an encoder does that computes it in 16 bits.

    A right encoder is given what a right decoder makes of the faulty one's differences.
    """
    meant = values.astype(np.int32)
    right = meant.copy()
    for row in range(1, len(meant)):
        for column in range(1, meant.shape[1]):
            faulty = int(np.int32(meant[row, column - 1] - meant[row - 1, column - 1]).astype(np.int16)) >> 1
            difference = meant[row, column] - meant[row - 1, column] - faulty
            step = int(right[row, column - 1] - right[row - 1, column - 1]) >> 1
            right[row, column] = (difference + right[row - 1, column] + step) & 0xFFFF
    return of_right_encoder(right.astype("<u2"))


def of_right_encoder(values: np.ndarray, predictor: int = 6) -> bytes:
    """Encode lossless JPEG of 16 bits."""
    return bytes(imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=16, predictor=predictor))


def lossless_film(frames: list[bytes]) -> bytes:
    """Make a film of signed lossless JPEG frames."""
    data = image(
        48, 64, encapsulated(frames), frames=len(frames), bits=16, signed=True, vr="OB", more=window(-1500, 1500)
    )
    return dicom(data, "1.2.840.10008.1.2.4.57")


def test_c08_frames_json_says_which_frames_are_mended(
    loop: Loop, tmp_path: Path, program: Callable[[str], str]
) -> None:
    noise = np.random.default_rng(8).integers(-24000, 24000, (48, 64)).astype("<i2").view("<u2")
    smooth = (steps(False, 12) * 3).astype("<u2")
    frames = [of_right_encoder(smooth), of_faulty_encoder(signed_steps()), of_faulty_encoder(noise)]
    frames += [of_right_encoder(signed_steps()), of_right_encoder(noise, 1)]
    seen = Seen.of(loop, tmp_path, lossless_film(frames))
    before = loop.decoder.stats.decoded
    told = seen.shown.read("frames.json")
    # The last one has another predictor, which nobody gets wrong; what the third was meant to be cannot be told.
    assert seen.statuses == ["ok", "repaired (C8)", "error (C8)", "ok", "ok"]
    assert loop.decoder.stats.decoded - before == 3
    for number, values in enumerate((smooth, signed_steps(), None, signed_steps(), noise), 1):
        if values is None:
            assert "C8" in seen.shown.refusal(number)
        else:
            close(seen.shown.picture(number), spread(values.view("<i2"), -1500, 1500))
    assert seen.shown.read("frames.json") == told
    source, plain = tmp_path / "0.dcm", tmp_path / "plain.dcm"
    subprocess.run([program("dcmdjpeg"), "+w6", source, plain], check=True, capture_output=True)
    assert np.array_equal(pydicom.dcmread(plain).pixel_array[1], signed_steps().view("<i2"))


def test_c08_an_ordinary_film_is_not_decoded_for_its_status(loop: Loop, tmp_path: Path) -> None:
    frame = of_right_encoder((steps(False, 12) * 3).astype("<u2"), 1)
    before = loop.decoder.stats
    assert Seen.of(loop, tmp_path, lossless_film([frame] * 500)).statuses == ["ok"] * 500
    assert loop.decoder.stats == before


def test_c08_what_opening_frames_json_costs_is_bounded(loop: Loop, tmp_path: Path) -> None:
    seen = Seen.of(loop, tmp_path, lossless_film([of_faulty_encoder(signed_steps())] * 70))
    before = loop.decoder.stats.decoded
    assert seen.statuses == ["repaired (C8)"] * 64 + ["unknown (C8)"] * 6
    assert loop.decoder.stats.decoded - before == 64


@pytest.mark.parametrize("name", of_corpus("JPEGLossless_1s_1f_i_16_16_bad.dcm"))
def test_c08_the_status_of_the_sample(loop: Loop, name: str) -> None:
    assert Seen(Shown(loop, FOUND[name])).statuses == ["repaired (C8)"]


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_PARTIAL_420", "YBR_ICT", "RGB"])
def test_c04_jpeg_2000_with_smaller_colour_components_is_converted_once(
    photometric: str, loop: Loop, tmp_path: Path, program: Callable[[str], str]
) -> None:
    y, x = np.mgrid[:32, :48]
    luminance, blue, red = (x * 4 + y).astype(np.uint8), (x * 2 + 60)[::2, ::2].astype(np.uint8), y[::2, ::2] * 3 + 90
    planes, coded = tmp_path / "planes.raw", tmp_path / "coded.j2k"
    planes.write_bytes(luminance.tobytes() + blue.tobytes() + red.astype(np.uint8).tobytes())
    command = [program("opj_compress"), "-i", planes, "-o", coded, "-F", "48,32,3,8,u@1x1:2x2:2x2"]
    subprocess.run(command, check=True, capture_output=True)
    elements = image(32, 48, encapsulated([coded.read_bytes()]), samples=3, photometric=photometric, vr="OB")
    drawn = Shown.of(loop, tmp_path, dicom(elements, JPEG_2000)).picture()
    full = [luminance, *(np.kron(part, np.ones((2, 2))) for part in (blue, red))]
    expected = Image.fromarray(np.stack(full, -1).astype(np.uint8), "YCbCr").convert("RGB")
    close(drawn, np.asarray(expected), 2)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_c09_one_decoder_alone_is_asked(place: int) -> None:
    """Components that differ are an error: other decoders cut them to eight bits, a picture that is wrong."""
    stream = bytearray(imagecodecs.jpeg2k_encode(colours(), codecformat="j2k", reversible=True, mct=False))
    depth = stream.index(b"\xff\x51") + 40 + 3 * place
    assert stream[depth : depth + 3] == b"\7\1\1"
    fmt = PixelFormat(48, 64, 3, 8, 8, 7, False, "RGB", False, JPEG_2000)
    assert np.array_equal(decode(bytes(stream), fmt).values, colours())
    for odd in (9, 0x87):
        stream[depth] = odd
        with pytest.raises(CodecError):
            decode(bytes(stream), fmt)


@pytest.mark.parametrize("name", of_corpus("NM_Kakadu44_SOTmarkerincons.dcm"))
def test_c09_inconsistent_tile_parts(loop: Loop, name: str) -> None:
    """Shown as OpenJPEG takes it, or refused: never a part of a picture."""
    dataset = pydicom.dcmread(FOUND[name])
    try:
        values = dataset.pixel_array
    except (RuntimeError, ValueError):
        assert Shown(loop, FOUND[name]).refusal()
        return
    expected = np.clip((values - 2047.5) / 4095 + 0.5, 0, 1) * 255
    close(Shown(loop, FOUND[name]).picture(), expected)


@pytest.mark.parametrize("name", of_corpus("966.dcm"))
def test_c09_misplaced_comments(loop: Loop, name: str) -> None:
    broken = Shown(loop, FOUND[name])
    assert np.array_equal(broken.picture(), Shown(loop, FOUND["966_fixed.dcm"]).picture())
    assert "C9" in broken.read("frames.json").decode()


def test_c10_a_jpeg_larger_than_pillow_allows() -> None:
    side = 13384  # 179,131,456 pixels; Pillow refuses from 178,956,971
    stream = bytes(imagecodecs.jpeg8_encode(np.zeros((side, side), np.uint8)))
    fmt = PixelFormat(side, side, 1, 8, 8, 7, False, "MONOCHROME2", False, JPEG)
    values = decode(stream, fmt).values
    assert values.shape == (side, side)
    assert not values.any()


def test_c11_private_compression_of_elscint_is_left_as_it_is(loop: Loop, tmp_path: Path) -> None:
    elements = {tag: value for tag, value in image(4, 4, b"").items() if tag >> 16 != 0x7FE0}
    private = {
        0x07A10010: ("LO", "ELSCINT1"),
        0x07A11010: ("OB", bytes(range(200)) * 10),
        0x07A11011: ("CS", "PMSCT_RLE1"),
    }
    shown = Shown.of(loop, tmp_path, dicom(elements | private))
    assert not any(name.startswith(("frames/", "raw/")) for name in shown.names)
    assert shown.read("bulk/07A11010") == bytes(range(200)) * 10


def test_c12_scrambled_jpeg_2000_is_shown_and_kept_as_it_is(loop: Loop, tmp_path: Path) -> None:
    values = np.random.default_rng(5).integers(0, 256, (48, 64), np.uint8)
    plain = imagecodecs.jpeg2k_encode(values, codecformat="jp2", reversible=True)
    plain += bytes(len(plain) % 2)
    middle = 3 * len(plain) // 5
    places = [(middle, middle + 253), (993, 1016), (276, 763), (23, 276), (1016, middle), (0, 23), (763, 993)]
    scrambled, position = bytearray(len(plain)), 0
    for start, stop in [*places, (middle + 253, len(plain))]:
        scrambled[start:stop] = plain[position : position + stop - start]
        position += stop - start
    for index in range(0, len(scrambled), 7):
        scrambled[index] ^= 0x5A
    shown = Shown.of(loop, tmp_path, dicom(image(48, 64, encapsulated([bytes(scrambled)]), vr="OB"), JPEG_2000))
    assert np.array_equal(shown.picture(), values)
    (raw,) = [name for name in shown.names if name.startswith("raw/")]
    assert shown.read(raw) == shown.read("fragments/0001") == scrambled
    assert "C12" in shown.read("frames.json").decode()
    broken = bytes(scrambled[:-200]) + bytes(200)
    broken = struct.pack("<Q", 0) + broken[8:]
    assert Shown.of(loop, tmp_path, dicom(image(48, 64, encapsulated([broken]), vr="OB"), JPEG_2000)).refusal()
