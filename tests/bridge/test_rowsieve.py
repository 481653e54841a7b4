"""Good rows pass in the order of the file; bad ones are counted by cause, logged with their place, and left out."""

import logging

import pytest

from bridge.rowfile import Chunk
from bridge.rowlayout import Cause
from bridge.rowsieve import LOGGED_PER_CAUSE, SESSION_MS, WITNESSES, BadRows, Sieve
from tests.bridge.support.recordings import OPEN_MS, after_ms, cells

DAY_MS = 86_400_000


def chunk_at(*times_ms: int, first_place: int = 2) -> Chunk:
    return [(place, cells(time=str(OPEN_MS + time_ms))) for place, time_ms in enumerate(times_ms, first_place)]


def sift(*times_ms: int) -> tuple[list[int], dict[Cause, int]]:
    """The times that pass, after the open, and what was counted."""
    bad = BadRows("day.csv line", logged_per_cause=0)
    return after_ms(Sieve(bad).sift(chunk_at(*times_ms), final=True)), dict(bad.counts)


def test_good_rows_pass_unchanged_and_in_order() -> None:
    assert sift(0, 3000, 3000, 6000) == ([0, 3000, 3000, 6000], {})


def test_rows_that_are_a_little_out_of_order_pass_where_they_stand() -> None:
    assert sift(0, 9000, 3000, 12000, SESSION_MS, 0) == ([0, 9000, 3000, 12000, SESSION_MS, 0], {})


def test_a_row_that_goes_back_more_than_a_session_is_skipped_and_counted() -> None:
    late_ms = SESSION_MS + 5000
    assert sift(0, late_ms, late_ms - SESSION_MS - 1, late_ms + 3000) == ([0, late_ms, late_ms + 3000], {Cause.TIME: 1})


def test_a_row_of_the_day_before_is_skipped_wherever_it_stands() -> None:
    assert sift(0, -DAY_MS, 3000) == ([0, 3000], {Cause.TIME: 1})
    assert sift(0, 3000, -DAY_MS) == ([0, 3000], {Cause.TIME: 1})


def test_rows_that_creep_back_are_held_against_the_newest_of_all() -> None:
    step_ms = SESSION_MS // 2
    assert sift(2 * step_ms, step_ms, 0, -step_ms)[0] == [2 * step_ms, step_ms, 0]


def test_the_next_day_passes() -> None:
    assert sift(0, 3000, DAY_MS, DAY_MS + 3000) == ([0, 3000, DAY_MS, DAY_MS + 3000], {})


def test_the_first_row_of_the_next_day_passes_as_the_last_of_the_file() -> None:
    assert sift(0, 3000, DAY_MS) == ([0, 3000, DAY_MS], {})


def test_going_back_is_the_fault_of_the_row_that_goes_back_if_no_others_bear_it_out() -> None:
    assert sift(0, DAY_MS, 0) == ([0, DAY_MS], {Cause.TIME: 1})
    assert sift(0, DAY_MS, 0, DAY_MS + 3000) == ([0, DAY_MS, DAY_MS + 3000], {Cause.TIME: 1})


def test_a_row_that_leaps_ahead_does_not_condemn_the_rows_behind_it() -> None:
    assert sift(0, 365 * DAY_MS, 3000, 6000, 9000) == ([0, 3000, 6000, 9000], {Cause.TIME: 1})


def test_a_first_row_that_is_far_ahead_is_skipped() -> None:
    assert sift(365 * DAY_MS, 0, 3000, 6000) == ([0, 3000, 6000], {Cause.TIME: 1})


def test_chunks_are_one_stream() -> None:
    bad = BadRows("day.csv line", logged_per_cause=0)
    sieve = Sieve(bad)
    times = [0, 3000, 365 * DAY_MS, 6000, -DAY_MS, 9000, 12000, 15000]
    rows = [row for place, time_ms in enumerate(times) for row in sieve.sift(chunk_at(time_ms, first_place=place))]
    assert len(rows) <= len(times) - WITNESSES
    rows += sieve.sift([], final=True)
    assert after_ms(rows) == [0, 3000, 6000, 9000, 12000, 15000]
    assert bad.counts == {Cause.TIME: 2}


def test_every_cause_is_counted_by_itself() -> None:
    bad = BadRows("day.csv line", logged_per_cause=0)
    chunk: Chunk = [
        (2, cells()),
        (3, cells()[:-1]),
        (4, cells(volume="x")),
        (5, cells(volume="x")),
        (6, cells(volume="-1")),
        (7, cells(code="600000.HK")),
        (8, cells(code="600000")),
        (9, cells(time="0")),
        (10, cells()),
    ]
    assert len(Sieve(bad).sift(chunk, final=True)) == 2
    assert bad.counts == {
        Cause.COLUMNS: 1,
        Cause.NUMBER: 2,
        Cause.RANGE: 1,
        Cause.EXCHANGE: 1,
        Cause.CODE: 1,
        Cause.TIME: 1,
    }
    assert bad.total == 7
    assert str(bad).startswith("not a number: 2, ")


def test_a_bad_row_is_logged_with_file_line_and_reason(caplog: pytest.LogCaptureFixture) -> None:
    Sieve(BadRows("day.csv line")).sift([(17, cells(volume="x"))])
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        record.getMessage() == "day.csv line 17: volume is 'x', not a whole number; the row is skipped (not a number)"
    )


def test_of_many_bad_rows_only_the_first_of_each_cause_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    bad = BadRows("day.csv line")
    sieve = Sieve(bad)
    sieve.sift([(place, cells(volume="x")) for place in range(1000)])
    sieve.sift([(1000, cells(code=""))])
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == LOGGED_PER_CAUSE + 1
    assert messages[LOGGED_PER_CAUSE - 1].endswith("no more of these are logged)")
    assert messages[-1].startswith("day.csv line 1000: code")
    assert bad.total == 1001
