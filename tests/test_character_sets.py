"""Text whose Specific Character Set is missing, wrong or misspelt is read as what it is, and that is said once.

Bytes are encoded by Python's own codecs; what is genuine in the stated set must stay as it is.
"""

import json

import pytest
from support.builders import dicom, image

from dicomfs.dicom.character_sets import UNDECODABLE, UNESCAPED, UTF_8, charset_faults, codec, read_text
from dicomfs.dicom.json_model import header_json
from dicomfs.dicom.stream import Memory
from dicomfs.instance.instance import Instance, load

CHARSET, NAME, STUDY, REFERENCED = 0x00080005, 0x00100010, 0x00081030, 0x00081140


def loaded(charset: str | None, **texts: bytes) -> Instance:
    """Load an image with a Patient's Name and a Study Description in these bytes."""
    more: dict[int, tuple[str, object]] = {
        {"name": NAME, "study": STUDY}[place]: ("PN" if place == "name" else "LO", text)
        for place, text in texts.items()
    }
    if charset is not None:
        more[CHARSET] = ("CS", charset)
    return load(Memory(dicom(image(2, 2, bytes(4), more=more))))


def shown(instance: Instance) -> str:
    """Give the Patient's Name of header.json."""
    assert instance.parsed is not None
    name: str = json.loads(header_json(instance.parsed))["00100010"]["Value"][0]["Alphabetic"]
    return name


@pytest.mark.parametrize(
    ("charset", "text"),
    [
        (None, "Prüfung^Größe"),
        ("", "Иванов^Пётр"),
        ("ISO_IR 100", "Müller^Jürg"),
        ("ISO_IR 100", "Иванов^Пётр"),
        ("ISO_IR 100", "山田^太郎"),
        ("ISO_IR 101", "Źdźbło^Łucja"),
        ("ISO_IR 126", "Διονυσιος"),
        ("ISO_IR 144", "Жанна"),
        ("ISO_IR 138", "שרון^דבורה"),
        ("ISO_IR 166", "นามสกุล^ชื่อ"),
        ("ISO_IR 13", "やまだ^たろう"),
        ("GB18030", "中文姓名"),
        ("ISO 2022 IR 149", "홍^길동"),
        ("\\ISO 2022 IR 87", "山田^太郎"),
        ("NO SUCH TERM", "Größe"),
    ],
)
def test_utf_8_that_is_not_stated_is_read_as_utf_8(charset: str | None, text: str) -> None:
    instance = loaded(charset, name=text.encode(), study=text.encode())
    assert shown(instance) == text
    assert instance.problems.count(UTF_8) == 1


@pytest.mark.parametrize(
    ("charset", "name", "text"),
    [
        ("ISO_IR 100", "latin-1", "Müller^Jürg"),
        ("ISO_IR 100", "latin-1", "NESCAFÉ®"),
        ("ISO_IR 101", "iso8859-2", "SOKÓŁ^JAN"),  # ÓŁ is a letter of Cyrillic in UTF-8
        ("ISO_IR 144", "iso8859-5", "ЩЖ"),
        ("ISO_IR 166", "iso8859-11", "ยก"),
        ("ISO_IR 13", "shift_jis", "ﾄｳ"),
        ("GBK", "gbk", "联通"),
        ("GB18030", "gb18030", "王^小东"),
        ("ISO 2022 IR 149", "euc_kr", "홍^철"),
        ("ISO_IR 192", "utf-8", "Größe"),
    ],
)
def test_genuine_text_stays_what_it_is(charset: str, name: str, text: str) -> None:
    instance = loaded(charset, name=text.encode(name))
    assert shown(instance) == text
    assert instance.problems == ()


@pytest.mark.parametrize(
    ("term", "name", "meant"),
    [
        ("ISO 8859-2", "iso8859-2", "ISO_IR 101"),
        ("ISO8859-5", "iso8859-5", "ISO_IR 144"),
        ("ISO_8859-15", "iso8859-15", "ISO_IR 203"),
        ("8859-7", "iso8859-7", "ISO_IR 126"),
        ("UTF-8", "utf-8", "ISO_IR 192"),
        ("utf8", "utf-8", "ISO_IR 192"),
        ("latin1", "latin-1", "ISO_IR 100"),
        ("ISO-IR 100", "latin-1", "ISO_IR 100"),
        ("ISO_IR_100", "latin-1", "ISO_IR 100"),
        ("iso_ir 192", "utf-8", "ISO_IR 192"),
        ("ISO_IR 6", "ascii", "the default repertoire"),
        ("US-ASCII", "ascii", "the default repertoire"),
        ("Windows-1252", "cp1252", "CP1252"),
        ("KOI8-R", "koi8-r", "KOI8-R"),
        ("Shift_JIS", "shift_jis", "ISO_IR 13"),
        ("ISO_IR 149", "euc_kr", "ISO 2022 IR 149"),
        ("gb2312", "gb18030", "GB18030"),
    ],
)
def test_a_misspelt_term_is_read_as_what_it_means(term: str, name: str, meant: str) -> None:
    assert codec(term) == name
    text = {"iso8859-2": "Łódź", "iso8859-5": "Москва", "koi8-r": "Москва", "iso8859-7": "Ωμεγα"}.get(name, "Mueller")
    text = {"gb18030": "中文", "euc_kr": "홍길동", "shift_jis": "ﾔﾏﾀﾞ"}.get(name, text)
    instance = loaded(term, name=text.encode(name))
    assert shown(instance) == text
    assert instance.problems == (f"a term of Specific Character Set is misspelt; it is read as {meant} (H6)",)


def test_defined_terms_are_no_problem_and_unknown_ones_are_not_quoted() -> None:
    for number in (100, 101, 109, 110, 126, 127, 138, 144, 148, 166, 203):
        assert not list(charset_faults((f"ISO_IR {number}", f"ISO 2022 IR {number}")))
    others = ("", "ISO_IR 192", "ISO_IR 13", "GBK", "GB18030", "ISO 2022 IR 6", "ISO 2022 IR 87", "ISO 2022 IR 58")
    assert not list(charset_faults(others))
    (fault,) = charset_faults(("DOE^JANE",))
    assert "unknown" in fault
    assert "DOE" not in fault
    assert all(codec(term) == "" for term in ("idna", "hex", "unicode_escape", "utf-7", "../x", "x" * 1000, "ISO_IR 9"))


@pytest.mark.parametrize(
    ("charset", "value", "text"),
    [
        # No escape sequence at all.
        (("", "ISO 2022 IR 149"), "홍^길동".encode("euc_kr"), "홍^길동"),
        (("", "ISO 2022 IR 87"), "山田".encode("euc_jp"), "山田"),
        (("", "ISO 2022 IR 58"), "王^小东".encode("gb2312"), "王^小东"),
        (("ISO 2022 IR 6", "ISO 2022 IR 144"), "Люк".encode("iso8859-5"), "Люк"),
        # Not repeated behind a separator, where the first set is in force again.
        (("", "ISO 2022 IR 149"), b"Hong=\x1b$)C\xfb\xf3^\xd1\xce\xd4\xd7", "Hong=洪^吉洞"),
        # Not ended before one.
        (("", "ISO 2022 IR 87"), b"\x1b$B;3ED^B@O:\x1b(B", "山田^太郎"),
    ],
)
def test_missing_escape_sequences(charset: tuple[str, ...], value: bytes, text: str) -> None:
    assert read_text(value, charset, True) == (text, UNESCAPED)


def test_sound_escape_sequences_are_no_problem() -> None:
    value = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
    assert read_text(value, ("", "ISO 2022 IR 149"), True) == ("Hong^Gildong=洪^吉洞=홍^길동", None)


@pytest.mark.parametrize(
    ("charset", "value"),
    [
        (None, b"M\xfcller"),
        ("ISO_IR 192", b"M\xfcller"),
        ("ISO_IR 100", b"\x93quoted\x94"),
        ("\\ISO 2022 IR 87", b"\x1b$Bxyz\xff\x1b(B"),
        ("", b"a\x1b~b\xff "),
    ],
)
def test_bytes_that_nothing_explains_are_told_and_none_is_lost(charset: str | None, value: bytes) -> None:
    instance = loaded(charset, name=value)
    assert UNDECODABLE in instance.problems
    assert all(chr(byte) in shown(instance) for byte in value.strip() if byte >= 0x80)


def test_text_in_items_is_judged_by_their_own_character_set() -> None:
    items = [{CHARSET: ("CS", "ISO_IR 192"), STUDY: ("LO", "Größe".encode())}, {STUDY: ("LO", "Größe".encode())}]
    instance = load(Memory(dicom(image(2, 2, bytes(4), more={REFERENCED: ("SQ", items[:1])}))))
    assert instance.problems == ()
    instance = load(Memory(dicom(image(2, 2, bytes(4), more={REFERENCED: ("SQ", items)}))))
    assert instance.problems == (UTF_8,)
