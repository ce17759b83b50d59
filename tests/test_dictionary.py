"""The data dictionary beside pydicom's own way of asking it."""

import random
import subprocess
import sys

from pydicom.datadict import (
    DicomDictionary,
    RepeatersDictionary,
    dictionary_keyword,
    dictionary_VR,
    get_private_entry,
    private_dictionaries,
)

from dicomfs.dicom.dictionary import keyword, private_name, private_vr, public_vr


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


def test_the_rest_of_pydicom_is_not_loaded() -> None:
    script = (
        "import sys, dicomfs.fuse.session; print([name for name in sys.modules if name.partition('.')[0] == 'pydicom'])"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
