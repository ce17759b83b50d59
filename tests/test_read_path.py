"""The way of a read: few frames of ours on the stack, each with a name, where it reads its file and where it waits."""

import errno
import inspect
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import CodeType
from typing import Any, NoReturn

import imagecodecs
import numpy as np
import pyfuse3
import pytest
import trio
from support.builders import dicom, encapsulated, image
from support.decoding import Decoding

import dicomfs
from dicomfs.dicom.uids import JPEG2000Lossless
from dicomfs.fuse.operations import Operations
from dicomfs.instance.services import MountServices
from dicomfs.pixeldata.offset_tables import EncapsulatedFrames
from dicomfs.sources.local import LocalSource
from dicomfs.tree.mirror import root
from dicomfs.workers.processes import Worker

OURS = str(Path(dicomfs.__file__).parent)
MAX_FRAMES = 8
PAGES = ("frames/0002.png", "pixels.npy")
SHAPE = (2, 600, 400)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    values = np.random.default_rng(1).integers(0, 4096, SHAPE, np.uint16)
    codes = [imagecodecs.jpeg2k_encode(frame, codecformat="j2k", reversible=True) for frame in values]
    window = {0x00281050: ("DS", "2000"), 0x00281051: ("DS", "4000")}
    elements = image(*SHAPE[1:], encapsulated(codes), frames=2, bits=16, stored=12, vr="OB", more=window)
    (tmp_path / "x.dcm").write_bytes(dicom(elements, JPEG2000Lossless))
    return tmp_path


async def found(operations: Operations, path: str) -> int:
    """Look a path up as the kernel does; return the inode number."""
    context: Any = None
    inode = pyfuse3.ROOT_INODE
    for name in path.encode().split(b"/"):
        inode = (await operations.lookup(inode, name, context)).st_ino
    return inode


class Context:
    """The thread of the kernel's request that is nobody's."""

    pid = 0


def read(archive: Path, path: str, act: Callable[[Operations, int], Awaitable[None]]) -> None:
    """Open a file of an archive whose header has been parsed, and have *act* read it."""

    async def main() -> None:
        source = LocalSource(str(archive))
        async with Decoding(1) as decoding:
            operations = Operations(root(MountServices.of(source, decoding.prefetcher)), source.space)
            context: Any = Context()
            for other in PAGES:
                opened = await operations.open(await found(operations, f"x.dcm/{other}"), 0, context)
                if other != path:
                    assert await operations.read(opened.fh, 0, 1)
                await operations.release(opened.fh)
            opened = await operations.open(await found(operations, f"x.dcm/{path}"), 0, context)
            await act(operations, opened.fh)
            await operations.release(opened.fh)
        source.close()

    trio.run(main)


def check(stack: list[tuple[CodeType, str]]) -> None:
    """See that a stack is short, that each function has a name, and that it begins in the adapter."""
    ours = [code for code, name in stack if name.startswith(OURS)]
    names = [code.co_qualname for code in ours]
    assert len(ours) <= MAX_FRAMES, names
    assert names[0] == "Operations.read"
    assert not [name for name in names if "<" in name], names


@pytest.mark.expects_log
@pytest.mark.parametrize("path", PAGES)
def test_a_read_reaches_the_source_in_few_named_steps(
    path: str, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the encoded bytes of the frame are located, to be read."""
    stacks = []

    def extents(*_: object) -> NoReturn:
        raise OSError(errno.EIO, "here")

    async def act(operations: Operations, handle: int) -> None:
        monkeypatch.setattr(EncapsulatedFrames, "extents", extents)
        with pytest.raises(pyfuse3.FUSEError) as caught:
            await operations.read(handle, 4000, 1000)
        error: BaseException | None = caught.value.__context__
        assert error is not None
        stacks.append([(frame.f_code, frame.f_code.co_filename) for frame, _ in traceback.walk_tb(error.__traceback__)])
        monkeypatch.undo()

    read(archive, path, act)
    check(stacks[0])
    names = [code.co_qualname for code, name in stacks[0] if name.startswith(OURS)]
    assert "FrameRequest.prepare" in names
    assert names[-1] == "encoded_frame"


@pytest.mark.parametrize("path", PAGES)
def test_a_read_waits_for_a_worker_in_few_named_steps(
    path: str, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the worker is at the frame."""
    stacks = []
    right = Worker.receive

    async def receive(self: Worker) -> bytes:
        stack = [(frame.f_code, frame.f_code.co_filename) for frame, _ in traceback.walk_stack(inspect.currentframe())]
        stacks.append(stack[::-1])
        return await right(self)

    async def act(operations: Operations, handle: int) -> None:
        monkeypatch.setattr(Worker, "receive", receive)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(operations.read, handle, 4000, 1000)

    read(archive, path, act)
    stack = stacks[0]
    check(stack[next(at for at, (code, _) in enumerate(stack) if code.co_qualname == "Operations.read") :])
    names = [code.co_qualname for code, name in stack if name.startswith(OURS)]
    assert names[-2:] == ["WorkerPool.run", "WorkerPool._run_once"]
