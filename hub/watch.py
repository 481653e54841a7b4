"""Keeps an eye on markets and source, and says what it sees on the ``status`` channel when that changes."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import compress

from hub.calendar import Calendar, shanghai_day
from hub.core import Hub
from hub.health import Health, MarketHealth, MarketState
from hub.rows import Rows
from hub.schema import STATUS, Row

CALENDAR_WARNING_DAYS = 30
MOST_UNREAD = 64
"""Batches that may wait until somebody asks how the markets are."""

_logger = logging.getLogger("argus.watch")


class Watch:
    """The health of the markets and of the source, as heartbeats, pages and the ``status`` channel tell it.

    Args:
        now_ms: the source's clock, epoch milliseconds.
        stale_after_s: how long a source that is connected may say nothing at all in an open market.
        markets_due: the markets that rows are due of now, each with its number of instruments; empty where that is not
            known. Asked at each look.
        tells: whether it speaks on the ``status`` channel: of several processes of one hub, one does.
    """

    def __init__(
        self,
        hub: Hub,
        health: Health,
        calendar: Calendar,
        now_ms: Callable[[], int],
        stale_after_s: float = 15.0,
        markets_due: Callable[[], Mapping[str, int]] = dict,
        *,
        tells: bool = True,
    ) -> None:
        self.markets: Mapping[str, MarketHealth] = {}
        self.source_state = "away"
        self.source_reason = "not started yet"
        self._hub = hub
        self._health = health
        self._calendar = calendar
        self._now_ms = now_ms
        self._stale_after_ms = round(stale_after_s * 1000)
        self._markets_due = markets_due
        self._tells = tells
        self._due: Mapping[str, int] = {}
        self._connected_ms: int | None = None
        self._has_spoken = False
        self._unread: list[tuple[Sequence[str], Sequence[int], int]] = []  # codes, times, and when they came
        self._told: dict[str, tuple[str, str]] = {}
        self._warned_of: int | None = None

    def note(self, rows: Rows) -> None:
        """Take notice of one batch of ticks. It is looked into when somebody asks: clients wait for the batch."""
        self._has_spoken = True
        self._unread.append((rows.codes, rows.times, self._now_ms()))
        if len(self._unread) >= MOST_UNREAD:
            self._read()

    def hear(self) -> None:
        """Take notice that the source gives rows, though none of these came here."""
        self._has_spoken = True

    def was_mute(self, market: str, until_ms: int) -> bool:
        """As `hub.health.Health.was_mute`, after all that was noted."""
        self._read()
        return self._health.was_mute(market, until_ms)

    def _read(self) -> None:
        unread, self._unread = self._unread, []
        for codes, times, now_ms in unread:
            if len(codes) == 1:
                self._note(codes[0][codes[0].rfind(".") + 1 :], 1, times[0], now_ms)
                continue
            suffixes = [code[-3:] for code in codes]  # most often a dot and the market: nothing has to be looked up
            if any(suffix[0] != "." for suffix in set(suffixes)):
                suffixes = [code[code.rfind(".") :] for code in codes]
            for suffix in set(suffixes):
                is_own = list(map(suffix.__eq__, suffixes))
                instruments = len(set(compress(codes, is_own)))
                self._note(suffix[1:], instruments, max(compress(times, is_own)), now_ms)

    def _note(self, market: str, instruments: int, newest_ms: int, now_ms: int) -> None:
        if newest_ms > 0:
            self._health.note(market, instruments, newest_ms, now_ms)

    def report_source(self, state: str, reason: str, recv_us: int) -> None:
        """Take the state of the source, and publish it."""
        if state != self.source_state:
            self._connected_ms = self._now_ms() if state == "connected" else None
        self.source_state, self.source_reason = state, reason
        row = (f"source.{self._hub.source.name}", self._now_ms(), state, None, None, reason or None)
        if self._tells:
            self._hub.publish(STATUS, [row], recv_us)

    def look(self, recv_us: int) -> None:
        """Judge the markets now; publish those whose state or phase changed. Call it about once a second."""
        now_ms = self._now_ms()
        self._read()
        self._watch_due(now_ms)
        self.markets = self._health.assess(now_ms)
        rows: list[Row] = []
        for market, health in self.markets.items():
            now = (health.state.value, health.phase.value)
            if self._told.get(market) == now:
                continue
            self._told[market] = now
            if health.state is MarketState.STALE:
                newest = "no row has come yet" if health.age_ms is None else f"newest data is {health.age_ms} ms old"
                _logger.warning("%s is stale: %s", market, newest)
            rows.append((market, now_ms, *now, health.age_ms, None))
        if rows and self._tells:
            self._hub.publish(STATUS, rows, recv_us)
        self._watch_calendar(now_ms)

    def heartbeat(self) -> dict[str, dict[str, object]]:
        """The markets as a heartbeat tells them."""
        return {market: asdict(health) for market, health in self.markets.items()}

    def reasons_not_ready(self) -> list[str]:
        """Why fresh data can't be served now; empty when it can."""
        now_ms = self._now_ms()
        self._read()
        reasons = self._health.reasons_not_ready(now_ms)
        if self._is_mute(now_ms):
            reasons.append(f"the source {self._hub.source.name} is connected, but no row has come yet in open markets")
        if reasons and self.source_state == "degraded":
            reasons.append(f"the source {self._hub.source.name} is degraded: {self.source_reason}")
        if self.source_state == "away":
            reasons.append(f"the source {self._hub.source.name} is away: {self.source_reason}")
        return reasons

    def reasons_degraded(self) -> list[str]:
        """What the source says is wrong although it gives rows; empty when all is well."""
        if self.source_state != "degraded":
            return []
        return [f"the source {self._hub.source.name} is degraded: {self.source_reason}"]

    def _is_mute(self, now_ms: int) -> bool:
        """Whether rows have been due for too long without any market having spoken at all."""
        opened_ms = self._calendar.session_start_ms("SH", now_ms)
        if self._has_spoken or self._connected_ms is None or opened_ms is None:
            return False
        return now_ms - max(self._connected_ms, opened_ms) > self._stale_after_ms

    def _watch_due(self, now_ms: int) -> None:
        due = dict(self._markets_due())  # the source may go on to change its own
        for market in {**self._due, **due}:
            self._health.watch(market, due.get(market, 0), now_ms)
        self._due = due

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
