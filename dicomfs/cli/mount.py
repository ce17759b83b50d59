"""`dicomfs mount`: from the options to a daemon that serves the mount."""

import argparse
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from dicomfs.cli.log import OneLine, start_log
from dicomfs.cli.option_values import UsageError
from dicomfs.cli.options import kernel_options
from dicomfs.cli.outcome import DONE, FAILED, complain, describe
from dicomfs.cli.usage import check_archive
from dicomfs.cli.view import view_options
from dicomfs.fuse import session
from dicomfs.fuse.daemonize import detach


def mount(options: argparse.Namespace) -> int:
    """Mount, and return the exit code: when the mount can be used, or in the foreground when it has ended."""
    for_kernel = kernel_options(options)
    check_archive(options.source)
    if options.cache_frames and not options.cache_dir:
        raise UsageError("--cache-frames needs --cache-dir")
    daemon = _Daemon(
        session.MountOptions(
            os.path.abspath(options.source),
            os.path.abspath(options.mountpoint),
            for_kernel,
            view_options(options),
            options.workers,
            options.cache_memory,
            os.path.abspath(options.cache_dir) if options.cache_dir else None,
            options.cache_size,
            options.cache_frames,
            options.trust_modes,
        ),
        os.path.abspath(options.log_file) if options.log_file else None,
        options.foreground,
    )
    return daemon.serve(_nobody_waits) if options.foreground else detach(daemon.serve)


@dataclass(slots=True)
class _Daemon:
    """The process that serves the mount. Until the mount can be used, warnings go to the terminal as well."""

    options: session.MountOptions
    log_file: str | None
    foreground: bool
    _terminal: logging.Handler = field(default_factory=logging.StreamHandler)
    _mounted: Callable[[], None] | None = None

    def serve(self, mounted: Callable[[], None]) -> int:
        """Serve until unmounted, calling *mounted* when the mount can be used. Return the exit code."""
        start_log(self.log_file, self.foreground)
        self._mounted = mounted
        self._terminal.setLevel(logging.WARNING)
        self._terminal.setFormatter(OneLine("dicomfs: %(message)s"))
        if self.log_file or not self.foreground:
            logging.getLogger("dicomfs").addHandler(self._terminal)
        try:
            session.run(self.options, self._leave_terminal)
        except (OSError, RuntimeError) as error:
            complain(f"cannot mount: {describe(error)}")
            return FAILED
        return DONE

    def _leave_terminal(self) -> None:
        logging.getLogger("dicomfs").removeHandler(self._terminal)
        if self._mounted:
            self._mounted()


def _nobody_waits() -> None:
    """In the foreground, no process waits for the mount."""
