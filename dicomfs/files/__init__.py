"""What the directory of one DICOM file holds: the one ordered table, which says of each entry whether it is listed.

Each entry is a class with a `name` and a method `node` that gives the File or Directory for one Instance, or None
where the entry makes no sense for it. `node` runs in a thread and decodes nothing; whatever it promises (sizes,
names) must hold for as long as the file is the same. `depends` says what else the bytes follow from.

A program that searches a folder for DICOM must find each object once. So of the DICOM files that an object has here
only `original.dcm` is listed; the others can be opened by their names.
"""

from typing import Protocol

from dicomfs.files.arrays import PixelsNpy, RescaledNpy, Stored
from dicomfs.files.bitstreams import Fragments, Raw
from dicomfs.files.cine import VideoMp4
from dicomfs.files.dependence import Depends
from dicomfs.files.extras import Icon, ProfileIcc
from dicomfs.files.frame_index import FramesJson
from dicomfs.files.frames import Frames, Thumbnail, Windows
from dicomfs.files.header import HeaderJson, HeaderTxt, ProblemsTxt, RegionsJson
from dicomfs.files.native_dcm import NativeDcm
from dicomfs.files.overlays import Overlays
from dicomfs.files.source import Bulk, OriginalDcm
from dicomfs.files.subject import Subject
from dicomfs.files.transcoded import Transcoded
from dicomfs.files.video import StoredVideo
from dicomfs.files.volume import VolumeNii
from dicomfs.image.instance import Instance
from dicomfs.image.video import KINDS
from dicomfs.nodes import Node


class VirtualFile(Protocol):
    """The contract of an entry."""

    name: str
    depends: Depends

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Give the entry for *instance*, or None."""


# Whether a listing has an entry, or it is only opened by its name; `Selection` may say otherwise.
LISTED, BY_NAME = True, False

VIRTUAL_FILES: tuple[tuple[VirtualFile, bool], ...] = (
    (HeaderJson(), LISTED),
    (HeaderTxt(), LISTED),
    (FramesJson(), LISTED),
    (RegionsJson(), LISTED),
    (Frames(), LISTED),
    (Windows(), LISTED),
    (Stored(), LISTED),
    (PixelsNpy(), LISTED),
    (RescaledNpy(), LISTED),
    (VolumeNii(), LISTED),
    (Raw(), LISTED),
    (Fragments(), LISTED),
    (VideoMp4(), LISTED),
    *((StoredVideo(kind), LISTED) for kind in KINDS if kind != "mp4"),
    (OriginalDcm(), LISTED),
    (NativeDcm(), BY_NAME),
    (Transcoded(), BY_NAME),
    (Thumbnail(), LISTED),
    (Overlays(), LISTED),
    (Icon(), LISTED),
    (ProfileIcc(), LISTED),
    (Bulk(), LISTED),
    (ProblemsTxt(), LISTED),
)
