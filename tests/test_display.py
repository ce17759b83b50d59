"""The attributes that decide how frames look are read as the standard has them, and nonsense in them is named.

Data sets are written by pydicom and read back by our own parser; look-up tables are compared with pydicom's.
"""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import apply_color_lut, apply_modality_lut

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom.part10_reader import DicomFile, parse
from dicomfs.dicom.stream import Memory
from dicomfs.iod.image_display import GroupMissing, check_groups, display_of, wants_automatic_window
from dicomfs.iod.image_pixel import PixelsUnusable, pixel_format
from dicomfs.iod.window_check import declared_values
from dicomfs.rendering.render import Display, Window, modality

LITTLE, BIG, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"


def image(**attributes: object) -> Dataset:
    """Make a small monochrome image."""
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 2, 3, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def stored(dataset: Dataset, syntax: str = LITTLE) -> DicomFile:
    """Write a data set as a file and parse that."""
    dataset.add_new(0x7FE00010, "OW", dataset.get("PixelData", bytes(12)))
    file = io.BytesIO()
    whole = FileDataset(file, dataset, preamble=bytes(128), file_meta=FileMetaDataset())
    whole.file_meta.TransferSyntaxUID = syntax
    whole.file_meta.MediaStorageSOPClassUID = "1.2.3"
    whole.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    pydicom.dcmwrite(file, whole, implicit_vr=syntax == IMPLICIT, little_endian=syntax != BIG, enforce_file_format=True)
    return parse(Memory(file.getvalue()))


def shown(dataset: Dataset, frame: int = 0, syntax: str = LITTLE) -> tuple[Display, str]:
    """Read how a frame is shown, and the problems in one line."""
    parsed = stored(dataset, syntax)
    display, problems = display_of(parsed.dataset, frame, pixel_format(parsed.dataset, syntax))
    return display, " ".join(problems)


def item(**attributes: object) -> Dataset:
    """Make an Item."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def lut_item(descriptor: list[int], vr: str, data: object, first_vr: str = "US") -> Dataset:
    """Make the Item of a LUT sequence."""
    dataset = Dataset()
    dataset.add_new(0x00283002, first_vr, descriptor)
    dataset.add_new(0x00283006, vr, data)
    return dataset


# Image Pixel


def test_pixel_format_reads_all_attributes() -> None:
    parsed = stored(image(PixelRepresentation=1, PlanarConfiguration=1))
    assert pixel_format(parsed.dataset, LITTLE) == PixelFormat(
        2, 3, 1, 16, 12, 11, True, "MONOCHROME2", True, LITTLE, False, False, "OW"
    )
    assert pixel_format(parsed.dataset, BIG).big_endian
    assert pixel_format(parsed.dataset, "1.2.840.113619.5.2").big_endian


@pytest.mark.parametrize(
    ("rule", "attributes"),
    [
        ("N20", {"Rows": 0}),
        ("N20", {"Columns": None}),
        ("N20", {"BitsAllocated": None}),
        ("N8", {"BitsAllocated": 24}),
        ("N19", {"SamplesPerPixel": 2}),
        ("N19", {"SamplesPerPixel": 3}),
        ("N19", {"PhotometricInterpretation": "RGB", "PixelData": bytes(36)}),
        ("L4", {"Rows": 65535, "Columns": 65535}),
    ],
)
def test_senseless_image_pixel_attributes_are_refused(rule: str, attributes: dict[str, object]) -> None:
    with pytest.raises(PixelsUnusable, match=rule):
        pixel_format(stored(image(**attributes)).dataset, LITTLE)


@pytest.mark.parametrize(
    ("attributes", "bits", "high"),
    [({"BitsStored": 0}, 16, 15), ({"BitsStored": 20}, 16, 15), ({"HighBit": 15}, 12, 15), ({"HighBit": 3}, 12, 11)],
)
def test_bits_stored_and_high_bit_are_brought_into_range(attributes: dict[str, object], bits: int, high: int) -> None:
    fmt = pixel_format(stored(image(**attributes)).dataset, LITTLE)
    assert (fmt.bits_stored, fmt.high_bit) == (bits, high)


def test_n2_full_chrominance_is_seen_by_the_length() -> None:
    colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL_422", "BitsAllocated": 8, "BitsStored": 8,
              "HighBit": 7, "Columns": 4}  # fmt: skip
    for length, photometric in ((16, "YBR_FULL_422"), (24, "YBR_FULL")):
        assert pixel_format(stored(image(**colour, PixelData=bytes(length))).dataset, LITTLE).photometric == photometric


# Modality


def test_g5_rescale_comes_from_the_functional_groups_of_the_frame() -> None:
    own = [
        item(PixelValueTransformationSequence=[item(RescaleSlope=str(n + 1), RescaleIntercept=str(-n))])
        for n in range(3)
    ]
    dataset = image(NumberOfFrames=3, PerFrameFunctionalGroupsSequence=own, PixelData=bytes(36))
    assert [(shown(dataset, n)[0].slope, shown(dataset, n)[0].intercept) for n in range(3)] == [
        (1, 0),
        (2, -1),
        (3, -2),
    ]
    shared = item(PixelValueTransformationSequence=[item(RescaleSlope="7", RescaleIntercept="9")])
    dataset = image(SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=[Dataset()] * 3)
    assert (shown(dataset, 2)[0].slope, shown(dataset, 2)[0].intercept) == (7, 9)


def test_g7_the_frames_own_group_wins_over_the_shared_one() -> None:
    shared = item(FrameVOILUTSequence=[item(WindowCenter="1", WindowWidth="2")])
    own = item(FrameVOILUTSequence=[item(WindowCenter="30", WindowWidth="40", VOILUTFunction="SIGMOID")])
    dataset = image(SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=[own, Dataset()])
    assert shown(dataset, 0)[0].window == Window(30, 40, "SIGMOID")
    assert shown(dataset, 1)[0].window == Window(1, 2)
    assert "G7" in shown(dataset, 0)[1]


def test_g6_a_gap_in_the_functional_groups_takes_nothing_from_other_frames() -> None:
    one = item(PixelValueTransformationSequence=[item(RescaleSlope="5", RescaleIntercept="0")])
    for own in ([one, Dataset(), one], [one, Dataset()], [Dataset(), Dataset(), one]):
        dataset = image(NumberOfFrames=3, PerFrameFunctionalGroupsSequence=own)
        assert "G6" in shown(dataset)[1]
        parsed = stored(dataset).dataset
        missing = [frame for frame in range(3) if not (frame < len(own) and len(own[frame]))]
        for frame in range(3):
            if frame in missing:
                with pytest.raises(GroupMissing, match=f"frame {frame + 1} .*G6"):
                    check_groups(parsed, frame)
            else:
                check_groups(parsed, frame)
        check_groups(stored(image(RescaleSlope="2", PerFrameFunctionalGroupsSequence=own)).dataset, 1)
    shared = item(PixelValueTransformationSequence=[item(RescaleSlope="7", RescaleIntercept="0")])
    dataset = image(PerFrameFunctionalGroupsSequence=[one, Dataset()], SharedFunctionalGroupsSequence=[shared])
    check_groups(stored(dataset).dataset, 1)
    assert shown(dataset, 1)[0].slope == 7


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"RescaleSlope": "0", "RescaleIntercept": "-1024"}, (1, 0)),
        ({"RescaleIntercept": "-1024"}, (1, -1024)),
        ({"RescaleSlope": "2"}, (2, 0)),
    ],
)
def test_g8_half_or_senseless_rescaling(attributes: dict[str, object], expected: tuple[float, float]) -> None:
    display, problems = shown(image(**attributes))
    assert (display.slope, display.intercept) == expected
    assert "G8" in problems


def test_m1_dose_is_scaled() -> None:
    assert shown(image(DoseGridScaling="0.002"))[0].slope == 0.002


@pytest.mark.parametrize("syntax", [LITTLE, BIG, IMPLICIT])
def test_g3_modality_lut_equals_pydicom(syntax: str) -> None:
    values = np.arange(-60, 70, dtype="<i2")
    dataset = image(PixelRepresentation=1, BitsStored=16, HighBit=15, RescaleSlope="3", RescaleIntercept="4")
    data = (np.arange(100) * 13).astype(">u2" if syntax == BIG else "<u2")
    dataset.ModalityLUTSequence = [lut_item([100, -20, 16], "OW", data.tobytes(), "SS")]
    display, problems = shown(dataset, syntax=syntax)
    reference = image(PixelRepresentation=1)
    reference.ModalityLUTSequence = [lut_item([100, -20, 16], "US", [int(n) for n in data], "SS")]
    assert np.array_equal(modality(values, display), apply_modality_lut(values, reference))
    assert problems == ""


def test_g3_a_table_too_long_to_be_kept_is_read_from_the_stream() -> None:
    dataset = image(BitsStored=16, HighBit=15)
    data = (np.arange(65536)[::-1]).astype("<u2")
    dataset.ModalityLUTSequence = [lut_item([0, 0, 16], "OW", data.tobytes())]
    display, problems = shown(dataset)
    assert modality(np.array([0, 1, 65535], "<u2"), display).tolist() == [65535, 65534, 0]
    assert problems == ""


def test_g4_the_modality_lut_of_angiography_is_not_for_display() -> None:
    table = lut_item([2, 0, 8], "US", [3, 4])
    assert shown(image(ModalityLUTSequence=[table]))[0].modality_lut is not None
    angiography = image(ModalityLUTSequence=[table], SOPClassUID="1.2.840.10008.5.1.4.1.1.12.1")
    assert shown(angiography)[0].modality_lut is None


# VOI


def test_g10_g11_the_first_usable_window_is_taken() -> None:
    assert shown(image(WindowCenter=["5", "6"], WindowWidth=["7", "8"]))[0].window == Window(5, 7)
    display, problems = shown(image(WindowCenter=["5", "6", "7"], WindowWidth=["0", "8"]))
    assert display.window == Window(6, 8)
    assert "G10" in problems
    assert "G11" in problems
    display, problems = shown(image(WindowCenter="5", WindowWidth="-3"))
    assert display.window is None
    assert "G10" in problems
    exact = image(WindowCenter="5", WindowWidth="0.5", VOILUTFunction="LINEAR_EXACT")
    assert shown(exact)[0].window == Window(5, 0.5, "LINEAR_EXACT")
    display, problems = shown(image(WindowCenter="5", WindowWidth="9", VOILUTFunction="MAGIC"))
    assert display.window == Window(5, 9)
    assert "G10" in problems


def test_g9_eight_bit_entries_in_bytes_and_in_words() -> None:
    packed = lut_item([4, 0, 8], "OW", bytes([1, 2, 3, 4]))
    words = lut_item([4, 0, 8], "US", [1, 2, 3, 4])
    assert shown(image(VOILUTSequence=[packed]))[0].voi_lut == shown(image(VOILUTSequence=[words]))[0].voi_lut
    first = shown(image(VOILUTSequence=[packed]))[0].voi_lut
    assert first is not None
    assert np.frombuffer(first.entries, "<u2").tolist() == [1, 2, 3, 4]


def test_g9_a_voi_lut_without_entries_is_a_problem_and_the_window_holds() -> None:
    broken = image(VOILUTSequence=[lut_item([4, 0, 8], "US", [])], WindowCenter="5", WindowWidth="9")
    display, problems = shown(broken)
    assert display.window == Window(5, 9)
    assert "G9" in problems


def test_g9_a_voi_lut_that_states_the_bits_of_its_words_is_taken_by_its_largest_entry() -> None:
    entries = (np.arange(4096)[::-1]).astype("<u2").tobytes()
    display, problems = shown(image(VOILUTSequence=[lut_item([4096, 0, 16], "OW", entries)]))
    assert display.voi_lut is not None
    assert display.voi_lut.bits == 12
    assert "a VOI LUT says 16 bits, but its entries use 12" in problems
    sound = (np.arange(4096) * 16).astype("<u2").tobytes()
    display, problems = shown(image(VOILUTSequence=[lut_item([4096, 0, 16], "OW", sound)]))
    assert display.voi_lut is not None
    assert (display.voi_lut.bits, problems) == (16, "")
    dim = np.full(4096, 100, "<u2").tobytes()  # never less than a picture has
    display, _ = shown(image(VOILUTSequence=[lut_item([4096, 0, 16], "OW", dim)]))
    assert display.voi_lut is not None
    assert display.voi_lut.bits == 8


# Signs


@pytest.mark.parametrize("vr", ["US", "SS"])
@pytest.mark.parametrize("signed", [False, True])
def test_signs_of_descriptors_follow_the_values_and_not_their_vr(vr: str, signed: bool) -> None:
    stored_as = {"PixelRepresentation": int(signed), "BitsStored": 16, "HighBit": 15}
    first = -100 if signed else 40000
    written = first % 65536 if vr == "US" else (first + 32768) % 65536 - 32768
    data = np.arange(100, dtype="<u2").tobytes()
    table = lut_item([100, written, 8], "OW", data, vr)
    for sequence in ("ModalityLUTSequence", "VOILUTSequence"):
        display, _ = shown(image(**{sequence: [table]}, **stored_as))
        lut = display.modality_lut if sequence.startswith("Modality") else display.voi_lut
        assert lut is not None
        assert lut.first == first
    dataset = palette_image(8, 0, [bytes(100)] * 3, 100)
    dataset.PixelRepresentation = int(signed)
    for tag in (0x00281101, 0x00281102, 0x00281103):
        dataset.add_new(tag, vr, [100, written, 8])
    palette = shown(dataset)[0].palette
    assert palette is not None
    assert palette.first == first


def test_signs_of_padding_and_of_the_smallest_and_largest_value_follow_the_pixels() -> None:
    signed = image(PixelRepresentation=1, BitsStored=16, HighBit=15)
    for tag, value in ((0x00280106, 65036), (0x00280107, 500), (0x00280120, 63536)):
        signed.add_new(tag, "US", value)
    parsed = stored(signed)
    assert shown(signed)[0].padding == (-2000, -2000)
    assert declared_values(parsed.dataset, pixel_format(parsed.dataset, LITTLE)) == (-500, 500)
    unsigned = image(BitsStored=16, HighBit=15)
    for tag, value in ((0x00280106, -5000), (0x00280107, -10), (0x00280120, -1)):
        unsigned.add_new(tag, "SS", value)
    parsed = stored(unsigned)
    assert shown(unsigned)[0].padding == (65535, 65535)
    assert declared_values(parsed.dataset, pixel_format(parsed.dataset, LITTLE)) == (60536, 65526)


def test_one_function_signs_all_that_is_us_or_ss() -> None:
    """The histogram, which nothing here uses, as what the pictures are made of; other US and SS stay what they are."""
    bins = item(HistogramNumberOfBins=2)
    bins.add_new(0x00603004, "US", 65535)
    dataset = image(PixelRepresentation=1, HistogramSequence=[bins])
    dataset.add_new(0x00280011, "SS", 3)
    parsed = stored(dataset).dataset
    (inner,) = parsed.items(0x00603000)
    assert (inner.integer(0x00603004), inner.number(0x00603004), inner.integer(0x00603002)) == (-1, -1.0, 2)
    assert parsed.integer(0x00280010) == 2
    dataset.add_new(0x00280106, "US", 65535)
    assert stored(dataset).dataset.integers(0x00280106) == (-1,)


# Polarity, padding, automatic window


@pytest.mark.parametrize(
    ("photometric", "shape", "invert", "contradicts"),
    [
        ("MONOCHROME1", "INVERSE", True, False),
        ("MONOCHROME2", "IDENTITY", False, False),
        ("MONOCHROME1", "IDENTITY", True, True),
        ("MONOCHROME2", "INVERSE", False, True),
    ],
)
def test_g2_one_inversion_by_the_photometric_interpretation(
    photometric: str, shape: str, invert: bool, contradicts: bool
) -> None:
    display, problems = shown(image(PhotometricInterpretation=photometric, PresentationLUTShape=shape))
    assert display.invert == invert
    assert ("G2" in problems) == contradicts


def test_g14_padding_has_the_sign_of_the_pixels() -> None:
    signed = image(PixelRepresentation=1, BitsStored=16, HighBit=15)
    signed.add_new(0x00280120, "US", 63536)
    signed.add_new(0x00280121, "US", 63500)
    assert shown(signed)[0].padding == (-2000, -2036)
    short = image(PixelRepresentation=1)  # -2048 in 12 bits, not extended to 16
    short.add_new(0x00280120, "US", 0x800)
    assert shown(short)[0].padding == (-2048, -2048)
    assert shown(image(PixelPaddingValue=4095))[0].padding == (4095, 4095)
    assert shown(image())[0].padding is None


@pytest.mark.parametrize(
    ("attributes", "wanted"),
    [
        ({}, True),
        ({"WindowCenter": "5", "WindowWidth": "6"}, False),
        ({"BitsStored": 8, "HighBit": 7}, False),
        ({"BitsStored": 8, "HighBit": 7, "RescaleSlope": "2", "RescaleIntercept": "0"}, True),
        ({"PresentationIntentType": "FOR PRESENTATION"}, False),
        ({"PresentationIntentType": "FOR PROCESSING"}, True),
    ],
)
def test_g13_who_needs_a_window_from_the_pixels(attributes: dict[str, object], wanted: bool) -> None:
    parsed = stored(image(**attributes))
    fmt = pixel_format(parsed.dataset, LITTLE)
    assert wants_automatic_window(parsed.dataset, fmt, display_of(parsed.dataset, 0, fmt)[0]) == wanted


@pytest.mark.parametrize(("ends", "used"), [((0, 4095), False), ((4095, 0), False), ((0, 4094), True), ((5, 5), True)])
def test_g14_padding_that_covers_all_values_is_none(ends: tuple[int, int], used: bool) -> None:
    display, problems = shown(image(PixelPaddingValue=ends[0], PixelPaddingRangeLimit=ends[1]))
    assert display.padding == (ends if used else None)
    assert ("cover all values" in problems) != used


# What is said of the object


@pytest.mark.parametrize("stated", ["MONOCHROME", "RGB", "GREYSCALE", "DOEJANE"])
def test_n19_one_sample_is_grey_whatever_its_photometric_interpretation(stated: str) -> None:
    parsed = stored(image(PhotometricInterpretation=stated))
    assert pixel_format(parsed.dataset, LITTLE).photometric == "MONOCHROME2"
    problems = shown(image(PhotometricInterpretation=stated))[1]
    assert "MONOCHROME2 (N19)" in problems
    assert (stated in problems) == (stated != "DOEJANE")


def test_g23_mask_subtraction_and_shutters_are_told() -> None:
    assert "SUB" in shown(image(RecommendedViewingMode="SUB"))[1]
    assert shown(image(RecommendedViewingMode="NAT"))[1] == ""
    shutter = item(FrameDisplayShutterSequence=[item(ShutterShape="RECTANGULAR")])
    for attributes in (
        {"ShutterShape": "RECTANGULAR"},
        {"SharedFunctionalGroupsSequence": [shutter]},
        {"PerFrameFunctionalGroupsSequence": [shutter]},
    ):
        assert "shutter" in shown(image(**attributes))[1]


# Palettes


def palette_image(bits: int, first: int, tables: list[bytes], count: int, segmented: bool = False) -> Dataset:
    """Make a PALETTE COLOR image."""
    dataset = image(PhotometricInterpretation="PALETTE COLOR", BitsStored=16, HighBit=15)
    for place, table in enumerate(tables):
        dataset.add_new(0x00281101 + place, "US", [count % 65536, first, bits])
        dataset.add_new((0x00281221 if segmented else 0x00281201) + place, "OW", table)
    return dataset


def colours_of(dataset: Dataset, values: list[int]) -> list[list[int]]:
    """Look values up in the palette of a data set."""
    display, problems = shown(dataset)
    assert problems == ""
    assert display.palette is not None
    return display.palette.apply(np.array(values, "<u2")).tolist()


def test_g15_16_bit_palettes_equal_pydicom() -> None:
    rng = np.random.default_rng(9)
    tables = [rng.integers(0, 65536, 300).astype("<u2").tobytes() for _ in range(3)]
    dataset = palette_image(16, 50, tables, 300)
    values = np.array([0, 50, 51, 349, 350, 9000], "<u2")
    assert colours_of(dataset, values.tolist()) == (apply_color_lut(values, dataset) >> 8).tolist()


def test_g15_8_bit_entries_in_bytes_and_8_in_16() -> None:
    expected = [[10, 40, 70], [20, 50, 80], [30, 60, 90]]
    rows = [bytes([10, 20, 30]), bytes([40, 50, 60]), bytes([70, 80, 90])]
    words = [np.frombuffer(row, np.uint8).astype("<u2").tobytes() for row in rows]
    assert colours_of(palette_image(8, 0, [row + b"\0" for row in rows], 3), [0, 1, 2]) == expected
    assert colours_of(palette_image(8, 0, words, 3), [0, 1, 2]) == expected
    assert colours_of(palette_image(16, 0, words, 3), [0, 1, 2]) == expected


@pytest.mark.parametrize("bits", [8, 0, 12])
def test_g15_8_bit_values_in_high_bytes(bits: int) -> None:
    expected = [[10, 40, 70], [20, 50, 80], [30, 60, 90]]
    rows = [np.array(row, "<u2") << 8 for row in ([10, 20, 30], [40, 50, 60], [70, 80, 90])]
    display, problems = shown(palette_image(bits, 0, [row.tobytes() for row in rows], 3))
    assert display.palette is not None
    assert display.palette.apply(np.array([0, 1, 2], "<u2")).tolist() == expected
    assert f"the palette says {bits} bits" in problems


def test_g15_colours_whose_descriptors_differ_are_told() -> None:
    dataset = palette_image(8, 0, [bytes([1, 2])] * 3, 2)
    dataset.add_new(0x00281101, "US", [2, 1, 8])
    assert "differ" in shown(dataset)[1]


def test_g16_segments_are_expanded() -> None:
    # Two entries as they are, four on the way to 600, then the first segment once more: 0, 256, 342 ... 600, 0, 256.
    table = np.array([0, 2, 0, 256, 1, 4, 600, 2, 1, 0, 0], "<u2").tobytes()
    dataset = palette_image(16, 0, [table] * 3, 8, segmented=True)
    expected = [0, 256, 342, 428, 514, 600, 0, 256]
    assert [colour[0] for colour in colours_of(dataset, list(range(8)))] == [value >> 8 for value in expected]


@pytest.mark.parametrize(
    "words", [[2, 1, 0, 0], [1, 5, 600], [0, 60000, 1], [7, 7, 7], [0, 1, 5] + [2, 60000, 0, 0] * 20000]
)
def test_l8_hostile_segments_end(words: list[int]) -> None:
    dataset = palette_image(16, 0, [np.array(words, "<u2").tobytes()] * 3, 65536, segmented=True)
    display, problems = shown(dataset)
    assert "G15" in problems or "L8" in problems
    assert display.palette is None or len(display.palette.colours) <= 3 * 65536


def test_l8_a_palette_shorter_than_its_descriptor_is_used_and_named() -> None:
    display, problems = shown(palette_image(16, 0, [np.array([256, 512], "<u2").tobytes()] * 3, 10))
    assert display.palette is not None
    assert display.palette.apply(np.array([0, 1, 9])).tolist() == [[1] * 3, [2] * 3, [2] * 3]
    assert "L8" in problems


@pytest.mark.parametrize(
    "name", ["gdcm-US-ALOKA-16.dcm", "gdcm-US-ALOKA-16_big.dcm", "OBXXXX1A.dcm", "OT-PAL-8-face.dcm"]
)
def test_palettes_of_samples_equal_pydicom(name: str) -> None:
    found = importlib.util.find_spec("data_store")
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "data" / name
    parsed = parse(Memory(path.read_bytes()))
    fmt = pixel_format(parsed.dataset, parsed.transfer_syntax)
    display, problems = display_of(parsed.dataset, 0, fmt)
    values = np.arange(256 if fmt.bits_stored == 8 else 65536, dtype=fmt.dtype)
    expected = apply_color_lut(values, pydicom.dcmread(path, force=True))
    if expected.dtype == np.uint16 and expected.max() > 255:
        expected >>= 8
    assert display.palette is not None
    assert np.array_equal(display.palette.apply(values), expected)
    assert problems == ()


def test_g17_a_supplemental_palette_colours_from_its_first_value() -> None:
    dataset = palette_image(8, 100, [bytes([1, 2])] * 3, 2)
    dataset.PhotometricInterpretation = "MONOCHROME2"
    assert shown(dataset)[0].palette is None
    dataset.PixelPresentation = "COLOR"
    palette = shown(dataset)[0].palette
    assert palette is not None
    assert (palette.first, palette.supplemental) == (100, True)


def test_colour_images_have_a_plain_display() -> None:
    colour = image(SamplesPerPixel=3, PhotometricInterpretation="RGB", WindowCenter="5", WindowWidth="6")
    assert shown(colour) == (Display(), "")
