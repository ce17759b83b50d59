"""Every `BulkDataURI` of every `header.json` leads, inside the mount, to the bytes that pydicom finds."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from support.archives import DICOM_SAMPLES, swept
from support.mounting import Loop, files_below, read_all, tree_of

# Bytes of a word by VR: what DICOM JSON wants in little endian whatever the file has (PS3.18 F.2.7).
WORDS = {"OW": 2, "OL": 4, "OF": 4, "OD": 8, "OV": 8}


Way = tuple[object, ...]


def uris(model: dict[str, dict[str, object]], path: Way = ()) -> Iterator[tuple[Way, str]]:
    """Give every BulkDataURI with the way to its element: tag, item, tag …"""
    for tag, element in model.items():
        if "BulkDataURI" in element:
            yield (*path, tag), str(element["BulkDataURI"])
        if element["vr"] == "SQ":
            for number, item in enumerate(element.get("Value", [])):
                yield from uris(item, (*path, tag, number))


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
@pytest.mark.parametrize("sample", swept(DICOM_SAMPLES))
def test_uris_resolve(sample: Path, loop: Loop) -> None:
    async def read() -> dict[str, bytes]:
        with tree_of(loop, sample) as top:
            found = dict(await files_below(top))
            wanted = [path for path in found if path == b"header.json" or path.startswith(b"bulk/")]
            return {os.fsdecode(path): await read_all(found[path]) for path in wanted}

    shown = loop.run(read)
    referred = list(uris(json.loads(shown.pop("header.json"))))
    assert sorted(uri for _, uri in referred) == sorted(shown)
    dataset = pydicom.dcmread(sample, force=True)
    for path, uri in referred:
        if int(str(path[0]), 16) not in dataset:
            # pydicom gives up an element that the file ends in, and a data set behind a stray byte.
            assert len(shown[uri]) > 1024
            assert shown[uri] in sample.read_bytes()
            continue
        at: object = dataset
        for step in path:
            at = at[step if isinstance(step, int) else int(str(step), 16)]
            if isinstance(at, pydicom.DataElement) and at.VR == "SQ":
                at = at.value
        assert isinstance(at, pydicom.DataElement)
        value = at.value
        if isinstance(value, bytes):
            word = WORDS.get(at.VR, 1) if not dataset.original_encoding[1] else 1
            swapped = b"".join(value[place : place + word][::-1] for place in range(0, len(value), word))
            # Encapsulated values stand there with their delimiter, which pydicom leaves out.
            assert shown[uri].removesuffix(b"\xfe\xff\xdd\xe0\0\0\0\0") == swapped, path
