"""The simulated trading day, cut into slices: what the market's clock shows, with the dead time left out.

A slice is the stretch of market time whose changes travel in one batch. Where nothing can be traded (after the 09:25
match, at lunch, after the close) the first 12 seconds and the last 3 are kept, so that the phase is seen, and the clock
jumps over the rest: a market that is alive at any hour. After the close the next trading day begins at 09:14:57.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum, auto
from typing import Final

from bridge.simulator.trading_days import next_trading_day

CHINA: Final = timezone(timedelta(hours=8))
"""China has had no daylight saving time since 1991."""

FIRST_START: Final = time(9, 15)
LAST_START: Final = time(15)

_HISTORY_STEP_MS: Final = 60 * 60_000


class Phase(Enum):
    """What the market is doing."""

    PRE_OPEN = auto()
    OPENING_AUCTION = auto()
    MATCHED = auto()
    CONTINUOUS = auto()
    LUNCH = auto()
    CLOSING_AUCTION = auto()
    CLOSED = auto()


@dataclass(frozen=True, slots=True)
class Slice:
    """A stretch of market time within one phase. Epoch milliseconds, end exclusive.

    ``first``: it opens its phase. ``ms_of_day``: its end in milliseconds since midnight. ``progress``: the part of the
    segment of the day that is over at its end, 0 to 1.
    """

    day: date
    phase: Phase
    start_ms: int
    end_ms: int
    first: bool
    ms_of_day: int
    progress: float

    @property
    def length_ms(self) -> int:
        """How long it lasts, in market milliseconds."""
        return self.end_ms - self.start_ms


def _at(clock: str) -> int:
    hour, minute, second = map(int, clock.split(":"))
    return ((hour * 60 + minute) * 60 + second) * 1000


@dataclass(frozen=True, slots=True)
class _Segment:
    """A part of the day that is simulated, in milliseconds since midnight. ``opens``: its phase begins with it."""

    phase: Phase
    start: int
    end: int
    opens: bool = True


_DAY: Final = (
    _Segment(Phase.PRE_OPEN, _at("09:14:57"), _at("09:15:00")),
    _Segment(Phase.OPENING_AUCTION, _at("09:15:00"), _at("09:25:00")),
    _Segment(Phase.MATCHED, _at("09:25:00"), _at("09:25:12")),
    _Segment(Phase.MATCHED, _at("09:29:57"), _at("09:30:00"), opens=False),
    _Segment(Phase.CONTINUOUS, _at("09:30:00"), _at("11:30:00")),
    _Segment(Phase.LUNCH, _at("11:30:00"), _at("11:30:12")),
    _Segment(Phase.LUNCH, _at("12:59:57"), _at("13:00:00"), opens=False),
    _Segment(Phase.CONTINUOUS, _at("13:00:00"), _at("14:57:00")),
    _Segment(Phase.CLOSING_AUCTION, _at("14:57:00"), _at("15:00:00")),
    _Segment(Phase.CLOSED, _at("15:00:00"), _at("15:00:12")),
)


def midnight_ms(day: date) -> int:
    """Epoch milliseconds of the beginning of ``day`` in China."""
    return int(datetime(day.year, day.month, day.day, tzinfo=CHINA).timestamp()) * 1000


def _ms_of_day(clock: time) -> int:
    return _at(clock.strftime("%H:%M:%S")) + clock.microsecond // 1000


def _cut(day: date, since: int, until: int, step: int) -> Iterator[Slice]:
    """The slices of ``day`` between two moments (ms of the day), ``step`` long or what is left of a segment."""
    midnight = midnight_ms(day)
    for segment in _DAY:
        start = max(segment.start, since)
        end = min(segment.end, until)
        for at in range(start, end, step):
            stop = min(at + step, end)
            yield Slice(
                day=day,
                phase=segment.phase,
                start_ms=midnight + at,
                end_ms=midnight + stop,
                first=segment.opens and at == segment.start,
                ms_of_day=stop,
                progress=(stop - segment.start) / (segment.end - segment.start),
            )


def slices_from(day: date, start: time, interval_ms: int) -> Iterator[Slice]:
    """The market's slices from ``start`` on, without end, rolling over to the next trading day after each close."""
    since = _ms_of_day(start)
    while True:
        yield from _cut(day, since, 24 * 3_600_000, interval_ms)
        day = next_trading_day(day)
        since = 0


def slices_before(day: date, start: time, interval_ms: int) -> Iterator[Slice]:
    """The part of ``day`` before ``start``, coarsely cut, but for its last interval.

    A market that begins in the middle of the day is walked through them: opens, highs, lows and volumes are then as
    if it had run since 09:15, for a small part of the work.
    """
    until = _ms_of_day(start)
    fine = max(0, until - interval_ms)
    yield from _cut(day, 0, fine, _HISTORY_STEP_MS)
    yield from _cut(day, fine, until, interval_ms)
