"""When the exchanges are open: trading days, and the phases of a trading day.

Whether silence is a fault can only be told against this calendar. It reads no clock: every time is an argument,
in epoch milliseconds, so that a recording or a simulated day is judged by its own time.
"""

from bisect import bisect_right
from datetime import date, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

import chinese_calendar

_DAY_MS: Final = 86_400_000
_SHANGHAI_OFFSET_MS: Final = 8 * 3_600_000
"""Asia/Shanghai has been UTC+8 without summer time since 1991, so no time-zone database is needed."""

_EPOCH: Final = date(1970, 1, 1)
_ONE_DAY: Final = timedelta(days=1)

_TABLE_FROM: Final = date(min(chinese_calendar.holidays).year, 1, 1)
_TABLE_UNTIL: Final = date(max(chinese_calendar.holidays).year, 12, 31)

_CLOSED_BY_EXCHANGE: Final = frozenset(
    {
        *(date(2004, 1, 19), date(2004, 1, 20), date(2004, 1, 21)),
        *(date(2005, 2, 7), date(2005, 2, 8)),
        *(date(2006, 1, 26), date(2006, 1, 27)),
        date(2024, 2, 9),
    }
)
"""Working days before the Spring Festival on which the exchanges were shut although the State Council's list has no
holiday. Found by comparing every weekday from 2004 to 2026 with XSHG of exchange_calendars 4.13; the rest agrees."""


class Phase(StrEnum):
    """What a market does at a time of a trading day (Asia/Shanghai, each from its start up to before its end).

    The times are those of the Shanghai and Shenzhen trading rules of 2026.
    """

    CLOSED = "closed"
    """Before 09:00, from 15:30 on, and all of a day that is no trading day."""
    PRE_OPEN = "pre_open"
    """09:00 to 09:15: terminals log in and load the day; the exchanges send nothing yet."""
    CALL_AUCTION = "call_auction"
    """09:15 to 09:25: orders are collected, an indicative price is shown."""
    BREAK = "break"
    """09:25 to 09:30: the match of the auction is published, then nothing happens."""
    CONTINUOUS = "continuous"
    """09:30 to 11:30 and 13:00 to 14:57."""
    LUNCH = "lunch"
    """11:30 to 13:00."""
    CLOSING_AUCTION = "closing_auction"
    """14:57 to 15:00."""
    AFTER_HOURS = "after_hours"
    """15:00 to 15:30: closing prices, late rows, and trading at the fixed closing price."""


class _Span(NamedTuple):
    start_ms: int  # after midnight
    phase: Phase
    session_start_ms: int | None  # after midnight; when the session opened of which this phase is a part


def _at(hour: int, minute: int) -> int:
    return (hour * 60 + minute) * 60_000


_TRADING_DAY: Final = (
    _Span(_at(0, 0), Phase.CLOSED, None),
    _Span(_at(9, 0), Phase.PRE_OPEN, None),
    _Span(_at(9, 15), Phase.CALL_AUCTION, _at(9, 15)),
    _Span(_at(9, 25), Phase.BREAK, None),
    _Span(_at(9, 30), Phase.CONTINUOUS, _at(9, 30)),
    _Span(_at(11, 30), Phase.LUNCH, None),
    _Span(_at(13, 0), Phase.CONTINUOUS, _at(13, 0)),
    _Span(_at(14, 57), Phase.CLOSING_AUCTION, _at(13, 0)),  # rows flow on through 14:57: no new session
    _Span(_at(15, 0), Phase.AFTER_HOURS, None),
    _Span(_at(15, 30), Phase.CLOSED, None),
)
_STARTS_MS: Final = tuple(span.start_ms for span in _TRADING_DAY)
_NO_TRADING: Final = _TRADING_DAY[0]


def shanghai_day(time_ms: int) -> date:
    """Return the date in Shanghai at an epoch time."""
    return _EPOCH + timedelta(days=(time_ms + _SHANGHAI_OFFSET_MS) // _DAY_MS)


class Calendar:
    """The trading days, from the source where it knows them, else from the table of `chinese_calendar`.

    Table: weekdays that are no public holiday; the exchanges never open on a weekend, also not on one that is worked
    to make up for a holiday. Where the table has run out, weekdays count as trading days, and `is_guess` says so.
    """

    def __init__(self, trading_days: frozenset[date] | None = None) -> None:
        """Make a calendar. ``trading_days`` rule from the first to the last of them; outside, the table does."""
        self._given = trading_days or frozenset()
        self._given_from = min(self._given, default=date.max)
        self._given_until = max(self._given, default=date.min)
        self._opens = lru_cache(maxsize=4)(self.is_trading_day)

    def know(self, trading_days: frozenset[date] | None) -> None:
        """Take the trading days that the source knows now; None leaves all as it is."""
        if trading_days is not None and trading_days != self._given:
            self._given = trading_days
            self._given_from = min(trading_days, default=date.max)
            self._given_until = max(trading_days, default=date.min)
            self._opens.cache_clear()

    @property
    def known_until(self) -> date:
        """The last day up to which the calendar is known from its table on, without a hole."""
        joined = self._given_from <= _TABLE_UNTIL + _ONE_DAY
        return max(_TABLE_UNTIL, self._given_until) if joined else _TABLE_UNTIL

    def days_left(self, time_ms: int) -> int:
        """Return for how many more days after that of ``time_ms`` the calendar is known; 0 once it is not."""
        day = shanghai_day(time_ms)
        until = max(self.known_until, self._given_until) if self._is_given(day) else self.known_until
        return max(0, (until - day).days)

    def is_trading_day(self, day: date) -> bool:
        """Tell whether the exchanges open on ``day``. See `is_guess` for how far to trust it."""
        if self._is_given(day):
            return day in self._given
        if day.weekday() >= 5:
            return False
        return self.is_guess(day) or (day not in chinese_calendar.holidays and day not in _CLOSED_BY_EXCHANGE)

    def is_guess(self, day: date) -> bool:
        """Tell whether ``day`` is taken for a trading day only because it is a weekday that nothing is known of."""
        known = self._is_given(day) or _TABLE_FROM <= day <= _TABLE_UNTIL
        return not known and day.weekday() < 5

    def trading_day(self, time_ms: int) -> date:
        """Return the trading day that ``time_ms`` belongs to: its own date, else the newest trading day before."""
        day = shanghai_day(time_ms)
        while not self._opens(day):
            day -= _ONE_DAY
        return day

    def day_start_ms(self, time_ms: int) -> int:
        """Return the epoch time of Shanghai's midnight at which the `trading_day` of ``time_ms`` began."""
        return (self.trading_day(time_ms) - _EPOCH).days * _DAY_MS - _SHANGHAI_OFFSET_MS

    def phase(self, market: str, time_ms: int) -> Phase:
        """Return the phase of ``market`` at a time. SH, SZ, BJ keep the same hours; an unknown one is taken to."""
        return self._span(time_ms).phase

    def session_start_ms(self, market: str, time_ms: int) -> int | None:
        """Return when the session opened during which rows are due at ``time_ms``; None while none are due.

        Sessions open at 09:15, 09:30 and 13:00. The closing auction is the end of the afternoon, not a session.
        """
        start_ms = self._span(time_ms).session_start_ms
        return None if start_ms is None else start_ms + time_ms - (time_ms + _SHANGHAI_OFFSET_MS) % _DAY_MS

    def _span(self, time_ms: int) -> _Span:
        if not self._opens(shanghai_day(time_ms)):
            return _NO_TRADING
        return _TRADING_DAY[bisect_right(_STARTS_MS, (time_ms + _SHANGHAI_OFFSET_MS) % _DAY_MS) - 1]

    def _is_given(self, day: date) -> bool:
        return self._given_from <= day <= self._given_until
