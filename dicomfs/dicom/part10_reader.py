"""DICOM files as they come: preamble, File Meta Information, data set (PS3.10 clause 7), or without some of these.

Only this module decides where the data set starts and how it is encoded: what the meta information says, what the
first element shows, and inflation of a deflated data set.
"""

import errno
from dataclasses import dataclass

from dicomfs.dicom import tags, uids
from dicomfs.dicom.data_set import DataSet, Element
from dicomfs.dicom.deflated import Inflated, inflate
from dicomfs.dicom.element_reader import MAX_KEPT_VALUE_BYTES, PIXEL_DATA, Reader
from dicomfs.dicom.encoding import Encoding, guess_encoding, likelihood
from dicomfs.dicom.fragments import Fragments
from dicomfs.dicom.problems import Problems
from dicomfs.dicom.recognition import HEAD, is_dicom, stray_byte
from dicomfs.dicom.stream import Stream

__all__ = ["MAX_KEPT_VALUE_BYTES", "PIXEL_DATA", "DataSet", "DicomFile", "Element", "NotDicom", "parse"]

DEFLATED = frozenset((uids.DeflatedExplicitVRLittleEndian, uids.JPIPReferencedDeflate, uids.JPIPHTJ2KReferencedDeflate))
_ENCODINGS = {
    uids.ImplicitVRLittleEndian: Encoding(False, False),
    uids.PrivateGEImplicitVRBigEndianPixelData: Encoding(False, False),
    uids.ExplicitVRBigEndian: Encoding(True, True),
}
_NATIVE = {
    Encoding(False, False): uids.ImplicitVRLittleEndian,
    Encoding(False, True): uids.ImplicitVRLittleEndian,
    Encoding(True, False): uids.ExplicitVRLittleEndian,
    Encoding(True, True): uids.ExplicitVRBigEndian,
}
_NOT_ENCAPSULATED = frozenset(
    (*_NATIVE.values(), uids.PrivateGEImplicitVRBigEndianPixelData, uids.DeflatedExplicitVRLittleEndian)
)


class NotDicom(OSError):
    """Nothing in a file can be read as DICOM."""

    def __init__(self) -> None:
        """Carry EIO."""
        super().__init__(errno.EIO, "this is not a DICOM file")


@dataclass(frozen=True, slots=True)
class DicomFile:
    """One DICOM file, read.

    *transfer_syntax* is the one that was used, after all guesses; *stream* is what the offsets of the data set refer
    to: the file itself, or its inflated data set (those of *meta* always refer to the file). *fragments* are the Items
    of the Pixel Data where it is encapsulated. *problems* are sentences without patient data, each ending with the
    rule that it is about. *whole* says that all of the data set was read, apart from what pixel data may lack. *weight*
    is what all elements cost in memory, in bytes, an inflated data set included.
    """

    preamble: bytes
    meta: DataSet
    dataset: DataSet
    transfer_syntax: str
    stream: Stream
    problems: tuple[str, ...]
    fragments: Fragments | None
    whole: bool
    weight: int


def parse(stream: Stream) -> DicomFile:
    """Read a whole file except pixel data and long values (PS3.10 7.1).

    Raises NotDicom, and OSError where reading the stream does, or where a deflated data set finds no room on the disk.
    """
    problems = Problems()
    reader = Reader(stream, problems)
    preamble, position = _read_preamble(reader)
    meta, position = _read_meta(reader, position)
    declared = meta.text(tags.TransferSyntaxUID) or ""
    inflated = _inflate(stream, position, problems) if declared in DEFLATED else None
    if inflated is not None:
        reader, position = Reader(inflated, problems), 0
    encoding, syntax = _encoding(reader, position, declared)
    reader.encapsulated = syntax not in _NOT_ENCAPSULATED
    dataset, _ = reader.read(position, reader.stream.size, encoding)
    if not len(meta) and not len(dataset):
        raise NotDicom
    if not len(dataset):
        reader.flag("the file has no data set (L1)")
    whole = not reader.lost and (inflated is None or inflated.whole)
    fragments, told = reader.fragments, tuple(problems)
    weight = reader.weight + (inflated.weight if inflated else 0)
    return DicomFile(preamble, meta, dataset, syntax, reader.stream, told, fragments, whole, weight)


def _read_preamble(reader: Reader) -> tuple[bytes, int]:
    """Return the preamble and say where the elements start (PS3.10 7.1, H7); raises NotDicom."""
    head = reader.peek(0, HEAD)
    if head[128:132] == b"DICM":
        preamble = head[:128]
        if preamble.startswith((b"MZ", b"\x7fELF", b"#!")):
            reader.flag("the preamble makes this file a program as well (H17)")
        return preamble, 132
    start = 4 if head[:4] == b"DICM" else 0
    if not start and not is_dicom(head, reader.stream.size):
        raise NotDicom
    reader.flag("the preamble is missing (H7)")
    if stray_byte(head, reader.stream.size):
        reader.flag("a stray byte before the first element is skipped (H7)")
        start = 1
    return b"", start


def _read_meta(reader: Reader, start: int) -> tuple[DataSet, int]:
    """Read File Meta Information, if there is any; say where the data set starts (PS3.10 7.1, H7)."""
    size = reader.stream.size
    head = reader.peek(start)
    if head[:2] not in (b"\x02\x00", b"\x00\x02"):
        reader.flag("the file meta information is missing (H7)")
        return DataSet(), start
    usual = Encoding(True, False)
    encoding = guess_encoding(head, size - start, usual, True)
    if encoding != usual:
        reader.flag("the file meta information is not in Explicit VR Little Endian (H7)")
    # Where the group ends is seen, not believed: writers forgot its length or counted wrong.
    meta, stop = reader.read(start, size, encoding, only_group=2)
    element, length = meta.get(tags.FileMetaInformationGroupLength), meta.integer(tags.FileMetaInformationGroupLength)
    if element is None or length is None:
        reader.flag("the file meta group length is missing (H7)")
        return meta, stop
    promised = element.offset + element.length + length
    if promised < stop and meta.text(tags.TransferSyntaxUID) in DEFLATED:
        # What follows is compressed: that it looks like group 2 is chance.
        return reader.read(start, promised, encoding)
    if promised != stop:
        reader.flag("the file meta group length is wrong (H7)")
    return meta, stop


def _encoding(reader: Reader, position: int, declared: str) -> tuple[Encoding, str]:
    """Judge how the data set is encoded and which transfer syntax that makes it (H7, H10)."""
    usual = _ENCODINGS.get(declared, Encoding(True, False))
    remaining = reader.stream.size - position
    encoding = guess_encoding(reader.peek(position), remaining, usual, True) if remaining >= 8 else usual
    if not declared:
        reader.flag("the transfer syntax is missing; it is guessed from the first element (H7)")
        return encoding, _NATIVE[encoding]
    if declared in DEFLATED and encoding == usual:
        return encoding, declared
    if encoding != usual:
        reader.flag("the data set is not encoded as its transfer syntax says (H10)")
        # Pixel data that is compressed stays so, however the elements around it are encoded.
        return encoding, _NATIVE[encoding] if declared in _NOT_ENCAPSULATED else declared
    return encoding, declared


def _inflate(stream: Stream, position: int, problems: Problems) -> Inflated | None:
    """Inflate a deflated data set (PS3.5 A.5), also one with a zlib or gzip header; None when it is not deflated."""
    head = stream.pread(12, position)
    if likelihood(head, stream.size - position, Encoding(True, False)) == 2:
        problems.report("the data set is not deflated although the transfer syntax says so (H10)")
        return None
    inflated, wrapped = inflate(stream, position)
    if wrapped:
        problems.report("the deflated data set has a zlib or gzip header (H10)")
    if inflated.fault:
        problems.report(inflated.fault)
    return inflated
