"""Damage that decodes without complaint: how much of it is noticed, here and by others, for each kind of codestream."""

import io
import logging
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from support import damaged_streams
from support.damaged_streams import COLOUR, GREY, KINDS, SIDE, Kind
from support.oracles import REPORTS

from dicomfs.codecs.registry import CodecError, decode

FRAMES, PLACES, ASKED = 2, 5, 10
# The others take half a minute each.
QUICK = {"JPEG grey", "JPEG 2000 lossless", "deflated"}


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest) -> damaged_streams.DamageTable:
    """Give the table that is printed at the end of the run."""
    reports = request.config.stash.setdefault(REPORTS, {})
    table = reports.setdefault(
        "damaged frames, how many decode to something else, and who notices", damaged_streams.DamageTable()
    )
    assert isinstance(table, damaged_streams.DamageTable)
    return table


@pytest.mark.parametrize(
    "kind",
    [kind if kind.name in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS],
    ids=lambda kind: kind.name,
)
def test_damage_is_noticed_at_least_as_well_as_by_others(
    kind: Kind, told: damaged_streams.DamageTable, program: Callable[[str], str], tmp_path: Path
) -> None:
    for seed in range(FRAMES):
        assert not damaged_streams.we_notice(kind, bytes(kind.encode(kind.draw(seed))))
    row = told.rows[kind.name] = damaged_streams.Row(
        libjpeg=0 if kind.warnings else None, dcmtk=0 if kind.dcmtk else None
    )
    row.gdcm = 0 if kind.gdcm else None
    slips: dict[str, list[bool]] = {}
    ours_of_asked = asked = 0
    for name, stream, data in damaged_streams.damaged(kind, FRAMES, PLACES):
        slip = damaged_streams.unnoticed(kind, stream, data)
        slips.setdefault(name, []).append(slip)
        row.tries += 1
        if not damaged_streams.differs(kind, stream, data):
            continue
        row.different += 1
        row.ours += not slip
        if row.libjpeg is not None:
            warned = damaged_streams.libjpeg_warns(kind, data)
            row.libjpeg += warned
            assert not (warned and slip)
        if row.different % 7 == 0 and asked < ASKED and (kind.dcmtk or kind.gdcm):
            asked += 1
            ours_of_asked += not slip
            if row.dcmtk is not None:
                row.dcmtk += damaged_streams.program_warns(kind, data, [program(kind.dcmtk)], tmp_path)
            if row.gdcm is not None:
                row.gdcm += damaged_streams.program_warns(kind, data, [program("gdcmconv"), "--raw"], tmp_path)
    row.asked = asked
    row.shares = {name: float(np.mean(found)) for name, found in slips.items()}
    assert row.mean <= kind.most
    # One that others notice by chance and we do not is noise.
    assert all(count is None or count <= ours_of_asked + 1 for count in (row.dcmtk, row.gdcm))


def refused(data: bytes, kind: Kind) -> str:
    """Give the reason for which a frame is an error."""
    with pytest.raises(CodecError) as caught:
        decode(data, kind.fmt)
    return str(caught.value.strerror)


def of(name: str) -> Kind:
    """Find a kind."""
    return next(kind for kind in KINDS if kind.name == name)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.warnings], ids=lambda kind: kind.name)
def test_data_left_over_and_data_that_lack_are_named(kind: Kind) -> None:
    stream = bytes(kind.encode(kind.draw(1)))
    end = stream.rindex(b"\xff\xd9")
    surplus = "they do not end with the last sample" if "lossless" in kind.name else "extraneous bytes"
    assert surplus in refused(stream[:end] + bytes(range(1, 200)) + stream[end:], kind)
    lacking = refused(stream[: end - 200].rstrip(b"\xff") + stream[end:], kind)
    assert any(
        what in lacking for what in ("premature end", "found marker 0xd9 instead", "do not end", "more than 8 bits")
    )


@pytest.mark.parametrize("fill", [b"\xff", b"\xff" * 7])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.warnings], ids=lambda kind: kind.name)
def test_any_number_of_fill_bytes_before_a_marker_is_sound(kind: Kind, fill: bytes) -> None:
    """T.81 B.1.1.2; frames whose last samples are middle grey were refused, and all with restarts or several scans."""
    values = kind.draw(1)
    values[SIDE // 2 :] = 1 << (kind.fmt.bits_stored - 1)
    stream = bytes(kind.encode(values))
    expected = decode(stream, kind.fmt).values
    end = stream.rindex(b"\xff\xd9")
    assert np.array_equal(decode(stream[:end] + fill + stream[end:], kind.fmt).values, expected)
    for restart in range(0xD0, 0xD8):
        marker = bytes([0xFF, restart])
        if marker in stream:
            assert np.array_equal(decode(stream.replace(marker, fill + marker), kind.fmt).values, expected)


def test_a_block_brighter_than_any_sample_is_damage() -> None:
    """Only the mean of one block differs, in a stream that is otherwise one of its process."""
    for kind in (of("JPEG grey"), of("JPEG 12 bit")):
        values = np.full((SIDE, SIDE), (1 << kind.fmt.bits_stored) - 1, kind.fmt.dtype)
        stream = bytes(kind.encode(values))
        decode(stream, kind.fmt)
        # The quantiser of the means, made as many times larger, makes all of them too bright by as much.
        table = stream.index(b"\xff\xdb") + 5
        brighter = stream[:table] + bytes([min(255, stream[table] * 6)]) + stream[table + 1 :]
        assert "brighter" in refused(brighter, kind)


@pytest.mark.parametrize("bits", range(2, 17))
@pytest.mark.parametrize("predictor", range(1, 8))
def test_sound_lossless_frames_of_all_bits_and_predictors_keep_their_values(bits: int, predictor: int) -> None:
    fmt = replace(of("JPEG lossless 16").fmt, bits_stored=bits, high_bit=bits - 1)
    values = (np.random.default_rng(bits).integers(0, 1 << bits, (SIDE, SIDE))).astype(np.uint8 if bits <= 8 else "<u2")
    stream = bytes(imagecodecs.jpeg8_encode(values, lossless=True, bitspersample=bits, predictor=predictor))
    assert np.array_equal(decode(stream, fmt).values, values)


def test_values_beyond_the_precision_are_damage() -> None:
    kind = of("JPEG lossless 8")
    stream = bytearray(kind.encode(kind.draw(3)))
    middle = len(stream) // 2
    stream[middle : middle + 40] = bytes(40)
    assert "more than 8 bits" in refused(bytes(stream), kind)


@pytest.mark.parametrize("predictor", range(1, 8))
def test_lossless_data_end_with_the_last_sample(predictor: int) -> None:
    """One sample too many or too few in the data, which libjpeg-turbo does not notice: it reads ahead that far."""
    fmt = replace(of("JPEG lossless 16").fmt, rows=4)
    values = np.random.default_rng(predictor).integers(0, 4096, (5, SIDE)).astype("<u2")

    def coded(rows: np.ndarray) -> bytes:
        options = {"lossless": True, "bitspersample": 16, "predictor": predictor}
        return bytes(imagecodecs.jpeg8_encode(np.ascontiguousarray(rows), **options))

    kind = replace(of("JPEG lossless 16"), fmt=fmt)
    stream = coded(values[:4])
    assert np.array_equal(decode(stream, fmt).values, values[:4])
    end = stream.rindex(b"\xff\xd9")
    for more in range(1, 7):
        assert refused(stream[:end] + bytes([0x5A] * more) + stream[end:], kind)
    assert refused(stream[: end - 2].rstrip(b"\xff") + stream[end:], kind)


@pytest.mark.parametrize("tail", [b"", b"\0"])
def test_a_deflated_frame_ends_where_its_stream_does(tail: bytes) -> None:
    kind = of("deflated")
    values = kind.draw(1)
    for odd in (False, True):
        fmt = replace(kind.fmt, rows=SIDE - odd, columns=SIDE - odd)
        frame = values[: fmt.rows, : fmt.columns].tobytes()
        decode(zlib.compress(frame, wbits=-15) + tail, fmt)
        if odd:
            decode(zlib.compress(frame + b"\0", wbits=-15) + tail, fmt)
        for wrong in (frame + b"\0\0", frame[:-1]):
            with pytest.raises(CodecError):
                decode(zlib.compress(wrong, wbits=-15) + tail, fmt)
        assert "E16" in refused(zlib.compress(frame, wbits=-15) + tail + b"more", replace(kind, fmt=fmt))
        unended = zlib.compressobj(wbits=-15)
        flushed = unended.compress(frame) + unended.flush(zlib.Z_SYNC_FLUSH)
        assert "E16" in refused(flushed + tail, replace(kind, fmt=fmt))


@pytest.mark.parametrize("kind", [of("RLE 16"), of("RLE colour")], ids=lambda kind: kind.name)
@pytest.mark.parametrize("pad", [b"\x20", b"\xff", b"\0", b"\0\0\0"])
def test_one_pad_byte_of_any_value_behind_an_rle_segment_is_none_of_it(kind: Kind, pad: bytes) -> None:
    values = kind.draw(1)
    stream = bytes(kind.encode(values))
    assert np.array_equal(decode(stream.rstrip(b"\0") + pad, kind.fmt).values, values)
    assert "E21" in refused(stream.rstrip(b"\0") + b"\x01ab", kind)


def test_jpeg_2000_modes_of_code_blocks_keep_their_values(program: Callable[[str], str], tmp_path: Path) -> None:
    """The bit that makes OpenJPEG look is in the header alone: no picture changes for it."""
    values = of("JPEG 2000 lossless").draw(1)
    source, coded = tmp_path / "plain.pgm", tmp_path / "coded.j2k"
    Image.fromarray(values).save(source)
    for mode in range(0, 64, 3):
        for more in ([], ["-t", "70,70"], ["-n", "1"]):
            command = [program("opj_compress"), "-i", source, "-o", coded, "-M", str(mode), *more]
            subprocess.run(command, capture_output=True, check=True)
            assert np.array_equal(decode(coded.read_bytes(), of("JPEG 2000 lossless").fmt).values, values)


def test_what_openjpeg_says_is_heard_and_nobody_elses_log_changes(caplog: pytest.LogCaptureFixture) -> None:
    kind = of("JPEG 2000 lossless")
    stream = bytearray(kind.encode(kind.draw(1)))
    middle = len(stream) // 2
    stream[middle : middle + 100] = bytes(100)
    log = logging.getLogger("imagecodecs")
    before = (log.level, log.propagate, list(log.handlers))
    assert "a code-block" in refused(bytes(stream), kind)
    assert (log.level, log.propagate, log.handlers) == before
    assert caplog.records == []


def test_no_frame_of_colours_in_any_shape_is_refused() -> None:
    """Sampling factors that encoders rarely use, and four components, go through the probe as they should."""
    values = damaged_streams.picture(5, 8, 3)
    for sampling in ("444", "422", "420", "440", "411"):
        stream = bytes(
            imagecodecs.jpeg8_encode(values, 92, colorspace="RGB", outcolorspace="YCbCr", subsampling=sampling)
        )
        decode(stream, COLOUR)
    file = io.BytesIO()
    four = np.dstack([values, values[..., 0]])
    Image.fromarray(four, "CMYK").save(file, "JPEG", quality=95)
    decode(file.getvalue(), replace(COLOUR, samples=4, photometric="CMYK"))
    for name in ("JPEG grey", "JPEG progressive"):
        extremes = np.where(np.random.default_rng(4).integers(0, 2, (SIDE, SIDE)), 255, 0).astype(np.uint8)
        for quality in (1, 10, 50, 100):
            file = io.BytesIO()
            Image.fromarray(extremes).save(file, "JPEG", quality=quality, progressive="prog" in name)
            decode(file.getvalue(), GREY)
