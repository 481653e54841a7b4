"""The history of an edge: rows come numbered and packed by the feed, and it begins in the midst of the feed's own.

What was before the beginning is known by topic and number, so that whoever asks for it is told what is missing.
"""

from collections import deque
from collections.abc import Iterable, Sequence

from hub.history import PLACE_BYTES, ROW_BYTES, SEGMENT_ROWS, History
from hub.past import RestoredTopic
from hub.schema import STATUS
from hub.segment import Segment
from hub.topic import Topic


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
        self._indexed_at = at
        self.late_at = at  # perhaps: nobody here can tell
        self._known_at = known_at
        self._lost_in_relay = lost_in_relay
        self._segments = deque([Segment(first_at=at + 1)])

    def loss_cause(self, topic: Topic) -> str:
        """Why the oldest rows of a topic are not held: what was lost on the way was never here."""
        is_early = topic.evicted_at <= self._restored_at
        return "relay" if self._lost_in_relay and is_early else "evicted"

    def extend(
        self,
        topics: Sequence[Topic],
        seqs: Sequence[int],
        times: Sequence[int],
        recvs: Sequence[int],
        rows: Sequence[bytes],
    ) -> None:
        """Keep the rows that follow, in order of arrival, as they are: a value each for every row.

        Raises:
            ValueError: a row does not follow its topic's newest.
        """
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
        """Keep rows for which there is room in the segment. A loop for whole markets, as `History._add` is."""
        at = self.at
        place = len(segment.rows)
        channel = segment.channels[-1][1] if segment.channels else ""
        self._note_recvs(segment, recvs)
        newest_ms = self.time_ms
        for topic, seq, time_ms, row in zip(topics, seqs, times, rows, strict=True):
            at += 1
            if seq != topic.seq + 1:
                self._see_first(topic, seq, at, time_ms)
            if topic.channel != channel:
                channel = topic.channel
                segment.channels.append((place, channel))
            place += 1
            topic.at, topic.seq, topic.time_ms, topic.newest = at, seq, time_ms, row
            if time_ms >= topic.newest_time_ms:
                topic.newest_time_ms = time_ms
            else:
                self.late_at = at
            if time_ms > newest_ms and channel != STATUS:
                newest_ms = time_ms
        segment.rows.extend(rows)
        segment.topics.extend(topics)
        segment.seqs.extend(seqs)
        segment.times.extend(times)
        self.at, self.time_ms = at, newest_ms
        size = sum(map(len, rows)) + len(rows) * (ROW_BYTES + PLACE_BYTES)
        segment.bytes += size
        self._bytes += size

    def _note_recvs(self, segment: Segment, recvs: Sequence[int]) -> None:
        """Note when the next rows of a segment were received: most often all at once."""
        known = segment.recvs[-1][1] if segment.recvs else None
        is_one = len(recvs) == recvs.count(recvs[0])
        for place, recv_us in enumerate(recvs[:1] if is_one else recvs, len(segment.rows)):
            if recv_us != known:
                known = recv_us
                segment.recvs.append((place, recv_us))

    def _see_first(self, topic: Topic, seq: int, at: int, time_ms: int) -> None:
        """Take it that a topic had spoken before the beginning, as it can only be early on."""
        if topic.seq or at > self._known_at:
            raise ValueError(f"row {seq} of {topic.name} came after row {topic.seq}")
        topic.restore(seq - 1, self._restored_at, b"", 0, time_ms)
