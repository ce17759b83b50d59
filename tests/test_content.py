"""Any slice of a content equals the slice of its bytes, whatever it is made of; a wrong size is an error."""

import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicomfs.content import Content, Made, Piece, Ready, Stored, WrongSize, reverse_words
from dicomfs.source import Source, SourceChanged, SourceFile

FILE = bytes((7 * place + place // 251) % 256 for place in range(4000))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SourceFile]:
    place = tmp_path_factory.mktemp("source") / "file"
    place.write_bytes(FILE)
    source = Source(str(place))
    file = source.open(b"file", source.root_entry().fingerprint)
    yield file
    file.close()
    source.close()


def swapped(data: bytes, word: int) -> bytes:
    """Reverse each word, the plain way."""
    whole = len(data) // word * word
    return b"".join(data[at : at + word][::-1] for at in range(0, whole, word)) + data[whole:]


def making(data: bytes) -> Callable[[], Awaitable[bytes]]:
    async def make() -> bytes:
        await trio.lowlevel.checkpoint()
        return data

    return make


# A piece as (kind, its bytes, where it is stored, its word): the model is the bytes alone.
described = st.one_of(
    st.tuples(st.just("ready"), st.binary(max_size=50), st.just(0), st.just(1)),
    st.tuples(st.just("made"), st.binary(max_size=50), st.just(0), st.just(1)),
    st.tuples(st.just("stored"), st.integers(0, 120), st.integers(0, 3800), st.sampled_from((1, 2, 4, 8))),
)
slices = st.lists(st.tuples(st.integers(0, 700), st.integers(0, 700)), min_size=1, max_size=12)


def build(pieces: list[tuple[str, bytes | int, int, int]], file: SourceFile) -> tuple[Content, bytes]:
    made: list[Piece] = []
    model = b""
    for kind, what, offset, word in pieces:
        if isinstance(what, int):
            made.append(Stored(file, offset, what, word))
            model += swapped(FILE[offset : offset + what], word)
        else:
            made.append(Ready(what) if kind == "ready" else Made(len(what), making(what)))
            model += what
    return Content(made), model


@given(pieces=st.lists(described, max_size=9), wanted=slices)
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_slice_is_the_slice_of_the_whole(
    stored: SourceFile, pieces: list[tuple[str, bytes | int, int, int]], wanted: list[tuple[int, int]]
) -> None:
    content, model = build(pieces, stored)

    async def check() -> None:
        assert content.size == len(model)
        assert bytes(await content.read(0, content.size)) == model
        for offset, length in wanted:
            assert bytes(await content.read(offset, length)) == model[offset : offset + length]

    trio.run(check)


@given(pieces=st.lists(described, max_size=9), step=st.integers(1, 64))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_eight_readers_at_once_see_the_same(
    stored: SourceFile, pieces: list[tuple[str, bytes | int, int, int]], step: int
) -> None:
    content, model = build(pieces, stored)
    seen = []

    async def reader() -> None:
        parts = [bytes(await content.read(offset, step)) for offset in range(0, content.size, step)]
        seen.append(b"".join(parts))

    async def check() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(reader)

    trio.run(check)
    assert seen == [model] * 8


@pytest.mark.parametrize("data", [b"", b"abc", b"abcde"])
def test_what_is_made_in_another_size_is_an_error_each_time(data: bytes) -> None:
    content = Content([Ready(b"before"), Made(4, making(data)), Ready(b"after")])

    async def check() -> None:
        assert content.size == 15
        assert bytes(await content.read(0, 6)) == b"before"
        for _ in range(2):
            with pytest.raises(WrongSize) as caught:
                await content.read(3, 8)
            assert caught.value.errno == errno.EIO
        assert bytes(await content.read(10, 99)) == b"after"

    trio.run(check)


def test_a_piece_that_gives_less_than_it_promised_is_an_error() -> None:
    """A short answer in the middle would be read as the end of the file, and the rest as zeros."""

    class Short:
        size = 10

        async def read(self, start: int, stop: int) -> bytes:
            return bytes(stop - start - 1)

    for content in (Content([Short()]), Content([Short(), Ready(b"after")])):
        with pytest.raises(WrongSize):
            trio.run(content.read, 0, 100)


def test_an_extent_beyond_its_file_is_an_error(stored: SourceFile) -> None:
    for word in (1, 2):
        with pytest.raises(WrongSize):
            trio.run(Content([Stored(stored, 3990, 20, word)]).read, 0, 100)


def test_nothing_is_made_before_it_is_read_and_then_once() -> None:
    calls = []

    async def make() -> bytes:
        calls.append(1)
        await trio.lowlevel.checkpoint()
        return b"abcdef"

    content = Content([Ready(b"xy"), Made(6, make)])

    async def check() -> None:
        assert bytes(await content.read(0, 2)) == b"xy"
        assert bytes(await content.read(8, 100)) == b""
        assert bytes(await content.read(2, 0)) == b""
        assert not calls
        for start in range(2, 8):
            assert bytes(await content.read(start, 1)) == b"abcdef"[start - 2 : start - 1]
        assert len(calls) == 1

    trio.run(check)


def test_what_failed_once_is_tried_again() -> None:
    answers: list[OSError | bytes] = [OSError(errno.EIO, "no"), b"abc"]

    async def make() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    content = Content([Made(3, make)])

    async def check() -> None:
        with pytest.raises(OSError, match="no"):
            await content.read(0, 3)
        assert bytes(await content.read(0, 3)) == b"abc"

    trio.run(check)


def test_nothing_at_all() -> None:
    for content in (Content([]), Content([Ready(b""), Made(0, making(b"")), Ready(b"")])):
        assert content.size == 0
        for offset in (0, 1, 1 << 40):
            assert bytes(trio.run(content.read, offset, 10)) == b""


def test_a_row_of_many_pieces_is_searched_and_not_walked() -> None:
    reads = []

    class Noting:
        def __init__(self, number: int) -> None:
            self.number = number
            self.size = number % 3

        async def read(self, start: int, stop: int) -> bytes:
            reads.append(self.number)
            return bytes([self.number % 256]) * (stop - start)

    content = Content([Noting(number) for number in range(100_000)])
    assert content.size == 99_999
    data = trio.run(content.read, 60_000, 5)
    assert len(data) == 5
    assert len(reads) <= 5


def test_closing_gives_back_what_is_held() -> None:
    closed = []
    content = Content([Ready(b"x")], lambda: closed.append(1))
    content.close()
    assert closed == [1]
    Content([]).close()


def test_a_changed_source_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_bytes(FILE)
    source = Source(str(place))
    file = source.open(b"file", source.root_entry().fingerprint)
    content = Content([Stored(file, 100, 3000)], file.close)
    assert bytes(trio.run(content.read, 10, 50)) == FILE[110:160]
    os.truncate(place, 2000)
    for offset in (0, 10, 2500):
        with pytest.raises(SourceChanged):
            trio.run(content.read, offset, 50)
    content.close()
    source.close()


@given(st.binary(max_size=100), st.sampled_from((2, 4, 8)))
def test_words_are_reversed_and_back(data: bytes, word: int) -> None:
    assert reverse_words(data, word) == swapped(data, word)
    assert reverse_words(reverse_words(data, word), word) == data
