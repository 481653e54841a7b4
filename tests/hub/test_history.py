"""The log: numbering, the newest row, reading through cursors, and rows that were let go and are told as losses."""

from collections.abc import Callable, Set
from typing import Any

import msgpack
import pytest

import hub.history
from hub.cursor import Cursor, Loss
from hub.history import PLACE_BYTES, ROW_BYTES, History
from hub.schema import CHANNELS, Row
from hub.topic import Topic
from tests.hub.support.core import row_of, tick

A, B, C = "600000.SH", "600001.SH", "000001.SZ"
AMPLE_BYTES = 1 << 30
EVERYTHING = 1 << 30

Told = list[tuple[str, int]]
"""Rows in short: code and seq."""


@pytest.fixture(autouse=True)
def segment_rows(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 4)
    return 4


def make_history(*codes: str, ring_rows: int = 1000, ring_bytes: int = AMPLE_BYTES) -> History:
    """A history in which each code in turn has spoken once, all of it delivered."""
    history = History(ring_rows=ring_rows, ring_bytes=ring_bytes)
    append(history, *codes)
    return history


def append(history: History, *codes: str, delivered: bool = True) -> None:
    """Append a tick for each code, in order; its time is its arrival number."""
    history.append("tick", [tick(code, history.at + number) for number, code in enumerate(codes, 1)], 7)
    if delivered:
        history.delivered_at = history.at
        history.trim()


def topic_of(history: History, code: str) -> Topic:
    return history.channels["tick"][code]


def topics_of(history: History, *codes: str) -> set[Topic]:
    return {topic_of(history, code) for code in codes}


def read(cursor: Cursor, topics: Set[Topic], **how: Any) -> Told:
    """One step of a cursor, in short."""
    up_to, begins, most = how.get("up_to", EVERYTHING), how.get("begins", {}), how.get("most", 100)
    return [
        (row[0], row[1]) for run in cursor.read(up_to, topics, begins, most) for row in map(msgpack.unpackb, run.rows)
    ]


def read_on(cursor: Cursor, topics: Set[Topic], up_to: int, **how: Any) -> Told:
    """All steps of a cursor up to an arrival number."""
    told: Told = []
    for _ in range(1000):
        if cursor.at >= up_to:
            return told
        told += read(cursor, topics, up_to=up_to, **how)
    raise AssertionError("the cursor doesn't get on")


def lost(cursor: Cursor) -> list[tuple[str, int, int]]:
    return [(loss.topic.code, loss.first, loss.last) for loss in cursor.take_losses(at_end=True)]


def held(history: History, code: str) -> range:
    topic = topic_of(history, code)
    history.index()
    return range(topic.first_seq, topic.seq + 1)


# Numbering


def test_a_row_is_kept_with_its_number_and_when_it_was_received() -> None:
    history = History(ring_rows=10, ring_bytes=AMPLE_BYTES)
    history.append("tick", [tick(A, 5, 1.5)], 7)
    history.append("tick", [tick(A, 6, 2.5)], 8)
    runs = history.cursor_after(0).read(2, topics_of(history, A), {}, 10)
    (rows,) = [[msgpack.unpackb(row) for row in run.rows] for run in runs]
    width = len(CHANNELS["tick"].names)
    assert rows == [[A, 1, 5, 7, 1.5, *[None] * (width - 5)], [A, 2, 6, 8, 2.5, *[None] * (width - 5)]]


def test_numbers_are_contiguous_per_topic_and_arrivals_over_all() -> None:
    history = make_history(A, B, A)
    history.append("1m", [row_of("1m", A)], 7)
    assert history.at == 4
    assert [topic.seq for topics in history.channels.values() for topic in topics.values()] == [2, 1, 1]


def test_a_topic_is_told_as_new_once() -> None:
    history = History(ring_rows=10, ring_bytes=AMPLE_BYTES)
    created, refused = history.append("tick", [tick(A), tick(B), tick(A)], 7)
    assert [topic.name for topic in created] == [f"tick:{A}", f"tick:{B}"]
    assert (refused, history.append("tick", [tick(B)], 7)) == ([], ([], []))


def test_a_topic_knows_its_newest_row_and_time() -> None:
    history = make_history(A, A)
    topic = topic_of(history, A)
    assert msgpack.unpackb(topic.newest)[:3] == [A, 2, 2]
    assert (topic.channel, topic.code, topic.name, topic.time_ms) == ("tick", A, f"tick:{A}", 2)


def test_the_newest_time_of_the_market_never_falls_and_is_not_that_of_the_hubs_own_rows() -> None:
    history = History(ring_rows=10, ring_bytes=AMPLE_BYTES)
    history.append("tick", [tick(A, 5), tick(B, 9), tick(A, 3)], 7)
    history.append("status", [row_of("status", "SH", 100)], 7)
    assert history.time_ms == 9


# Rows that can't be kept


@pytest.mark.parametrize(
    "bad",
    [
        (A, 1),
        (*tick(A), None),
        tick(A, 1, ...),
        tick(A, 1, 2**64),
        tick(A, 2**63),
        tick(A, 1.5),  # type: ignore[arg-type]
        tick(A, None),  # type: ignore[arg-type]
        tick(A, "1"),  # type: ignore[arg-type]
        tick(None),  # type: ignore[arg-type]
        tick(5),  # type: ignore[arg-type]
        tick([A]),  # type: ignore[arg-type]
        tick(A, 1, "\ud800"),
        tick("\ud800"),
    ],
    ids=lambda row: ascii(row[:3]),
)
def test_a_row_that_cannot_be_sent_is_refused_with_a_reason_and_the_others_are_kept(bad: Row) -> None:
    history = History(ring_rows=10, ring_bytes=AMPLE_BYTES)
    created, (reason,) = history.append("tick", [tick(B), bad, tick(A)], 7)
    assert reason.startswith("tick row ")
    assert len(reason) < 300
    assert [topic.code for topic in created] == [B, A]
    assert read(history.cursor_after(0), topics_of(history, A, B)) == [(B, 1), (A, 1)]


def test_a_refused_row_of_a_known_topic_takes_no_number() -> None:
    history = make_history(A)
    history.append("tick", [tick(A, 1, object()), tick(A)], 7)
    assert (topic_of(history, A).seq, history.at, history.rows) == (2, 2, 2)


# Reading


def test_a_cursor_reads_what_it_is_told_to_in_order_of_arrival() -> None:
    history = make_history(A, B, A, C, B, A)
    assert read_on(history.cursor_after(0), topics_of(history, A, B), 6) == [(A, 1), (B, 1), (A, 2), (B, 2), (A, 3)]


def test_a_cursor_stops_at_the_end_of_a_segment_and_goes_on_from_there() -> None:
    history = make_history(*[A] * 6)
    cursor = history.cursor_after(0)
    assert [read(cursor, topics_of(history, A)) for _ in range(3)] == [
        [(A, 1), (A, 2), (A, 3), (A, 4)],
        [(A, 5), (A, 6)],
        [],
    ]


@pytest.mark.parametrize("at", range(10))
def test_a_cursor_can_begin_after_any_row(at: int) -> None:
    history = make_history(*[A] * 9)
    cursor = history.cursor_after(at)
    assert cursor.at == at
    assert read_on(cursor, topics_of(history, A), 9) == [(A, seq) for seq in range(at + 1, 10)]


@pytest.mark.parametrize("count", [0, 3, 4, 5])
def test_a_cursor_at_the_end_reads_what_comes_later(count: int) -> None:
    history = make_history(*[A] * count)
    cursor = history.cursor_after(count)
    append(history, A, B, A)
    assert read_on(cursor, topics_of(history, A, B), count + 3) == [(A, count + 1), (B, 1), (A, count + 2)]


@pytest.mark.parametrize("up_to", range(10))
def test_a_cursor_reads_no_further_than_told(up_to: int) -> None:
    history = make_history(*[A] * 9)
    cursor = history.cursor_after(0)
    assert read_on(cursor, topics_of(history, A), up_to) == [(A, seq) for seq in range(1, up_to + 1)]
    assert cursor.at == up_to
    assert read(cursor, topics_of(history, A), up_to=up_to) == []


def test_a_cursor_takes_at_most_as_many_rows_as_told_in_one_step() -> None:
    history = make_history(*[A] * 7)
    cursor = history.cursor_after(0)
    assert [len(read(cursor, topics_of(history, A), most=3)) for _ in range(5)] == [3, 1, 3, 0, 0]


def test_few_topics_among_many_rows_are_read_in_the_same_order_and_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    # A full segment of 16 rows a topic or more is read through an index by topic.
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 64)
    history = make_history(*[A, B, C, C] * 17)
    cursor = history.cursor_after(1)
    assert read(cursor, topics_of(history, A, B), most=3, up_to=8) == [(B, 1), (A, 2), (B, 2)]
    assert cursor.at == 8
    assert read(cursor, topics_of(history, A, B), most=3) == [(A, 3), (B, 3), (A, 4)]
    assert cursor.at == 13
    assert read_on(cursor, topics_of(history, A, B), 68)[:2] == [(B, 4), (A, 5)]
    assert read_on(history.cursor_after(0), topics_of(history, B), 68) == [(B, seq) for seq in range(1, 18)]
    assert read_on(history.cursor_after(0), set(), 68) == []


def test_the_tail_is_the_segment_that_is_being_written() -> None:
    history = make_history(*[A] * 5)
    assert (history.tail.first_at, history.tail.end_at, len(history.tail.rows)) == (5, 6, 1)


def test_rows_before_a_topics_beginning_are_passed_over() -> None:
    history = make_history(A, B, A, B, A, B)
    begins = {topic_of(history, A): 3, topic_of(history, B): 2}
    assert read_on(history.cursor_after(0), topics_of(history, A, B), 6, begins=begins) == [(B, 2), (A, 3), (B, 3)]


def test_a_run_ends_where_the_channel_changes() -> None:
    history = History(ring_rows=10, ring_bytes=AMPLE_BYTES)
    history.append("tick", [], 7)
    history.append("1m", [row_of("1m", A)], 7)
    history.append("tick", [tick(A), tick(B)], 7)
    history.append("status", [row_of("status", "SH"), row_of("status", "SZ")], 7)
    topics = {topic for topics in history.channels.values() for topic in topics.values()}
    cursor = history.cursor_after(0)
    runs = cursor.read(EVERYTHING, topics, {}, 100) + cursor.read(EVERYTHING, topics, {}, 100)
    assert [(run.channel, len(run.rows)) for run in runs] == [("1m", 1), ("tick", 2), ("status", 1), ("status", 1)]


def test_a_topic_finds_its_rows_by_number() -> None:
    history = make_history(A, B, A, B, B, A)
    assert [topic_of(history, A).at_of(seq) for seq in (1, 2, 3)] == [1, 3, 6]


def test_a_topic_finds_its_first_row_since_a_time_though_times_may_fall() -> None:
    history = History(ring_rows=10, ring_bytes=AMPLE_BYTES)
    history.append("tick", [tick(A, time_ms) for time_ms in (10, 30, 20, 30, 40)], 7)
    topic = topic_of(history, A)
    found = [history.first_since([topic], time_ms)[topic] for time_ms in (0, 10, 11, 20, 30, 31, 40, 41)]
    assert found == [(seq, False) for seq in (1, 1, 2, 2, 2, 5, 5, 6)]
    assert [topic.first_since(time_ms) for time_ms in (0, 10, 11, 20, 30, 31, 40, 41)] == [1, 1, 2, 2, 2, 5, 5, 6]


# A share for each topic


@pytest.mark.parametrize("ring_rows", [1, 2, 3, 5, 16, 40])
def test_a_topic_keeps_at_least_its_share_and_little_more(ring_rows: int) -> None:
    history = make_history(ring_rows=ring_rows)
    for seq in range(1, 100):
        append(history, A)
        kept = len(held(history, A))
        assert min(seq, ring_rows) <= kept <= ring_rows + max(1, ring_rows // 16)


def test_a_busy_topic_takes_nothing_from_a_quiet_one() -> None:
    history = make_history(B, *[A] * 50, ring_rows=3)
    append(history, *[A] * 20)
    assert held(history, B) == range(1, 2)
    cursor = history.cursor_after(0)
    assert read_on(cursor, topics_of(history, B), history.at) == [(B, 1)]
    assert lost(cursor) == []


@pytest.mark.parametrize("ring_rows", range(1, 8))
def test_what_is_held_can_be_read_and_the_rest_is_told_as_lost(ring_rows: int) -> None:
    history = make_history(ring_rows=ring_rows)
    for _ in range(30):
        append(history, A)
        cursor = history.cursor_after(0)
        seqs = [seq for _, seq in read_on(cursor, topics_of(history, A), history.at)]
        assert seqs == list(held(history, A))
        assert sum(last - first + 1 for _, first, last in lost(cursor)) <= history.evicted_rows


# The byte budget


def test_a_rows_bytes_and_its_overhead_count() -> None:
    history = make_history(A, B)
    packed = [topic.newest for topic in topics_of(history, A, B)]
    assert history.bytes == sum(map(len, packed)) + 2 * (ROW_BYTES + PLACE_BYTES)


def test_over_the_budget_the_oldest_segments_go() -> None:
    history = make_history(*[A] * 4, *[B] * 4)
    budget = history.bytes
    history = make_history(ring_bytes=budget)
    append(history, *[A] * 4)
    append(history, *[B] * 4)
    assert (held(history, A), held(history, B)) == (range(1, 5), range(1, 5))
    append(history, *[C] * 4)
    assert (held(history, A), held(history, B), held(history, C)) == (range(5, 5), range(1, 5), range(1, 5))
    assert (history.rows, history.evicted_rows) == (8, 4)
    assert history.bytes <= budget


def test_a_topic_that_lost_all_its_rows_keeps_its_count_and_its_newest_row() -> None:
    history = make_history(ring_bytes=1)
    append(history, A, A, *[B] * 2)
    append(history, *[B] * 8)
    topic = topic_of(history, A)
    assert (topic.seq, topic.first_seq, topic.first_since(0), topic.evicted_time_ms) == (2, 3, 3, 2)
    assert msgpack.unpackb(topic.newest)[:2] == [A, 2]
    append(history, A)
    assert (topic.seq, topic.first_seq) == (3, 3)


def test_a_new_cursor_begins_at_the_oldest_row_that_is_held() -> None:
    history = make_history(ring_bytes=1)
    for _ in range(3):
        append(history, *[A] * 4)
    cursor = history.cursor_after(0)
    assert cursor.at == held(history, A)[0] - 1
    assert read_on(cursor, topics_of(history, A), history.at) == [(A, seq) for seq in held(history, A)]
    assert lost(cursor) == []


def test_rows_that_were_trimmed_no_longer_count() -> None:
    history = make_history(ring_rows=3)
    append(history, A)
    cost_of_one = history.bytes
    for _ in range(99):
        append(history, A)
    assert (history.rows, history.evicted_rows) == (len(held(history, A)), 100 - len(held(history, A)))
    assert 3 * cost_of_one <= history.bytes < 50 * cost_of_one


def test_trimming_and_the_budget_together_count_every_row_once() -> None:
    history = make_history(ring_rows=3, ring_bytes=2000)
    for number in range(60):
        append(history, *[A] * (number % 3), B, *[C] * (number % 2))
        codes = [code for code in (A, B, C) if code in history.channels["tick"]]
        assert history.rows == sum(len(held(history, code)) for code in codes) == history.at - history.evicted_rows
        assert history.rows * (ROW_BYTES + PLACE_BYTES) < history.bytes


def test_the_places_of_rows_that_were_let_go_stay_within_the_budget() -> None:
    # A quiet topic must not hold on to the empty places of a busy one: four lists of eight bytes a row.
    history = make_history(ring_rows=20, ring_bytes=20_000)
    for _ in range(500):
        append(history, A, A, A, B)
    oldest_at = history.cursor_after(0).at
    assert (history.at - oldest_at) * 32 <= 20_000


# Rows that are not delivered yet


@pytest.mark.parametrize(("ring_rows", "ring_bytes"), [(1, AMPLE_BYTES), (1000, 1)])
def test_a_row_that_is_not_delivered_is_never_let_go(ring_rows: int, ring_bytes: int) -> None:
    history = make_history(A, ring_rows=ring_rows, ring_bytes=ring_bytes)
    append(history, *[A] * 20, delivered=False)
    assert held(history, A).stop - held(history, A).start >= 20
    cursor = history.cursor_after(1)
    assert read_on(cursor, topics_of(history, A), 21) == [(A, seq) for seq in range(2, 22)]
    assert lost(cursor) == []


@pytest.mark.parametrize(("ring_rows", "ring_bytes"), [(1, AMPLE_BYTES), (1000, 1)])
def test_once_delivered_it_goes_as_others_do(ring_rows: int, ring_bytes: int) -> None:
    history = make_history(ring_rows=ring_rows, ring_bytes=ring_bytes)
    append(history, *[A] * 20, delivered=False)
    history.trim()
    assert len(held(history, A)) == 20
    history.delivered_at = history.at
    append(history, *[A] * 4)
    assert len(held(history, A)) <= 8


def test_of_topics_that_speak_alike_not_all_are_trimmed_at_once() -> None:
    codes = [f"{number:06}.SZ" for number in range(50)]
    history = make_history(*codes * 100, ring_rows=100)
    at_once = 100 // 16 + 3  # rows of one topic, with those that come while it waits
    evicted = []
    for _ in range(100):
        before = history.evicted_rows
        append(history, *codes)
        evicted.append(history.evicted_rows - before)
    assert max(evicted) <= hub.history.TRIM_SHARE * len(codes) + at_once
    assert sum(evicted) >= len(codes) * (100 - at_once)


# Losses of a reader that lags


def test_a_lagging_reader_is_told_exactly_what_it_lost_by_trimming() -> None:
    history = make_history(A, A, A, ring_rows=2)
    cursor = history.cursor_after(0)
    assert read(cursor, topics_of(history, A), most=1) == [(A, 1)]
    append(history, B, A, A)
    assert read_on(cursor, topics_of(history, A, B), history.at) == [(B, 1), (A, 4), (A, 5)]
    assert cursor.take_losses(at_end=True) == [Loss(topic_of(history, A), 2, 3, 2, 3)]
    assert cursor.take_losses(at_end=True) == []


def test_a_lagging_reader_is_told_exactly_what_it_lost_by_the_budget() -> None:
    history = make_history(A, B, A, B, ring_bytes=1)
    cursor = history.cursor_after(1)
    append(history, A, B, B, B)
    append(history, A, B, B, B)
    assert cursor.at == 1
    assert read_on(cursor, topics_of(history, A, B), history.at) == [(A, 4), (B, 6), (B, 7), (B, 8)]
    assert cursor.take_losses(at_end=True) == [
        Loss(topic_of(history, B), 1, 5, 2, 8),
        Loss(topic_of(history, A), 2, 3, 3, 5),
    ]


def test_what_a_reader_does_not_read_it_cannot_lose() -> None:
    history = make_history(A, B, ring_rows=1)
    cursor = history.cursor_after(0)
    append(history, *[A] * 9, *[B] * 9)
    begins = {topic_of(history, B): held(history, B)[0]}
    read_on(cursor, topics_of(history, B), history.at, begins=begins)
    assert lost(cursor) == []


def test_a_reader_that_was_past_the_rows_that_went_lost_nothing() -> None:
    history = make_history(*[A] * 3, ring_rows=1)
    cursor = history.cursor_after(3)
    append(history, A)
    assert read_on(cursor, topics_of(history, A), 4) == [(A, 4)]
    assert lost(cursor) == []


# Where rows are


def test_whoever_looks_up_a_row_finds_also_those_that_were_just_appended() -> None:
    looked_up: list[Callable[[History, Topic], object]] = [
        lambda history, topic: history.first_seq(topic),
        lambda history, topic: history.at_of(topic, 2),
        lambda history, topic: history.first_since([topic], 20)[topic][0],
        lambda history, topic: history.first_after([topic], 1)[topic][0],
        lambda history, topic: history.cursor_before({topic: 2}).at,
        lambda history, topic: history.passed([topic], 20),
        lambda history, topic: len(history.rows_at(topic, 20)),
    ]
    found = []
    for look_up in looked_up:
        history = History(ring_rows=10, ring_bytes=AMPLE_BYTES)
        history.append("tick", [tick(A, 10), tick(B, 10), tick(A, 20)], 7)
        found.append(look_up(history, topic_of(history, A)))
    assert found == [1, 3, 2, 2, 2, 2, 1]
