"""What is to be done at set times of a trading day. Pure: it is told the time."""

from datetime import date, time

from hub.calendar import Calendar, shanghai_day

_SHANGHAI_MS = 28_800_000
_DAY_MS = 86_400_000


class Daily:
    """Something that is due once a trading day, from a time of day on (Shanghai) up to the end of the day."""

    def __init__(self, at: time, calendar: Calendar) -> None:
        self._at_ms = ((at.hour * 60 + at.minute) * 60 + at.second) * 1000
        self._calendar = calendar
        self._done: date | None = None

    def done(self, now_ms: int) -> None:
        """It was done for today."""
        self._done = shanghai_day(now_ms)

    def is_due(self, now_ms: int) -> bool:
        """Whether it is to be done now."""
        day = shanghai_day(now_ms)
        if day == self._done or not self._calendar.is_trading_day(day):
            return False
        return (now_ms + _SHANGHAI_MS) % _DAY_MS >= self._at_ms
