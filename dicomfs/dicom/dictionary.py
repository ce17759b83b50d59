"""The data dictionary of PS3.6 and of makers' private elements: VR, keyword and name of a tag, names of UIDs.

Only this module reads `dictionary.tsv`, which `tools/make_dictionary.py` writes out of pydicom's dictionary and
describes. Importing pydicom for it would load its readers and codecs: 38 MB and twenty times the time. Nothing here
raises or warns; what is unknown is an empty string.
"""

import pkgutil
from functools import lru_cache

__all__ = [
    "SOURCE",
    "is_known_creator",
    "is_known_uid",
    "is_private",
    "is_private_creator",
    "keyword",
    "private_name",
    "private_vr",
    "public_vr",
    "uid_keyword",
    "uid_name",
]


_Entry = tuple[str, str]
"""VR and keyword of an element, or keyword and name of a UID."""


def _rows(paragraph: str) -> dict[str, _Entry]:
    """Read the lines of one paragraph of the table by their first field."""
    rows = (line.split("\t") for line in paragraph.split("\n"))
    return {key: (first, second) for key, first, second in rows}


_PARAGRAPHS = (pkgutil.get_data("dicomfs.dicom", "dictionary.tsv") or b"").decode().removesuffix("\n").split("\n\n")
SOURCE: str = _PARAGRAPHS[0]
"""The dictionary that the table was made of, and its version."""
_PUBLIC = {int(tag, 16): entry for tag, entry in _rows(_PARAGRAPHS[1]).items()}
# Repeating groups and elements (PS3.5 7.6), "60xx3000": value and mask of the digits that are given.
_REPEATING: list[tuple[int, int, _Entry]] = [
    (int(key.replace("x", "0"), 16), int("".join(["0" if digit == "x" else "F" for digit in key]), 16), entry)
    for key, entry in _rows(_PARAGRAPHS[2]).items()
]
_UIDS = _rows(_PARAGRAPHS[3])
# By creator, the text of the paragraph without its first line: ten thousand elements, few of which are ever looked up.
_PRIVATE: dict[str, str] = {
    creator: "\n" + elements for creator, _, elements in (text.partition("\n") for text in _PARAGRAPHS[4:])
}
del _PARAGRAPHS


def is_private(tag: int) -> bool:
    """Return whether *tag* is in an odd group (PS3.5 7.8)."""
    return bool(tag & 0x10000)


def is_private_creator(tag: int) -> bool:
    """Return whether *tag* reserves a block of private elements, (gggg,0010) to (gggg,00FF) (PS3.5 7.8.1)."""
    return bool(tag & 0x10000) and 0x10 <= tag & 0xFFFF <= 0xFF


def is_known_creator(creator: str) -> bool:
    """Return whether *creator* is the name under which a known maker reserves private elements."""
    return creator in _PRIVATE


def _entry(tag: int) -> _Entry | None:
    """Find VR and keyword of a public *tag*, also in repeating groups (PS3.5 7.6)."""
    entry = _PUBLIC.get(tag)
    if entry is None and not tag & 0x10000:
        entry = next((entry for value, mask, entry in _REPEATING if tag & mask == value), None)
    return entry


def _private_entry(tag: int, creator: str) -> _Entry | None:
    """Find VR and name of a private *tag*, whatever block the creator has reserved."""
    known = _PRIVATE.get(creator, "")
    group, element = f"{tag >> 16:04X}", f"{tag & 0xFFFF:04X}"
    for key in (group + element, f"{group}xx{element[2:]}", f"{group[:2]}xxxx{element[2:]}"):
        start = known.find(f"\n{key}\t")
        if start >= 0:
            _, vr, name = known[start + 1 :].partition("\n")[0].split("\t")
            return vr, name
    return None


@lru_cache(maxsize=8192)
def public_vr(tag: int) -> str:
    """Return the VR of a tag that needs no private creator; may be a choice such as "US or SS"; "" when unknown."""
    if not tag & 0xFFFF:
        return "UL"
    if is_private_creator(tag):
        return "LO"
    entry = _entry(tag)
    return entry[0] if entry and entry[0] != "NONE" else ""


@lru_cache(maxsize=8192)
def private_vr(tag: int, creator: str) -> str:
    """Return the VR of a private *tag* in a block reserved by *creator*; "" when unknown."""
    entry = _private_entry(tag, creator)
    return entry[0] if entry else ""


@lru_cache(maxsize=8192)
def private_name(tag: int, creator: str) -> str:
    """Return the name of a private *tag* in a block reserved by *creator*; "" when unknown."""
    entry = _private_entry(tag, creator)
    return entry[1] if entry and entry[1] != "Unknown" else ""


@lru_cache(maxsize=8192)
def keyword(tag: int) -> str:
    """Return the keyword of *tag*; "" for private and unknown ones."""
    if is_private_creator(tag):
        return "PrivateCreator"
    entry = _entry(tag)
    if entry:
        return entry[1]
    return "GenericGroupLength" if not tag & 0xFFFF else ""


@lru_cache(maxsize=2048)
def uid_keyword(uid: str) -> str:
    """Return the keyword of a UID of PS3.6 Annex A; "" when unknown."""
    entry = _UIDS.get(uid)
    return entry[0] if entry else ""


def is_known_uid(uid: str) -> bool:
    """Return whether a UID is one of PS3.6 Annex A, which can name nobody."""
    return uid in _UIDS


def uid_name(uid: str) -> str:
    """Return the name of a UID of PS3.6 Annex A; itself when unknown."""
    entry = _UIDS.get(uid)
    return entry[1] if entry else uid
