"""Names made from DICOM values: nothing hostile survives, nothing is lost, and no two become one."""

import os
import unicodedata
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomfs.vfs.names import LONGEST, UNNAMED, safe_name

HOSTILE = [
    "../../../etc/cron.d/x",
    "1.2.3\x00\x00/4",
    "A^B\x1b[2J\x07",
    "..",
    ".",
    "-rf",
    ".hidden",
    "x\ny",
    "exe\u202etxt.dcm",
    "\u200bzero",
    "\ufeff",
    "\ud800",
    "\u3164",
    "100%",
    "a~2",
    "con/aux",
    "\\\\server",
    "*?[x]",
    "$(rm)",
    "1" * 300,
    "\u00e9" * 300,
    "/" * 300,
]


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_n1_nothing_hostile_survives(value: str) -> None:
    check(safe_name(value), value)


@given(st.text(st.characters()))
@settings(deadline=None, max_examples=500)
def test_n1_any_text_makes_a_name(value: str) -> None:
    check(safe_name(value), value)


def check(name: str, value: str) -> None:
    assert 0 < len(name.encode()) <= LONGEST + 9
    assert name[0] not in ".-"
    assert "/" not in name
    assert all(character.isalnum() or character in "._=+,@-%~" for character in name)
    assert not any(unicodedata.category(character).startswith(("C", "Z")) for character in name)
    if "~" in name:
        assert len(name) - name.index("~") == 9  # shortened
    elif value and not any("\ud800" <= character <= "\udfff" for character in value):
        assert unquote(name) == unicodedata.normalize("NFC", value)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("WINDOW1", "WINDOW1"),
        ("Soft tissue", "Soft%20tissue"),
        ("Doe^John", "Doe%5EJohn"),
        ("1.2.840.10008", "1.2.840.10008"),
        ("山田^太郎", "山田%5E太郎"),
        ("e\u0301te\u0301", "\u00e9t\u00e9"),
        ("", UNNAMED),
        ("...", "%2E.."),
        ("-1", "%2D1"),
    ],
)
def test_n1_ordinary_values_stay_readable(value: str, name: str) -> None:
    assert safe_name(value) == name


def test_n1_long_values_are_told_apart_and_cut_between_characters() -> None:
    one, other = safe_name("\u00e9" * 300), safe_name("\u00e9" * 301)
    assert one != other
    assert one.startswith("\u00e9" * 100 + "~")
    assert len(safe_name("/" * 300).partition("~")[0]) % 3 == 0


def test_n1_a_name_can_be_made(tmp_path: Path) -> None:
    names = {safe_name(value) for value in HOSTILE}
    for name in names:
        (tmp_path / name).touch(exist_ok=False)
    assert sorted(os.listdir(tmp_path)) == sorted(names)
