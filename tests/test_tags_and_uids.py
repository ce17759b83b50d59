"""Tags and UIDs are written once, under the standard's keywords; everything else names them."""

import ast
import re
from pathlib import Path

from pydicom.datadict import dictionary_has_tag, tag_for_keyword
from pydicom.uid import UID

import dicomfs
from dicomfs.dicom import tags, uids

PACKAGE = Path(dicomfs.__file__).parent
HOMES = {"tags.py", "uids.py"}
UID_TEXT = re.compile(r"[0-2](\.[1-9]\d*|\.0){4,}")
# A UUID of our own; no class of the standard.
OURS = {"part10_writer.py"}
# Not in the dictionary of every pydicom: JPEG XL, deflated frames, GE's own.
YOUNG = {"1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112", "1.2.840.10008.1.2.8.1"}
PRIVATE = {"1.2.840.113619.5.2"}


def named(module: object) -> dict[str, int | str]:
    return {name: value for name, value in vars(module).items() if not name.startswith("_")}


def constants(path: Path) -> list[ast.Constant]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)]


def test_each_tag_has_the_keyword_of_the_standard() -> None:
    assert {name: int(tag_for_keyword(name) or 0) for name in named(tags)} == named(tags)


def test_each_uid_has_the_keyword_of_the_standard() -> None:
    known = {name: str(value) for name, value in named(uids).items() if value not in YOUNG | PRIVATE}
    assert {name: UID(uid).keyword for name, uid in known.items()} == {name: name for name in known}


def test_no_tag_is_written_as_a_number_elsewhere() -> None:
    found = [
        f"{path.name}:{node.lineno} {node.value:#010x}"
        for path in PACKAGE.rglob("*.py")
        if path.name not in HOMES
        for node in constants(path)
        if type(node.value) is int and node.value > 0xFFFF and dictionary_has_tag(node.value)
        # A power of two or a limit is no tag; those of the dictionary are written in eight digits.
        if re.search(rf"0x{node.value:08x}", path.read_text().splitlines()[node.lineno - 1].lower())
    ]
    assert not found


def test_no_uid_is_written_out_elsewhere() -> None:
    found = [
        f"{path.name}:{node.lineno} {node.value}"
        for path in PACKAGE.rglob("*.py")
        if path.name not in HOMES | OURS
        for node in constants(path)
        if isinstance(node.value, str) and UID_TEXT.fullmatch(node.value)
    ]
    assert not found


def test_every_name_is_used() -> None:
    text = "".join(path.read_text() for path in PACKAGE.rglob("*.py") if path.name not in HOMES)
    for module, names in (("tags", named(tags)), ("uids", named(uids))):
        assert not [name for name in names if not re.search(rf"\b{module}\.{name}\b", text)]
