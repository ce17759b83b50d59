"""One DICOM object: its data set, its frames and where they are, and what is wrong with it.

An Instance holds no open file, so that it can be kept and shared.
"""

from dicomfs.dicom.on_demand import on_demand
from dicomfs.dicom.part10_reader import NotDicom, parse
from dicomfs.dicom.printable import printable
from dicomfs.dicom.stream import Stream
from dicomfs.instance.checks import CHECKS, MAX_DESCRIBED_FRAMES, MAX_TIFF_FRAME_BYTES
from dicomfs.instance.stages import Stages

__all__ = ["MAX_DESCRIBED_FRAMES", "MAX_PROBLEM_LENGTH", "MAX_TIFF_FRAME_BYTES", "Instance", "load"]

MAX_PROBLEM_LENGTH = 500
"""Characters of a sentence on what is wrong with a file."""


class Instance(Stages):
    """One DICOM object, and what is wrong with it."""

    @on_demand
    def problems(self) -> tuple[str, ...]:
        """A sentence for whatever is wrong, each once. Runs all checks, some of which read the stream."""
        found = (printable(sentence, MAX_PROBLEM_LENGTH) for check in CHECKS for sentence in check(self))
        return tuple(dict.fromkeys(found))


def load(stream: Stream) -> Instance:
    """Parse one DICOM object; what cannot be read is a problem, not an error. Raises OSError of the source only."""
    try:
        parsed = parse(stream)
    except NotDicom as error:
        return Instance(None, unreadable=str(error.strerror))
    return Instance(parsed, parsed.stream if parsed.stream is not stream else None)
