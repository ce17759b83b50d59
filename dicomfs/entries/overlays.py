"""Overlay planes as display images: `overlays/<n>/`, apart from the frames and never burned into them."""

from dicomfs.entries.dependence import Depends
from dicomfs.entries.display_images import overlay_images
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.pixeldata.overlays import Overlay
from dicomfs.vfs.nodes import NamedChildren, Node, NumberedChildren, ReadyDirectory


class Overlays:
    """A directory for each plane, numbered by its group: 1 for 6000, 2 for 6002, up to 16.

    An image has the number of the frame that it belongs to. A plane that applies to all frames is there for each.
    """

    name = "overlays"
    depends = Depends.DECODERS

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve the planes that can be shown."""
        if not instance.overlays:
            return None
        planes = [(b"%d" % overlay.number, _plane(instance, handle, overlay)) for overlay in instance.overlays]
        return ReadyDirectory(handle.directory(), NamedChildren(planes))


def _plane(instance: Instance, handle: InstanceHandle, overlay: Overlay) -> ReadyDirectory:
    image, first = overlay_images(handle, instance, overlay), overlay.first
    # As many digits as the frames have, so that the names of both are the same.
    digits = len(str(len(instance.pixels.frames))) if instance.pixels else 0
    children = NumberedChildren(
        overlay.count,
        image,
        ".png",
        shared_attributes=image(0).attributes,
        first=first + 1,
        digits=max(4, digits),
    )
    return ReadyDirectory(handle.directory(), children)
