"""Builds without a mount: one for all who wait, cancelled with the last, kept within a budget, never half a file."""

import errno
import math
import os
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from support.decoding import read_at

from dicomfs.cache.disk import DiskCache
from dicomfs.resources.descriptors import Descriptors
from dicomfs.sources.source import Version
from dicomfs.vfs import builds as builds_module
from dicomfs.vfs.build_file import BuildFile
from dicomfs.vfs.builds import (
    LINGER_SECONDS,
    POLL_SECONDS,
    BuildCache,
    BuildFailed,
    BuildUnfinished,
    Name,
    OpenAbandoned,
    build_key,
    lasting_key,
)

Build = Callable[[BinaryIO], Awaitable[None]]


def builder(data: bytes, seconds: float = 0.0, begun: list[bytes] | None = None) -> Build:
    """Make a builder that writes *data* in two parts and takes some seconds in between."""

    async def build(file: BinaryIO) -> None:
        if begun is not None:
            begun.append(data)
        file.write(data[: len(data) // 2])
        await trio.sleep(seconds)
        file.write(data[len(data) // 2 :])

    return build


async def forbidden(file: BinaryIO) -> None:
    raise AssertionError("built again")


async def read(builds: BuildCache, key: bytes, build: Build, name: Name | None = None) -> bytes:
    content = await builds.open(key, build, name=name)
    try:
        return bytes(await read_at(content, 0, content.size))
    finally:
        content.close()


async def settled(builds: BuildCache) -> None:
    """Wait for builds that nobody waits for; the clock jumps ahead of their threads."""
    while builds.under_way:
        await trio.sleep(1)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def run(act: Callable[[], Awaitable[None]]) -> None:
    """Run with a clock that jumps; no descriptor may be left."""
    before = descriptors()
    trio.run(act, clock=trio.testing.MockClock(autojump_threshold=0))
    assert descriptors() == before


def test_a_second_reader_needs_no_second_build() -> None:
    async def act() -> None:
        builds = BuildCache(1000, 2)
        assert await read(builds, b"a", builder(b"12345")) == b"12345"
        assert await read(builds, b"a", forbidden) == b"12345"
        assert builds.size(b"a") == 5
        assert builds.size(b"b") is None
        builds.close()

    run(act)


def test_the_file_can_be_written_anywhere_and_read_back() -> None:
    async def build(file: BinaryIO) -> None:
        assert file.seekable()
        assert file.readable()
        file.write(b"header" + bytes(3_000_000))
        assert file.tell() == 3_000_006
        file.seek(0)
        assert file.read(6) == b"header"
        file.seek(-3, os.SEEK_END)
        file.write(b"end and more")
        file.truncate(2_000_000)
        file.seek(0)
        await trio.to_thread.run_sync(file.write, b"HEAD")

    async def act() -> None:
        builds = BuildCache(0, 2)
        assert await read(builds, b"a", build) == b"HEADer" + bytes(1_999_994)

    run(act)


def test_slices() -> None:
    data = os.urandom(300_000)

    async def act() -> None:
        builds = BuildCache(0, 1)
        content = await builds.open(b"a", builder(data))
        for offset, length in ((0, 1), (299_999, 10), (300_000, 5), (100_000, 150_000), (0, 10**9)):
            assert bytes(await read_at(content, offset, length)) == data[offset : offset + length]
        content.close()

    run(act)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 30),
    st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from(["value", "error", "cancel", "unwanted", "late"]), st.integers(0, 5)
        ),
        max_size=20,
    ),
)
def test_promises_among_concurrent_openers(limit: int, calls: list[tuple[int, str, int]]) -> None:
    """Whoever stays gets the content or the error; at most one build a key runs; unwanted ones end; no file is left."""
    making = dict.fromkeys(range(4), 0)
    outcomes: list[object] = []

    async def act() -> None:
        builds = BuildCache(limit, 2)

        async def call(number: int, fate: str, delay: int) -> None:
            data = bytes(10 + number)

            async def build(file: BinaryIO) -> None:
                making[number] += 1
                assert making[number] == 1
                try:
                    file.write(data)
                    await trio.sleep(3.5)
                    if fate == "error":
                        raise OSError(errno.EIO, "no")
                finally:
                    making[number] -= 1

            await trio.sleep(delay)
            start = trio.current_time()
            limit = 1.7 if fate == "late" else math.inf
            with trio.move_on_after(1.2 if fate == "cancel" else 1e9) as scope:
                try:
                    content = await builds.open(bytes([number]), build, lambda: fate != "unwanted", limit)
                except BuildUnfinished:
                    outcomes.append(fate == "late" and trio.current_time() - start == pytest.approx(limit))
                except OpenAbandoned:
                    outcomes.append(fate == "unwanted" and trio.current_time() - start >= POLL_SECONDS)
                except OSError as error:
                    outcomes.append(error.strerror == "no")
                else:
                    try:
                        await trio.sleep(1)
                        outcomes.append(bytes(await read_at(content, 0, 100)) == data)
                    finally:
                        content.close()
            if scope.cancelled_caught:
                outcomes.append(fate == "cancel")

        async with trio.open_nursery() as nursery:
            for arguments in calls:
                nursery.start_soon(call, *arguments)
        await settled(builds)
        await trio.testing.wait_all_tasks_blocked()
        assert not any(making.values())
        builds.close()

    run(act)
    assert all(outcomes)


def test_the_last_opener_that_leaves_ends_the_build() -> None:
    async def act() -> None:
        builds = BuildCache(1000, 2)
        ended = trio.Event()

        async def build(file: BinaryIO) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ended.set()

        wanted = {1, 2}
        async with trio.open_nursery() as nursery:
            for number in (1, 2):

                async def open_it(number: int = number) -> None:
                    with pytest.raises(OpenAbandoned) as error:
                        await builds.open(b"a", build, lambda: number in wanted)
                    assert error.value.errno == errno.EINTR

                nursery.start_soon(open_it)
            await trio.sleep(5 * POLL_SECONDS)
            wanted.remove(1)
            await trio.sleep(5 * POLL_SECONDS)
            assert not ended.is_set()
            wanted.remove(2)
            await ended.wait()
        assert builds.stats.cancelled == builds.stats.begun == 1
        assert await read(builds, b"a", builder(b"again")) == b"again"
        builds.close()

    run(act)


@pytest.mark.parametrize("cached", [False, True], ids=["kept", "cache"])
def test_a_build_that_takes_too_long_goes_on_and_is_kept(cached: bool, tmp_path: Path) -> None:
    async def act() -> None:
        cache = DiskCache(str(tmp_path), 10_000) if cached else None
        builds = BuildCache(1000, 1, cache)
        slow = builder(b"12345", 100)
        for _ in range(3):
            start = trio.current_time()
            with pytest.raises(BuildUnfinished) as error:
                await builds.open(b"a" * 20, slow, limit=20)
            assert error.value.errno == errno.ETIMEDOUT
            assert trio.current_time() - start == pytest.approx(20)
        with pytest.raises(OpenAbandoned):  # nor does it end with one who leaves after that
            await builds.open(b"a" * 20, slow, lambda: False)
        await settled(builds)
        assert (builds.stats.begun, builds.stats.cancelled) == (1, 0)
        assert builds.size(b"a" * 20) == 5
        assert await read(builds, b"a" * 20, forbidden) == b"12345"
        builds.close()
        if cache:
            cache.close()

    run(act)


@pytest.mark.expects_log
def test_a_build_that_takes_too_long_and_fails_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async def fails(file: BinaryIO) -> None:
        await trio.sleep(10)
        raise OSError(errno.EIO, "no such luck")

    async def act() -> None:
        builds = BuildCache(1000, 1)
        with pytest.raises(BuildUnfinished):
            await builds.open(b"a", fails, limit=5)
        await settled(builds)
        assert builds.stats.failed == 1
        assert await read(builds, b"a", builder(b"12345")) == b"12345"
        builds.close()

    run(act)
    assert "no such luck" in caplog.text


def test_what_is_too_large_to_be_kept_waits_for_who_has_asked_for_its_size() -> None:
    async def act() -> None:
        builds = BuildCache(3, 1)
        builds.close_soon(await builds.open(b"a", builder(b"12345")))
        await trio.sleep(LINGER_SECONDS / 2)
        assert await read(builds, b"a", forbidden) == b"12345"
        await trio.sleep(LINGER_SECONDS)
        begun: list[bytes] = []
        assert await read(builds, b"a", builder(b"12345", 0, begun)) == b"12345"
        assert begun

    run(act)


def test_a_builder_that_will_not_end_harms_no_later_one() -> None:
    """A new build of the same key begins while the old one still ignores that it is cancelled."""

    async def stubborn(file: BinaryIO) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(100)
        file.write(b"old")

    async def act() -> None:
        builds = BuildCache(1000, 2)
        with trio.move_on_after(1):
            await builds.open(b"a", stubborn)
        content = await builds.open(b"a", builder(b"new"))
        await trio.sleep(200)
        assert bytes(await read_at(content, 0, 10)) == b"new"
        content.close()
        assert await read(builds, b"a", forbidden) == b"new"
        builds.close()

    run(act)


class Panic(BaseException):
    pass


@pytest.mark.expects_log
@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.ENOTCONN, "x"), errno.ENOTCONN),
        (ValueError("secret^patient"), errno.EIO),
        (Panic("secret^patient"), errno.EIO),
        (SystemExit(3), errno.EIO),
        (KeyboardInterrupt(), errno.EIO),
        (GeneratorExit(), errno.EIO),
        (ExceptionGroup("", [ExceptionGroup("", [OSError(errno.EBADMSG, "x")])]), errno.EBADMSG),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_builder_raises_is_an_oserror(
    error: BaseException, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def build(file: BinaryIO) -> None:
        file.write(b"half")
        raise error

    async def act() -> None:
        builds = BuildCache(1000, 2)
        for _ in range(2):
            with pytest.raises(OSError) as caught:  # noqa: PT011 - all there is
                await builds.open(b"a", build)
            assert caught.value.errno == number
        assert builds.stats.failed == 2
        assert builds.size(b"a") is None
        assert await read(builds, b"a", builder(b"right")) == b"right"
        builds.close()

    run(act)
    assert "secret" not in caplog.text


def test_nothing_built_is_a_failure() -> None:
    async def act() -> None:
        builds = BuildCache(1000, 2)
        with pytest.raises(BuildFailed):
            await builds.open(b"a", builder(b""))

    run(act)


def test_the_budget() -> None:
    """What nobody has open stays within the limit, what is open does not count, what is too large evicts nothing."""

    async def act() -> None:
        builds = BuildCache(10, 2)
        content = await builds.open(b"held", builder(bytes(100)))
        for key in (b"a", b"b", b"c"):
            await read(builds, key, builder(bytes(4)))
        await read(builds, b"big", builder(bytes(11)))
        begun: list[bytes] = []
        for key in (b"b", b"c", b"held"):
            await read(builds, key, builder(b"rebuilt", 0, begun))
        assert not begun
        await read(builds, b"a", builder(bytes(4), 0, begun))
        assert len(begun) == 1
        content.close()
        builds.close()

    run(act)


def test_no_more_builds_at_once_than_allowed() -> None:
    running, most = 0, 0

    async def build(file: BinaryIO) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(1)
        file.write(b"x")
        running -= 1

    async def act() -> None:
        builds = BuildCache(1000, 3)
        async with trio.open_nursery() as nursery:
            for key in range(10):
                nursery.start_soon(read, builds, bytes([key]), build)
        assert most == 3
        builds.close()

    run(act)


def test_a_full_disk_takes_what_was_only_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """When temporary space is short, files that nobody has open make way."""
    right = os.write
    full = True

    def write(descriptor: int, data: bytes) -> int:
        if full and len(data) == 50:
            raise OSError(errno.ENOSPC, "full")
        return right(descriptor, data)

    async def act() -> None:
        nonlocal full
        builds = BuildCache(1000, 2)
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(OSError, match="full"):
            await read(builds, b"none to drop", builder(bytes(50)))
        await read(builds, b"kept", builder(bytes(60)))
        before = descriptors()

        async def heals(file: BinaryIO) -> None:
            nonlocal full
            full = descriptors() > before  # the kept file is still there
            file.write(bytes(50))

        assert await read(builds, b"a", heals) == bytes(50)
        builds.close()

    run(act)


def test_with_a_disk_cache(tmp_path: Path) -> None:
    """A result outlives the builds object under its lasting name, and costs no descriptor while nobody reads."""

    async def name() -> bytes:
        return b"n" * 20

    async def act() -> None:
        for attempt in range(2):
            cache = DiskCache(str(tmp_path), 10_000)
            builds = BuildCache(1000, 2, cache)
            assert builds.size(b"a") is None  # asking for that costs no disk access
            before = descriptors()
            assert await read(builds, b"a", forbidden if attempt else builder(b"abc" * 100), name) == b"abc" * 100
            assert descriptors() == before
            assert builds.size(b"a") == 300
            assert await read(builds, b"a", forbidden, name) == b"abc" * 100
            builds.close()
            cache.close()

    run(act)


def test_an_abandoned_thread_writes_into_nothing() -> None:
    """What a builder left behind writes when its file is gone must not reach a file that got its number."""
    go, done = threading.Event(), threading.Event()

    def late(file: BinaryIO) -> None:
        go.wait(10)
        file.write(bytes(5_000_000))
        done.set()

    async def build(file: BinaryIO) -> None:
        await trio.to_thread.run_sync(late, file, abandon_on_cancel=True)

    async def act() -> None:
        builds = BuildCache(1000, 2)
        with trio.move_on_after(1):
            await builds.open(b"a", build)
        content = await builds.open(b"b", builder(b"right"))
        go.set()
        assert await trio.to_thread.run_sync(done.wait, 10)
        assert bytes(await read_at(content, 0, 100)) == b"right"
        content.close()
        builds.close()

    run(act)


@pytest.mark.parametrize("call", ["lseek", "ftruncate", "readv", "write"])
def test_a_file_that_is_built_is_not_discarded_under_a_call(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An abandoned thread may be in it: its number would be another file's by then."""
    right, discarded = getattr(os, call), []
    spool = BuildFile(None, Descriptors(10))
    spool.write(b"12345")

    def slow(*arguments: object) -> object:
        thread = threading.Thread(target=lambda: discarded.append(spool.discard()))
        thread.start()
        thread.join(0.2)
        discarded.append(thread.is_alive())
        return right(*arguments)

    acts: dict[str, Callable[[], object]] = {
        "lseek": lambda: spool.seek(2),
        "ftruncate": lambda: spool.truncate(2),
        "readv": lambda: spool.readinto(bytearray(3)),
        "write": lambda: spool.write(b"6"),
    }
    with monkeypatch.context() as patched:
        patched.setattr(os, call, slow)
        acts[call]()
    while len(discarded) < 2:
        time.sleep(0.01)
    assert discarded[0] is True
    assert acts["write"]() == 1  # into nothing
    for other in ("lseek", "ftruncate", "readv"):
        with pytest.raises(OSError, match="Bad file descriptor"):
            acts[other]()


def test_keys_tell_versions_and_recipes_apart() -> None:
    one = bytes((1, 2, 3, 4, 5))
    others = [
        bytes([value + (place == changed) for place, value in enumerate((1, 2, 3, 4, 5))]) for changed in range(5)
    ]
    versions = [Version(path, fingerprint) for path in (b"a", b"b") for fingerprint in (one, *others)]
    keys = {build_key(version, name) for version in versions for name in ("a", "b")}
    assert len(keys) == 24
    assert {len(key) for key in keys} == {20}


def test_lasting_keys_tell_contents_recipes_and_editions_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for edition in ("codec 1", "codec 2"):
        monkeypatch.setattr(builds_module, "edition", lambda edition=edition: edition)
        keys |= {lasting_key(content, name) for content in (b"1", b"2") for name in ("a", "b")}
    assert len(keys) == 8
    assert {len(key) for key in keys} == {20}
