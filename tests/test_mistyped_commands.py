"""What people type by mistake: a sentence that helps, never a traceback, and exit code 2."""

import argparse
import gzip
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.archives import PYDICOM
from support.mounting import DICOMFS, mounted

from dicomfs.cli import doctor
from dicomfs.cli.option_values import MAX_WORKERS, count, size
from dicomfs.cli.option_values import window as window_of


def dicomfs(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DICOMFS, *arguments], capture_output=True, text=True, check=False, timeout=120, **options)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("umont mnt", "umont is neither a verb nor an existing path; did you mean `umount`?"),
        ("unmont mnt", "did you mean `unmount`?"),
        ("moutn archive mnt", "did you mean `mount`?"),
        ("Doctor", "did you mean `doctor`?"),
        ("status", "`findmnt -t fuse.dicomfs` lists what is mounted"),
        ("status mnt", "`findmnt -t fuse.dicomfs` lists what is mounted"),
        ("list archive", "`dicomfs ls` lists"),
        ("help me", "me is neither a verb nor an existing path"),
        ("nowhere mnt", "nowhere is neither a verb nor an existing path; `dicomfs --help` lists the verbs"),
        (".", "what should be done with .? `dicomfs mount . MOUNTPOINT`, or `dicomfs ls .`"),
    ],
)
def test_a_first_word_that_is_no_path_is_a_verb(words: str, told: str, tmp_path: Path) -> None:
    done = dicomfs(*words.split(), cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done
    assert told in done.stderr


def test_help_is_a_verb() -> None:
    assert dicomfs("help").stdout == dicomfs("--help").stdout
    assert dicomfs("help", "mount").stdout == dicomfs("mount", "--help").stdout


def test_unmount_is_umount(tmp_path: Path) -> None:
    with mounted(PYDICOM, tmp_path) as mount:
        done = dicomfs("unmount", mount.path)
        assert (done.returncode, done.stderr) == (0, "")
        assert mount.process.wait(20) == 0


def packed(place: Path) -> list[Path]:
    zipped, gzipped, tarred, both = (place / name for name in ("a.zip", "a.dcm.gz", "a.tar", "a.tgz"))
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("IM0001.dcm", (PYDICOM / "CT_small.dcm").read_bytes())
    gzipped.write_bytes(gzip.compress(b"text"))
    for path, mode in ((tarred, "w"), (both, "w:gz")):
        with tarfile.open(path, mode) as tar:
            tar.add(PYDICOM / "CT_small.dcm", "IM0001.dcm")
    return [zipped, gzipped, tarred, both]


@pytest.mark.slow
def test_packed_archives_and_urls_get_a_sentence_that_helps(tmp_path: Path) -> None:
    for path in packed(tmp_path):
        for words in (["mount", path, tmp_path], [path, tmp_path], [path], ["ls", path], ["cat", path / "IM0001.dcm"]):
            done = dicomfs(*words)
            assert done.returncode == 2, words
            assert "mount it first, with `ratarmount` for example" in done.stderr
        assert dicomfs("info", path).returncode == 2
    for url in ("s3://bucket/study", "https://example.org/dicom-web", "gs://bucket", "file:///archive"):
        for words in (["mount", url, tmp_path], [url, tmp_path], [url], ["ls", url], ["cp", url, tmp_path]):
            done = dicomfs(*words)
            assert done.returncode == 2, words
            assert "is a URL" in done.stderr
            assert "rclone mount" in done.stderr


@pytest.mark.parametrize("text", ["²", "0", "-1", "1.5", "", "٣", "257", "9" * 5000, "1e3", " 1"])
def test_counts_that_are_none(text: str, tmp_path: Path) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        count(text)
    if len(text) < 100:
        for options in (["-o", f"workers={text}"], [f"--workers={text}"]):
            done = dicomfs("mount", *options, tmp_path, tmp_path)
            assert (done.returncode, "Traceback" in done.stderr) == (2, False)


def test_counts_sizes_and_windows() -> None:
    assert (count("1"), count(str(MAX_WORKERS))) == (1, MAX_WORKERS)
    assert size("64m") == 64 << 20
    for text in ("²M", "9" * 5000, "1T", "-1", ""):
        with pytest.raises(argparse.ArgumentTypeError):
            size(text)
    for text in ("²,1", "٣,4", "1,0"):
        with pytest.raises(argparse.ArgumentTypeError):
            window_of(text)


# The log


def test_the_log_is_closed_from_the_start(tmp_path: Path) -> None:
    """Whoever has it open the moment it appears could read on for ever."""
    (tmp_path / "mnt").mkdir()
    log = tmp_path / "log"
    script = (
        "import os, sys; os.umask(0)\n"
        "from dicomfs.cli import log\n"
        "def chmod(*_): raise AssertionError\n"
        "os.fchmod = os.chmod = lambda *_: None\n"
        "log.start_log(sys.argv[1], False)\n"
    )
    subprocess.run([sys.executable, "-c", script, log], check=True)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_logs_that_others_could_read_are_refused(tmp_path: Path) -> None:
    archive, mountpoint, target = tmp_path / "archive", tmp_path / "mnt", tmp_path / "target"
    archive.mkdir()
    mountpoint.mkdir()
    target.write_text("kept\n")
    link, hard, foreign, fifo = (tmp_path / name for name in ("link", "hard", "foreign", "fifo"))
    link.symlink_to(target)
    (tmp_path / "other").write_text("kept\n")
    os.link(tmp_path / "other", hard)
    foreign.write_text("kept\n")
    os.chown(foreign, 1001, 1001)
    os.mkfifo(fifo)
    for path in (link, hard, foreign, fifo):
        done = dicomfs("mount", "--log-file", path, archive, mountpoint)
        assert (done.returncode, done.stderr.count("\n")) == (1, 1), done
        assert str(path) in done.stderr
        assert not os.path.ismount(mountpoint)
    assert target.read_text() == hard.read_text() == foreign.read_text() == "kept\n"


def test_a_log_that_was_open_is_closed_and_a_device_left_alone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("before\n")
    log.chmod(0o644)
    mode = os.stat("/dev/null").st_mode
    script = "import sys; from dicomfs.cli.log import start_log; start_log(sys.argv[1], False)"
    for path in (str(log), "/dev/null"):
        subprocess.run([sys.executable, "-c", script, path], check=True)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert log.read_text() == "before\n"
    assert os.stat("/dev/null").st_mode == mode


# The doctor


def test_a_trial_mount_that_hangs_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = tmp_path / "python"
    hanging.write_text(f"#!/bin/sh\nexec sleep 1000 # {tmp_path}\n")
    hanging.chmod(0o755)
    monkeypatch.setattr(doctor, "TRIAL_SECONDS", 0.5)
    monkeypatch.setattr(sys, "executable", str(hanging))
    found = doctor.trial_mount()  # the whole of `doctor` would start decoders with the same interpreter
    assert not found.good
    assert found.text == "a trial mount failed: it did not answer within 0.5 s"


def test_the_exit_code_is_not_written_into_another_file(tmp_path: Path) -> None:
    """Once the mount answered, the number of the pipe may be that of anything."""
    script = (
        "import os, sys; from dicomfs.fuse.daemonize import detach\n"
        "def serve(ready):\n"
        "    ready()\n"
        "    for number in range(20): os.open(sys.argv[1] + str(number), os.O_RDWR | os.O_CREAT, 0o600)\n"
        "    return 7\n"
        "sys.exit(detach(serve))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "file")], check=False)
    assert done.returncode == 0
    subprocess.run(["sleep", "0.5"], check=True)  # the child has no other sign of its end
    assert len(list(tmp_path.glob("file*"))) == 20
    assert all(path.stat().st_size == 0 for path in tmp_path.glob("file*"))


def test_the_exit_code_of_what_never_answered_arrives() -> None:
    script = "import sys; from dicomfs.fuse.daemonize import detach; sys.exit(detach(lambda ready: 7))"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 7


# Modules in the working directory

PLANTED = (
    "dicomfs trio numpy pyfuse3 imagecodecs av isal pydicom PIL pylibjpeg openjpeg simplejpeg encodings "
    "argparse logging logging/handlers subprocess tempfile pickle hashlib json socket "
    "trio/lowlevel sitecustomize usercustomize importlib/metadata difflib"
).split()


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A folder with a module of each name, which leaves a mark when it is run."""
    tmp_path.chmod(0o755)
    place = tmp_path / "trap"
    (place / "mark").mkdir(parents=True)
    (place / "mark").chmod(0o777)
    for name in PLANTED:
        for path in (place / name / "__init__.py", place / name / "__main__.py"):
            path.parent.mkdir(parents=True, exist_ok=True)
            mark = str(place / "mark" / name.replace("/", "."))
            path.write_text(f"open({mark!r}, 'w'); raise SystemExit(9)")
    return place


@pytest.mark.slow
@pytest.mark.parametrize("user", [0, 65534])
def test_no_verb_imports_from_the_working_directory(user: int, trap: Path, tmp_path: Path) -> None:
    mountpoint, log = trap / "mnt", trap / "mark" / "log"
    mountpoint.mkdir()
    os.chown(mountpoint, user, user)
    sample = tmp_path / "sample"
    sample.mkdir()
    for name in ("JPEG2000.dcm", "examples_ybr_color.dcm"):
        (sample / name).write_bytes((PYDICOM / name).read_bytes())
    script = Path(sys.executable).with_name("dicomfs")
    try:
        subprocess.run([script, "--version"], user=user, group=user, extra_groups=[], check=True)
    except PermissionError:
        pytest.skip("this interpreter lies where ordinary users have no access")
    ways = [[str(script)], [sys.executable, "-P", "-m", "dicomfs"]]
    for way in ways:
        for words in (
            ["--help"], ["doctor"], ["info", sample / "JPEG2000.dcm"], ["ls", "-R", sample], ["umount", trap],
            ["cat", sample / "JPEG2000.dcm/frames/0001.png"], ["cat", sample / "examples_ybr_color.dcm/video.mp4"],
            ["cp", sample / "JPEG2000.dcm" / "header.txt", trap / "mark" / "out"],
            ["mount", "--log-file", log, sample, mountpoint],
            ["umount", mountpoint],
        ):  # fmt: skip
            if words[0] == "umount" and words[1] == mountpoint:
                assert (mountpoint / "JPEG2000.dcm" / "frames" / "0001.png").exists() or user
            done = subprocess.run(
                [*way, *map(str, words)], cwd=trap, capture_output=True, check=False, user=user, group=user,
                timeout=200, extra_groups=[], env={"PATH": os.environ["PATH"]},
            )  # fmt: skip
            assert done.returncode != 9, (words, done)
            assert b"Traceback" not in done.stderr, (words, done.stderr)
    found = {path.name for path in (trap / "mark").iterdir()}
    assert found == {"out", "log"}


@pytest.mark.parametrize("path", [":", ".", "/usr/share:", "../trap"])
def test_an_empty_part_of_the_search_path_is_no_way_in(path: str, trap: Path, tmp_path: Path) -> None:
    """Those that Python itself looks for before it starts us are beyond our reach."""
    for name in ("encodings", "sitecustomize", "usercustomize", "dicomfs", "importlib"):
        shutil.rmtree(trap / name)
    script = [sys.executable, "-P", "-c", "from dicomfs.__main__ import main; main()"]
    done = subprocess.run(
        [*script, "cat", str(PYDICOM / "JPEG2000.dcm" / "frames" / "0001.png")], cwd=trap, capture_output=True,
        check=False, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.stdout.startswith(b"\x89PNG"), done.stderr
    assert not list((trap / "mark").iterdir())


def test_python_dash_m_does_not_either(trap: Path) -> None:
    for name in ("dicomfs", "encodings"):
        shutil.rmtree(trap / name)
    picture = PYDICOM / "JPEG2000.dcm" / "frames" / "0001.png"
    done = subprocess.run([*DICOMFS, "cat", picture], cwd=trap, capture_output=True, check=False)
    assert done.stdout.startswith(b"\x89PNG"), done.stderr
    assert not re.findall("trio|numpy|argparse", " ".join(path.name for path in (trap / "mark").iterdir()))
