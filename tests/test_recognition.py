"""DICOM files are known by their first bytes, and nothing else is taken for one."""

import gzip
import io
import sqlite3
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.archives import CORPUS, PYDICOM, PYDICOM_DATA, SAMPLES, files
from support.builders import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, acr_nema, dicom, image

from dicomfs.dicom.recognition import HEAD, is_dicom
from dicomfs.sources.local import LocalSource
from dicomfs.sources.source import Kind


def judged(data: bytes) -> bool:
    return is_dicom(data[:HEAD], len(data))


# Samples that are no DICOM whatever their suffix.
NOT_DICOM = {"README", "README.md", "README.txt"}


@pytest.mark.parametrize(
    "folder", [PYDICOM, PYDICOM_DATA, *([CORPUS] if CORPUS.is_dir() else [])], ids=lambda p: p.name
)
def test_every_sample_is_what_its_name_says(folder: Path) -> None:
    found = files(folder)
    for path in found:
        with path.open("rb") as file:
            yes = is_dicom(file.read(HEAD), path.stat().st_size)
        # GE names slices by a number behind a dot.
        wanted = (path.suffix in ("", ".dcm") or path.suffix[1:].isdigit()) and path.name not in NOT_DICOM
        assert yes == wanted, path
    assert len(found) > 60


def test_what_pydicom_reads_is_dicom() -> None:
    read = 0
    for path in SAMPLES:
        try:
            pydicom.dcmread(path, stop_before_pixels=True, specific_tags=[])
        except (pydicom.errors.InvalidDicomError, UserWarning):
            continue
        assert judged(path.read_bytes()), path
        read += 1
    assert read > 100


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG])
@pytest.mark.parametrize("preamble", [False, True])
@pytest.mark.parametrize("meta", [False, True])
def test_files_with_and_without_preamble_and_meta_information(syntax: str, preamble: bool, meta: bool) -> None:
    file = dicom(image(4, 4, bytes(16)), syntax, preamble=preamble, meta=meta)
    assert judged(file)
    if preamble:
        assert judged(file[128:]), "the prefix alone"


def test_acr_nema() -> None:
    assert judged(acr_nema(4, 4, bytes(16)))
    assert judged((PYDICOM_DATA / "OT-PAL-8-face.dcm").read_bytes())


def test_a_first_sequence_is_recognised() -> None:
    for syntax in (IMPLICIT_LITTLE, EXPLICIT_LITTLE):
        sequence = {0x00080006: ("SQ", [{0x00080100: ("SH", "x")}])}
        assert judged(dicom(image(1, 1, b"ab", more=sequence), syntax, preamble=False, meta=False))


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.dcm", dicom(image(4, 4, bytes(16))))
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("x.dcm")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"hello"))
    return buffer.getvalue()


def _picture(format_: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64)).save(buffer, format_)
    return buffer.getvalue()


def _sqlite(tmp_path: Path) -> bytes:
    connection = sqlite3.connect(tmp_path / "x.sqlite")
    connection.execute("create table t (a)")
    connection.commit()
    connection.close()
    return (tmp_path / "x.sqlite").read_bytes()


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "GIF", "BMP", "PPM", "ICO", "WEBP", "JPEG2000", "TGA", "PCX"])
def test_pictures_are_not(kind: str) -> None:
    assert not judged(_picture(kind))


def test_archives_programs_and_texts_are_not(tmp_path: Path) -> None:
    for data in (
        _zip(),
        _tar(),
        gzip.compress(dicom(image(4, 4, bytes(16)))),
        _sqlite(tmp_path),
        Path(sys.executable).read_bytes(),
        Path(__file__).read_bytes(),
        Path(pydicom.__file__).read_bytes(),
        b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n" * 9,
        b"\x08\x00 a text that begins with a backspace and a zero, then goes on for quite a while" * 4,
        b"\x02\x00\x00\x00UL\x04\x00 meta, as it says, and then a text" * 9,
        b"DICM is how this text begins, but it is about something else. " * 9,
        b'{"00080005": {"vr": "CS", "Value": ["ISO_IR 100"]}}' * 9,
        b"solid ascii stl\n facet normal 0 0 1\n" * 9,
    ):
        assert not judged(data), data[:40]


def test_certificates_are_not(tmp_path: Path, program: Callable[[str], str]) -> None:
    openssl = program("openssl")
    key, certificate, bag = tmp_path / "key", tmp_path / "certificate", tmp_path / "x.pfx"
    subject = ["-subj", "/CN=x", "-days", "1", "-nodes"]
    new: list[str | Path] = [
        openssl,
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-keyout",
        key,
        "-out",
        certificate,
        *subject,
    ]
    subprocess.run(new, check=True, capture_output=True)
    export: list[str | Path] = [
        openssl,
        "pkcs12",
        "-export",
        "-inkey",
        key,
        "-in",
        certificate,
        "-out",
        bag,
        "-passout",
        "pass:x",
    ]
    subprocess.run(export, check=True, capture_output=True)
    der = subprocess.run([openssl, "x509", "-in", certificate, "-outform", "DER"], check=True, capture_output=True)
    for data in (bag.read_bytes(), key.read_bytes(), certificate.read_bytes(), der.stdout):
        assert not judged(data)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 12, 131, 132, 255, 256, 10_000])
@pytest.mark.parametrize("byte", [0, 2, 8, 0x20, 0xFF])
def test_files_of_one_byte_repeated_are_not(size: int, byte: int) -> None:
    assert not judged(bytes([byte]) * size)


def test_131_bytes_are_not_and_132_are() -> None:
    assert not judged(bytes(128) + b"DIC")
    assert judged(bytes(128) + b"DICM")


def test_rows_of_numbers_are_not() -> None:
    """Raw images, tables, meshes: some begin with 2 or 8, as group numbers do."""
    places = np.arange(64)
    for kind in ("<u2", "<u4", "<u8", "<f4", "<f8", ">u2", ">u4", ">u8", ">f4", ">f8"):
        for first in (0, 1, 2, 8, 10, 16, 512, 2048):
            for step in (0, 1, 2, 3, 4, 6, 8, 10, 12, 16, 32, 256):
                assert not judged((first + step * places).astype(kind).tobytes() * 40), (kind, first, step)


def test_random_bytes_are_not() -> None:
    chance = np.random.default_rng(3)
    for _ in range(100_000):
        assert not is_dicom(chance.bytes(HEAD), 1 << 20)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("tag", [0x00020000, 0x00020001, 0x00020010, 0x00080000, 0x00080005, 0x00080016, 0x00080060])
def test_random_bytes_behind_a_tag_are_not(order: str, tag: int) -> None:
    chance = np.random.default_rng(4)
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    for _ in range(5000):
        assert not is_dicom(head + chance.bytes(HEAD - 4), 1 << 20)


@given(st.binary(max_size=HEAD), st.integers(0, 1 << 40))
@settings(max_examples=2000)
def test_any_bytes_are_judged(head: bytes, size: int) -> None:
    assert is_dicom(head, size) == (head[128:132] == b"DICM") or head[:1] in (b"\0", b"\x02", b"\x08", b"D")


def test_a_short_meta_group_before_implicit_elements() -> None:
    """Both are in the head, in different encodings."""
    file = dicom(image(4, 4, bytes(16)), IMPLICIT_LITTLE, preamble=False)
    assert file.index(b"\x08\0\x16\0") < HEAD - 20
    assert judged(file)


def test_no_more_than_the_head_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.dcm").write_bytes(dicom(image(64, 64, bytes(4096))))
    (tmp_path / "x.txt").write_bytes(b"text" * 4096)
    reads = []
    pread = __import__("os").pread

    def noting(descriptor: int, length: int, offset: int) -> bytes:
        reads.append(length)
        data: bytes = pread(descriptor, length, offset)
        return data

    monkeypatch.setattr("os.pread", noting)
    source = LocalSource(str(tmp_path))
    assert [entry.kind for entry in source.entries(b"")] == [Kind.DICOM, Kind.OTHER]
    source.close()
    assert reads == [HEAD, HEAD]
    assert HEAD <= 512
