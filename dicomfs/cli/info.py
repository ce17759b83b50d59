"""`dicomfs info`: the content of one DICOM file, how its frames are found, and its problems."""

import argparse
import os
from collections.abc import Iterator, Sequence

import trio

from dicomfs.cli.files import opened
from dicomfs.cli.option_values import UsageError
from dicomfs.cli.outcome import DONE, FAILED
from dicomfs.cli.usage import check_archive
from dicomfs.codecs.registry import CODECS
from dicomfs.codecs.remarks import LONGEST, read
from dicomfs.dicom import tags
from dicomfs.dicom.dictionary import is_known_uid, uid_name
from dicomfs.dicom.part10_reader import DicomFile
from dicomfs.dicom.printable import frame_list, printable
from dicomfs.formats.png import text_of
from dicomfs.instance.instance import Instance, load
from dicomfs.sources.local import LocalSource
from dicomfs.vfs.nodes import Directory, File

# Defined terms of PS3.3 C.7.3.1.1.1, retired ones included.
MODALITIES = frozenset(
    (
        "ANN", "AR", "ASMT", "AU", "BDUS", "BI", "BMD", "CD", "CF", "CFM", "CP", "CR", "CS", "CT",
        "CTPROTOCOL", "DD", "DF", "DG", "DM", "DMS", "DS", "DX", "EC", "ECG", "EEG", "EM", "EMG", "EOG",
        "EPS", "ES", "FA", "FID", "FS", "GM", "HC", "HD", "IO", "IOL", "IVOCT", "IVUS", "KER", "KO", "LEN",
        "LP", "LS", "M3D", "MA", "MG", "MR", "MS", "NM", "OAM", "OCT", "OP", "OPM", "OPR", "OPT", "OPTBSV",
        "OPTENF", "OPV", "OSS", "OT", "PA", "PLAN", "POS", "PR", "PT", "PX", "REG", "RESP", "RF", "RG",
        "RTDOSE", "RTIMAGE", "RTINTENT", "RTPLAN", "RTRAD", "RTRECORD", "RTSEGANN", "RTSTRUCT", "RWV", "SC",
        "SEG", "SM", "SMR", "SR", "SRF", "ST", "STAIN", "TEXTUREMAP", "TG", "US", "VA", "VF", "XA",
        "XAPROTOCOL", "XC",
    )
)  # fmt: skip
# Defined terms of PS3.3 C.7.6.3.1.2, retired ones included.
PHOTOMETRIC_INTERPRETATIONS = frozenset(
    (
        "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "HSV", "ARGB", "CMYK", "YBR_FULL", "YBR_FULL_422",
        "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "XYB",
    )
)  # fmt: skip
# Frames that are drawn for findings that only decoding gives.
_MAX_DRAWN_FRAMES = 16

# Decoding processes: the frames are drawn one after another.
_WORKERS = 1


def info(options: argparse.Namespace) -> int:
    """Describe a file; return the exit code. Raises UsageError for a directory."""
    check_archive(options.file)
    source = LocalSource(options.file)
    if not source.is_file:
        raise UsageError(f"{options.file} is a directory; name one DICOM file")
    entry = source.root_entry()
    file = source.open(entry.path, entry.fingerprint)
    try:
        instance = load(file)
        for line in describe(instance):
            print(line)
    finally:
        file.close()
        source.close()
    if instance.pixels is not None and len(instance.pixels.frames):
        with opened(os.fsencode(options.file), _WORKERS, 0) as tree:
            for line in trio.run(drawn, tree.top):
                print(line)
    return FAILED if instance.parsed is None else DONE


def describe(instance: Instance) -> Iterator[str]:
    """Yield the lines that are printed; values that identify a patient are not among them."""
    parsed = instance.parsed
    if parsed is not None:
        yield from _identity(parsed)
    if instance.pixels is not None:
        yield from _pixels(instance)
    elif instance.fragments is not None:
        yield _line("frames", f"none; {len(instance.fragments) - 1} fragments")
    elif parsed is not None:
        yield _line("frames", "none")
    yield _line("problems", "" if instance.problems else "none")
    yield from (f"  {problem}" for problem in instance.problems)


async def drawn(top: Directory) -> list[str]:
    """Draw some frames of the object whose directory is *top*; return their remarks, or errors."""
    directory = await top.lookup(b"frames")
    if directory is None or not isinstance(directory.node, Directory):
        return []
    frames = await directory.node.listing()
    chosen: Sequence[int] = range(len(frames))
    if len(frames) > _MAX_DRAWN_FRAMES:
        chosen = sorted({place * (len(frames) - 1) // (_MAX_DRAWN_FRAMES - 1) for place in range(_MAX_DRAWN_FRAMES)})
    found: dict[str, list[int]] = {}
    for frame in chosen:
        node = frames[frame].node
        for sentence in await _said(node) if isinstance(node, File) else ():
            found.setdefault(sentence, []).append(frame + 1)
    if not found:
        return []
    lines = [f"  {frame_list(numbers)}: {sentence}" for sentence, numbers in found.items()]
    return [_line("drawn", f"{len(chosen)} of {len(frames)} frames"), *lines]


async def _said(picture: File) -> tuple[str, ...]:
    """Make one display image, and read its remarks."""
    content = await picture.open()
    try:
        return read(text_of(bytes(await content.read(0, content.size)), LONGEST))
    except OSError as error:
        return (f"cannot be read: {error.strerror or error}",)
    finally:
        content.close()


def _identity(parsed: DicomFile) -> Iterator[str]:
    sop_class = parsed.dataset.text(tags.SOPClassUID) or parsed.meta.text(tags.MediaStorageSOPClassUID)
    yield _line("SOP class", _uid(sop_class))
    yield _line("modality", _term(parsed.dataset.text(tags.Modality), MODALITIES))
    syntax = parsed.transfer_syntax
    yield _line("transfer syntax", f"{_uid(syntax)} ({syntax})" if is_known_uid(syntax) else _uid(syntax))


def _pixels(instance: Instance) -> Iterator[str]:
    assert instance.pixels is not None  # noqa: S101 - the caller looked
    fmt, frames = instance.pixels.format, instance.pixels.frames
    yield _line("frames", f"{len(frames)}, found by {frames.found_by}")
    codec = CODECS.get(fmt.transfer_syntax)
    if codec is None:
        yield _line("codec", "none for this transfer syntax")
    else:
        yield _line("codec", f"{codec.name}; {codec.missing}" if codec.missing else codec.name)
    sign = "floating point" if fmt.real else "signed" if fmt.signed else "unsigned"
    yield _line(
        "pixels",
        f"{fmt.columns} x {fmt.rows}, {fmt.samples} sample{'s' if fmt.samples > 1 else ''} of {fmt.bits_stored} "
        f"in {fmt.bits_allocated} bits, {sign}, {_term(fmt.photometric, PHOTOMETRIC_INTERPRETATIONS)}",
    )


def _uid(uid: str | None) -> str:
    """Name a UID; one that is not of the standard may be any text, and is not repeated."""
    if not uid:
        return "not stated"
    return uid_name(uid) if is_known_uid(uid) else "not a known UID"


def _term(value: str | None, terms: frozenset[str]) -> str:
    """Return a coded string if it is one of the standard's *terms*: others may be any text, such as a name."""
    value = (value or "").strip()
    return value if value in terms else "not a defined term" if value else "not stated"


def _line(label: str, text: str) -> str:
    return printable(f"{label:<16} {text}".rstrip())
