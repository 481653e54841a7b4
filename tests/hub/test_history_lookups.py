"""Where things are, be the rows in memory, on disk, in both or nowhere; and where history goes on after a restart."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hub.history
from hub.history import History
from hub.journal import JournalSettings
from hub.topic import Topic
from tests.hub.support.core import Client, publish, row_of, tick
from tests.hub.support.journalled import Journalled, journalled, read_all

A, B, C = "600000.SH", "600001.SH", "000001.SZ"
ONE_DAY = JournalSettings(fsync_s=1000.0, keep_days=1)
TWO_DAYS = JournalSettings(fsync_s=1000.0, keep_days=2)


@pytest.fixture(autouse=True)
def _segment_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 4)


def all_in_memory(folder: Path) -> Iterator[Journalled]:
    with journalled(folder) as j:
        yield speak_of_times(j)


def on_disk_only(folder: Path) -> Iterator[Journalled]:
    with journalled(folder) as j:
        speak_of_times(j)
        j.restart()
        yield j


def older_on_disk(folder: Path) -> Iterator[Journalled]:
    with journalled(folder, ring_rows=2) as j:
        yield speak_of_times(j)


TIMES = [10, 30, 20, 30, 40, 35, 50]
"""Of the rows of A: two come late. Each is followed by a row of B, whose times only rise."""


def speak_of_times(j: Journalled) -> Journalled:
    for number, time_ms in enumerate(TIMES):
        publish(j.hub, A, time_ms=time_ms)
        j.hub.flush()
        publish(j.hub, B, time_ms=number)
        j.hub.flush()
    return j


@pytest.fixture(params=[all_in_memory, on_disk_only, older_on_disk])
def j(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journalled]:
    """The same rows, held in different places."""
    make: Callable[[Path], Iterator[Journalled]] = request.param
    yield from make(tmp_path)


# By name, the same wherever the rows are


@pytest.mark.parametrize(
    ("time_ms", "seq"), [(0, 1), (10, 1), (11, 2), (20, 2), (30, 2), (31, 5), (40, 5), (41, 7), (50, 7), (51, 8)]
)
def test_the_first_row_since_a_time_is_found_and_nothing_of_it_may_be_lost(
    j: Journalled, time_ms: int, seq: int
) -> None:
    assert j.history.first_since([j.topic(A)], time_ms) == {j.topic(A): (seq, False)}


def test_several_topics_are_looked_up_together(j: Journalled) -> None:
    assert j.history.first_since([j.topic(B), j.topic(A)], 5) == {j.topic(A): (1, False), j.topic(B): (6, False)}
    assert j.history.first_after([j.topic(B), j.topic(A)], 5) == {j.topic(A): (4, False), j.topic(B): (3, False)}


@pytest.mark.parametrize("at", range(16))
def test_the_first_row_after_an_arrival_number_is_found(j: Journalled, at: int) -> None:
    first = j.history.first_after([j.topic(A), j.topic(B)], at)
    assert first == {j.topic(A): (min((at + 1) // 2, 7) + 1, False), j.topic(B): (min(at // 2, 7) + 1, False)}


@pytest.mark.parametrize("seq", range(1, 8))
def test_the_arrival_number_of_a_row_is_found(j: Journalled, seq: int) -> None:
    assert j.history.at_of(j.topic(A), seq) == 2 * seq - 1
    assert j.history.at_of(j.topic(B), seq) == 2 * seq


def test_all_rows_are_held(j: Journalled) -> None:
    assert [j.history.first_seq(j.topic(code)) for code in (A, B)] == [1, 1]
    assert [j.history.evicted_time_ms(j.topic(code)) for code in (A, B)] == [-1, -1]


@pytest.mark.parametrize("seq", range(1, 8))
def test_a_reader_begins_at_or_before_the_first_row_that_is_meant_wherever_that_is(j: Journalled, seq: int) -> None:
    for begins in {j.topic(A): seq}, {j.topic(A): seq, j.topic(B): 7}, {j.topic(B): seq}:
        first_at = min(j.history.at_of(topic, begin) for topic, begin in begins.items())
        cursor = j.history.cursor_before(begins)
        assert cursor.at < first_at
        wanted = [(code, n) for n in range(1, 8) for code in (A, B) if n >= begins.get(j.topic(code), 99)]
        assert read_all(cursor, set(begins), j.history.at, begins) == wanted


def test_a_reader_of_nothing_begins_at_the_end(j: Journalled) -> None:
    assert j.history.cursor_before({}).at == j.history.at


# What is held nowhere


def test_what_was_never_let_go_of_is_not_lost_and_what_was_may_be(tmp_path: Path) -> None:
    with journalled(tmp_path, ONE_DAY, ring_bytes=1) as j:
        j.speak(*[A] * 9, B, A, A)
        j.next_day()
        a, b = j.topic(A), j.topic(B)
        first = j.history.first_seq(a)
        assert 1 < first == a.first_seq
        assert j.history.evicted_time_ms(a) == first - 1
        assert j.history.first_since([a], first) == {a: (first, False)}
        assert j.history.first_since([a], first - 1) == {a: (first, True)}
        assert j.history.first_since([a], 99) == {a: (12, False)}
        assert j.history.first_after([a, b], 8) == {a: (9, False), b: (1, False)}
        assert j.history.first_after([a], 2) == {a: (first, True)}


def test_a_topic_of_which_nothing_is_held_goes_on_with_its_next_row(tmp_path: Path) -> None:
    with journalled(tmp_path, ONE_DAY, ring_bytes=1) as j:
        j.speak(B, *[A] * 15)
        j.next_day()
        b = j.topic(B)
        assert (j.history.first_seq(b), b.seq) == (2, 1)
        assert j.history.evicted_time_ms(b) == 1
        assert j.history.first_since([b], 1) == {b: (2, True)}
        assert j.history.first_since([b], 2) == {b: (2, False)}
        assert j.history.first_after([b], 0) == {b: (2, True)}
        assert j.history.first_after([b], 1) == {b: (2, False)}


def test_part_nowhere_part_on_disk_and_part_in_memory(tmp_path: Path) -> None:
    with journalled(tmp_path, TWO_DAYS, ring_rows=2) as j:
        j.speak(*[A] * 4)
        j.next_day()
        j.speak(*[A] * 6)
        j.next_day()
        a = j.topic(A)
        assert a.first_seq > 7
        assert j.history.first_seq(a) == 5
        assert j.history.first_since([a], 4) == {a: (5, True)}
        assert [j.history.first_since([a], time_ms)[a] for time_ms in range(5, 12)] == [
            *((seq, False) for seq in range(5, 11)),
            (11, False),
        ]
        assert [j.history.first_after([a], at)[a] for at in range(3, 11)] == [
            (5, True),
            *((seq, False) for seq in range(5, 12)),
        ]


def test_without_a_journal_what_memory_let_go_may_be_lost() -> None:
    history = History(ring_rows=2, ring_bytes=1 << 30)
    for number in range(1, 7):
        history.append("tick", [tick(A, number)], 1)
        history.delivered_at = history.at
        history.trim()
    (a,) = history.topics
    assert history.first_seq(a) == 5
    assert history.evicted_time_ms(a) == 4
    assert [history.first_since([a], time_ms)[a] for time_ms in (4, 5, 7)] == [(5, True), (5, False), (7, False)]
    assert [history.first_after([a], at)[a] for at in (3, 4, 6)] == [(5, True), (5, False), (7, False)]
    assert history.at_of(a, 6) == 6


# Up to where a range of time reaches


@pytest.mark.parametrize(("end_ms", "up_to"), [(0, 0), (1, 0), (4, 3), (10, 9), (11, 10), (99, 10)])
def test_without_late_rows_a_range_of_time_ends_before_the_first_row_that_is_beyond_it(end_ms: int, up_to: int) -> None:
    history = History(ring_rows=100, ring_bytes=1 << 30)
    history.append("tick", [tick(A, time_ms) for time_ms in range(1, 11)], 1)
    history.append("tick", [tick(B, 1)] * 20, 1)
    a, _ = history.topics
    assert history.passed([a], end_ms) == up_to


def test_a_range_of_time_reaches_as_far_as_that_of_any_of_its_topics() -> None:
    history = History(ring_rows=100, ring_bytes=1 << 30)
    history.append("tick", [tick(A, 1), tick(B, 1), tick(A, 5), tick(B, 2), tick(A, 6), tick(B, 5)], 1)
    a, b = history.topics
    assert (history.passed([a], 3), history.passed([b], 3), history.passed([a, b], 3)) == (2, 5, 5)
    assert history.passed([a, b], 9) == 6


def test_a_range_of_time_reaches_up_to_the_newest_late_row_and_no_further() -> None:
    history = History(ring_rows=100, ring_bytes=1 << 30)
    history.append("tick", [tick(A, 1), tick(A, 5), tick(A, 9), tick(A, 4), tick(A, 10)], 1)
    history.append("tick", [tick(B, 11)] * 20, 1)
    a, _ = history.topics
    assert history.late_at == 4
    assert history.passed([a], 5) == 4
    assert history.passed([a], 99) == 5


def test_a_time_bounded_replay_has_the_late_row_that_came_long_after_its_end(j: Journalled) -> None:
    for number in range(20):
        j.speak(C)
        publish(j.hub, A, time_ms=100 + number)
    publish(j.hub, A, time_ms=25)
    j.hub.flush()
    client = Client(j.hub)
    client.ask("replay", topics=[f"tick:{A}"], **{"from": 20, "to": 31})
    client.pump()
    assert client.told() == [*(("replay", A, seq) for seq in (2, 3, 4, 28)), ("replay_done",)]


def test_a_time_bounded_replay_does_not_read_to_the_end_where_nothing_is_late(tmp_path: Path) -> None:
    with journalled(tmp_path, ring_bytes=1) as j:
        j.speak(*[A] * 200)
        loaded: list[int] = []
        load = j.journal.load
        j.journal.load = lambda at: loaded.append(at) or load(at)  # type: ignore[method-assign, func-returns-value]
        client = Client(j.hub)
        client.ask("replay", topics=[f"tick:{A}"], **{"from": 50, "to": 60})
        client.pump()
        assert client.told() == [*(("replay", A, seq) for seq in range(50, 60)), ("replay_done",)]
        assert max(loaded) <= 60


@pytest.mark.parametrize(("late_ms", "up_to"), [(9, 1), (1, 4)])
def test_after_a_restart_a_range_of_time_reaches_as_far_as_before_it(tmp_path: Path, late_ms: int, up_to: int) -> None:
    with journalled(tmp_path) as j:
        for time_ms in 1, 5, 7, late_ms:
            publish(j.hub, A, time_ms=time_ms)
            j.hub.flush()
        assert j.history.passed([j.topic(A)], 2) == up_to
        j.restart()
        assert j.history.passed([j.topic(A)], 2) == up_to
        j.speak(B, B)
        publish(j.hub, A, time_ms=1)
        assert j.history.passed([j.topic(A)], 2) == 7


# Restart


def test_counts_newest_rows_and_times_go_on_where_they_were(tmp_path: Path) -> None:
    with journalled(tmp_path) as j:
        speak_of_times(j)
        j.speak(C)
        j.hub.publish("1m", [row_of("1m", A, 77)], 1)
        j.hub.publish("status", [row_of("status", "SH", 10**9)], 1)
        j.hub.flush()
        before = {topic.name: topic for topic in j.history.topics}
        at, epoch = j.history.at, j.hub.epoch
        j.restart()
        assert (j.hub.epoch, j.history.at, j.history.delivered_at) == (epoch, at, at)
        assert (j.history.time_ms, j.history.rows, j.history.bytes, j.history.evicted_rows) == (77, 0, 0, 0)
        after = {topic.name: topic for topic in j.history.topics}
        assert list(after) == list(before)
        for name, topic in after.items():
            was = before[name]
            assert topic is not was
            assert (topic.seq, topic.at, topic.newest) == (was.seq, was.at, was.newest)
            assert (topic.time_ms, topic.newest_time_ms) == (was.time_ms, was.newest_time_ms)
            assert (topic.held, topic.first_seq) == (0, was.seq + 1)
        assert msgpack.unpackb(after[f"tick:{A}"].newest)[:3] == [A, 7, 50]


def test_after_a_restart_rows_follow_on_those_before_it_and_both_are_read_as_one(tmp_path: Path) -> None:
    with journalled(tmp_path, ring_bytes=1) as j:
        j.speak(A, B, A)
        j.restart()
        j.speak(A, C, A)
        j.restart()
        j.speak(A, B)
        expected = [(A, 1), (B, 1), (A, 2), (A, 3), (C, 1), (A, 4), (A, 5), (B, 2)]
        for at in range(9):
            assert read_all(j.history.cursor_after(at), j.topics(A, B, C), 8) == expected[at:]


def test_a_topic_that_speaks_again_after_a_restart_is_no_new_one(tmp_path: Path) -> None:
    with journalled(tmp_path) as j:
        j.speak(A)
        j.restart()
        created, _ = j.history.append("tick", [tick(A, 5), tick(B, 5)], 1)
        assert [topic.code for topic in created] == [B]
        assert (j.topic(A).seq, j.topic(B).seq, j.history.rows) == (2, 1, 2)


def test_after_a_restart_a_row_that_is_older_than_any_before_is_late(tmp_path: Path) -> None:
    with journalled(tmp_path) as j:
        publish(j.hub, A, time_ms=50)
        publish(j.hub, A, time_ms=20)
        j.hub.flush()
        j.restart()
        assert j.history.late_at == 2
        publish(j.hub, A, time_ms=50)
        assert j.history.late_at == 2
        publish(j.hub, A, time_ms=49)
        assert j.history.late_at == 4


# Rows of one time


def test_rows_of_one_time_are_all_rows_in_memory_that_have_exactly_it() -> None:
    history = History(ring_rows=100, ring_bytes=1 << 30)
    history.append("tick", [tick(A, time_ms, value) for value, time_ms in enumerate((5, 7, 7, 6, 7, 9, 7))], 1)
    history.append("tick", [tick(B, 7)], 1)
    a, _ = history.topics
    found = {
        time_ms: [msgpack.unpackb(row)[1] for row in history.rows_at(a, time_ms)] for time_ms in (4, 5, 6, 7, 9, 10)
    }
    assert found == {4: [], 5: [1], 6: [4], 7: [2, 3, 5, 7], 9: [6], 10: []}


def test_rows_of_one_time_that_left_memory_are_not_among_them(tmp_path: Path) -> None:
    with journalled(tmp_path, ring_rows=2) as j:
        for _ in range(6):
            publish(j.hub, A, time_ms=5)
            j.hub.flush()
        a = j.topic(A)
        numbers = [msgpack.unpackb(row)[1] for row in j.history.rows_at(a, 5)]
        assert numbers == list(range(a.first_seq, 7))
        assert len(numbers) < 6
        j.restart()
        assert j.history.rows_at(j.topic(A), 5) == []


# Any rows in any places, against a list of all of them


class Was(NamedTuple):
    code: str
    seq: int
    time_ms: int


def first(numbers: Iterator[int], otherwise: int) -> int:
    return next(numbers, otherwise)


@given(
    rows=st.lists(st.tuples(st.sampled_from([A, B, C]), st.integers(1, 20)), min_size=1, max_size=40),
    ring=st.sampled_from([{"ring_rows": 1}, {"ring_rows": 4}, {"ring_bytes": 1}, {"ring_bytes": 1500}, {}]),
    restart_after=st.integers(0, 40),
    days=st.lists(st.integers(1, 40), max_size=3),
    page_rows=st.sampled_from([2, 5]),
)
@settings(max_examples=60, deadline=None)
def test_every_answer_is_that_of_going_through_all_rows(
    rows: list[tuple[str, int]], ring: dict[str, int], restart_after: int, days: Sequence[int], page_rows: int
) -> None:
    with (
        TemporaryDirectory() as folder,
        journalled(Path(folder), TWO_DAYS, page_rows=page_rows, **ring) as j,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(hub.history, "SEGMENT_ROWS", 4)
        model: list[Was] = []
        for number, (code, time_ms) in enumerate(rows, 1):
            publish(j.hub, code, time_ms=time_ms)
            j.hub.flush()
            model.append(Was(code, 1 + sum(was.code == code for was in model), time_ms))
            if number in days:
                j.next_day()
            if number == restart_after:
                j.restart()
        for topic in list(j.history.topics):
            mine = [was for was in model if was.code == topic.code]
            check(j.history, topic, mine, model)


def check(history: History, topic: Topic, mine: list[Was], model: list[Was]) -> None:
    held_from = history.first_seq(topic)
    none = len(mine) + 1
    assert topic.seq == len(mine)
    if history.past is not None:
        disk_from = first((was.seq for was in mine if model.index(was) + 1 >= history.past.first_at), none)
        assert held_from == min(disk_from, topic.first_seq)
    assert history.evicted_time_ms(topic) == max((was.time_ms for was in mine[: held_from - 1]), default=-1)
    for was in mine[held_from - 1 :]:
        assert history.at_of(topic, was.seq) == model.index(was) + 1
    for time_ms in range(1, 22):
        true_first = first((was.seq for was in mine if was.time_ms >= time_ms), none)
        assert history.first_since([topic], time_ms)[topic] == (max(true_first, held_from), true_first < held_from)
        behind = model[history.passed([topic], time_ms) :]
        assert all(was.time_ms >= time_ms for was in behind if was.code == topic.code)
    for at in range(len(model) + 1):
        true_first = first((was.seq for was in mine if model.index(was) + 1 > at), none)
        number, may_be_lost = history.first_after([topic], at)[topic]
        assert number == max(true_first, held_from)
        assert may_be_lost or true_first >= held_from
    if held_from < none:
        cursor = history.cursor_before({topic: held_from})
        assert cursor.at <= history.at_of(topic, held_from) - 1
        story = read_all(cursor, {topic}, history.at, {topic: held_from})
        assert story == [(topic.code, was.seq) for was in mine[held_from - 1 :]]
