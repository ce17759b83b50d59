"""What large but valid objects cost: seconds of CPU to open them and to find the first frame, and megabytes of memory.

`python tests/bench/large_objects.py [FOLDER]` writes them into FOLDER (or a temporary one) and measures each in a
process of its own. Wants no corpus and no kernel.
"""

import os
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

ENHANCED_MR, SLIDE, SEGMENTATION = (
    "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.5.1.4.1.1.66.4",
)  # fmt: skip
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.3"
EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
LONG = ("OB", "OW", "SQ", "UN", "UT")
UNDEFINED = 0xFFFFFFFF


def element(tag: int, vr: str, value: bytes, length: int | None = None) -> bytes:
    """Write an element in Explicit VR Little Endian."""
    if len(value) % 2:
        value += b"\0" if vr in ("UI", "OB") else b" "
    length = len(value) if length is None else length
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return head + (struct.pack("<HL", 0, length) if vr in LONG else struct.pack("<H", length)) + value


def item(value: bytes, *, stated: bool = True) -> bytes:
    """Write an Item."""
    if stated:
        return b"\xfe\xff\x00\xe0" + struct.pack("<L", len(value)) + value
    return b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + value + b"\xfe\xff\x0d\xe0\0\0\0\0"


def sequence(tag: int, *items: bytes, stated: bool = True) -> bytes:
    """Write a sequence of the values of Items."""
    body = b"".join([item(one, stated=stated) for one in items])
    if stated:
        return element(tag, "SQ", body)
    return element(tag, "SQ", body + b"\xfe\xff\xdd\xe0\0\0\0\0", UNDEFINED)


def dicom(sop_class: str, body: bytes, syntax: str = EXPLICIT) -> bytes:
    """Write a file."""
    uid = b"2.25.1234567890"
    data = element(0x00080016, "UI", sop_class.encode()) + element(0x00080018, "UI", uid) + body
    meta = element(0x00020002, "UI", sop_class.encode()) + element(0x00020003, "UI", uid)
    meta += element(0x00020010, "UI", syntax.encode())
    if syntax == DEFLATED:
        packer = zlib.compressobj(6, wbits=-15)
        data = packer.compress(data) + packer.flush()
    return bytes(128) + b"DICM" + element(0x00020000, "UL", struct.pack("<L", len(meta))) + meta + data


def image(frames: int, rows: int, columns: int, bits: int, high: int | None = None) -> bytes:
    """Write what describes grey pixels."""
    numbers = ((0x00280010, rows), (0x00280011, columns), (0x00280100, bits), (0x00280101, high or bits))
    numbers += ((0x00280102, (high or bits) - 1), (0x00280103, 0))
    return (
        element(0x00280002, "US", struct.pack("<H", 1)) + element(0x00280004, "CS", b"MONOCHROME2")
        + element(0x00280008, "IS", str(frames).encode())
        + b"".join([element(tag, "US", struct.pack("<H", number)) for tag, number in numbers])
    )  # fmt: skip


def groups_of_mr(frame: int, slices: int, *, stated: bool) -> bytes:
    """Write five functional groups of one frame of a functional run."""
    volume, place = divmod(frame, slices)
    return b"".join((
        sequence(0x00209111, (
            element(0x00189074, "DT", f"202001011200{volume % 60:02d}.000000".encode())
            + element(0x00209128, "UL", struct.pack("<L", volume + 1))
            + element(0x00209157, "UL", struct.pack("<2L", place + 1, volume + 1))
        ), stated=stated),
        sequence(0x00209113, element(0x00200032, "DS", f"-112.5\\-96.25\\{1.5 * place:.2f}".encode()), stated=stated),
        sequence(0x00209116, element(0x00200037, "DS", b"1\\0\\0\\0\\1\\0"), stated=stated),
        sequence(0x00289110, element(0x00180050, "DS", b"1.5") + element(0x00280030, "DS", b"2\\2"), stated=stated),
        sequence(0x00289145, (
            element(0x00281052, "DS", b"0") + element(0x00281053, "DS", b"1.5") + element(0x00281054, "LO", b"US")
        ), stated=stated),
    ))  # fmt: skip


def enhanced_mr(frames: int = 100_000, slices: int = 50, *, stated: bool = True) -> bytes:
    """Write frames of 2 x 2 pixels with five functional groups each."""
    pointers = [
        element(0x00209165, "AT", struct.pack("<2H", 0x0020, number))
        + element(0x00209167, "AT", struct.pack("<2H", 0x0020, 0x9111))
        for number in (0x9057, 0x9128)
    ]
    return dicom(
        ENHANCED_MR,
        element(0x00080060, "CS", b"MR") + sequence(0x00209222, *pointers) + image(frames, 2, 2, 16)
        + sequence(0x52009229, b"")
        + sequence(0x52009230, *[groups_of_mr(frame, slices, stated=stated) for frame in range(frames)], stated=stated)
        + element(0x7FE00010, "OW", b"".join([struct.pack("<4H", *range(at, at + 4)) for at in range(frames)])
                  if frames < 60_000 else bytes(8 * frames)),
    )  # fmt: skip


def sparse_slide(tiles: int = 60_000) -> bytes:
    """Write a slide of which some tiles are there, each with its place."""

    def places() -> Iterator[bytes]:
        for tile in range(tiles):
            row, column = divmod(tile * 3, 1000)
            yield (
                sequence(0x00209111, element(0x00209157, "UL", struct.pack("<2L", column + 1, row + 1)))
                + sequence(
                    0x0048021A,
                    element(0x0040072A, "DS", f"{column * 0.016:.4f}".encode())
                    + element(0x0040073A, "DS", f"{row * 0.016:.4f}".encode())
                    + element(0x0040074A, "DS", b"0")
                    + element(0x0048021E, "SL", struct.pack("<l", column * 4 + 1))
                    + element(0x0048021F, "SL", struct.pack("<l", row * 4 + 1)),
                )
                + sequence(0x00480207, element(0x00480106, "SH", b"1"))
            )

    return dicom(
        SLIDE,
        element(0x00080060, "CS", b"SM") + element(0x00209311, "CS", b"TILED_SPARSE") + image(tiles, 4, 4, 8)
        + element(0x00480006, "UL", struct.pack("<L", 4000)) + element(0x00480007, "UL", struct.pack("<L", 4000))
        + sequence(0x52009230, *places()) + element(0x7FE00010, "OB", bytes(16 * tiles)),
    )  # fmt: skip


def segmentation(organs: int = 104, slices: int = 300) -> bytes:
    """Write organs of so many slices each, with the codes and derivations that converters repeat for each frame."""

    def code(value: str, meaning: str) -> bytes:
        return (
            element(0x00080100, "SH", value.encode())
            + element(0x00080102, "SH", b"SCT")
            + element(0x00080104, "LO", meaning.encode())
        )

    def frame(organ: int, place: int) -> bytes:
        source = (
            element(0x00081150, "UI", b"1.2.840.10008.5.1.4.1.1.2")
            + element(0x00081155, "UI", f"2.25.99999999999999999.{place}".encode())
            + sequence(0x0040A170, code("121322", "Source image for image processing operation"))
        )
        derivation = sequence(0x00082112, source) + sequence(0x00089215, code("113076", "Segmentation"))
        return (
            sequence(0x00089124, derivation)
            + sequence(0x00209111, element(0x00209157, "UL", struct.pack("<2L", organ + 1, place + 1)))
            + sequence(0x00209113, element(0x00200032, "DS", f"0\\0\\{place}".encode()))
            + sequence(0x0062000A, element(0x0062000B, "US", struct.pack("<H", organ + 1)))
        )

    segments = [
        element(0x00620004, "US", struct.pack("<H", organ + 1)) + element(0x00620005, "LO", f"Organ {organ}".encode())
        for organ in range(organs)
    ]
    shared = sequence(0x00209116, element(0x00200037, "DS", b"1\\0\\0\\0\\1\\0")) + sequence(
        0x00289110, element(0x00180050, "DS", b"1") + element(0x00280030, "DS", b"1\\1")
    )
    frames = organs * slices
    return dicom(
        SEGMENTATION,
        element(0x00080060, "CS", b"SEG") + image(frames, 8, 8, 1) + element(0x00620001, "CS", b"BINARY")
        + sequence(0x00620002, *segments) + sequence(0x52009229, shared)
        + sequence(0x52009230, *[frame(organ, place) for organ in range(organs) for place in range(slices)])
        + element(0x7FE00010, "OB", bytes(8 * frames)),
    )  # fmt: skip


def inflated(megabytes: int = 300) -> bytes:
    """Write a deflated data set of frames that are all zero, of which little is left."""
    frames = megabytes
    return dicom(
        SECONDARY_CAPTURE,
        element(0x00080060, "CS", b"OT") + image(frames, 1024, 512, 16)
        + element(0x7FE00010, "OW", bytes(frames << 20)),
        DEFLATED,
    )  # fmt: skip


OBJECTS: dict[str, Callable[[], bytes]] = {
    "100,000 frames, five groups each, stated lengths": enhanced_mr,
    "100,000 frames, five groups each, undefined lengths": lambda: enhanced_mr(stated=False),
    "60,000 sparse tiles": sparse_slide,
    "segmentation of 104 organs, 31,200 frames": segmentation,
    "300 MB inflated": inflated,
}


class _File:
    def __init__(self, path: Path) -> None:
        self._file = path.open("rb", buffering=0)
        self.size = path.stat().st_size

    def pread(self, length: int, offset: int) -> bytes:
        """Read *length* bytes at *offset*."""
        return os.pread(self._file.fileno(), length, offset)


def peak() -> int:
    """Give the most memory that this process has had, in KiB."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])


def measure(path: Path) -> str:
    """Open an object, find its first frame, and then what a listing of its directory needs, as the mount does."""
    from dicomfs.instance.instance import load
    from dicomfs.iod.image_display import frame_display

    before = peak()
    start = time.process_time()
    stream = _File(path)
    instance = load(stream)
    opened = time.process_time()
    pixels = instance.pixels
    if pixels is None:
        return f"no frames after {opened - start:.2f} s: {'; '.join(instance.problems)}"
    source = instance.inflated or stream
    for offset, length in pixels.frames.extents(0):
        source.pread(length, offset)
    frame_display(pixels.dataset, 0, pixels.format)
    first = time.process_time()
    opening = (peak() - before) / 1024
    volume, problems = instance.volume, instance.problems
    listed = time.process_time()
    return (
        f"open {opened - start:.2f} s, first frame {1000 * (first - opened):.1f} ms, {opening:.0f} MB more at most; "
        f"volume and problems {listed - first:.2f} s, {(peak() - before) / 1024:.0f} MB more at most; "
        f"{len(pixels.frames)} frames, volume: {volume is not None}, problems: {len(problems)}"
    )


def main() -> None:
    """Write and measure each object."""
    if len(sys.argv) == 3 and sys.argv[1] == "measure":
        print(measure(Path(sys.argv[2])))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch)
        for number, (name, make) in enumerate(OBJECTS.items()):
            path = folder / f"{number}.dcm"
            if not path.exists():
                path.write_bytes(make())
            said = subprocess.run(
                [sys.executable, __file__, "measure", str(path)], capture_output=True, text=True, check=False
            )
            print(f"{name} ({path.stat().st_size / 1e6:.1f} MB): {said.stdout.strip() or said.stderr[-2000:]}")


if __name__ == "__main__":
    main()
