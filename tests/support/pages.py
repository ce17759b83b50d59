"""Parts of docs/ that follow from code: `make docs` writes them, `tests/test_maintainer_pages.py` compares them."""

import re
from pathlib import Path

from test_layers import FOLDERS

ARCHITECTURE = Path(__file__).parents[2] / "docs" / "architecture.md"
_PART = re.compile(r"(<!-- folders -->\n).*?(<!-- end of folders -->)", re.DOTALL)


def folder_table() -> str:
    """Return the table of folders as Markdown: a name and a sentence each, from the top down."""
    rows = [f"| `{folder.name}/` | {folder.sentence} |" for folder in FOLDERS]
    return "\n".join(["", "| folder | what it is for |", "|---|---|", *rows, "", ""])


def with_folders(text: str) -> str:
    """Return the architecture page with the table of today."""
    assert len(_PART.findall(text)) == 1
    return _PART.sub(lambda part: f"{part[1]}{folder_table()}{part[2]}", text)


if __name__ == "__main__":
    ARCHITECTURE.write_text(with_folders(ARCHITECTURE.read_text()))
