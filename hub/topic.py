"""One topic: its count, its newest row, where in the log its rows are, and who observes it."""

from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from hub.wire import row_head, source_head

if TYPE_CHECKING:
    from hub.conflation import Conflater
    from hub.router import Audience


class Topic:
    """One topic that has spoken.

    What it says of *held* rows is of those in memory: see `hub.history.History` for what is on disk as well.
    """

    __slots__ = (
        "at",
        "ats",
        "audiences",
        "channel",
        "code",
        "conflaters",
        "evicted_at",
        "evicted_time_ms",
        "head",
        "name",
        "newest",
        "newest_time_ms",
        "newest_times",
        "number",
        "seq",
        "shard",
        "source_head_bytes",
        "time_ms",
    )

    def __init__(self, channel: str, code: str) -> None:
        self.channel = channel
        self.code = code
        self.name = channel + ":" + code
        self.seq = 0
        self.at = 0
        self.number = -1
        """Its number in the journal, from 0 in the order in which topics first spoke; -1 as long as it has none."""
        self.shard = -1
        """Its shard of the relay; -1 as long as nobody asked."""
        self.newest = b""
        self.time_ms = 0
        """Of the newest row."""
        self.newest_time_ms = -1
        """Of all rows."""
        self.audiences: dict[Audience, list[bytes]] = {}
        """Who observes it, each with the list in which its next rows are collected."""
        self.conflaters: dict[Conflater, None] = {}
        self.evicted_at = 0
        self.evicted_time_ms = -1
        self.head = row_head(channel, code)
        """What every packed row of it begins with."""
        self.source_head_bytes = len(source_head(channel, code))
        """The same, its size, for rows as the source gives them."""
        self.ats = array("q")
        """The arrival number of every held row."""
        self.newest_times = array("q")
        """Of every held row the newest time of it and all before it: never falls, so it can be bisected."""

    @property
    def first_seq(self) -> int:
        """The number of the oldest row that is held; above ``seq`` where none is."""
        return self.seq - len(self.ats) + 1

    @property
    def held(self) -> int:
        """How many rows are held."""
        return len(self.ats)

    def first_since(self, time_ms: int) -> int:
        """The number of the oldest held row at or after the topic's first row with ``time`` at or after ``time_ms``."""
        return self.first_seq + bisect_left(self.newest_times, time_ms)

    def first_after(self, at: int) -> int:
        """The number of the oldest held row that arrived after arrival number ``at``."""
        return self.first_seq + bisect_right(self.ats, at)

    def at_of(self, seq: int) -> int:
        """The arrival number of a held row."""
        return self.ats[seq - self.first_seq]

    def as_of(self, at: int) -> tuple[int, int, int]:
        """How it was after row ``at``: count, arrival number of its newest row, newest time of all its rows.

        That is exact for as long as no later row was let go; else it is at most as long ago as the newest of those.
        """
        if self.at <= at:
            return self.seq, self.at, self.newest_time_ms
        held = bisect_right(self.ats, at)
        if not held:
            return self.first_seq - 1, self.evicted_at, self.evicted_time_ms
        return self.first_seq - 1 + held, self.ats[held - 1], self.newest_times[held - 1]

    def restore(self, seq: int, at: int, newest: bytes, time_ms: int, newest_time_ms: int) -> None:
        """Go on after rows of which none is held in memory."""
        self.seq, self.at, self.newest = seq, at, newest
        self.time_ms, self.newest_time_ms = time_ms, newest_time_ms
        self.evicted_at, self.evicted_time_ms = at, newest_time_ms

    def held_before(self, at: int) -> "array[int]":
        """The arrival numbers of the held rows up to ``at``."""
        return self.ats[: bisect_right(self.ats, at)]

    def drop(self, count: int) -> None:
        """Hold the oldest rows no longer."""
        self.evicted_at = self.ats[count - 1]
        self.evicted_time_ms = self.newest_times[count - 1]
        del self.ats[:count]
        del self.newest_times[:count]
