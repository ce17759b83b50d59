"""How many processors we may use: affinity and control groups as the kernel has them, and trees like others'."""

import contextlib
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicomfs.resources.processors import quota, usable

COUNT = "from dicomfs.resources.processors import usable; print(usable())"
DEFAULT = (
    "from dicomfs.cli.main import VERBS; from dicomfs.cli.parser import parse;"
    " print(parse(['cat', 'x'], VERBS).workers)"
)
UNIFIED = "31 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
ROOT = "24 1 259:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n"


def machine(root: Path, mounts: str, groups: str, files: dict[str, str]) -> Path:
    """Make what the kernel would show: mount table, groups of the process, files of the groups."""
    process = root / "proc" / "self"
    process.mkdir(parents=True)
    (process / "mountinfo").write_text(ROOT + mounts)
    (process / "cgroup").write_text(groups)
    for name, text in files.items():
        place = root / "sys/fs/cgroup" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    return root


V1 = "33 25 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid - cgroup cgroup rw,cpu,cpuacct\n"


@pytest.mark.parametrize(
    ("mounts", "groups", "files", "allowed"),
    [
        # systemd: a service with CPUQuota=150%
        (UNIFIED, "0::/system.slice/a.service\n", {"system.slice/a.service/cpu.max": "150000 100000\n"}, 1.5),
        # a slice above it allows less
        (
            UNIFIED,
            "0::/a.slice/b.service\n",
            {"a.slice/b.service/cpu.max": "400000 100000\n", "a.slice/cpu.max": "50000 50000\n"},
            1,
        ),
        # no limit, in words; the highest group has no such file
        (UNIFIED, "0::/a.slice\n", {"a.slice/cpu.max": "max 100000\n"}, math.inf),
        # a container with a namespace of its own: its group is the root
        (UNIFIED, "0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        # a container that sees the group of the host, of which only its own is mounted
        (
            UNIFIED.replace("0:27 / ", "0:27 /docker/abc "),
            "0::/docker/abc\n",
            {"cpu.max": "300000 100000\n"},
            3,
        ),
        (UNIFIED.replace("0:27 / ", "0:27 /docker/abc "), "0::/docker/abc/x\n", {"x/cpu.max": "100000 100000"}, 1),
        # a group outside what is mounted
        (UNIFIED.replace("0:27 / ", "0:27 /docker/abc "), "0::/other\n", {"cpu.max": "300000 100000\n"}, 3),
        # a blank in the name of a group is written as it is in one file and in octal in the other
        (
            UNIFIED.replace("0:27 / ", "0:27 /a\\040b "),
            "0::/a b/c\n",
            {"c/cpu.max": "100000 100000\n", "cpu.max": "max 100000\n"},
            1,
        ),
        # version 1
        (
            V1,
            "5:cpu,cpuacct:/docker/abc\n4:memory:/other\n",
            {
                "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "250000\n",
                "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
                "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        # both at once (hybrid): the lower one is in force
        (
            UNIFIED.replace("/sys/fs/cgroup ", "/sys/fs/cgroup/unified ") + V1,
            "5:cpu,cpuacct:/a\n0::/b\n",
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": "400000\n",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
                "unified/b/cpu.max": "300000 100000\n",
            },
            3,
        ),
        # a controller that only begins like ours
        (V1.replace("rw,cpu,cpuacct", "rw,cpuset"), "5:cpuset:/a\n", {"cpu,cpuacct/cpu.max": "1 1\n"}, math.inf),
        # nonsense limits nothing
        (UNIFIED, "0::/a\n", {"a/cpu.max": "many 0\n", "cpu.max": "100000 0\n"}, math.inf),
        (UNIFIED, "0::/a\n", {"a/cpu.max": "", "cpu.max": "-5 100000\n"}, math.inf),
        ("short line\n", "nothing\n\n", {}, math.inf),
    ],
)
def test_quotas_of_control_groups(
    tmp_path: Path, mounts: str, groups: str, files: dict[str, str], allowed: float
) -> None:
    assert quota(machine(tmp_path, mounts, groups, files)) == allowed


def test_a_machine_without_control_groups_limits_nothing(tmp_path: Path) -> None:
    assert quota(tmp_path) == math.inf


def test_what_taskset_allows_is_what_we_use(program: Callable[[str], str]) -> None:
    one = str(min(os.sched_getaffinity(0)))
    for script in (COUNT, DEFAULT):
        command = [program("taskset"), "-c", one, sys.executable, "-c", script]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"
    assert 1 <= usable() <= len(os.sched_getaffinity(0))


@contextlib.contextmanager
def group_of_one_processor() -> Iterator[Path]:
    """Make a real control group that may use one processor, of whichever version there is."""
    for top, files in (
        (Path("/sys/fs/cgroup"), {"cpu.max": "100000 100000"}),
        (Path("/sys/fs/cgroup/cpu"), {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "100000"}),
    ):
        group = top / f"dicomfs-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            if all((group / name).exists() for name in files):
                for name, text in files.items():
                    (group / name).write_text(text)
                yield group
                return
        finally:
            group.rmdir()
    pytest.skip("this user may not make a control group that limits processor time")


def test_a_real_quota_is_what_we_use() -> None:
    with group_of_one_processor() as group:
        join = f"import os; open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid())); "
        for script in (COUNT, DEFAULT):
            command = [sys.executable, "-c", join + script]
            assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"
