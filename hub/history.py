"""What was published: the newest row, the count and the past of every topic, in one log in order of arrival.

The log is a chain of segments in memory; what lies behind it is read from disk, where there is a journal. Rows
leave memory from the old end, a segment at a time when the byte budget is used up, a few at a time where one topic has
more than its share. Without a journal, a segment that was let go keeps its skeleton (which topics, which numbers) for
as long as a cursor still stands in it: so the reader can say exactly what it lost.
"""

from bisect import bisect_left, bisect_right
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final
from weakref import WeakSet

from hub.cursor import Cursor
from hub.past import GapNotice, Past, RestoredTopic
from hub.rows import PackedRow, Rows, pack_rows
from hub.schema import CHANNELS, STATUS, Row
from hub.segment import PackedRows, Segment
from hub.states import States
from hub.topic import Topic
from hub.wire import Packed, pack

SEGMENT_ROWS: Final = 4096

SPARE_ROWS: Final = 64
"""A topic may hold at most so many rows more than its share: they are let go a few at a time, which is cheaper."""
TRIM_SHARE: Final = 2
"""For every row that came, so many are let go at most: else topics that speak alike would all be due at once."""

PLACE_BYTES: Final = 40
"""What a place in the log costs as long as its segment is kept: four lists of 8 bytes, and their spare room."""
ROW_BYTES: Final = 60
"""What a row costs beside its encoded bytes and its place: the header of the bytes object (33), its places in its
topic's two lists (16), and their spare room. All of it is counted against the byte budget."""


class History:
    """The log and its topics.

    Args:
        ring_rows: rows held in memory for each topic at least, unless the byte budget ends first.
        ring_bytes: budget for all rows in memory together.
    """

    def __init__(self, *, ring_rows: int, ring_bytes: int) -> None:
        self.at = 0
        self.delivered_at = 0  # up to which live clients were given the rows: none above may be let go
        self.time_ms = 0  # newest exchange time of the source's rows
        self.late_at = 0
        """Arrival number of the newest row that is older than one of its topic before it."""
        self.channels: dict[str, dict[str, Topic]] = {name: {} for name in CHANNELS}
        self.evicted_rows = 0
        self.states = States()
        """Which rows tell a state, and are given to nobody as live."""
        self.past: Past | None = None
        """What can be read back of rows that memory has let go."""
        self._ring_rows = ring_rows
        self._ring_slack = min(max(1, ring_rows // 16), SPARE_ROWS)
        self._ring_bytes = ring_bytes
        self._bytes = 0
        self._crowded: OrderedDict[Topic, None] = OrderedDict()  # those that hold more than their share
        self._trimmed_at = self._indexed_at = 0
        self._restored_at = 0
        self._segments: deque[Segment] = deque([Segment(first_at=1)])
        self._notices: list[GapNotice] = []
        self._notices_from = 0  # all gap notices after this row, or right behind it, are in memory
        self._cursors: WeakSet[Cursor] = WeakSet()

    @property
    def bytes(self) -> int:
        """What the rows in memory cost, overhead included."""
        return self._bytes

    @property
    def rows(self) -> int:
        """How many rows are held in memory."""
        return self.at - self._restored_at - self.evicted_rows

    @property
    def untrimmed_rows(self) -> int:
        """How many rows came since `trim` was called last."""
        return self.at - self._trimmed_at

    @property
    def tail(self) -> Segment:
        """The segment that is being written."""
        return self._segments[-1]

    @property
    def topics(self) -> Iterable[Topic]:
        """All topics that have spoken."""
        return chain.from_iterable(topics.values() for topics in self.channels.values())

    # Writing

    def restore(self, past: Past, topics: Iterable[RestoredTopic], late_at: int) -> None:
        """Go on where a past ends, before anything else is done. None of it is in memory."""
        for was in topics:
            topic = self.topic(was.channel, was.code)
            topic.restore(was.seq, was.at, was.newest, was.time_ms, was.newest_time_ms)
            if was.channel != STATUS:
                self.time_ms = max(self.time_ms, was.newest_time_ms)
        self.past = past
        self.late_at = late_at
        self.at = self.delivered_at = self._trimmed_at = self._restored_at = self._notices_from = past.at
        self._indexed_at = past.at
        self._segments = deque([Segment(first_at=self.at + 1)])
        self._notices = list(past.gaps_between(self.at, self.at + 1))

    def topic(self, channel: str, code: str) -> Topic:
        """A topic by its name, made if need be."""
        topics = self.channels[channel]
        return topics.get(code) or topics.setdefault(code, Topic(channel, code))

    def append(self, channel: str, rows: Iterable[Row], recv_us: int) -> tuple[list[Topic], list[str]]:
        """Number and keep rows (``source_names`` of the channel, in order of arrival), packed already or not.

        Returns:
            The topics that spoke for the first time, and for each row that can't be sent the reason.
        """
        arrived, refused = (rows, []) if isinstance(rows, Rows) else pack_rows(channel, rows)
        topics, created = self._speakers(channel, arrived.codes)
        recv = pack(recv_us)
        start = 0
        while start < len(topics):
            segment = self._segments[-1]
            if not segment.channels or segment.channels[-1][1] != channel:
                segment.channels.append((len(segment.rows), channel))
            segment.note_recv(len(segment.rows), recv_us)
            part = slice(start, start + SEGMENT_ROWS - len(segment.rows))
            self._add(segment, topics[part], arrived.times[part], recv, arrived.packed[part])
            start = part.stop
            if len(segment.rows) == SEGMENT_ROWS:
                segment.next = Segment(first_at=self.at + 1)
                self._segments.append(segment.next)
        if channel != STATUS:
            self.time_ms = max(self.time_ms, max(arrived.times, default=0))
        return created, refused

    def _speakers(self, channel: str, codes: Iterable[str]) -> tuple[list[Topic], list[Topic]]:
        """The topics of some rows, one for each, and those of them that are new."""
        known = self.channels[channel]
        created: list[Topic] = []
        found = list(map(known.get, codes))
        if None in found:
            for code in codes:
                if code not in known:
                    known[code] = Topic(channel, code)
                    created.append(known[code])
            found = list(map(known.get, codes))
        return found, created  # type: ignore[return-value]  # none is missing now

    def _add(
        self,
        segment: Segment,
        topics: Sequence[Topic],
        times: Sequence[int],
        recv: Packed,
        given: Sequence[PackedRow],
    ) -> None:
        """Number and keep rows for which there is room in the segment.

        Whole markets go through this loop within milliseconds, so it does at once what it could ask each topic to do.
        """
        at, held = self.at, len(segment.rows)
        keep, number, join = segment.rows.append, segment.seqs.append, b"".join
        for topic, time_ms, packed in zip(topics, times, given, strict=True):
            at += 1
            topic.at = at
            topic.seq = seq = topic.seq + 1
            topic.time_ms = time_ms
            if time_ms >= topic.newest_time_ms:
                topic.newest_time_ms = time_ms
            else:
                self.late_at = at
            time = pack(time_ms)
            topic.newest = row = join(
                (topic.head, pack(seq), time, recv, packed[topic.source_head_bytes + len(time) :])
            )
            keep(row)
            number(seq)
        segment.topics.extend(topics)
        segment.times.extend(times)
        self.at = at
        size = sum(map(len, segment.rows[held:])) + len(topics) * (ROW_BYTES + PLACE_BYTES)  # type: ignore[arg-type]
        segment.bytes += size
        self._bytes += size

    def know(self) -> None:
        """Have every topic know its newest row: see `hub.followed`. Here all do at any time."""

    def index(self) -> None:
        """Note of every topic where its newest rows are; whoever looks that up calls it first.

        It waits until rows are delivered: a third of what a whole market costs here, since the index of a topic lies in
        memory that nobody has touched for seconds.
        """
        crowded, limit = self._crowded, self._ring_rows + self._ring_slack
        while self._indexed_at < self.at:
            segment = self._segments[self._number(self._indexed_at + 1)]
            part = slice(self._indexed_at + 1 - segment.first_at, None)
            rows = zip(segment.topics[part], segment.times[part], strict=True)
            for at, (topic, time_ms) in enumerate(rows, self._indexed_at + 1):
                ats, newest_times = topic.ats, topic.newest_times
                newest_ms = newest_times[-1] if ats else topic.evicted_time_ms
                newest_times.append(time_ms if time_ms > newest_ms else newest_ms)
                ats.append(at)
                if len(ats) > limit:
                    crowded[topic] = None
            self._indexed_at = segment.end_at - 1

    def note_gap(self, notice: GapNotice) -> None:
        """Keep a gap notice whose place is after the newest row that was delivered."""
        self._notices.append(notice)

    # Reading

    def cursor_after(self, at: int) -> Cursor:
        """A cursor that reads on after arrival number ``at``, or from the oldest row where that is gone."""
        first_at = min(self._segments[0].first_at, self.past.first_at if self.past is not None else self.at + 1)
        return self._cursor(max(at, first_at - 1))

    def cursor_before(self, begins: Mapping[Topic, int]) -> Cursor:
        """A cursor before the first of some rows that are held: by topic, their numbers (seq)."""
        self.index()
        starts = [topic.at_of(seq) for topic, seq in begins.items() if seq >= topic.first_seq]
        behind = {topic: seq for topic, seq in begins.items() if seq < topic.first_seq}
        if behind and self.past is not None:
            start = self.past.not_after(behind)
            starts += [] if start is None else [start]
        return self.cursor_after(min(starts, default=self.at + 1) - 1)

    def cursor_at_end(self) -> Cursor:
        """A cursor behind everything that was delivered."""
        return self._cursor(self.delivered_at, len(self.notices(self.delivered_at, self.delivered_at)))

    def segment_at(self, cursor: Cursor) -> Segment:
        """Where the next row of a cursor is; where nothing holds that any more, the cursor has lost what is gone."""
        while (at := cursor.at + 1) < self._segments[0].first_at:
            segment = self.past.load(at) if self.past is not None else None
            if segment is not None:
                return segment
            if cursor.at + 1 == at:  # nobody told the cursor yet
                self._lose_past()
        return self._segments[self._number(at)]

    def notices(self, at: int, up_to: int) -> Sequence[GapNotice]:
        """The gap notices that have their place after row ``at``, up to those right after row ``up_to``."""
        found: list[GapNotice] = []
        if at < self._notices_from and self.past is not None:
            found += self.past.gaps_between(at, min(up_to + 1, self._notices_from))
        if self._notices:
            begin = bisect_left(self._notices, at, key=lambda notice: notice.after_at)
            end = bisect_right(self._notices, up_to, key=lambda notice: notice.after_at)
            found += self._notices[begin:end]
        return found

    def notices_since(self, time_ms: int, up_to: int) -> Sequence[GapNotice]:
        """The gap notices from the trading day of a time on, up to those right after row ``up_to``.

        No file of an earlier day is opened for it.
        """
        return self.notices(0 if self.past is None else self.past.day_first_at(time_ms) - 1, up_to)

    def first_seq(self, topic: Topic) -> int:
        """The number of a topic's oldest row that is held, in memory or on disk; above its newest where none is."""
        self.index()
        past = self._past_of(topic)
        return topic.first_seq if past is None else min(topic.first_seq, past.first_seq(topic))

    def evicted_time_ms(self, topic: Topic) -> int:
        """The newest ``time`` among the rows of a topic that are no longer held; -1 where there are none."""
        past = self._past_of(topic)
        return topic.evicted_time_ms if past is None else min(topic.evicted_time_ms, past.evicted_time_ms(topic))

    def loss_cause(self, topic: Topic) -> str:
        """Why the oldest rows of a topic are not held, as a gap tells it."""
        return "evicted"

    def public_at(self, at: int) -> int:
        """An arrival number as clients know it: see `hub.numbering`. Here there is only one count."""
        return at

    def own_at(self, public_at: int) -> int:
        """The arrival number that clients know as this; beyond all where it is yet to come."""
        return public_at

    def at_of(self, topic: Topic, seq: int) -> int:
        """The arrival number of a row that is held."""
        self.index()
        if seq >= topic.first_seq or self.past is None:
            return topic.at_of(seq)
        return self.past.at_of_many({topic: seq})[topic]

    def ats_of(self, seqs: Mapping[Topic, int]) -> dict[Topic, int]:
        """The arrival numbers of rows that are held, one for each topic."""
        self.index()
        behind = {topic: seq for topic, seq in seqs.items() if seq < topic.first_seq}
        found = {topic: topic.at_of(seq) for topic, seq in seqs.items() if topic not in behind}
        if behind and self.past is not None:
            found.update(self.past.at_of_many(behind))
        return found

    def first_since(self, topics: Iterable[Topic], time_ms: int) -> dict[Topic, tuple[int, bool]]:
        """By topic, the number of its first row with ``time`` at or after ``time_ms``; above its newest: there is none.

        True with it: that may be a row that is no longer held; the number is that of the oldest that is.
        """
        self.index()
        found: dict[Topic, tuple[int, bool]] = {}
        behind: list[Topic] = []
        for topic in topics:
            if topic.evicted_at == 0 or topic.evicted_time_ms < time_ms:
                found[topic] = topic.first_since(time_ms), False
            elif (past := self._past_of(topic)) is None or past.first_seq(topic) >= topic.first_seq:
                found[topic] = topic.first_seq, True
            else:
                behind.append(topic)
        if behind and self.past is not None:
            firsts = self.past.first_since_many(behind, time_ms)
            for topic in behind:
                seq = firsts[topic][0] if topic in firsts else topic.first_seq
                found[topic] = seq, self.past.evicted_time_ms(topic) >= time_ms
        return found

    def first_after(self, topics: Iterable[Topic], at: int) -> dict[Topic, tuple[int, bool]]:
        """By topic, the number of its first row after arrival number ``at``; above its newest: there is none.

        True with it: that may be a row that is no longer held; the number is that of the oldest that is.
        """
        self.index()
        found: dict[Topic, tuple[int, bool]] = {}
        behind: list[Topic] = []
        for topic in topics:
            if topic.evicted_at <= at:
                found[topic] = topic.first_after(at), False
            elif (past := self._past_of(topic)) is None or past.first_seq(topic) >= topic.first_seq:
                found[topic] = topic.first_seq, True
            else:
                behind.append(topic)
        if behind and self.past is not None:
            firsts = self.past.first_after_many(behind, at)
            lost = at + 1 < self.past.first_at
            found.update((topic, (firsts[topic], lost and self.past.first_seq(topic) > 1)) for topic in behind)
        return found

    def rows_at(self, topic: Topic, time_ms: int) -> PackedRows:
        """The rows of a topic with exactly this ``time`` that are in memory."""
        self.index()
        found = []
        first, end = topic.first_since(time_ms), topic.seq + 1
        if first < end and self.late_at <= topic.at_of(first):  # else it may also be among the rows of later times
            end = topic.first_since(time_ms + 1)
        for seq in range(first, end):
            at = topic.at_of(seq)
            segment = self._segments[self._number(at)]
            place = at - segment.first_at
            row = segment.rows[place]
            if segment.times[place] == time_ms and row is not None:
                found.append(row)
        return found

    def passed(self, topics: Iterable[Topic], time_ms: int) -> int:
        """An arrival number after which no row of these topics has a ``time`` before ``time_ms``."""
        ends = self.first_since(topics, time_ms)
        inside = {topic: seq for topic, (seq, _) in ends.items() if seq <= topic.seq}
        behind = {topic: seq for topic, seq in inside.items() if seq < topic.first_seq}
        ats = dict(self.past.at_of_many(behind)) if behind and self.past is not None else {}
        ats.update((topic, topic.at_of(seq)) for topic, seq in inside.items() if topic not in behind)
        last = max((ats[topic] - 1 if topic in ats else topic.at for topic in ends), default=0)
        return min(self.at, max(last, self.late_at))

    def leave_past(self, at: int) -> None:
        """The rows up to ``at`` are about to leave the past: whoever still stands before them loses what is in them."""
        if self.past is not None:
            self._lose(dict(self.past.first_after_many(list(self.topics), at)), at)

    # What is let go

    def trim(self) -> None:
        """Let go what is more than the byte budget or a topic's share, of what was delivered. Nobody waits for that."""
        self.index()
        segments = self._segments
        while self._bytes > self._ring_bytes and len(segments) > 2 and segments[1].first_at <= self.delivered_at + 1:
            self._let_go(segments.popleft())
        allowed = TRIM_SHARE * (self.at - self._trimmed_at)
        self._trimmed_at = self.at
        while self._crowded and allowed > 0:
            topic, _ = self._crowded.popitem(last=False)
            allowed -= self._shorten(topic)

    def _let_go(self, segment: Segment) -> None:
        last_at = segment.end_at - 1
        for topic in set(segment.topics):
            count = len(topic.held_before(last_at))
            if count:
                self.evicted_rows += count
                topic.drop(count)
        self._bytes -= segment.bytes
        if self.past is not None and last_at > self.past.at:
            self._lose_past(segment)
        if self.past is None:
            segment.rows = [None] * len(segment.rows)
            for cursor in self._cursors:
                cursor.stand_in(segment)
        else:
            if self.past.first_at > segment.first_at:
                self._leave(segment, min(last_at, self.past.first_at - 1))
            segment.forget()
        kept_from = self._segments[0].first_at - 1
        if self._notices and self._notices[0].after_at < kept_from:
            # Who stands in a segment that left memory reads on there, and nowhere else are these notices then.
            kept_from = min([kept_from, *(cursor.at for cursor in self._cursors if cursor.in_memory)])
            self._notices = [notice for notice in self._notices if notice.after_at >= kept_from]
            self._notices_from = max(self._notices_from, kept_from)

    def _shorten(self, topic: Topic) -> int:
        """Let the oldest rows of a topic go that are more than its share. Returns how many."""
        ats = topic.held_before(self.delivered_at)[: max(0, topic.held - self._ring_rows)]
        if not ats:
            return 0
        for at in ats:
            segment = self._segments[self._number(at)]
            size = len(segment.rows[at - segment.first_at] or b"") + ROW_BYTES
            segment.rows[at - segment.first_at] = None
            segment.bytes -= size
            self._bytes -= size
        self.evicted_rows += len(ats)
        topic.drop(len(ats))
        return len(ats)

    def _leave(self, segment: Segment, at: int) -> None:
        """Rows of a segment up to ``at`` are in memory only, which lets them go: who stands before them loses them."""
        for cursor in self._cursors:
            if cursor.at < at:
                part = slice(cursor.at + 1 - segment.first_at, at + 1 - segment.first_at)
                firsts: dict[Topic, int] = {}
                nexts: dict[Topic, int] = {}
                for topic, seq in zip(segment.topics[part], segment.seqs[part], strict=True):
                    firsts.setdefault(topic, seq)
                    nexts[topic] = seq + 1
                cursor.lose(at, firsts, nexts)

    def _lose_past(self, *popped: Segment) -> None:
        """Rows are gone between the past and what is in memory, or was up to now: nobody can bridge that."""
        self._lose({topic: topic.seq + 1 for topic in self.topics}, self.at, *popped)
        self.past = None

    def _lose(self, nexts: dict[Topic, int], at: int, *popped: Segment) -> None:
        """Let everybody lose what comes before memory (and ``popped``, that was there), at most up to ``at``.

        ``nexts``: by topic, the number of the first row after ``at``, from which they are counted back in memory. The
        disk is not asked for those before it: where a damaged place is the reason, it could not count them.
        """
        segments = [*popped, *self._segments]
        first_at = segments[0].first_at
        behind = [cursor for cursor in self._cursors if cursor.at < min(at, first_at - 1) and not cursor.in_memory]
        if not behind or self.past is None:
            return
        for segment in reversed(segments):
            part = slice(0, max(0, at + 1 - segment.first_at))
            nexts.update(zip(reversed(segment.topics[part]), reversed(segment.seqs[part]), strict=True))
        topics, up_to = list(nexts), min(at, first_at - 1)
        for cursor in behind:
            firsts = self.past.first_after_many(topics, cursor.at)
            if cursor.at < up_to:  # else it was told meanwhile, of damage that this came upon
                cursor.lose(up_to, {topic: firsts.get(topic, 1) for topic in topics}, nexts)

    # Where things are

    def _past_of(self, topic: Topic) -> Past | None:
        """The past, if it reaches up to what memory holds of a topic."""
        return self.past if self.past is not None and topic.evicted_at <= self.past.at else None

    def _number(self, at: int) -> int:
        """The place of the segment in memory in which a row is, or will be. All but the newest are full."""
        return max(0, min((at - self._segments[0].first_at) // SEGMENT_ROWS, len(self._segments) - 1))

    def _cursor(self, at: int, told: int = 0) -> Cursor:
        is_in_memory = at + 1 >= self._segments[0].first_at
        cursor = Cursor(self, at, self._segments[self._number(at + 1)] if is_in_memory else None, told)
        self._cursors.add(cursor)
        return cursor
