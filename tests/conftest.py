"""What all tests share: programs that judge us, and the rule that an unannounced warning is a failure."""

import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from support.archives import CORPUS
from support.hidden_library import hide_imagecodecs_from_dicomfs
from support.mounting import Loop
from support.oracles import REPORTS, TABLE


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that shows what second decoders are worth."""
    parser.addoption("--without-imagecodecs", action="store_true", help="hide imagecodecs from dicomfs")


def pytest_configure(config: pytest.Config) -> None:
    """Hide imagecodecs where that is asked for."""
    if config.getoption("--without-imagecodecs"):
        hide_imagecodecs_from_dicomfs(Path(tempfile.mkdtemp(prefix="dicomfs-stubs-")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Name as not run what needs a kind of codestream that only imagecodecs reads, where that is hidden."""
    report = yield
    if report.failed and item.config.getoption("--without-imagecodecs"):
        lacking = re.search("no decoder here reads ([^:]+)", str(report.longrepr))
        if lacking:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), 0, f"only imagecodecs reads {lacking[1]}")
    return report


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """Give the path of an installed program, or skip the test by name (fail where CI is set)."""

    def find(name: str) -> str:
        path = shutil.which(name) or shutil.which(name, path="/usr/sbin")  # servers are no users' commands
        if path is None:
            reason = f"the program {name} is not installed"
            if os.environ.get("CI"):
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return find


@pytest.fixture(scope="session")
def corpus() -> Path | None:
    """Folder of the larger corpus, or None."""
    return CORPUS if CORPUS.is_dir() else None


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    """Give the event loop that tests of the tree run on; a module's, since some modules count processes."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(autouse=True)
def no_unannounced_warning(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that logged a WARNING or worse without the mark `expects_log`."""
    yield
    if request.node.get_closest_marker("expects_log"):
        return
    bad = [
        record
        for phase in ("setup", "call")
        for record in caplog.get_records(phase)
        if record.levelno >= logging.WARNING and record.name.startswith("dicomfs")
    ]
    assert not bad, f"unannounced log records: {[record.getMessage() for record in bad]}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print how our stored values compare with those of other programs, where tests compared them."""
    table = config.stash.get(TABLE, None)
    if table is not None:
        terminalreporter.section("stored values beside pydicom, imagecodecs, DCMTK and GDCM")
        for line in table.lines():
            terminalreporter.write_line(line)
    for title, report in config.stash.get(REPORTS, {}).items():
        terminalreporter.section(title)
        for line in report.lines():
            terminalreporter.write_line(line)
