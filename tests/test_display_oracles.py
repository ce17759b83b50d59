"""Pictures beside other programs', over every sample: DCMTK judges grey ones, pydicom the colours.

Both are given the same window: through `--window` to us, by option to DCMTK. The first frame of every file with
frames is compared, and each file that differs stands in a list with the reason and who is right.
"""

import io
import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.pixels import pixel_array
from support.archives import CORPUS, SAMPLES, corpus_files, swept
from support.dcmtk import drawn_by_dcmtk
from support.mounting import Loop, files_below, read_all, tree_of
from support.object_directories import Shown

from dicomfs.dicom.stream import Memory
from dicomfs.instance.instance import Instance, load
from dicomfs.iod.image_display import display_of
from dicomfs.rendering.render import Window

Program = Callable[[str], str]

# Files of which DCMTK draws another picture, and why ours is right. A file that no longer differs fails the test.
DOSES = (
    "badVR.dcm",
    "rtdose.dcm",
    "rtdose_1frame.dcm",
    "rtdose_expb.dcm",
    "rtdose_expb_1frame.dcm",
    "rtdose_rle.dcm",
    "rtdose_rle_1frame.dcm",
)
GREY_DIFFERS = {
    "RG3_JPLY": "lossy overshoot beyond Bits Stored: DCMTK cuts the bits off, and white becomes black",
    **dict.fromkeys(DOSES, "a dose is scaled by Dose Grid Scaling, which DCMTK leaves out"),
    "IM_0027_fMAP.dcm": "the frame has a rescaling of its own in its functional groups, which DCMTK does not read",
}
COLOUR_DIFFERS = {
    # The file of that name among pydicom's own is another one.
    "JPEGBaseline/SC_rgb_jpeg_lossy_gdcm.dcm": "it says RGB, but only chrominance can be smaller (test_colour)",
}


def corpus() -> list[object]:
    found = corpus_files()
    return [pytest.param(path, id=str(path.relative_to(CORPUS)), marks=pytest.mark.slow) for path in found]


EVERY = [*swept(SAMPLES), *corpus()]


def opened(path: Path) -> Instance | None:
    """Give the object of a file that has frames."""
    instance = load(Memory(path.read_bytes()))
    return instance if instance.pixels and len(instance.pixels.frames) else None


def by_dcmtk(program: Program, path: Path, folder: Path, options: list[str]) -> np.ndarray | None:
    """Give DCMTK's picture of the first frame; None where it declines."""
    try:
        return drawn_by_dcmtk(program("dcmj2pnm"), path, folder, "-O", "+op", *options).astype(int)
    except (subprocess.CalledProcessError, FileNotFoundError):
        return None


def grey_options(instance: Instance) -> tuple[list[str], Window | None] | None:
    """Say to DCMTK what the file says to us, else give both a window for all values; None where it cannot be told."""
    assert instance.pixels
    assert instance.parsed
    display, _ = display_of(instance.pixels.dataset, 0, instance.pixels.format)
    if display.padding is not None or display.palette is not None:
        return None  # DCMTK draws padding like any value, and no supplemental palettes
    if display.voi_lut is not None:
        return ["+Wl", "1"], None
    if display.window is None:
        values = 1 << instance.pixels.format.bits_stored
        middle = 0 if instance.pixels.format.signed else values / 2
        window = Window(middle * display.slope + display.intercept, max(2.0, values * abs(display.slope)))
        return ["+Wfl", "+Ww", f"{window.center}", f"{window.width}"], window
    function = {"SIGMOID": ["+Wfs"], "LINEAR": ["+Wfl"]}.get(display.window.function)
    stated = ["+Ww", f"{display.window.center}", f"{display.window.width}"]
    return None if function is None else ([*function, *stated], None)


def tolerance(instance: Instance, window: Window | None) -> float:
    """Say by how many levels of grey roundings may differ: DCMTK cuts rescaled values to whole numbers."""
    assert instance.pixels
    assert instance.parsed
    display, _ = display_of(instance.pixels.dataset, 0, instance.pixels.format)
    shown = window or display.window
    if shown is None or (display.slope.is_integer() and display.intercept.is_integer()):
        return 1
    # Half a level is ours, a whole one DCMTK's, which cuts there too, and the rest is what a whole unit makes.
    return 1.5 + 255 / max(1.0, shown.width - 1)


@pytest.mark.parametrize("path", EVERY)
def test_grey_is_as_dcmtk_draws_it(path: Path, loop: Loop, program: Program, tmp_path: Path) -> None:
    instance = opened(path)
    if instance is None or instance.pixels is None or not instance.pixels.format.photometric.startswith("MONOCHROME"):
        return
    options = grey_options(instance)
    expected = by_dcmtk(program, path, tmp_path, options[0]) if options else None
    if options is None or expected is None:
        return

    async def read() -> bytes:
        with tree_of(loop, path, options[1]) as top:
            return await read_all(dict(await files_below(top, frames=1))[b"frames/0001.png"])

    drawn = np.asarray(Image.open(io.BytesIO(loop.run(read)))).astype(int)
    assert drawn.shape == expected.shape
    differs = int(np.abs(drawn - expected).max()) > tolerance(instance, options[1])
    assert differs == (path.name in GREY_DIFFERS), f"by {np.abs(drawn - expected).max()}"


@pytest.mark.parametrize("path", EVERY)
def test_colour_is_as_pydicom_has_it(path: Path, loop: Loop, tmp_path: Path) -> None:
    instance = opened(path)
    if instance is None or instance.pixels is None or instance.pixels.format.samples != 3:
        return
    bits = instance.pixels.format.bits_stored
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path, force=True)
            expected = pixel_array(dataset, index=0).astype(int) >> max(0, bits - 8)
    except (RuntimeError, ValueError, AttributeError, NotImplementedError):
        return
    drawn = Shown(loop, path).picture().astype(int)
    assert drawn.shape == expected.shape
    differs = int(np.abs(drawn - expected).max()) > 2
    assert differs == (f"{path.parent.name}/{path.name}" in COLOUR_DIFFERS), f"by {np.abs(drawn - expected).max()}"
