"""Objects whose frames lie in space, for tests: enhanced MR, segmentations, dose grids; and where each frame lies.

Frames hold values that tell where they belong, so that an exchange of slices or of volumes shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from support.builders import EXPLICIT_LITTLE, PER_FRAME_GROUPS, SHARED_GROUPS, DataSet, dicom, image

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
RT_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
SPACING, THICKNESS, BETWEEN = 0x00280030, 0x00180050, 0x00180088
POSITION, ORIENTATION = 0x00200032, 0x00200037
PLANE_POSITION, PLANE_ORIENTATION, MEASURES = 0x00209113, 0x00209116, 0x00289110
FRAME_CONTENT, INDEX_VALUES, INDEX_SEQUENCE, INDEX_POINTER = 0x00209111, 0x00209157, 0x00209222, 0x00209165
STACK_ID, IN_STACK, TEMPORAL = 0x00209056, 0x00209057, 0x00209128
TRANSFORMATION = 0x00289145


def text(numbers: Sequence[float]) -> str:
    """Write numbers as a decimal string does, with at most 16 characters each."""
    return "\\".join(f"{number:.9g}"[:16] for number in numbers)


def sequence(*items: DataSet) -> tuple[str, list[DataSet]]:
    return "SQ", list(items)


@dataclass
class Planes:
    """Slices along the normal of a turned plane; *shear* moves each against the one before, along rows and columns."""

    slices: int
    rows: int = 6
    columns: int = 8
    row: Sequence[float] = (1.0, 0.0, 0.0)
    column: Sequence[float] = (0.0, 1.0, 0.0)
    origin: Sequence[float] = (-12.5, 7.25, 30.0)
    spacing: tuple[float, float] = (1.5, 0.75)
    distance: float = 2.5
    shear: tuple[float, float] = (0.0, 0.0)
    depths: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.depths = self.depths or [self.distance * place for place in range(self.slices)]

    @property
    def orientation(self) -> str:
        return text([*self.row, *self.column])

    def position(self, place: int) -> np.ndarray:
        """Give the centre of the first pixel of a slice."""
        row, column = np.array(self.row), np.array(self.column)
        aside = place * (self.shear[0] * row + self.shear[1] * column)
        return np.array(self.origin) + self.depths[place] * np.cross(row, column) + aside

    def world(self, place: int) -> np.ndarray:
        """Give where the pixels of a slice lie in RAS, (rows, columns, 3), by the equation of PS3.3 C.7.6.2.1.1."""
        r, c = np.meshgrid(np.arange(self.rows), np.arange(self.columns), indexing="ij")
        down = np.array(self.column) * self.spacing[0]
        right = np.array(self.row) * self.spacing[1]
        lps = self.position(place) + r[..., None] * down + c[..., None] * right
        return lps * [-1, -1, 1]


def turned(seed: int) -> tuple[list[float], list[float]]:
    """Give perpendicular directions of a row and of a column."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return matrix[:, 0].tolist(), matrix[:, 1].tolist()


def values(planes: Planes, frames: Sequence[tuple[int, int]], dtype: str = "<u2") -> np.ndarray:
    """Give the stored values of frames, each of a slice and a volume: all different."""
    size = planes.rows * planes.columns
    starts = [(place + planes.slices * volume) * size for place, volume in frames]
    return (
        np.array([np.arange(start, start + size) for start in starts])
        .astype(dtype)
        .reshape(-1, planes.rows, planes.columns)
    )


def enhanced(
    planes: Planes,
    frames: Sequence[tuple[int, int]],
    *,
    rescale: Sequence[tuple[float, float]] | None = None,
    pointers: Sequence[int] = (STACK_ID, IN_STACK, TEMPORAL),
    per_frame: Sequence[DataSet] = (),
    shared: DataSet | None = None,
    more: DataSet | None = None,
    pixels: np.ndarray | None = None,
) -> dict:
    """Make the elements of an enhanced MR image whose *frames* are slices of volumes, in this order."""
    groups = []
    for index, (place, volume) in enumerate(frames):
        group = {
            PLANE_POSITION: sequence({POSITION: ("DS", text(planes.position(place)))}),
            FRAME_CONTENT: sequence({
                STACK_ID: ("SH", "1"),
                IN_STACK: ("UL", place + 1),
                TEMPORAL: ("UL", volume + 1),
                INDEX_VALUES: ("UL", [1, place + 1, volume + 1][: len(pointers)]),
            }),
        }  # fmt: skip
        if rescale is not None:
            slope, intercept = rescale[index % len(rescale)]
            group[TRANSFORMATION] = sequence({
                0x00281052: ("DS", text([intercept])), 0x00281053: ("DS", text([slope])), 0x00281054: ("LO", "US"),
            })  # fmt: skip
        groups.append(group | dict(per_frame[index] if per_frame else {}))
    common = {
        PLANE_ORIENTATION: sequence({ORIENTATION: ("DS", planes.orientation)}),
        MEASURES: sequence({
            SPACING: ("DS", text(planes.spacing)), THICKNESS: ("DS", text([planes.distance])),
            BETWEEN: ("DS", text([planes.distance])),
        }),
    }  # fmt: skip
    elements = {
        0x00080016: ("UI", ENHANCED_MR),
        0x00080060: ("CS", "MR"),
        0x00080070: ("LO", "SIEMENS"),
        0x00080008: ("CS", "ORIGINAL\\PRIMARY\\M\\NONE"),
        0x0020000D: ("UI", "1.2.3"),
        0x0020000E: ("UI", "1.2.3.5"),
        0x00200011: ("IS", "3"),
        0x00200013: ("IS", "1"),
        SHARED_GROUPS: sequence(common | dict(shared or {})),
        PER_FRAME_GROUPS: sequence(*groups),
        INDEX_SEQUENCE: sequence(*({INDEX_POINTER: ("AT", [pointer])} for pointer in pointers)),
    }
    stored = values(planes, frames) if pixels is None else pixels
    bits = stored.dtype.itemsize * 8
    return image(
        planes.rows, planes.columns, stored.tobytes(), frames=len(frames), bits=bits,
        signed=stored.dtype.kind == "i", more=elements | dict(more or {}),
    )  # fmt: skip


def file(elements: DataSet, syntax: str = EXPLICIT_LITTLE) -> bytes:
    """Make the file."""
    return dicom(elements, syntax)
