"""ImageJ reads `stored/` out of a mount: each type that it has, and a film as a virtual stack, slice by slice."""

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from support.builders import ENCAPSULATED_UNCOMPRESSED, DataSet, dicom, encapsulated, image, offsets
from support.mounting import mounted

JAR = Path("/usr/share/java/ij.jar")
# ImageJ's macros want a screen; these are the classes that they call.
READ = """
import ij.IJ;
import ij.ImagePlus;
import ij.measure.Calibration;
import ij.plugin.FolderOpener;
import ij.process.ImageProcessor;

/** Print, of each file or folder: bits, slices, whether they are read when wanted, the scale; then values of slices. */
public class Read {
    public static void main(String[] arguments) {
        boolean folder = arguments[0].equals("folder");
        for (int place = 1; place < (folder ? 2 : arguments.length); place++) {
            String path = arguments[place];
            ImagePlus image = folder ? FolderOpener.open(path, "virtual") : IJ.openImage(path);
            Calibration scale = image.getCalibration();
            System.out.println(image.getBitDepth() + " " + image.getStackSize() + " " + image.getStack().isVirtual()
                + " " + scale.getUnit() + " " + scale.pixelWidth + " " + scale.pixelHeight);
            if (folder)
                for (int wanted = 2; wanted < arguments.length; wanted++)
                    print(image, scale, Integer.parseInt(arguments[wanted]));
            else
                for (int slice = 1; slice <= image.getStackSize(); slice++)
                    print(image, scale, slice);
        }
    }

    static void print(ImagePlus image, Calibration scale, int slice) {
        ImageProcessor values = image.getStack().getProcessor(slice);
        int bits = image.getBitDepth();
        StringBuilder line = new StringBuilder();
        for (int y = 0; y < values.getHeight(); y++)
            for (int x = 0; x < values.getWidth(); x++)
                line.append(bits == 24 ? values.get(x, y) & 0xffffff
                    : bits == 32 ? values.getf(x, y) : scale.getCValue(values.get(x, y))).append(' ');
        System.out.println(line);
    }
}
"""
Read = Callable[..., list[str]]


@pytest.fixture
def read(tmp_path: Path, program: Callable[[str], str]) -> Read:
    """Give what has ImageJ read; the lines that it prints."""
    program("imagej")
    (tmp_path / "Read.java").write_text(READ)
    java = [program("java"), "-Djava.awt.headless=true", "-cp", str(JAR), str(tmp_path / "Read.java")]

    def run(what: str, *arguments: Path | int) -> list[str]:
        done = subprocess.run([*java, what, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def values_in(line: str) -> np.ndarray:
    return np.array(line.split(), np.float64)


def signed(values: np.ndarray) -> DataSet:
    rows, columns = values.shape
    return image(rows, columns, values.tobytes(), bits=values.itemsize * 8, signed=values.dtype.kind == "i")


def real(values: np.ndarray) -> DataSet:
    plain = {tag: value for tag, value in image(*values.shape, b"", bits=32).items() if tag != 0x7FE00010}
    return plain | {0x7FE00008: ("OF", values.tobytes())}


def test_values_of_each_type(tmp_path: Path, read: Read) -> None:
    """Of those that it has: 8 bits with a sign, 32 bits without one and 64 bits are not among them."""
    random = np.random.default_rng(3)
    archive = tmp_path / "archive"
    archive.mkdir()
    kinds = {
        "u1": random.integers(0, 256, (5, 7), np.uint8),
        "u2": random.integers(0, 65536, (5, 7), np.uint16),
        "i2": random.integers(-32768, 32768, (5, 7), np.int16),
        # It has no integers of 32 bits, but real numbers that hold 24.
        "i4": random.integers(-(1 << 23), 1 << 23, (5, 7), np.int32),
        "f4": random.normal(0, 1e6, (5, 7)).astype(np.float32),
    }
    spacing: DataSet = {0x00280030: ("DS", "0.5\\0.25")}
    for name, values in kinds.items():
        elements = real(values) if name == "f4" else signed(values)
        (archive / name).write_bytes(dicom(elements | spacing))
    colours = random.integers(0, 256, (5, 7, 3), np.uint8)
    (archive / "rgb").write_bytes(dicom(image(5, 7, colours.tobytes(), samples=3)))
    with mounted(archive, tmp_path) as mount:
        lines = read("files", *(mount.path / name / "stored/0001.tif" for name in (*kinds, "rgb")))
    assert len(lines) == 2 * (len(kinds) + 1)
    for (name, values), told, line in zip(kinds.items(), lines[::2], lines[1::2], strict=False):
        bits, slices, _, unit, width, height = told.split()
        assert int(bits) == values.itemsize * 8, name
        assert (slices, unit, float(width), float(height)) == ("1", "cm", 0.025, 0.05)
        assert np.array_equal(values_in(line).astype(values.dtype), values.ravel()), name
    assert lines[-2].startswith("24 1 ")
    packed = values_in(lines[-1]).astype(np.int64)
    assert np.array_equal(np.stack((packed >> 16, packed >> 8 & 255, packed & 255), -1), colours.reshape(-1, 3))


def film(path: Path, frames: Sequence[np.ndarray]) -> None:
    """Make a film whose frames workers have to take out."""
    data = [frame.tobytes() for frame in frames]
    pixels = encapsulated(data, offsets([[frame] for frame in data]))
    elements = image(*frames[0].shape, pixels, frames=len(frames), bits=16, vr="OB")
    path.write_bytes(dicom(elements, ENCAPSULATED_UNCOMPRESSED))


def test_a_virtual_stack_decodes_the_slices_that_are_looked_at(tmp_path: Path, read: Read) -> None:
    random = np.random.default_rng(4)
    archive = tmp_path / "archive"
    archive.mkdir()
    frames = [random.integers(0, 65536, (24, 32), np.uint16) for _ in range(200)]
    film(archive / "film.dcm", frames)
    with mounted(archive, tmp_path) as mount:
        told, *lines = read("folder", f"{mount.path}/film.dcm/stored/", 150, 7)
        assert told.startswith("16 200 true ")
        for number, line in zip((150, 7), lines, strict=True):
            assert np.array_equal(values_in(line), frames[number - 1].ravel())
        # These, the first one for its size, and what is made ahead of who reads in order.
        assert mount.statistics()["decoded"] <= 3 + 2
