"""The files that benchmarks run on: made the same each time, of pictures that look like what they stand for."""

import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path

import imagecodecs
import numpy as np
from support.archives import PYDICOM
from support.builders import JPEG, JPEG_2000, PIXEL_DATA, Raw, dicom, encapsulated, image, offsets

JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
CT_FRAMES, COLOUR_FRAMES = 50, 120
# A CT: 12 bits in 16, Hounsfield units from -1024, shown through a soft tissue window.
_CT = {
    0x00281050: ("DS", "40"),
    0x00281051: ("DS", "400"),
    0x00281052: ("DS", "-1024"),
    0x00281053: ("DS", "1"),
}


def settled(path: Path) -> Path:
    """Write a file, or all files of a directory, to the disk, so that their pages can be dropped."""
    for file in [path] if path.is_file() else (each for each in path.rglob("*") if each.is_file()):
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
    return path


def forget(path: Path) -> None:
    """Have the kernel drop the pages of a file; as cold as it gets without being root."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def slices(count: int, side: int = 512) -> list[np.ndarray]:
    """Make slices of a body in air: noise of 15 units in 40 of contrast, each another."""
    random = np.random.default_rng(7)
    y, x = (np.mgrid[:side, :side] - side / 2) / (side / 2)
    body = (x / 0.8) ** 2 + (y / 0.6) ** 2 < 1
    made = []
    for number in range(count):
        tissue = 1064 + 40 * np.sin(9 * x + number / 7) * np.cos(7 * y)
        spine = 600 * (x**2 + (y - 0.35) ** 2 < 0.01)
        noise = random.normal(0, 15, body.shape)
        made.append(np.clip(np.where(body, tissue + spine, 24) + noise, 0, 4095).astype("<u2"))
    return made


def ct_native(path: Path, pictures: Iterable[np.ndarray]) -> Path:
    """Make a native CT of many frames."""
    data = b"".join(picture.tobytes() for picture in pictures)
    frames = len(data) // (512 * 512 * 2)
    path.write_bytes(dicom(image(512, 512, data, frames=frames, bits=16, stored=12, more=_CT)))
    return settled(path)


def ct_lossless(path: Path, pictures: Iterable[np.ndarray], times: int = 1) -> Path:
    """Make the same in JPEG lossless, the frames *times* over."""
    return _ct(
        path, pictures, JPEG_LOSSLESS, times, lambda it: imagecodecs.jpeg8_encode(it, lossless=True, bitspersample=12)
    )


def ct_jpeg2000(path: Path, pictures: Iterable[np.ndarray], times: int = 1) -> Path:
    """Make the same in JPEG 2000, lossless."""
    return _ct(
        path, pictures, JPEG_2000, times, lambda it: imagecodecs.jpeg2k_encode(it, reversible=True, bitspersample=12)
    )


def _ct(
    path: Path, pictures: Iterable[np.ndarray], syntax: str, times: int, encode: Callable[[np.ndarray], bytes]
) -> Path:
    frames = [encode(picture) for picture in pictures] * times
    value = encapsulated(frames, offsets([frame] for frame in frames))
    more = dict(_CT)
    path.write_bytes(dicom(image(512, 512, value, frames=len(frames), bits=16, stored=12, vr="OB", more=more), syntax))
    return settled(path)


def colour_jpeg(path: Path, count: int = COLOUR_FRAMES) -> Path:
    """Make an ultrasound clip: colour, 640 x 480, mostly dark, JPEG with halved chrominance."""
    y, x = np.mgrid[:480, :640]
    fan = (np.hypot(x - 320, y + 60) < 500) & (abs(x - 320) < (y + 60) * 0.7)
    random = np.random.default_rng(3)
    speckle = random.gamma(2.0, 22.0, (480, 640))
    frames = []
    for number in range(count):
        grey = np.clip(np.roll(speckle, number * 7, 0), 0, 255) * fan
        flow = 90 * ((x - 300) ** 2 + (y - 200 - number % 9) ** 2 < 3000)
        colour = np.stack([np.clip(grey + flow, 0, 255), grey, np.clip(grey - flow / 2, 0, 255)], -1)
        frames.append(
            imagecodecs.jpeg8_encode(
                np.ascontiguousarray(colour.astype(np.uint8)),
                level=90,
                colorspace="RGB",
                outcolorspace="YCBCR",
                subsampling="422",
            )
        )
    value = encapsulated(frames, offsets([frame] for frame in frames))
    elements = image(480, 640, value, frames=count, samples=3, photometric="YBR_FULL_422", vr="OB")
    path.write_bytes(dicom(elements, JPEG))
    return settled(path)


def sparse_frames(path: Path, frames: int, side: int = 128) -> Path:
    """Make a native object of *frames* black frames of 16 bits that takes no room on the disk."""
    size = frames * side * side * 2
    elements = image(side, side, Raw(b"", size), frames=frames, bits=16, more=_CT)
    path.write_bytes(dicom(elements))
    os.truncate(path, path.stat().st_size + size)
    return path


def small_jpegs(path: Path, frames: int, side: int = 64) -> Path:
    """Make an object of *frames* small grey JPEG frames with a Basic Offset Table."""
    frame = imagecodecs.jpeg8_encode(slices(1, side)[0].astype(np.uint8), level=80)
    frame += bytes(len(frame) % 2)
    item = b"\xfe\xff\x00\xe0" + struct.pack("<L", len(frame)) + frame
    table = np.arange(frames, dtype="<u4") * len(item)
    start = b"\xfe\xff\x00\xe0" + struct.pack("<L", table.nbytes) + table.tobytes()
    end = b"\xfe\xff\xdd\xe0\0\0\0\0"
    elements = image(side, side, Raw(b"", 0xFFFFFFFF), frames=frames, vr="OB")
    assert max(elements) == PIXEL_DATA
    path.write_bytes(dicom(elements, JPEG) + start + item * frames + end)
    return settled(path)


def large(path: Path, size: int = 256 << 20) -> Path:
    """Make a native object of *size* bytes that are no zeros."""
    side = 1024
    frames = size // (side * side * 2)
    block = np.random.default_rng(5).integers(0, 256, side * side * 2, np.uint8).tobytes()
    with open(path, "wb") as file:
        file.write(dicom(image(side, side, Raw(b"", size), frames=frames, bits=16)))
        file.writelines([block] * frames)
    return settled(path)


def instances(place: Path, count: int, directory_size: int = 500) -> Path:
    """Make *count* small instances, MR and CT by turns as scanners wrote them, in directories."""
    kinds = [(PYDICOM / name).read_bytes() for name in ("MR_small.dcm", "CT_small.dcm")]
    for number in range(count):
        directory = place / f"{number // directory_size:03}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"IM{number:06}.dcm").write_bytes(kinds[number % 2])
    return place


def directory_of_dicom(place: Path, count: int) -> Path:
    """Make one directory of *count* small DICOM files."""
    return instances(place, count, count) / "000"


def directory_of_files(place: Path, count: int, size: int, name: str) -> Path:
    """Make one directory of *count* sparse files of *size* bytes, named by *name* and their number from 1."""
    place.mkdir(parents=True)
    for number in range(1, count + 1):
        with open(place / name.format(number), "wb") as file:
            file.truncate(size)
    return place
