"""One mount from beginning to end: every object is built here once, and everything is ended here in order.

Only this module runs trio and pyfuse3, handles signals, tells when the mount answers and tunes what the kernel lets
nobody negotiate.
"""

import contextlib
import errno
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pyfuse3
import trio

from dicomfs.cache.disk import CacheRefused, DiskCache
from dicomfs.fuse.fusermount import clear_dead_mount, device_of, is_mounted
from dicomfs.fuse.operations import Operations
from dicomfs.fuse.systemd import notify
from dicomfs.instance.cine_loop import lacking
from dicomfs.instance.services import MountServices
from dicomfs.instance.view_options import ViewOptions
from dicomfs.resources.allocator import trim, tune_daemon
from dicomfs.resources.descriptors import Descriptors, raise_limit
from dicomfs.resources.nursery import side_by_side
from dicomfs.sources.local import LocalSource
from dicomfs.tree.mirror import root
from dicomfs.workers.frame_cache import FrameCache
from dicomfs.workers.pool import WorkerPool
from dicomfs.workers.prefetcher import Prefetcher

log = logging.getLogger(__name__)

# A signal every quarter second interrupts pyfuse3 where it would otherwise sleep in `read` for good: a client killed
# between poll and read takes its request along (measured: 8 freezes in 14 trials without, none with it).
HEARTBEAT_SECONDS = 0.25
# Requests in flight. A low number lets slow reads hold up a listing.
MAX_TASKS = 256
# Larger read-ahead and more background requests than the kernel's 128 KiB and 12: half as much again in throughput,
# and forty readers at once instead of twelve. pyfuse3 cannot negotiate either.
READ_AHEAD_KIB = 1024
MAX_BACKGROUND = 64
# What a node that the kernel holds costs in memory, with what is known of its file, on an average.
HELD_BYTES = 1100
# Seconds between two times at which unused memory is given back, as long as there are requests.
TIDY_SECONDS = 10.0


_CONTROL = re.compile("[,\x00-\x1f\x7f-\x9f]")


class MountRefused(OSError):
    """This cannot be mounted there; the text says why and what to do."""

    def __init__(self, reason: str) -> None:
        """Carry EINVAL."""
        super().__init__(errno.EINVAL, reason)


@dataclass(frozen=True, slots=True)
class MountOptions:
    """Everything that a mount is asked to be.

    *fuse_options* go to the kernel and libfuse unchanged. *view* says how the archive is shown. *cache_memory* and
    *cache_size* are bytes, for decoded frames and for built files. *cache_dir* is the directory of the disk cache, if
    there is one, which holds decoded frames too with *cache_frames*. *trust_modes* lets other users in by modes alone
    on file systems whose access control lists cannot be read.
    """

    source: str
    mountpoint: str
    fuse_options: frozenset[str]
    view: ViewOptions
    workers: int
    cache_memory: int
    cache_dir: str | None
    cache_size: int
    cache_frames: bool
    trust_modes: bool = False


def run(options: MountOptions, ready: Callable[[], None]) -> None:
    """Mount and serve until unmounted or stopped by a signal; call *ready* when the mount answers.

    Raises MountRefused, and OSError or RuntimeError of the kernel and libfuse.
    """
    for lack in lacking():
        log.info("%s", lack)
    with contextlib.ExitStack() as ending:
        raise_limit()
        descriptors = Descriptors.of_process(options.workers)
        trusting = options.trust_modes or "allow_other" not in options.fuse_options
        source = LocalSource(options.source, descriptors, trusting=trusting)
        ending.callback(source.close)
        _check_lists(source, trusting)
        _check_mountpoint(source, options.mountpoint)
        mountpoint = os.path.realpath(options.mountpoint)
        disk = _disk_cache(source, mountpoint, options)
        if disk:
            ending.callback(disk.close)
        pool = WorkerPool(options.workers, descriptors=descriptors)
        frames = FrameCache(pool, options.cache_memory, disk if options.cache_frames else None)
        services = MountServices.of(source, Prefetcher(frames), options.view, options.cache_size, disk)
        ending.callback(services.builds.close)
        operations = Operations(root(services), source.space, xattrs=options.view.xattrs)
        # What the kernel holds cannot be dropped here; listings that are kept to save work make room for it.
        services.children.share(partial(_other_bytes, operations, services))
        # Before the device is opened: a child that held it would keep a dead mount alive.
        ending.callback(pool.close)
        pool.start()
        _open_device(operations, mountpoint, options)
        ending.callback(operations.close)
        ending.callback(pyfuse3.close, unmount=True)
        tune_daemon()
        trio.run(_serve, operations, services, mountpoint, ready)


def _check_mountpoint(source: LocalSource, mountpoint: str) -> None:
    if clear_dead_mount(mountpoint):
        log.info("a dead mount was cleared away")
    if not os.path.isdir(mountpoint):
        raise MountRefused(f"{mountpoint} is not a directory; make it with mkdir")
    if is_mounted(mountpoint):
        raise MountRefused(f"an archive is mounted on {mountpoint} already; `dicomfs umount` it first")
    if source.holds(mountpoint):
        raise MountRefused(f"{mountpoint} is inside the archive; mount somewhere else")


def _check_lists(source: LocalSource, trusting: bool) -> None:
    """Refuse to let others in by modes where the archive's lists may deny them; raises MountRefused."""
    kinds = set() if trusting else source.other_lists()
    if kinds:
        raise MountRefused(
            f"the archive is on {' and '.join(sorted(kinds))}, whose access control lists the mount cannot show: "
            "with --allow-other, users could read what a list denies them. Mount without it, or say --trust-modes if "
            "the modes of the archive say all"
        )


def _disk_cache(source: LocalSource, mountpoint: str, options: MountOptions) -> DiskCache | None:
    """Open the disk cache, where one is wanted and the directory is fit for it; else say why not."""
    if options.cache_dir is None:
        return None
    place = os.path.realpath(options.cache_dir)
    try:
        if source.holds(place):
            raise CacheRefused(f"{options.cache_dir} is inside the archive")
        if os.path.commonpath((place, mountpoint)) == mountpoint:
            raise CacheRefused(f"{options.cache_dir} is where the mount will be")
        return DiskCache(place, options.cache_size)
    except CacheRefused as error:
        log.warning("no disk cache: %s", error.strerror)
        return None


def _open_device(operations: Operations, mountpoint: str, options: MountOptions) -> None:
    """Mount. What libfuse prints when that fails becomes the error; raises MountRefused."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            pyfuse3.init(operations, mountpoint, _mount_options(options))
        except RuntimeError:
            said.seek(0)
            text = said.read().decode("utf-8", "replace")
            lines = [re.sub(r"^(fuse|fusermount3): ", "", line) for line in text.splitlines()]
            raise MountRefused(f"{'; '.join(lines) or 'libfuse refuses'} (see `dicomfs doctor`)") from None
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


def _mount_options(options: MountOptions) -> set[str]:
    chosen = {"ro", "nosuid", "nodev", "noexec", "default_permissions", "subtype=dicomfs", *options.fuse_options}
    if not any(option.startswith("fsname=") for option in chosen):
        # A comma would end the option, and libfuse 3.14 has no escape that the mount table survives; a terminal would
        # obey what `mount` prints of it.
        chosen.add(f"fsname={_CONTROL.sub('_', options.source)}")
    return chosen


def _other_bytes(operations: Operations, services: MountServices) -> int:
    """Return the bytes of what is known of files that the kernel holds, and of built ones."""
    return HELD_BYTES * len(operations.inodes) + services.builds.weight


def _wake(number: int, frame: object) -> None:
    """Do nothing: the signal itself ends a sleep in `read`."""


@contextlib.contextmanager
def _heartbeat() -> Iterator[None]:
    """Beat while pyfuse3 serves, and no longer: at its end trio closes the descriptor that a signal writes to."""
    signal.signal(signal.SIGALRM, _wake)
    signal.setitimer(signal.ITIMER_REAL, HEARTBEAT_SECONDS, HEARTBEAT_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


async def _serve(operations: Operations, services: MountServices, mountpoint: str, ready: Callable[[], None]) -> None:
    async with side_by_side() as nursery:
        nursery.start_soon(_obey_signals, nursery.cancel_scope, operations, services)
        nursery.start_soon(services.prefetcher.run)
        nursery.start_soon(_tidy, operations)
        nursery.start_soon(_announce, operations.started, mountpoint, ready)
        with _heartbeat():
            await pyfuse3.main(min_tasks=1, max_tasks=MAX_TASKS)
        nursery.cancel_scope.cancel()
    notify("STOPPING=1")


async def _tidy(operations: Operations) -> None:
    """Return unused memory to the kernel from time to time."""
    answered = 0
    while True:
        await trio.sleep(TIDY_SECONDS)
        if operations.statistics.requests != answered:
            answered = operations.statistics.requests
            trim()


async def _announce(started: trio.Event, mountpoint: str, ready: Callable[[], None]) -> None:
    """Wait until the kernel has been answered, tune the connection and tell that the mount answers."""
    await started.wait()
    await trio.lowlevel.checkpoint()
    device = device_of(mountpoint)
    if device:
        _set(f"/sys/class/bdi/{device}/read_ahead_kb", READ_AHEAD_KIB)
        connection = f"/sys/fs/fuse/connections/{device.partition(':')[2]}"
        _set(f"{connection}/max_background", MAX_BACKGROUND)
        _set(f"{connection}/congestion_threshold", MAX_BACKGROUND * 3 // 4)
    ready()
    notify("READY=1")


async def _obey_signals(scope: trio.CancelScope, operations: Operations, services: MountServices) -> None:
    """End on SIGTERM, SIGINT and SIGHUP; log the figures on SIGUSR1."""
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1) as signals:
        async for number in signals:
            if number != signal.SIGUSR1:
                pyfuse3.terminate()
                # Requests under way would hold the end up; their readers get an error.
                scope.cancel()
                return
            answered, built = operations.statistics, services.builds.stats
            decoded = services.frames.pool.stats
            log.info(
                "statistics: requests=%d failures=%s inodes=%d decoded=%d decode_failures=%d replaced_workers=%d "
                "cache_hits=%d builds=%d build_failures=%d cancelled_builds=%d",
                answered.requests,
                answered.failures,
                len(operations.inodes),
                decoded.decoded,
                decoded.failed,
                decoded.replaced,
                services.frames.hits,
                built.begun,
                built.failed,
                built.cancelled,
            )


def _set(path: str, value: int) -> None:
    """Write a kernel setting where we may; an ordinary user may not, and works with the default."""
    with contextlib.suppress(OSError), open(path, "w", encoding="ascii") as setting:
        setting.write(str(value))
