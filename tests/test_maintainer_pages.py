"""Pages for maintainers: the architecture is that of the layer test, promises have tests, benchmarks exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from bench.__main__ import BENCHMARKS
from support.pages import DOCS, PARTS, written

PROJECT = Path(__file__).parents[1]


@cache
def names_in(name: str) -> set[str]:
    """Return the names of the tests in a file."""
    tree = ast.parse((PROJECT / name).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def missing(text: str) -> list[str]:
    """Return the ids of tests that a text names and that do not exist."""
    named = re.findall(r"`(tests/test_\w+\.py)::(test_\w+)`", text)
    return [f"{path}::{name}" for path, name in named if not (PROJECT / path).is_file() or name not in names_in(path)]


@pytest.mark.parametrize("page", PARTS)
def test_parts_that_follow_from_code_are_those_of_the_code(page: str) -> None:
    assert (DOCS / page).read_text() == written(page), "run `make docs`"


def methods() -> dict[str, set[str]]:
    """Map each class of dicomfs to the names that it defines or inherits within its module."""
    found: dict[str, set[str]] = {}
    for path in (PROJECT / "dicomfs").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                inherited = [found.get(ast.unparse(base), set()) for base in node.bases]
                own = {child.name for child in node.body if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)}
                found[node.name] = own.union(*inherited)
    return found


def test_classes_and_methods_that_the_architecture_names_exist() -> None:
    classes = methods()
    named = re.findall(r"`([A-Z]\w+[a-z]\w*)(?:\.(\w+))?`", (DOCS / "architecture.md").read_text())
    assert len(named) >= 6
    for name, method in named:
        assert name in classes or name == "OSError", name
        assert not method or method in classes[name], f"{name}.{method}"


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
