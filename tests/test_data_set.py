"""The reader of data sets: pydicom judges it on real files; damaged and hostile ones are made here."""

import io
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import pydicom
import pydicom.errors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from support.data_set_samples import PYDICOM, every_file, mutations, parsed_or_none, read
from support.encoded import ITEM_END, SEQUENCE_END, UNDEFINED, dicom_file, element, implicit, item

from dicomfs.dicom.element_reader import MAX_DEPTH, MAX_ITEMS
from dicomfs.dicom.part10_reader import MAX_KEPT_VALUE_BYTES, DataSet, DicomFile, NotDicom, parse
from dicomfs.dicom.stream import Memory

NAME = element(0x00100010, "PN", b"A^B ")


class Counting:
    """A stream that counts what is read of it."""

    def __init__(self, data: bytes, size: int | None = None) -> None:
        self._data = data
        self.size = len(data) if size is None else size
        self.read = 0
        self.calls = 0
        self.largest = 0

    def pread(self, length: int, offset: int) -> bytes:
        there = self._data[offset : offset + length]
        there += bytes(max(0, min(length, self.size - offset) - len(there)))
        self.read += len(there)
        self.calls += 1
        self.largest = max(self.largest, length)
        return there


# --- pydicom as the judge ---------------------------------------------------------------------------------------


def _compare(ours: DataSet, theirs: pydicom.Dataset, stream: Memory, where: str) -> None:
    assert sorted(ours.elements) == sorted(theirs.keys()), where
    for tag in ours.elements:
        mine = ours.elements[tag]
        place = f"{where}/{tag:08X}"
        raw = theirs.get_item(tag)
        if isinstance(raw, RawDataElement) and mine.items is None and not mine.undefined:
            value = raw.value or b""
            assert stream.pread(mine.length, mine.offset) == value, place
            assert mine.value is None or mine.value == value, place
        other = theirs[tag]
        if not (mine.vr == "UN" and tag & 0x10000):
            # A private element written as UN stays what it is; pydicom guesses by the name of its creator.
            assert mine.vr == other.VR, place
        if other.VR == "SQ" and mine.items is not None:
            assert len(mine.items) == len(other.value), place
            for number, (here, there) in enumerate(zip(mine.items, other.value, strict=True), 1):
                _compare(here, there, stream, f"{place}.{number}")


@every_file
def test_reads_what_pydicom_reads(path: Path) -> None:
    parsed = parsed_or_none(path)
    if parsed is None:
        with pytest.raises((pydicom.errors.InvalidDicomError, EOFError)):
            pydicom.dcmread(path)
        return
    check_elements(parsed, path)
    check_text_and_numbers(parsed, path)


def check_elements(parsed: DicomFile, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # pydicom does not skip a stray first byte (H7).
        stray = "a stray byte before the first element is skipped (H7)" in parsed.problems
        theirs = pydicom.dcmread(io.BytesIO(path.read_bytes()[stray:]), force=True)
        if any("E12" in problem for problem in parsed.problems):
            # pydicom loses the whole data set where the last fragment is cut.
            assert len(theirs) <= len(parsed.dataset)
            return
        _compare(parsed.dataset, theirs, parsed.stream, "")
        if len(parsed.meta):
            assert sorted(parsed.meta.elements) == sorted(theirs.file_meta.keys())


def check_text_and_numbers(parsed: DicomFile, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pydicom.dcmread(path, force=True)
        for tag in (0x00280010, 0x00280011, 0x00280100, 0x00280002, 0x00280103, 0x00280008):
            expected = theirs[tag].value if tag in theirs else None
            if isinstance(expected, int):
                assert parsed.dataset.integer(tag) == expected
        for tag in (0x00281052, 0x00281053, 0x00180050):
            if tag in theirs and theirs[tag].value not in (None, ""):
                assert parsed.dataset.number(tag) == float(theirs[tag].value)
        for tag in (0x00080016, 0x00080018, 0x00080060, 0x0020000D):
            if tag in theirs and theirs[tag].value:
                assert parsed.dataset.text(tag) == str(theirs[tag].value)


@pytest.mark.parametrize("name", sorted(path.name for path in (PYDICOM / "charset_files").glob("*.dcm")))
def test_h6_every_character_set_reads_as_pydicom_decodes_it(name: str) -> None:
    parsed = parsed_or_none(PYDICOM / "charset_files" / name)
    assert parsed is not None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pydicom.dcmread(PYDICOM / "charset_files" / name)
        theirs.decode()

    def compare(ours: DataSet, other: pydicom.Dataset) -> int:
        count = 0
        for tag in ours.elements:
            if ours.elements[tag].vr in ("PN", "LO", "SH") and other[tag].VM == 1:
                # pydicom drops empty component groups at the end of a name.
                assert (ours.text(tag) or "").rstrip("=") == str(other[tag].value).rstrip()
                count += 1
            for here, there in zip(ours.items(tag), other[tag].value if ours.items(tag) else [], strict=True):
                count += compare(here, there)
        return count

    assert compare(parsed.dataset, theirs)


# --- values -----------------------------------------------------------------------------------------------------


def test_h6_a_backslash_inside_a_character_is_no_separator() -> None:
    # 誠 is D5 5C in GBK.
    charset = element(0x00080005, "CS", b"GBK ")
    text = "誠\\乙".encode("gbk")
    assert text[1:2] == b"\\"
    parsed = read(charset + element(0x00100010, "PN", text + b" " * (len(text) % 2)))
    assert parsed.dataset.texts(0x00100010) == ("誠", "乙")


def test_h6_a_code_extension_ends_at_a_delimiter() -> None:
    charset = element(0x00080005, "CS", b"\\ISO 2022 IR 149")
    text = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
    parsed = read(charset + element(0x00100010, "PN", text + b" " * (len(text) % 2)))
    assert parsed.dataset.text(0x00100010) == "Hong^Gildong=洪^吉洞=홍^길동"


def test_h6_undeclared_bytes_are_read_as_latin_1() -> None:
    assert read(element(0x00100010, "PN", b"M\xfcller")).dataset.text(0x00100010) == "Müller"
    wrong = element(0x00080005, "CS", b"ISO_IR 192")
    assert read(wrong + element(0x00100010, "PN", b"M\xfcller")).dataset.text(0x00100010) == "Müller"


def test_h6_items_inherit_the_character_set() -> None:
    inner = item(element(0x00100010, "PN", "Ж^Я".encode("iso8859-5") + b" "))
    own = item(element(0x00080005, "CS", b"ISO_IR 100") + element(0x00100010, "PN", b"\xe9^\xe8 "))
    body = element(0x00080005, "CS", b"ISO_IR 144") + element(0x00081140, "SQ", inner + own)
    items = read(body).dataset.items(0x00081140)
    assert [each.text(0x00100010) for each in items] == ["Ж^Я", "é^è"]


def test_numbers_of_bad_text_are_left_out() -> None:
    dataset = read(element(0x00281050, "DS", b"40\\x\\\\1e2 ") + element(0x00281051, "DS", b"1.9.10.0")).dataset
    assert dataset.numbers(0x00281050) == (40.0, 100.0)
    assert dataset.number(0x00281051) is None
    assert dataset.integers(0x00281050) == (40, 100)
    assert dataset.text(0x00999999) is None


def test_integers_take_the_sign_that_the_caller_knows() -> None:
    dataset = read(element(0x00280120, "US", b"\xff\xff")).dataset
    assert dataset.integer(0x00280120) == 65535
    assert dataset.integers(0x00280120, signed=True) == (-1,)


@pytest.mark.parametrize(("sign", "vr", "value"), [(0, "US", 65535), (1, "SS", -1)])
def test_ambiguous_vrs_follow_the_pixel_representation(sign: int, vr: str, value: int) -> None:
    body = implicit(0x00280103, struct.pack("<H", sign)) + implicit(0x00280106, b"\xff\xff")
    inner = item(implicit(0x00283002, b"\xff\xff\xff\xff\x10\0"))
    dataset = read(body + implicit(0x00283000, inner), "1.2.840.10008.1.2").dataset
    assert dataset.elements[0x00280106].vr == vr
    assert dataset.integer(0x00280106) == value
    assert dataset.items(0x00283000)[0].integers(0x00283002)[1] == value


# --- section H --------------------------------------------------------------------------------------------------


def test_h7_without_preamble_or_meta_information() -> None:
    # Told from a named file of pydicom: the same data set with and without what stands in front.
    whole = (PYDICOM / "test_files" / "CT_small.dcm").read_bytes()
    full = parse(Memory(whole))
    start = full.dataset.elements[0x00080005].offset - 8
    bare = parse(Memory(whole[start:]))
    assert list(bare.dataset.elements) == list(full.dataset.elements)
    assert bare.transfer_syntax == "1.2.840.10008.1.2.1"
    assert "the preamble is missing (H7)" in bare.problems
    assert "the file meta information is missing (H7)" in bare.problems
    meta_only = parse(Memory(whole[132:]))
    assert list(meta_only.meta.elements) == list(full.meta.elements)
    assert list(meta_only.dataset.elements) == list(full.dataset.elements)


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("ExplVR_BigEndNoMeta.dcm", "1.2.840.10008.1.2.2"),
        ("ExplVR_LitEndNoMeta.dcm", "1.2.840.10008.1.2.1"),
        ("rtstruct.dcm", "1.2.840.10008.1.2"),
        ("meta_missing_tsyntax.dcm", "1.2.840.10008.1.2"),
    ],
)
def test_h7_the_syntax_is_seen_in_the_first_element(name: str, syntax: str) -> None:
    parsed = parse(Memory((PYDICOM / "test_files" / name).read_bytes()))
    assert parsed.transfer_syntax == syntax
    assert any("guessed" in problem for problem in parsed.problems)


def test_h7_meta_group_length_missing_or_wrong() -> None:
    syntax = element(0x00020010, "UI", b"1.2.840.10008.1.2.1\0")
    start = bytes(128) + b"DICM"
    missing = parse(Memory(start + syntax + NAME))
    assert missing.dataset.text(0x00100010) == "A^B"
    assert "the file meta group length is missing (H7)" in missing.problems
    for length in (2, 4000):
        wrong = parse(Memory(start + element(0x00020000, "UL", struct.pack("<L", length)) + syntax + NAME))
        assert wrong.dataset.text(0x00100010) == "A^B"
        assert "the file meta group length is wrong (H7)" in wrong.problems


def test_h7_meta_information_in_implicit_vr() -> None:
    meta = implicit(0x00020000, struct.pack("<L", 26)) + implicit(0x00020010, b"1.2.840.10008.1.2\0")
    parsed = parse(Memory(bytes(128) + b"DICM" + meta + implicit(0x00100010, b"A^B ")))
    assert parsed.dataset.text(0x00100010) == "A^B"
    assert parsed.transfer_syntax == "1.2.840.10008.1.2"
    assert "the file meta information is not in Explicit VR Little Endian (H7)" in parsed.problems


@pytest.mark.parametrize("data", [b"", b"PK\3\4" + bytes(300), b"%PDF-1.7\n" * 40, b"<xml/>" * 60, bytes(1000)])
def test_h9_what_is_not_dicom_is_not_read(data: bytes) -> None:
    with pytest.raises(NotDicom) as caught:
        parse(Memory(data))
    assert caught.value.errno == 5


@pytest.mark.parametrize(
    ("declared", "encode", "used"),
    [
        ("1.2.840.10008.1.2.1", implicit, "1.2.840.10008.1.2"),
        ("1.2.840.10008.1.2", lambda tag, value: element(tag, "LO", value), "1.2.840.10008.1.2.1"),
        ("1.2.840.10008.1.2.2", lambda tag, value: element(tag, "LO", value), "1.2.840.10008.1.2.1"),
        ("1.2.840.10008.1.2.1", lambda tag, value: element(tag, "LO", value, order=">"), "1.2.840.10008.1.2.2"),
    ],
)
def test_h10_the_declared_syntax_is_wrong(declared: str, encode: Callable[[int, bytes], bytes], used: str) -> None:
    parsed = read(encode(0x00080070, b"Maker ") + encode(0x00100020, b"ID"), declared)
    assert parsed.dataset.text(0x00080070) == "Maker"
    assert parsed.dataset.text(0x00100020) == "ID"
    assert parsed.transfer_syntax == used
    assert "the data set is not encoded as its transfer syntax says (H10)" in parsed.problems


def test_h10_a_compressed_syntax_survives_a_wrong_encoding() -> None:
    parsed = read(implicit(0x00080070, b"Maker "), "1.2.840.10008.1.2.4.50")
    assert parsed.transfer_syntax == "1.2.840.10008.1.2.4.50"
    assert not parsed.dataset.explicit


def test_h10_implicit_items_in_an_explicit_sequence() -> None:
    body = element(0x00081140, "SQ", item(implicit(0x00081150, b"1.2\0")) + item(element(0x00081150, "UI", b"1.3\0")))
    parsed = read(body)
    assert [each.text(0x00081150) for each in parsed.dataset.items(0x00081140)] == ["1.2", "1.3"]
    assert "a sequence has Items in another encoding than the file says (H10)" in parsed.problems


def test_h11_un_of_undefined_length_is_an_implicit_sequence() -> None:
    inner = item(implicit(0x00100020, b"ID") + ITEM_END, UNDEFINED) + SEQUENCE_END
    parsed = read(element(0x00091001, "UN", inner, UNDEFINED) + NAME)
    assert parsed.dataset.elements[0x00091001].vr == "SQ"
    assert parsed.dataset.items(0x00091001)[0].text(0x00100020) == "ID"
    assert parsed.dataset.text(0x00100010) == "A^B"
    assert not parsed.problems


def test_h11_un_of_known_tags_is_read_by_the_dictionary() -> None:
    sequence = element(0x00081140, "UN", item(implicit(0x00081150, b"1.2\0")))
    parsed = read(sequence + element(0x00280010, "UN", b"\x00\x02") + element(0x00091001, "UN", b"ab"))
    assert parsed.dataset.items(0x00081140)[0].text(0x00081150) == "1.2"
    assert parsed.dataset.integer(0x00280010) == 512
    assert parsed.dataset.elements[0x00091001].vr == "UN"


@pytest.mark.parametrize("vr", ["??", "\0\0", "ZZ", "xx"])
def test_h12_unknown_vrs_do_not_derail_the_walk(vr: str) -> None:
    short = struct.pack("<HH2sH", 0x0008, 0x0070, vr.encode(), 4) + b"abcd"
    long = struct.pack("<HH2sHL", 0x0008, 0x0070, vr.encode(), 0, 4) + b"abcd"
    parsed = read(element(0x00080060, "CS", b"CT") + (long if vr == "ZZ" else short) + NAME)
    assert parsed.dataset.text(0x00100010) == "A^B"
    assert parsed.dataset.elements[0x00080070].value == b"abcd"
    assert any("(H12)" in problem for problem in parsed.problems)


def test_h13_the_first_of_two_counts_and_order_does_not_matter() -> None:
    first, second = element(0x00100020, "LO", b"ID1 "), element(0x00100020, "LO", b"ID2 ")
    parsed = read(first + NAME + second)
    assert parsed.dataset.text(0x00100020) == "ID1"
    assert [each.tag for each in parsed.dataset] == [0x00100010, 0x00100020]
    assert sum("(H13)" in problem for problem in parsed.problems) == 2


def test_h14_private_sequences_and_empty_items() -> None:
    nested = item(element(0x00090010, "LO", b"MAKER ") + element(0x00091002, "SQ", item(b"") + item(NAME)))
    parsed = read(element(0x00091001, "SQ", nested) + NAME)
    inner = parsed.dataset.items(0x00091001)[0].items(0x00091002)
    assert [len(each) for each in inner] == [0, 1]
    assert not parsed.problems


def test_h17_a_program_in_the_preamble_is_told() -> None:
    parsed = parse(Memory(b"MZ" + dicom_file(NAME)[2:]))
    assert parsed.preamble.startswith(b"MZ")
    assert any("(H17)" in problem for problem in parsed.problems)


def test_h19_long_values_stay_in_the_stream() -> None:
    stream = Counting(dicom_file(element(0x00081080, "UT", b"x" * 50_000_000) + NAME))
    parsed = parse(stream)
    long = parsed.dataset.elements[0x00081080]
    assert (long.value, long.length) == (None, 50_000_000)
    assert parsed.dataset.text(0x00100010) == "A^B"
    assert stream.read < 200_000
    kept = read(element(0x00081080, "UT", b"x" * MAX_KEPT_VALUE_BYTES))
    assert kept.dataset.elements[0x00081080].value == b"x" * MAX_KEPT_VALUE_BYTES


def test_pixel_data_is_never_read_and_what_follows_it_is() -> None:
    pixels = 200_000_000
    head = dicom_file(NAME) + element(0x7FE00010, "OW", b"", pixels)
    stream = Counting(head, len(head) + pixels)
    parsed = parse(stream)
    assert parsed.dataset.elements[0x7FE00010].value is None
    assert parsed.dataset.elements[0x7FE00010].length == pixels
    assert stream.read < 200_000
    after = read(element(0x7FE00010, "OW", b"\1\2") + element(0xFFFCFFFC, "OB", bytes(10)))
    assert 0xFFFCFFFC in after.dataset
    assert after.dataset.elements[0x7FE00010].value is None


def test_fragments_are_found_and_the_walk_goes_on_behind_them() -> None:
    fragments = item(b"") + item(b"abcd") + SEQUENCE_END
    parsed = read(NAME + element(0x7FE00010, "OB", fragments, UNDEFINED) + element(0xFFFCFFFC, "OB", bytes(4)),
                  "1.2.840.10008.1.2.4.50")  # fmt: skip
    assert parsed.fragments is not None
    assert list(parsed.fragments.lengths) == [0, 4]
    assert 0xFFFCFFFC in parsed.dataset
    assert parsed.dataset.elements[0x7FE00010].length == len(fragments)
    icon = element(0x00880200, "SQ", item(element(0x7FE00010, "OB", fragments, UNDEFINED)))
    nested = read(NAME + icon)
    assert nested.fragments is None
    assert 0x7FE00010 in nested.dataset.items(0x00880200)[0]


def test_e19_encapsulated_with_a_length_and_native_without() -> None:
    fragments = item(b"") + item(b"abcd") + SEQUENCE_END
    with_length = read(element(0x7FE00010, "OB", fragments), "1.2.840.10008.1.2.4.50")
    assert with_length.fragments is not None
    assert any("(E19)" in problem for problem in with_length.problems)
    without = read(element(0x7FE00010, "OB", fragments, UNDEFINED))
    assert without.fragments is not None
    assert any("(E19)" in problem for problem in without.problems)


def test_e13_stray_delimiters_are_skipped() -> None:
    parsed = read(NAME + ITEM_END + SEQUENCE_END + element(0x00100020, "LO", b"ID"))
    assert parsed.dataset.text(0x00100020) == "ID"
    assert any("(E13)" in problem for problem in parsed.problems)


def test_e13_missing_item_delimiters() -> None:
    inside = item(NAME, UNDEFINED) + item(NAME, UNDEFINED) + SEQUENCE_END
    parsed = read(element(0x00081140, "SQ", inside, UNDEFINED) + element(0x00100020, "LO", b"ID"))
    assert len(parsed.dataset.items(0x00081140)) == 2
    assert parsed.dataset.text(0x00100020) == "ID"
    assert any("(E13)" in problem for problem in parsed.problems)


def test_big_endian_sequences() -> None:
    inner = item(element(0x00280010, "US", b"\x02\x00", order=">"), order=">")
    parsed = read(element(0x00081140, "SQ", inner, order=">"), "1.2.840.10008.1.2.2")
    assert parsed.dataset.items(0x00081140)[0].integer(0x00280010) == 512


def test_ge_private_syntax_has_an_implicit_header() -> None:
    parsed = read(implicit(0x00280010, b"\x00\x02"), "1.2.840.113619.5.2")
    assert parsed.dataset.integer(0x00280010) == 512
    assert parsed.transfer_syntax == "1.2.840.113619.5.2"


# --- deflated data sets -----------------------------------------------------------------------------------------

DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.mark.parametrize("bits", [-15, 15, 31])
def test_deflated_data_sets_with_and_without_a_header(bits: int) -> None:
    packer = zlib.compressobj(wbits=bits)
    body = NAME + element(0x7FE00010, "OW", bytes(3_000_000))
    parsed = read(packer.compress(body) + packer.flush(), DEFLATED)
    assert parsed.dataset.text(0x00100010) == "A^B"
    assert parsed.transfer_syntax == DEFLATED
    assert parsed.stream.size == len(body)
    assert bool(parsed.problems) == (bits > 0)
    for offset, length in ((0, 10), (1048570, 20), (0, 5_000_000), (len(body) - 3, 10), (len(body), 4), (9**9, 4)):
        assert parsed.stream.pread(length, offset) == body[offset : offset + length]


def test_deflated_in_name_only() -> None:
    parsed = read(NAME, DEFLATED)
    assert parsed.dataset.text(0x00100010) == "A^B"
    assert any("(H10)" in problem for problem in parsed.problems)


def test_l3_a_deflate_bomb_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomfs.dicom.deflated.MAX_INFLATED_BYTES", 8 << 20)
    packer = zlib.compressobj(9, wbits=-15)
    bomb = packer.compress(element(0x00081080, "UT", b"", 1 << 30))
    bomb += b"".join(packer.compress(bytes(1 << 20)) for _ in range(400)) + packer.flush()
    tracemalloc.start()
    parsed = read(bomb, DEFLATED)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert parsed.stream.size == 8 << 20
    assert any("(L3)" in problem for problem in parsed.problems)
    assert peak < 16 << 20


# --- hostile input ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vr", ["UT", "OB", "UN", "SQ"])
def test_l1_a_length_of_4_gib_with_4_bytes_present(vr: str) -> None:
    parsed = read(NAME + element(0x00189999 if vr == "UN" else 0x00204000, vr, b"abcd", 0xFFFFFFFE))
    assert any("(L1)" in problem for problem in parsed.problems)
    assert parsed.dataset.text(0x00100010) == "A^B"
    assert all(each.length <= 4 for each in parsed.dataset)


@pytest.mark.parametrize("cut", range(1, 80))
def test_l1_a_file_cut_anywhere_is_told(cut: int) -> None:
    inner = item(NAME + ITEM_END, UNDEFINED) + SEQUENCE_END
    whole = dicom_file(NAME + element(0x00101002, "SQ", inner, UNDEFINED))
    start = len(dicom_file(b""))
    if len(whole) - cut <= start or len(whole) - cut == start + len(NAME):
        return
    assert parse(Memory(whole[:-cut])).problems


@pytest.mark.slow
def test_l2_two_million_empty_items() -> None:
    parsed = read(element(0x00081140, "SQ", item(b"") * 2_000_000, UNDEFINED))
    assert len(parsed.dataset.items(0x00081140)) <= MAX_ITEMS + 1
    assert any("(L2)" in problem for problem in parsed.problems)


def test_l2_a_thousand_nested_sequences() -> None:
    step = element(0x00081140, "SQ", item(b"", UNDEFINED), UNDEFINED)
    parsed = read(step * 1000)
    depth, dataset = 0, parsed.dataset
    while dataset.items(0x00081140):
        depth, dataset = depth + 1, dataset.items(0x00081140)[0]
    assert depth == MAX_DEPTH
    assert any("(L2)" in problem for problem in parsed.problems)


def test_l2_elements_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomfs.dicom.element_reader.MAX_ELEMENTS", 1000)
    parsed = read(element(0x00280010, "US", b"ab") * 5000)
    assert any("(L2)" in problem for problem in parsed.problems)


def test_l2_values_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomfs.dicom.element_reader.MAX_KEPT_BYTES", 1 << 20)
    long = read(b"".join(element(0x00100000 + number, "UT", b"y" * 60_000) for number in range(100)))
    assert sum(len(each.value or b"") for each in long.dataset) <= 1 << 20
    assert len(long.dataset) == 100
    short = read(b"".join(element(0x00100000 + number, "UT", b"y" * 1000) for number in range(5000)))
    assert sum(len(each.value or b"") for each in short.dataset) <= (1 << 21) + 1000
    assert any("(L2)" in problem for problem in short.problems)


def test_problems_are_bounded() -> None:
    body = b"".join(element(0x00280000 + number, "US", b"ab") * 2 for number in range(1000))
    assert len(read(body).problems) <= 101


def test_l7_garbage_among_items() -> None:
    body = element(0x00081140, "SQ", item(NAME) + b"garbage!" * 4) + element(0x00100020, "LO", b"ID")
    parsed = read(body)
    assert len(parsed.dataset.items(0x00081140)) == 1
    assert parsed.dataset.text(0x00100020) == "ID"
    assert any("(L7)" in problem for problem in parsed.problems)


def test_windows_are_small_however_far_values_lie_apart() -> None:
    body = b"".join(element(0x00100000 + number, "UT", b"z" * 100_000) for number in range(200))
    stream = Counting(dicom_file(body))
    parsed = parse(stream)
    assert len(parsed.dataset) == 200
    assert stream.read < stream.size / 10


# --- any bytes --------------------------------------------------------------------------------------------------


def survives(data: bytes) -> DicomFile | None:
    """Parse *data* and look at everything; only NotDicom may come out."""
    try:
        parsed = parse(Memory(data))
    except NotDicom:
        return None

    def visit(dataset: DataSet) -> None:
        for each in dataset:
            assert each.offset >= 0
            assert dataset is parsed.meta or each.offset + each.length <= parsed.stream.size or not each.length
            assert each.value is None or len(each.value) == each.length
            dataset.texts(each.tag)
            dataset.numbers(each.tag)
            dataset.integers(each.tag, signed=True)
            for inner in dataset.items(each.tag):
                visit(inner)

    visit(parsed.meta)
    visit(parsed.dataset)
    return parsed


@pytest.mark.parametrize("count", [1000, pytest.param(5000, marks=pytest.mark.slow)])
def test_mutated_files_are_parsed_or_refused(count: int) -> None:
    outcomes = [survives(data) for data in mutations(count, 1)]
    assert sum(outcome is not None for outcome in outcomes) > 0.8 * count
    assert any(outcome and outcome.problems for outcome in outcomes)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=400),
    st.sampled_from(["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", DEFLATED]),
)
def test_any_data_set_is_parsed_or_refused(body: bytes, syntax: str) -> None:
    survives(dicom_file(body, syntax))
    survives(body)
