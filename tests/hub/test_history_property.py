"""History against a naive list: whatever is appended, delivered and let go, readers get each row or are told of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import hub.history
from hub.cursor import Cursor
from hub.history import History
from hub.segment import Run
from hub.topic import Topic
from tests.hub.support.core import row_of

CODES = ["600000.SH", "600001.SH", "000001.SZ", "688001.SH"]
CHANNELS = ["tick", "1m"]
NAMES = [f"{channel}:{code}" for channel in CHANNELS for code in CODES]

Told = list[tuple[str, int]]
"""Rows in short: topic and seq."""


def shorten(runs: Sequence[Run]) -> Told:
    return [(f"{run.channel}:{row[0]}", row[1]) for run in runs for row in map(msgpack.unpackb, run.rows)]


def topics_by_name(history: History) -> dict[str, Topic]:
    return {topic.name: topic for topics in history.channels.values() for topic in topics.values()}


@given(
    st.integers(1, 80),
    st.lists(st.tuples(st.sampled_from(CHANNELS), st.lists(st.sampled_from(CODES), max_size=40)), max_size=5),
    st.data(),
)
def test_a_cursor_gives_what_a_naive_list_gives(
    segment_rows: int, batches: list[tuple[str, list[str]]], data: st.DataObject
) -> None:
    # Few topics in a full segment of 16 rows a topic or more are found by index, all others by going through.
    history, arrived = History(ring_rows=1000, ring_bytes=1 << 30), Told()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub.history, "SEGMENT_ROWS", segment_rows)
        for channel, codes in batches:
            history.append(channel, [row_of(channel, code) for code in codes], 7)
            for code in codes:
                name = f"{channel}:{code}"
                arrived.append((name, 1 + sum(name == other for other, _ in arrived)))
        topics = topics_by_name(history)
        names = data.draw(st.sets(st.sampled_from(sorted(topics)))) if topics else set()
        after = data.draw(st.integers(0, history.at))
        up_to = data.draw(st.integers(after, history.at))
        begins = data.draw(st.dictionaries(st.sampled_from(sorted(names)), st.integers(0, 12))) if names else {}
        most = data.draw(st.integers(1, 20))

        cursor, told = history.cursor_after(after), Told()
        for _ in range(1000):
            if cursor.at >= up_to:
                break
            rows = shorten(
                cursor.read(up_to, {topics[n] for n in names}, {topics[n]: seq for n, seq in begins.items()}, most)
            )
            assert len(rows) <= most
            told += rows
    expected = [row for at, row in enumerate(arrived, 1) if after < at <= up_to]
    assert told == [(name, seq) for name, seq in expected if name in names and seq >= begins.get(name, 0)]


@dataclass
class Reader:
    """A cursor, and what it has to give: of each of its topics the number that must come next."""

    cursor: Cursor
    names: set[str]
    next_seq: dict[str, int] = field(default_factory=dict)


class Log(RuleBasedStateMachine):
    """Appends, deliveries and readers in any order, with little room."""

    @initialize(
        ring_rows=st.integers(1, 8),
        segment_rows=st.integers(1, 40),
        ring_bytes=st.sampled_from([1, 5000, 1 << 30]),
        looks_always=st.booleans(),
    )
    def open(self, ring_rows: int, segment_rows: int, ring_bytes: int, looks_always: bool) -> None:
        self.looks_always = looks_always  # else nobody but the history itself sees to it that topics know their rows
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(hub.history, "SEGMENT_ROWS", segment_rows)
        self.history = History(ring_rows=ring_rows, ring_bytes=ring_bytes)
        self.ring_rows, self.ample = ring_rows, ring_bytes == 1 << 30
        self.times: dict[str, list[int]] = {}
        self.arrived: list[tuple[str, int]] = []
        self.readers: list[Reader] = []

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.history.delivered_at = self.history.at
            for reader in self.readers:
                self.read(reader, 100)
                assert reader.next_seq == {name: len(self.times.get(name, ())) + 1 for name in reader.names}
            self.patch.undo()

    @rule(
        channel=st.sampled_from(CHANNELS),
        rows=st.lists(st.tuples(st.sampled_from(CODES), st.integers(1, 99)), max_size=30),
    )
    def append(self, channel: str, rows: list[tuple[str, int]]) -> None:
        self.history.append(channel, [row_of(channel, code, time_ms) for code, time_ms in rows], 7)
        for code, time_ms in rows:
            name = f"{channel}:{code}"
            self.times.setdefault(name, []).append(time_ms)
            self.arrived.append((name, len(self.times[name])))

    @rule(code=st.sampled_from(CODES), time_ms=st.integers(1, 99))
    def look_up_a_time(self, code: str, time_ms: int) -> None:
        topic = self.history.channels["tick"].get(code)
        if topic is not None:
            times = self.times[topic.name]
            first = next((seq for seq, time in enumerate(times, 1) if time >= time_ms), len(times) + 1)
            found, may_be_gone = self.history.first_since([topic], time_ms)[topic]
            assert found == (max(first, topic.first_seq) if may_be_gone else first)

    @rule(code=st.sampled_from(CODES), at=st.integers(0, 300))
    def look_up_an_arrival(self, code: str, at: int) -> None:
        topic = self.history.channels["tick"].get(code)
        if topic is not None:
            first = 1 + sum(name == topic.name for name, _ in self.arrived[:at])
            found, may_be_gone = self.history.first_after([topic], at)[topic]
            assert found == (max(first, topic.first_seq) if may_be_gone else first)

    @rule(code=st.sampled_from(CODES))
    def look_up_the_newest(self, code: str) -> None:
        topic = self.history.channels["tick"].get(code)
        if topic is not None:
            newest = max(at for at, (name, _) in enumerate(self.arrived, 1) if name == topic.name)
            assert self.history.cursor_before({topic: topic.seq}).at == newest - 1
            if newest > self.history.delivered_at:
                assert self.history.at_of(topic, topic.seq) == newest
                assert self.history.first_seq(topic) <= topic.seq

    @rule(back=st.integers(0, 10))
    def deliver(self, back: int) -> None:
        self.history.delivered_at = max(self.history.delivered_at, self.history.at - back)
        self.history.trim()

    @rule(names=st.sets(st.sampled_from(NAMES)), at=st.integers(0, 300))
    def begin(self, names: set[str], at: int) -> None:
        cursor = self.history.cursor_after(min(at, self.history.at))
        assert cursor.at >= min(at, self.history.at)
        reader = Reader(cursor, names)
        for name in names:
            reader.next_seq[name] = 1 + sum(name == other for other, _ in self.arrived[: cursor.at])
        self.readers.append(reader)

    @rule(data=st.data(), most=st.integers(1, 20))
    def read_with_one(self, data: st.DataObject, most: int) -> None:
        if self.readers:
            self.read(data.draw(st.sampled_from(self.readers)), most)

    def read(self, reader: Reader, most: int) -> None:
        """Read up to the end and check that rows and losses together leave nothing out."""
        topics = topics_by_name(self.history)
        observed = {topics[name] for name in reader.names if name in topics}
        for _ in range(1000):
            if reader.cursor.at >= self.history.delivered_at:
                break
            runs = reader.cursor.read(self.history.delivered_at, observed, {}, most)
            for loss in reader.cursor.take_losses(at_end=True):
                name, times = loss.topic.name, self.times[loss.topic.name]
                assert loss.first == reader.next_seq[name]
                assert loss.last < loss.topic.first_seq
                assert (loss.first_time_ms, loss.last_time_ms) == (times[loss.first - 1], times[loss.last - 1])
                reader.next_seq[name] = loss.last + 1
            for name, seq in shorten(runs):
                assert seq == reader.next_seq[name]
                reader.next_seq[name] += 1

    @invariant()
    def each_topic_holds_its_newest_rows(self) -> None:
        if not hasattr(self, "history") or not self.looks_always:
            return
        self.history.index()
        for topic in topics_by_name(self.history).values():
            times = self.times[topic.name]
            held = range(topic.first_seq, topic.seq + 1)
            assert topic.seq == len(times)
            assert [self.arrived[topic.at_of(seq) - 1] for seq in held] == [(topic.name, seq) for seq in held]
            assert not self.ample or len(held) >= min(self.ring_rows, topic.seq)
            undelivered = [s for name, s in self.arrived[self.history.delivered_at :] if name == topic.name]
            assert not undelivered or undelivered[0] >= topic.first_seq
            for time_ms in 1, 50, 99:
                first = next((seq for seq, time in enumerate(times, 1) if time >= time_ms), len(times) + 1)
                assert topic.first_since(time_ms) == max(first, topic.first_seq)
                assert (topic.evicted_time_ms >= time_ms) is (first < topic.first_seq)

    @invariant()
    def the_account_of_rows_is_right(self) -> None:
        if hasattr(self, "history") and self.looks_always:
            self.history.index()
            held = sum(topic.seq - topic.first_seq + 1 for topic in topics_by_name(self.history).values())
            assert self.history.rows == held


TestLog = Log.TestCase
TestLog.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
