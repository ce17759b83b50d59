"""Mounting, unmounting, dying and coming back: the commands as users, systemd and mount(8) run them."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import beating, script
from support.archives import PYDICOM
from support.mounting import DICOMFS, Loop, answer_of_path, children, errno_of, mounted, wait_for

Program = Callable[[str], str]


def dicomfs(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DICOMFS, *arguments], capture_output=True, text=True, check=False, timeout=60, env=os.environ | environment
    )


def daemons(mountpoint: Path) -> list[int]:
    """Find the processes that serve a mount point, by their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"dicomfs" in words and os.fsencode(mountpoint) in words:
            found.append(int(place.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Give a mount point, and leave neither mount nor daemon behind."""
    mountpoint = tmp_path / "mnt"
    mountpoint.mkdir()
    yield mountpoint
    while subprocess.run(["fusermount3", "-uz", mountpoint], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        pass
    wait_for(lambda: not any(map(alive, daemons(mountpoint))))


def test_mount_returns_when_the_mount_answers(place: Path) -> None:
    done = dicomfs("mount", PYDICOM, place)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (place / "CT_small.dcm" / "header.json").stat().st_size > 1000
    (daemon,) = daemons(place)
    processes = [daemon, *children(daemon)]
    assert len(processes) >= 2
    assert os.getsid(daemon) == daemon
    assert dicomfs("umount", place).returncode == 0
    assert not os.path.ismount(place)
    wait_for(lambda: not any(map(alive, processes)))


def test_mount_point_may_be_relative(place: Path) -> None:
    archive = os.path.relpath(PYDICOM, place.parent)
    subprocess.run([*DICOMFS, "mount", archive, "mnt"], cwd=place.parent, check=True)
    assert (place / "CT_small.dcm").is_dir()


@pytest.mark.parametrize("end", ["SIGTERM", "SIGINT", "SIGHUP", "fusermount3 -u", "umount"])
@pytest.mark.parametrize("busy", [False, True])
def test_clean_ends(end: str, busy: bool, place: Path, tmp_path: Path) -> None:
    with mounted(PYDICOM, tmp_path) as mount:
        processes = [mount.process.pid, *children(mount.process.pid)]
        kept = open(mount.path / "CT_small.dcm" / "header.txt", "rb") if busy else None
        if end.startswith("SIG"):
            mount.process.send_signal(getattr(signal, end))
            assert mount.process.wait(10) == 0
            assert not os.path.ismount(mount.path)
        else:
            command = [*end.split(), str(mount.path)] if end != "umount" else [*DICOMFS, "umount", str(mount.path)]
            done = subprocess.run(command, capture_output=True, check=False)
            if busy:
                assert done.returncode != 0
                assert os.path.ismount(mount.path)
                assert kept
                kept.close()
                subprocess.run(command, check=True)
            assert mount.process.wait(10) == 0
        if kept:
            errno_of(kept.close)  # its file system is gone
        wait_for(lambda: not any(map(alive, processes)))


def test_an_end_does_not_wait_for_a_slow_reader(tmp_path: Path) -> None:
    with mounted(PYDICOM, tmp_path, "--workers", "1") as mount:
        (mount.path / "CT_small.dcm" / "frames" / "0001.png").read_bytes()
        (server,) = [pid for pid in children(mount.process.pid) if children(pid)]
        (worker,) = children(server)
        os.kill(worker, signal.SIGSTOP)
        reader = subprocess.Popen(["cat", mount.path / "MR_small.dcm/frames/0001.png"], stdout=-3, stderr=-3)
        wait_for(lambda: mount.statistics()["requests"] and Path(f"/proc/{reader.pid}/wchan").read_text() != "0")
        mount.process.send_signal(signal.SIGTERM)
        assert mount.process.wait(5) == 0
        assert reader.wait(5) != 0
        wait_for(lambda: not alive(worker))


def test_a_killed_daemon_is_cleared_away_and_mounted_again(place: Path) -> None:
    assert dicomfs("mount", PYDICOM, place).returncode == 0
    (place / "CT_small.dcm" / "frames" / "0001.png").read_bytes()
    (daemon,) = daemons(place)
    processes = [daemon, *children(daemon)]
    os.kill(daemon, signal.SIGKILL)
    wait_for(lambda: not any(map(alive, processes)))
    assert errno_of(lambda: os.listdir(place)) is not None
    # Mounting over the dead mount clears it first: nothing is stacked.
    assert dicomfs("mount", PYDICOM, place).returncode == 0
    assert (place / "CT_small.dcm").is_dir()
    (daemon,) = daemons(place)
    os.kill(daemon, signal.SIGKILL)
    wait_for(lambda: not alive(daemon))
    done = dicomfs("umount", place)
    assert (done.returncode, done.stderr) == (0, "")
    assert os.listdir(place) == []


def test_two_mounts_at_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with mounted(PYDICOM, tmp_path / "a") as first, mounted(PYDICOM, tmp_path / "b") as second:
        for name in ("frames/0001.png", "header.json", "original.dcm"):
            one = answer_of_path(first.path / "examples_palette.dcm" / name)
            assert one == answer_of_path(second.path / "examples_palette.dcm" / name)
            assert len(one) == 64
        first.process.terminate()
        first.process.wait(10)
        assert (second.path / "CT_small.dcm/frames/0001.png").read_bytes()


def test_a_single_file(tmp_path: Path, loop: Loop) -> None:
    file = tmp_path / "one.dcm"
    shutil.copy(PYDICOM / "CT_small.dcm", file)
    with mounted(file, tmp_path) as mount:
        assert (mount.path / "original.dcm").read_bytes() == file.read_bytes()
        assert (mount.path / "frames" / "0001.png").read_bytes().startswith(b"\x89PNG")
        old = os.stat(mount.path / "header.json").st_ino
        shutil.copy(PYDICOM / "MR_small.dcm", tmp_path / "new")
        os.rename(tmp_path / "new", file)
        wait_for(lambda: os.stat(mount.path / "header.json").st_ino != old)
        assert (mount.path / "original.dcm").read_bytes() == (PYDICOM / "MR_small.dcm").read_bytes()


@pytest.mark.parametrize("inside", ["", "below", "alias"])
def test_mounting_into_the_archive_is_refused(inside: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    (archive / "below").mkdir(parents=True)
    (tmp_path / "alias").symlink_to(archive / "below")
    mountpoint = tmp_path / "alias" if inside == "alias" else archive / inside
    done = dicomfs("mount", archive, mountpoint)
    assert done.returncode == 1
    assert "inside the archive" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not os.path.ismount(mountpoint)


def test_the_archive_may_be_below_the_mount_point(tmp_path: Path) -> None:
    archive = tmp_path / "mnt" / "archive"
    archive.mkdir(parents=True)
    shutil.copy(PYDICOM / "CT_small.dcm", archive)
    with mounted(archive, tmp_path) as mount:
        assert os.listdir(mount.path) == ["CT_small.dcm"]
        assert (mount.path / "CT_small.dcm/frames/0001.png").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["mount", "{}/missing", "{}/mnt"], 1, "missing: No such file"),
        (["mount", "{}", "{}/nowhere"], 1, "not a directory; make it with mkdir"),
        (["mount", "/dev/null", "{}/mnt"], 1, "neither a directory nor a regular file"),
        (["mount", "{}/text", "{}/mnt"], 1, "not a DICOM file"),
        (["mount", "{}", "{}/mnt", "-o", "nonsense"], 2, "-o nonsense is not known"),
        (["mount", "{}", "{}/mnt", "-o", "workers=0"], 2, "workers=0"),
        (["mount", "{}", "{}/mnt", "--workers", "none"], 2, "'none' is not a number"),
        (["mount", "{}"], 2, "MOUNTPOINT"),
        (["umount", "{}/mnt"], 1, "mnt is not mounted"),
        (["mount", "{}/archive", "{}/mnt", "-o", "context=impossible"], 1, "dicomfs doctor"),
        (["info", "{}/text"], 1, ""),
        (["info", "{}"], 2, "is a directory"),
        (["cat", "{}/missing"], 1, "No such file"),
        ([], 2, "VERB"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(arguments: list[str], code: int, words: str, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "archive").mkdir()
    (tmp_path / "text").write_text("text\n")
    done = dicomfs(*(argument.format(tmp_path) for argument in arguments))
    assert done.returncode == code, done
    assert words in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    if code == 1:
        assert len(done.stderr.splitlines()) <= 1


@pytest.mark.parametrize(
    "options",
    ["ro,noauto,user,_netdev,x-systemd.automount", "rw,dev,suid,workers=1,cache_memory=8M", "allow_other,fsname=name"],
)
def test_the_way_mount_8_calls_it(options: str, place: Path) -> None:
    done = dicomfs(PYDICOM, place, "-o", options)
    assert (done.returncode, done.stderr) == (0, "")
    assert (place / "CT_small.dcm").is_dir()


def test_mount_dash_t(place: Path, tmp_path: Path, program: Program) -> None:
    """mount(8) looks for us in the standard places only; this one has a /usr/local/bin of its own."""
    program("mount.fuse3")
    command = tmp_path / "bin" / "dicomfs"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m dicomfs "$@"\n')
    command.chmod(0o755)
    script = f"""
    mount --bind {command.parent} /usr/local/bin
    mount -t fuse.dicomfs {PYDICOM} {place} -o ro,noexec
    test -d {place}/CT_small.dcm/frames
    umount {place}
    """
    done = subprocess.run(
        [program("unshare"), "-m", "sh", "-e", "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    wait_for(lambda: not any(map(alive, daemons(place))))


def test_systemd_is_told(place: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        process = subprocess.Popen([*DICOMFS, "mount", "-f", PYDICOM, place], env=environment)
        assert systemd.recv(100) == b"READY=1"
        assert (place / "CT_small.dcm").is_dir()
        process.terminate()
        assert systemd.recv(100) == b"STOPPING=1"
        assert process.wait(10) == 0


def test_the_kernel_is_tuned(tmp_path: Path) -> None:
    with mounted(PYDICOM, tmp_path) as mount:
        mount.statistics()
        device = os.stat(mount.path).st_dev
        bdi = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
        wait_for(lambda: bdi.read_text().strip() == "1024")


def test_no_signal_comes_when_the_loop_has_ended(tmp_path: Path) -> None:
    """It would be written to a descriptor that is closed by then, which Python complains about on the terminal."""
    (tmp_path / "mnt").mkdir()
    command = [*script("beating"), "mount", "-f", PYDICOM, tmp_path / "mnt"]
    for end in range(3):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: os.path.ismount(tmp_path / "mnt"))
        if end:
            process.terminate()
        else:
            subprocess.run(["fusermount3", "-u", tmp_path / "mnt"], check=True)
        assert process.communicate(timeout=30)[1] == f"{beating.SAID}0.0\n"


@pytest.mark.soak
def test_fifty_mounts_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    for _ in range(50):
        process = subprocess.Popen([*DICOMFS, "mount", "-f", PYDICOM, tmp_path / "mnt"], stderr=subprocess.PIPE)
        wait_for(lambda: os.path.ismount(tmp_path / "mnt"))
        subprocess.run(["fusermount3", "-u", tmp_path / "mnt"], check=True)
        assert process.communicate(timeout=30)[1] == b""


def test_the_log_names_nobody(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(PYDICOM / "MR_truncated.dcm", source / "Doe^Jane.dcm")
    with mounted(source, tmp_path, warn=True) as mount:
        assert errno_of(lambda: (mount.path / "Doe^Jane.dcm/frames/0001.png").read_bytes())
        assert errno_of(lambda: (mount.path / "Roe^Richard.dcm").read_bytes())
        log = mount.log.read_text()
        assert "not in the file" in log
        assert "Doe" not in log
        assert "Roe" not in log
        assert stat_mode(mount.log) == 0o600


def stat_mode(path: Path) -> int:
    return os.stat(path).st_mode & 0o777
