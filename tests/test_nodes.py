"""Numbers of nodes: kept as long as the kernel holds them, never given twice; children by name and by place alike."""

import errno
import gc
import stat
import sys
import weakref
from collections.abc import Sequence

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from dicomfs.fuse.inodes import ROOT, InodeTable, Stale
from dicomfs.vfs.content import Content, Literal
from dicomfs.vfs.nodes import (
    Attributes,
    Child,
    Children,
    Directory,
    File,
    LazyDirectory,
    NamedChildren,
    Node,
    NumberedChildren,
    ReadyDirectory,
    read_only,
)

FILE = Attributes(stat.S_IFREG | 0o444, 1, 2, 10, 5, 1.0)
FOLDER = Attributes(stat.S_IFDIR | 0o555, 1, 2, 0, 5, 1.0)


class Note(File):
    """A file that can be weakly referenced."""

    __slots__ = ("__weakref__", "number")

    def __init__(self, number: int = 0, identity: object = None) -> None:
        super().__init__(FILE, identity)
        self.number = number

    async def open(self) -> Content:
        return Literal(b"")


class Mirror(Directory):
    """A directory whose children come and go."""

    __slots__ = ("__weakref__",)

    async def lookup(self, name: bytes) -> Child | None:
        return None

    async def listing(self) -> Sequence[Child]:
        return []


def folder(count: int = 5, identity: object = None) -> ReadyDirectory:
    return ReadyDirectory(FOLDER, numbered(count, identity))


def numbered(count: int, identity: object) -> NumberedChildren:
    return NumberedChildren(count, lambda place: Note(place, identity), lambda _: ".png")


# Children


@given(st.integers(0, 20_000), st.sampled_from((0, 1)), st.sampled_from((1, 4)), st.data())
def test_find_is_the_inverse_of_the_names(count: int, first: int, digits: int, data: st.DataObject) -> None:
    kinds = (".jpg", ".j2k", "")
    children = NumberedChildren(count, Note, lambda index: kinds[index % 3], first=first, digits=digits)
    assert len(children) == count
    if count:
        place = data.draw(st.integers(0, count - 1))
        child = children[place]
        assert child.place == place
        assert isinstance(child.node, Note)
        assert child.node.number == place
        found = children.find(child.name)
        assert found is not None
        assert isinstance(found.node, Note)
        assert (found.name, found.node.number, found.place) == (child.name, place, place)
        number, dot, extension = child.name.partition(b".")
        assert int(number) == place + first
        assert len(number) == max(digits, len(str(count)))
        for wrong in (
            b"0" + child.name,
            child.name[1:] if child.name[:1] == b"0" else b"00" + child.name,
            child.name + b".",
            child.name + b"x",
            number + b".png",
            number if dot else number + b".jpg",
            b"+" + child.name[1:],
            b" " + child.name[1:],
            child.name.upper() if extension else child.name + b"\n",
            number.replace(b"0", b"_0", 1) if b"0" in number else b"_" + number,
        ):
            assert children.find(wrong) is None, wrong
    for index in (-1, count, count + 1, 1 << 70):
        with pytest.raises(IndexError):
            children[index]


@given(st.binary(max_size=30))
def test_any_name_finds_the_child_of_that_name_or_none(name: bytes) -> None:
    for children in (NumberedChildren(12, Note, lambda _: ".png"), NamedChildren([(b"a", Note()), (b"0001", Note())])):
        child = children.find(name)
        assert (child is not None) == (name in [child.name for child in children])


@pytest.mark.parametrize(
    "name",
    [
        b"9" * 5000,
        b"0" * 5000 + b"1.png",
        b"",
        b".png",
        b"0000.png",
        b"0013.png",
        "\u0660\u0660\u0660\u0661.png".encode(),
        b"\xb2.png",
    ],
)
def test_strange_numbers_find_nothing(name: bytes) -> None:
    assert NumberedChildren(12, Note, lambda _: ".png").find(name) is None


def test_named_children_keep_their_order() -> None:
    nodes = [(b"z", Note()), (b"a", Note()), (b"m", folder())]
    children = NamedChildren(nodes)
    assert [(child.name, child.node) for child in children] == nodes
    assert [child.place for child in children] == [0, 1, 2]
    for child in children:
        assert children.find(child.name) == child
    assert children.find(b"b") is None
    assert list(children[1:]) == list(children)[1:]


def test_a_hundred_thousand_children_are_no_hundred_thousand_objects() -> None:
    made = []

    def make(index: int) -> Note:
        made.append(index)
        return Note(index)

    children = NumberedChildren(100_000, make, lambda _: ".png")
    directory = ReadyDirectory(FOLDER, children)
    table = InodeTable(directory)
    assert not made
    gc.collect()
    before = len(gc.get_objects())
    for child in trio.run(directory.listing):
        table.hold(ROOT, child)
    made.clear()
    gc.collect()
    assert len(gc.get_objects()) - before < 100
    assert len(table) == 1
    assert children.find(b"099999.png") is not None
    assert made == [99_998]
    assert [child.name for child in children[99_998:]] == [b"099999.png", b"100000.png"]
    assert sys.getsizeof(children) < 1000


# Directories


def test_a_late_directory_is_found_when_it_is_wanted() -> None:
    calls = []

    async def find() -> Children:
        calls.append(1)
        return children

    note = Note()
    children = NamedChildren([(b"a", note)])
    directory = LazyDirectory(FOLDER, find)
    assert not calls
    child = trio.run(directory.lookup, b"a")
    assert child == Child(b"a", note, 0, places=1)
    assert trio.run(directory.lookup, b"b") is None
    assert list(trio.run(directory.listing)) == [child]
    assert trio.run(directory.child, 0) is note
    with pytest.raises(IndexError):
        trio.run(directory.child, 1)


def test_directories_of_a_fixed_directory_are_found_again_through_it() -> None:
    """No node of them is kept, however many the kernel holds; each keeps its number while it is held."""
    made = 0

    async def find() -> Children:
        nonlocal made
        made += 1
        return NamedChildren([(b"frames", folder(3)), (b"note", Note(7))])

    table = InodeTable(Mirror(FOLDER))
    instance = table.hold(ROOT, Child(b"x.dcm", LazyDirectory(FOLDER, find)))
    frames, note = (table.hold(instance, child) for child in trio.run(find))
    third = table.hold(frames, trio.run(folder(3).listing)[2])
    assert len(table) == 3
    assert isinstance(trio.run(table.node, third), Note)
    assert isinstance(trio.run(table.directory, frames), ReadyDirectory)
    assert trio.run(table.node, note).attributes == Note(7).attributes
    assert made > 1
    assert table.hold(instance, trio.run(find)[0]) == frames
    for inode, lookups in ((third, 1), (frames, 2), (note, 1), (instance, 1)):
        table.forget(inode, lookups)
    assert len(table) == 1
    with pytest.raises(Stale):
        trio.run(table.node, third)


def test_a_late_directory_that_failed_is_tried_again() -> None:
    answers: list[OSError | Children] = [OSError(errno.EIO, "no"), NamedChildren([])]

    async def find() -> Children:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    directory = LazyDirectory(FOLDER, find)
    with pytest.raises(OSError, match="no"):
        trio.run(directory.listing)
    assert list(trio.run(directory.listing)) == []


# Numbers


def test_the_root_is_never_forgotten() -> None:
    root = Mirror(FOLDER)
    table = InodeTable(root)
    table.forget(ROOT, 1000)
    assert trio.run(table.node, ROOT) is root
    assert trio.run(table.directory, ROOT) is root
    assert len(table) == 1


@pytest.mark.parametrize("inode", [0, -1, -1 << 60, ROOT + 1, ROOT + 6, 1 << 60, 5 << 60 | 3, 2**63, 2**64 - 1])
def test_unknown_numbers_are_stale(inode: int) -> None:
    for root in (Mirror(FOLDER), folder(0)):
        table = InodeTable(root)
        with pytest.raises(Stale) as caught:
            trio.run(table.node, inode)
        assert caught.value.errno == errno.ESTALE
        table.forget(inode, 1)
        assert len(table) == 1
    with pytest.raises(Stale):
        InodeTable(Mirror(FOLDER)).hold(2, Child(b"x", Note(), 0))
    with pytest.raises(Stale):
        InodeTable(Mirror(FOLDER)).hold(2, Child(b"x", folder()))


def test_a_file_is_no_directory() -> None:
    fixed = folder()
    table = InodeTable(fixed)
    inode = table.hold(ROOT, trio.run(fixed.listing)[1])
    with pytest.raises(NotADirectoryError):
        trio.run(table.directory, inode)
    with pytest.raises(Stale):
        table.hold(inode, Child(b"x", Note()))


def test_files_of_a_fixed_directory_are_numbered_by_place_and_hold_it() -> None:
    table = InodeTable(Mirror(FOLDER))
    fixed = folder(5)
    inode = table.hold(ROOT, Child(b"x.dcm", fixed))
    numbers = [table.hold(inode, child) for child in trio.run(fixed.listing)]
    assert len({inode, ROOT, *numbers}) == 7
    for place, number in enumerate(numbers):
        node = trio.run(table.node, number)
        assert isinstance(node, Note)
        assert node.number == place
    table.forget(inode, 1)
    assert trio.run(table.node, inode) is fixed, "its files are still held"
    for number in numbers[:-1]:
        table.forget(number, 1)
    assert isinstance(trio.run(table.node, numbers[-1]), Note)
    table.forget(numbers[-1], 1)
    with pytest.raises(Stale):
        trio.run(table.node, inode)
    assert len(table) == 1


def test_another_version_is_another_number() -> None:
    table = InodeTable(Mirror(FOLDER))
    first, again, other = (table.hold(ROOT, Child(b"x", Note(), mark=mark)) for mark in (b"old", b"old", b"new"))
    assert first == again != other
    assert trio.run(table.node, first) is not trio.run(table.node, other)


def test_forgotten_nodes_are_freed() -> None:
    table = InodeTable(Mirror(FOLDER))
    note: Note | None = Note()
    gone = weakref.ref(note)
    inode = table.hold(ROOT, Child(b"x", note))
    note = None
    gc.collect()
    assert gone() is not None
    table.forget(inode, 1)
    gc.collect()
    assert gone() is None
    inside = vars(table)
    assert [len(inside[name]) for name in ("_numbered", "_blocks", "_displaced")] == [1, 0, 0]


@pytest.mark.parametrize("places", [1, 2, 32, 33, 256, 2049, 1 << 17, (1 << 24) + 1, 1 << 31])
def test_any_number_of_places_has_room(places: int) -> None:
    """No place runs into what another directory has, however many there are."""
    table = InodeTable(Mirror(FOLDER), bits=1)
    firsts = []
    for name in (b"a", b"b", b"c"):
        inode = table.hold(ROOT, Child(name, folder()))
        firsts.append(table.first_place(inode, places))
        last = table.hold(inode, Child(b"x", Note(), places - 1, places=places))
        assert last == firsts[-1] + places - 1
        assert table.hold(inode, Child(b"x", Note(), 0, places=places)) == firsts[-1]
        assert 1 < inode < firsts[-1] <= last < 1 << 63
    one, two, three = sorted(firsts)
    assert one + places <= two <= three - places


def test_what_depends_on_something_else_has_other_numbers_and_the_rest_stays() -> None:
    """Files of one directory by place, with options that concern some of them."""

    def numbers(option: bytes) -> list[int]:
        table = InodeTable(Mirror(FOLDER))
        inode = table.hold(ROOT, Child(b"x.dcm", folder()))
        marks = (b"", option, b"", option)
        held = [table.hold(inode, Child(b"%d" % place, Note(place), place, marks[place], 4)) for place in range(4)]
        frames = table.hold(inode, Child(b"frames", folder(), 4, option, 5))
        for place, number in enumerate(held):
            node = trio.run(table.node, number)
            assert isinstance(node, Note)
            assert node.number == place
        return [inode, *held, frames, table.first_place(frames, 100)]

    plain, again, other = numbers(b""), numbers(b""), numbers(b"window")
    assert plain == again
    assert [old == new for old, new in zip(plain, other, strict=True)] == [True, True, False, True, False, False, False]
    assert len({*plain, *other}) == 11


def test_numbers_are_the_same_whatever_is_looked_up_first_and_after_all_was_forgotten() -> None:
    children = [Child(b"%d" % number, Note(), mark=b"%d" % (number % 7)) for number in range(1000)]
    children += [Child(b"d%d" % number, folder()) for number in range(100)]
    table, other = InodeTable(Mirror(FOLDER)), InodeTable(Mirror(FOLDER))
    numbers = {child.name: table.hold(ROOT, child) for child in children}
    assert len(set(numbers.values())) == len(children)
    assert {child.name: other.hold(ROOT, child) for child in reversed(children)} == numbers
    for number in numbers.values():
        table.forget(number, 1)
    assert len(table) == 1
    assert {child.name: table.hold(ROOT, child) for child in reversed(children)} == numbers


def test_below_a_replaced_directory_the_same_files_keep_their_numbers() -> None:
    table = InodeTable(Mirror(FOLDER))
    old, new = (table.hold(ROOT, Child(b"d", Mirror(FOLDER), mark=mark)) for mark in (b"old", b"new"))
    assert old != new
    note = Note()
    assert table.hold(old, Child(b"x", note, mark=b"1")) == table.hold(new, Child(b"x", note, mark=b"1"))
    assert table.hold(old, Child(b"x", note, mark=b"1")) != table.hold(new, Child(b"x", note, mark=b"2"))
    # What is in another version of a file is not the same.
    old, new = (table.hold(ROOT, Child(b"x.dcm", folder(), mark=mark)) for mark in (b"old", b"new"))
    assert table.first_place(old, 5) != table.first_place(new, 5)


def test_a_node_of_the_same_number_is_served_as_it_is_now() -> None:
    """Where the source does not keep inodes, the same file comes with another one when its file system forgot it."""
    table = InodeTable(Mirror(FOLDER))
    before, now = Note(1, "inode 5"), Note(2, "inode 6")
    inode = table.hold(ROOT, Child(b"x", before, mark=b"v"))
    assert table.hold(ROOT, Child(b"x", Note(3, "inode 5"), mark=b"v")) == inode
    assert trio.run(table.node, inode) is before, "what it knows is worth keeping"
    assert table.hold(ROOT, Child(b"x", now, mark=b"v")) == inode
    assert trio.run(table.node, inode) is now
    # Nor does it matter whether it is where it would like to be.
    table = InodeTable(Mirror(FOLDER), bits=0)
    table.hold(ROOT, Child(b"first", Note()))
    inode = table.hold(ROOT, Child(b"x", before, mark=b"v"))
    assert table.hold(ROOT, Child(b"x", now, mark=b"v")) == inode
    assert trio.run(table.node, inode) is now


def test_a_displaced_number_stays_while_it_is_held() -> None:
    table = InodeTable(Mirror(FOLDER), bits=0)
    first, second, third = (Child(name, Note()) for name in (b"a", b"b", b"c"))
    numbers = [table.hold(ROOT, child) for child in (first, second, third)]
    assert numbers == [2, 3, 4]
    table.forget(2, 1)
    assert table.hold(ROOT, second) == 3
    assert table.hold(ROOT, third) == 4
    assert table.hold(ROOT, first) == 2
    for number, held in ((2, 1), (3, 2), (4, 2)):
        table.forget(number, held)
    assert table.hold(ROOT, third) == 2


@settings(deadline=None)
@given(st.integers(0, 4), st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=60))
def test_no_live_number_is_given_twice(bits: int, asked: list[tuple[int, bool]]) -> None:
    """Names and frames of many directories, with hardly any digest to tell them apart."""
    table = InodeTable(Mirror(FOLDER), bits)
    live: dict[int, tuple[int, int]] = {ROOT: (-1, -1)}
    for which, forgotten in asked:
        child = Child(b"%d" % which, folder(40 * which + 1, which))
        inode = table.hold(ROOT, child)
        assert live.setdefault(inode, (which, -1)) == (which, -1)
        for place in {0, 20 * which, 40 * which}:
            number = table.hold(inode, trio.run(child.node.listing)[place])  # type: ignore[attr-defined]
            assert live.setdefault(number, (which, place)) == (which, place)
            node = trio.run(table.node, number)
            assert isinstance(node, Note)
            assert (node.number, node.identity) == (place, which)
        if forgotten:
            for number in [number for number, (owner, _) in live.items() if owner == which]:
                table.forget(number, len(asked) * 4)
                del live[number]
            with pytest.raises(Stale):
                trio.run(table.node, inode)
    assert all(0 < number < 1 << 63 for number in live)


class Kernel(RuleBasedStateMachine):
    """Look up and forget at random, as a kernel does, beside a model that never forgets what it was told."""

    bits = 60
    inodes = Bundle("inodes")

    @initialize(target=inodes)
    def start(self) -> int:
        self.table = InodeTable(Mirror(FOLDER), self.bits)
        self.counts: dict[int, int] = {ROOT: 1}  # lookups of each number
        self.parents: dict[int, int] = {}
        self.paths: dict[int, tuple[bytes, ...]] = {ROOT: ()}
        self.identity: dict[int, object] = {ROOT: None}
        self.fixed: set[int] = set()
        self.files: set[int] = set()
        self.places: dict[int, int] = {}
        return ROOT

    def alive(self, inode: int) -> bool:
        if inode == ROOT or self.counts.get(inode, 0) > 0:
            return True
        return any(self.parents[child] == inode and self.counts[child] > 0 for child in self.places)

    @rule(
        target=inodes,
        parent=inodes,
        name=st.sampled_from((b"a", b"b")),
        version=st.integers(0, 1),
        kind=st.integers(0, 2),
    )
    def look_up(self, parent: int, name: bytes, version: int, kind: int) -> int:
        if parent in self.places or parent in self.fixed or parent in self.files:
            return parent
        # The same name and version in the same place is the same file, whatever was looked up meanwhile.
        key = (*self.paths[parent], name), (kind, version)
        node: Node = (Mirror(FOLDER, key), Note(0, key), folder(5, key))[kind]
        child = Child(name, node, mark=b"%d %d" % (kind, version))
        if not self.alive(parent):
            with pytest.raises(Stale):
                self.table.hold(parent, child)
            return parent
        known = [number for number, theirs in self.identity.items() if theirs == key and self.alive(number)]
        free = [number for number in self.counts if not self.alive(number)]
        inode = self.table.hold(parent, child)
        assert known == [inode] or (not known and (inode not in self.counts or inode in free)), "it is another one's"
        self.counts[inode] = self.counts.get(inode, 0) + 1
        self.parents[inode] = parent
        self.paths[inode] = key[0]
        self.identity[inode] = key
        for theirs, numbers in ((1, self.files), (2, self.fixed)):
            (numbers.add if kind == theirs else numbers.discard)(inode)
        return inode

    @rule(target=inodes, parent=inodes, place=st.integers(0, 4))
    def look_up_by_place(self, parent: int, place: int) -> int:
        if parent not in self.fixed or not self.alive(parent):
            return parent
        child = numbered(5, self.identity[parent])[place]
        inode = self.table.hold(parent, child)
        assert inode not in self.counts or self.places[inode] == place
        assert not self.counts.get(inode) or self.parents[inode] == parent, "it is another one's"
        self.counts[inode] = self.counts.get(inode, 0) + 1
        self.parents[inode] = parent
        self.places[inode] = place
        return inode

    @rule(inode=inodes, some=st.integers(1, 3))
    def forget(self, inode: int, some: int) -> None:
        lookups = min(some, self.counts[inode])
        if inode != ROOT and lookups:
            self.counts[inode] -= lookups
            self.table.forget(inode, lookups)

    @invariant()
    def what_is_held_is_there_and_nothing_else(self) -> None:
        if hasattr(self, "table"):
            trio.run(self.check)

    async def check(self) -> None:
        for inode, place in self.places.items():
            if self.counts[inode]:
                node = await self.table.node(inode)
                assert isinstance(node, Note)
                assert (node.number, node.identity) == (place, self.identity[self.parents[inode]])
        own = [inode for inode in self.counts if inode not in self.places]
        for inode in own:
            if self.alive(inode):
                node = await self.table.node(inode)
                assert node is await self.table.node(inode)
                if inode not in self.fixed:
                    assert node.identity == self.identity[inode]
            else:
                with pytest.raises(Stale):
                    await self.table.node(inode)
        assert len(self.table) == sum(map(self.alive, own))


class Crowded(Kernel):
    """The same where nearly all numbers are taken when they are wanted."""

    bits = 1


TestKernel, TestCrowded = Kernel.TestCase, Crowded.TestCase
TestKernel.settings = TestCrowded.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


# Modes


@pytest.mark.parametrize(
    ("mode", "directory", "wanted"),
    [
        (stat.S_IFREG | 0o644, False, stat.S_IFREG | 0o444),
        (stat.S_IFREG | 0o6755, False, stat.S_IFREG | 0o555),
        (stat.S_IFREG | 0o640, True, stat.S_IFDIR | 0o550),
        (stat.S_IFREG | 0o600, True, stat.S_IFDIR | 0o500),
        (stat.S_IFREG | 0o711, True, stat.S_IFDIR | 0o500),
        (stat.S_IFREG, True, stat.S_IFDIR),
        (stat.S_IFDIR | 0o3771, True, stat.S_IFDIR | 0o551),
        (stat.S_IFDIR | 0o711, True, stat.S_IFDIR | 0o511),
    ],
)
def test_modes(mode: int, directory: bool, wanted: int) -> None:
    assert read_only(mode, directory=directory) == wanted


@given(st.integers(0, 0o7777))
def test_no_mode_gives_more_than_the_source_gave(bits: int) -> None:
    file = read_only(stat.S_IFREG | bits)
    made_of_a_file = read_only(stat.S_IFREG | bits, directory=True)
    assert stat.S_IMODE(file) & ~(bits & 0o555) == 0
    assert stat.S_IMODE(made_of_a_file) & 0o444 == bits & 0o444
    for who in (0o100, 0o010, 0o001):
        assert bool(made_of_a_file & who) == bool(bits & (who << 2))
