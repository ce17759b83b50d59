"""`dicomfs info`: what one DICOM file holds, how its frames are found and what is wrong with it."""

from collections.abc import Iterator

from dicomfs.codecs.table import CODECS
from dicomfs.dicom.dataset import Parsed
from dicomfs.dicom.dictionary import uid_name
from dicomfs.image.instance import Instance

_SOP_CLASS = 0x00080016
_MODALITY = 0x00080060


def describe(instance: Instance) -> Iterator[str]:
    """Give the lines that are printed; values that identify a patient are not among them."""
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


def _identity(parsed: Parsed) -> Iterator[str]:
    sop_class = parsed.dataset.text(_SOP_CLASS) or parsed.meta.text(0x00020002)
    yield _line("SOP class", uid_name(sop_class) if sop_class else "not stated")
    yield _line("modality", parsed.dataset.text(_MODALITY) or "not stated")
    syntax = parsed.transfer_syntax
    yield _line("transfer syntax", f"{uid_name(syntax)} ({syntax})")


def _pixels(instance: Instance) -> Iterator[str]:
    assert instance.pixels is not None  # noqa: S101 - the caller looked
    fmt, frames = instance.pixels.format, instance.pixels.frames
    yield _line("frames", f"{len(frames)}, found by {frames.found_by}")
    codec = CODECS.get(fmt.transfer_syntax)
    if codec is None:
        yield _line("codec", "none for this transfer syntax")
    else:
        yield _line("codec", f"{codec.name}; {codec.missing}" if codec.missing else codec.name)
    sign = "real" if fmt.real else "signed" if fmt.signed else "unsigned"
    yield _line(
        "pixels",
        f"{fmt.columns} x {fmt.rows}, {fmt.samples} sample{'s' if fmt.samples > 1 else ''} of {fmt.bits_stored} "
        f"in {fmt.bits_allocated} bits, {sign}, {fmt.photometric}",
    )


def _line(label: str, text: str) -> str:
    return f"{label:<16} {text}".rstrip()
