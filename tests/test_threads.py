"""Threads that hang hold up nothing that is done for another purpose."""

import threading

import trio

from dicomfs.resources.threads import Purpose, limit, run


def test_what_hangs_holds_up_nothing_else() -> None:
    """More calls hang than there are threads for the archive, all of them given up by who asked."""
    answered = threading.Event()
    others = set(Purpose) - {Purpose.SOURCE}

    async def main() -> None:
        with trio.move_on_after(0.5):
            async with trio.open_nursery() as nursery:
                for _ in range(100):
                    nursery.start_soon(run, Purpose.SOURCE, answered.wait)
        # They were given up, and still have their places.
        limiter = limit(Purpose.SOURCE)
        assert limiter.borrowed_tokens == limiter.total_tokens
        with trio.fail_after(60):
            for purpose in others:
                assert await run(purpose, str, purpose.value) == purpose.value
            await trio.to_thread.run_sync(str)
            answered.set()
            assert await run(Purpose.SOURCE, str, 1) == "1"

    trio.run(main)


def test_each_event_loop_has_its_own_places() -> None:
    async def main() -> trio.CapacityLimiter:
        assert limit(Purpose.SOURCE) is limit(Purpose.SOURCE)
        return limit(Purpose.SOURCE)

    assert trio.run(main) is not trio.run(main)


def test_what_must_finish_is_waited_for() -> None:
    begun, finished = threading.Event(), []

    def work() -> None:
        begun.set()
        threading.Event().wait(0.2)
        finished.append(True)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: run(Purpose.DISK, work, finish=True))
            while not begun.is_set():
                await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        assert finished == [True]

    trio.run(main)
