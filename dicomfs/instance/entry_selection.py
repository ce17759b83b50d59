"""Which entries of a DICOM file's directory are listed, and which are not there at all, as a user has chosen."""

from dataclasses import dataclass

# In a list of entries: all of them.
ALL = "all"


@dataclass(frozen=True, slots=True)
class Selection:
    """Names of entries that must be listed and of those that must not exist.

    An entry that is in neither is listed or can only be opened by its name, as its row in `VIRTUAL_FILES` says.
    """

    show: frozenset[str] = frozenset()
    hide: frozenset[str] = frozenset()

    def exists(self, name: str) -> bool:
        """Return whether the entry can be opened; one that is named to be shown outlives `--hide all`."""
        return name not in self.hide and (ALL not in self.hide or name in self.show)

    def lists(self, name: str, usually: bool) -> bool:
        """Return whether a listing has the entry, which it *usually* has or has not."""
        return self.exists(name) and (usually or name in self.show or ALL in self.show)


# As the table says.
USUAL = Selection()
