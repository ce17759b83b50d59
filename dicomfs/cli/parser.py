"""The grammar of the command line: verbs, their arguments, and where each verb is carried out."""

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from dicomfs import __version__
from dicomfs.cli.options import OPTIONS, add_options, take_signed_values
from dicomfs.cli.usage import with_verb
from dicomfs.dicom.printable import printable

Run = Callable[[argparse.Namespace], int]

_SIGNED_VALUE = re.compile(rf"\[({'|'.join(option.metavar for option in OPTIONS if option.signed)})\]")
_SIGNED_CELL = re.compile(_SIGNED_VALUE.pattern + "(?=  )")


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: what it does, what it is applied to, and the function that carries it out.

    *arguments* are pairs of a name and a metavar; one that ends in + may be given several times. *run* imports the
    module of the verb when it is called, so that `--help` is quick and all verbs but `mount` work without libfuse.
    """

    name: str
    help: str
    run: Run
    arguments: tuple[tuple[str, str], ...] = ()
    alias: str = ""
    epilog: str = ""


def parse(arguments: Sequence[str], verbs: Sequence[Verb]) -> argparse.Namespace:
    """Parse a command line; the result has the function of the verb as *run*. Raises UsageError, and exits for help."""
    parser = _parser(verbs)
    names = [name for verb in verbs for name in (verb.name, verb.alias) if name]
    options, rest = parser.parse_known_args(with_verb(arguments, names))
    if rest := take_signed_values(options, rest):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


class _Parser(argparse.ArgumentParser):
    """A parser whose errors hold no control characters: names of files reach it by wildcards."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit."""
        super().error(printable(message, None))

    def format_usage(self) -> str:
        """Return the usage, without brackets around values that are not optional (see `Option.signed`)."""
        return _SIGNED_VALUE.sub(r"\1", super().format_usage())

    def format_help(self) -> str:
        """Return the help, without such brackets; what follows one stays in its column."""
        return _SIGNED_VALUE.sub(r"\1", _SIGNED_CELL.sub(r"\1  ", super().format_help()))


def _parser(verbs: Sequence[Verb]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="dicomfs",
        description="Mount an archive of DICOM files: every file becomes a directory of ordinary files.",
        epilog="exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"dicomfs {__version__}")
    below = parser.add_subparsers(metavar="VERB", required=True)
    for verb in verbs:
        own = below.add_parser(
            verb.name, aliases=[verb.alias] if verb.alias else [], help=verb.help, epilog=verb.epilog or None
        )
        for name, metavar in verb.arguments:
            own.add_argument(name.removesuffix("+"), metavar=metavar, nargs="+" if name.endswith("+") else None)
        add_options(own, verb.name)
        own.set_defaults(run=verb.run)
    return parser
