"""Which days the exchanges are open, from the table of the ``chinesecalendar`` package.

The State Council publishes a year's holidays in the autumn before. For years that the installed table does not
hold yet, every Monday to Friday is taken as a trading day: the simulator invents its market anyway, and must be
able to run past the end of the table.
"""

from datetime import date, timedelta
from functools import lru_cache

import chinese_calendar

_DAY = timedelta(days=1)


def is_trading_day(day: date) -> bool:
    """True if the exchanges are open. They stay closed on the weekends that are worked in exchange for a holiday."""
    if day.weekday() >= 5:
        return False
    try:
        return bool(chinese_calendar.is_workday(day))
    except NotImplementedError:
        return True


def next_trading_day(day: date) -> date:
    """The first trading day after ``day``."""
    day += _DAY
    while not is_trading_day(day):
        day += _DAY
    return day


@lru_cache(maxsize=4)
def trading_days(first: date, last_year: int) -> frozenset[date]:
    """The trading days from ``first`` to the end of ``last_year``."""
    count = (date(last_year, 12, 31) - first).days + 1
    return frozenset(day for offset in range(count) if is_trading_day(day := first + offset * _DAY))
