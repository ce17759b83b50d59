"""The account of the memory that frames take outside the cache: one limit for all.

A frame that is being made takes memory for its encoded bytes, for the slot that the worker shares with the daemon, and
for the result. A result that an open file is read from stays in memory until the file is closed. Both count here. Work
that does not fit waits in the order of its requests; held results give way to it and are made again.
"""

from collections import deque
from collections.abc import Callable

import trio

# A source that has not answered for so long, in seconds, lends its memory, which is not in use yet, to those that wait.
STALLED_SECONDS = 2.0


class Room:
    """Memory for one frame while it is made, as an asynchronous context manager."""

    __slots__ = ("_account", "_waits", "lent", "reading_since", "size", "turn")

    def __init__(self, account: "MemoryAccount", size: int, waits: bool) -> None:
        """Take *size* bytes from *account*, and wait for them if it *waits*."""
        self._account = account
        self._waits = waits
        self.size = size
        self.lent = False
        self.reading_since: float | None = None
        self.turn = trio.Event()

    async def __aenter__(self) -> "Room":
        """Take the memory."""
        await self._account.enter(self, waits=self._waits)
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        """Return the memory back."""
        self._account.leave(self)


class MemoryAccount:
    """Bytes that frames take: those being made, and the results that open files are read from.

    A single frame that takes more than *limit* is made alone.
    """

    def __init__(self, limit: int, reclaim: Callable[[], int]) -> None:
        """Allow *limit* bytes; *reclaim* drops one held result and returns its bytes, 0 where there is none."""
        self.limit = limit
        self._reclaim = reclaim
        self._in_work = self._held = 0
        self._waiting: deque[Room] = deque()
        self._reading: dict[Room, None] = {}

    @property
    def taken(self) -> int:
        """Bytes in use."""
        return self._in_work + self._held

    def room(self, size: int, *, waits: bool = True) -> Room:
        """Return room for a frame that takes *size* bytes while it is made.

        Only a frame that another one needs must not wait for room: the other one has its room already.
        """
        return Room(self, size, waits)

    def has_room(self, size: int) -> bool:
        """Whether *size* bytes are free, and nobody waits for them."""
        return not self._waiting and self.taken + size <= self.limit

    def hold(self, size: int) -> None:
        """Count a result that an open file is read from; older ones give way."""
        self._held += size
        while self.taken > self.limit and self._held > size:
            freed = self._reclaim()
            if not freed:
                break
            self._held -= freed

    def hold_of(self, room: Room, size: int) -> None:
        """Count a result that was made in *room* as held: it takes *size* bytes of the room."""
        part = min(size, room.size)
        room.size -= part
        self._in_work -= part
        self._held += size

    def release(self, size: int) -> None:
        """Count a held result no longer."""
        self._held -= size
        self._admit()

    async def enter(self, room: Room, *, waits: bool) -> None:
        """Count *room*, once there is memory for it."""
        if not waits or (not self._waiting and self._fits(room.size)):
            self._in_work += room.size
            return
        self._waiting.append(room)
        try:
            while not room.turn.is_set():
                with trio.move_on_after(STALLED_SECONDS):
                    await room.turn.wait()
                self._lend_stalled()
        except BaseException:
            if room.turn.is_set():
                self.leave(room)
            else:
                self._waiting.remove(room)
                self._admit()
            raise

    def leave(self, room: Room) -> None:
        """Count *room* no longer."""
        self.read(room)
        self._in_work -= room.size
        self._admit()

    def reading(self, room: Room) -> None:
        """Note that the encoded bytes of a frame are requested from the source."""
        room.reading_since = trio.current_time()
        self._reading[room] = None

    def read(self, room: Room) -> None:
        """Note that the source has answered."""
        if room in self._reading:
            del self._reading[room]
            if room.lent:
                room.lent = False
                self._in_work += room.size

    def _lend_stalled(self) -> None:
        """Let others have the memory of frames whose source does not answer: nothing is in it yet."""
        late = trio.current_time() - STALLED_SECONDS
        for room in self._reading:
            if not room.lent and room.reading_since is not None and room.reading_since <= late:
                room.lent = True
                self._in_work -= room.size
        self._admit()

    def _admit(self) -> None:
        """Let in those that wait, in their order, as long as there is memory."""
        while self._waiting and self._fits(self._waiting[0].size):
            room = self._waiting.popleft()
            self._in_work += room.size
            room.turn.set()

    def _fits(self, size: int) -> bool:
        """Whether a frame of *size* bytes may be made now; held results give way to it.

        One may be made in any case where no other is: results that were made in advance of their turn would otherwise
        wait for the one before them for ever.
        """
        while self.taken + size > self.limit:
            freed = self._reclaim() if self._in_work + size <= self.limit or not self._in_work else 0
            if not freed:
                return not self._in_work
            self._held -= freed
        return True
