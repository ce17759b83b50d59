"""The daemon with a probe: what is still armed when trio has closed what signals write to. `beating.py … mount …`."""

import signal
import sys
from collections.abc import Callable

import trio
import trio.abc

from dicomfs.cli import main
from dicomfs.fuse import session

SAID = "at the end of the loop the timer has "


class Probe(trio.abc.Instrument):
    """Look at the timer when the loop has ended."""

    def after_run(self) -> None:
        print(SAID + str(signal.getitimer(signal.ITIMER_REAL)[0]), file=sys.stderr, flush=True)


def run(act: Callable[..., object], *args: object) -> object:
    return right(act, *args, instruments=[Probe()])


if __name__ == "__main__":
    right, trio.run = trio.run, run
    session.HEARTBEAT_SECONDS = 0.001
    main.main(sys.argv[sys.argv.index("mount") :])
