"""Parts of docs/ that follow from code: `make docs` writes them, `tests/test_maintainer_pages.py` compares them.

Such a part is between `<!-- NAME -->` and `<!-- end -->`.
"""

import re
from collections.abc import Callable
from pathlib import Path

from test_layers import FOLDERS

from dicomfs.cli.options import CAT, CP, KERNEL_OPTIONS, LS, MOUNT, options_of

DOCS = Path(__file__).parents[2] / "docs"


def folders() -> str:
    """Return the table of folders: a name and a sentence each, from the top down."""
    rows = [f"| `{folder.name}/` | {folder.sentence} |" for folder in FOLDERS]
    return "\n".join(["| folder | what it is for |", "|---|---|", *rows])


def options(verb: str) -> str:
    """Return the table of a verb's options; those that it shares with `mount` are one row."""
    own = [option for option in options_of(verb) if verb == MOUNT or MOUNT not in option.verbs]
    shared = [option for option in options_of(verb) if option not in own]
    rows = [f"| {_code(*option.usage)} | {option.description} |" for option in own]
    if shared:
        usages = [usage for option in shared for usage in option.usage]
        rows.append(f"| {_code(*usages)} | As for `dicomfs mount`. |")
    return "\n".join(["| option | meaning |", "|---|---|", *rows])


def mount_options() -> str:
    """Return the table of what `-o` takes."""
    alike, different = [], []
    for option in options_of(MOUNT):
        if option.mountable:
            (different if re.search("[/:]", option.example) else alike).append(option)
    rows = [f"| {_code(*(option.mount_usage for option in alike))} | As the options above. |"]
    rows += [f"| `{option.example}` | As `--{option.name}`, but without commas. |" for option in different]
    rows += [f"| {_code(*kernel.words)} | {kernel.description} |" for kernel in KERNEL_OPTIONS]
    return "\n".join(["| `-o` | meaning |", "|---|---|", *rows])


def _code(*texts: str) -> str:
    return ", ".join(f"`{text}`" for text in texts)


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "architecture.md": {"folders": folders},
    "reference.md": {
        **{f"options: {verb}": lambda verb=verb: options(verb) for verb in (MOUNT, LS, CAT, CP)},
        "options: -o": mount_options,
    },
}


def written(name: str) -> str:
    """Return the text of a page with its parts as the code has them now."""
    text = (DOCS / name).read_text()
    for part, make in PARTS[name].items():
        pattern = rf"<!-- {part} -->\n.*?<!-- end -->"
        assert len(re.findall(pattern, text, re.DOTALL)) == 1, part
        whole = f"<!-- {part} -->\n\n{make()}\n\n<!-- end -->"
        text = re.sub(pattern, lambda _, whole=whole: whole, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    for page in PARTS:
        (DOCS / page).write_text(written(page))
