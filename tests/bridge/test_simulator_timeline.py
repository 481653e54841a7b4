from datetime import date, datetime, time
from itertools import pairwise, takewhile

import pytest

from bridge.simulator.rhythm import business_time
from bridge.simulator.timeline import CHINA, Phase, Slice, slices_before, slices_from
from bridge.simulator.trading_days import is_trading_day, next_trading_day, trading_days

DAY = date(2026, 9, 1)


def clock(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, CHINA).strftime("%H:%M:%S")


def whole_day(interval_ms: int) -> list[Slice]:
    return list(takewhile(lambda piece: piece.day == DAY, slices_from(DAY, time(9, 15), interval_ms)))


def test_a_day_goes_through_all_phases_and_skips_dead_time() -> None:
    stretches: list[list[str]] = []
    phases: list[Phase] = []
    end_ms = 0
    for piece in whole_day(3000):
        if piece.start_ms == end_ms and piece.phase is phases[-1]:
            stretches[-1][1] = clock(piece.end_ms)
        else:
            stretches.append([clock(piece.start_ms), clock(piece.end_ms)])
            phases.append(piece.phase)
        end_ms = piece.end_ms
    assert list(zip(phases, stretches, strict=True)) == [
        (Phase.OPENING_AUCTION, ["09:15:00", "09:25:00"]),
        (Phase.MATCHED, ["09:25:00", "09:25:12"]),
        (Phase.MATCHED, ["09:29:57", "09:30:00"]),
        (Phase.CONTINUOUS, ["09:30:00", "11:30:00"]),
        (Phase.LUNCH, ["11:30:00", "11:30:12"]),
        (Phase.LUNCH, ["12:59:57", "13:00:00"]),
        (Phase.CONTINUOUS, ["13:00:00", "14:57:00"]),
        (Phase.CLOSING_AUCTION, ["14:57:00", "15:00:00"]),
        (Phase.CLOSED, ["15:00:00", "15:00:12"]),
    ]


@pytest.mark.parametrize("interval_ms", [500, 3000, 7001, 600_000])
def test_slices_follow_each_other_and_never_span_two_phases(interval_ms: int) -> None:
    day = whole_day(interval_ms)
    assert all(0 < piece.length_ms <= interval_ms for piece in day)
    assert all(before.end_ms <= after.start_ms for before, after in pairwise(day))
    assert sum(piece.length_ms for piece in day) == (600 + 12 + 3 + 7200 + 12 + 3 + 7020 + 180 + 12) * 1000
    openers = [piece for piece in day if piece.first]
    assert [clock(piece.start_ms) for piece in openers] == [
        "09:15:00",
        "09:25:00",
        "09:30:00",
        "11:30:00",
        "13:00:00",
        "14:57:00",
        "15:00:00",
    ]


def test_after_the_close_the_next_trading_day_begins_shortly_before_the_auction() -> None:
    last_before_holiday = date(2026, 9, 30)
    days = slices_from(last_before_holiday, time(14, 59, 57), 3000)
    first_of_next = next(piece for piece in days if piece.day != last_before_holiday)
    assert first_of_next.day == date(2026, 10, 8), "the National Day holiday"
    assert (first_of_next.phase, clock(first_of_next.start_ms)) == (Phase.PRE_OPEN, "09:14:57")
    assert next(days).phase is Phase.OPENING_AUCTION


def test_a_start_in_skipped_time_begins_with_what_follows_it() -> None:
    assert clock(next(slices_from(DAY, time(12, 10), 3000)).start_ms) == "12:59:57"


def test_history_ends_at_the_start_with_one_interval_of_normal_length() -> None:
    history = list(slices_before(DAY, time(10, 45), 3000))
    assert history[0].phase is Phase.PRE_OPEN
    assert {Phase.OPENING_AUCTION, Phase.MATCHED} <= {piece.phase for piece in history}
    assert (clock(history[-1].start_ms), clock(history[-1].end_ms)) == ("10:44:57", "10:45:00")
    assert all(before.end_ms <= after.start_ms for before, after in pairwise(history))
    assert len(history) < 10, "a start must be cheap"


def test_business_time_is_fast_when_the_market_is_busy_and_stands_still_at_lunch() -> None:
    def at(hour: int, minute: int) -> float:
        return business_time((hour * 60 + minute) * 60_000)

    assert at(9, 15) == at(9, 30) == 0.0
    assert at(11, 30) == at(12, 15) == at(13, 0)
    assert at(14, 57) == at(15, 0) == pytest.approx(1.0)
    opening, noon, closing = at(10, 0) - at(9, 30), at(11, 30) - at(11, 0), at(14, 57) - at(14, 27)
    assert opening > closing > noon


def test_trading_days_leave_out_holidays_weekends_and_weekends_that_are_worked() -> None:
    assert is_trading_day(DAY)
    assert not is_trading_day(date(2026, 10, 1)), "a holiday"
    assert not is_trading_day(date(2026, 10, 10)), "a Saturday that is worked"
    assert next_trading_day(date(2026, 9, 24)) == date(2026, 9, 28), "mid-autumn, then a weekend"
    days = trading_days(DAY, 2026)
    assert min(days) == DAY
    assert len(days) == 21 + 17 + 21 + 23, "September to December without the holidays"
    assert all(is_trading_day(day) for day in days)


def test_beyond_the_holiday_table_every_weekday_is_a_trading_day() -> None:
    assert is_trading_day(date(2096, 10, 1)), "a Monday"
    assert not is_trading_day(date(2096, 10, 6)), "a Saturday"
