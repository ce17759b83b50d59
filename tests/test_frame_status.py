"""The status of a frame, told from its ends, agrees with what decoding it says: on all samples, and on any damage."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.archives import CORPUS, SAMPLES, corpus_files, swept
from support.builders import dicom, encapsulated, image, pieces
from support.real_films import COLUMNS, ENCODERS, ROWS, SYNTAXES, grey

from dicomfs.codecs.registry import CodecError, decode
from dicomfs.dicom.stream import Memory, Stream
from dicomfs.instance.instance import Instance, load
from dicomfs.pixeldata.frame_status import looked_at, status

MAX_FRAMES = 5


def compare(instance: Instance, stream: Stream, frame: int) -> str:
    """Decode a frame, see that its status says the same, and give the status."""
    assert instance.pixels
    fmt, frames = instance.pixels.format, instance.pixels.frames
    told = status(stream, fmt, frames, frame)
    data = b"".join(stream.pread(length, offset) for offset, length in frames.extents(frame))
    try:
        if not data:
            raise CodecError("the frame is not there")
        repairs = decode(data, fmt, frames.bit_offset(frame)).repairs
    except CodecError:
        return str(told)  # what is wrong deep inside a frame its ends do not show: any status may be right
    # That an encoder's predictor was faulty only the decoded picture shows, and the status says that there is more to
    # know; what lies behind native pixels is no business of their decoder.
    assert not told.decisive or not any(reason.endswith("(C8)") for reason in repairs)
    seen = [reason for reason in repairs if not reason.endswith("(C8)")]
    assert sorted(seen) == sorted(reason for reason in told.reasons if not reason.endswith("(N2)"))
    assert told.state == ("repaired" if told.reasons else "ok")
    return str(told)


def check(path: Path) -> set[str]:
    data = path.read_bytes()
    instance = load(Memory(data))
    if instance.pixels is None:
        return set()
    stream = instance.inflated or Memory(data)
    return {compare(instance, stream, frame) for frame in range(min(MAX_FRAMES, len(instance.pixels.frames)))}


@pytest.mark.parametrize("path", swept(SAMPLES))
def test_samples(path: Path) -> None:
    found = check(path)
    broken = {"JPEG2000-embedded-sequence-delimiter.dcm": {"error (E21)"}, "MR_truncated.dcm": {"error (N3)"}}
    errors = {text for text in found if text.startswith("error")}
    assert errors == broken.get(path.name, set())


@pytest.mark.slow
def test_the_corpus() -> None:
    if CORPUS.is_dir():
        found = {path.name: check(path) for path in corpus_files()}
        assert len(found) > 50
        assert not {name: told for name, told in found.items() if any(text.startswith("error") for text in told)}


def wrapped(frame: bytes, kind: str, parts: int = 1) -> tuple[Instance, Stream]:
    """Put a frame into a file."""
    value = encapsulated(pieces(frame, parts), even=False)
    stream = Memory(dicom(image(ROWS, COLUMNS, value, vr="OB"), SYNTAXES.get(kind, SYNTAXES["jpeg 2000"])))
    return load(stream), stream


@given(
    st.sampled_from(sorted(ENCODERS)),
    st.integers(0, 3),
    st.lists(st.tuples(st.integers(0, 1200), st.binary(min_size=1, max_size=3)), max_size=3),
    st.integers(0, 200),
    st.binary(max_size=5),
    st.integers(1, 3),
)
@settings(max_examples=600, deadline=None)
def test_what_is_called_an_error_does_not_decode(
    kind: str, number: int, damages: list[tuple[int, bytes]], cut: int, behind: bytes, parts: int
) -> None:
    frame = bytearray(ENCODERS[kind](grey(number)))
    for place, data in damages:
        frame[place : place + len(data)] = data
    instance, stream = wrapped(bytes(frame[: max(1, len(frame) - cut)]) + behind, kind, parts)
    if instance.pixels:
        for listed in range(len(instance.pixels.frames)):
            compare(instance, stream, listed)


def test_a_header_that_lies_far_behind_is_found() -> None:
    picture = grey(1)
    frame = ENCODERS["jpeg"](picture)
    for size in (900, 60_000):
        segments = (b"\xff\xe2" + (size + 2).to_bytes(2, "big") + bytes(size)) * 3
        instance, stream = wrapped(frame[:2] + segments + frame[2:], "jpeg")
        assert compare(instance, stream, 0) == "ok"
        instance, stream = wrapped(frame[:2] + segments + frame[2:-2], "jpeg")
        assert compare(instance, stream, 0) == "error (E16)"
        instance, stream = wrapped(frame[:2] + segments + ENCODERS["jpeg"](grey(1, 9, 9))[2:], "jpeg")
        assert compare(instance, stream, 0) == "error (E21)"


def test_objects_with_many_frames_are_looked_at_in_three_places() -> None:
    assert looked_at(0) == []
    assert looked_at(8) == list(range(8))
    assert looked_at(10_000) == [0, 5000, 9999]


def test_a_syntax_without_a_decoder_is_an_error_that_says_so() -> None:
    instance, stream = wrapped(np.arange(200, dtype=np.uint8).tobytes(), "jpeg")
    assert instance.pixels
    fmt = replace(instance.pixels.format, transfer_syntax="1.2.3")
    told = status(stream, fmt, instance.pixels.frames, 0)
    assert (str(told), told.reasons) == ("error", ("no decoder reads this transfer syntax, which is not known",))
