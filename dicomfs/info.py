"""`dicomfs info`: what one DICOM file holds, how its frames are found and what is wrong with it."""

from collections.abc import Iterator, Sequence

from dicomfs.codecs.table import CODECS
from dicomfs.dicom.dataset import Parsed
from dicomfs.dicom.dictionary import uid_name
from dicomfs.formats.png import text_of
from dicomfs.image.inspection import named
from dicomfs.image.instance import Instance
from dicomfs.image.remarks import LONGEST, read
from dicomfs.nodes import Directory, File

_SOP_CLASS = 0x00080016
_MODALITY = 0x00080060
# Frames that are drawn to see what only that shows.
_MOST_DRAWN = 16


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


async def drawn(top: Directory) -> list[str]:
    """Draw some frames of the object whose directory is *top*; give what their pictures say, or why there is none."""
    directory = await top.lookup(b"frames")
    if directory is None or not isinstance(directory.node, Directory):
        return []
    frames = await directory.node.listing()
    chosen: Sequence[int] = range(len(frames))
    if len(frames) > _MOST_DRAWN:
        chosen = sorted({place * (len(frames) - 1) // (_MOST_DRAWN - 1) for place in range(_MOST_DRAWN)})
    found: dict[str, list[int]] = {}
    for frame in chosen:
        node = frames[frame].node
        for sentence in await _said(node) if isinstance(node, File) else ():
            found.setdefault(sentence, []).append(frame + 1)
    if not found:
        return []
    lines = [f"  {named(numbers)}: {sentence}" for sentence, numbers in found.items()]
    return [_line("drawn", f"{len(chosen)} of {len(frames)} frames"), *lines]


async def _said(picture: File) -> tuple[str, ...]:
    """Make one picture, and read what it says."""
    content = await picture.open()
    try:
        return read(text_of(bytes(await content.read(0, content.size)), LONGEST))
    except OSError as error:
        return (f"cannot be read: {error.strerror or error}",)
    finally:
        content.close()


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
