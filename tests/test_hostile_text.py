"""Text from files reaches log, terminal and messages only printable, bounded and without anybody's name."""

import os
import pty
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.datadict import DicomDictionary
from support.archives import PYDICOM
from support.builders import JPEG, dicom, element, encapsulated, image
from support.mounting import DICOMFS, errno_of, mounted

from dicomfs.cli.info import describe
from dicomfs.dicom.printable import printable
from dicomfs.dicom.stream import Memory
from dicomfs.instance.instance import load

NAME = "DOE^JANE"
# A forged line of a log, commands to a terminal in seven and eight bits, turned direction, separators, invisible marks.
HOSTILE = f"{NAME}\n2026-01-01 dicomfs[1]: ERROR: forged\r\x1b]0;title\x07\x1b[2J\x9b31m\u202e\u2028\u200b\x00\x7f"
TEXT = "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split()


@given(st.text(st.characters(), max_size=400), st.sampled_from([None, 20, 200]))
def test_whatever_is_given_is_one_harmless_line(text: str, limit: int | None) -> None:
    shown = printable(text, limit)
    assert all(unicodedata.category(each) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for each in shown)
    assert len(shown.splitlines()) <= 1
    assert limit is None or len(shown) <= limit
    assert printable(shown, limit) == shown
    shown.encode()


def test_plain_text_of_any_script_stays() -> None:
    for text in ("", "frame 1 cannot be read: (E21)", "Müller^Jörg", "山田^太郎", "Иванов", "\\x1b"):
        assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\x0ab"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b", "\\x9b"),
        ("\u202e", "\\u202e"),
        ("\ud800", "\\ud800"),
        ("\u200b\ufeff\u3164\ufe0f", "\\u200b\\ufeff\\u3164\\ufe0f"),
        ("\U000e0041", "\\U000e0041"),
        ("x" * 201, "x" * 197 + "..."),
        ("\n" * 200, "\\x0a" * 49 + "..."),
    ],
)
def test_harmful_characters_are_numbers(text: str, shown: str) -> None:
    assert printable(text) == shown


def hostile_files() -> Iterator[tuple[str, bytes]]:
    """Give objects with hostile text in each attribute of text that the standard knows, and where it decides."""
    texts: dict[int, tuple[str, str]] = {
        tag: (vr, HOSTILE)
        for tag, (vr, *_) in DicomDictionary.items()
        if vr in TEXT and 0x00080000 <= tag < 0x7FE00000 and tag & 0xFFFF and tag != 0x00080005
    }
    whole = image(8, 8, bytes(64), more={tag: value for tag, value in texts.items() if tag >> 16 != 0x0028})
    yield "everywhere", dicom(whole)
    for tag, (vr, *_) in sorted(DicomDictionary.items()):
        if vr in TEXT and (tag >> 16 == 0x0028 or tag in (0x00080016, 0x00080060, 0x00280008, 0x00080008, 0x00180040)):
            yield f"{tag:08x}", dicom(image(8, 8, bytes(64), more={tag: (vr, HOSTILE)}))
            yield f"{tag:08x}-rgb", dicom(image(8, 8, bytes(192), samples=3, more={tag: (vr, HOSTILE)}))
    yield "charset", dicom(image(8, 8, bytes(64), more={0x00080005: ("CS", HOSTILE)}))
    for name, syntax in (("syntax", HOSTILE), ("syntax-name", "JANE^DOE"), ("syntax-long", "1." * 5000)):
        fragment = encapsulated([b"\xff\xd8\xff\xe0" + HOSTILE.encode("latin-1", "replace") + b"\xff\xd9"])
        meta = element(0x00020002, "UI", HOSTILE) + element(0x00020010, "UI", syntax)
        body = dicom(image(8, 8, fragment), meta=False, preamble=False)
        yield name, bytes(128) + b"DICM" + element(0x00020000, "UL", len(meta)) + meta + body
    comment = b"\xff\xd8\xff\xfe\x00\x40" + HOSTILE.encode("latin-1", "replace").ljust(62) + b"\xff\xd9"
    yield "comment", dicom(image(8, 8, encapsulated([comment])), JPEG)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile")
    for name, data in hostile_files():
        (place / name).write_bytes(data)
    return place


def assert_harmless(text: str) -> None:
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]", text)
    assert "forged" not in text
    assert "JANE" not in text
    assert max(map(len, text.splitlines()), default=0) < 2000


def test_log_and_problems_are_harmless(folder: Path, tmp_path: Path) -> None:
    with mounted(folder, tmp_path, warn=True) as mount:
        told = 0
        for name in sorted(os.listdir(folder)):
            directory = mount.path / name
            for problems in directory.glob("problems.txt"):
                assert_harmless(problems.read_text())
                told += 1
            if (directory / "frames.json").exists():
                # It quotes the header as header.json does, in the notation of JSON.
                assert not re.search(
                    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]", (directory / "frames.json").read_text()
                )
            for path in [*directory.glob("frames/*"), directory / "pixels.npy", directory / "stored" / "0001.tif"]:
                errno_of(path.read_bytes)
            header = (directory / "header.txt").read_text()
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]", header)
            assert not any(line.startswith("2026-01-01") for line in header.splitlines())
        log = mount.log.read_text()
        assert told
        assert "WARNING" in log
        assert_harmless(log)
        assert all(re.match(r"\d{4}-\d\d-\d\d [\d:,]+ dicomfs\[\d+\]: [A-Z]+: ", line) for line in log.splitlines())


def test_what_info_says_of_a_header_is_harmless(folder: Path) -> None:
    for name in sorted(os.listdir(folder)):
        for line in describe(load(Memory((folder / name).read_bytes()))):
            assert_harmless(line)


@pytest.mark.parametrize("name", ["everywhere", "00080016", "00280004", "00080060-rgb", "charset", "syntax", "comment"])
def test_info_is_harmless(name: str, folder: Path) -> None:
    done = subprocess.run([*DICOMFS, "info", folder / name], capture_output=True, check=False)
    assert_harmless(done.stdout.decode())
    assert_harmless(done.stderr.decode())


def test_info_names_what_the_standard_knows() -> None:
    done = subprocess.run([*DICOMFS, "info", PYDICOM / "CT_small.dcm"], capture_output=True, check=True, text=True)
    assert re.search(r"^modality +CT$", done.stdout, re.MULTILINE)
    assert "MONOCHROME2" in done.stdout


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A folder with names that command a terminal."""
    place = tmp_path / "named"
    place.mkdir()
    for name in (b"a\x1b]0;title\x07\nb", b"c\x9b2J\xff", "d\u202e.txt".encode()):
        (place / os.fsdecode(name)).write_bytes(b"text")
    return place


def on_terminal(*arguments: str | Path) -> bytes:
    """Give what a command writes to a terminal, both streams."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*DICOMFS, *arguments], stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        said = b""
        while True:
            try:
                said += os.read(ours, 1 << 16)
            except OSError:
                break
        process.wait()
    os.close(ours)
    return said.replace(b"\r\n", b"\n")


@pytest.mark.parametrize("options", [[], ["-l"], ["-R"]])
def test_names_on_a_terminal_are_harmless_and_in_a_pipe_as_they_are(options: list[str], named: Path) -> None:
    shown = on_terminal("ls", *options, named)
    assert b"a\\x1b]0;title\\x07\\x0ab" in shown
    assert b"c\\x9b2J\\xff" in shown
    assert b"d\\u202e.txt" in shown
    assert_harmless(shown.decode())
    piped = subprocess.run([*DICOMFS, "ls", *options, named], capture_output=True, check=True).stdout
    assert b"a\x1b]0;title\x07\nb" in piped


@pytest.mark.slow
def test_complaints_about_hostile_names_are_one_harmless_line(named: Path, tmp_path: Path) -> None:
    evil = os.fsdecode(b"x\x1b]0;title\x07\ny")
    for arguments in (
        ["cat", named / evil], ["ls", named / evil], ["info", named / evil], ["info", named / "a\x1b]0;title\x07\nb"],
        ["cp", named / evil, tmp_path / "out"], ["mount", named / evil, tmp_path], ["umount", tmp_path / evil],
        [evil], [evil, "b"], ["ls", "--cine", evil, named], ["info", named, evil], ["mount", named, tmp_path / evil],
        ["mount", named, tmp_path, "--log-file", tmp_path / evil / "log"], ["mount", named, tmp_path, "-o", evil],
    ):  # fmt: skip
        done = subprocess.run([*DICOMFS, *map(str, arguments)], capture_output=True, check=False)
        assert done.returncode in (1, 2), arguments
        # `info` of what is no DICOM file says so where it says all else.
        said = done.stderr.splitlines()[-1:]
        assert all(line.startswith((b"dicomfs: ", b"dicomfs info: ", b"dicomfs ls: ")) for line in said), arguments
        assert said or arguments[0] == "info", arguments
        assert not re.search(b"[\x00-\x09\x0b-\x1f\x7f]", done.stderr), arguments
        assert b"Traceback" not in done.stderr


def test_what_should_not_happen_quotes_nothing(tmp_path: Path) -> None:
    script = (
        "from dicomfs.cli import info, main\n"
        f"def describe(instance): raise ValueError({HOSTILE!r})\n"
        "info.describe = describe\n"
        f"main.main(['info', {str(PYDICOM / 'CT_small.dcm')!r}])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"dicomfs: unexpected ValueError at <string>:2 < \w+\.py:\d+ < \w+\.py:\d+.*\n", done.stderr)
