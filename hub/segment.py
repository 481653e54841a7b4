"""A stretch of the log: rows of all topics in the order of their arrival, in columns."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

from hub.topic import Topic

PackedRows = list[bytes]
"""Rows as msgpack arrays, as they travel."""


class Run(NamedTuple):
    """Rows of one channel that follow each other in the log. ``is_state``: see `hub.states`, where it is known."""

    channel: str
    rows: PackedRows
    is_state: bool = False


class Segment:
    """A stretch of the log: position ``i`` has arrival number ``first_at + i``; its row is None where it was let go.

    ``next`` is the stretch that follows it in memory. A segment that is ``gone`` is empty: what it held is on disk.
    """

    __slots__ = (
        "_places",
        "bytes",
        "channels",
        "first_at",
        "gone",
        "next",
        "recv_places",
        "recvs",
        "rows",
        "seqs",
        "times",
        "topics",
    )

    def __init__(self, first_at: int) -> None:
        self.first_at = first_at
        self.topics: list[Topic] = []
        self.rows: list[bytes | None] = []
        self.seqs = array("q")
        self.times = array("q")
        self.channels: list[tuple[int, str]] = []  # from which position on which channel
        self.recv_places = array("I")  # from which position on received at another time
        self.recvs = array("q")  # and when, epoch microseconds
        self.bytes = 0
        self.next: Segment | None = None
        self.gone = False
        self._places: dict[Topic, list[int]] | None = None

    @property
    def end_at(self) -> int:
        """The arrival number after the newest row."""
        return self.first_at + len(self.rows)

    def find(self, topics: Set[Topic] | None, start: int, stop: int, most: int) -> tuple[list[int], int]:
        """The positions from ``start`` up to ``stop`` whose topic is among ``topics``, ``most`` of them at most.

        None are all topics: then no row is looked at to know whether it is meant.

        Returns:
            The positions, and the position up to which that is the whole answer.
        """
        if topics is None:
            stop = min(stop, start + most)
            return list(range(start, stop)), stop
        if len(topics) > len(self.rows) // 16:
            stop = min(stop, start + most)
            return [start + i for i, topic in enumerate(self.topics[start:stop]) if topic in topics], stop
        if self.next is None:  # it grows still, or is only passing through memory: not worth an index
            places = [start + i for i, topic in enumerate(self.topics[start:stop]) if topic in topics]
        else:
            places = self._find_indexed(topics, start, stop)
        if len(places) > most:
            return places[:most], places[most]
        return places, stop

    def runs(self, places: Sequence[int]) -> Iterable[tuple[str, Sequence[int]]]:
        """Split positions where the channel changes."""
        begin = 0
        for number, (_, channel) in enumerate(self.channels):
            last = number + 1 == len(self.channels)
            end = len(places) if last else bisect_left(places, self.channels[number + 1][0], begin)
            if end > begin:
                yield channel, places[begin:end]
            begin = end

    def take(self, places: Sequence[int]) -> list[Run]:
        """The rows at positions that are held."""
        rows = self.rows
        return [Run(channel, [rows[i] for i in run]) for channel, run in self.runs(places)]  # type: ignore[misc]

    def recv_us(self, place: int) -> int:
        """When the row at a position was received, epoch microseconds."""
        return self.recvs[bisect_right(self.recv_places, place) - 1]

    def note_recv(self, place: int, recv_us: int) -> None:
        """Note when the rows from a position on were received. Two arrays: a pair a row kept the collector busy."""
        self.recv_places.append(place)
        self.recvs.append(recv_us)

    def forget(self) -> None:
        """Hold nothing any more, not even which topics there were: all of it can be read from disk."""
        self.topics, self.rows, self.channels = [], [], []
        self.recv_places, self.recvs, self.seqs, self.times = array("I"), array("q"), array("q"), array("q")
        self.next = self._places = None
        self.gone = True

    def _find_indexed(self, topics: Set[Topic], start: int, stop: int) -> list[int]:
        if self._places is None:
            self._places = {}
            for i, topic in enumerate(self.topics):
                self._places.setdefault(topic, []).append(i)
        index = self._places
        return sorted(i for topic in topics if topic in index for i in index[topic] if start <= i < stop)
