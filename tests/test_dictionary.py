"""The data dictionary beside pydicom's own way of asking it."""

import random
import runpy
import subprocess
import sys
from pathlib import Path

from pydicom.datadict import (
    DicomDictionary,
    RepeatersDictionary,
    dictionary_keyword,
    dictionary_VR,
    get_private_entry,
    private_dictionaries,
)
from pydicom.uid import UID_dictionary

from dicomfs.dicom.dictionary import keyword, private_name, private_vr, public_vr, uid_keyword, uid_name

MAKER = Path(__file__).parent.parent / "tools" / "make_dictionary.py"


def test_the_table_is_what_pydicom_has() -> None:
    """A newer pydicom may know more: run `python tools/make_dictionary.py` and commit what that changes."""
    maker = runpy.run_path(str(MAKER))
    assert maker["TABLE"].read_text(encoding="utf-8") == maker["table"]()


def test_uids() -> None:
    for uid, (name, _, _, _, word) in UID_dictionary.items():
        assert (uid_keyword(uid), uid_name(uid)) == (word, name)
    assert (uid_keyword("1.2.3"), uid_name("1.2.3")) == ("", "1.2.3")


def test_public_tags_and_repeating_groups() -> None:
    chance = random.Random(1)
    tags = [chance.randrange(1 << 32) for _ in range(20_000)] + list(DicomDictionary)
    tags += [int(mask.replace("x", digit), 16) for mask in RepeatersDictionary for digit in "0123456789ABCDEF"]
    known = 0
    for tag in tags:
        if tag & 0x10000 or not tag & 0xFFFF:
            continue  # private, or a group length: not in the tables
        try:
            vr, name = dictionary_VR(tag), dictionary_keyword(tag)
        except KeyError:
            vr, name = "", ""
        assert (public_vr(tag), keyword(tag)) == (vr if vr != "NONE" else "", name), hex(tag)
        known += bool(name)
    assert known > 5_000


def test_private_tags_in_any_block() -> None:
    for creator, tags in private_dictionaries.items():
        for mask in tags:
            tag = int(mask.replace("x", "1"), 16)
            try:
                vr, _, name, _ = get_private_entry(tag, creator)
            except KeyError:
                vr, name = "", ""  # a mask with its x elsewhere, which pydicom does not find either
            assert (private_vr(tag, creator), private_name(tag, creator)) == (vr, name if name != "Unknown" else "")
    assert private_vr(0x00091001, "NOBODY") == private_name(0x00091001, "NOBODY") == ""


def test_pydicom_is_not_loaded() -> None:
    script = (
        "import sys, dicomfs.fuse.session; print([name for name in sys.modules if name.partition('.')[0] == 'pydicom'])"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
