"""One topic: its count, its newest row, where in the log its rows are, and who observes it."""

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from hub.wire import pack, row_head

if TYPE_CHECKING:
    from hub.conflation import Conflater
    from hub.router import Audience


class Topic:
    """One topic that has spoken.

    What it says of *held* rows is of those in memory: see `hub.history.History` for what is on disk as well.
    """

    __slots__ = (
        "_ats",
        "_head",
        "_newest_times",
        "at",
        "audiences",
        "channel",
        "code",
        "conflaters",
        "evicted_at",
        "evicted_time_ms",
        "held",
        "name",
        "newest",
        "newest_time_ms",
        "seq",
        "time_ms",
    )

    def __init__(self, channel: str, code: str) -> None:
        self.channel = channel
        self.code = code
        self.name = channel + ":" + code
        self.seq = 0
        self.at = 0
        self.newest = b""
        self.time_ms = 0
        """Of the newest row."""
        self.newest_time_ms = -1
        """Of all rows."""
        self.audiences: dict[Audience, list[bytes]] = {}
        """Who observes it, each with the list in which its next rows are collected."""
        self.conflaters: dict[Conflater, None] = {}
        self.held = 0
        """How many rows are held."""
        self.evicted_at = 0
        self.evicted_time_ms = -1
        self._head = row_head(channel, code)
        self._ats = array("q")
        self._newest_times = array("q")  # of the row and all before it: never falls, so it can be bisected

    @property
    def first_seq(self) -> int:
        """The number of the oldest row that is held; above ``seq`` where none is."""
        return self.seq - self.held + 1

    def first_since(self, time_ms: int) -> int:
        """The number of the oldest held row at or after the topic's first row with ``time`` at or after ``time_ms``."""
        return self.first_seq + bisect_left(self._newest_times, time_ms)

    def first_after(self, at: int) -> int:
        """The number of the oldest held row that arrived after arrival number ``at``."""
        return self.first_seq + bisect_right(self._ats, at)

    def at_of(self, seq: int) -> int:
        """The arrival number of a held row."""
        return self._ats[seq - self.first_seq]

    def restore(self, seq: int, at: int, newest: bytes, time_ms: int, newest_time_ms: int) -> None:
        """Go on after rows of which none is held in memory."""
        self.seq, self.at, self.newest = seq, at, newest
        self.time_ms, self.newest_time_ms = time_ms, newest_time_ms
        self.evicted_at, self.evicted_time_ms = at, newest_time_ms

    def add(self, at: int, time_ms: int, packed_recv: bytes, values: bytes) -> bytes:
        """Number the next row, keep it, and return it as it travels."""
        self.seq = seq = self.seq + 1
        self.newest = row = b"".join((self._head, pack(seq), pack(time_ms), packed_recv, values))
        self.at = at
        self.time_ms = time_ms
        if time_ms > self.newest_time_ms:
            self.newest_time_ms = time_ms
        self._ats.append(at)
        self._newest_times.append(self.newest_time_ms)
        self.held += 1
        return row

    def held_before(self, at: int) -> "array[int]":
        """The arrival numbers of the held rows up to ``at``."""
        return self._ats[: bisect_right(self._ats, at)]

    def drop(self, count: int) -> None:
        """Hold the oldest rows no longer."""
        self.evicted_at = self._ats[count - 1]
        self.evicted_time_ms = self._newest_times[count - 1]
        self.held -= count
        del self._ats[:count]
        del self._newest_times[:count]
