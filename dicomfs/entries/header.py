"""The header as text: `header.json`, `header.txt`, `regions.json`; and the problems of the file: `problems.txt`."""

from collections.abc import Callable, Iterator

from dicomfs.dicom.json_model import header_json, json_parts
from dicomfs.dicom.long_sequence import has_long
from dicomfs.dicom.part10_reader import DicomFile
from dicomfs.dicom.text_dump import header_txt, txt_parts
from dicomfs.entries.dependence import Depends
from dicomfs.entries.written_text import written_file
from dicomfs.instance.handle import InstanceHandle, TextFile
from dicomfs.instance.instance import Instance
from dicomfs.iod.ultrasound_regions import regions_json
from dicomfs.vfs.nodes import Node


class HeaderJson:
    """The DICOM JSON Model (PS3.18 Annex F)."""

    name = "header.json"
    depends = Depends.PARSER

    def node(self, instance: Instance, subject: InstanceHandle) -> Node | None:
        """Serve it where there is a header."""
        return _long(instance, subject, self.name, json_parts) or _of_header(instance, subject, self.name, header_json)


class HeaderTxt:
    """One line an element."""

    name = "header.txt"
    depends = Depends.PARSER

    def node(self, instance: Instance, subject: InstanceHandle) -> Node | None:
        """Serve it where there is a header."""
        return _long(instance, subject, self.name, txt_parts) or _of_header(instance, subject, self.name, header_txt)


class RegionsJson:
    """Regions of an ultrasound picture with their units."""

    name = "regions.json"
    depends = Depends.PARSER

    def node(self, instance: Instance, subject: InstanceHandle) -> Node | None:
        """Serve it where the file describes regions."""
        if instance.parsed is None or not regions_json(instance.parsed.dataset):
            return None
        return _of_header(instance, subject, self.name, lambda parsed: regions_json(parsed.dataset) or b"")


class ProblemsTxt:
    """What is wrong with the file and what was done about it, one line each."""

    name = "problems.txt"
    depends = Depends.DECODERS

    def node(self, instance: Instance, subject: InstanceHandle) -> Node | None:
        """Serve it where there is a problem."""
        if not instance.problems:
            return None
        return TextFile(subject, instance, self.name, _problems)


def _long(
    instance: Instance, subject: InstanceHandle, name: str, write: Callable[[DicomFile], Iterator[bytes]]
) -> Node | None:
    """Give a file that is written when it is wanted, where the header is long."""
    if instance.parsed is None or not has_long(instance.parsed.dataset):
        return None
    return written_file(subject, name, lambda instance: write(instance.parsed) if instance.parsed else iter(()))


def _of_header(
    instance: Instance, subject: InstanceHandle, name: str, write: Callable[[DicomFile], bytes]
) -> Node | None:
    if instance.parsed is None:
        return None

    def make(instance: Instance) -> bytes:
        return write(instance.parsed) if instance.parsed else b""

    return TextFile(subject, instance, name, make)


def _problems(instance: Instance) -> bytes:
    return "".join(f"{problem}\n" for problem in instance.problems).encode()
