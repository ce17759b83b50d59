"""Descriptors: what is kept open gives way, whoever needs one gets it, and a mount that has few serves all the same."""

import contextlib
import errno
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from support.archives import PYDICOM
from support.decoding import read_at
from support.large_archives import many_copies
from support.mounting import Mount, errno_of, mounted, wait_for

from dicomfs.cache.disk import DiskCache
from dicomfs.fuse.requester import Requester
from dicomfs.resources.descriptors import Descriptors, Kept
from dicomfs.sources.local import LocalSource
from dicomfs.sources.source import SourceChanged
from dicomfs.vfs.build_file import BuildFile
from dicomfs.vfs.builds import BuildCache


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd")) - 1


def nothing() -> int:
    return os.open(os.devnull, os.O_RDONLY)


def is_free(descriptor: int) -> bool:
    return errno_of(lambda: os.fstat(descriptor)) is not None


class Budget(RuleBasedStateMachine):
    """Whatever happens: never more open than the budget, no used one gives way, nothing is open twice or for ever."""

    MOST = 3

    def __init__(self) -> None:
        super().__init__()
        self.before = descriptors()
        self.budget = Descriptors(self.MOST)
        self.kept = [Kept() for _ in range(6)]
        self.used = [0] * 6

    numbers = st.integers(0, 5)

    @rule(number=numbers, must=st.booleans())
    def use(self, number: int, must: bool) -> None:
        kept = self.kept[number]
        if kept.closed:
            assert errno_of(lambda: self.budget.use(kept)) == errno.EBADF
            return
        descriptor = self.budget.use(kept)
        if descriptor < 0:
            full = sum(map(bool, self.used)) >= self.MOST
            assert self.budget.full() == full
            if must and full:
                assert errno_of(lambda: self.budget.adopt(kept, nothing(), must=True)) == errno.EMFILE
                return
            descriptor = self.budget.adopt(kept, nothing(), must=must)
        self.used[number] += 1
        os.fstat(descriptor)

    @rule(number=numbers)
    def adopt_a_second(self, number: int) -> None:
        if self.kept[number].closed:
            assert errno_of(lambda: self.budget.adopt(self.kept[number], nothing())) == errno.EBADF
        elif self.used[number]:
            self.budget.adopt(self.kept[number], nothing())
            self.used[number] += 1

    @rule(number=numbers)
    def done(self, number: int) -> None:
        if self.used[number]:
            self.used[number] -= 1
            self.budget.done(self.kept[number])
            if self.kept[number].closed and not self.used[number]:
                assert self.kept[number].descriptor < 0
                self.kept[number] = Kept()

    @rule(number=numbers)
    def close(self, number: int) -> None:
        self.budget.close(self.kept[number])
        if not self.used[number]:
            self.kept[number] = Kept()

    @rule()
    def give_way(self) -> None:
        there = any(kept.descriptor >= 0 and not used for kept, used in zip(self.kept, self.used, strict=True))
        assert self.budget.give_way() == there

    @invariant()
    def holds(self) -> None:
        there = [kept.descriptor for kept in self.kept if kept.descriptor >= 0]
        for kept, used in zip(self.kept, self.used, strict=True):
            if used:
                os.fstat(kept.descriptor)
        assert len(there) == self.budget.kept == descriptors() - self.before
        assert len(there) <= max(self.MOST, sum(map(bool, self.used)))

    def teardown(self) -> None:
        for kept, used in zip(self.kept, self.used, strict=True):
            self.budget.close(kept)
            for _ in range(used):
                self.budget.done(kept)
        assert descriptors() == self.before


TestBudget = Budget.TestCase
TestBudget.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


def test_what_was_used_longest_ago_gives_way_first() -> None:
    budget, kept = Descriptors(2), [Kept() for _ in range(3)]
    for each in kept[:2]:
        budget.adopt(each, nothing())
        budget.done(each)
    assert budget.use(kept[0]) >= 0
    budget.done(kept[0])
    budget.adopt(kept[2], nothing())
    assert [each.descriptor >= 0 for each in kept] == [True, False, True]
    for each in kept:
        budget.close(each)
    budget.done(kept[2])


@contextlib.contextmanager
def few(spare: int) -> Iterator[None]:
    """Let this process open only *spare* descriptors more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = 0
    while spare or not is_free(limit):
        spare -= is_free(limit)
        limit += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def full_budget(count: int) -> tuple[Descriptors, list[Kept]]:
    """Keep *count* descriptors that could give way."""
    budget, kept = Descriptors(1000), [Kept() for _ in range(count)]
    for each in kept:
        budget.adopt(each, nothing())
        budget.done(each)
    return budget, kept


OPENERS: dict[str, Callable[[LocalSource, Descriptors], object]] = {
    "list": lambda source, _: source.entries(b"a"),
    "look up": lambda source, _: source.entry(b"a", b"link.dcm"),
    "stat": lambda source, _: source.directory(b"a"),
    "open": lambda source, _: source.open(b"a/x.dcm", source.entry(b"a", b"x.dcm").fingerprint).pread(4, 128),
    "build": lambda _, budget: BuildFile(None, budget).discard(),
}


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("spare", range(4))
def test_whatever_needs_a_descriptor_gets_one_of_those_that_are_only_kept(
    opener: str, spare: int, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.dcm").write_bytes((PYDICOM / "CT_small.dcm").read_bytes())
    (tmp_path / "a/link.dcm").symlink_to("x.dcm")
    budget, kept = full_budget(30)
    source = LocalSource(tmp_path, budget)
    right = OPENERS[opener](source, budget)
    for each in kept:
        budget.close(each)
    more, kept = full_budget(30)
    source.close()
    source = LocalSource(tmp_path, more)
    with few(spare):
        assert OPENERS[opener](source, more) == right
    for each in kept:
        more.close(each)
    source.close()


@pytest.mark.parametrize("spare", [0, 3, *(pytest.param(each, marks=pytest.mark.slow) for each in (1, 2, 4, 5))])
def test_a_file_is_no_other_one_when_descriptors_are_short(spare: int, tmp_path: Path) -> None:
    """Asking what a file system is like needs descriptors, too; what it is like must not be guessed then."""
    (tmp_path / "x.dcm").write_bytes((PYDICOM / "CT_small.dcm").read_bytes())
    usual = LocalSource(tmp_path)
    right = usual.entry(b"", b"x.dcm").identity
    usual.close()
    source = LocalSource(tmp_path)
    with few(spare), contextlib.suppress(OSError):
        assert source.entry(b"", b"x.dcm").identity == right
    assert source.entry(b"", b"x.dcm").identity == right
    source.close()


def test_a_thread_waits_for_the_descriptor_that_another_gives_back() -> None:
    budget = Descriptors(10)
    with few(1):
        held = nothing()
        timer = threading.Timer(0.1, os.close, [held])
        timer.start()
        os.close(budget.opening(nothing))
        timer.join()
        held = nothing()
        assert errno_of(lambda: budget.opening(nothing)) == errno.EMFILE
        assert errno_of(lambda: budget.opening_at_once(nothing)) == errno.EMFILE
        os.close(held)


def test_an_open_file_is_opened_again_and_is_the_same_version_or_none(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).write_bytes(name.encode() * 100_000)
    budget = Descriptors(10)
    source = LocalSource(tmp_path, budget)
    files = [source.open(name, source.entry(b"", name).fingerprint) for name in (b"x", b"y")]
    for _ in range(3):
        assert budget.give_way()
        assert not any(file.is_open for file in files)
        assert files[0].pread_cached(5, 3) is None
        assert [file.pread(5, 3) for file in files] == [b"xxxxx", b"yyyyy"]
        assert bytes(files[0].pread_cached(5, 3) or b"xxxxx") == b"xxxxx"
    os.rename(tmp_path / "y", tmp_path / "x")
    budget.give_way()
    for file in files:
        with pytest.raises((SourceChanged, FileNotFoundError)):
            file.pread(5, 3)
        file.close()
        assert errno_of(lambda file=file: file.pread(5, 3)) == errno.EBADF
    source.close()


def test_readers_in_many_threads_share_one_descriptor_that_comes_and_goes(tmp_path: Path) -> None:
    data = os.urandom(1 << 20)
    (tmp_path / "x").write_bytes(data)
    budget = Descriptors(1)
    source = LocalSource(tmp_path, budget)
    before = descriptors()
    file = source.open(b"x", source.entry(b"", b"x").fingerprint)
    other = source.open(b"x", source.entry(b"", b"x").fingerprint)
    wrong: list[object] = []

    def read(number: int) -> None:
        for turn in range(200):
            at = (number * 7919 + turn * 104_729) % len(data)
            each = other if turn % 3 else file
            if each.pread(100, at) != data[at : at + 100]:
                wrong.append(at)
            if turn % 10 == 0:
                budget.give_way()

    threads = [threading.Thread(target=read, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert descriptors() <= before + 1
    file.close()
    other.close()
    assert descriptors() == before
    source.close()


@pytest.mark.parametrize("cached", [False, True])
def test_built_files_give_way_and_are_built_again(cached: bool, tmp_path: Path) -> None:
    begun: list[int] = []

    async def act() -> None:
        budget = Descriptors(4)
        cache = DiskCache(str(tmp_path), 1 << 20) if cached else None
        builds = BuildCache(1 << 20, 2, cache, budget)

        async def read(number: int) -> None:
            async def build(file: object) -> None:
                begun.append(number)
                file.write(b"%d" % number)  # type: ignore[attr-defined]

            async def name() -> bytes:
                return bytes([number] * 20)

            content = await builds.open(bytes([number]), build, name=name)
            assert bytes(await read_at(content, 0, 10)) == b"%d" % number
            content.close()

        for number in range(40):
            await read(number)
            assert budget.kept <= 4
            assert builds.idle_files <= 5
        for number in (39, 38, 0, 39):
            await read(number)
        assert begun == ([*range(40)] if cached else [*range(40), 0])
        assert builds.size(bytes(1)) == 1  # once told
        builds.close()
        assert budget.kept == 0
        if cache:
            cache.close()

    before = descriptors()
    trio.run(act)
    assert descriptors() == before


def test_built_files_that_are_held_leave_the_others_alone() -> None:
    """Who opens too many gets EMFILE; files of the source, which can be opened again, work on."""

    async def act() -> None:
        budget = Descriptors(4)
        builds = BuildCache(1 << 20, 2, None, budget)
        begun: list[int] = []

        async def build(file: object) -> None:
            begun.append(1)
            file.write(b"built")  # type: ignore[attr-defined]

        held = [await builds.open(bytes([number]), build) for number in range(4)]
        for number in (4, 5):
            with pytest.raises(OSError) as caught:  # noqa: PT011 - the number follows
                await builds.open(bytes([number]), build)
            assert caught.value.errno == errno.EMFILE
        assert len(begun) == 4  # nothing is built in vain
        again = await builds.open(bytes([2]), build)
        assert bytes(await again.read(0, 5)) == b"built"
        source = LocalSource(PYDICOM / "CT_small.dcm", budget)
        file = source.open(b"CT_small.dcm", source.root_entry().fingerprint)
        assert [file.pread(4, 128) for _ in range(3)] == [b"DICM"] * 3
        assert not file.is_open
        again.close()
        held.pop().close()
        (await builds.open(bytes([4]), build)).close()
        for content in held:
            content.close()
        file.close()
        source.close()
        builds.close()

    before = descriptors()
    trio.run(act)
    assert descriptors() == before


def test_a_client_that_cannot_be_looked_at_still_waits() -> None:
    client = Requester(os.getpid())
    assert client.is_waiting()
    with few(0):
        assert client.is_waiting()
        assert Requester(os.getpid()).is_waiting()


def files_of(directory: Path) -> Iterator[Path]:
    """Give all files of an object, and those that are not listed but open by name."""
    for top in (directory, directory / "transcoded"):
        for place, folders, names in os.walk(top):
            if top == directory and place == str(directory) and "transcoded" in folders:
                folders.remove("transcoded")
            yield from (Path(place, name) for name in sorted(names))


def read_everything(mount: Mount, objects: list[Path]) -> int:
    read = 0
    for folder in objects:
        for path in files_of(folder):
            assert len(path.read_bytes()) == path.stat().st_size, path
            read += 1
    return read


def limited(archive: Path, place: Path, limit: int) -> "contextlib.AbstractContextManager[Mount]":
    return mounted(archive, place, under=("prlimit", f"--nofile={limit}:{limit}"))


def check_with_few(tmp_path: Path, limit: int, count: int) -> None:
    archive = many_copies(tmp_path / "archive", count, directory_size=20)
    with limited(archive, tmp_path, limit) as mount:
        objects = sorted(mount.path.glob("*/*"))
        assert len(objects) == count
        assert read_everything(mount, objects) > 15 * count
        for folder in sorted(mount.path.iterdir()):
            assert len(os.listdir(folder)) == min(20, count)
        # Far more handles than descriptors, of what can be opened again.
        with contextlib.ExitStack() as stack:
            handles = [stack.enter_context(open(folder / "original.dcm", "rb")) for folder in objects for _ in range(4)]
            handles += [stack.enter_context(open(folder / "native.dcm", "rb")) for folder in objects]
            assert {handle.read(200)[128:132] for handle in handles} == {b"DICM"}
            assert len(os.listdir(f"/proc/{mount.process.pid}/fd")) < limit
            assert len(os.listdir(mount.path / "0000")) == min(20, count)
            assert (objects[0] / "frames/0001.png").read_bytes()
        assert not mount.warnings()


def test_a_mount_with_few_descriptors(tmp_path: Path) -> None:
    check_with_few(tmp_path, 128, 60)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_two_thousand_objects_with_256_descriptors(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        check_with_few(tmp_path, 256, 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
def test_who_holds_too_many_copies_is_refused_and_nobody_else(tmp_path: Path) -> None:
    archive = many_copies(tmp_path / "archive", 120, directory_size=20)
    with mounted(archive, tmp_path, under=("prlimit", "--nofile=128:128"), warn=True) as mount:
        objects, held, refused = sorted(mount.path.glob("*/*")), [], []
        for folder in objects:
            copy = next(path for path in files_of(folder) if "transcoded" in path.parts)
            try:
                held.append(os.open(copy, os.O_RDONLY))
            except OSError as error:
                refused.append(error.errno)
        assert set(refused) == {errno.EMFILE}
        assert len(held) >= 10
        for folder in objects[:30]:
            assert (folder / "frames/0001.png").read_bytes()
            assert (folder / "original.dcm").read_bytes()
            assert len(os.listdir(folder.parent)) == 20
        for descriptor in held:
            assert os.pread(descriptor, 4, 128) == b"DICM"
            os.close(descriptor)
        wait_for(lambda: errno_of(lambda: open(copy, "rb").close()) is None)


def test_the_limit_is_raised(tmp_path: Path) -> None:
    with mounted(PYDICOM / "CT_small.dcm", tmp_path, under=("prlimit", "--nofile=200:5000")) as mount:
        limits = Path(f"/proc/{mount.process.pid}/limits").read_text()
        assert [line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")] == [
            ["5000", "5000"]
        ]


def test_the_budget_follows_the_limit() -> None:
    program = "from dicomfs.resources.descriptors import Descriptors; print(Descriptors.of_process(2)._most)"
    found = {}
    for limit in (64, 256, 1024, 4096, 1_000_000):
        soft = min(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        command = ["prlimit", f"--nofile={soft}", sys.executable, "-c", program]
        found[limit] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert 8 <= found[64] <= 16
    assert 32 <= found[256] <= 128
    assert 690 <= found[1024] < 720
    assert list(found.values()) == sorted(found.values())
    assert found[1_000_000] <= 16_384
