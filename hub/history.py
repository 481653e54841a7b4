"""What was published: the newest row, the count and a bounded past of every topic, in one log in order of arrival.

The log is a chain of segments. A reader is a `Cursor`: a place in that chain, and nothing else, so that however far
a client lags it costs no memory per row. Rows leave from the old end, a segment at a time when the byte budget
is used up, a few at a time where one topic has more than its share. A segment that was let go keeps its
skeleton (which topics, which numbers) for as long as a cursor still stands in it: so the reader can say exactly what
it lost.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING, Final, NamedTuple

from hub.schema import CHANNELS, STATUS, Row
from hub.wire import pack_row

if TYPE_CHECKING:
    from hub.conflation import Conflater
    from hub.router import Audience

SEGMENT_ROWS: Final = 4096

PLACE_BYTES: Final = 40
"""What a place in the log costs as long as its segment is kept: four lists of 8 bytes, and their spare room."""
ROW_BYTES: Final = 60
"""What a row costs beside its encoded bytes and its place: the header of the bytes object (33), its places in its
topic's two lists (16), and their spare room. All of it is counted against the byte budget."""


class Topic:
    """One topic that has spoken: its count, its newest row, and where in the log its rows are."""

    __slots__ = (
        "_ats",
        "_newest_times",
        "at",
        "audiences",
        "channel",
        "code",
        "conflaters",
        "evicted_at",
        "evicted_time_ms",
        "name",
        "newest",
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
        self.audiences: dict[Audience, None] = {}
        self.conflaters: dict[Conflater, None] = {}
        self.evicted_at = 0
        self.evicted_time_ms = -1
        self._ats = array("q")
        self._newest_times = array("q")  # of the row and all before it: never falls, so it can be bisected

    @property
    def first_seq(self) -> int:
        """The number of the oldest row that is held; above ``seq`` where none is."""
        return self.seq - len(self._ats) + 1

    def first_since(self, time_ms: int) -> int:
        """The number of the oldest held row at or after the topic's first row with ``time`` at or after ``time_ms``."""
        return self.first_seq + bisect_left(self._newest_times, time_ms)

    def first_after(self, at: int) -> int:
        """The number of the oldest held row that arrived after arrival number ``at``."""
        return self.first_seq + bisect_right(self._ats, at)

    def at_of(self, seq: int) -> int:
        """The arrival number of a held row."""
        return self._ats[seq - self.first_seq]

    def _add(self, at: int, row: bytes, time_ms: int) -> None:
        times = self._newest_times
        newest = times[-1] if times else self.evicted_time_ms
        self.at = at
        self._ats.append(at)
        times.append(time_ms if time_ms > newest else newest)
        self.newest = row
        self.time_ms = time_ms

    def _drop(self, count: int) -> None:
        self.evicted_at = self._ats[count - 1]
        self.evicted_time_ms = self._newest_times[count - 1]
        del self._ats[:count]
        del self._newest_times[:count]


class Loss(NamedTuple):
    """Rows of one topic that a reader can no longer have: ``first`` to ``last`` (seq), and their times where known."""

    topic: Topic
    first: int
    last: int
    first_time_ms: int | None
    last_time_ms: int | None


class Run(NamedTuple):
    """Rows of one channel that follow each other in the log."""

    channel: str
    rows: list[bytes]


class Segment:
    """A stretch of the log: position ``i`` has arrival number ``first_at + i``; its row is None where it was let go."""

    __slots__ = ("_places", "bytes", "channels", "first_at", "next", "recvs", "rows", "seqs", "times", "topics")

    def __init__(self, first_at: int) -> None:
        self.first_at = first_at
        self.topics: list[Topic] = []
        self.rows: list[bytes | None] = []
        self.seqs = array("q")
        self.times = array("q")
        self.channels: list[tuple[int, str]] = []  # from which position on which channel
        self.recvs: list[tuple[int, int]] = []  # from which position on received when, epoch microseconds
        self.bytes = 0
        self.next: Segment | None = None
        self._places: dict[Topic, list[int]] | None = None

    @property
    def end_at(self) -> int:
        """The arrival number after the newest row."""
        return self.first_at + len(self.rows)

    def find(self, topics: Set[Topic], start: int, stop: int, most: int) -> tuple[list[int], int]:
        """The positions from ``start`` up to ``stop`` whose topic is among ``topics``, ``most`` of them at most.

        Returns:
            The positions, and the position up to which that is the whole answer.
        """
        if self.next is None or len(topics) > len(self.rows) // 16:
            stop = min(stop, start + most)
            return [start + i for i, topic in enumerate(self.topics[start:stop]) if topic in topics], stop
        if self._places is None:  # worth its making only once the segment is full and somebody reads selectively
            self._places = {}
            for i, topic in enumerate(self.topics):
                self._places.setdefault(topic, []).append(i)
        index = self._places
        places = sorted(i for topic in topics if topic in index for i in index[topic] if start <= i < stop)
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
        return self.recvs[bisect_right(self.recvs, place, key=lambda mark: mark[0]) - 1][1]


class Cursor:
    """A reader's place in the log. Cheap to make and to keep; holds no row."""

    __slots__ = ("_due", "_offset", "_segment", "losses")

    def __init__(self, segment: Segment, offset: int) -> None:
        self._segment = segment
        self._offset = offset
        self.losses: dict[Topic, Loss] = {}
        self._due: list[Topic] = []

    @property
    def at(self) -> int:
        """The arrival number up to which everything was read."""
        return self._segment.first_at + self._offset - 1

    def read(self, up_to: int, topics: Set[Topic], begins: Mapping[Topic, int], most: int) -> list[Run]:
        """Go on by one bounded step and return what is there for these topics, in order of arrival.

        Args:
            up_to: arrival number to stop after.
            topics: the topics to read.
            begins: for some of them, the arrival number before which they are passed over.
            most: rows after which to stop, at the latest at the end of the segment.

        Returns:
            Runs of encoded rows. What had to be skipped because it was let go is added to ``losses``.
        """
        segment, places = self.look(up_to, topics, most)
        if begins:
            origin = segment.first_at
            places = [i for i in places if origin + i >= begins.get(segment.topics[i], 0)]
        return segment.take(self.without_losses(segment, places))

    def look(self, up_to: int, topics: Set[Topic], most: int) -> tuple[Segment, list[int]]:
        """Go on by one bounded step, as `read` does, and return where the rows of these topics are."""
        segment, offset = self._segment, self._offset
        if offset == len(segment.rows) and segment.next is not None:
            segment, offset = segment.next, 0
        stop = max(offset, min(len(segment.rows), up_to + 1 - segment.first_at))
        places, stop = segment.find(topics, offset, stop, most)
        self._segment, self._offset = segment, stop
        return segment, places

    def back_to(self, segment: Segment, offset: int) -> None:
        """Stand before a position of the segment that was looked at last."""
        self._segment, self._offset = segment, offset

    def without_losses(self, segment: Segment, places: list[int]) -> list[int]:
        """Leave out the rows that were let go, and add them to ``losses``."""
        rows = segment.rows
        if None in [rows[i] for i in places]:
            places = self._note_losses(segment, places)
        if self.losses:
            self._due += {segment.topics[i] for i in places} & self.losses.keys()
        return places

    def forget(self, topics: Set[Topic]) -> None:
        """Drop what was lost of topics that nobody waits for any more."""
        for topic in topics & self.losses.keys():
            del self.losses[topic]

    def take_losses(self, *, at_end: bool) -> list[Loss]:
        """What was lost of the topics that have a row in the last step, or ``at_end`` of all: a loss for each topic."""
        topics = list(self.losses) if at_end else [topic for topic in self._due if topic in self.losses]
        self._due.clear()
        return [self.losses.pop(topic) for topic in topics]

    def _note_losses(self, segment: Segment, places: list[int]) -> list[int]:
        kept = []
        for i in places:
            if segment.rows[i] is not None:
                kept.append(i)
                continue
            topic, seq, time_ms = segment.topics[i], segment.seqs[i], segment.times[i]
            known = self.losses.get(topic)
            first, first_time_ms = (known.first, known.first_time_ms) if known else (seq, time_ms)
            self.losses[topic] = Loss(topic, first, seq, first_time_ms, time_ms)
        return kept


class History:
    """The log and its topics.

    Args:
        ring_rows: rows held for each topic at least, unless the byte budget ends first.
        ring_bytes: budget for all rows together.
    """

    def __init__(self, *, ring_rows: int, ring_bytes: int) -> None:
        self.at = 0
        self.delivered_at = 0  # up to which live clients were given the rows: none above may be let go
        self.time_ms = 0  # newest exchange time of the source's rows
        self.channels: dict[str, dict[str, Topic]] = {name: {} for name in CHANNELS}
        self.evicted_rows = 0
        self._ring_rows = ring_rows
        self._ring_slack = max(1, ring_rows // 16)
        self._ring_bytes = ring_bytes
        self._bytes = 0
        self._segments: deque[Segment] = deque([Segment(first_at=1)])

    @property
    def bytes(self) -> int:
        """What the held rows cost, overhead included."""
        return self._bytes

    @property
    def rows(self) -> int:
        """How many rows are held."""
        return self.at - self.evicted_rows

    @property
    def tail(self) -> Segment:
        """The segment that is being written."""
        return self._segments[-1]

    def append(self, channel: str, rows: Iterable[Row], recv_us: int) -> tuple[list[Topic], list[str]]:
        """Number, encode and keep rows (``source_names`` of the channel, in order of arrival).

        Returns:
            The topics that spoke for the first time, and for each row that can't be sent the reason.
        """
        topics = self.channels[channel]
        width = len(CHANNELS[channel].source_names)
        segment = self._segments[-1]
        if not segment.channels or segment.channels[-1][1] != channel:
            segment.channels.append((len(segment.rows), channel))
        segment.recvs.append((len(segment.rows), recv_us))
        created: list[Topic] = []
        refused: list[str] = []
        newest_ms = self.time_ms
        for row in rows:
            if len(row) != width:
                refused.append(f"{channel} row of {len(row)} values instead of {width}: {str(row)[:120]}")
                continue
            code, time_ms = row[0], row[1]
            try:
                topic = topics.get(code) or Topic(channel, code)
                seq = topic.seq + 1
                packed = pack_row((code, seq, time_ms, recv_us, *row[2:]))
                segment.times.append(time_ms)
            except (TypeError, ValueError, OverflowError) as error:
                refused.append(f"{channel} row that can't be encoded ({error}): {str(row)[:120]}")
                continue
            if seq == 1:
                topics[code] = topic
                created.append(topic)
            if time_ms > newest_ms:
                newest_ms = time_ms
            self.at += 1
            topic.seq = seq
            topic._add(self.at, packed, time_ms)
            segment.topics.append(topic)
            segment.rows.append(packed)
            segment.seqs.append(seq)
            size = len(packed) + ROW_BYTES + PLACE_BYTES
            segment.bytes += size
            self._bytes += size
            if len(topic._ats) > self._ring_rows + self._ring_slack:
                self._shorten(topic)
            if len(segment.rows) == SEGMENT_ROWS:
                segment = self._begin_segment(channel, recv_us)
        if channel != STATUS:
            self.time_ms = newest_ms
        return created, refused

    def cursor_after(self, at: int) -> Cursor:
        """A cursor that reads on after arrival number ``at``, or from the oldest row where that is gone."""
        number = bisect_right(self._segments, at, key=lambda segment: segment.end_at - 1)
        segment = self._segments[min(number, len(self._segments) - 1)]
        return Cursor(segment, max(0, at + 1 - segment.first_at))

    def _begin_segment(self, channel: str, recv_us: int) -> Segment:
        segment = Segment(first_at=self.at + 1)
        segment.channels.append((0, channel))
        segment.recvs.append((0, recv_us))
        self._segments[-1].next = segment
        self._segments.append(segment)
        while self._bytes > self._ring_bytes and self._segments[0].end_at - 1 <= self.delivered_at:
            self._let_go(self._segments.popleft())
        return segment

    def _let_go(self, segment: Segment) -> None:
        last_at = segment.end_at - 1
        for topic in set(segment.topics):
            count = bisect_right(topic._ats, last_at)
            if count:
                self.evicted_rows += count
                topic._drop(count)
        self._bytes -= segment.bytes
        segment.rows = [None] * len(segment.rows)

    def _shorten(self, topic: Topic) -> None:
        """Let the oldest rows of a topic that has more than its share go, a few at a time to make it cheap."""
        count = min(len(topic._ats) - self._ring_rows, bisect_right(topic._ats, self.delivered_at))
        if count == 0:
            return
        for at in topic._ats[:count]:
            segment = self._segments[bisect_left(self._segments, at, key=lambda segment: segment.end_at - 1)]
            size = len(segment.rows[at - segment.first_at] or b"") + ROW_BYTES
            segment.rows[at - segment.first_at] = None
            segment.bytes -= size
            self._bytes -= size
        self.evicted_rows += count
        topic._drop(count)
