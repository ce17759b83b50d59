"""The command line: which module carries out which verb, and what its errors become."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from dicomfs.cli import outcome
from dicomfs.cli.option_values import UsageError
from dicomfs.cli.options import KERNEL_OPTIONS, MOUNT, options_of
from dicomfs.cli.parser import Verb, parse


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit with its code."""
    try:
        options = parse(sys.argv[1:] if arguments is None else arguments, VERBS)
        code = options.run(options)
    except UsageError as error:
        outcome.complain(str(error))
        code = outcome.USAGE
    except BrokenPipeError:
        # The reader of our output has closed it; the interpreter must not flush to it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = outcome.FAILED
    except OSError as error:
        outcome.complain(outcome.describe(error))
        code = outcome.FAILED
    except KeyboardInterrupt:
        code = outcome.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a traceback would quote what was read
        outcome.complain(outcome.describe_unexpected(error))
        code = outcome.FAILED
    sys.exit(code)


def _mount(options: argparse.Namespace) -> int:
    from dicomfs.cli.mount import mount

    return mount(options)


def _umount(options: argparse.Namespace) -> int:
    from dicomfs.cli.umount import umount

    return umount(options)


def _info(options: argparse.Namespace) -> int:
    from dicomfs.cli.info import info

    return info(options)


def _doctor(options: argparse.Namespace) -> int:
    from dicomfs.cli.doctor import doctor

    return doctor(options)


def _ls(options: argparse.Namespace) -> int:
    from dicomfs.cli.files import ls

    return ls(options)


def _cat(options: argparse.Namespace) -> int:
    from dicomfs.cli.files import cat

    return cat(options)


def _cp(options: argparse.Namespace) -> int:
    from dicomfs.cli.files import cp

    return cp(options)


_MOUNT_OPTIONS = (
    f"-o takes {', '.join(option.mount_usage for option in options_of(MOUNT) if option.mountable)}; "
    f"for the kernel {', '.join(word for kernel in KERNEL_OPTIONS if kernel.passed_on for word in kernel.words)}. "
    "The other options that fstab has for every file system are accepted and have no effect."
)
_PATHS = (("paths+", "PATH"),)
VERBS = (
    Verb(
        MOUNT,
        "mount an archive (a directory or one DICOM file)",
        _mount,
        (("source", "ARCHIVE"), ("mountpoint", "MOUNTPOINT")),
        epilog=_MOUNT_OPTIONS,
    ),
    Verb("umount", "unmount, also after a daemon was killed", _umount, (("mountpoints+", "MOUNTPOINT"),), "unmount"),
    Verb("info", "describe a DICOM file and what is wrong with it", _info, (("file", "FILE"),)),
    Verb("doctor", "check whether this machine can mount, and which codecs work", _doctor),
    Verb("ls", "list without mounting: ARCHIVE[/PATH]", _ls, _PATHS),
    Verb("cat", "print files without mounting: ARCHIVE/PATH", _cat, _PATHS),
    Verb(
        "cp",
        "copy out of an archive without mounting: ARCHIVE[/PATH] TARGET",
        _cp,
        (*_PATHS, ("target", "TARGET")),
    ),
)
