"""From options of the command line to ViewOptions."""

import argparse

from dicomfs.cli.option_values import selection
from dicomfs.instance.view_options import ViewOptions


def view_options(options: argparse.Namespace) -> ViewOptions:
    """Collect the options that say how an archive is shown. Raises UsageError where they contradict each other."""
    return ViewOptions(
        options.window,
        options.cine == "all",
        selection(options.show, options.hide),
        getattr(options, "xattrs", False),  # an option of `mount` alone
    )
