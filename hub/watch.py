"""Keeps an eye on markets and source, and says what it sees on the ``status`` channel when that changes."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from hub.calendar import Calendar, shanghai_day
from hub.core import Hub
from hub.health import Health, MarketHealth, MarketState
from hub.schema import STATUS, Row

CALENDAR_WARNING_DAYS = 30

_logger = logging.getLogger("argus.watch")


class Watch:
    """The health of the markets and of the source, as heartbeats, pages and the ``status`` channel tell it.

    Args:
        now_ms: the source's clock, epoch milliseconds.
    """

    def __init__(self, hub: Hub, health: Health, calendar: Calendar, now_ms: Callable[[], int]) -> None:
        self.markets: Mapping[str, MarketHealth] = {}
        self.source_state = "away"
        self.source_reason = "not started yet"
        self._hub = hub
        self._health = health
        self._calendar = calendar
        self._now_ms = now_ms
        self._told: dict[str, tuple[str, str]] = {}
        self._warned_of: int | None = None

    def note(self, rows: Sequence[Row]) -> None:
        """Take notice of one batch of ticks."""
        codes: dict[str, set[str]] = {}
        newest: dict[str, int] = {}
        for row in rows:
            code, time_ms = row[0], row[1]
            market = code[code.rfind(".") + 1 :]
            codes.setdefault(market, set()).add(code)
            if time_ms > newest.get(market, 0):
                newest[market] = time_ms
        now_ms = self._now_ms()
        for market, time_ms in newest.items():
            self._health.note(market, len(codes[market]), time_ms, now_ms)

    def report_source(self, state: str, reason: str, recv_us: int) -> None:
        """Take the state of the source, and publish it."""
        self.source_state, self.source_reason = state, reason
        row = (f"source.{self._hub.source.name}", self._now_ms(), state, None, None, reason or None)
        self._hub.publish(STATUS, [row], recv_us)

    def look(self, recv_us: int) -> None:
        """Judge the markets now; publish those whose state or phase changed. Call it about once a second."""
        now_ms = self._now_ms()
        self.markets = self._health.assess(now_ms)
        rows: list[Row] = []
        for market, health in self.markets.items():
            now = (health.state.value, health.phase.value)
            if self._told.get(market) == now:
                continue
            self._told[market] = now
            if health.state is MarketState.STALE:
                _logger.warning("%s is stale: newest data is %s ms old", market, health.age_ms)
            rows.append((market, now_ms, *now, health.age_ms, None))
        if rows:
            self._hub.publish(STATUS, rows, recv_us)
        self._watch_calendar(now_ms)

    def heartbeat(self) -> dict[str, dict[str, object]]:
        """The markets as a heartbeat tells them."""
        return {market: asdict(health) for market, health in self.markets.items()}

    def reasons_not_ready(self) -> list[str]:
        """Why fresh data can't be served now; empty when it can."""
        reasons = self._health.reasons_not_ready(self._now_ms())
        if self.source_state == "away":
            reasons.append(f"the source {self._hub.source.name} is away: {self.source_reason}")
        return reasons

    def _watch_calendar(self, now_ms: int) -> None:
        left = self._calendar.days_left(now_ms)
        if left < CALENDAR_WARNING_DAYS and left != self._warned_of:
            self._warned_of = left
            _logger.warning(
                "the trading calendar ends on %s, %d days after %s: holidays after that are taken for trading days",
                self._calendar.known_until,
                left,
                shanghai_day(now_ms),
            )
