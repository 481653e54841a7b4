"""The history of an edge: rows come numbered and packed by the feed, and it begins in the midst of the feed's own.

What was before the beginning is known by topic and number, so that whoever asks for it is told what is missing.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Final, TypeVar

from hub.history import PLACE_BYTES, ROW_BYTES, SEGMENT_ROWS, History
from hub.numbering import Numbering
from hub.past import RestoredTopic
from hub.schema import STATUS
from hub.segment import Segment
from hub.topic import Topic

NUMBER_BYTES: Final = 24
"""What the feed's number of a row costs where it is not that of the row before and one: three arrays of 8 bytes."""
_channel_of: Final = attrgetter("channel")
_Value = TypeVar("_Value")


class FollowedHistory(History):
    """A history that another process numbers.

    Args:
        at: the rows up to this arrival number were before the beginning.
        topics: as they were there. Topics that are not among them and had spoken by then are known by their first row
            after it, which comes up to ``known_at``.
        lost_in_relay: rows before the beginning were lost between the processes: else this one just came later.
    """

    def __init__(
        self,
        *,
        ring_rows: int,
        ring_bytes: int,
        at: int,
        topics: Iterable[RestoredTopic],
        known_at: int,
        lost_in_relay: bool = False,
    ) -> None:
        super().__init__(ring_rows=ring_rows, ring_bytes=ring_bytes)
        for was in topics:
            topic = self.topic(was.channel, was.code)
            topic.restore(was.seq, was.at, was.newest, was.time_ms, was.newest_time_ms)
            if was.channel != STATUS:
                self.time_ms = max(self.time_ms, was.newest_time_ms)
        self.at = self.delivered_at = self._trimmed_at = self._restored_at = self._notices_from = at
        self._indexed_at = self._known_up_to = at
        self.late_at = at  # perhaps: nobody here can tell
        self._known_at = known_at
        self._lost_in_relay = lost_in_relay
        self._segments = deque([Segment(first_at=at + 1)])
        self._numbering = Numbering(at)

    def loss_cause(self, topic: Topic) -> str:
        """Why the oldest rows of a topic are not held: what was lost on the way was never here."""
        is_early = topic.evicted_at <= self._restored_at
        return "relay" if self._lost_in_relay and is_early else "evicted"

    def public_at(self, at: int) -> int:
        """The feed's number up to which everything was given to whoever was given everything up to this one."""
        return self._numbering.feed_at(at)

    def own_at(self, public_at: int) -> int:
        """The number here of the newest row that is not behind the feed's number."""
        return self._numbering.own_at(public_at)

    def reach(self, feed_at: int) -> None:
        """Up to this number of the feed's everything is here that is served, and was delivered."""
        self._numbering.reach(feed_at)

    def extend(
        self,
        ats: Sequence[int],
        topics: Sequence[Topic],
        seqs: Sequence[int],
        times: Sequence[int],
        recvs: Sequence[int],
        rows: Sequence[bytes],
    ) -> None:
        """Keep the rows that follow, in order of arrival, as they are: a value each for every row.

        Args:
            ats: the feed's arrival numbers.

        Raises:
            ValueError: a row does not follow its topic's newest.
        """
        self._numbering.add(ats)
        start = 0
        while start < len(rows):
            segment = self._segments[-1]
            part = slice(start, start + SEGMENT_ROWS - len(segment.rows))
            self._join(segment, topics[part], seqs[part], times[part], recvs[part], rows[part])
            start = part.stop
            if len(segment.rows) == SEGMENT_ROWS:
                segment.next = Segment(first_at=self.at + 1)
                self._segments.append(segment.next)

    def _join(
        self,
        segment: Segment,
        topics: Sequence[Topic],
        seqs: Sequence[int],
        times: Sequence[int],
        recvs: Sequence[int],
        rows: Sequence[bytes],
    ) -> None:
        """Keep rows for which there is room in the segment. What nobody needs to deliver them waits for `know`."""
        at = self.at
        for topic, seq in zip(topics, seqs, strict=True):
            at += 1
            if seq != topic.seq + 1:
                self._see_first(topic, seq, at, times[at - self.at - 1])
            topic.seq = seq
        place = len(segment.rows)
        known = segment.channels[-1][1] if segment.channels else ""
        for change, channel in _changes(list(map(_channel_of, topics)), known):
            segment.channels.append((place + change, channel))
        for change, recv_us in _changes(recvs, segment.recvs[-1] if segment.recvs else None):
            segment.note_recv(place + change, recv_us)
        segment.rows.extend(rows)
        segment.topics.extend(topics)
        segment.seqs.extend(seqs)
        segment.times.extend(times)
        self.at = at
        number_bytes = NUMBER_BYTES if self._numbering.has_holes else 0
        size = sum(map(len, rows)) + len(rows) * (ROW_BYTES + PLACE_BYTES + number_bytes)
        segment.bytes += size
        self._bytes += size

    def know(self) -> None:
        """Have every topic know its newest row.

        It waits until rows are delivered: the old values of a whole market lie in memory that nobody has touched for
        seconds, and to replace them would hold everybody up by milliseconds.
        """
        while self._known_up_to < self.at:
            segment = self._segments[self._number(self._known_up_to + 1)]
            part = slice(self._known_up_to + 1 - segment.first_at, None)
            newest_ms = self.time_ms
            columns = segment.topics[part], segment.times[part], segment.rows[part]
            for at, (topic, time_ms, row) in enumerate(zip(*columns, strict=True), self._known_up_to + 1):
                topic.at, topic.time_ms = at, time_ms
                topic.newest = row  # type: ignore[assignment]  # rows that are not indexed yet are never let go
                if time_ms >= topic.newest_time_ms:
                    topic.newest_time_ms = time_ms
                else:
                    self.late_at = at
                if time_ms > newest_ms and topic.channel != STATUS:
                    newest_ms = time_ms
            self.time_ms = newest_ms
            self._known_up_to = segment.end_at - 1

    def index(self) -> None:
        """Note of every topic where its newest rows are."""
        self.know()
        super().index()

    def _let_go(self, segment: Segment) -> None:
        super()._let_go(segment)
        self._numbering.forget(self._segments[0].first_at)

    def _see_first(self, topic: Topic, seq: int, at: int, time_ms: int) -> None:
        """Take it that a topic had spoken before the beginning, as it can only be early on."""
        if topic.seq or self._numbering.feed_at(at) > self._known_at:
            raise ValueError(f"row {seq} of {topic.name} came after row {topic.seq}")
        topic.restore(seq - 1, self._restored_at, b"", 0, time_ms)


def _changes(column: Sequence[_Value], known: _Value | None) -> Iterator[tuple[int, _Value]]:
    """The places of a column where another value begins, and which; most often it has only one."""
    is_one = len(column) == column.count(column[0])
    for place, value in enumerate(column[:1] if is_one else column):
        if value != known:
            known = value
            yield place, value
