"""Objects without Pixel Data that should have pixels: where these are instead, as far as the file tells.

Only this module looks into private elements, and at no more than their lengths.
"""

from collections.abc import Iterator

from dicomfs.dicom import tags, uids
from dicomfs.dicom.data_set import DataSet, Element
from dicomfs.dicom.dictionary import is_known_creator, is_private, uid_name
from dicomfs.dicom.part10_reader import DicomFile

# JPEG 2000 and HTJ2K by JPIP (PS3.5 A.6, A.7 and their successors): a server has the pixels, the file their URL.
JPIP = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (94, 95, 204, 205))
# Storage classes whose objects have pixels though their names do not say so. RT Dose has them if it has Rows.
_IMAGES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("6.2", "30", "66.4", "66.7", "77.1.5.8", "81.1", "82.1")
)
_BINARY = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
# Pixels of a real picture take more, however they are compressed.
_MIN_BYTES = 512
# Levels of private sequences, and elements of them all, that are looked at.
_MAX_DEPTH, _MAX_ELEMENTS = 4, 10_000


def pixels_elsewhere(parsed: DicomFile) -> tuple[str, ...]:
    """Return where the pixels of an object without Pixel Data are: on a server, in a private element, or nowhere."""
    if tags.PixelDataProviderURL in parsed.dataset:
        return (
            "the pixels are on a server, at the Pixel Data Provider URL (0028,7FE0); nothing is fetched from there",
        )
    if parsed.transfer_syntax in JPIP:
        return ("the pixels are on a server, but the file does not say where; nothing is fetched",)
    if not _has_pixels(parsed.dataset):
        return ()
    largest = max(_private_values(parsed.dataset), key=lambda found: found[0].length, default=None)
    if largest is None:
        return ("the object is an image by its class, but has no Pixel Data (M7)",)
    element, creator = largest
    name = f"({element.tag >> 16:04X},{element.tag & 0xFFFF:04X})"
    name += f" of {creator}" if is_known_creator(creator) else ""
    return (
        "the object is an image by its class, but has no Pixel Data; "
        f"the private element {name} may hold its pixels, which nothing here reads (M7)",
    )


def _has_pixels(dataset: DataSet) -> bool:
    """Return whether an object of this class has pixels; of a class that nobody knows, whether it states their size."""
    sop_class = dataset.text(tags.SOPClassUID) or ""
    name = uid_name(sop_class)
    if name == sop_class or sop_class == uids.RTDoseStorage:
        return tags.Rows in dataset and tags.Columns in dataset
    return "Image Storage" in name or sop_class in _IMAGES


def _private_values(dataset: DataSet) -> Iterator[tuple[Element, str]]:
    """Return the private elements that are large and binary, also in private sequences, with their private creators."""
    waiting, left = [(dataset, 0)], _MAX_ELEMENTS
    while waiting and left > 0:
        here, depth = waiting.pop()
        for element in here:
            left -= 1
            if not is_private(element.tag):
                continue
            if element.items is not None:
                waiting += [(item, depth + 1) for item in element.items if depth < _MAX_DEPTH]
            elif element.vr in _BINARY and element.length >= _MIN_BYTES:
                yield element, here.text((element.tag & 0xFFFF0000) | (element.tag >> 8 & 0xFF)) or ""
