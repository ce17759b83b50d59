"""Any slice of a content equals the slice of its bytes, whatever it is made of; a wrong size is an error."""

import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.decoding import read_at

from dicomfs.sources.local import LocalSource
from dicomfs.sources.source import SourceChanged, SourceFile
from dicomfs.vfs.content import (
    Buffer,
    Concatenation,
    Content,
    Literal,
    NativeFrameRun,
    PartialFrameRun,
    SourceExtent,
    UpsideDown,
    WrongSize,
    part_of,
    reverse_words,
)

FILE = bytes((7 * place + place // 251) % 256 for place in range(4000))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SourceFile]:
    place = tmp_path_factory.mktemp("source") / "file"
    place.write_bytes(FILE)
    source = LocalSource(str(place))
    file = source.open(b"file", source.root_entry().fingerprint)
    yield file
    file.close()
    source.close()


def swapped(data: bytes, word: int) -> bytes:
    """Reverse each word, the plain way."""
    whole = len(data) // word * word
    return b"".join(data[at : at + word][::-1] for at in range(0, whole, word)) + data[whole:]


def making(data: bytes) -> Callable[..., Awaitable[bytes]]:
    async def make(*_: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return data

    return make


# A piece as (kind, its bytes, where it is stored, its word): the model is the bytes alone.
described = st.one_of(
    st.tuples(st.just("ready"), st.binary(max_size=50), st.just(0), st.just(1)),
    st.tuples(st.just("made"), st.binary(max_size=50), st.just(0), st.just(1)),
    st.tuples(st.just("stored"), st.integers(0, 120), st.integers(0, 3800), st.sampled_from((1, 2, 4, 8))),
    st.tuples(st.just("row"), st.binary(min_size=1, max_size=30), st.just(0), st.integers(1, 5)),
    st.tuples(st.just("stored row"), st.integers(1, 20), st.integers(0, 3800), st.sampled_from((1, 2, 4))),
    st.tuples(st.just("flipped row"), st.binary(min_size=1, max_size=9), st.integers(1, 5), st.integers(1, 5)),
)
slices = st.lists(st.tuples(st.integers(0, 700), st.integers(0, 700)), min_size=1, max_size=12)


def rotating(data: bytes) -> Callable[[int], Awaitable[bytes]]:
    """Make piece *index* of a row, each different."""

    async def make(index: int) -> bytes:
        await trio.lowlevel.checkpoint()
        turn = index % len(data)
        return data[turn:] + data[:turn]

    return make


class Made(PartialFrameRun):
    """Frames that a function makes."""

    __slots__ = ("_make",)

    def __init__(self, count: int, each: int, make: Callable[[int], Awaitable[Buffer]]) -> None:
        super().__init__(count, each)
        self._make = make

    async def part(self, index: int, start: int, stop: int) -> Buffer:
        return part_of(await self._make(index), self.each, start, stop)


class StoredRow(NativeFrameRun):
    """Three overlapping pieces, the last first, whose words are reversed."""

    __slots__ = ("_opened_file", "_places", "_word_size")

    def __init__(self, file: SourceFile, each: int, places: list[int], word: int) -> None:
        super().__init__(3, each, word)
        self._opened_file = file
        self._places = places
        self._word_size = word

    def offset(self, index: int) -> int:
        return self._places[index]

    async def open_source(self) -> SourceFile:
        return self._opened_file

    def change(self, data: Buffer) -> bytes:
        assert len(data) % self._word_size == 0
        return swapped(bytes(data), self._word_size)


def stored_row(file: SourceFile, each: int, offset: int, word: int) -> tuple[StoredRow, bytes]:
    places = [offset + 2 * word * index for index in (2, 1, 0)]
    row = StoredRow(file, each, places, word)
    return row, b"".join(swapped(FILE[place : place + each], word) for place in places)


def build(pieces: list[tuple[str, bytes | int, int, int]], file: SourceFile) -> tuple[Content, bytes]:
    made: list[Content] = []
    model = b""
    for kind, what, offset, word in pieces:
        if kind == "stored row" and isinstance(what, int):
            piece, data = stored_row(file, what * word, offset, word)
            made.append(piece)
            model += data
        elif kind == "flipped row" and isinstance(what, bytes):
            # *offset* lines of *what*, each turned on by one more byte; *word* such pieces.
            lines = [what[turn % len(what) :] + what[: turn % len(what)] for turn in range(offset)]
            row = Made(word, len(what) * offset, making(b"".join(lines)))
            made.append(UpsideDown(row, word, offset))
            model += b"".join(reversed(lines)) * word
        elif kind == "row" and isinstance(what, bytes):
            made.append(Made(word, len(what), rotating(what)))
            model += b"".join(what[turn % len(what) :] + what[: turn % len(what)] for turn in range(word))
        elif isinstance(what, int):
            made.append(SourceExtent(file, offset, what, word))
            model += swapped(FILE[offset : offset + what], word)
        else:
            made.append(Literal(what) if kind == "ready" else Made(1, len(what), making(what)))
            model += what
    return Concatenation(made), model


@given(pieces=st.lists(described, max_size=9), wanted=slices)
@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_slice_is_the_slice_of_the_whole(
    stored: SourceFile, pieces: list[tuple[str, bytes | int, int, int]], wanted: list[tuple[int, int]]
) -> None:
    content, model = build(pieces, stored)

    async def check() -> None:
        assert content.size == len(model)
        assert bytes(await read_at(content, 0, content.size)) == model
        for offset, length in wanted:
            assert bytes(await read_at(content, offset, length)) == model[offset : offset + length]

    trio.run(check)


@given(pieces=st.lists(described, max_size=9), step=st.integers(1, 64))
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_eight_readers_at_once_see_the_same(
    stored: SourceFile, pieces: list[tuple[str, bytes | int, int, int]], step: int
) -> None:
    content, model = build(pieces, stored)
    seen = []

    async def reader() -> None:
        parts = [bytes(await read_at(content, offset, step)) for offset in range(0, content.size, step)]
        seen.append(b"".join(parts))

    async def check() -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(reader)

    trio.run(check)
    assert seen == [model] * 8


@pytest.mark.parametrize("data", [b"", b"abc", b"abcde"])
def test_what_is_made_in_another_size_is_an_error_each_time(data: bytes) -> None:
    content = Concatenation([Literal(b"before"), Made(1, 4, making(data)), Literal(b"after")])

    async def check() -> None:
        assert content.size == 15
        assert bytes(await read_at(content, 0, 6)) == b"before"
        for _ in range(2):
            with pytest.raises(WrongSize) as caught:
                await read_at(content, 3, 8)
            assert caught.value.errno == errno.EIO
        assert bytes(await read_at(content, 10, 99)) == b"after"

    trio.run(check)


def test_a_piece_that_gives_less_than_it_promised_is_an_error() -> None:
    """A short answer in the middle would be read as the end of the file, and the rest as zeros."""

    class Short(Content):
        def __init__(self) -> None:
            self.size = 10

        async def read(self, start: int, stop: int) -> bytes:
            return bytes(stop - start - 1)

    for content in (Concatenation([Short()]), Concatenation([Short(), Literal(b"after")])):
        with pytest.raises(WrongSize):
            trio.run(read_at, content, 0, 100)


def test_an_extent_beyond_its_file_is_an_error(stored: SourceFile) -> None:
    for word in (1, 2):
        with pytest.raises(WrongSize):
            trio.run(read_at, Concatenation([SourceExtent(stored, 3990, 20, word)]), 0, 100)


def test_nothing_is_made_before_it_is_read_and_nothing_is_kept_here() -> None:
    calls = []

    async def make() -> bytes:
        calls.append(1)
        await trio.lowlevel.checkpoint()
        return b"abcdef"

    content = Concatenation([Literal(b"xy"), Made(1, 6, lambda _: make())])

    async def check() -> None:
        assert bytes(await read_at(content, 0, 2)) == b"xy"
        assert bytes(await read_at(content, 8, 100)) == b""
        assert bytes(await read_at(content, 2, 0)) == b""
        assert not calls
        for start in range(2, 8):
            assert bytes(await read_at(content, start, 1)) == b"abcdef"[start - 2 : start - 1]
        assert len(calls) == 6

    trio.run(check)


def test_what_failed_once_is_tried_again() -> None:
    answers: list[OSError | bytes] = [OSError(errno.EIO, "no"), b"abc"]

    async def make() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    content = Concatenation([Made(1, 3, lambda _: make())])

    async def check() -> None:
        with pytest.raises(OSError, match="no"):
            await read_at(content, 0, 3)
        assert bytes(await read_at(content, 0, 3)) == b"abc"

    trio.run(check)


def test_nothing_at_all() -> None:
    for content in (Concatenation([]), Concatenation([Literal(b""), Made(1, 0, making(b"")), Literal(b"")])):
        assert content.size == 0
        for offset in (0, 1, 1 << 40):
            assert bytes(trio.run(read_at, content, offset, 10)) == b""


def test_a_row_of_many_pieces_is_searched_and_not_walked() -> None:
    reads = []

    class Noting(Content):
        def __init__(self, number: int) -> None:
            self.number = number
            self.size = number % 3

        async def read(self, start: int, stop: int) -> bytes:
            reads.append(self.number)
            return bytes([self.number % 256]) * (stop - start)

    content = Concatenation([Noting(number) for number in range(100_000)])
    assert content.size == 99_999
    data = trio.run(read_at, content, 60_000, 5)
    assert len(data) == 5
    assert len(reads) <= 5


def test_closing_gives_back_what_is_held() -> None:
    closed = []

    class Held(Literal):
        def __init__(self, name: bytes) -> None:
            super().__init__(name)
            self.name = name

        def close(self) -> None:
            closed.append(self.name)

    content = Concatenation([Held(b"x"), Held(b"y")], Held(b"file"))
    content.close()
    assert closed == [b"x", b"y", b"file"]
    Concatenation([]).close()


def test_a_changed_source_is_an_error(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_bytes(FILE)
    source = LocalSource(str(place))
    file = source.open(b"file", source.root_entry().fingerprint)
    content = Concatenation([SourceExtent(file, 100, 3000)], file)
    assert bytes(trio.run(read_at, content, 10, 50)) == FILE[110:160]
    os.truncate(place, 2000)
    for offset in (0, 10, 2500):
        with pytest.raises(SourceChanged):
            trio.run(read_at, content, offset, 50)
    content.close()
    source.close()


@given(st.binary(max_size=100), st.sampled_from((2, 4, 8)))
def test_words_are_reversed_and_back(data: bytes, word: int) -> None:
    assert reverse_words(data, word) == swapped(data, word)
    assert reverse_words(reverse_words(data, word), word) == data


def test_a_row_makes_what_a_read_touches_in_order() -> None:
    made = []

    async def make(index: int) -> bytes:
        made.append(index)
        return bytes([index % 256]) * 10

    async def check() -> None:
        row = Made(10**15, 10, make)
        content = Concatenation([Literal(b"head"), row])
        assert content.size == 4 + 10**16
        for offset in range(4, 64, 15):
            await read_at(content, offset, 15)
        assert made == [0, 1, 1, 2, 3, 4, 4, 5]
        assert bytes(await read_at(content, content.size - 3, 99)) == bytes([(10**15 - 1) % 256] * 3)

    trio.run(check)


def test_a_piece_of_a_row_in_another_size_is_an_error_and_the_others_are_read() -> None:
    async def make(index: int) -> bytes:
        return b"x" * (9 if index == 1 else 10)

    async def check() -> None:
        row = Made(3, 10, make)
        for _ in range(2):
            with pytest.raises(WrongSize):
                await row.read(15, 16)
        assert bytes(await row.read(0, 10)) == bytes(await row.read(20, 30)) == b"x" * 10

    trio.run(check)


def test_a_row_tells_who_reads_in_order() -> None:
    """Requests of one reader overtake each other a little; what is far away begins anew."""
    each, block = 1 << 20, 128 << 10

    async def make(index: int) -> bytes:
        return bytes(each)

    async def check() -> None:
        row = Made(100, each, make)
        for place in (0, 2, 1, 3, 5, 4):
            await row.read(place * block, (place + 1) * block)
        assert row.in_order == 6 * block
        await row.read(0, 10)  # again
        assert row.in_order == 6 * block
        await row.read(50 * each, 50 * each + 7)
        assert row.in_order == 7
        for index in (60, 20, 40):
            await row.read(index * each, (index + 1) * each)
            assert row.in_order == each

    trio.run(check)


def test_a_stored_row_opens_its_file_once_and_late() -> None:
    """Of readers who come at the same time one opens it for all; what the others opened is closed."""

    class FakeFile:
        def __init__(self) -> None:
            self.closed = False

        def pread_cached(self, length: int, offset: int) -> bytes:
            assert not self.closed
            return FILE[offset : offset + length]

        def close(self) -> None:
            self.closed = True

    opened: list[FakeFile] = []

    class Late(NativeFrameRun):
        def offset(self, index: int) -> int:
            return 100 * index

        async def open_source(self) -> SourceFile:
            await trio.lowlevel.checkpoint()
            opened.append(FakeFile())
            return opened[-1]

    async def check() -> None:
        content = Concatenation([Late(10, 100)])
        assert not opened
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(read_at, content, 0, 500)
        assert bytes(await read_at(content, 150, 600)) == FILE[150:750]
        assert [file.closed for file in opened].count(False) == 1
        content.close()
        assert all(file.closed for file in opened)
        unread = Late(10, 100)
        unread.close()

    trio.run(check)
