"""Write the data dictionary that dicomfs carries, out of pydicom's: `python tools/make_dictionary.py`.

The table is text, in paragraphs that an empty line separates:

1. where the table comes from;
2. elements: tag, VR, keyword;
3. elements of repeating groups: the same, with x for any digit of the tag;
4. UIDs: UID, keyword, name;
5. and all that follow: one private creator, then its elements: tag with x for any digit, VR, name.

Fields are separated by tabs. What is nowhere asked for (value multiplicity, names of public elements) is left out.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pydicom
from pydicom.datadict import DicomDictionary, RepeatersDictionary, private_dictionaries
from pydicom.uid import UID_dictionary

TABLE = Path(__file__).resolve().parent.parent / "dicomfs" / "dicom" / "dictionary.tsv"


def paragraphs() -> Iterator[list[str]]:
    """Give the lines of each paragraph."""
    yield [f"pydicom {pydicom.__version__}"]
    yield [f"{tag:08X}\t{entry[0]}\t{entry[4]}" for tag, entry in sorted(DicomDictionary.items())]
    yield [f"{tag}\t{entry[0]}\t{entry[4]}" for tag, entry in sorted(RepeatersDictionary.items())]
    yield [f"{uid}\t{entry[4]}\t{entry[0]}" for uid, entry in sorted(UID_dictionary.items())]
    for creator, elements in sorted(private_dictionaries.items()):
        yield [creator, *(f"{tag}\t{entry[0]}\t{entry[2]}" for tag, entry in sorted(elements.items()))]


def table() -> str:
    """Make the whole table."""
    text = "\n\n".join("\n".join(lines) for lines in paragraphs()) + "\n"
    fields = [field for lines in paragraphs() for line in lines for field in line.split("\t")]
    if any(not field.isprintable() for field in fields):
        sys.exit("a field of the dictionary holds what separates fields")
    return text


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
