"""What a file brings along for its pictures: `icon.png` and `profile.icc`."""

from dicomfs.dicom.stream import Extent
from dicomfs.entries.dependence import Depends
from dicomfs.entries.display_images import Look, frame_pictures
from dicomfs.instance.handle import ContentFile, Subject
from dicomfs.instance.instance import Instance
from dicomfs.vfs.nodes import Node


class Icon:
    """The small picture that the maker of the file put into it."""

    name = "icon.png"
    depends = Depends.DECODERS

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve it where there is one."""
        return frame_pictures(subject, instance, Look(icon=True))(0) if instance.icon else None


class ProfileIcc:
    """The ICC profile, as it stands."""

    name = "profile.icc"
    depends = Depends.PARSER

    def node(self, instance: Instance, subject: Subject) -> Node | None:
        """Serve it where there is one."""
        profile = instance.profile
        if profile is None:
            return None
        extent = Extent(profile.offset, profile.length)
        return ContentFile(subject.file(profile.length), lambda: subject.stored([extent]))
