"""What tests share: builders of objects, mounts, other programs as oracles, servers and odd file systems."""

import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]
_RUN = (
    "import runpy, sys; sys.path.insert(0, sys.argv.pop(1)); "
    "runpy.run_module('support.' + sys.argv.pop(1), run_name='__main__', alter_sys=True)"
)


def script(name: str) -> list[str]:
    """Make the command that runs module *name* of this folder as a program; its arguments follow."""
    return [sys.executable, "-c", _RUN, str(TESTS), name]
