"""Pages for maintainers: the architecture is that of the layer test, promises have tests, benchmarks exist."""

import ast
import re
from functools import cache
from pathlib import Path

from bench.__main__ import BENCHMARKS
from support.pages import ARCHITECTURE, with_folders

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"


@cache
def names_in(name: str) -> set[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse((PROJECT / name).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def missing(text: str) -> list[str]:
    """Return the ids of tests that a text names and that do not exist."""
    named = re.findall(r"`(tests/test_\w+\.py)::(test_\w+)`", text)
    return [f"{path}::{name}" for path, name in named if not (PROJECT / path).is_file() or name not in names_in(path)]


def test_the_table_of_folders_is_that_of_the_layer_test() -> None:
    assert ARCHITECTURE.read_text() == with_folders(ARCHITECTURE.read_text()), "run `make docs`"


def test_every_promise_names_a_test() -> None:
    promises = re.split(r"^\* ", (DOCS / "semantics.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(promises) > 50
    for promise in promises:
        assert len(re.findall(r"`tests/test_\w+\.py::test_\w+`", promise)) >= 1, promise
        assert promise.split("\n\n")[0].strip().endswith("`"), promise


def test_tests_that_are_named_exist() -> None:
    for page in (*DOCS.glob("*.md"), PROJECT / "CONTRIBUTING.md", PROJECT / "README.md"):
        assert not missing(page.read_text()), page.name


def test_a_test_that_does_not_exist_is_noticed() -> None:
    assert missing("`tests/test_content.py::test_nothing_of_the_kind`, `tests/test_none.py::test_x`") == [
        "tests/test_content.py::test_nothing_of_the_kind",
        "tests/test_none.py::test_x",
    ]


def test_figures_name_the_benchmark_that_measures_them() -> None:
    page = (DOCS / "performance.md").read_text()
    named = {name for line in re.findall(r"make bench ARGS=\"([^\"]+)\"", page) for name in line.split()}
    assert named == set(BENCHMARKS)
