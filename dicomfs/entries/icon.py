"""The icon image and the ICC profile of a file: `icon.png` and `profile.icc`."""

from dicomfs.dicom.stream import Extent
from dicomfs.entries.dependence import Depends
from dicomfs.entries.display_images import display_images
from dicomfs.entries.source_bytes import ExtentsFile
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.vfs.nodes import Node


class Icon:
    """The Icon Image Sequence as PNG (PS3.3 C.7.6.1.1.6)."""

    name = "icon.png"
    depends = Depends.DECODERS

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve it where there is one."""
        return display_images(handle, instance, icon=True)(0) if instance.icon else None


class ProfileIcc:
    """The ICC profile verbatim."""

    name = "profile.icc"
    depends = Depends.PARSER

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve it where there is one."""
        profile = instance.profile
        if profile is None:
            return None
        return ExtentsFile(handle, [Extent(profile.offset, profile.length)])
