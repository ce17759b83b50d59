"""What the data dictionary knows of a tag (PS3.6): VR, keyword, value multiplicity, UID names.

Only this module asks pydicom's tables. It never raises and never warns; what is unknown is an empty string.
"""

from functools import lru_cache

from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import get_private_entry, mask_match

__all__ = [
    "is_private",
    "is_private_creator",
    "keyword",
    "private_name",
    "private_vr",
    "public_vr",
    "uid_keyword",
    "uid_name",
]


def is_private(tag: int) -> bool:
    """Tell whether *tag* lies in an odd group (PS3.5 7.8)."""
    return bool(tag & 0x10000)


def is_private_creator(tag: int) -> bool:
    """Tell whether *tag* reserves a block of private elements, (gggg,0010) to (gggg,00FF) (PS3.5 7.8.1)."""
    return bool(tag & 0x10000) and 0x10 <= tag & 0xFFFF <= 0xFF


def _entry(tag: int) -> tuple[str, str, str, str, str] | None:
    """Find the public entry of *tag*: (VR, VM, name, retired, keyword), also in repeating groups (PS3.5 7.6)."""
    entry = DicomDictionary.get(tag)
    if entry is None and not tag & 0x10000:
        mask = mask_match(tag)
        entry = RepeatersDictionary.get(mask) if mask else None
    return entry


@lru_cache(maxsize=8192)
def public_vr(tag: int) -> str:
    """Give the VR of a tag that needs no private creator; may be a choice such as "US or SS"; "" when unknown."""
    if not tag & 0xFFFF:
        return "UL"
    if is_private_creator(tag):
        return "LO"
    entry = _entry(tag)
    return entry[0] if entry and entry[0] != "NONE" else ""


@lru_cache(maxsize=8192)
def private_vr(tag: int, creator: str) -> str:
    """Give the VR of a private *tag* in a block reserved by *creator*; "" when unknown."""
    try:
        return get_private_entry(tag, creator)[0]
    except KeyError:
        return ""


@lru_cache(maxsize=8192)
def private_name(tag: int, creator: str) -> str:
    """Give the name of a private *tag* in a block reserved by *creator*; "" when unknown."""
    try:
        name = get_private_entry(tag, creator)[2]
    except KeyError:
        return ""
    return "" if name == "Unknown" else name


@lru_cache(maxsize=8192)
def keyword(tag: int) -> str:
    """Give the keyword of *tag*; "" for private and unknown ones."""
    if is_private_creator(tag):
        return "PrivateCreator"
    entry = _entry(tag)
    if entry:
        return entry[4]
    return "GenericGroupLength" if not tag & 0xFFFF else ""


@lru_cache(maxsize=2048)
def uid_keyword(uid: str) -> str:
    """Give the keyword of a UID of PS3.6 Annex A; "" when unknown."""
    entry = UID_dictionary.get(uid)
    return entry[4] if entry else ""


def uid_name(uid: str) -> str:
    """Give the name of a UID of PS3.6 Annex A; itself when unknown."""
    entry = UID_dictionary.get(uid)
    return entry[0] if entry else uid
