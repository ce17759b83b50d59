"""How many processors this process may really use: what its affinity and the quotas of its control groups leave it."""

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath


def usable() -> int:
    """Count the processors that this process may keep busy, at least one.

    `os.cpu_count` counts those of the machine, also where `taskset`, systemd or a container allow fewer.
    """
    return max(1, math.ceil(min(len(os.sched_getaffinity(0)), quota(Path("/")))))


def quota(root: Path) -> float:
    """Return the number of processors that the control groups of this process allow; infinite without a limit.

    *root* holds `proc` and the hierarchies that `proc/self/mountinfo` names. Of all groups from that of the process up
    to the highest visible one, the lowest limit is in force (cgroups(7)).
    """
    limits = [
        limit
        for hierarchy, mounted_group, place in _hierarchies(root)
        for group in _groups(root, hierarchy)
        for limit in _limits(root / place.relative_to("/"), _below(mounted_group, group))
    ]
    return min(limits, default=math.inf)


def _hierarchies(root: Path) -> Iterator[tuple[str, PurePosixPath, PurePosixPath]]:
    """Find the hierarchies that may limit processor time: "" or "cpu", which group is mounted, and where."""
    for line in _lines(root / "proc/self/mountinfo"):
        mounted, _, kind = line.partition(" - ")
        fields, kinds = mounted.split(), kind.split()
        if len(fields) < 5 or not kinds:
            continue
        group, place = (PurePosixPath(_unescaped(field)) for field in fields[3:5])
        if kinds[0] == "cgroup2":
            yield "", group, place
        elif kinds[0] == "cgroup" and "cpu" in kinds[-1].split(","):
            yield "cpu", group, place


def _groups(root: Path, hierarchy: str) -> Iterator[PurePosixPath]:
    """Find the group of this process in a hierarchy: "" is the unified one of version 2."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = ([*line.split(":", 2), "", ""])[:3]
        if hierarchy in controllers.split(","):
            yield PurePosixPath(group)


def _below(mounted: PurePosixPath, group: PurePosixPath) -> PurePosixPath:
    """Return the path of *group* below the group that is *mounted*; in a container that may be the group itself."""
    return group.relative_to(mounted) if group.is_relative_to(mounted) else PurePosixPath()


def _limits(top: Path, below: PurePosixPath) -> Iterator[float]:
    """Read the limits of a group and of all visible groups above it."""
    group = top / below
    for folder in (group, *group.parents):
        # Version 2: "max 100000" or "150000 100000"; version 1: two files, with -1 for no limit.
        words = " ".join(_lines(folder / "cpu.max")).split() or [
            word for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us") for word in _lines(folder / name)
        ]
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
            yield int(words[0]) / int(words[1])
        if folder == top:
            return


def _lines(file: Path) -> list[str]:
    """Return the lines of a file of the kernel; none where it is absent or we may not read it."""
    try:
        return file.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return []


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", _character, field)


def _character(octal: re.Match[str]) -> str:
    return chr(int(octal[1], 8))
