"""How busy the market is through the day: the intraday smile of volume and of volatility.

*Business time* runs from 0 at 09:30 to 1 at 14:57, fast when the market is busy. Whatever happens at a steady rate in
business time (trades, volume, price variance) has the smile in clock time.
"""

from itertools import accumulate
from math import exp
from typing import Final

_MORNING: Final = 120
_AFTERNOON: Final = 117


def _busyness(minute: int) -> float:
    """Relative turnover of one trading minute, as the turnover of real whole days falls and rises."""
    opening = 1.9 * exp(-minute / 12)
    after_lunch = 0.4 * exp(-(minute - _MORNING) / 12) if minute >= _MORNING else 0.0
    before_close = 0.45 * exp(-(_MORNING + _AFTERNOON - minute) / 15)
    return 0.5 + opening + after_lunch + before_close


_BY_MINUTE: Final = tuple(accumulate((_busyness(minute) for minute in range(_MORNING + _AFTERNOON)), initial=0.0))
_MORNING_START_MS: Final = (9 * 60 + 30) * 60_000
_AFTERNOON_START_MS: Final = 13 * 60 * 60_000


def business_time(ms_of_day: int) -> float:
    """Business time, 0 to 1, at a moment of the day in milliseconds since midnight. It stands still at lunch."""
    morning = min(max(0, ms_of_day - _MORNING_START_MS), _MORNING * 60_000)
    afternoon = min(max(0, ms_of_day - _AFTERNOON_START_MS), _AFTERNOON * 60_000)
    minute, rest_ms = divmod(morning + afternoon, 60_000)
    done = _BY_MINUTE[minute]
    if rest_ms:
        done += (_BY_MINUTE[minute + 1] - done) * rest_ms / 60_000
    return done / _BY_MINUTE[-1]
