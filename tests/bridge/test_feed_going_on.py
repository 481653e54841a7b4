"""Where a simulated market goes on: never back, and always at a place where the simulator can start."""

from datetime import date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.feed.going_on import place_after
from bridge.feed.messages import Newest
from bridge.simulator import SimulatorSource
from bridge.simulator.timeline import CHINA, midnight_ms

TUESDAY = date(2026, 9, 1)
RECV_US = 1_795_000_000_000_000


def at(clock: str, day: date = TUESDAY) -> int:
    return midnight_ms(day) + int(timedelta(hours=int(clock[:2]), minutes=int(clock[3:5])).total_seconds()) * 1000


def place(clock: str, away_s: float, speed: float = 1.0, day: date = TUESDAY) -> tuple[date, time]:
    return place_after(Newest(at(clock, day), RECV_US), RECV_US + int(away_s * 1e6), speed)


@pytest.mark.parametrize(
    ("clock", "away_s", "speed", "expected"),
    [
        ("10:00", 0, 1, (TUESDAY, time(10, 0))),
        ("10:00", 90.5, 1, (TUESDAY, time(10, 1, 30, 500_000))),
        ("10:00", 90, 20, (TUESDAY, time(10, 30))),
        ("10:00", 90, 0, (TUESDAY, time(10, 0))),
        ("11:29", 120, 1, (TUESDAY, time(11, 31))),
        ("14:59", 60, 1, (date(2026, 9, 2), time(9, 15))),
        ("15:00", 0, 0, (date(2026, 9, 2), time(9, 15))),
        ("10:00", 86_400, 1, (date(2026, 9, 2), time(10, 0))),
        ("10:00", 15 * 3600, 1, (date(2026, 9, 2), time(9, 15))),
        ("10:00", 4 * 86_400, 1, (date(2026, 9, 7), time(9, 15))),  # a Saturday
        ("10:00", -3600, 1, (TUESDAY, time(10, 0))),  # a wall clock that was put back
    ],
)
def test_it_goes_on_where_it_would_stand_or_at_the_next_opening(
    clock: str, away_s: float, speed: float, expected: tuple[date, time]
) -> None:
    assert place(clock, away_s, speed) == expected


def test_a_holiday_is_passed_over() -> None:
    assert place("14:59", 60, day=date(2026, 9, 30)) == (date(2026, 10, 8), time(9, 15))


@given(
    seconds_of_day=st.integers(0, 86_399),
    away_s=st.floats(0, 1e7),
    speed=st.sampled_from([0.0, 0.5, 1.0, 20.0, 100_000.0]),
)
def test_it_never_goes_back_and_the_simulator_can_always_start_there(
    seconds_of_day: int, away_s: float, speed: float
) -> None:
    newest_ms = midnight_ms(TUESDAY) + seconds_of_day * 1000
    day, start = place_after(Newest(newest_ms, RECV_US), RECV_US + int(away_s * 1e6), speed)
    assert datetime.combine(day, start, CHINA).timestamp() * 1000 >= newest_ms
    SimulatorSource(symbols=1, interval_s=600, day=day, start=start)
