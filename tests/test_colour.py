"""Colours of codestreams: one picture in all combinations of what an encoder, a marker and a header may say.

What is expected where the clues agree, or at most the header lies, is the picture itself; elsewhere it is what the
rules for contradicting clues say. Pillow, pydicom and DCMTK are asked what they show.
"""

import io
import itertools
import struct
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image, ImageCms
from pydicom.pixels import pixel_array
from support.builders import JPEG, JPEG_2000, JPEG_LS, RLE, dicom, encapsulated, image
from support.mounting import Loop
from support.object_directories import Shown, close
from support.oracles import REPORTS

from dicomfs.codecs import colour
from dicomfs.codecs.codestream import read_header
from dicomfs.codecs.pixel_format import PixelFormat
from dicomfs.codecs.registry import decode
from dicomfs.codecs.remarks import Remark

ROWS, COLUMNS = 32, 48
LOSSLESS = "1.2.840.10008.1.2.4.70"
FMT = PixelFormat(ROWS, COLUMNS, 3, 8, 8, 7, False, "RGB", False, JPEG)
TRUTHS = ("YCbCr", "RGB")
CHROMA = ("444", "422", "420", "440", "411")
MARKERS = ("", "JFIF", "Adobe 0", "Adobe 1", "Adobe 2", "JFIF Adobe 0", "JFIF Adobe 1")
IDS = (b"\1\2\3", b"RGB", b"\0\1\2")
HEADERS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420", "")
PROCESSES = ("baseline", "progressive", "extended")
ADOBE = {number: b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0" + bytes([number]) for number in range(3)}
JFIF = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"


def scene() -> np.ndarray:
    """Draw a smooth picture with much colour, which no other taking of its components resembles."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    return np.dstack([60 + x * 4, 200 - y * 5, 40 + (x + y) * 2]).clip(0, 255).astype(np.uint8)


def as_ybr(values: np.ndarray) -> np.ndarray:
    """Turn RGB to YCbCr as Pillow does."""
    return np.asarray(Image.fromarray(values).convert("YCbCr"))


def as_rgb(values: np.ndarray) -> np.ndarray:
    """Turn YCbCr to RGB as Pillow does."""
    return np.asarray(Image.fromarray(values, "YCbCr").convert("RGB"))


def coded(truth: str) -> np.ndarray:
    """Give the components of the scene as they are coded."""
    return as_ybr(scene()) if truth == "YCbCr" else scene()


def marked(stream: bytes, markers: str, ids: bytes) -> bytes:
    """Write other markers and component identifiers into a JPEG."""
    while stream[3] & 0xF0 == 0xE0:
        stream = stream[:2] + stream[4 + struct.unpack_from(">H", stream, 4)[0] :]
    changed = bytearray(stream)
    start = next(
        stream.index(marker) for marker in (b"\xff\xc0", b"\xff\xc1", b"\xff\xc2", b"\xff\xc3") if marker in stream
    )
    names = dict(zip(stream[start + 10 : start + 19 : 3], ids, strict=True))
    changed[start + 10 : start + 19 : 3] = ids
    place = stream.find(b"\xff\xda")
    while place >= 0:
        for each in range(stream[place + 4]):
            changed[place + 5 + 2 * each] = names[stream[place + 5 + 2 * each]]
        place = stream.find(b"\xff\xda", place + 2)
    segments = (JFIF if "JFIF" in markers else b"") + (ADOBE[int(markers[-1])] if "Adobe" in markers else b"")
    return bytes(changed[:2]) + segments + bytes(changed[2:])


def lossy(truth: str, chroma: str, process: str) -> bytes:
    """Encode the components of the scene as they are."""
    if process == "progressive":
        file = io.BytesIO()
        sampling = {"444": 0, "422": 1, "420": 2}[chroma]
        Image.fromarray(coded(truth), "YCbCr").save(file, "JPEG", quality=97, progressive=True, subsampling=sampling)
        return file.getvalue()
    space = {"colorspace": "YCbCr", "outcolorspace": "YCbCr", "subsampling": chroma}
    stream = bytes(imagecodecs.jpeg8_encode(coded(truth), 97, **space))
    return stream.replace(b"\xff\xc0", b"\xff\xc1", 1) if process == "extended" else stream


def lossless(truth: str) -> bytes:
    """Encode the components of the scene losslessly."""
    return bytes(imagecodecs.jpeg8_encode(coded(truth), lossless=True, colorspace="RGB", outcolorspace="RGB"))


def shown(values: np.ndarray, truth: str) -> str:
    """Name the taking of the components that *values*, in RGB, come from; "neither" where it is something else."""
    taken = {truth: scene()}
    taken["RGB" if truth == "YCbCr" else "YCbCr"] = coded(truth) if truth == "YCbCr" else as_rgb(coded(truth))
    mean = {name: np.abs(values.astype(int) - picture)[2:-2, 4:-4].mean() for name, picture in taken.items()}
    name = min(mean, key=mean.__getitem__)
    return name if mean[name] < 9 else "neither"


def ours(stream: bytes, header: str, syntax: str = JPEG, colours: str = "stated") -> tuple[str, np.ndarray, str]:
    """Decode a frame; give the name of its colours, its picture in RGB, and what was said."""
    fmt = replace(FMT, photometric=header or "RGB", transfer_syntax=syntax)
    fmt = replace(fmt, colour=colours if header else "unstated")
    decoded = decode(stream, fmt)
    assert decoded.photometric == colour.decoded_photometric(read_header(stream), fmt)
    values = as_rgb(decoded.values) if decoded.photometric.startswith("YBR") else decoded.values
    return decoded.photometric, values, " ".join(decoded.repairs)


def expected(chroma: str, markers: str, ids: bytes, header: str) -> tuple[str, bool]:
    """Say how a lossy stream is to be taken, and whether its clues contradict each other in earnest."""
    rgb = {"Adobe": "Adobe 0" in markers, "ids": ids == b"RGB", "header": header == "RGB"}
    ybr = {"Adobe": markers[-1:] in ("1", "2"), "JFIF": "JFIF" in markers, "chroma": chroma != "444"}
    ybr["header"] = header.startswith("YBR")
    if not any(rgb.values()):
        return "YCbCr", False
    if not any(ybr.values()):
        return "RGB", False
    if ybr["JFIF"] and ybr["header"]:
        return "YCbCr", False
    if ybr["chroma"] and not (rgb["Adobe"] or rgb["ids"]):
        return "YCbCr", False
    if rgb["Adobe"]:
        return "RGB", True
    if rgb["ids"] and not ybr["Adobe"]:
        return "RGB", True
    return "YCbCr", True


def lying(truth: str, chroma: str, markers: str, ids: bytes, header: str) -> set[str]:
    """List the clues that say something else than the truth."""
    says = {
        "header": header[:3].replace("YBR", "YCbCr"),
        "JFIF": "YCbCr" if "JFIF" in markers else "",
        "Adobe": {"0": "RGB", "1": "YCbCr", "2": "YCbCr"}.get(markers[-1:], ""),
        "ids": "RGB" if ids == b"RGB" else "",
        "chroma": "YCbCr" if chroma != "444" else "",
    }
    return {clue for clue, said in says.items() if said not in ("", truth)}


@dataclass
class Matrix:
    """How many combinations were tried, and how others take them."""

    counts: dict[str, list[int]] = field(default_factory=dict)

    def add(self, line: str, *numbers: bool) -> None:
        """Count one combination."""
        row = self.counts.setdefault(line, [0] * (1 + len(numbers)))
        for place, number in enumerate((True, *numbers)):
            row[place] += number

    def lines(self) -> Iterator[str]:
        """Print it."""
        for line, numbers in self.counts.items():
            yield f"{line:<60}{' of '.join(str(number) for number in reversed(numbers))}"


@pytest.fixture(scope="module")
def matrix(request: pytest.FixtureRequest) -> Matrix:
    """Give the counts that are printed at the end of the run."""
    reports = request.config.stash.setdefault(REPORTS, {})
    found = reports.setdefault("colours of codestreams", Matrix())
    assert isinstance(found, Matrix)
    return found


def combinations() -> Iterator[tuple[str, str, str, bytes, str]]:
    for chroma, process in itertools.product(CHROMA, PROCESSES):
        if process != "progressive" or chroma in ("444", "422", "420"):
            for markers, ids, header in itertools.product(MARKERS, IDS, HEADERS):
                yield chroma, process, markers, ids, header


@pytest.mark.parametrize("truth", TRUTHS)
def test_c1_lossy_jpeg_in_all_combinations(truth: str, matrix: Matrix) -> None:
    streams = {(chroma, process): lossy(truth, chroma, process) for chroma, process, *_ in combinations()}
    for chroma, process, markers, ids, header in combinations():
        how, ambiguous = expected(chroma, markers, ids, header)
        stream = marked(streams[chroma, process], markers, ids)
        name, values, said = ours(stream, header)
        assert name == "RGB"
        assert shown(values, truth) == how, (chroma, process, markers, ids, header)
        if ambiguous:
            assert said.count("(C1)") == 1, (markers, ids, header)
        lies = lying(truth, chroma, markers, ids, header)
        if not lies and (markers or ids == b"RGB" or chroma != "444" or header):
            matrix.add("lossy JPEG of which no clue lies, shown as the picture", how == truth)
            assert how == truth
        elif lies == {"header"}:
            matrix.add("lossy JPEG of which the header alone lies, shown as the picture", how == truth)
        matrix.add("lossy JPEG, told that clues contradict each other", "(C1)" in said)


def test_c1_what_agrees_is_not_told() -> None:
    for chroma, markers, ids, header, told in (
        ("420", "JFIF", b"\1\2\3", "YBR_FULL_422", False),
        ("444", "", b"\1\2\3", "RGB", False),
        ("444", "", b"\1\2\3", "", False),
        ("444", "Adobe 0", b"RGB", "RGB", False),
        ("420", "", b"\1\2\3", "RGB", True),
        ("444", "JFIF Adobe 0", b"\1\2\3", "YBR_FULL", True),
    ):
        said = ours(marked(lossy("YCbCr", chroma, "baseline"), markers, ids), header)[2]
        assert said.count("(C1)") == told, (chroma, markers, ids, header)


@pytest.mark.parametrize("truth", TRUTHS)
def test_c2_lossless_jpeg_in_all_combinations(truth: str, matrix: Matrix) -> None:
    """Nothing is transformed: Photometric Interpretation holds (PS3.5 8.2.1); without it, what the stream says."""
    for markers, ids, header in itertools.product(MARKERS, IDS, ("RGB", "YBR_FULL", "")):
        stream = marked(lossless(truth), markers, ids)
        name, values, said = ours(stream, header, LOSSLESS)
        if header:
            how = "RGB" if header == "RGB" else "YCbCr"
        elif "Adobe" in markers:
            how = "RGB" if markers[-1] == "0" else "YCbCr"
        else:
            how = "YCbCr" if "JFIF" in markers and ids != b"RGB" else "RGB"
        assert name == ("RGB" if how == "RGB" else "YBR_FULL")
        assert shown(values, truth) == how
        contradicted = header == "YBR_FULL" and ("Adobe 0" in markers or ids == b"RGB")
        assert not contradicted or said.count("(C2)") == 1
        matrix.add("lossless JPEG, shown as the picture", how == truth)


JP2_BOXES = ("codestream", "JP2 sRGB", "JP2 sYCC", "JP2 profile")


def jpeg2000(values: np.ndarray, mct: bool, box: str) -> bytes:
    """Encode JPEG 2000, in a JP2 file of such a colour space or none."""
    form = "j2k" if box == "codestream" else "jp2"
    stream = bytes(imagecodecs.jpeg2k_encode(values, codecformat=form, reversible=True, mct=mct))
    if form == "j2k":
        return stream
    place = stream.index(b"colr") - 4
    length = int.from_bytes(stream[place : place + 4], "big")
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red = profile.index(b"rXYZ") + 4
    where = int.from_bytes(profile[red : red + 4], "big") + 8
    profile[where : where + 4] = (1 << 15).to_bytes(4, "big")  # a red that is far from that of sRGB
    body = {
        "JP2 sRGB": b"\1\0\0" + (16).to_bytes(4, "big"),
        "JP2 sYCC": b"\1\0\0" + (18).to_bytes(4, "big"),
        "JP2 profile": b"\2\0\0" + bytes(profile),
    }[box]
    colr = (8 + len(body)).to_bytes(4, "big") + b"colr" + body
    head = stream.index(b"jp2h") - 4
    size = int.from_bytes(stream[head : head + 4], "big") - length + len(colr)
    before = stream[:head] + size.to_bytes(4, "big") + stream[head + 4 : place]
    return before + colr + stream[place + length :]


@pytest.mark.parametrize("box", JP2_BOXES)
@pytest.mark.parametrize("mct", [False, True])
@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("header", ["RGB", "YBR_FULL", "YBR_RCT", "YBR_ICT", ""])
def test_c4_jpeg_2000_in_all_combinations(truth: str, mct: bool, box: str, header: str, matrix: Matrix) -> None:
    """The samples are those of the codestream to the bit, whatever the boxes around it say."""
    stream = jpeg2000(coded(truth), mct, box)
    fmt = replace(FMT, photometric=header or "RGB", transfer_syntax=JPEG_2000)
    decoded = decode(stream, replace(fmt, colour="stated" if header else "unstated"))
    assert np.array_equal(decoded.values, coded(truth))
    how = "YBR_FULL" if header == "YBR_FULL" and not mct else "RGB"
    assert decoded.photometric == how
    contradicts = (mct and header == "YBR_FULL") or (not mct and header in ("YBR_RCT", "YBR_ICT"))
    assert " ".join(decoded.repairs).count("(C4)") == contradicts
    matrix.add("JPEG 2000, shown as the picture", (how == "RGB") == (truth == "RGB"))


@pytest.mark.parametrize("header", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planar", [False, True])
def test_c3_jpeg_ls_and_rle_follow_the_header(header: str, planar: bool) -> None:
    """Interleaving and Planar Configuration make no difference."""
    values = coded("YCbCr" if header == "YBR_FULL" else "RGB")
    fmt = replace(FMT, photometric=header, planar=planar)
    planes = [np.ascontiguousarray(values[:, :, sample]) for sample in range(3)]
    segments = [bytes(imagecodecs.packbits_encode(plane)) for plane in planes]
    segments = [segment + bytes(len(segment) % 2) for segment in segments]
    starts = [64 + sum(map(len, segments[:number])) for number in range(3)]
    rle = struct.pack("<16L", 3, *starts, *[0] * 12) + b"".join(segments)
    for stream, syntax in ((bytes(imagecodecs.jpegls_encode(values)), JPEG_LS), (rle, RLE)):
        decoded = decode(stream, replace(fmt, transfer_syntax=syntax))
        assert np.array_equal(decoded.values, values)
        assert decoded.photometric == header
        assert decoded.repairs == ()


# What others show


def taken_by_pillow(stream: bytes, truth: str) -> str:
    return shown(np.asarray(Image.open(io.BytesIO(stream)).convert("RGB")), truth)


def taken_by_pydicom(file: Path, truth: str) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            values = pixel_array(file, index=0, decoding_plugin="pillow")
        except RuntimeError:  # it declines RGB headers over what Pillow has made YCbCr
            return ""
        return shown(values, truth)


def taken_by_dcmtk(file: Path, truth: str, tool: str, folder: Path) -> str:
    plain = folder / "plain.ppm"
    done = subprocess.run([tool, file, plain], capture_output=True, check=False)
    return shown(np.asarray(Image.open(plain)), truth) if done.returncode == 0 else ""


@pytest.mark.slow
@pytest.mark.parametrize("truth", TRUTHS)
def test_c1_where_libjpeg_pydicom_and_dcmtk_agree_they_are_followed(
    truth: str, matrix: Matrix, program: Callable[[str], str], tmp_path: Path
) -> None:
    path = tmp_path / "frame.dcm"
    for chroma in ("444", "420"):
        stream = lossy(truth, chroma, "baseline")
        for markers, ids, header in itertools.product(MARKERS, IDS, ("RGB", "YBR_FULL", "YBR_FULL_422")):
            data = marked(stream, markers, ids)
            elements = image(ROWS, COLUMNS, encapsulated([data]), samples=3, photometric=header, vr="OB")
            path.write_bytes(dicom(elements, JPEG))
            answers = {
                taken_by_pillow(data, truth),
                taken_by_pydicom(path, truth),
                taken_by_dcmtk(path, truth, program("dcmj2pnm"), tmp_path),
            }
            if len(answers) == 1:
                same = answers == {shown(ours(data, header)[1], truth)}
                matrix.add("lossy JPEG that libjpeg, pydicom and DCMTK take alike, and ours", same)
                assert same, (chroma, markers, ids, header)


# The picture is asked


def greyish(seed: int) -> np.ndarray:
    """Draw what most medical colour pictures are: grey for the larger part, with something coloured on it."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:ROWS, :COLUMNS]
    grey = (20 + 190 * np.abs(np.sin(x / 9 + seed) * np.cos(y / 7))).astype(np.uint8)
    values = np.stack([grey] * 3, -1)
    values[8:16, 10:30] = random.integers(0, 255, 3)
    return values


@pytest.mark.parametrize("truth", TRUTHS)
@pytest.mark.parametrize("seed", range(5))
def test_grey_tells_what_components_are(truth: str, seed: int) -> None:
    picture = greyish(seed)
    components = as_ybr(picture) if truth == "YCbCr" else picture
    shares = [colour.greys(components, 8), colour.greys(components.astype(np.uint16) << 4, 12)]
    for share in shares:
        assert colour.shown_by([share, share]) == ("YBR" if truth == "YCbCr" else "RGB")
    assert colour.shown_by([colour.greys(scene(), 8)]) == ""
    assert colour.shown_by([]) == ""


@pytest.mark.parametrize(
    ("syntax", "markers", "ids", "header", "alone"),
    [
        (JPEG, "", b"\1\2\3", "RGB", "RGB"),
        (JPEG, "", b"\1\2\3", "YBR_FULL", "YCbCr"),
        (JPEG, "JFIF", b"\1\2\3", "RGB", "YCbCr"),
        (JPEG, "Adobe 0", b"\1\2\3", "YBR_FULL", "RGB"),
        (JPEG, "Adobe 1", b"\1\2\3", "RGB", "YCbCr"),
        (LOSSLESS, "Adobe 0", b"RGB", "YBR_FULL", "YCbCr"),
    ],
)
@pytest.mark.parametrize("truth", TRUTHS)
def test_what_the_picture_shows_counts_where_clues_leave_doubt(
    truth: str, syntax: str, markers: str, ids: bytes, header: str, alone: str
) -> None:
    stream = marked(lossless(truth) if syntax == LOSSLESS else lossy(truth, "444", "baseline"), markers, ids)
    fmt = replace(FMT, photometric=header, transfer_syntax=syntax)
    assert colour.colour_of(read_header(stream), fmt).doubtful
    assert shown(ours(stream, header, syntax)[1], truth) == alone
    as_it_is = "YBR" if truth == "YCbCr" else "RGB"
    assert shown(ours(stream, header, syntax, as_it_is)[1], truth) == truth
    found = decode(stream, replace(fmt, colour=as_it_is))
    assert (Remark.COLOUR_SHOWN in found.remarks) == (truth != alone)
    components = decode(stream, colour.as_coded(fmt)).values
    assert np.abs(components.astype(int) - coded(truth)).mean() < 3


def test_the_picture_is_not_heard_where_clues_are_sure() -> None:
    stream = marked(lossy("YCbCr", "420", "baseline"), "JFIF", b"\1\2\3")
    assert not colour.colour_of(read_header(stream), replace(FMT, photometric="YBR_FULL_422")).doubtful
    assert shown(ours(stream, "YBR_FULL_422", JPEG, "RGB")[1], "YCbCr") == "YCbCr"


def cmyk(ink: np.ndarray, marker: bytes, ycck: bool) -> bytes:
    """Encode inks as JPEG of four components: inverted where there is a marker of Adobe's."""
    light = 255 - ink if marker else ink
    spaces = ("CMYK", "YCCK") if ycck else ("CMYK", "CMYK")
    stream = bytes(imagecodecs.jpeg8_encode(light, 98, colorspace=spaces[0], outcolorspace=spaces[1]))
    while stream[3] & 0xF0 == 0xE0:
        stream = stream[:2] + stream[4 + struct.unpack_from(">H", stream, 4)[0] :]
    return stream[:2] + marker + stream[2:]


@pytest.mark.parametrize(("number", "ycck"), [(None, False), (0, False), (2, True)])
def test_c1_cmyk_is_ink_however_it_is_stored(number: int | None, ycck: bool) -> None:
    """Adobe writes CMYK and YCCK inverted; Pillow, which reads them so, is the oracle."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    ink = np.dstack([x * 5, y * 7, 200 - x * 3, y * 2]).clip(0, 255).astype(np.uint8)
    stream = cmyk(ink, b"" if number is None else ADOBE[number], ycck)
    for photometric in ("CMYK", "ARGB"):
        decoded = decode(stream, replace(FMT, samples=4, photometric=photometric))
        assert decoded.photometric == photometric
        if photometric == "CMYK":
            assert np.abs(decoded.values.astype(int) - ink).max() < 20
            assert (" ".join(decoded.repairs).count("(C1)") == 1) == (number is not None)
    theirs = np.asarray(Image.open(io.BytesIO(stream)))
    if number is not None:
        assert np.abs(theirs.astype(int) - ink).max() < 20


# Through the tree: once for an object


def doubtful_film(truth: str, header: str, plain: int) -> bytes:
    """Make a film of lossy JPEGs without any mark: *plain* frames that show nothing, between others that do."""
    frames = []
    for number in range(plain + 4):
        picture = greyish(number) if number < 3 or number == plain + 3 else scene()
        components = as_ybr(picture) if truth == "YCbCr" else picture
        space = {"colorspace": "YCbCr", "outcolorspace": "YCbCr", "subsampling": "444"}
        frames.append(marked(bytes(imagecodecs.jpeg8_encode(components, 97, **space)), "", b"\1\2\3"))
    data = image(ROWS, COLUMNS, encapsulated(frames), frames=len(frames), samples=3, photometric=header, vr="OB")
    return dicom(data, JPEG)


@pytest.mark.parametrize("header", ["RGB", "YBR_FULL_422"])
@pytest.mark.parametrize("truth", TRUTHS)
def test_the_pictures_of_an_object_decide_once_for_all_its_frames(
    truth: str, header: str, loop: Loop, tmp_path: Path
) -> None:
    seen = Shown.of(loop, tmp_path, doubtful_film(truth, header, 6))
    assert shown(seen.picture(6), truth) == truth  # a frame that shows nothing itself
    close(seen.picture(1), greyish(0), 12)
    values = np.load(io.BytesIO(seen.read("pixels.npy")))
    assert shown(values[5], truth) == truth
    native = pydicom.dcmread(io.BytesIO(seen.read("native.dcm")))
    assert native.PhotometricInterpretation == "RGB"
    assert shown(native.pixel_array[5], truth) == truth


def test_clues_that_leave_no_doubt_are_not_asked_about(loop: Loop, tmp_path: Path) -> None:
    stream = marked(lossy("YCbCr", "420", "baseline"), "JFIF", b"\1\2\3")
    before = loop.decoder.stats.decoded
    elements = image(ROWS, COLUMNS, encapsulated([stream]), samples=3, photometric="YBR_FULL_422", vr="OB")
    Shown.of(loop, tmp_path, dicom(elements, JPEG)).picture()
    assert loop.decoder.stats.decoded == before + 1


def test_contradicting_clues_are_told_once_for_an_object(loop: Loop, tmp_path: Path) -> None:
    stream = marked(lossy("YCbCr", "444", "baseline"), "JFIF", b"\1\2\3")
    elements = image(ROWS, COLUMNS, encapsulated([stream] * 5), frames=5, samples=3, photometric="RGB", vr="OB")
    seen = Shown.of(loop, tmp_path, dicom(elements, JPEG))
    lines = [line for line in seen.read("problems.txt").decode().splitlines() if "(C1)" in line]
    assert len(lines) == 1
    assert "Photometric Interpretation speaks for RGB, JFIF for YCbCr: taken as YCbCr" in lines[0]
    assert shown(seen.picture(5), "YCbCr") == "YCbCr"
