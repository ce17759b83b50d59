"""The checks themselves: lint and pre-commit agree, versions are pinned, steps fit, forms warn of patient data."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = Path(__file__).parents[1]
CONSTRAINTS = (PROJECT / ".ci" / "constraints.txt").read_text()


def test_pre_commit_runs_the_checks_of_make_lint() -> None:
    lint = re.findall(r'^check \S+ (\.venv/bin/.*?)(?: --quiet| "\$\{scripts.*)?$', read(".ci/lint"), re.MULTILINE)
    hooks = re.findall(r"entry: (\.venv/bin/.*?)(?: --force-exclude)?$", read(".pre-commit-config.yaml"), re.MULTILINE)
    assert lint == hooks
    assert len(lint) == 6


def read(name: str) -> str:
    return (PROJECT / name).read_text()


def pinned() -> dict[str, str]:
    """Return the version of each package in the constraints, by its normalised name."""
    lines = [line for line in CONSTRAINTS.splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][0-9A-Za-z.+!]*)", line) for line in lines]
    assert all(found), "a constraint is a name and a version, and names no place to get it from"
    return {canonicalize_name(match[1]): match[2] for match in found if match}


def test_every_direct_requirement_is_pinned_to_a_version_that_fits() -> None:
    project = tomllib.loads(read("pyproject.toml"))["project"]
    extras = [name for group in ("demo", "test", "lint") for name in project["optional-dependencies"][group]]
    versions = pinned()
    for requirement in map(Requirement, [*project["dependencies"], *extras]):
        version = versions.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is not pinned; run .ci/constrain"
        assert requirement.specifier.contains(version), f"{requirement} is pinned to {version}; run .ci/constrain"


def test_the_steps_of_the_checks_fit_their_time() -> None:
    steps = re.findall(r"^step (\d+) (\S+)$", read(".ci/run"), re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.MULTILINE))
    assert {name for _, name in steps} <= targets
    assert {"lint", "package", "test", "test-slow"} <= {name for _, name in steps}
    assert sum(int(minutes) for minutes, _ in steps) < 90


def test_every_target_is_in_the_help() -> None:
    makefile = read("Makefile")
    named = set(re.findall(r'@echo "make ([a-z-]+) ', makefile))
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert targets - named == {"help", "test-ready"}


def test_forms_warn_of_patient_data() -> None:
    folder = PROJECT / ".github" / "ISSUE_TEMPLATE"
    forms = {path.name: path.read_text() for path in folder.iterdir() if path.name != "config.yml"}
    assert forms
    for name, text in forms.items():
        assert "**Never attach patient data" in text, name
    assert "blank_issues_enabled: false" in (folder / "config.yml").read_text()
    assert "Never attach patient data" in read(".github/PULL_REQUEST_TEMPLATE.md")
    assert "Never send patient data" in read("SECURITY.md")
