"""The decoding process: a fork server that starts warm workers, and the worker that decodes one frame at a time.

`python -m dicomfs.workers.decoder_process FD` runs the fork server. It is started with exec before the FUSE device is
opened, imports all that decoding needs, and then forks a worker for each request that it reads from socket FD, so that
a new worker costs milliseconds. A worker shuts itself in (see `sandbox`), greets, and answers requests on a socket
of its own. Encoded bytes and pictures travel in a memory slot that it shares with the daemon; a request may be a
pickle, because the daemon is trusted, and an answer is a fixed structure, because a worker is not.

Everything here ends by itself when its socket is closed.
"""

import contextlib
import gc
import math
import mmap
import os
import pickle
import signal
import socket
import struct
import sys
from dataclasses import dataclass
from typing import Literal

import numpy as np

from dicomfs.codecs import decoder_table, encoders, registry
from dicomfs.codecs.colour import greys
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.remarks import Remark, written
from dicomfs.dicom import uids
from dicomfs.formats.png import png_size, text_chunk, write_png
from dicomfs.rendering.colour import rgb
from dicomfs.rendering.render import Display, RenderError, Window, picture, value_range
from dicomfs.rendering.rescale import Scale
from dicomfs.rendering.resize import Placed, Shrunk
from dicomfs.rendering.window_remarks import remarks
from dicomfs.resources.allocator import tune_worker
from dicomfs.video import process
from dicomfs.workers import sandbox

START = struct.Struct("<Q?")
"""Asks the fork server for a worker: bytes of address space that it may use, and whether it is for a film.

Carries the worker's socket.
"""

REQUEST = struct.Struct("<QQQQ")
"""Sequence number, bytes of the pickled Task and of the encoded frame after it in the slot, bytes of the slot.

Carries the slot itself when it is a new one.
"""

ANSWER = struct.Struct("<QQBB")
"""Sequence number, bytes of the result at the start of the slot, 1 if it was made, 1 if the worker retires.

Followed by the reason (UTF-8) when it was not made.
"""

REASON_LIMIT = 1000
"""Maximum bytes of a reason; one datagram holds an answer."""

REPAIRS = 1000
"""Bytes of the sentences on repairs: lines, padded with spaces."""

RANGE = struct.Struct("<dd")
"""Lowest and highest value of a frame, both not-a-number when it has none."""

GREYS = struct.Struct("<dd")
"""How much of a frame is grey if its components are YCbCr, and if they are RGB (see `codecs.colour`)."""

# Workers are recycled: decoders leak, and a compromised one must not go on seeing the frames of other patients. A fork
# costs about as much as one frame.
_MAX_TASKS = 200
_MAX_RESIDENT_BYTES = 256 << 20

_NICENESS = 10

# Like most frames: what it takes to draw it, all others take, too.
_USUAL = PixelFormat(256, 256, 1, 16, 12, 11, False, "MONOCHROME2", False, uids.ExplicitVRLittleEndian)
_USUAL_WINDOW = Display(window=Window(40, 400))

_TOO_LARGE = "decoding needs more memory than a worker may use"


@dataclass(frozen=True, slots=True)
class Task:
    """What to make of one encoded frame.

    *size* is the bytes that the result must have, or may have where *at_most* says so; *chunks* are ancillary chunks of
    the PNG, already framed; *fit* brings the picture to another size. A PNG says *remarks* and what making it shows,
    unless they are None.
    *display* is needed for "png", "range" and "picture", which is the pixels of one in rows. The others give values,
    little endian, in rows: "stored" as they are stored, "rgb" with YBR turned to RGB, "rescaled" as float32 through
    *scale*. "repairs" reports what decoding repaired, "greys" what the frame shows of its colours.
    "copy" makes the frame as *copy* has it stored, losslessly encoded or not.
    *first_left_out* asks the second decoder, since the first has ended its worker.
    """

    fmt: PixelFormat
    bit_offset: int
    output: Literal["png", "picture", "range", "stored", "rgb", "rescaled", "repairs", "greys", "copy"]
    display: Display | None
    size: int
    chunks: bytes = b""
    fit: Placed | Shrunk | None = None
    scale: Scale | None = None
    copy: PixelFormat | None = None
    at_most: bool = False
    remarks: tuple[Remark, ...] | None = None
    first_left_out: bool = False


def perform(task: Task, data: memoryview) -> memoryview:
    """Decode the frame in *data* and make of it what *task* asks for."""
    decoded = registry.decode(data, task.fmt, task.bit_offset, first_left_out=task.first_left_out)
    if task.output == "repairs":
        return memoryview("\n".join(decoded.repairs).encode().ljust(REPAIRS))
    if task.output == "greys":
        return memoryview(GREYS.pack(*greys(decoded.values, task.fmt.bits_stored)))
    if task.output in ("stored", "rgb", "rescaled"):
        values = decoded.values
        if task.output == "rgb":
            values = rgb(values, decoded.photometric, task.fmt.bits_stored)
        elif task.output == "rescaled":
            values = (task.scale or Scale()).apply(values)
        return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
    if task.copy is not None:
        return memoryview(encoders.encode(decoded, task.copy))
    if task.display is None:
        raise ValueError("a picture needs a display")
    if task.output == "picture":
        shown = picture(decoded, task.fmt, task.display)
        return np.ascontiguousarray(task.fit.apply(shown) if task.fit else shown).reshape(-1).data
    if task.output == "png":
        shown = picture(decoded, task.fmt, task.display)
        chunks = [task.chunks]
        if task.remarks is not None:
            said = remarks(decoded, task.fmt, task.display, shown)
            chunks.insert(0, text_chunk(written(task.remarks + said)))
        return memoryview(write_png(task.fit.apply(shown) if task.fit else shown, chunks))
    return memoryview(RANGE.pack(*(value_range(decoded, task.fmt, task.display) or (math.nan, math.nan))))


def serve_forks(control: socket.socket) -> None:
    """Load the decoders, then start one worker for each request on *control* until the daemon closes it."""
    # The daemon alone decides when to end; a Ctrl-C or a service manager's signal is for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    _silence()
    decoder_table.load_all()
    encoders.load_all()
    tune_worker()
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, the pages that workers share
    server = os.getpid()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, START.size, 1)
        if not message:
            return
        with (
            socket.socket(fileno=descriptors[0]) as channel,
            contextlib.suppress(OSError),
        ):  # no memory to fork
            if os.fork() == 0:
                control.close()
                _live(channel, server, *START.unpack(message))


def _silence() -> None:
    """Point the standard streams at nothing: decoders write about patients' images there."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.close(nothing)


def _live(channel: socket.socket, server: int, memory: int, filming: bool) -> None:
    """Be a worker, from the fork to the end of the process."""
    status = 1
    try:
        os.nice(_NICENESS)
        if filming:
            process.prepare()
        statistics = os.open("/proc/self/statm", os.O_RDONLY)
        own = os.pidfd_open(os.getpid())
        in_force = sandbox.apply(server, memory)
        if not filming:
            _warm_up()
        # The descriptor names this process and no later one of the same number, whatever happens next.
        socket.send_fds(channel, [", ".join(in_force).encode()], [own])
        os.close(own)
        if filming:
            _film(channel)
        else:
            _answer_all(channel, statistics)
        status = 0
    finally:
        os._exit(status)


def _warm_up() -> None:
    """Draw a picture of nothing: a process that was just forked copies each page that it uses for the first time.

    The first frame took 6 ms where later ones take 1.3; this leaves 3 of them.
    """
    blank = memoryview(bytes(_USUAL.pixels * 2))
    size = png_size(_USUAL.rows, _USUAL.columns, 1)
    perform(Task(_USUAL, 0, "png", _USUAL_WINDOW, size), blank)


def _film(channel: socket.socket) -> None:
    """Do the one job that a film is, on request."""
    message, descriptors, _, _ = socket.recv_fds(channel, REQUEST.size, 1)
    if message:
        _, described, _, size = REQUEST.unpack(message)
        if slot := _map(descriptors[0], size):
            process.serve(channel, slot, described)


def _answer_all(channel: socket.socket, statistics: int) -> None:
    """Answer requests on *channel* until it is closed or this worker has done its share."""
    slot: mmap.mmap | None = None
    for count in range(1, _MAX_TASKS + 1):
        message, descriptors, _, _ = socket.recv_fds(channel, REQUEST.size, 1)
        if not message:
            return
        sequence, described, encoded, size = REQUEST.unpack(message)
        if descriptors:
            slot = _map(descriptors[0], size)
        length, reason = _attempt(slot, described, encoded) if slot is not None else (0, _TOO_LARGE)
        retires = slot is None or count == _MAX_TASKS or _resident(statistics) > _MAX_RESIDENT_BYTES
        answer = ANSWER.pack(sequence, length, not reason, retires)
        channel.send(answer + reason.encode("utf-8", "replace")[:REASON_LIMIT])
        if retires:
            return


def _map(descriptor: int, size: int) -> mmap.mmap | None:
    """Map the slot *descriptor*, unless it exceeds the memory limit."""
    try:
        return mmap.mmap(descriptor, size)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _attempt(slot: mmap.mmap, described: int, encoded: int) -> tuple[int, str]:
    """Perform the task in *slot* and lay the result at its start; return its length, and why there is none."""
    try:
        with memoryview(slot) as view:
            task: Task = pickle.loads(view[:described])  # noqa: S301  from the daemon
            result = perform(task, view[described : described + encoded])
            if len(result) > task.size or (len(result) < task.size and not task.at_most):
                return 0, f"the result has {len(result)} bytes where {task.size} were promised"
            view[: len(result)] = result
            return len(result), ""
    except (registry.CodecError, RenderError) as error:
        return 0, error.strerror or "the frame cannot be decoded"
    except MemoryError:
        return 0, _TOO_LARGE
    except BaseException as error:  # noqa: BLE001  the worker boundary; a panic of a Rust codec is no Exception
        # The text of somebody else's exception may quote the data set.
        return 0, f"the decoder failed ({type(error).__name__})"


def _resident(statistics: int) -> int:
    """Measure the bytes of memory that this process alone occupies."""
    _, resident, shared = os.pread(statistics, 200, 0).split()[:3]
    return (int(resident) - int(shared)) * mmap.PAGESIZE


def main() -> None:
    """Run the fork server on the socket whose number is the first argument."""
    sandbox.die_with(int(sys.argv[2]))
    with socket.socket(fileno=int(sys.argv[1])) as control:
        serve_forks(control)


if __name__ == "__main__":
    # Under its own name, so that a pickled Task finds the class that it was made of.
    from dicomfs.workers import decoder_process

    decoder_process.main()
