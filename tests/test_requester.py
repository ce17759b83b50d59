"""Who still waits for an answer: seen in real processes, as their signals come in."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.mounting import wait_for

from dicomfs.fuse.requester import Requester

# Waits in a sleep that signals do not end, as in an open that the daemon does not answer: vfork's parent does.
PARENT = """
import ctypes, os, signal, sys, time
for number in signal.SIGINT, signal.SIGHUP, signal.SIGQUIT:  # whoever started the tests may ignore them
    signal.signal(number, signal.SIG_DFL)
{before}
print("ready", flush=True)
libc = ctypes.CDLL(None)
if libc.vfork() == 0:
    os.read(0, 1)
    os._exit(0)
"""


@pytest.fixture
def sleeping(request: pytest.FixtureRequest) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process in an uninterruptible sleep; the parameter is what it does before."""
    script = PARENT.format(before=getattr(request, "param", ""))
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdin
    process.stdout.readline()
    wait_for(lambda: "State:\tD" in Path(f"/proc/{process.pid}/status").read_text())
    yield process
    process.stdin.close()
    process.stdout.close()
    process.wait(10)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_who_is_to_end_waits_no_longer(number: int, sleeping: "subprocess.Popen[bytes]") -> None:
    client = Requester(sleeping.pid)
    assert client.is_waiting()
    sleeping.send_signal(number)
    assert not client.is_waiting()


HANDLER = "signal.signal(signal.SIGINT, lambda *_: None)"


@pytest.mark.parametrize("sleeping", [HANDLER], indirect=True)
def test_a_handler_is_let_run(sleeping: "subprocess.Popen[bytes]") -> None:
    client = Requester(sleeping.pid)
    sleeping.send_signal(signal.SIGINT)
    assert not client.is_waiting()


IGNORED = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
BLOCKED = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])"


@pytest.mark.parametrize("sleeping", [IGNORED, BLOCKED], indirect=True, ids=["ignored", "blocked"])
def test_what_does_not_interrupt_does_not_count(sleeping: "subprocess.Popen[bytes]") -> None:
    client = Requester(sleeping.pid)
    sleeping.send_signal(signal.SIGINT)
    assert client.is_waiting()


USUAL = "signal.signal(signal.SIGUSR1, lambda *_: None); signal.signal(signal.SIGALRM, lambda *_: None)"


@pytest.mark.parametrize("sleeping", [USUAL], indirect=True)
def test_signals_of_everyday_do_not_count(sleeping: "subprocess.Popen[bytes]") -> None:
    client = Requester(sleeping.pid)
    for number in (signal.SIGUSR1, signal.SIGALRM, signal.SIGCHLD, signal.SIGWINCH):
        sleeping.send_signal(number)
    assert client.is_waiting()


def test_gone_and_unknown() -> None:
    process = subprocess.Popen(["sleep", "100"])
    client = Requester(process.pid)
    assert client.is_waiting()
    process.kill()
    process.wait()
    assert not client.is_waiting()
    # Never seen: from another namespace, or hidden from us.
    assert Requester(process.pid).is_waiting()
    assert Requester(0).is_waiting()


def test_a_thread() -> None:
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    assert thread.native_id != os.getpid()
    client = Requester(thread.native_id or 0)
    assert client.is_waiting()
    ended.set()
    thread.join()
    wait_for(lambda: not client.is_waiting())
