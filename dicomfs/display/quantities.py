"""What a data set says about the quantities that stored values stand for: attributes to a Scale.

Only this module chooses between real world value maps, the Modality LUT, rescaling and the scale of a dose.
"""

from dataclasses import replace

from dicomfs.dicom.elements import DataSet
from dicomfs.dicom.stream import Stream
from dicomfs.display.display import check_groups, display_of
from dicomfs.display.luts import read_lut
from dicomfs.display.scale import Scale
from dicomfs.image.pixelformat import PixelFormat

_MODALITY_LUT = 0x00283000


def scale_of(dataset: DataSet, frame: int, fmt: PixelFormat, stream: Stream | None = None) -> Scale:
    """Read what the stored values of *frame*, counted from 0, stand for. Raises GroupMissing (G6)."""
    check_groups(dataset, frame)
    luts = dataset.items(_MODALITY_LUT)
    lut = read_lut(luts[0], fmt.signed, stream) if luts else None
    if lut is not None:
        return Scale(lut=lut)
    # Where the Modality LUT of a picture is left out (G4), rescaling is, too.
    display, _ = display_of(dataset, frame, replace(fmt, samples=1), stream)
    return Scale(display.slope, display.intercept)
