"""A row is a repeat only if it equals one already delivered in every field, its time included."""

import pytest

from bridge.repeats import ALIKE_ROWS
from hub.schema import Row
from tests.bridge.support.intake import TEN_MS, Door, Stream, tick
from tests.hub.support.core import row_of

A, B = "600000.SH", "000001.SZ"


@pytest.fixture
def door() -> Door:
    return Door()


def test_a_row_that_comes_again_is_dropped_and_counted(door: Door) -> None:
    for _ in range(3):
        door.deliver(tick(A))
    assert door.stream.rows == [tick(A)]
    assert door.refused == {"repeat": 2}


def test_a_row_that_comes_again_in_the_same_batch_is_dropped(door: Door) -> None:
    door.deliver(tick(A), tick(B), tick(A), tick(B))
    door.deliver(tick(A, 3_000), tick(B, 3_000), tick(A, 3_000))
    assert door.stream.rows == [tick(A), tick(B), tick(A, 3_000), tick(B, 3_000)]
    assert door.refused == {"repeat": 3}


def test_a_row_that_comes_again_after_newer_ones_is_dropped_and_not_announced(door: Door) -> None:
    for after_ms in (0, 3_000, 6_000):
        door.deliver(tick(A, after_ms))
    for after_ms in (0, 6_000, 3_000):
        door.deliver(tick(A, after_ms))
    assert door.stream.story == [tick(A), tick(A, 3_000), tick(A, 6_000)]
    assert door.refused == {"repeat": 3}


def test_a_row_that_comes_again_after_newer_ones_of_the_same_batch_is_dropped(door: Door) -> None:
    """The hub has not got it yet."""
    door.deliver(tick(A, -3_000), tick(B))
    door.deliver(tick(A), tick(A, 3_000), tick(B, 3_000), tick(A), tick(A, 6_000), tick(A, 3_000), tick(A))
    assert door.stream.story == [
        *(tick(A, -3_000), tick(B)),
        *(tick(A), tick(A, 3_000), tick(B, 3_000), tick(A, 6_000)),
    ]
    assert door.refused == {"repeat": 3}


def test_a_late_row_that_comes_again_is_dropped_the_second_time(door: Door) -> None:
    late = tick(A, 1_000, volume=3)
    door.deliver(tick(A))
    door.deliver(tick(A, 3_000))
    door.deliver(late, late)
    door.deliver(late)
    assert door.stream.rows == [tick(A), tick(A, 3_000), late]
    assert door.refused == {"repeat": 2}


@pytest.mark.parametrize("again_ms", [0, 3_000])
def test_different_rows_of_one_instrument_and_time_are_delivered_and_each_is_known_again(
    door: Door, again_ms: int
) -> None:
    """The Shanghai exchange does send such pairs."""
    first, second = tick(A, volume=1), tick(A, volume=2)
    door.deliver(first, second)
    if again_ms:
        door.deliver(tick(A, again_ms))
    door.deliver(first)
    door.deliver(second)
    assert door.stream.rows == [first, second, *([tick(A, again_ms)] if again_ms else [])]
    assert door.refused == {"repeat": 2}
    assert door.stream.interruptions == []


def test_each_time_has_its_own_different_rows(door: Door) -> None:
    for after_ms in (0, 3_000):
        pair = tick(A, after_ms, volume=1), tick(A, after_ms, volume=2)
        door.deliver(*pair)
        door.deliver(*pair)
    assert len(door.stream.rows) == 4
    assert door.refused == {"repeat": 4}


def test_rows_that_differ_only_in_their_time_are_delivered(door: Door) -> None:
    rows = [tick(A, after_ms) for after_ms in range(0, 9_000, 3_000)]
    door.deliver(*rows)
    assert door.stream.rows == rows


@pytest.mark.parametrize(
    "change", [{"lastPrice": 8.02}, {"volume": None}, {"transactionNum": 0}, {"askPrice": [8.02, 8.04]}], ids=str
)
def test_any_other_value_makes_another_row(door: Door, change: dict[str, object]) -> None:
    door.deliver(tick(A))
    door.deliver(tick(A, **change))
    assert door.stream.rows == [tick(A), tick(A, **change)]
    assert not door.refused


def test_equal_rows_of_two_instruments_or_two_channels_are_no_repeats(door: Door) -> None:
    door.deliver(tick(A), tick(B))
    door.deliver(tick(A), channel="l2quote")
    assert len(door.stream.rows) == 3
    assert not door.refused


@pytest.mark.parametrize("again", [tuple, list])
def test_whether_a_book_is_a_list_or_a_tuple_makes_no_difference(door: Door, again: type) -> None:
    door.deliver(tick(A, askPrice=[8.02, 8.03]))
    door.deliver(again(tick(A, askPrice=(8.02, 8.03))))
    assert door.stream.rows == [tick(A)]
    assert door.refused == {"repeat": 1}


def test_a_row_that_keeps_its_time_while_it_changes_costs_little_memory(door: Door) -> None:
    """As a forming bar of a day does; so only the newest of its rows are remembered, and it never changes back."""
    bars = [row_of("1d", A, TEN_MS, volume) for volume in range(3 * ALIKE_ROWS)]
    for bar in bars:
        door.deliver(bar, channel="1d")
    for bar in bars[-ALIKE_ROWS:]:
        door.deliver(bar, channel="1d")
    assert door.stream.rows == bars
    assert door.refused == {"repeat": ALIKE_ROWS}
    door.deliver(bars[-ALIKE_ROWS - 1], channel="1d")
    assert len(door.stream.rows) == len(bars) + 1
    assert door.stream.lookups == []


def test_rows_that_are_newer_are_not_looked_up_in_the_past(door: Door) -> None:
    for after_ms in range(0, 9_000, 3_000):
        door.deliver(tick(A, after_ms), tick(B, after_ms))
        door.deliver(tick(A, after_ms))
    assert door.stream.lookups == []


# After a restart of the hub


def restored(*rows: Row, held: bool = True) -> Door:
    decoded = [
        (row[0], row[1], *(list(value) if isinstance(value, list) else value for value in row[2:])) for row in rows
    ]
    return Door(Stream({"tick": decoded}, held=held))


def test_rows_that_come_again_after_a_restart_are_dropped_without_looking_up_the_newest() -> None:
    door = restored(tick(A), tick(B, -9_000))
    door.deliver(tick(A), tick(B, -9_000), tick(A, 3_000))
    assert door.stream.story == [tick(A, 3_000)]
    assert door.refused == {"repeat": 2}
    assert door.stream.lookups == []


def test_an_older_row_that_comes_again_after_a_restart_is_dropped() -> None:
    door = restored(tick(A, -3_000), tick(A))
    door.deliver(tick(A, -3_000))
    assert door.stream.story == []
    assert door.refused == {"repeat": 1}


def test_each_of_several_rows_of_one_time_is_known_again_after_a_restart() -> None:
    pair = tick(A, volume=1), tick(A, volume=2)
    door = restored(*pair)
    third = tick(A, volume=3)
    door.deliver(*pair, third)
    door.deliver(*pair, third)
    assert door.stream.story == [third]
    assert door.refused == {"repeat": 5}


def test_where_the_last_row_before_a_restart_was_a_late_one_the_newest_is_still_known() -> None:
    door = restored(tick(A), tick(A, -3_000))
    door.deliver(tick(A), tick(A, -3_000), tick(A, 3_000))
    assert door.stream.story == [tick(A, 3_000)]
    assert door.refused == {"repeat": 2}


def test_where_older_rows_are_no_longer_held_a_restored_newest_one_is_still_known() -> None:
    door = restored(tick(A), held=False)
    door.deliver(tick(A, volume=2))
    door.deliver(tick(A), tick(A, volume=2))
    assert door.stream.story == [tick(A, volume=2)]
    assert door.refused == {"repeat": 2}
