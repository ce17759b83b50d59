"""Options are declared once: the tables of the reference, `argparse` and `-o` come from one table."""

import re
import subprocess
import sys

import pytest
from support import pages
from support.archives import PYDICOM
from support.pages import DOCS

from dicomfs.cli import main
from dicomfs.cli.main import VERBS
from dicomfs.cli.option_values import UsageError
from dicomfs.cli.options import OPTIONS, Option, options_of
from dicomfs.cli.parser import parse

PICTURE = str(PYDICOM / "CT_small.dcm" / "frames" / "0001.png")


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS if any(options_of(verb.name))])
def test_the_tables_of_options_are_those_of_the_code(verb: str) -> None:
    page = (DOCS / "reference.md").read_text()
    assert f"\n{pages.options(verb)}\n\n" in page
    assert f"\n{pages.mount_options()}\n\n" in page


def test_help_has_the_words_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in VERBS:
        with pytest.raises(SystemExit) as end:
            main.main([verb.name, "--help"])
        assert end.value.code == 0
        shown = " ".join(capsys.readouterr().out.split())
        for option in options_of(verb.name):
            assert all(usage in shown for usage in option.usage)
            assert option.description.replace("`", "") in shown
        assert "[C,W]" not in shown


def value_of(option: Option) -> str:
    return {"LIST": "bulk", "C,W": "-600/1500", "SIZE": "3M", "N": "7", "WHICH": "all"}.get(option.metavar, "x")


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.mountable], ids=lambda option: option.name)
def test_each_option_is_the_same_in_all_its_forms(option: Option) -> None:
    from dicomfs.cli.options import kernel_options

    value = value_of(option) if option.metavar else ""
    forms = [[f"--{option.name}={value}"], [f"--{option.name}", value]] if value else [[f"--{option.name}"]]
    forms.append(["-o", f"{option.attribute}={value}".removesuffix("=")])
    results = []
    for form in forms:
        for words in ([*form, "archive", "mnt"], ["archive", "mnt", *form], ["archive", *form, "mnt"]):
            options = parse(["mount", *words], VERBS)
            kernel_options(options)
            results.append(getattr(options, option.attribute))
    assert results[0] != getattr(parse(["mount", "archive", "mnt"], VERBS), option.attribute)
    assert all(result == results[0] for result in results)


def run(*words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "dicomfs", *words], capture_output=True, check=False, timeout=120)


def test_a_window_may_begin_with_a_minus_sign_wherever_it_stands() -> None:
    shown = run("cat", "--window=-600,1500", PICTURE)
    assert (shown.returncode, shown.stdout[:4]) == (0, b"\x89PNG")
    for words in (["--window", "-600,1500", PICTURE], [PICTURE, "--window", "-600,1500"]):
        assert run("cat", *words).stdout == shown.stdout
    assert run("cat", "--window", "-600,1500", "--cine", "all", PICTURE).stdout == shown.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--window"], "--window needs a value: --window=C,W"),
        (["--window", "--cine=all"], "--window needs a value: --window=C,W"),
        (["--window", "-600,x"], "--window: '-600,x' is not a centre and a width"),
        (["--window", "-f"], "--window needs a value: --window=C,W"),
        (["--nothing", "--window"], "--window needs a value: --window=C,W"),
    ],
)
def test_a_window_that_is_none(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse(["cat", "archive", *words], VERBS)


@pytest.mark.parametrize(
    "words",
    [
        ["--nothing"],
        ["--window=1,2", "--nothing"],
        ["--window", "-1,2", "--nothing"],
        ["--nothing", "--window", "-1,2"],
    ],
)
def test_unknown_options_are_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        parse(["cat", "archive", *words], VERBS)
    assert end.value.code == 2
    assert "unrecognized arguments: --nothing" in capsys.readouterr().err
