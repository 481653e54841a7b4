"""Whether quotes still come, by market: the age of what came last, held against the trading calendar.

Fresh is what is newer, by the exchange's time, than all before, and its age counts from when it came: so neither a
clock that is wrong nor a terminal that repeats itself is taken for the market.
"""

from collections.abc import Mapping
from datetime import date

from hub.calendar import Calendar
from hub.health import Health, MarketState


class Liveness:
    """The markets of the whole quotes. Times are epoch milliseconds of one wall clock."""

    def __init__(self, stale_after_s: float) -> None:
        self.calendar = Calendar()
        self.has_brought = False
        """Whether anything fresh has come at all."""
        self.newest_ms: dict[str, int] = {}
        """The newest exchange time of each market."""
        self._health = Health(self.calendar, stale_after_s)
        self._watched: dict[str, int] = {}

    def watch(self, markets: Mapping[str, int], now_ms: int) -> None:
        """Expect rows of these markets, each with its number of instruments, and of no other."""
        for market in {**self._watched, **markets}:
            self._health.watch(market, markets.get(market, 0), now_ms)
        self._watched = dict(markets)

    def know(self, trading_days: frozenset[date] | None) -> None:
        """Take the trading days."""
        self.calendar.know(trading_days)

    def note(self, market: str, rows: int, newest_ms: int, now_ms: int) -> bool:
        """Take notice of what came of a market. Returns whether it was fresh."""
        if newest_ms <= self.newest_ms.get(market, 0):
            return False
        is_first = market not in self.newest_ms
        self.newest_ms[market] = newest_ms
        if is_first and not self._is_of_now(newest_ms, now_ms):
            return False  # the state of another day or session is no sign of life
        self._health.note(market, rows, now_ms, now_ms)
        self.has_brought = True
        return True

    def stale(self, now_ms: int) -> dict[str, int | None]:
        """The markets whose rows are overdue, each with the age of its newest in ms; None before its first."""
        found = self._health.assess(now_ms)
        return {market: health.age_ms for market, health in found.items() if health.state is MarketState.STALE}

    def _is_of_now(self, newest_ms: int, now_ms: int) -> bool:
        """Whether the first that came of a market was made in this session; half a minute is left for the clock."""
        start_ms = self.calendar.session_start_ms("SH", now_ms)
        return start_ms is not None and newest_ms >= start_ms - 30_000
