"""The verbs that need no kernel: `info`, `doctor`, `ls`, `cat` and `cp`, on the same tree that is mounted."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.archives import PYDICOM, PYDICOM_DATA
from support.mounting import DICOMFS, Loop, answer, answer_of_path, dicomfs, files_below, tree_of

from dicomfs.cli import main, mount
from dicomfs.fuse import session
from dicomfs.instance.entry_selection import Selection

SAMPLE = PYDICOM / "examples_ybr_color.dcm"


def test_ls_of_an_instance() -> None:
    done = dicomfs("ls", SAMPLE)
    names = "header.json header.txt frames.json regions.json frames stored pixels.npy raw fragments video.mp4"
    names += " original.dcm thumbnail.png bulk"
    assert done.stdout.decode().split() == names.split()
    assert dicomfs("ls", SAMPLE / "frames").stdout.decode().split() == [f"{n:04}.png" for n in range(1, 31)]
    assert dicomfs("ls", SAMPLE / "frames" / "0003.png").returncode == 0


def test_ls_long_and_recursive(loop: Loop) -> None:
    async def expected() -> dict[str, int]:
        with tree_of(loop, SAMPLE, selection=Selection()) as top:
            return {os.fsdecode(path): (await file.current()).size for path, file in await files_below(top)}

    shown: dict[str, int] = {}
    place = ""
    for line in dicomfs("ls", "-lR", SAMPLE).stdout.decode().splitlines():
        if line.endswith(":"):
            place = os.path.relpath(line[:-1], SAMPLE)
        elif line.startswith("-"):
            size, name = re.fullmatch(r"-r--r--r-- +(\d+) \S+ \S+ (.*)", line).groups()
            shown[os.path.normpath(os.path.join(place, name))] = int(size)
    assert shown == loop.run(expected)


CT = PYDICOM / "CT_small.dcm"
LISTED = "header.json header.txt frames.json frames stored pixels.npy rescaled.npy volume.nii raw original.dcm"
LISTED += " thumbnail.png bulk"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], LISTED),
        (["--show", "native.dcm,transcoded/"], LISTED.replace("original.dcm", "original.dcm native.dcm transcoded")),
        (["--show=native:transcoded"], LISTED.replace("original.dcm", "original.dcm native.dcm transcoded")),
        (["--show=native", "--show=transcoded"], LISTED.replace("original.dcm", "original.dcm native.dcm transcoded")),
        (["--show=all"], LISTED.replace("original.dcm", "original.dcm native.dcm transcoded")),
        (["--show=all", "--hide=native"], LISTED.replace("original.dcm", "original.dcm transcoded")),
        (["--hide=header,frames.json"], LISTED.removeprefix("header.json header.txt frames.json ")),
        (["--hide=all", "--show=frames,header.txt"], "header.txt frames"),
        (["--hide=all"], ""),
        (["--show=windows,video"], LISTED),  # there are none
    ],
)
def test_ls_lists_what_is_chosen(options: list[str], names: str) -> None:
    done = dicomfs("ls", *options, CT)
    assert (done.stdout.decode().split(), done.stderr, done.returncode) == (names.split(), b"", 0)


def test_what_is_not_listed_opens_by_its_name_and_what_is_hidden_does_not() -> None:
    copy = CT / "transcoded" / "rle" / "CT_small.dcm"
    assert dicomfs("ls", CT / "transcoded").stdout.split() == [b"rle", b"jpeg-ls", b"jpeg2000", b"htj2k"]
    assert dicomfs("ls", copy.parent).stdout.split() == [b"CT_small.dcm"]
    assert dicomfs("cat", CT / "native.dcm").stdout[128:132] == dicomfs("cat", copy).stdout[128:132] == b"DICM"
    for name in (CT / "native.dcm", copy, CT / "frames" / "0001.png"):
        done = dicomfs("cat", "--hide=native,transcoded,frames", name)
        assert (done.stdout, done.returncode) == (b"", 1)
        assert b"No such file" in done.stderr


def test_ls_long_measures_what_must_be_made(tmp_path: Path) -> None:
    for sample in ("CT_small.dcm", "MR_truncated.dcm"):
        done = dicomfs("ls", "-l", PYDICOM / sample / "transcoded" / "rle")
        line = done.stdout.decode().split()
        if sample == "CT_small.dcm":
            size = len(dicomfs("cat", CT / "transcoded" / "rle" / sample).stdout)
            assert (line[1], line[-1], done.returncode) == (str(size), sample, 0)
        else:
            assert (line[1], line[-1], done.returncode) == ("?", sample, 1)
            assert b"frame 1 is declared but not in the file" in done.stderr


@pytest.mark.parametrize("options", [(), ("-r", "--show=transcoded", "--hide=bulk")], ids=["usual", "chosen"])
def test_cp_copies_what_ls_lists(options: tuple[str, ...], tmp_path: Path) -> None:
    assert dicomfs("cp", *options, CT, tmp_path / "out").returncode == 0
    names = dicomfs("ls", *[option for option in options if option != "-r"], CT).stdout.decode().split()
    assert sorted(os.listdir(tmp_path / "out")) == sorted(names)
    assert ("transcoded" in names) == (tmp_path / "out" / "transcoded" / "htj2k" / "CT_small.dcm").exists()


@pytest.mark.parametrize("verb", ["mount", "ls", "cat", "cp"])
def test_unknown_entries_are_refused_with_the_list(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*options: str) -> str:
        with pytest.raises(SystemExit) as end:
            main.main([verb, *options, str(CT), "nowhere"])
        assert end.value.code == 2
        return capsys.readouterr().err

    for words in ("frame", "frames,", "nothing:frames", "frames.png"):
        for option in ("--show", "--hide"):
            said = refused(option, words)
            for name in ("is not an entry", "header.json", "native.dcm", "transcoded", "all"):
                assert name in said
    assert "frames can be shown or hidden, not both" in refused("--show=frames,bulk", "--hide=raw,frames")


def test_ls_of_the_archive_is_the_archive() -> None:
    assert dicomfs("ls", PYDICOM).stdout.decode().split("\n")[:-1] == sorted(os.listdir(PYDICOM))


def test_cat() -> None:
    done = dicomfs("cat", SAMPLE / "original.dcm")
    assert done.stdout == SAMPLE.read_bytes()
    both = dicomfs("cat", SAMPLE / "header.json", SAMPLE / "frames/0002.png")
    assert both.stdout == (
        dicomfs("cat", SAMPLE / "header.json").stdout + dicomfs("cat", SAMPLE / "frames/0002.png").stdout
    )


def test_cat_into_a_closed_pipe_is_quiet() -> None:
    script = f"{' '.join(DICOMFS)} cat {SAMPLE}/original.dcm | head -c 10 | wc -c"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert (done.stdout.strip(), done.stderr) == (b"10", b"")


def test_a_failing_path_does_not_stop_the_others() -> None:
    done = dicomfs("cat", PYDICOM / "MR_truncated.dcm/frames/0001.png", SAMPLE / "missing", SAMPLE / "frames/0001.png")
    assert done.returncode == 1
    assert done.stdout.startswith(b"\x89PNG")
    assert len(done.stderr.splitlines()) == 2


def test_cp_gives_what_a_mount_gives(tmp_path: Path, loop: Loop) -> None:
    async def expected() -> dict[bytes, str]:
        with tree_of(loop, SAMPLE, selection=Selection()) as top:
            return {path: await answer(file) for path, file in await files_below(top)}

    done = dicomfs("cp", SAMPLE, tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, b"")
    for path, digest in loop.run(expected).items():
        assert answer_of_path(os.path.join(os.fsencode(tmp_path / "out"), path)) == digest
    assert (tmp_path / "out" / "header.json").stat().st_mtime_ns == SAMPLE.stat().st_mtime_ns


def test_cp_into_a_directory_and_onto_a_file(tmp_path: Path) -> None:
    assert dicomfs("cp", SAMPLE / "frames" / "0001.png", SAMPLE / "header.txt", tmp_path).returncode == 0
    assert sorted(os.listdir(tmp_path)) == ["0001.png", "header.txt"]
    assert dicomfs("cp", SAMPLE / "frames" / "0002.png", tmp_path / "0001.png").returncode == 0
    assert (tmp_path / "0001.png").read_bytes() == dicomfs("cat", SAMPLE / "frames/0002.png").stdout
    assert dicomfs("cp", SAMPLE, PYDICOM / "CT_small.dcm", tmp_path / "nowhere").returncode == 2


def test_cp_leaves_no_half_file_behind(tmp_path: Path) -> None:
    done = dicomfs("cp", PYDICOM / "MR_truncated.dcm", tmp_path / "out")
    assert done.returncode == 1
    assert b"frames/0001.png: frame 1 is declared but not in the file" in done.stderr
    assert os.listdir(tmp_path / "out" / "frames") == []
    assert (tmp_path / "out" / "original.dcm").read_bytes() == (PYDICOM / "MR_truncated.dcm").read_bytes()


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("CT_small.dcm", ["frames 1, found by arithmetic", "codec uncompressed", "problems none", "modality CT"]),
        ("MR_small_RLE.dcm", ["frames 1, found by", "codec RLE"]),
        ("MR_truncated.dcm", ["problems", "(N3)"]),
        ("rtplan.dcm", ["frames none", "SOP class RT Plan Storage"]),
        ("examples_ybr_color.dcm", ["frames 30, found by Basic Offset Table"]),
    ],
)
def test_info(name: str, lines: list[str]) -> None:
    done = dicomfs("info", PYDICOM / name)
    assert done.returncode == 0
    shown = re.sub(r" +", " ", done.stdout.decode())
    for line in lines:
        assert line in shown


@pytest.mark.slow
def test_info_of_every_sample() -> None:
    for folder in (PYDICOM, PYDICOM_DATA):
        for path in sorted(folder.glob("*.dcm"))[::8]:
            done = dicomfs("info", path)
            assert b"Traceback" not in done.stderr, path


def test_doctor() -> None:
    done = dicomfs("doctor")
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0, lines
    assert "ok  a trial mount worked" in lines
    assert any(line.startswith("ok  decoding processes work, protected by limits") for line in lines)
    assert all(line.startswith(("ok  ", "--  ")) for line in lines)


def test_doctor_says_what_is_missing(tmp_path: Path) -> None:
    """With something in place of /dev/fuse that is no device."""
    node = tmp_path / "fuse"
    os.mknod(node, 0o600)
    script = f"mount --bind {node} /dev/fuse && exec setpriv --bounding-set=-dac_override {' '.join(DICOMFS)} doctor"
    unshare = shutil.which("unshare")
    assert unshare
    done = subprocess.run([unshare, "-m", "sh", "-c", script], capture_output=True, check=False, text=True)
    assert done.returncode == 1
    assert "NO  " in done.stdout


def test_help_names_every_verb() -> None:
    shown = dicomfs("--help").stdout.decode()
    for verb in ("mount", "umount", "info", "doctor", "ls", "cat", "cp"):
        assert re.search(rf"^\s+{verb}\s", shown, re.MULTILINE)
        assert dicomfs(verb, "--help").returncode == 0
    assert re.fullmatch(rb"dicomfs \d+\.\d+\.\d+\n", dicomfs("--version").stdout)


def test_every_option_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the command line as behind `-o`."""
    given: list[session.MountOptions] = []

    def run(options: session.MountOptions, ready: Callable[[], None]) -> None:
        given.append(options)
        ready()

    monkeypatch.setattr(session, "run", run)
    monkeypatch.setattr(mount, "start_log", lambda *_: None)
    place = tmp_path / "cache"
    long = ["--workers", "3", "--cache-memory", "8M", "--window", "40,400", "--cine", "all", "--xattrs"]
    long += ["--cache-dir", str(place), "--cache-size", "1M", "--cache-frames"]
    long += ["--show", "native,transcoded", "--hide", "bulk"]
    short = f"workers=3,cache_memory=8M,window=40/400,cine=all,xattrs,cache_dir={place},cache_size=1M,cache_frames"
    short += ",show=native:transcoded,hide=bulk"
    for options in (long, ["-o", short]):
        with pytest.raises(SystemExit) as end:
            main.main(["mount", "-f", *options, "archive", "mnt"])
        assert end.value.code == 0
    assert given[0] == given[1]
    assert given[0].workers == 3
    assert given[0].cache_memory == 8 << 20
    assert given[0].cache_dir == str(place)
    assert given[0].cache_size == 1 << 20
    assert given[0].cache_frames
    assert given[0].view.xattrs
    assert given[0].view.selection == Selection(frozenset({"native.dcm", "transcoded"}), frozenset({"bulk"}))


@pytest.mark.parametrize(
    "options",
    [
        ["--cache-frames"],
        ["-o", "cache_frames"],
        ["-o", "xattrs=1"],
        ["--cache-size", "x"],
        ["-o", "show=frame"],
        ["-o", "show=all", "--hide=all"],
    ],
)
def test_options_that_make_no_sense(options: list[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main.main(["mount", *options, "archive", "mnt"])
    assert end.value.code == 2
