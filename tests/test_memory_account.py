"""Frames in the works, in slots and held for open files stay within one limit, whoever asks for how many."""

import contextlib
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from support.decoding import Decoding, Wanted

from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.dicom.uids import ExplicitVRLittleEndian
from dicomfs.workers import memory_account
from dicomfs.workers.decoder_process import Task
from dicomfs.workers.frame_cache import WORKING_BYTES, FrameCache
from dicomfs.workers.memory_account import MemoryAccount
from dicomfs.workers.prefetcher import in_order
from dicomfs.workers.processes import Buffer

SIDE = 2048
FRAME_BYTES = SIDE * SIDE
FORMAT = PixelFormat(SIDE, SIDE, 1, 8, 8, 7, False, "MONOCHROME2", False, ExplicitVRLittleEndian)
TASK = Task(FORMAT, 0, "stored", None, FRAME_BYTES)


def none_held() -> int:
    return 0


async def take(account: MemoryAccount, size: int, order: list[int], seconds: float = 1.0) -> None:
    async with account.room(size):
        order.append(size)
        assert account.taken <= account.limit or order[-1] == account.taken
        await trio.sleep(seconds)


def test_frames_wait_for_memory_in_the_order_of_their_requests() -> None:
    account, order = MemoryAccount(10, none_held), []  # type: MemoryAccount, list[int]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for size in (6, 8, 4, 9, 20, 7):
                nursery.start_soon(take, account, size, order)
                await trio.testing.wait_all_tasks_blocked()
        assert account.taken == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert order == [6, 8, 4, 9, 20, 7]  # nobody overtakes; the large one is alone


def test_a_frame_that_another_needs_does_not_wait() -> None:
    account = MemoryAccount(10, none_held)

    async def main() -> None:
        async with account.room(10), account.room(3, waits=False):
            assert account.taken == 13
        assert account.taken == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_who_gives_up_gives_back() -> None:
    account, order = MemoryAccount(10, none_held), []  # type: MemoryAccount, list[int]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take, account, 9, order, 100.0)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(5):
                await take(account, 8, order)
            nursery.start_soon(take, account, 1, order)
            await trio.sleep(1)
            assert order == [9, 1]
            nursery.cancel_scope.cancel()
        assert account.taken == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_source_that_does_not_answer_delays_nobody_for_long() -> None:
    """Its memory is not in use: 45 frames that hang, of which ten fill the account, and a healthy one."""
    account, order = MemoryAccount(10, none_held), []  # type: MemoryAccount, list[int]

    async def hang() -> None:
        async with account.room(1) as room:
            account.reading(room)
            await trio.sleep(1000)
            account.read(room)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(45):
                nursery.start_soon(hang)
            await trio.testing.wait_all_tasks_blocked()
            with trio.fail_after(12 * memory_account.STALLED_SECONDS):
                await take(account, 4, order)
            await trio.sleep(2000)
        assert account.taken == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert order == [4]


@dataclass(frozen=True)
class Counted(Wanted):
    """A frame whose encoded bytes are counted from when they are read."""

    alive: list[int] = field(compare=False, kw_only=True)

    async def prepare(self) -> tuple[Task, Buffer]:
        self.alive.append(len(self.data))
        await trio.sleep(0.01)
        return await super().prepare()


def test_forty_clients_at_once_take_the_memory_of_a_few() -> None:
    """No frame is read before there is memory for it; what is held for open files gives way."""
    data, most = bytes(FRAME_BYTES), []
    alive: list[int] = []

    async def read(frames: FrameCache, number: int) -> None:
        request = Counted(number, TASK, data, alive=alive)
        assert len(await frames.get(request, hold=True)) == FRAME_BYTES
        alive.pop()

    async def watch(frames: FrameCache) -> None:
        while True:
            most.append((len(alive) * FRAME_BYTES, frames.memory.taken))
            await trio.sleep(0.001)

    async def main() -> None:
        async with Decoding(1, cache_bytes=0) as decoding, trio.open_nursery() as watching:
            watching.start_soon(watch, decoding.frames)
            async with trio.open_nursery() as nursery:
                for number in range(40):
                    nursery.start_soon(read, decoding.frames, number)
            watching.cancel_scope.cancel()
            held = decoding.frames.held
            assert decoding.frames.memory.taken == len(held) * FRAME_BYTES <= WORKING_BYTES
            for request in held:
                decoding.frames.left(request)
            assert decoding.frames.memory.taken == 0

    trio.run(main)
    assert max(read for read, _ in most) <= WORKING_BYTES
    assert max(taken for _, taken in most) <= WORKING_BYTES


def test_frames_of_a_cine_loop_are_accounted_for_until_they_are_taken() -> None:
    data = bytes(FRAME_BYTES)

    async def main() -> None:
        async with Decoding(1) as decoding:
            requests = [Wanted(number, TASK, data) for number in range(5)]
            with contextlib.suppress(ZeroDivisionError):
                async with in_order(decoding.frames, requests) as made:
                    assert await made.take(0) == data
                    with trio.fail_after(60):
                        while decoding.frames.memory.taken != FRAME_BYTES:
                            await trio.sleep(0.01)
                    raise ZeroDivisionError
            assert decoding.frames.memory.taken == 0

    trio.run(main)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_limit_grows_with_the_workers(workers: int) -> None:
    assert Decoding(workers).frames.memory.limit == workers * WORKING_BYTES
