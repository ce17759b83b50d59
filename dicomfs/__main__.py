"""The command `dicomfs`, which `python -m dicomfs` runs too.

Nothing is imported from the working directory: it may be the folder of an archive, where anybody's files lie.
"""

import os
import sys


def main() -> None:
    """Run the command line with modules from where Python and its packages are installed."""
    # `python -m` puts the working directory first; an empty part of PYTHONPATH, easily left behind, means it as well.
    parts = os.environ["PYTHONPATH"].split(os.pathsep) if os.environ.get("PYTHONPATH") else []
    unwanted = {os.path.abspath(part) for part in parts if not os.path.isabs(part)}
    if __name__ == "__main__" and not sys.flags.safe_path:
        unwanted.add(os.path.abspath(sys.path.pop(0)))
    sys.path[:] = [entry for entry in sys.path if entry and os.path.abspath(entry) not in unwanted]
    from dicomfs.cli.main import main

    main()


if __name__ == "__main__":
    main()
