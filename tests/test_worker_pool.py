"""The pool of decoding processes: right bytes, and what happens when processes are killed, stopped or lie."""

import contextlib
import functools
import io
import math
import os
import pickle
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import trio
from support.builders import dicom, encapsulated, image
from support.decoding import Wanted
from support.mounting import files_below, read_all

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.formats.png import chunk, png_size
from dicomfs.instance.services import MountServices
from dicomfs.rendering.render import Display
from dicomfs.sources.local import LocalSource
from dicomfs.tree.mirror import root
from dicomfs.workers import decoder_process, pool, processes
from dicomfs.workers.decoder_process import ANSWER, Task
from dicomfs.workers.frame_cache import FrameCache
from dicomfs.workers.pool import DecodeError, NoAnswer, WorkerPool
from dicomfs.workers.prefetcher import Prefetcher
from dicomfs.workers.processes import Buffer

NATIVE, JPEG2000, JPEGLS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"


def grey(rows: int, columns: int, syntax: str = NATIVE, bits: int = 16) -> PixelFormat:
    """Describe grey frames."""
    return PixelFormat(rows, columns, 1, bits, bits, bits - 1, False, "MONOCHROME2", False, syntax)


def stored(fmt: PixelFormat) -> Task:
    """Ask for the stored values of a frame."""
    return Task(fmt, 0, "stored", None, fmt.pixels * fmt.dtype.itemsize)


SMALL = stored(grey(4, 4))
FRAME = bytes(range(32))


@functools.cache
def noise() -> tuple[Task, bytes, bytes]:
    """Give a task that keeps a decoder busy for a good part of a second, its data and the right answer.

    One decoder alone reads JPEG-LS, so that no other is asked where that one ends.
    """
    values = np.random.default_rng(1).integers(0, 65536, (2048, 2048), np.uint16)
    encoded = bytes(imagecodecs.jpegls_encode(values, out=2 * values.nbytes))
    return stored(grey(2048, 2048, JPEGLS)), encoded, values.tobytes()


def fields(pid: int) -> list[str] | None:
    """Read /proc/PID/stat from the state on: state, parent, ...; None when the process has ended."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    rest = text.rpartition(")")[2].split()
    return None if rest[0] in "ZX" else rest


def children(parent: int) -> list[int]:
    """List the living children of process *parent*."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return sorted(pid for pid in pids if (rest := fields(pid)) is not None and int(rest[1]) == parent)


def servers(daemon: int) -> list[int]:
    """List the fork servers of process *daemon*."""
    module = b"dicomfs.workers.decoder_process"
    return [pid for pid in children(daemon) if module in Path(f"/proc/{pid}/cmdline").read_bytes()]


def workers(daemon: int | None = None) -> list[int]:
    """List the workers of process *daemon*, or of this one."""
    return [pid for server in servers(daemon or os.getpid()) for pid in children(server)]


async def until(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds; the test's time limit ends a vain wait."""
    while not condition():
        await trio.sleep(0.005)


def computing(decoder: WorkerPool) -> list[int]:
    """List the workers that compute while a task is with one; a new one computes before it is ready, too."""
    states = {pid: fields(pid) for pid in workers()}
    return [pid for pid, rest in states.items() if decoder.busy and rest is not None and rest[0] == "R"]


@contextlib.contextmanager
def failing(reason: str) -> Iterator[pytest.ExceptionInfo[DecodeError]]:
    """Expect a DecodeError with EIO whose text matches *reason*."""
    with pytest.raises(DecodeError, match=reason) as caught:
        yield caught
    assert caught.value.errno == 5


def run(
    test: Callable[[WorkerPool], Awaitable[None]],
    count: int = 1,
    timeout: float = 60,
    memory: int = 2 << 30,
) -> None:
    """Run *test* on a started decoder and see that nothing is left of it."""

    async def play() -> None:
        async with decoder:
            await test(decoder)

    before = descriptors()
    decoder = WorkerPool(count, timeout, memory)
    decoder.start()
    trio.run(play)
    assert not servers(os.getpid())
    assert descriptors() == before


def descriptors() -> int:
    """Count the open descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


async def serves(decoder: WorkerPool, times: int = 1) -> None:
    """See that tasks are done right."""
    for number in range(times):
        frame = bytes((number + place) % 256 for place in range(32))
        assert await decoder.run(SMALL, frame) == frame


async def fails_when(decoder: WorkerPool, act: Callable[[], object]) -> None:
    """Have a task fail because of *act*, done when its worker is at it."""
    task, data, _ = noise()

    async def victim() -> None:
        with failing("ended unexpectedly"):
            await decoder.run(task, data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(victim)
        await until(lambda: len(computing(decoder)) == 1)
        act()


async def kill_one_after_another(decoder: WorkerPool, times: int) -> None:
    """Kill the worker that is at a task, and so on."""
    for _ in range(times):
        await until(lambda: computing(decoder))
        (pid,) = computing(decoder)
        os.kill(pid, signal.SIGKILL)
        await until(lambda pid=pid: fields(pid) is None)


async def both(decoder: WorkerPool) -> None:
    """Have two workers up and used, by two tasks that take long enough to overlap."""
    task, data, _ = noise()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(decoder.run, task, data)
        nursery.start_soon(decoder.run, task, data)


# What is made


@pytest.mark.parametrize(
    ("syntax", "encode"),
    [
        (NATIVE, lambda values: values.tobytes()),
        (JPEGLS, imagecodecs.jpegls_encode),
        (JPEG2000, lambda values: imagecodecs.jpeg2k_encode(values, reversible=True)),
        ("1.2.840.10008.1.2.4.70", lambda values: imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=16)),
        ("1.2.840.10008.1.2.4.201", lambda values: imagecodecs.htj2k_encode(values)),
    ],
)
def test_stored_values_are_those_that_were_encoded(syntax: str, encode: Callable[[np.ndarray], bytes]) -> None:
    """A lossless frame comes back value for value, from a worker in its sandbox."""
    values = np.random.default_rng(2).integers(0, 65536, (61, 47), np.uint16)

    async def test(decoder: WorkerPool) -> None:
        assert await decoder.run(stored(grey(61, 47, syntax)), encode(values)) == values.tobytes()
        assert {"no new privileges", "limits"} <= set(decoder.protections)

    run(test)


def test_pictures_open_and_have_the_promised_size() -> None:
    """A PNG has the computed length with its further chunks, and another program's reader sees the values."""
    values = np.arange(35 * 50, dtype=np.uint16).reshape(35, 50) % 256
    physical = chunk(b"pHYs", struct.pack(">IIB", 1000, 2000, 1))
    size = png_size(35, 50, 1, len(physical))

    async def test(decoder: WorkerPool) -> None:
        task = Task(grey(35, 50, bits=8), 0, "png", Display(), size, physical)
        picture = PIL.Image.open(io.BytesIO(await decoder.run(task, values.astype(np.uint8).tobytes())))
        assert np.array_equal(np.asarray(picture), values)
        assert picture.info["dpi"] == pytest.approx((25.4, 50.8))

    run(test)


def test_the_range_of_a_frame() -> None:
    """A range is two numbers; a frame of padding alone has none."""

    async def test(decoder: WorkerPool) -> None:
        task = Task(grey(4, 4), 0, "range", Display(slope=2, intercept=-1), 16)
        values = np.arange(100, 116, dtype="<u2").tobytes()
        assert decoder_process.RANGE.unpack(await decoder.run(task, values)) == (199, 229)
        nothing = Task(grey(4, 4), 0, "range", Display(padding=(0, 65535)), 16)
        assert all(map(math.isnan, decoder_process.RANGE.unpack(await decoder.run(nothing, values))))

    run(test)


def test_perform_needs_no_process() -> None:
    """The pure function under the worker gives the same bytes."""
    assert bytes(decoder_process.perform(SMALL, memoryview(FRAME))) == FRAME


def test_frames_of_all_sizes_through_one_slot() -> None:
    """Growing, shrinking, large and empty answers in a row are right."""

    async def test(decoder: WorkerPool) -> None:
        for side in (4, 1000, 7, 4500, 3, 1200, 1):
            values = np.random.default_rng(side).integers(0, 65536, (side, side), np.uint16).tobytes()
            assert await decoder.run(stored(grey(side, side)), memoryview(values)) == values
        assert decoder.stats.replaced == 0

    run(test)


def test_many_tasks_at_once() -> None:
    """Forty callers on three workers get each their own bytes, and the workers retire and return unnoticed."""
    fmt = grey(40, 40)

    async def call(decoder: WorkerPool, number: int) -> None:
        for turn in range(20):
            frame = np.random.default_rng((number, turn)).bytes(3200)
            assert await decoder.run(stored(fmt), frame) == frame

    async def test(decoder: WorkerPool) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(call, decoder, number)
        assert decoder.stats == pool.Stats(decoded=800, failed=0, replaced=0)

    run(test, 3)


# What fails in a frame


def test_a_reason_is_handed_on_and_the_worker_stays() -> None:
    """What the codec says reaches the caller; a result of another size than promised is refused."""

    async def test(decoder: WorkerPool) -> None:
        with failing("cut short"):
            await decoder.run(SMALL, b"\0")
        with failing("32 bytes where 31 were promised"):
            await decoder.run(Task(SMALL.fmt, 0, "stored", None, 31), FRAME)
        with failing(r"the decoder failed \(ValueError\)"):
            await decoder.run(Task(SMALL.fmt, 0, "png", None, 31), FRAME)
        await serves(decoder)
        assert decoder.stats == pool.Stats(decoded=1, failed=3, replaced=0)

    run(test)


def test_a_frame_that_needs_too_much_memory() -> None:
    """Neither a result nor a slot beyond the limit harms more than its own frame."""

    async def test(decoder: WorkerPool) -> None:
        packed = imagecodecs.jpegls_encode(np.zeros((6000, 6000), np.uint8))
        with failing("memory|cannot be decoded"):
            await decoder.run(Task(grey(6000, 6000, JPEGLS, 8), 0, "range", Display(), 16), packed)
        await serves(decoder)
        with failing("more memory than a worker may use"):
            await decoder.run(stored(grey(60000, 6000)), b"")
        await serves(decoder)

    run(test, memory=24 << 20)


def test_a_worker_that_failed_serves_no_other_object() -> None:
    """It goes on for the object whose bytes it failed at, and retires when the object changes."""

    async def test(decoder: WorkerPool) -> None:
        assert await decoder.run(SMALL, FRAME, "a") == FRAME
        (first,) = workers()
        assert await decoder.run(SMALL, FRAME, "b") == FRAME
        assert workers() == [first]
        for _ in range(2):
            with failing("cut short"):
                await decoder.run(SMALL, b"\0", "b")
            assert await decoder.run(SMALL, FRAME, "b") == FRAME
            assert workers() == [first]
        assert await decoder.run(SMALL, FRAME, "c") == FRAME
        await until(lambda: fields(first) is None)
        (second,) = workers()
        assert second != first
        assert await decoder.run(SMALL, FRAME, "a") == FRAME
        assert workers() == [second]
        assert decoder.stats.replaced == 0

    run(test)


def test_what_outlives_the_mount_is_made_where_no_other_object_was() -> None:
    async def test(decoder: WorkerPool) -> None:
        assert await decoder.run(SMALL, FRAME, "a", lasting=True) == FRAME
        (first,) = workers()
        assert await decoder.run(SMALL, FRAME, "a", lasting=True) == FRAME
        assert workers() == [first]
        assert await decoder.run(SMALL, FRAME, "b", lasting=True) == FRAME
        await until(lambda: fields(first) is None)
        (second,) = workers()
        assert await decoder.run(SMALL, FRAME, "a") == FRAME  # not kept, so it does not matter
        assert workers() == [second]
        assert await decoder.run(SMALL, FRAME, "b", lasting=True) == FRAME
        await until(lambda: fields(second) is None)

    run(test)


def test_with_several_workers_the_one_that_failed_is_avoided_and_replaced() -> None:
    async def test(decoder: WorkerPool) -> None:
        await both(decoder)
        before = set(workers())
        with failing("cut short"):
            await decoder.run(SMALL, b"\0", "bad")
        assert await decoder.run(SMALL, FRAME, "good") == FRAME
        await until(lambda: len(set(workers()) & before) == 1)
        await until(lambda: len(workers()) == 2)
        assert decoder.stats.replaced == 0

    run(test, 2)


# What happens to processes


def test_a_worker_killed_in_the_middle_costs_one_frame() -> None:
    """The caller of the killed worker gets an error, the other worker and later tasks are right."""
    task, data, answer = noise()

    async def test(decoder: WorkerPool) -> None:
        await both(decoder)
        await fails_when(decoder, lambda: os.kill(computing(decoder)[0], signal.SIGKILL))
        await serves(decoder)
        assert await decoder.run(task, data) == answer
        assert (decoder.stats.failed, decoder.stats.replaced) == (1, 1)

    run(test, 2)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
def test_a_crash_costs_one_frame(number: int) -> None:
    """The signals of crashing code end a worker in the middle of a task like any other end."""

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        await fails_when(decoder, lambda: os.kill(workers()[0], number))
        await serves(decoder)

    run(test)


def test_a_worker_killed_while_idle_costs_nothing() -> None:
    """A dead worker is noticed before it gets a task."""

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        for _ in range(3):
            (pid,) = workers()
            os.kill(pid, signal.SIGKILL)
            await until(lambda pid=pid: fields(pid) is None)
            await serves(decoder)
        assert (decoder.stats.failed, decoder.stats.replaced) == (0, 3)

    run(test)


def test_a_hanging_worker_is_killed_when_its_time_is_up() -> None:
    """A stopped worker, which would never answer, costs one error; then it is gone and another works."""

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        (pid,) = workers()
        os.kill(pid, signal.SIGSTOP)
        with failing("longer than 1 s"):
            await decoder.run(SMALL, FRAME)
        await until(lambda: fields(pid) is None)
        await serves(decoder)
        assert (decoder.stats.failed, decoder.stats.replaced) == (1, 1)

    run(test, timeout=1)


def test_large_frames_have_more_time() -> None:
    """The limit grows by a second for 50 million pixels."""

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        os.kill(workers()[0], signal.SIGSTOP)
        with failing("longer than 1.2 s"):
            await decoder.run(Task(grey(5000, 2000), 0, "range", Display(), 16), bytes(20_000_000))

    run(test, timeout=1)


def test_a_cancelled_caller_leaves_no_stale_answer() -> None:
    """Tasks after a cancelled one get their own bytes, never those of the one that was given up."""
    task, data, answer = noise()

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        for _ in range(5):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(decoder.run, task, data)
                    await until(lambda: computing(decoder))
                    scope.cancel()
            await serves(decoder, 3)
        assert await decoder.run(task, data) == answer
        assert (decoder.stats.failed, decoder.stats.replaced) == (0, 5)

    run(test)


def test_cancelled_while_waiting_for_a_worker_harms_nobody() -> None:
    """Who gives up before a worker is ready or free leaves the pool as it was."""

    async def test(decoder: WorkerPool) -> None:
        with trio.CancelScope() as scope:
            scope.cancel()
            await decoder.run(SMALL, FRAME)
        assert scope.cancelled_caught
        await serves(decoder)
        assert decoder.stats.replaced == 0

    run(test)


def test_a_killed_fork_server_is_started_again() -> None:
    """With the server go its workers; the next tasks are right nevertheless."""

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        for _ in range(2):
            (server,) = servers(os.getpid())
            old = children(server)
            os.kill(server, signal.SIGKILL)
            await until(lambda old=old: not any(map(fields, old)))
            await serves(decoder, 5)
        assert decoder.stats.failed == 0

    run(test, 2)


def test_a_fork_server_killed_in_the_middle_costs_the_frames_under_way() -> None:
    """Tasks under way fail plainly, and no more than those."""
    task, data, answer = noise()

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        await fails_when(decoder, lambda: os.kill(servers(os.getpid())[0], signal.SIGKILL))
        assert await decoder.run(task, data) == answer

    run(test)


@pytest.mark.parametrize("proved", [True, False])
def test_a_hanging_fork_server_is_replaced(proved: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no worker greets in time, the server is taken for dead and another is started; once, whoever waits."""
    monkeypatch.setattr(pool, "START_TIMEOUT_SECONDS", 5)

    async def test(decoder: WorkerPool) -> None:
        (server,) = servers(os.getpid())
        if proved:
            await serves(decoder)
        os.kill(server, signal.SIGSTOP)
        killed = workers() if proved else []
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: not any(map(fields, killed)))
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(serves, decoder)
        assert len(servers(os.getpid())) == 1
        assert servers(os.getpid()) != [server]

    run(test, 2)


@pytest.mark.parametrize("program", ["#!/bin/false\n", "#!/bin/sh\nexit 0\n"])
def test_a_fork_server_that_cannot_start_is_a_plain_error(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each task fails with a reason, none hangs, and no process is started over and over."""
    broken = tmp_path / "python"
    broken.write_text(program)
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))

    async def test(decoder: WorkerPool) -> None:
        for _ in range(20):
            with failing("do not start"):
                await decoder.run(SMALL, FRAME)

    run(test)


def test_without_descriptors_tasks_fail_and_recover() -> None:
    """While the daemon has no descriptor left a new worker cannot be had; the fork server survives that."""

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        (server,) = servers(os.getpid())
        (pid,) = workers()
        os.kill(pid, signal.SIGKILL)
        await until(lambda: fields(pid) is None)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with failing("no decoding process can be started"):
                await decoder.run(SMALL, FRAME)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await serves(decoder)
        assert servers(os.getpid()) == [server]

    run(test)


def test_start_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start and close return although the fork server never gets ready."""
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 1000\n")
    slow.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(slow))
    decoder = WorkerPool(4, 10)
    decoder.start()
    decoder.close()
    assert not children(os.getpid())


def test_signals_for_the_daemon_do_not_end_workers() -> None:
    """A Ctrl-C or a service manager's SIGTERM to the whole group leaves the order of ending to the daemon."""

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        before = [*servers(os.getpid()), *workers()]
        for pid in before:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        await serves(decoder, 3)
        assert [*servers(os.getpid()), *workers()] == before

    run(test)


def test_workers_are_nice_limited_and_in_a_session_of_their_own() -> None:
    """/proc shows what a worker is: niced, without privileges, without a terminal, with few descriptors."""

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        (pid,) = workers()
        rest = fields(pid)
        assert rest is not None
        assert int(rest[16]) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        assert int(rest[3]) == os.getsid(servers(os.getpid())[0]) != os.getsid(0)
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert status["NoNewPrivs"].strip() == "1"
        assert status["CapEff"].strip() == "0" * 16
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert [line.split()[-3:-1] for line in limits.splitlines() if line.startswith("Max file size")] == [["0", "0"]]
        assert [line.split()[-3:-1] for line in limits.splitlines() if "core file" in line] == [["0", "0"]]

    run(test)


def test_processes_hold_no_descriptor_of_the_daemon(tmp_path: Path) -> None:
    """Neither a descriptor that is open at the start nor an inheritable one reaches a child."""
    secret = tmp_path / "stands for the FUSE device"
    secret.touch()
    opened = os.open(secret, os.O_RDWR)
    os.set_inheritable(opened, True)

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        (old,) = workers()
        os.kill(servers(os.getpid())[0], signal.SIGKILL)
        await until(lambda: fields(old) is None)
        await serves(decoder)
        (server,) = servers(os.getpid())
        held = [os.readlink(f"/proc/{server}/fd/{name}") for name in os.listdir(f"/proc/{server}/fd")]
        assert sorted(link.split(":")[0] for link in held) == ["/dev/null"] * 3 + ["socket"]

    try:
        run(test)
    finally:
        os.close(opened)


DAEMON = """
import os, signal, sys, trio
from dicomfs.workers.pool import WorkerPool
from test_worker_pool import noise, serves, workers, servers
async def play():
    task, data, _ = noise()
    decoder = WorkerPool(3, 600)
    decoder.start()
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(serves, decoder)
    while len(workers()) < 3:
        await trio.sleep(.01)
    stopped, busy, idle = workers()
    os.kill(stopped, signal.SIGSTOP)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(decoder.run, task, data)
        nursery.start_soon(decoder.run, task, data)
        await trio.sleep(.1)
        print(*servers(os.getpid()), *workers(), flush=True)
        await trio.sleep_forever()
trio.run(play)
"""


def test_nothing_outlives_a_killed_daemon() -> None:
    """When the daemon is killed with SIGKILL, its busy, idle and stopped workers and the fork server go with it."""
    command = [sys.executable, "-c", DAEMON]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as daemon:
        assert daemon.stdout is not None
        pids = [int(word) for word in daemon.stdout.readline().split()]
        assert len(pids) == 4
        assert all(map(fields, pids))
        daemon.kill()
    while any(map(fields, pids)):
        time.sleep(0.01)


def test_no_leak_of_descriptors_processes_or_memory() -> None:
    """After 500 tasks, some of which killed their worker, as many descriptors and processes are there as before."""

    async def test(decoder: WorkerPool) -> None:
        async def settled() -> tuple[int, int, int]:
            await both(decoder)
            return descriptors(), len(workers()), len(servers(os.getpid()))

        before = await settled()
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(500):
            if number % 50 == 7:
                os.kill(workers()[0], signal.SIGKILL)
            if number % 50 == 9:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await decoder.run(SMALL, FRAME)
            with contextlib.suppress(DecodeError):
                await decoder.run(SMALL, FRAME)
            with contextlib.suppress(DecodeError):
                await decoder.run(stored(grey(600, 1000)), bytes(1_200_000 if number % 5 else 3))
        assert await settled() == before
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident < 32 << 10  # KiB

    run(test, 2)


def test_close_ends_tasks_under_way() -> None:
    """A task that runs when the decoder is closed fails, as does one that comes later."""

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        await fails_when(decoder, decoder.close)
        with failing("closed"):
            await decoder.run(SMALL, FRAME)

    run(test)


# A worker that was taken over


@contextlib.contextmanager
def impostor(decoder: WorkerPool, lie: Callable[[socket.socket, int], None]) -> Iterator[None]:
    """Put a worker into the pool that greets as it should and answers the first request with *lie*."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with subprocess.Popen(["/bin/sleep", "1000"]) as process, theirs:
        pidfd = os.pidfd_open(process.pid)
        socket.send_fds(theirs, [b"limits"], [pidfd])
        os.close(pidfd)
        decoder.adopt(processes.Worker(ours))
        lie(theirs, 1)
        yield
        assert process.wait() == -signal.SIGKILL


class Bomb:
    """Something whose unpickling is noticed."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Exit with a message."""
        return sys.exit, ("an answer was unpickled",)


@pytest.mark.parametrize(
    "message",
    [
        b"?",
        pickle.dumps(Bomb()),
        ANSWER.pack(2, 32, 1, 0),
        ANSWER.pack(0, 32, 1, 0),
        ANSWER.pack(1, 31, 1, 0),
        ANSWER.pack(1, 1 << 62, 1, 0),
        ANSWER.pack(1, 33, 1, 0) * 2,
    ],
    ids=["short", "pickle", "future", "past", "less", "huge", "more"],
)
def test_a_lying_worker_is_not_believed(message: bytes) -> None:
    """An answer out of turn or of another length than asked for is an error, and its worker is ended."""

    async def test(decoder: WorkerPool) -> None:
        async def answer(theirs: socket.socket) -> None:
            await trio.lowlevel.wait_readable(theirs)
            theirs.send(message)

        async with trio.open_nursery() as nursery:
            with impostor(decoder, lambda theirs, _: nursery.start_soon(answer, theirs)), failing("ended unexpectedly"):
                await decoder.run(SMALL, FRAME)
            nursery.cancel_scope.cancel()
        await serves(decoder)
        assert decoder.stats.replaced == 1

    run(test)


def test_an_answer_before_the_question_is_not_taken() -> None:
    """A worker that speaks unasked is ended before it gets a task; the task is done by a sound one."""

    async def test(decoder: WorkerPool) -> None:
        with impostor(decoder, lambda theirs, _: theirs.send(ANSWER.pack(1, 32, 1, 0)) and None):
            await serves(decoder)
        assert decoder.stats.replaced == 1

    run(test)


def test_hostile_text_of_a_reason_is_harmless() -> None:
    """A reason that is no UTF-8 or longer than allowed is a plain error still."""

    async def test(decoder: WorkerPool) -> None:
        async def answer(theirs: socket.socket) -> None:
            await trio.lowlevel.wait_readable(theirs)
            theirs.send(ANSWER.pack(1, 0, 0, 1) + b"bad \xff\xfe" + b"x" * 100_000)

        async with trio.open_nursery() as nursery:
            with impostor(decoder, lambda theirs, _: nursery.start_soon(answer, theirs)), failing("^.{0,20}bad \ufffd"):
                await decoder.run(SMALL, FRAME)

    run(test)


def test_descriptors_that_a_worker_sends_are_dropped() -> None:
    """A worker cannot fill the daemon's table of descriptors."""

    async def test(decoder: WorkerPool) -> None:
        async def answer(theirs: socket.socket) -> None:
            await trio.lowlevel.wait_readable(theirs)
            socket.send_fds(theirs, [ANSWER.pack(1, 32, 1, 1)], [0] * 100)

        await serves(decoder)
        before = descriptors()
        async with trio.open_nursery() as nursery:
            with impostor(decoder, lambda theirs, _: nursery.start_soon(answer, theirs)):
                await decoder.run(SMALL, FRAME)
        await serves(decoder)
        assert descriptors() == before + 1  # the pool has one worker more than it started with

    run(test)


# The cache in front


def test_two_readers_of_one_frame_decode_once() -> None:
    """Callers of one key share one decoding, later ones the kept bytes; another key is another frame."""
    asked: list[int] = []

    class Noting(Wanted):
        async def prepare(self) -> tuple[Task, Buffer]:
            asked.append(1)
            await trio.sleep(0.01)
            return await super().prepare()

    async def test(decoder: WorkerPool) -> None:
        frames = FrameCache(decoder, 1000)

        async def read() -> None:
            assert await frames.get(Noting(("file", 1), SMALL, FRAME)) == FRAME

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(read)
        await read()
        assert (len(asked), decoder.stats.decoded, frames.hits) == (1, 1, 8)
        assert await frames.get(Noting(("file", 2), SMALL, FRAME)) == FRAME
        assert decoder.stats.decoded == 2

    run(test, 2)


def test_a_verdict_is_tried_again_when_its_worker_is_killed() -> None:
    """Chance does not decide about a frame: two lost workers cost nothing but time."""
    task, data, answer = noise()

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_one_after_another, decoder, 2)
            assert await FrameCache(decoder, 0).verdict(Wanted("frame", task, data)) == answer
        assert decoder.stats.replaced == 2

    run(test)


def test_a_frame_at_which_every_worker_ends_is_a_verdict() -> None:
    """Else one frame of a hostile file would cost all others their window."""
    task, data, _ = noise()

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)

        async def kill() -> None:
            while True:
                for pid in computing(decoder):
                    os.kill(pid, signal.SIGKILL)
                await trio.sleep(0.005)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            with failing("decoders end unexpectedly at this frame") as caught:
                await FrameCache(decoder, 0).verdict(Wanted("frame", task, data))
            nursery.cancel_scope.cancel()
        assert not isinstance(caught.value, NoAnswer)

    run(test)


def test_what_may_be_chance_is_no_verdict() -> None:
    """A frame that takes too long, or no process at all, says nothing about the frame; a reason of the decoder does."""
    task, data, answer = noise()

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        with failing("ends inside its header") as caught:
            await FrameCache(decoder, 0).verdict(Wanted("broken", task, data[:10]))
        assert not isinstance(caught.value, NoAnswer)
        (pid,) = workers()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(NoAnswer, match="longer than"):
            await FrameCache(decoder, 0).verdict(Wanted("frame", task, data))
        assert await FrameCache(decoder, 0).verdict(Wanted("frame", task, data)) == answer
        decoder.close()
        with pytest.raises(NoAnswer, match="closed"):
            await FrameCache(decoder, 0).verdict(Wanted("another", task, data))

    run(test, timeout=3)


def film(folder: Path, side: int) -> tuple[Path, np.ndarray]:
    """Make a film without a window, and its last picture: each of the other frames has an end of the range."""
    rng = np.random.default_rng(13)
    ends = [(0, 30_000), (30_000, 65_536), (20_000, 40_000)]
    frames = [rng.integers(*end, (side, side)).astype("<u2") for end in ends]
    encoded = [imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True) for frame in frames]
    path = folder / "film.dcm"
    path.write_bytes(dicom(image(side, side, encapsulated(encoded), frames=3, bits=16, vr="OB"), JPEG2000))
    low, high = int(frames[0].min()), int(frames[1].max())
    return path, (frames[2] - float(low)) / (high - low) * 255


async def shown(decoder: WorkerPool, path: Path) -> np.ndarray:
    """Read the last picture of a film through the tree."""
    source = LocalSource(str(path))
    try:
        top = root(MountServices.of(source, Prefetcher(FrameCache(decoder, 0))))
        files = dict(await files_below(top))
        return np.asarray(PIL.Image.open(io.BytesIO(await read_all(files[b"frames/0003.png"]))))
    finally:
        source.close()


def test_g13_killed_workers_do_not_change_the_window_of_a_film(tmp_path: Path) -> None:
    path, expected = film(tmp_path, 1024)

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_one_after_another, decoder, 2)
            assert np.abs(await shown(decoder, path) - expected).max() <= 0.51
        assert decoder.stats.replaced == 2

    run(test)


def test_g13_a_frame_that_takes_too_long_fails_the_read_and_not_the_window(tmp_path: Path) -> None:
    path, expected = film(tmp_path, 64)

    async def test(decoder: WorkerPool) -> None:
        await serves(decoder)
        os.kill(workers()[0], signal.SIGSTOP)
        with failing("longer than"):
            await shown(decoder, path)
        assert np.abs(await shown(decoder, path) - expected).max() <= 0.51

    run(test, timeout=3)


def test_g13_a_frame_that_is_broken_has_no_say_in_the_window(tmp_path: Path) -> None:
    path, expected = film(tmp_path, 64)
    data = path.read_bytes()
    sound = data.index(b"\xff\x4f\xff\x51", data.index(b"\xff\x4f\xff\x51") + 4)
    broken = data[: sound + 8] + b"\0\0\0\7" + data[sound + 12 :]  # another width

    async def test(decoder: WorkerPool) -> None:
        assert np.abs(await shown(decoder, path) - expected).max() <= 0.51
        path.write_bytes(broken)
        assert np.abs(await shown(decoder, path) - expected).max() > 20

    run(test)


def test_an_error_is_not_kept() -> None:
    """A frame whose worker was lost is decoded when it is asked for again."""

    async def test(decoder: WorkerPool) -> None:
        frames = FrameCache(decoder, 1000)
        with failing("cut short"):
            await frames.get(Wanted("key", SMALL, b""))
        assert await frames.get(Wanted("key", SMALL, FRAME)) == FRAME

    run(test)
