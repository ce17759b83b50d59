"""Opening one version of a file: what comes too late is closed."""

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import trio
from support.archives import PYDICOM
from support.decoding import Decoding

from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.services import MountServices
from dicomfs.sources.local import LocalSource
from dicomfs.sources.source import SourceFile


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("late", [False, True], ids=["in time", "too late"])
def test_an_open_that_was_given_up_leaves_no_descriptor(
    late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(PYDICOM / "CT_small.dcm", tmp_path)
    source = LocalSource(str(tmp_path))
    subject = InstanceHandle(source.entry(b"", b"CT_small.dcm"), MountServices.of(source, Decoding(1).prefetcher))
    go, opened = threading.Event(), threading.Event()
    right = source.open

    def slow(*arguments: Any) -> SourceFile:
        if late:
            assert go.wait(10)
        try:
            return right(*arguments)
        finally:
            opened.set()

    monkeypatch.setattr(source, "open", slow)

    async def act() -> None:
        before = descriptors()
        with trio.move_on_after(0.2) as scope:
            file = await subject.open()
            file.close()
        assert scope.cancelled_caught == late
        go.set()
        assert opened.wait(10)
        with trio.fail_after(10):
            while descriptors() != before:
                await trio.sleep(0.01)

    trio.run(act)
    source.close()
