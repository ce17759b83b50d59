"""The command line: verbs, options, exit codes and the log. What the verbs do is elsewhere."""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

import trio

from dicomfs import __version__
from dicomfs.cli.log import OneLine, start_log
from dicomfs.cli.options import CINE, UsageError, count, entries, kernel_options, selection, size, window
from dicomfs.cli.usage import check_archive, with_verb
from dicomfs.dicom.printable import printable
from dicomfs.resources.processors import usable

# The verbs import what they need themselves: `--help` is quick, and all but `mount` work without libfuse.
if TYPE_CHECKING:
    from dicomfs.cli.files import Complain, Tree

# Exit codes, as the README states them.
DONE, FAILED, USAGE = 0, 1, 2

# Processes that draw frames for `info`, one after another.
_INFO_WORKERS = 1

_VERBS = ("mount", "umount", "unmount", "info", "doctor", "ls", "cat", "cp")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # A window may begin with a minus sign, which argparse would take for an option.
    for place in reversed(range(len(given) - 1)):
        if given[place] == "--window":
            given[place : place + 2] = [f"--window={given[place + 1]}"]
    try:
        options = _parser().parse_args(with_verb(given, _VERBS))
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
    except Exception as error:  # noqa: BLE001 - a traceback would quote what was read
        _complain(_unexpected(error))
        code = FAILED
    sys.exit(code)


class _Parser(argparse.ArgumentParser):
    """A parser that repeats nothing harmful: names of files come along by wildcards."""

    def error(self, message: str) -> NoReturn:
        """Complain and exit."""
        super().error(printable(message, None))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
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
        "cache_frames, xattrs, cine=WHICH, show=A:B, hide=A:B, trust_modes; for the kernel allow_other, allow_root, "
        "auto_unmount, fsname=NAME and the SELinux contexts; what fstab says to every file system means nothing here",
    )
    mount.add_argument("source", metavar="ARCHIVE")
    mount.add_argument("mountpoint", metavar="MOUNTPOINT")
    mount.add_argument("-f", "--foreground", action="store_true", help="stay in the foreground and log to the terminal")
    mount.add_argument("-o", dest="fuse_options", action="append", default=[], metavar="OPTIONS", help="see below")
    mount.add_argument("--allow-other", action="store_true", help="let other users in, as the archive's modes do")
    mount.add_argument("--trust-modes", action="store_true", help="with --allow-other on NFSv4, SMB: modes say it all")
    mount.add_argument("--log-file", metavar="FILE", help="log there (default: syslog, or the terminal with -f)")
    mount.add_argument("--cache-dir", metavar="DIR", help="keep built files there, for later mounts too")
    mount.add_argument("--cache-size", type=size, default="2G", metavar="SIZE", help="for built files, on disk (2G)")
    mount.add_argument("--cache-frames", action="store_true", help="keep decoded frames of slow codecs in DIR too")
    mount.add_argument("--xattrs", action="store_true", help="show header values as extended attributes")
    mount.set_defaults(run=_mount)

    umount = verbs.add_parser("umount", aliases=["unmount"], help="unmount, also what a killed daemon left behind")
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
    copy.add_argument("-r", "--recursive", action="store_true", help="whole directories, as in any case")
    copy.set_defaults(run=_cp)

    for verb in (mount, listing, cat, copy):
        verb.add_argument(
            "--window", type=window, metavar="C,W", help="show grey frames through this window, centre and width"
        )
        verb.add_argument(
            "--cine", choices=CINE, default="auto", help="video.mp4 of what moves, or of all with several frames"
        )
        for option, effect in (("--show", "list these entries, too"), ("--hide", "have none of these entries")):
            verb.add_argument(
                option, action="extend", type=entries, default=[], metavar="LIST", help=f"{effect}: names, or all"
            )
        verb.add_argument("--workers", type=count, default=usable(), metavar="N", help="decoding processes")
        verb.add_argument("--cache-memory", type=size, default="32M", metavar="SIZE", help="for decoded frames (32M)")
    return parser


def _mount(options: argparse.Namespace) -> int:
    from dicomfs.fuse.daemonize import detach
    from dicomfs.fuse.session import MountOptions, run

    for_kernel = kernel_options(options)
    check_archive(options.source)
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
        selection(options.show, options.hide),
        options.trust_modes,
    )
    log_file = os.path.abspath(options.log_file) if options.log_file else None

    def serve(ready: Callable[[], None]) -> int:
        start_log(log_file, options.foreground)
        # Until the mount is there, somebody watches.
        terminal = logging.StreamHandler()
        terminal.setLevel(logging.WARNING)
        terminal.setFormatter(OneLine("dicomfs: %(message)s"))
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
    from dicomfs.fuse.session import clear_dead_mount, unmount

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
    from dicomfs.cli.files import opened
    from dicomfs.cli.info import describe, drawn
    from dicomfs.instance.instance import load
    from dicomfs.sources.local import Source

    check_archive(options.file)
    source = Source(options.file)
    if not source.is_file:
        raise UsageError(f"{options.file} is a directory; name one DICOM file")
    entry = source.root_entry()
    file = source.open(entry.path, entry.fingerprint)
    try:
        instance = load(file)
        for line in describe(instance):
            print(line)
    finally:
        file.close()
        source.close()
    if instance.pixels is not None and len(instance.pixels.frames):
        with opened(os.fsencode(options.file), _INFO_WORKERS, 0) as tree:
            for line in trio.run(drawn, tree.top):
                print(line)
    return FAILED if instance.parsed is None else DONE


def _doctor(options: argparse.Namespace) -> int:
    from dicomfs.cli.doctor import examine

    code = DONE
    for finding in examine():
        mark = "ok" if finding.good else "NO" if finding.needed else "--"
        print(f"{mark}  {printable(finding.text, None)}", flush=True)
        if finding.needed and not finding.good:
            code = FAILED
    return code


def _ls(options: argparse.Namespace) -> int:
    from dicomfs.cli.files import Lister, Tree

    async def show(tree: Tree, complain: "Complain") -> None:
        write = _show_line if sys.stdout.isatty() else sys.stdout.buffer.write
        lister = Lister(tree, write, complain, options.long, options.recursive)
        await lister.show(await tree.node(), tree.path)

    return _over_paths(options, show, decode=False)


def _cat(options: argparse.Namespace) -> int:
    from dicomfs.cli.files import Tree, write_out

    async def show(tree: Tree, complain: "Complain") -> None:
        await write_out(await tree.node(), sys.stdout.buffer.write)

    return _over_paths(options, show)


def _cp(options: argparse.Namespace) -> int:
    from dicomfs.cli.files import Tree, copy

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
    from dicomfs.cli.files import opened

    code, chosen = DONE, selection(options.show, options.hide)

    def complain(path: str, error: OSError) -> None:
        nonlocal code
        _complain(f"{path}: {error.strerror or error}")
        code = FAILED

    for path in options.paths:
        check_archive(path)
        try:
            with opened(
                os.fsencode(path),
                options.workers,
                options.cache_memory,
                options.window,
                every_film=options.cine == "all",
                selection=chosen,
                start=decode,
            ) as tree:
                trio.run(act, tree, complain)
        except BrokenPipeError:
            raise
        except OSError as error:
            complain(path, error)
    sys.stdout.flush()
    return code


def _show_line(line: bytes) -> int:
    """Print a line with names on a terminal, which would obey what a name may hold; a pipe gets names as they are."""
    text = line.removesuffix(b"\n").decode("utf-8", "backslashreplace")
    return sys.stdout.buffer.write(printable(text, None).encode() + b"\n")


def _complain(text: str) -> None:
    print(f"dicomfs: {printable(text, None)}", file=sys.stderr)


def _unexpected(error: BaseException) -> str:
    """Say where something failed that should not: its text may quote a patient's values."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    frames = reversed(traceback.extract_tb(error.__traceback__))
    places = " < ".join(f"{os.path.basename(frame.filename)}:{frame.lineno}" for frame in frames)
    return f"unexpected {type(error).__name__} at {places}"


def _said(error: Exception) -> str:
    """Put an error into one line."""
    if isinstance(error, OSError) and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if error.filename else error.strerror
    return " ".join(str(error).split()) or type(error).__name__
