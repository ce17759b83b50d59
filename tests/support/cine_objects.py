"""Films for tests: multi-frame objects whose pictures tell their number, and what programs see of their video.mp4."""

import subprocess
from fractions import Fraction
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image, ImageDraw

from support.builders import JPEG, DataSet, dicom, encapsulated, image, offsets
from support.video_files import probe

US, XA, CT, NM = (f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("3.1", "12.1", "2", "20"))
ENDOSCOPY, SC = "1.2.840.10008.5.1.4.1.1.77.1.1.1", "1.2.840.10008.5.1.4.1.1.7"
POINTER, FRAME_TIME, VECTOR = 0x00280009, 0x00181063, 0x00181065
RECOMMENDED, CINE, DURATION = 0x00082144, 0x00180040, 0x00181242


def scene(number: int, rows: int = 240, columns: int = 320, samples: int = 3) -> np.ndarray:
    """Draw a picture of a film as machines make them: something soft that moves, and text."""
    down, across = np.mgrid[0:rows, 0:columns]
    shade = np.sin(across / 17 + number / 5) * np.cos(down / 13 - number / 7) * 60 + 110
    picture = Image.fromarray(shade.astype(np.uint8)).convert("RGB")
    draw = ImageDraw.Draw(picture)
    draw.ellipse((number % columns, 20, number % columns + 30, 50), (200, 60, 40))
    draw.text((4, rows - 16), f"{number:04} HR 72", (255, 255, 120))
    return np.asarray(picture if samples == 3 else picture.convert("L"))


def film(
    count: int = 10,
    more: DataSet | None = None,
    sop_class: str = US,
    rows: int = 240,
    columns: int = 320,
    samples: int = 3,
) -> bytes:
    """Make a DICOM file of *count* such pictures."""
    pixels = b"".join(scene(number, rows, columns, samples).tobytes() for number in range(count))
    pixels += b"\0" * (len(pixels) % 2)
    extra = {0x00080016: ("UI", sop_class), **(more or {})}
    return dicom(image(rows, columns, pixels, frames=count, samples=samples, more=extra))


def jpeg_film(count: int = 30, more: DataSet | None = None, rows: int = 240, columns: int = 320) -> bytes:
    """Make the same of colour JPEG frames, as ultrasound machines write them."""
    frames = [
        imagecodecs.jpeg8_encode(
            scene(number, rows, columns), level=92, colorspace="RGB", outcolorspace="YCBCR", subsampling="422"
        )
        for number in range(count)
    ]
    extra = {0x00080016: ("UI", US), FRAME_TIME: ("DS", "40"), **(more or {})}
    pixels = encapsulated(frames, offsets([frame] for frame in frames))
    elements = image(rows, columns, pixels, frames=count, samples=3, photometric="YBR_FULL_422", vr="OB", more=extra)
    return dicom(elements, JPEG)


def grey_film(bits: int, photometric: str, more: DataSet) -> bytes:
    """Make a film of 16 allocated bits that is shown through a window."""
    values = [scene(number, samples=1).astype(np.uint16) << bits - 8 for number in range(5)]
    extra = {0x00080016: ("UI", XA), **more}
    return dicom(
        image(
            96, 128, b"".join(value.tobytes() for value in values), frames=5, bits=16, stored=bits,
            photometric=photometric, more=extra,
        )
    )  # fmt: skip


def damaged_film(count: int, broken: set[int]) -> bytes:
    """Make a film of JPEG 2000 frames, some of which are damaged within."""
    frames = []
    for number in range(count):
        data = imagecodecs.jpeg2k_encode(scene(number, samples=1), codecformat="j2k", reversible=True)
        frames.append(data[: len(data) // 2] + b"\xff\xd9" if number in broken else data)
    more = {0x00080016: ("UI", US), FRAME_TIME: ("DS", "100")}
    pixels = encapsulated(frames)
    return dicom(image(240, 320, pixels, frames=count, vr="OB", more=more), "1.2.840.10008.1.2.4.90")


class Film:
    """What a program sees of a film."""

    def __init__(self, ffprobe: str, folder: Path, data: bytes) -> None:
        """Keep *data* as a file and ask what it is."""
        self.path = folder / "film.mp4"
        self.path.write_bytes(data)
        found = probe(ffprobe, self.path, "-count_frames", "-show_frames")
        (self.stream,) = found["streams"]
        self.duration = float(found["format"]["duration"])
        self.times = [round(float(frame["pts_time"]) * 1e6) for frame in found["frames"]]
        self.count = int(self.stream["nb_read_frames"])

    @property
    def rate(self) -> Fraction:
        return Fraction(self.stream["avg_frame_rate"])

    @property
    def pictures(self) -> np.ndarray:
        """Decode all frames with ffmpeg, as players do."""
        command = ["ffmpeg", "-v", "error", "-i", self.path, "-fps_mode", "passthrough"]
        done = subprocess.run([*command, *"-f rawvideo -pix_fmt rgb24 -".split()], capture_output=True, check=True)
        shape = (-1, int(self.stream["height"]), int(self.stream["width"]), 3)
        return np.frombuffer(done.stdout, np.uint8).reshape(shape)


def psnr(shown: np.ndarray, expected: np.ndarray) -> float:
    """Compare pictures, in dB."""
    error = np.mean((shown.astype(float) - expected) ** 2)
    return 99.0 if error == 0 else float(10 * np.log10(255**2 / error))
