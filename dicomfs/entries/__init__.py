"""What the directory of one instance holds: one module for each entry, and the one ordered list of them.

Each entry is a class with a `name` and a method `node` that gives the File or Directory for one Instance, or None
where the entry makes no sense for it. `node` runs in a thread and decodes nothing; whatever it promises (sizes,
names) must hold for as long as the file is the same. `depends` says what else the bytes follow from.

A program that searches a folder for DICOM must find each object once. So of the DICOM files that an object has here
only `original.dcm` is listed; the others can be opened by their names.
"""

from typing import Protocol

from dicomfs.entries.arrays import PixelsNpy, RescaledNpy, StoredDirectory
from dicomfs.entries.bitstreams import FragmentsDirectory, Raw
from dicomfs.entries.cine_loop import VideoMp4
from dicomfs.entries.dependence import Depends
from dicomfs.entries.frames import FramesDirectory, Thumbnail, Windows
from dicomfs.entries.frames_json import FramesJson
from dicomfs.entries.header import HeaderJson, HeaderTxt, ProblemsTxt, RegionsJson
from dicomfs.entries.icon import Icon, ProfileIcc
from dicomfs.entries.native_dcm import NativeDcm
from dicomfs.entries.original import Bulk, OriginalDcm
from dicomfs.entries.overlays import Overlays
from dicomfs.entries.stored_video import StoredVideo
from dicomfs.entries.transcoded import Transcoded
from dicomfs.entries.volume import VolumeNii
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.pixeldata.video_stream import KINDS
from dicomfs.vfs.nodes import Node


class VirtualFile(Protocol):
    """The contract of an entry."""

    name: str
    depends: Depends

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Return the entry for *instance*, or None."""


# Whether a listing has an entry, or it is only opened by its name; `Selection` may say otherwise.
LISTED, BY_NAME = True, False

VIRTUAL_FILES: tuple[tuple[VirtualFile, bool], ...] = (
    (HeaderJson(), LISTED),
    (HeaderTxt(), LISTED),
    (FramesJson(), LISTED),
    (RegionsJson(), LISTED),
    (FramesDirectory(), LISTED),
    (Windows(), LISTED),
    (StoredDirectory(), LISTED),
    (PixelsNpy(), LISTED),
    (RescaledNpy(), LISTED),
    (VolumeNii(), LISTED),
    (Raw(), LISTED),
    (FragmentsDirectory(), LISTED),
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
