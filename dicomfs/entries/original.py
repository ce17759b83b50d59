"""The source verbatim: `original.dcm`, and each large value in `bulk/`."""

from dicomfs.dicom.json_model import BulkValue, bulk_values
from dicomfs.dicom.stream import Extent
from dicomfs.entries.dependence import Depends
from dicomfs.entries.source_bytes import ExtentsFile, SourceCopy
from dicomfs.instance.handle import InstanceHandle
from dicomfs.instance.instance import Instance
from dicomfs.vfs.nodes import NamedChildren, Node, ReadyDirectory


class OriginalDcm:
    """The source's bytes."""

    name = "original.dcm"
    depends = Depends.SOURCE

    def node(self, instance: Instance, handle: InstanceHandle) -> Node:
        """Serve the whole file."""
        return SourceCopy(handle)


class Bulk:
    """Every binary value above 1 KiB, little endian, by the name that `header.json` gives it."""

    name = "bulk"
    depends = Depends.PARSER

    def node(self, instance: Instance, handle: InstanceHandle) -> Node | None:
        """Serve the values, if there are any."""
        if instance.parsed is None:
            return None
        values = bulk_values(instance.parsed)
        if not values:
            return None
        files = [(value.name.encode(), _value_file(handle, value)) for value in values]
        return ReadyDirectory(handle.directory(), NamedChildren(files))


def _value_file(handle: InstanceHandle, value: BulkValue) -> ExtentsFile:
    return ExtentsFile(handle, [Extent(value.offset, value.length)], value.swap)
