"""What the data dictionary knows of a tag (PS3.6): VR, keyword, value multiplicity, UID names.

Only this module asks pydicom's tables. It never raises and never warns; what is unknown is an empty string.
"""

from functools import lru_cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

__all__ = [
    "is_known_creator",
    "is_private",
    "is_private_creator",
    "keyword",
    "private_name",
    "private_vr",
    "public_vr",
    "uid_keyword",
    "uid_name",
]


_Entry = tuple[str, str, str, str, str]


def _tables(name: str) -> dict[str, Any]:
    """Load one of pydicom's modules of tables without the package around it.

    That would bring its readers and codecs along: 7 MB and 0.2 s, for which the daemon has no use.
    """
    package = find_spec("pydicom")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("pydicom is not installed", name="pydicom")
    spec = spec_from_file_location(f"pydicom.{name}", Path(package.origin).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"pydicom has no {name}", name=f"pydicom.{name}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return vars(module)


_DICOM = _tables("_dicom_dict")
_PUBLIC: dict[int, _Entry] = _DICOM["DicomDictionary"]
_PRIVATE: dict[str, dict[str, tuple[str, str, str, str]]] = _tables("_private_dict")["private_dictionaries"]
_UIDS: dict[str, _Entry] = _tables("_uid_dict")["UID_dictionary"]
# Repeating groups and elements (PS3.5 7.6), "60xx3000": value and mask of the digits that are given.
_REPEATING: list[tuple[int, int, _Entry]] = [
    (int(key.replace("x", "0"), 16), int("".join(["0" if digit == "x" else "F" for digit in key]), 16), entry)
    for key, entry in _DICOM["RepeatersDictionary"].items()
]


def is_private(tag: int) -> bool:
    """Tell whether *tag* lies in an odd group (PS3.5 7.8)."""
    return bool(tag & 0x10000)


def is_private_creator(tag: int) -> bool:
    """Tell whether *tag* reserves a block of private elements, (gggg,0010) to (gggg,00FF) (PS3.5 7.8.1)."""
    return bool(tag & 0x10000) and 0x10 <= tag & 0xFFFF <= 0xFF


def is_known_creator(creator: str) -> bool:
    """Tell whether *creator* is the name under which a known maker reserves private elements."""
    return creator in _PRIVATE


def _entry(tag: int) -> _Entry | None:
    """Find the public entry of *tag*: (VR, VM, name, retired, keyword), also in repeating groups (PS3.5 7.6)."""
    entry = _PUBLIC.get(tag)
    if entry is None and not tag & 0x10000:
        entry = next((entry for value, mask, entry in _REPEATING if tag & mask == value), None)
    return entry


def _private_entry(tag: int, creator: str) -> tuple[str, str, str, str] | None:
    """Find the entry of a private *tag*: (VR, VM, name, retired), whatever block the creator has reserved."""
    known = _PRIVATE.get(creator, {})
    group, element = f"{tag >> 16:04X}", f"{tag & 0xFFFF:04X}"
    keys = (group + element, f"{group}xx{element[2:]}", f"{group[:2]}xxxx{element[2:]}")
    return next((known[key] for key in keys if key in known), None)


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
    entry = _private_entry(tag, creator)
    return entry[0] if entry else ""


@lru_cache(maxsize=8192)
def private_name(tag: int, creator: str) -> str:
    """Give the name of a private *tag* in a block reserved by *creator*; "" when unknown."""
    entry = _private_entry(tag, creator)
    return entry[2] if entry and entry[2] != "Unknown" else ""


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
    entry = _UIDS.get(uid)
    return entry[4] if entry else ""


def is_known_uid(uid: str) -> bool:
    """Tell whether a UID is one of PS3.6 Annex A, which can name nobody."""
    return uid in _UIDS


def uid_name(uid: str) -> str:
    """Give the name of a UID of PS3.6 Annex A; itself when unknown."""
    entry = _UIDS.get(uid)
    return entry[0] if entry else uid
