"""What no source may deliver is counted and kept out; everything else passes as it came, and in order."""

import logging
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.intake import AHEAD_MS, LOGGED_ROWS
from bridge.source import Batch, Interruption, SourceState, SourceStatus
from hub.schema import Row
from tests.bridge.support.intake import TEN_MS, Door, Stream, Taken
from tests.hub.support.core import packed, row_of, tick


def good(time_ms: int) -> Row:
    return tick("600000.SH", time_ms)


@pytest.fixture
def door() -> Door:
    return Door()


def test_good_rows_pass_unchanged_and_in_order_with_channel_time_and_number() -> None:
    taken = Taken()
    door = Door(observers=[taken])
    rows = [row_of("1m", "600000.SH", 1, 8.01), row_of("1m", "000001.SZ", 2), row_of("1m", "600000.SH", 2, 8.02)]
    batch = Batch("1m", rows, 17, 5)
    door.intake.deliver(batch)
    assert door.stream.events == taken.batches
    (handed_on,) = taken.batches
    assert list(handed_on.rows) == rows
    assert replace(handed_on, rows=rows) == batch
    assert not door.refused


def test_a_batch_of_which_every_row_is_newer_than_its_topic_passes_as_it_is(door: Door) -> None:
    door.deliver(good(1))
    rows = packed(good(2), tick("000001.SZ", 2))
    door.deliver(tick("000001.SZ", 1))
    door.intake.deliver(Batch("tick", rows, 5))
    assert door.stream.batches[-1].rows is rows


def test_a_row_that_can_not_be_encoded_is_refused_and_the_others_pass(door: Door) -> None:
    door.deliver(good(1), tick("600000.SH", 2, object()), ("600000.SH", 3), tick("600000.SH", 2**63), good(4))
    assert door.stream.rows == [good(1), good(4)]
    assert door.refused == {"not encodable": 3}


@pytest.mark.parametrize("time_ms", [0, -1])
def test_a_row_without_a_time_is_refused_and_the_others_pass(door: Door, time_ms: int) -> None:
    door.deliver(good(1), good(time_ms), tick("000001.SZ", 2))
    door.deliver(good(time_ms), good(2))
    assert door.stream.rows == [good(1), tick("000001.SZ", 2), good(2)]
    assert door.refused == {"time zero": 2}


@pytest.mark.parametrize(
    "code",
    ["", "600000", ".SH", "600000.", "600000.SH.X", "600 000.SH", "600000.SH\n", "6*.SH", "@x.SH", "x" * 25 + ".SH"],
)
def test_a_row_with_a_malformed_code_is_refused_each_time(door: Door, code: str) -> None:
    for time_ms in (1, 2):
        door.deliver(tick(code, time_ms), good(time_ms))
    assert door.stream.rows == [good(1), good(2)]
    assert door.refused == {"malformed code": 2}


@pytest.mark.parametrize("code", ["600000.SH", "IF2509.IF", "00700.HK", "rb2510-C-3000.SF", "a_b.X1"])
def test_codes_of_other_markets_are_well_formed(door: Door, code: str) -> None:
    door.deliver(tick(code, 1))
    assert door.stream.rows == [tick(code, 1)]


@pytest.mark.parametrize(
    "row",
    [("600000.SH", None), ("600000.SH", "1"), (None, 1), (600000, 1), (["600000.SH"], 1), ("600000.SH",), (), None],
    ids=str,
)
def test_a_row_that_is_no_row_is_refused_and_the_others_pass(door: Door, row: Row) -> None:
    """One broken row of an adapter must neither lose the rest of its batch nor end the source."""
    door.deliver(good(1))
    door.deliver(good(2), row, good(3))
    assert door.stream.rows == [good(1), good(2), good(3)]
    assert sum(door.refused.values()) == 1


def test_a_row_more_than_a_day_ahead_of_the_clock_is_refused_and_moves_nothing(door: Door) -> None:
    """Believed, it would be the newest time, and make every row behind it late."""
    door.deliver(good(TEN_MS), good(TEN_MS + AHEAD_MS))
    door.deliver(good(TEN_MS + AHEAD_MS + 3_000), tick("000001.SZ", TEN_MS + 10 * AHEAD_MS), good(TEN_MS + 1))
    assert door.stream.story == [good(TEN_MS), good(TEN_MS + 1)]
    assert door.refused == {"time ahead": 3}


def test_a_row_less_than_a_day_ahead_of_the_clock_passes(door: Door) -> None:
    """Clocks differ, and one that is late must not lose rows."""
    door.deliver(good(TEN_MS), good(TEN_MS + AHEAD_MS - 1))
    door.deliver(tick("000001.SZ", TEN_MS + AHEAD_MS - 1))
    assert len(door.stream.rows) == 3
    assert not door.refused


def test_a_batch_of_which_nothing_is_left_is_not_handed_on() -> None:
    taken = Taken()
    door = Door(observers=[taken])
    door.deliver(good(0), tick("bad", 1))
    door.deliver()
    assert door.stream.events == taken.batches == []
    assert door.intake.batches == 0
    assert door.refused == {"time zero": 1, "malformed code": 1}


def test_a_numbered_batch_of_which_nothing_is_left_still_counts_for_the_hub_alone() -> None:
    taken = Taken()
    door = Door(observers=[taken])
    door.deliver(good(0), number=7)
    door.deliver(number=8)
    assert [(batch.channel, list(batch.rows), batch.number) for batch in door.stream.batches] == [
        ("tick", [], 7),
        ("tick", [], 8),
    ]
    assert taken.batches == []


def test_the_publisher_and_then_every_observer_are_given_every_batch_in_order() -> None:
    told: list[str] = []

    class Noting(Stream):
        def __init__(self, name: str) -> None:
            super().__init__()
            self._name = name

        def observe(self, batch: Batch) -> None:
            told.append(f"{self._name}{batch.recv_us}")

        publish = observe

    door = Door(Noting("hub"), observers=[Noting("a"), Noting("b")])
    for recv_us in (1, 2):
        door.intake.deliver(Batch("tick", [good(recv_us)], recv_us))
    assert told == ["hub1", "a1", "b1", "hub2", "a2", "b2"]
    assert door.intake.batches == 2


def test_only_the_first_refused_rows_of_each_cause_are_logged(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(LOGGED_ROWS + 5):
        door.deliver(tick("600000.SH", 0, "x" * 10_000))
    assert len(caplog.messages) == LOGGED_ROWS
    assert all(message.startswith("row refused, time zero: ('600000.SH', 0, ") for message in caplog.messages)
    assert max(map(len, caplog.messages)) < 300
    door.deliver(tick("bad", 1))
    assert caplog.messages[-1].startswith("row refused, malformed code: ('bad', 1, ")
    assert door.refused == {"time zero": LOGGED_ROWS + 5, "malformed code": 1}


@pytest.mark.parametrize(
    ("status", "level", "message"),
    [
        (SourceStatus(SourceState.CONNECTED), logging.INFO, "source is connected"),
        (SourceStatus(SourceState.DEGRADED, "50 codes only"), logging.WARNING, "source is degraded: 50 codes only"),
        (SourceStatus(SourceState.AWAY, "no terminal"), logging.WARNING, "source is away: no terminal"),
    ],
)
def test_the_state_of_the_source_is_passed_on_and_logged(
    status: SourceStatus, level: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told: list[Any] = []
    Door(on_status=told.append).intake.report(status)
    assert told == [status]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(level, message)]


def test_what_the_source_lost_is_announced_where_it_says_so(door: Door) -> None:
    lost = Interruption("tick:*", 1, None)
    door.deliver(good(1))
    door.intake.interrupt(lost)
    door.deliver(good(2))
    assert door.stream.story == [good(1), lost, good(2)]


def test_every_run_is_passed_on_before_its_rows(door: Door) -> None:
    for run in ("a", "a", "b"):
        door.intake.begin_run(run)
    door.deliver(good(1))
    assert door.stream.story == ["a", "a", "b", good(1)]


def test_a_batch_that_is_cut_has_its_number_at_its_end_and_reaches_observers_whole() -> None:
    """Were the number taken with the first part, a hub that dies before the second would never get that again."""
    taken = Taken()
    door = Door(observers=[taken])
    door.deliver(good(10), number=1)
    door.deliver(good(11), good(5), good(12), number=2)
    assert [(list(batch.rows), batch.number) for batch in door.stream.batches] == [
        ([good(10)], 1),
        ([good(11)], 0),
        ([good(5), good(12)], 2),
    ]
    assert [(list(batch.rows), batch.number) for batch in taken.batches] == [
        ([good(10)], 1),
        ([good(11), good(5), good(12)], 2),
    ]
    assert door.intake.batches == 2


def test_a_cut_batch_that_comes_whole_again_after_a_restart_is_completed() -> None:
    restored = Stream({"tick": [good(10), good(11)]}, run="a")
    door = Door(restored)
    door.intake.begin_run("a")
    door.deliver(good(11), good(5), good(12), number=2)
    assert door.stream.story == ["a", Interruption("tick:600000.SH", 5, 11), good(5), good(12)]
    assert [batch.number for batch in door.stream.batches] == [2]


ROWS = st.builds(
    lambda code, after_ms, price: tick(code, TEN_MS + after_ms, price),
    st.sampled_from(["600000.SH", "000001.SZ", "600001.SH", "bad"]),
    st.sampled_from([*range(-2, 4), -TEN_MS, 2 * AHEAD_MS]),
    st.sampled_from([8.01, 8.02]),
)


@given(st.lists(st.lists(ROWS, max_size=6), max_size=6))
def test_rows_that_come_packed_are_judged_as_others_are(batches: list[list[Row]]) -> None:
    plain, through_feed = Door(), Door()
    for rows in batches:
        plain.deliver(*rows)
        through_feed.intake.deliver(Batch("tick", packed(*rows), 99))
    assert through_feed.stream.story == plain.stream.story
    assert through_feed.refused == plain.refused
