"""How a mount, or a command that works without one, shows an archive."""

from dataclasses import dataclass

from dicomfs.instance.entry_selection import USUAL, Selection
from dicomfs.rendering.render import Window


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """What a user chose about the virtual files.

    *window* replaces the window of the file for grayscale frames. *every_cine_loop* shows every object with several
    frames as a cine loop, volumes too. *selection* names the entries that are listed and those that do not exist.
    *xattrs* shows header values as extended attributes.
    """

    window: Window | None = None
    every_cine_loop: bool = False
    selection: Selection = USUAL
    xattrs: bool = False


USUAL_VIEW = ViewOptions()
