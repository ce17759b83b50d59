"""`volume.nii`: each value lies where DICOM puts it, as nibabel, ITK and dcm2niix see it, or there is no volume.

Where dcm2niix 1.0.20220720 differs, it is judged by the equation of PS3.3 C.7.6.2.1.1 and, where GDCM reads the
object, by ITK. It takes the Slice Thickness (or 1 mm) for the distance between the planes of a dose grid instead of the
Grid Frame Offset Vector, and leaves the Dose Grid Scaling out; it uses the rescaling of the first frame for all; it
closes the gaps of segmentations and puts their segments behind each other as slices; it leaves out that slices are
shifted; it turns the rows of a lone slice by the gantry's tilt.
"""

import json
import random
import subprocess
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
from nibabel.arrayproxy import ArrayProxy
from support.archives import PYDICOM, PYDICOM_DATA, SAMPLES
from support.builders import EXPLICIT_LITTLE, PIXEL_DATA, Raw, dicom, image
from support.decoding import read_at
from support.mounting import Loop, files_below, mounted, read_all, tree_of
from support.volume_objects import (
    BETWEEN,
    IN_STACK,
    INDEX_SEQUENCE,
    MEASURES,
    ORIENTATION,
    PLANE_ORIENTATION,
    PLANE_POSITION,
    POSITION,
    RT_DOSE,
    SEGMENTATION,
    SPACING,
    STACK_ID,
    TEMPORAL,
    THICKNESS,
    TRANSFORMATION,
    Planes,
    enhanced,
    file,
    sequence,
    text,
    turned,
    values,
)

Program = Callable[[str], str]
Volume = tuple[nib.Nifti1Image | None, list[str]]


async def served(path: Path, loop: Loop) -> tuple[bytes | None, list[str]]:
    """Read `volume.nii` in the tree, and what `problems.txt` says of it."""
    with tree_of(loop, path) as top:
        found = dict(await files_below(top, frames=1))
        data = await read_all(found[b"volume.nii"]) if b"volume.nii" in found else None
        said = (await read_all(found[b"problems.txt"])).decode() if b"problems.txt" in found else ""
        return data, [line for line in said.splitlines() if "volume.nii" in line]


def volume_of(path: Path, loop: Loop) -> Volume:
    """Open `volume.nii` of a file with nibabel."""
    data, said = loop.run(served, path, loop)
    return None if data is None else nib.Nifti1Image.from_bytes(data), said


@pytest.fixture
def made(tmp_path: Path, loop: Loop) -> Callable[..., Volume]:
    """Give what makes the volume of some elements."""

    def make(elements: dict, syntax: str = EXPLICIT_LITTLE) -> Volume:
        path = tmp_path / "made.dcm"
        path.write_bytes(file(elements, syntax))
        return volume_of(path, loop)

    return make


def dcm2niix(program: str, path: Path, place: Path) -> list[nib.Nifti1Image]:
    """Convert a file: neither turned nor cropped, with the rescaling of the standard and not Philips' own."""
    place.mkdir()
    options = ["-s", "y", "-b", "n", "-p", "n", "-x", "i", "-z", "n", "-f", "x", "-o", str(place)]
    subprocess.run([program, *options, str(path)], capture_output=True, check=False, timeout=60)
    return [nib.load(found) for found in sorted(place.glob("*.nii"))]


def numbers(volume: nib.Nifti1Image) -> np.ndarray:
    """Give the values, slope and intercept applied."""
    return np.asanyarray(volume.dataobj)


def assert_same(ours: nib.Nifti1Image, theirs: nib.Nifti1Image) -> None:
    assert ours.shape == theirs.shape
    assert np.abs(ours.affine - theirs.affine).max() < 2e-4
    mine, other = numbers(ours), numbers(theirs)
    if mine.dtype.names:
        assert np.array_equal(mine, other)
    else:
        # Their slopes and ours are 32-bit numbers; an intercept may cancel most of what they make.
        rounding = 1e-7 * np.abs(other.astype(np.float64)).max()
        assert np.allclose(mine.astype(np.float64), other.astype(np.float64), rtol=1e-6, atol=rounding)


def assert_in_place(volume: nib.Nifti1Image, planes: Planes, expected: np.ndarray) -> None:
    """Look every pixel of the frames up where it lies; *expected* is (volumes, slices, rows, columns)."""
    shown = numbers(volume).reshape(*volume.shape[:3], -1)
    assert shown.shape[2:] == expected.shape[1::-1]
    into = np.linalg.inv(volume.affine)
    for place in range(planes.slices):
        voxels = nib.affines.apply_affine(into, planes.world(place))
        nearest = np.rint(voxels).astype(int)
        assert np.abs(voxels - nearest).max() < 1e-3
        found = shown[nearest[..., 0], nearest[..., 1], nearest[..., 2]]
        assert np.allclose(np.moveaxis(found, -1, 0), expected[:, place], rtol=1e-6)


def of(planes: Planes, volumes: int = 1) -> np.ndarray:
    """Give what `values` makes for each slice of each volume."""
    frames = [(place, volume) for volume in range(volumes) for place in range(planes.slices)]
    return values(planes, frames).reshape(volumes, planes.slices, planes.rows, planes.columns)


# Where voxels lie


@pytest.mark.parametrize("seed", range(8))
def test_every_pixel_lies_where_dicom_puts_it(seed: int, made: Callable[..., Volume]) -> None:
    row, column = turned(seed)
    planes = Planes(7, row=row, column=column)
    frames = [(place, 0) for place in range(7)]
    random.Random(seed).shuffle(frames)
    volume, said = made(enhanced(planes, frames))
    assert volume is not None
    assert not said
    assert_in_place(volume, planes, of(planes))
    header = volume.header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
    assert np.abs(volume.get_qform() - volume.get_sform()).max() < 1e-4
    assert header["pixdim"][0] == -1
    assert np.allclose(header.get_zooms(), (0.75, 1.5, 2.5))
    assert header.get_xyzt_units()[0] == "mm"
    assert volume.get_data_dtype() == np.uint16


@pytest.mark.parametrize("seed", range(3))
def test_itk_finds_the_same_values_in_the_same_places(seed: int, made: Callable[..., Volume], tmp_path: Path) -> None:
    """ITK reads our file by its own rules (LPS, orthonormal qform or sform)."""
    row, column = turned(seed)
    planes = Planes(5, row=row, column=column)
    volume, _ = made(enhanced(planes, [(place, 0) for place in (3, 1, 4, 0, 2)]))
    assert volume is not None
    nib.save(volume, tmp_path / "ours.nii")
    itk = SimpleITK.ReadImage(str(tmp_path / "ours.nii"))
    expected = of(planes)[0]
    for place in range(5):
        for r, c in ((0, 0), (2, 3), (planes.rows - 1, planes.columns - 1)):
            point = planes.world(place)[r, c] * [-1, -1, 1]
            assert itk[itk.TransformPhysicalPointToIndex(point.tolist())] == expected[place, r, c]


@pytest.mark.parametrize("name", ["CT_small.dcm", "rtdose.dcm", "MR_small_bigendian.dcm", "J2K_pixelrep_mismatch.dcm"])
def test_itk_places_the_samples_as_we_do(name: str, loop: Loop) -> None:
    """GDCM reads the grid of a dose from its offsets, and of a lone slice all but its thickness."""
    volume, _ = volume_of(PYDICOM / name, loop)
    assert volume is not None
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(PYDICOM / name))
    reader.SetImageIO("GDCMImageIO")
    itk = reader.Execute()
    columns, rows, slices = itk.GetSize()
    assert volume.shape == (columns, rows, slices)
    for index in ((0, 0, 0), (columns - 1, 0, slices - 1), (0, rows - 1, 0), (columns - 1, rows - 1, slices - 1)):
        point = np.array(itk.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        place = (index[0], rows - 1 - index[1], index[2])
        assert np.abs(nib.affines.apply_affine(volume.affine, place) - point).max() < 1e-3


def test_evenly_shifted_slices_have_an_sform_alone(made: Callable[..., Volume]) -> None:
    planes = Planes(5, shear=(0.3, -0.8))
    volume, _ = made(enhanced(planes, [(place, 0) for place in (4, 2, 0, 1, 3)]))
    assert volume is not None
    assert (int(volume.header["qform_code"]), int(volume.header["sform_code"])) == (0, 1)
    assert_in_place(volume, planes, of(planes))


@pytest.mark.parametrize("wobble", [0.01, 0.1])
def test_what_decimal_strings_round_off_is_no_irregularity(wobble: float, made: Callable[..., Volume]) -> None:
    chance = random.Random(1)
    planes = Planes(40, depths=[2.5 * place + chance.uniform(-wobble, wobble) / 2 for place in range(40)])
    volume, _ = made(enhanced(planes, [(place, 0) for place in range(40)]))
    assert volume is not None
    assert np.isclose(volume.header.get_zooms()[2], 2.5, atol=wobble / 39)


def test_a_lone_slice_is_as_thick_as_stated(made: Callable[..., Volume]) -> None:
    plane = {POSITION: ("DS", "1\\2\\3"), ORIENTATION: ("DS", "1\\0\\0\\0\\1\\0"), SPACING: ("DS", "2\\3")}
    for stated, thickness in (
        ({}, 1),
        ({THICKNESS: ("DS", "4")}, 4),
        ({THICKNESS: ("DS", "4"), BETWEEN: ("DS", "5")}, 5),
    ):
        volume, said = made(image(2, 2, bytes(4), more=plane | stated))
        assert volume is not None
        assert volume.shape == (2, 2, 1)
        assert volume.affine.tolist() == [[-3, 0, 0, -1], [0, 2, 0, -4], [0, 0, thickness, 3], [0, 0, 0, 1]]
        assert said == ([] if stated else ["the only slice has no thickness; volume.nii takes 1 mm"])


def test_ultrasound_volumes_state_sizes_alone(made: Callable[..., Volume]) -> None:
    frames = [{0x0020930E: sequence({0x00209301: ("FD", [0.0, 0.0, 0.5 * place])})} for place in range(4)]
    shared = {
        0x0020930F: sequence({0x00209302: ("FD", [1.0, 0.0, 0.0, 0.0, 1.0, 0.0])}),
        MEASURES: sequence({SPACING: ("DS", "0.2\\0.3")}),
    }
    pixels = np.arange(4 * 6, dtype=np.uint8).reshape(4, 2, 3)
    volume, said = made(
        image(2, 3, pixels.tobytes(), frames=4, more={0x52009229: sequence(shared), 0x52009230: sequence(*frames)})
    )
    assert not said
    assert volume is not None
    assert (int(volume.header["qform_code"]), int(volume.header["sform_code"])) == (0, 0)
    assert np.allclose(volume.header.get_zooms(), (0.3, 0.2, 0.5))
    assert np.array_equal(numbers(volume), pixels[:, ::-1].T)


# What the fourth dimension is


@pytest.mark.parametrize("seed", range(3))
def test_frames_in_one_place_make_volumes(seed: int, made: Callable[..., Volume]) -> None:
    row, column = turned(seed)
    planes = Planes(5, row=row, column=column)
    frames = [(place, time) for time in range(3) for place in range(5)]
    random.Random(seed).shuffle(frames)
    volume, said = made(enhanced(planes, frames))
    assert not said
    assert volume is not None
    assert volume.shape == (planes.columns, planes.rows, 5, 3)
    assert_in_place(volume, planes, of(planes, 3))
    assert volume.header.get_xyzt_units() == ("mm", "unknown")


def times(frames: Sequence[tuple[int, int]], at: Sequence[float]) -> list[dict]:
    """State for each frame how long after the first time it was."""
    return [{0x00209310: sequence({0x0020930D: ("FD", at[time])})} for _, time in frames]


def test_even_times_are_stated(made: Callable[..., Volume]) -> None:
    planes, frames = Planes(3), [(place, time) for place in range(3) for time in range(4)]
    for at, step in (((0.0, 2.5, 5.0, 7.5), 2.5), ((0.0, 2.5, 6.0, 7.5), 0.0), ((0.0, 0.0, 0.0, 0.0), 0.0)):
        volume, _ = made(enhanced(planes, frames, per_frame=times(frames, at)))
        assert volume is not None
        assert_in_place(volume, planes, of(planes, 4))
        assert volume.header.get_zooms()[3] == (step or 1.0)
        assert volume.header.get_xyzt_units() == ("mm", "sec" if step else "unknown")


def test_moments_of_acquisition_give_the_step(made: Callable[..., Volume]) -> None:
    planes, frames = Planes(2), [(place, time) for time in range(3) for place in range(2)]
    elements = enhanced(planes, frames)
    for index, group in enumerate(elements[0x52009230][1]):
        group[0x00209111][1][0][0x00189151] = ("DT", f"202101312359{58 + index // 2 * 0.5:08.5f}+0100")
    volume, _ = made(elements)
    assert volume is not None
    assert volume.header.get_zooms()[3] == 0.5
    for index, group in enumerate(elements[0x52009230][1]):
        group[0x00209111][1][0][0x00189151] = ("DT", "20211399000000" if index else "")
    volume, _ = made(elements)
    assert volume is not None
    assert volume.header.get_zooms()[3] == 1.0


def test_a_single_volume_states_the_repetition_time(made: Callable[..., Volume]) -> None:
    volume, _ = made(enhanced(Planes(2), [(0, 0), (1, 0)], shared={0x00189112: sequence({0x00180080: ("DS", "2500")})}))
    assert volume is not None
    assert volume.header["pixdim"][4] == 2.5
    assert volume.header.get_xyzt_units() == ("mm", "sec")


def test_two_stacks_side_by_side_are_one(made: Callable[..., Volume]) -> None:
    """The stack of a frame does not matter where places tell all frames apart."""
    planes = Planes(6)
    elements = enhanced(planes, [(place, 0) for place in (0, 2, 4, 1, 3, 5)])
    for index, group in enumerate(elements[0x52009230][1]):
        group[0x00209111][1][0][0x00209157] = ("UL", [1 + index // 3, 1 + index % 3, 1])
    volume, said = made(elements)
    assert not said
    assert volume is not None
    assert_in_place(volume, planes, of(planes))


def test_a_film_of_one_slice_is_a_volume_of_times(made: Callable[..., Volume]) -> None:
    planes = Planes(1)
    volume, said = made(enhanced(planes, [(0, time) for time in (2, 0, 1)]))
    assert not said
    assert volume is not None
    assert volume.shape == (planes.columns, planes.rows, 1, 3)
    assert_in_place(volume, planes, of(planes, 3))


# What tells volumes apart where dimension indices do not


def group(sequence_tag: int, elements: dict) -> dict:
    return {sequence_tag: sequence(elements)}


def gradient(b_value: float, direction: Sequence[float] | None) -> dict:
    stated: dict = {0x00189087: ("FD", b_value)}
    if direction is not None:
        stated[0x00189076] = sequence({0x00189089: ("FD", list(direction))})
    return group(0x00189117, stated)


def component(name: str) -> dict:
    return group(0x00189226, {0x00089208: ("CS", name)})


TOLD = [
    ("Complex Image Component", [component("MAGNITUDE"), component("PHASE")]),
    ("Complex Image Component", [
        group(0x00189226, {0x00089007: ("CS", f"ORIGINAL\\PRIMARY\\{letter}"), 0x00089208: ("CS", "MIXED")})
        for letter in "MPRI"
    ]),
    ("Frame Type", [group(0x00189329, {0x00089007: ("CS", f"DERIVED\\PRIMARY\\{kind}")}) for kind in ("ADC", "FA")]),
    ("Effective Echo Time", [group(0x00189114, {0x00189082: ("FD", time)}) for time in (2.3, 4.6, 11.5)]),
    ("Flip Angle", [group(0x00189112, {0x00181314: ("DS", angle)}) for angle in ("5", "15")]),
    ("Inversion Times", [group(0x00189115, {0x00189079: ("FD", time)}) for time in (50.0, 400.0)]),
    ("Contrast/Bolus Agent Phase", [group(0x00189341, {0x00189344: ("CS", phase)}) for phase in ("PRE", "ARTERIAL")]),
    ("KVP", [group(0x00189325, {0x00180060: ("DS", value)}) for value in ("80", "140")]),
    ("Diffusion b-value", [gradient(0.0, None), gradient(500.0, (1.0, 0, 0)), gradient(1000.0, (1.0, 0, 0))]),
    ("Diffusion Gradient Orientation", [gradient(1000.0, each) for each in ((0, 0, 1.0), (1.0, 0, 0), (0, 1.0, 0))]),
    ("Temporal Position Time Offset", [group(0x00209310, {0x0020930D: ("FD", at)}) for at in (0.0, 2.0, 4.0)]),
    ("Nominal Cardiac Trigger Delay Time", [group(0x00189118, {0x00209153: ("FD", at)}) for at in (0.0, 40.0, 80.0)]),
]  # fmt: skip


def unindexed(planes: Planes, order: Sequence[tuple[int, int]], per_frame: Sequence[dict]) -> dict:
    """Make an object whose dimension indices count slices only."""
    elements = enhanced(planes, order, pointers=(STACK_ID, IN_STACK), per_frame=per_frame)
    for made in elements[0x52009230][1]:
        made[0x00209111][1][0].pop(TEMPORAL)
    return elements


@pytest.mark.parametrize(("name", "kinds"), TOLD, ids=[f"{name}-{len(kinds)}" for name, kinds in TOLD])
@pytest.mark.parametrize("interleaved", [True, False])
def test_traits_of_frames_make_volumes(
    name: str, kinds: list[dict], interleaved: bool, made: Callable[..., Volume], tmp_path: Path, loop: Loop
) -> None:
    planes = Planes(4)
    order = [(place, kind) for place in range(4) for kind in range(len(kinds))]
    if not interleaved:
        order.sort(key=lambda frame: frame[1])
    volume, said = made(unindexed(planes, order, [kinds[kind] for _, kind in order]))
    assert not said
    assert volume is not None
    assert volume.shape == (planes.columns, planes.rows, 4, len(kinds))
    assert_in_place(volume, planes, of(planes, len(kinds)))
    assert volume.header.get_xyzt_units()[1] == ("sec" if name.endswith(("Offset", "Delay Time")) else "unknown")
    described = loop.run(index_of, tmp_path / "made.dcm", loop)["volumes"]
    assert [list(each) for each in described] == [[name]] * len(kinds)
    assert len({str(each) for each in described}) == len(kinds)


async def index_of(path: Path, loop: Loop) -> dict:
    with tree_of(loop, path) as top:
        found = dict(await files_below(top, frames=1))
        return dict(json.loads(await read_all(found[b"frames.json"])))


def test_traits_nest_and_what_varies_from_slice_to_slice_is_none(made: Callable[..., Volume]) -> None:
    """Echoes of magnitude and phase, in any order of frames; the repetition time of each slice is its own."""
    planes, frames = Planes(3), [(place, volume) for place in range(3) for volume in range(4)]
    random.Random(5).shuffle(frames)
    groups = [
        component(("MAGNITUDE", "PHASE")[volume // 2])
        | group(0x00189114, {0x00189082: ("FD", (3.0, 6.0)[volume % 2])})
        | group(0x00189112, {0x00180080: ("DS", str(500 + place))})
        for place, volume in frames
    ]
    volume, said = made(unindexed(planes, frames, groups))
    assert not said
    assert volume is not None
    assert_in_place(volume, planes, of(planes, 4))


def test_traits_that_make_no_whole_volumes_are_named(made: Callable[..., Volume]) -> None:
    frames = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    kinds = [component("MAGNITUDE"), component("PHASE")]
    volume, said = made(unindexed(Planes(3), frames, [kinds[volume] for _, volume in frames]))
    assert volume is None
    assert said == [
        "volume.nii is left out: several frames lie in one place, and what they differ in does not make whole volumes: "
        "Complex Image Component"
    ]


def test_positions_of_one_slice_that_differ_in_the_last_digit_are_one(made: Callable[..., Volume]) -> None:
    planes = Planes(3, depths=[0.0, 0.001, 0.0])
    frames = [(0, 0), (1, 1), (2, 2)]
    elements = enhanced(Planes(1), [(0, time) for time in range(3)])
    for group_, (place, _) in zip(elements[0x52009230][1], frames, strict=True):
        group_[PLANE_POSITION] = sequence({POSITION: ("DS", text(planes.position(place)))})
    volume, said = made(elements)
    assert not said
    assert volume is not None
    assert volume.shape[2:] == (1, 3)


# Segmentations


def segmentation(
    planes: Planes, frames: Sequence[tuple[int, int]], kind: str = "BINARY", bits: int = 1, more: dict | None = None
) -> dict:
    """Make a segmentation of segments 1, 2 and 3; *frames* are slices with the segment that each is of."""
    pixels = (np.arange(len(frames) * planes.rows * planes.columns) * 7 % 3 == 1).astype(np.uint8)
    per_frame = [{0x0062000A: sequence({0x0062000B: ("US", segment)})} for _, segment in frames]
    packed = np.packbits(pixels, bitorder="little") if bits == 1 else pixels
    elements = enhanced(
        planes, [(place, segment - 1) for place, segment in frames], per_frame=per_frame, pixels=packed
    )  # fmt: skip
    stored = {0x00280100: ("US", bits), 0x00280101: ("US", bits), 0x00280102: ("US", bits - 1)}
    named = sequence(*({0x00620004: ("US", number)} for number in (1, 2, 3)))
    kinds = {0x00080016: ("UI", SEGMENTATION), 0x00620001: ("CS", kind), 0x00620002: named}
    return elements | stored | kinds | (more or {})


def test_frames_that_a_segmentation_leaves_out_are_empty(made: Callable[..., Volume]) -> None:
    planes = Planes(9)
    frames = [(8, 3), (2, 1), (3, 3), (5, 1)]
    volume, said = made(segmentation(planes, frames))
    assert not said
    assert volume is not None
    expected = np.zeros((3, 9, planes.rows, planes.columns))
    pixels = (np.arange(4 * planes.rows * planes.columns) * 7 % 3 == 1).reshape(4, planes.rows, planes.columns)
    for (place, segment), frame in zip(frames, pixels, strict=True):
        expected[segment - 1, place] = frame
    assert volume.shape == (planes.columns, planes.rows, 7, 3)  # from the first slice that is there to the last
    shown = numbers(volume)
    assert np.array_equal(shown, expected[:, 2:, ::-1].transpose(3, 2, 1, 0))
    corner = nib.affines.apply_affine(volume.affine, (0, planes.rows - 1, 0))
    assert np.allclose(corner, planes.world(2)[0, 0])


@pytest.mark.parametrize(
    ("kind", "more", "there"),
    [
        ("LABELMAP", {}, True),
        ("LABELMAP", {0x00280120: ("US", 0)}, True),
        ("LABELMAP", {0x00280120: ("US", 1)}, False),
        ("FRACTIONAL", {}, True),
        (None, {}, False),
    ],
)
def test_only_segmentations_have_gaps(kind: str | None, more: dict, there: bool, made: Callable[..., Volume]) -> None:
    elements = segmentation(Planes(5), [(0, 1), (1, 1), (4, 1)], kind or "", 8, more)
    if kind is None:
        del elements[0x00620001]
    volume, said = made(elements)
    assert (volume is not None) == there
    assert said == ([] if there else ["volume.nii is left out: the distances between the slices differ"])
    if volume is not None:
        assert volume.shape[2] == 5
        assert not numbers(volume)[:, :, 2:4].any()


@pytest.mark.parametrize("most", [1, 100, 255])
def test_fractions_are_parts_of_one(most: int, made: Callable[..., Volume]) -> None:
    """Of Maximum Fractional Value (M2); stored values stay, and the slope says it."""
    frames = [(place, 1) for place in range(4)]
    stored = np.linspace(0, most, 4 * 6 * 8).astype(np.uint8)
    elements = segmentation(Planes(4), frames, "FRACTIONAL", 8, {0x0062000E: ("US", most)})
    volume, _ = made(elements | {PIXEL_DATA: ("OB", stored.tobytes())})
    assert volume is not None
    assert volume.get_data_dtype() == np.uint8
    shown = numbers(volume)[..., 0]  # of the first of its three segments
    assert np.allclose(shown[:, ::-1].T.ravel(), stored / most, rtol=1e-7)


def test_gaps_of_uneven_width_are_refused(made: Callable[..., Volume]) -> None:
    planes = Planes(3, depths=[0.0, 2.5, 8.7])
    volume, said = made(segmentation(planes, [(0, 1), (1, 1), (2, 1)]))
    assert volume is None
    assert said == ["volume.nii is left out: the distances between the slices are not multiples of one of them"]


# Values


@pytest.mark.parametrize("dtype", ["u1", "i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8"])
def test_integers_stay_what_they_are(dtype: str, made: Callable[..., Volume]) -> None:
    planes = Planes(2)
    pixels = np.random.default_rng(1).integers(0, 256, (2, 6, 8 * np.dtype(dtype).itemsize), np.uint8).view(dtype)
    volume, _ = made(enhanced(planes, [(0, 0), (1, 0)], pixels=pixels))
    assert volume is not None
    assert volume.get_data_dtype() == np.dtype(dtype)
    assert np.array_equal(numbers(volume), pixels[:, ::-1].T)


@pytest.mark.parametrize(("tag", "vr", "dtype"), [(0x7FE00008, "OF", "<f4"), (0x7FE00009, "OD", "<f8")])
def test_real_numbers_stay_what_they_are(tag: int, vr: str, dtype: str, made: Callable[..., Volume]) -> None:
    pixels = np.random.default_rng(1).normal(size=(2, 6, 8)).astype(dtype)
    pixels[0, 0, 0] = np.nan
    elements = enhanced(Planes(2), [(0, 0), (1, 0)], pixels=pixels)
    del elements[PIXEL_DATA]
    volume, _ = made(elements | {tag: (vr, pixels.tobytes())})
    assert volume is not None
    assert volume.get_data_dtype() == np.dtype(dtype)
    assert np.array_equal(numbers(volume), pixels[:, ::-1].T, equal_nan=True)


@pytest.mark.parametrize(
    ("rescale", "pair"),
    [
        ([(2.5, -1024)], (2.5, -1024)),
        ([(2.5, -1024), (2.5, -1000)], None),
        ([(1e-3, 0), (2e-3, 0)], None),
        ([(1e-40, 0)], None),
    ],
)
def test_one_pair_for_all_frames_is_stated_and_others_are_applied(
    rescale: list[tuple[float, float]], pair: tuple[float, float] | None, made: Callable[..., Volume]
) -> None:
    planes = Planes(4)
    volume, _ = made(enhanced(planes, [(place, 0) for place in range(4)], rescale=rescale))
    assert volume is not None
    used = [rescale[place % len(rescale)] for place in range(4)]
    stored = of(planes)[0].astype(np.float64)
    real = np.stack([frame * slope + intercept for frame, (slope, intercept) in zip(stored, used, strict=True)])
    assert_in_place(volume, planes, real[None])
    assert volume.get_data_dtype() == (np.uint16 if pair else np.float32)
    if pair:
        assert isinstance(volume.dataobj, ArrayProxy)
        assert (volume.dataobj.slope, volume.dataobj.inter) == pair


def test_a_frame_without_rescaling_is_an_error_alone(loop: Loop, tmp_path: Path) -> None:
    elements = enhanced(Planes(3), [(0, 0), (1, 0), (2, 0)], rescale=[(2, 0)])
    del elements[0x52009230][1][1][TRANSFORMATION]
    (tmp_path / "made.dcm").write_bytes(file(elements))

    async def read() -> list[bool]:
        with tree_of(loop, tmp_path / "made.dcm") as top:
            content = await dict(await files_below(top))[b"volume.nii"].open()
            readable = []
            for place in range(3):
                try:
                    await read_at(content, 352 + place * 192, 192)
                except OSError:
                    readable.append(False)
                else:
                    readable.append(True)
            content.close()
            return readable

    assert loop.run(read) == [True, False, True]


def test_colours_are_rgb_of_eight_bits(made: Callable[..., Volume]) -> None:
    plane = {POSITION: ("DS", "1\\2\\3"), ORIENTATION: ("DS", "1\\0\\0\\0\\1\\0"), SPACING: ("DS", "2\\3")}
    plane[THICKNESS] = ("DS", "1")
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8)
    volume, _ = made(image(2, 4, pixels.tobytes(), samples=3, more=plane))
    assert volume is not None
    assert numbers(volume).dtype.names == ("R", "G", "B")
    shown = numbers(volume).view(np.uint8).reshape(4, 2, 1, 3)
    assert np.array_equal(shown[:, ::-1, 0].transpose(1, 0, 2), pixels.reshape(2, 4, 3))
    wide = pixels.astype(np.uint16)
    volume, said = made(image(2, 4, wide.tobytes(), samples=3, bits=16, more=plane))
    assert volume is None
    assert said == ["volume.nii is left out: NIfTI-1 has no colour but RGB of 8 bits"]


# What forms no volume


def changed(index: int, sequence_tag: int, tag: int, value: str) -> Callable[[dict], None]:
    """Give one frame of an object a value of its own."""

    def change(elements: dict) -> None:
        elements[0x52009230][1][index][sequence_tag] = sequence({tag: ("DS", value)})

    return change


def reindexed(index: int, indices: list[int]) -> Callable[[dict], None]:
    def change(elements: dict) -> None:
        elements[0x52009230][1][index][0x00209111][1][0][0x00209157] = ("UL", indices)

    return change


@pytest.mark.parametrize(
    ("change", "volumes", "reason"),
    [
        (changed(2, PLANE_POSITION, POSITION, "-12.5\\7.25\\36"), 1, "the distances between the slices differ"),
        (changed(4, PLANE_POSITION, POSITION, "-12.5\\7.25\\42.5"), 1, "the distances between the slices differ"),
        (changed(2, PLANE_POSITION, POSITION, ""), 1, "not every frame has a position"),
        (changed(2, PLANE_POSITION, POSITION, "1\\2\\x"), 1, "not every frame has a position"),
        (changed(2, PLANE_POSITION, POSITION, "1\\2\\1e300"), 1, "the positions make no sense"),
        (changed(2, PLANE_POSITION, POSITION, "-12\\7.25\\35"), 1, "the slices are shifted against each other"),
        (changed(2, PLANE_ORIENTATION, ORIENTATION, "0\\1\\0\\1\\0\\0"), 1, "the frames are turned against each other"),
        (changed(2, PLANE_ORIENTATION, ORIENTATION, ""), 1, "not every frame has an orientation"),
        (changed(2, MEASURES, SPACING, "1.5\\0.7"), 1, "the frames differ in their pixel spacing"),
        (changed(0, MEASURES, SPACING, "0\\1"), 1, "the pixel spacing makes no sense"),
        (changed(0, MEASURES, SPACING, "1"), 1, "not every frame has a pixel spacing"),
        (reindexed(7, [1, 1, 3]), 2, "the volumes that the frames make up do not have the same slices"),
        (
            lambda elements: elements.pop(INDEX_SEQUENCE) and [
                group[0x00209111][1][0].pop(TEMPORAL) for group in elements[0x52009230][1]
            ],
            2,
            "several frames lie in one place, and nothing that is understood tells them apart",
        ),
        (
            lambda elements: elements.update({0x00080008: ("CS", "ORIGINAL\\PRIMARY\\M\\MOSAIC")}),
            1,
            "each frame is a mosaic of slices, and nothing says of how many (M6)",
        ),
    ],
)  # fmt: skip
def test_what_is_no_stack_is_left_out_with_the_reason(
    change: Callable[[dict], object], volumes: int, reason: str, made: Callable[..., Volume]
) -> None:
    frames = [(place, time) for time in range(volumes) for place in range(5)]
    elements = enhanced(Planes(5), frames)
    assert made(elements)[0] is not None
    change(elements)
    volume, said = made(elements)
    assert said == [f"volume.nii is left out: {reason}"]
    assert volume is None


@pytest.mark.parametrize(
    "orientation",
    ["1\\0\\0\\1\\0\\0", "1\\0\\0\\0.1\\1\\0", "2\\0\\0\\0\\1\\0", "0\\0\\0\\0\\0\\0", "1e300\\0\\0\\0\\1e300\\0"],
)
def test_directions_that_are_none(orientation: str, made: Callable[..., Volume]) -> None:
    elements = enhanced(Planes(3), [(place, 0) for place in range(3)])
    elements[0x52009229][1][0][PLANE_ORIENTATION] = sequence({ORIENTATION: ("DS", orientation.replace(" ", "\\"))})
    volume, said = made(elements)
    assert volume is None
    assert said == ["volume.nii is left out: the orientation is not that of two perpendicular directions"]


def test_tiles_of_one_plane_are_no_stack(made: Callable[..., Volume]) -> None:
    planes = Planes(3, depths=[0.0, 0.0, 0.0], shear=(6.0, 0.0))
    volume, said = made(enhanced(planes, [(place, 0) for place in range(3)]))
    assert volume is None
    assert said == ["volume.nii is left out: the frames lie side by side"]


def test_what_has_no_place_says_so_only_where_it_should(loop: Loop) -> None:
    assert volume_of(PYDICOM_DATA / "emri_small.dcm", loop) == (
        None,
        ["volume.nii is left out: no frame has a position"],
    )
    assert volume_of(PYDICOM / "examples_ybr_color.dcm", loop) == (None, [])
    assert volume_of(PYDICOM / "SC_rgb_small_odd.dcm", loop) == (None, [])


@pytest.mark.parametrize(
    ("offsets", "reason"),
    [
        ("0\\5\\10\\15", ""),
        ("30\\35\\40\\45", ""),
        ("0\\5\\10\\16", "the distances between the slices differ"),
        ("0\\5\\10", "not every frame has a position"),
        ("7\\12\\17\\22", "not every frame has a position"),
        ("30.000001\\35.000001\\40.000001\\45.000001", ""),
        ("1e-9\\5\\10\\15", ""),
    ],
)
def test_a_dose_grid_lies_by_its_offsets(offsets: str, reason: str, made: Callable[..., Volume]) -> None:
    planes = Planes(4, distance=5.0)
    more = {
        0x00080016: ("UI", RT_DOSE),
        0x00280009: ("AT", [0x3004000C]),
        POSITION: ("DS", text(planes.position(0))),
        ORIENTATION: ("DS", planes.orientation),
        SPACING: ("DS", text(planes.spacing)),
        0x3004000C: ("DS", offsets),
        0x3004000E: ("DS", "0.25"),
    }
    stored = of(planes)
    volume, said = made(image(6, 8, stored.astype("<u4").tobytes(), frames=4, bits=32, more=more))
    assert said == ([f"volume.nii is left out: {reason}"] if reason else [])
    assert (volume is None) == bool(reason)
    if volume is not None:
        assert_in_place(volume, planes, stored * 0.25)
        assert volume.get_data_dtype() == np.uint32


@pytest.mark.parametrize(
    ("position", "offsets", "there"),
    [
        ("-101.66667", "-101.666667\\-99.166667\\-96.666667", True),
        ("-101.666667", "-101.67\\-99.17\\-96.67", True),
        ("-101.66", "-101.666667\\-99.166667\\-96.666667", True),
        ("-1.0166667e2", "-101.666667\\-99.166667\\-96.666667", True),
        ("-101.66667", "-101.68\\-99.18\\-96.68", False),
        ("-101.67", "-101.7\\-99.2\\-96.7", True),
        ("-102", "-101.4\\-98.9\\-96.4", False),
    ],
)
def test_dose_offsets_are_heights_as_far_as_decimals_tell(
    position: str, offsets: str, there: bool, made: Callable[..., Volume]
) -> None:
    more = {
        0x00080016: ("UI", RT_DOSE),
        POSITION: ("DS", f"-20\\-30\\{position}"),
        ORIENTATION: ("DS", "1\\0\\0\\0\\1\\0"),
        SPACING: ("DS", "2\\2"),
        0x3004000C: ("DS", offsets),
        0x3004000E: ("DS", "0.25"),
    }
    volume, said = made(image(6, 8, bytes(3 * 48 * 2), frames=3, bits=16, more=more))
    assert (volume is not None) == there, said
    if volume is not None:
        assert np.allclose(volume.affine[:, 2], [0, 0, 2.5, 0], atol=0.2)


def test_positions_of_few_decimals_are_a_grid_and_a_missing_slice_is_none(made: Callable[..., Volume]) -> None:
    """Slices 0.35 mm apart, written to a tenth: up to 0.05 mm beside their places, a seventh of the distance."""
    for decimals, left_out, there in ((1, 3, True), (1, 1, False), (3, 1, False), (3, 3, True)):
        depths = [round(0.35 * place, decimals) for place in range(5) if place != left_out or left_out == 3]
        planes = Planes(len(depths), depths=depths, origin=(1.5, 2.5, 3.0))
        volume, said = made(enhanced(planes, [(place, 0) for place in range(len(depths))]))
        assert (volume is not None) == there, said


def tomography(planes: Planes, distance: float, slots: int) -> dict:
    """Make a reconstruction of nuclear medicine, gated where there are *slots*; see PS3.3 C.8.4.15."""
    count = planes.slices * slots
    at = {POSITION: ("DS", text(planes.position(0))), ORIENTATION: ("DS", planes.orientation)}
    frames = [(place, slot) for slot in range(slots) for place in range(planes.slices)]
    gates = {0x00540070: ("US", [slot + 1 for _, slot in frames])} if slots > 1 else {}
    more = {
        0x00080016: ("UI", "1.2.840.10008.5.1.4.1.1.20"),
        0x00080060: ("CS", "NM"),
        0x00080008: ("CS", "DERIVED\\PRIMARY\\RECON TOMO\\EMISSION"),
        BETWEEN: ("DS", text([distance])),
        SPACING: ("DS", text(planes.spacing)),
        0x00280009: ("AT", [*gates, 0x00540080]),
        0x00540022: sequence(at),
        0x00540080: ("US", [place + 1 for place, _ in frames]),
    }
    pixels = values(planes, frames)
    return image(planes.rows, planes.columns, pixels.tobytes(), frames=count, bits=16, more=more | gates)


@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_nuclear_medicine_is_stacked_by_the_sign_of_its_spacing(
    sign: int, slots: int, made: Callable[..., Volume]
) -> None:
    row, column = turned(1)
    planes = Planes(5, row=row, column=column, depths=[sign * 3.5 * place for place in range(5)])
    volume, said = made(tomography(planes, sign * 3.5, slots))
    assert not said
    assert volume is not None
    assert_in_place(volume, planes, of(planes, slots))


def test_nuclear_medicine_without_a_distance_is_no_volume(made: Callable[..., Volume]) -> None:
    elements = tomography(Planes(5), 3.5, 1)
    assert made(elements)[0] is not None
    assert made(elements | {BETWEEN: ("DS", "")})[0] is None
    assert made(elements | {BETWEEN: ("DS", "0")})[0] is None
    assert made(elements | {0x00540080: ("US", [1, 2])})[0] is None


def nonsense(choose: Callable[[list], object], volumes: int = 2) -> dict:
    """Make an enhanced object, a segmentation or a reconstruction, and replace some of what says where frames lie."""
    frames = [(place, time) for time in range(volumes) for place in range(3)]
    elements = choose([
        lambda: enhanced(Planes(3), frames, rescale=[(1, 0)], per_frame=times(frames, [0.0, 1.0])),
        lambda: segmentation(Planes(3), [(place, time + 1) for place, time in frames]),
        lambda: tomography(Planes(3), 2.0, volumes),
    ])()  # fmt: skip
    words = ["", "0", "-1", "1e-300", "1e300", "1e38", "nan", "9" * 60, "x", "1\\0\\0\\0\\1\\0", "1\\2\\3", "2\\3"]

    def spoil(dataset: dict) -> None:
        for tag, (vr, value) in list(dataset.items()):
            if vr == "SQ":
                for item in value:
                    spoil(item)
            elif tag >> 16 not in (0x0008, 0x0028, 0x7FE0) or tag in (SPACING, 0x00281052, 0x00281053):
                if choose([True, *[False] * 15]):
                    parts = [choose(words) for _ in range(choose([1, 1, 2, 3, 6]))]
                    dataset[tag] = (choose(["DS", "IS", "LO"]), "\\".join(parts))
                elif choose([True, *[False] * 30]):
                    del dataset[tag]

    spoil(elements)
    return elements


@pytest.mark.parametrize("seed", range(60))
def test_nonsense_makes_a_volume_or_a_reason_and_never_an_error(seed: int, made: Callable[..., Volume]) -> None:
    """Warnings of NumPy are errors here, too."""
    elements = nonsense(random.Random(seed).choice)
    volume, _ = made(elements)
    if volume is not None:
        assert np.isfinite(volume.affine).all()
        assert abs(np.linalg.det(volume.affine)) > 0
        assert numbers(volume).shape == volume.shape


# Beside dcm2niix


@pytest.mark.parametrize("order", ["as stored", "times first", "shuffled"])
@pytest.mark.parametrize("maker", ["Philips Medical Systems", "BRUKER"])
def test_enhanced_mr_equals_dcm2niix(
    order: str, maker: str, made: Callable[..., Volume], program: Program, tmp_path: Path
) -> None:
    """These are makers for whom dcm2niix takes frames in one place for volumes."""
    row, column = turned(2)
    planes = Planes(5, row=row, column=column)
    frames = [(place, time) for time in range(3) for place in range(5)]
    if order == "times first":
        frames.sort()
    elif order == "shuffled":
        random.Random(1).shuffle(frames)
    volume, _ = made(enhanced(planes, frames, rescale=[(2, -3)], more={0x00080070: ("LO", maker)}))
    (theirs,) = dcm2niix(program("dcm2niix"), tmp_path / "made.dcm", tmp_path / "out")
    assert volume is not None
    assert_same(volume, theirs)


def test_nuclear_medicine_equals_dcm2niix(made: Callable[..., Volume], program: Program, tmp_path: Path) -> None:
    """Where the distance is more than 0: of a negative one it takes no notice."""
    elements = tomography(Planes(5), 2.5, 1) | {0x00080070: ("LO", "SIEMENS NM"), THICKNESS: ("DS", "2.5")}
    volume, _ = made(elements)
    (theirs,) = dcm2niix(program("dcm2niix"), tmp_path / "made.dcm", tmp_path / "out")
    assert volume is not None
    assert_same(volume, theirs)


def test_a_dose_grid_equals_dcm2niix_but_for_what_it_leaves_out(loop: Loop, program: Program, tmp_path: Path) -> None:
    """With the thickness that it takes for the distance, it agrees on the grid; the scale it never applies."""
    dose = pydicom.dcmread(PYDICOM / "rtdose.dcm")
    dose.SliceThickness = "5"
    dose.save_as(tmp_path / "dose.dcm")
    volume, said = volume_of(tmp_path / "dose.dcm", loop)
    (theirs,) = dcm2niix(program("dcm2niix"), tmp_path / "dose.dcm", tmp_path / "out")
    assert not said
    assert volume is not None
    assert volume.shape == theirs.shape == (10, 10, 15)
    assert np.abs(volume.affine - theirs.affine).max() < 2e-4
    scale = float(dose.DoseGridScaling)
    assert np.allclose(numbers(volume), numbers(theirs) * scale, rtol=1e-6)
    assert np.allclose(numbers(volume).T[:, ::-1], dose.pixel_array * scale, rtol=1e-6)


# What makes dcm2niix no judge: it cannot decode them or decodes them wrongly, see the top for the others.
_UNDECODED = {"MR_small_jpeg_ls_lossless.dcm", "MR2_J2KI.dcm", "MR2_J2KR.dcm", "MR_truncated.dcm", "rtdose_rle.dcm"}
_OTHER = {
    "J2K_pixelrep_mismatch.dcm",  # turned by the tilt
    "badVR.dcm", "rtdose.dcm", "rtdose_1frame.dcm", "rtdose_expb.dcm", "rtdose_expb_1frame.dcm",  # doses
    "rtdose_rle_1frame.dcm",
    "examples_overlay.dcm", "MR-SIEMENS-DICOM-WithOverlays.dcm",  # it writes the overlay
    "no_meta.dcm",  # it wants meta information
}  # fmt: skip


def test_the_samples_equal_dcm2niix(loop: Loop, program: Program, tmp_path: Path) -> None:
    compared = []
    for number, sample in enumerate(SAMPLES):
        if sample.name in _UNDECODED | _OTHER or pydicom_says_no_place(sample):
            continue
        volume, _ = volume_of(sample, loop)
        if volume is None:
            continue
        (theirs,) = dcm2niix(program("dcm2niix"), sample, tmp_path / str(number))
        assert_same(volume, theirs)
        compared.append(sample.name)
    assert len(compared) > 40
    assert {"eCT_Supplemental.dcm", "liver.dcm", "MR_small.dcm", "CT_small.dcm"} < set(compared)


def pydicom_says_no_place(path: Path) -> bool:
    """Tell quickly that a file states no position anywhere."""
    data = path.read_bytes()
    return b"\x20\x00\x32\x00" not in data and b"\x00\x20\x00\x32" not in data


def test_the_corpus_equals_dcm2niix(corpus: Path | None, loop: Loop, program: Program, tmp_path: Path) -> None:
    if corpus is None:
        pytest.skip("the corpus is not there")
    names = ["6_1.dcm", "6_2.dcm", "6_3.dcm", "6_4.dcm", "IM_0027_fMAP.dcm"]
    for name in names:
        volume, said = volume_of(corpus / "enhanced" / name, loop)
        assert not said
        assert volume is not None
        theirs = dcm2niix(program("dcm2niix"), corpus / "enhanced" / name, tmp_path / name)
        if len(theirs) == 1:
            assert_same(volume, theirs[0])
            assert volume.header["pixdim"][4] == theirs[0].header["pixdim"][4] == 0.5
        else:  # a magnitude and a map of the field: two files of theirs, two volumes of ours
            for place, one in enumerate(theirs):
                assert_same(volume.slicer[..., place], one)
    overlapping = corpus / "highdicom" / "seg_image_ct_binary_overlap.dcm"
    volume, _ = volume_of(overlapping, loop)
    assert volume is not None
    assert volume.shape == (16, 16, 165, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frames = pydicom.dcmread(overlapping).pixel_array
    filled = numbers(volume)[:, :, [0, 162, 163, 164]]
    assert np.array_equal(filled[:, ::-1].T.reshape(8, 16, 16), frames)
    assert filled.sum() == numbers(volume).sum()


# Through a mount, and what it costs


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make an enhanced object of 300 slices of 1 MiB whose frames are a hole but for their first pixel."""
    place = tmp_path_factory.mktemp("large")
    planes = Planes(300, rows=512, columns=1024)
    elements = enhanced(planes, [(299 - slot, 0) for slot in range(300)], pixels=np.zeros(1, "<u2"))
    elements[PIXEL_DATA] = ("OW", Raw(b"", 300 << 20))
    head = dicom(elements)
    (place / "archive").mkdir()
    with open(place / "archive" / "large.dcm", "wb") as stream:
        stream.write(head)
        stream.truncate(len(head) + (300 << 20))
        for frame in range(300):
            stream.seek(len(head) + (frame << 20))
            stream.write(int(299 - frame).to_bytes(2, "little"))
    return place


def test_reading_a_slice_costs_a_slice(large: Path) -> None:
    with mounted(large / "archive", large) as mount:
        path = mount.path / "large.dcm" / "volume.nii"
        assert path.stat().st_size == 352 + (300 << 20)
        before = mount.resident()
        volume = nib.Nifti1Image.load(path)
        for place in (150, 3, 299):
            assert volume.dataobj[0, 511, place] == place
        assert volume.dataobj[0, 511, 150:153].tolist() == [150, 151, 152]
        assert mount.resident() - before < 60 << 20


def test_a_decoded_slice_is_decoded_alone(loop: Loop, tmp_path: Path) -> None:
    planes = Planes(40)
    encoded = enhanced(planes, [(place, 0) for place in range(40)], rescale=[(1, 0), (2, 0)])
    (tmp_path / "made.dcm").write_bytes(file(encoded))

    async def read() -> tuple[int, int]:
        with tree_of(loop, tmp_path / "made.dcm") as top:
            before = loop.decoder.stats.decoded
            node = dict(await files_below(top, frames=1))[b"volume.nii"]
            listed = loop.decoder.stats.decoded - before
            content = await node.open()
            await read_at(content, 352 + 20 * 192, 192)
            content.close()
            return listed, loop.decoder.stats.decoded - before

    assert loop.run(read) == (0, 1)


def test_through_a_mount(tmp_path: Path, loop: Loop) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    planes = Planes(5)
    (archive / "a.dcm").write_bytes(file(enhanced(planes, [(place, 0) for place in (2, 0, 1, 4, 3)])))
    elements = enhanced(planes, [(place, 0) for place in range(5)])
    changed(2, PLANE_POSITION, POSITION, "")(elements)
    (archive / "b.dcm").write_bytes(file(elements))
    with mounted(archive, tmp_path) as mount:
        volume = nib.load(mount.path / "a.dcm" / "volume.nii")
        assert_in_place(volume, planes, of(planes))
        assert not (mount.path / "b.dcm" / "volume.nii").exists()
        said = (mount.path / "b.dcm" / "problems.txt").read_text()
        assert said == "volume.nii is left out: not every frame has a position\n"


def test_nothing_of_a_patient_is_in_the_header(made: Callable[..., Volume]) -> None:
    volume, _ = made(
        enhanced(Planes(2), [(0, 0), (1, 0)], more={0x00100010: ("PN", "Doe^Jane"), 0x0008103E: ("LO", "Secret")})
    )
    assert volume is not None
    assert not any(bytes(volume.header[name].tobytes()).strip(b"\0") for name in ("descrip", "aux_file", "db_name"))
