"""The header as text: `header.json`, `header.txt`, `regions.json`; and the problems of the file: `problems.txt`."""

from collections.abc import Callable, Iterator
from functools import partial

from dicomfs.dicom.json_model import header_json, json_parts
from dicomfs.dicom.long_sequence import has_long
from dicomfs.dicom.part10_reader import DicomFile
from dicomfs.dicom.text_dump import header_txt, txt_parts
from dicomfs.entries.dependence import Depends
from dicomfs.entries.written_text import TextFile, written_file
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.iod.ultrasound_regions import regions_json
from dicomfs.vfs.nodes import Node


class HeaderJson:
    """The DICOM JSON Model (PS3.18 Annex F)."""

    name = "header.json"
    depends = Depends.PARSER

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve it where there is a header."""
        return _long(instance, handle, self.name, json_parts) or _short(instance, handle, self.name, header_json)


class HeaderTxt:
    """One line an element."""

    name = "header.txt"
    depends = Depends.PARSER

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve it where there is a header."""
        return _long(instance, handle, self.name, txt_parts) or _short(instance, handle, self.name, header_txt)


class RegionsJson:
    """Regions of an ultrasound picture with their units."""

    name = "regions.json"
    depends = Depends.PARSER

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve it where the file describes regions."""
        if instance.parsed is None or not regions_json(instance.parsed.dataset):
            return None
        return _short(instance, handle, self.name, _regions)


class ProblemsTxt:
    """What is wrong with the file and what was done about it, one line each."""

    name = "problems.txt"
    depends = Depends.DECODERS

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve it where there is a problem."""
        if not instance.problems:
            return None
        return TextFile(handle, instance, self.name, _problems)


def _long(
    instance: Instance, handle: InstanceHandle, name: str, write: Callable[[DicomFile], Iterator[bytes]]
) -> Node | None:
    """Return a file that is written when it is wanted, where the header is long."""
    if instance.parsed is None or not has_long(instance.parsed.dataset):
        return None
    return written_file(handle, name, partial(_parts, write))


def _short(instance: Instance, handle: InstanceHandle, name: str, write: Callable[[DicomFile], bytes]) -> Node | None:
    """Return a file that is made whole, where there is a header."""
    if instance.parsed is None:
        return None
    return TextFile(handle, instance, name, partial(_whole, write))


def _parts(write: Callable[[DicomFile], Iterator[bytes]], instance: Instance) -> Iterator[bytes]:
    return write(instance.parsed) if instance.parsed else iter(())


def _whole(write: Callable[[DicomFile], bytes], instance: Instance) -> bytes:
    return write(instance.parsed) if instance.parsed else b""


def _regions(parsed: DicomFile) -> bytes:
    return regions_json(parsed.dataset) or b""


def _problems(instance: Instance) -> bytes:
    return "".join(f"{problem}\n" for problem in instance.problems).encode()
