"""The command line: verbs, options, exit codes and the log. What the verbs do is elsewhere."""

import argparse
import logging
import logging.handlers
import os
import stat
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

import trio

from dicomfs import __version__
from dicomfs.options import CINE, UsageError, count, kernel_options, size, window

# The verbs import what they need themselves: `--help` is quick, and all but `mount` work without libfuse.
if TYPE_CHECKING:
    from dicomfs.offline import Complain, Tree

# Exit codes, as the README states them.
DONE, FAILED, USAGE = 0, 1, 2

# Processes that draw frames for `info`, one after another.
_INFO_WORKERS = 1

_VERBS = ("mount", "umount", "info", "doctor", "ls", "cat", "cp")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # `mount -t fuse.dicomfs` calls us as `dicomfs SOURCE MOUNTPOINT -o OPTIONS`.
    if len(given) >= 2 and given[0] not in _VERBS and not given[0].startswith("-"):
        given.insert(0, "mount")
    # A window may begin with a minus sign, which argparse would take for an option.
    for place in reversed(range(len(given) - 1)):
        if given[place] == "--window":
            given[place : place + 2] = [f"--window={given[place + 1]}"]
    options = _parser().parse_args(given)
    try:
        code = options.run(options)
    except UsageError as error:
        _complain(str(error))
        code = USAGE
    except BrokenPipeError:
        # Whoever read our output has seen enough; the interpreter must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = FAILED
    except OSError as error:
        _complain(_said(error))
        code = FAILED
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dicomfs",
        description="Mount an archive of DICOM files: every file becomes a directory of ordinary files.",
        epilog="exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"dicomfs {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    mount = verbs.add_parser(
        "mount",
        help="mount an archive (a directory or one DICOM file)",
        epilog="-o takes workers=N, cache_memory=SIZE, window=C/W, log_file=FILE, cache_dir=DIR, cache_size=SIZE, "
        "cache_frames, xattrs, cine=WHICH; for the kernel allow_other, allow_root, auto_unmount, fsname=NAME and the "
        "SELinux contexts; what fstab says to every file system means nothing here",
    )
    mount.add_argument("source", metavar="ARCHIVE")
    mount.add_argument("mountpoint", metavar="MOUNTPOINT")
    mount.add_argument("-f", "--foreground", action="store_true", help="stay in the foreground and log to the terminal")
    mount.add_argument("-o", dest="fuse_options", action="append", default=[], metavar="OPTIONS", help="see below")
    mount.add_argument("--allow-other", action="store_true", help="let other users in, as the archive's modes do")
    mount.add_argument("--log-file", metavar="FILE", help="log there (default: syslog, or the terminal with -f)")
    mount.add_argument("--cache-dir", metavar="DIR", help="keep built files there, for later mounts too")
    mount.add_argument("--cache-size", type=size, default="2G", metavar="SIZE", help="for built files, on disk (2G)")
    mount.add_argument("--cache-frames", action="store_true", help="keep decoded frames of slow codecs in DIR too")
    mount.add_argument("--xattrs", action="store_true", help="show header values as extended attributes")
    mount.set_defaults(run=_mount)

    umount = verbs.add_parser("umount", help="unmount, also what a killed daemon left behind")
    umount.add_argument("mountpoints", metavar="MOUNTPOINT", nargs="+")
    umount.set_defaults(run=_umount)

    info = verbs.add_parser("info", help="say what a DICOM file holds and what is wrong with it")
    info.add_argument("file", metavar="FILE")
    info.set_defaults(run=_info)

    doctor = verbs.add_parser("doctor", help="say whether this machine can mount, and which codecs work")
    doctor.set_defaults(run=_doctor)

    listing = verbs.add_parser("ls", help="list without mounting: ARCHIVE[/PATH]")
    listing.add_argument("paths", metavar="PATH", nargs="+")
    listing.add_argument("-l", "--long", action="store_true", help="with mode, size and time")
    listing.add_argument("-R", "--recursive", action="store_true", help="with everything below")
    listing.set_defaults(run=_ls)

    cat = verbs.add_parser("cat", help="print files without mounting: ARCHIVE/PATH")
    cat.add_argument("paths", metavar="PATH", nargs="+")
    cat.set_defaults(run=_cat)

    copy = verbs.add_parser("cp", help="copy out of an archive without mounting: ARCHIVE[/PATH] TARGET")
    copy.add_argument("paths", metavar="PATH", nargs="+")
    copy.add_argument("target", metavar="TARGET")
    copy.set_defaults(run=_cp)

    for verb in (mount, listing, cat, copy):
        verb.add_argument(
            "--window", type=window, metavar="C,W", help="show grey frames through this window, centre and width"
        )
        verb.add_argument(
            "--cine", choices=CINE, default="auto", help="video.mp4 of what moves, or of all with several frames"
        )
        verb.add_argument("--workers", type=count, default=os.cpu_count() or 1, metavar="N", help="decoding processes")
        verb.add_argument("--cache-memory", type=size, default="32M", metavar="SIZE", help="for decoded frames (32M)")
    return parser


def _mount(options: argparse.Namespace) -> int:
    from dicomfs.daemon import detach
    from dicomfs.mount import MountOptions, run

    for_kernel = kernel_options(options)
    if options.cache_frames and not options.cache_dir:
        raise UsageError("--cache-frames needs --cache-dir")
    wanted = MountOptions(
        os.path.abspath(options.source),
        os.path.abspath(options.mountpoint),
        options.workers,
        options.cache_memory,
        for_kernel,
        options.window,
        os.path.abspath(options.cache_dir) if options.cache_dir else None,
        options.cache_size,
        options.cache_frames,
        options.xattrs,
        options.cine == "all",
    )
    log_file = os.path.abspath(options.log_file) if options.log_file else None

    def serve(ready: Callable[[], None]) -> int:
        _start_log(log_file, options.foreground)
        # Until the mount is there, somebody watches.
        terminal = logging.StreamHandler()
        terminal.setLevel(logging.WARNING)
        terminal.setFormatter(logging.Formatter("dicomfs: %(message)s"))
        logger = logging.getLogger("dicomfs")
        if log_file or not options.foreground:
            logger.addHandler(terminal)

        def started() -> None:
            logger.removeHandler(terminal)
            ready()

        try:
            run(wanted, started)
        except (OSError, RuntimeError) as error:
            _complain(f"cannot mount: {_said(error)}")
            return FAILED
        return DONE

    return serve(lambda: None) if options.foreground else detach(serve)


def _umount(options: argparse.Namespace) -> int:
    from dicomfs.mount import clear_dead_mount, unmount

    code = DONE
    for mountpoint in options.mountpoints:
        try:
            if not clear_dead_mount(mountpoint):
                unmount(mountpoint)
        except OSError as error:
            _complain(_said(error))
            code = FAILED
    return code


def _info(options: argparse.Namespace) -> int:
    from dicomfs.image.instance import load
    from dicomfs.info import describe, drawn
    from dicomfs.offline import opened
    from dicomfs.source import Source

    source = Source(options.file)
    if not source.is_file:
        raise UsageError(f"{options.file} is a directory; name one DICOM file")
    entry = source.root_entry()
    file = source.open(entry.path, entry.fingerprint)
    try:
        instance = load(file)
    finally:
        file.close()
        source.close()
    for line in describe(instance):
        print(line)
    if instance.pixels is not None and len(instance.pixels.frames):
        with opened(os.fsencode(options.file), _INFO_WORKERS, 0) as tree:
            for line in trio.run(drawn, tree.top):
                print(line)
    return FAILED if instance.parsed is None else DONE


def _doctor(options: argparse.Namespace) -> int:
    from dicomfs.doctor import examine

    code = DONE
    for finding in examine():
        print(f"{'ok' if finding.good else 'NO' if finding.needed else '--'}  {finding.text}", flush=True)
        if finding.needed and not finding.good:
            code = FAILED
    return code


def _ls(options: argparse.Namespace) -> int:
    from dicomfs.offline import Tree, list_tree

    async def show(tree: Tree, complain: "Complain") -> None:
        out, node = sys.stdout.buffer, await tree.node()
        await list_tree(node, tree.path, out.write, complain, long=options.long, recursive=options.recursive)

    return _over_paths(options, show, decode=False)


def _cat(options: argparse.Namespace) -> int:
    from dicomfs.offline import Tree, write_out

    async def show(tree: Tree, complain: "Complain") -> None:
        await write_out(await tree.node(), sys.stdout.buffer.write)

    return _over_paths(options, show)


def _cp(options: argparse.Namespace) -> int:
    from dicomfs.offline import Tree, copy

    target = os.fsencode(options.target)
    into = os.path.isdir(target)
    if len(options.paths) > 1 and not into:
        raise UsageError(f"{options.target} is not a directory; several things can only be copied into one")

    async def transfer(tree: Tree, complain: "Complain") -> None:
        here = os.path.join(target, os.path.basename(tree.path.rstrip(b"/"))) if into else target
        await copy(await tree.node(), tree.path, here, complain)

    return _over_paths(options, transfer)


def _over_paths(
    options: argparse.Namespace, act: "Callable[[Tree, Complain], Awaitable[None]]", *, decode: bool = True
) -> int:
    """Do something with each path given; one that fails is told, and the others are done all the same."""
    from dicomfs.offline import opened

    code = DONE

    def complain(path: str, error: OSError) -> None:
        nonlocal code
        _complain(f"{path}: {error.strerror or error}")
        code = FAILED

    for path in options.paths:
        try:
            workers = options.workers if decode else 0
            every_film = options.cine == "all"
            with opened(
                os.fsencode(path), workers, options.cache_memory, options.window, every_film=every_film
            ) as tree:
                trio.run(act, tree, complain)
        except BrokenPipeError:
            raise
        except OSError as error:
            complain(path, error)
    sys.stdout.flush()
    return code


def _start_log(log_file: str | None, foreground: bool) -> None:
    """Log to a file, to the terminal in the foreground, else to syslog where there is one. No names, no values."""
    handler: logging.Handler
    if log_file:
        handler = logging.FileHandler(log_file)
        os.chmod(log_file, stat.S_IRUSR | stat.S_IWUSR)
    elif foreground:
        handler = logging.StreamHandler()
    elif os.path.exists("/dev/log"):
        handler = logging.handlers.SysLogHandler("/dev/log")
    else:
        return
    syslog = isinstance(handler, logging.handlers.SysLogHandler)
    plain = f"dicomfs[{os.getpid()}]: %(levelname)s: %(message)s"
    handler.setFormatter(logging.Formatter(plain if syslog else f"%(asctime)s {plain}"))
    logger = logging.getLogger("dicomfs")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _complain(text: str) -> None:
    print(f"dicomfs: {text}", file=sys.stderr)


def _said(error: Exception) -> str:
    """Put an error into one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
