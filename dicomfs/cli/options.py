"""The table of options. `argparse`, `-o` and the tables of the README are made from it; nothing else declares one."""

import argparse
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dicomfs.cli import option_values as values
from dicomfs.cli.option_values import UsageError
from dicomfs.resources.processors import usable

MOUNT, LS, CAT, CP = "mount", "ls", "cat", "cp"
_ON_THE_TREE = (MOUNT, LS, CAT, CP)

# The value of an option that stands alone because argparse took its value for an option (see `Option.signed`).
_ELSEWHERE = object()
_NEGATIVE = re.compile("-[0-9.]")


@dataclass(frozen=True, slots=True)
class Option:
    """One option, on the command line and, where *mountable*, in `-o`.

    *description* is one or more sentences, with code in backquotes. *parse* turns the text of a value into the value;
    it raises argparse.ArgumentTypeError. An option without *metavar* is a flag. *default* is a text that *parse* takes,
    or a function that returns the value. *letter* is the short form. The values of an option that *repeats* add up. A
    value that is *signed* may begin with a minus sign. *example* is the form in `-o` where it differs.
    """

    name: str
    description: str
    verbs: tuple[str, ...] = (MOUNT,)
    parse: Callable[[str], object] = values.flag
    metavar: str = ""
    default: str | Callable[[], object] | None = None
    letter: str = ""
    mountable: bool = True
    repeats: bool = False
    signed: bool = False
    example: str = ""

    @property
    def attribute(self) -> str:
        """The name in `-o`, in a namespace and in a configuration file."""
        return self.name.replace("-", "_")

    @property
    def mount_usage(self) -> str:
        """The form in `-o`, with the value."""
        return self.example or f"{self.attribute}={self.metavar}".removesuffix("=")

    @property
    def usage(self) -> tuple[str, ...]:
        """The forms on the command line, with the value."""
        value = f" {self.metavar}" if self.metavar else ""
        if not self.name:
            return (f"-{self.letter}{value}",)
        return (*((f"-{self.letter}",) if self.letter else ()), f"--{self.name}{value}")


OPTIONS = (
    Option(
        "foreground",
        "Stay in the foreground and log to the terminal. Ctrl-C unmounts.",
        letter="f",
        mountable=False,
    ),
    Option(
        "",
        "Options separated by commas, as in fstab; see below. May be given several times.",
        parse=str,
        metavar="OPTIONS",
        letter="o",
        mountable=False,
        repeats=True,
    ),
    Option("allow-other", "Let other users in. The modes of the archive's files say what they may read."),
    Option(
        "trust-modes",
        "With `--allow-other` on NFSv4, SMB and the like: trust that the modes deny whatever the access control lists "
        "deny.",
    ),
    Option(
        "log-file",
        "Write the log to this file. Only its owner can read it; it must not be a link or belong to somebody else. By "
        "default the log goes to syslog where there is one, or to the terminal with `-f`.",
        parse=str,
        metavar="FILE",
    ),
    Option("long", "Also print mode, size and time.", (LS,), letter="l", mountable=False),
    Option("recursive", "List everything below, too.", (LS,), letter="R", mountable=False),
    Option(
        "recursive",
        "Accepted for the habit: directories are always copied whole.",
        (CP,),
        letter="r",
        mountable=False,
    ),
    Option(
        "window",
        "Show grey frames through the window with this centre and width, such as `40,400`, instead of the "
        "window of the file.",
        _ON_THE_TREE,
        values.window,
        "C,W",
        signed=True,
        example="window=C/W",
    ),
    Option(
        "cine",
        "Which objects have a `video.mp4`: `auto`, those that move; `all`, also others with several frames. By default "
        "`auto`.",
        _ON_THE_TREE,
        values.cine,
        "WHICH",
        default="auto",
        example="cine=all",
    ),
    Option(
        "show",
        "List these entries too, such as `native,transcoded`, or `all`.",
        _ON_THE_TREE,
        values.entries,
        "LIST",
        repeats=True,
        example="show=native:transcoded",
    ),
    Option(
        "hide",
        "Leave these entries out, such as `bulk`, or `all`: they cannot be opened either.",
        _ON_THE_TREE,
        values.entries,
        "LIST",
        repeats=True,
        example="hide=bulk:raw",
    ),
    Option(
        "workers",
        f"Number of decoding processes, up to {values.MAX_WORKERS}. By default one for each processor that affinity "
        "and control groups allow.",
        _ON_THE_TREE,
        values.count,
        "N",
        default=usable,
    ),
    Option(
        "cache-memory",
        "Memory for decoded frames, such as `200M` or `1G`. By default `32M`.",
        _ON_THE_TREE,
        values.size,
        "SIZE",
        default="32M",
    ),
    Option(
        "cache-dir",
        "Keep built files (cine loops and copies) in this directory, for later mounts too. By default they are kept "
        "in temporary files until the mount ends.",
        parse=str,
        metavar="DIR",
    ),
    Option(
        "cache-size",
        "Disk space for built files. By default `2G`.",
        parse=values.size,
        metavar="SIZE",
        default="2G",
    ),
    Option(
        "cache-frames",
        "Keep decoded frames of slow codecs (JPEG 2000, HTJ2K, JPEG XL, JPEG-LS, JPEG lossless) in DIR, too.",
    ),
    Option("xattrs", "Show header values as extended attributes."),
)


@dataclass(frozen=True, slots=True)
class KernelOption:
    """Words in `-o` that are not options of dicomfs; one that ends in … or =… stands for all that begin so.

    Those *passed_on* go to libfuse and the kernel, the others have no effect.
    """

    words: tuple[str, ...]
    description: str
    passed_on: bool = True

    def matches(self, option: str) -> bool:
        """Whether *option* is one of the words."""
        return any(
            option.startswith(word.removesuffix("…")) if word.endswith("…") else option == word for word in self.words
        )


# What fstab and mount(8) say to every file system.
_WITHOUT_EFFECT = (
    "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async", "atime", "noatime",
    "relatime", "norelatime", "diratime", "nodiratime", "auto", "noauto", "user", "users", "nouser", "nousers",
    "owner", "group", "defaults", "_netdev", "nofail", "x-…", "comment=…",
)  # fmt: skip
KERNEL_OPTIONS = (
    KernelOption(("allow_root",), "Let root in, and nobody else."),
    KernelOption(("auto_unmount",), "Unmount even when the daemon is killed."),
    KernelOption(("fsname=…",), "What the mount table shows as the device; by default the archive's path."),
    KernelOption(
        ("default_permissions", "context=…", "fscontext=…", "rootcontext=…"),
        "Passed on to FUSE. The first is always in force.",
    ),
    KernelOption(
        _WITHOUT_EFFECT,
        "Accepted and without effect: a mount is always `ro,nosuid,nodev,noexec`.",
        passed_on=False,
    ),
)


def options_of(verb: str) -> Iterator[Option]:
    """Yield the options of a verb."""
    return (option for option in OPTIONS if verb in option.verbs)


def add_options(parser: argparse.ArgumentParser, verb: str) -> None:
    """Declare the options of *verb* to argparse."""
    for option in options_of(verb):
        names = [*([f"-{option.letter}"] if option.letter else []), *([f"--{option.name}"] if option.name else [])]
        text = option.description.replace("`", "").replace("%", "%%")
        if not option.metavar:
            parser.add_argument(*names, action="store_true", help=text)
        elif not option.name:
            parser.add_argument(*names, dest="mount_options", action="append", default=[], metavar="OPTIONS", help=text)
        elif option.repeats:
            parser.add_argument(
                *names, action="extend", type=option.parse, default=[], metavar=option.metavar, help=text
            )
        else:
            parser.add_argument(
                *names,
                type=option.parse,
                default=option.default() if callable(option.default) else option.default,
                metavar=option.metavar,
                help=text,
                nargs="?" if option.signed else None,
                const=_ELSEWHERE if option.signed else None,
            )


def take_signed_values(options: argparse.Namespace, rest: list[str]) -> list[str]:
    """Assign to options that stand alone the values that argparse left over in *rest*; return what is left then.

    argparse takes a value that begins with a minus sign for an unknown option, unless it is a single number. Raises
    UsageError where there is no value.
    """
    rest = list(rest)
    for option in OPTIONS:
        if option.signed and getattr(options, option.attribute, None) is _ELSEWHERE:
            value = next(filter(_NEGATIVE.match, rest), None)
            if value is None:
                raise UsageError(f"--{option.name} needs a value: --{option.name}={option.metavar}")
            rest.remove(value)
            set_option(options, option, value, f"--{option.name}")
    return rest


def set_option(options: argparse.Namespace, option: Option, text: str, where: str) -> None:
    """Set an option from text that did not come through argparse; *where* it was written is named in errors.

    Raises UsageError.
    """
    try:
        value = option.parse(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{where}: {error}") from None
    if option.repeats and isinstance(value, list):
        value = [*getattr(options, option.attribute), *value]
    setattr(options, option.attribute, value)


def kernel_options(options: argparse.Namespace) -> frozenset[str]:
    """Read `-o`: set the options of dicomfs in *options*, and return those for the kernel. Raises UsageError."""
    ours = {option.attribute: option for option in options_of(MOUNT) if option.mountable}
    passed_on = set()
    for text in ",".join(options.mount_options).split(","):
        name, _, value = text.partition("=")
        kernel = next((kernel for kernel in KERNEL_OPTIONS if kernel.matches(text)), None)
        if name in ours:
            set_option(options, ours[name], value, f"-o {text}")
        elif kernel and kernel.passed_on:
            passed_on.add(text)
        elif text and not kernel:
            raise UsageError(f"-o {text} is not known; `dicomfs mount --help` lists the options")
    return frozenset(passed_on | ({"allow_other"} if options.allow_other else set()))
