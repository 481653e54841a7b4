"""Tells a hub what a source knows beside its rows: its clock, its trading days, and the markets that rows are due of.

Without the clock a hub would judge the rows of a simulated or recorded day by the wall clock, and find them stale.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from bridge.feed.messages import Clock, Instruments, TradingDays
from bridge.source import Batch, Source

LOOK_S: Final = 1.0
MOST_WRONG_MS: Final = 1000
"""Wall time by which a hub's idea of the clock may be wrong before it is put right along with the next batch."""

_logger = logging.getLogger("argus.feeder")


class Teller:
    """An observer, so that a clock that has jumped is told before the rows that follow the jump.

    Args:
        tell: where to say it.
        pace: how many times faster than the wall clock the source's clock runs; None for a live source, whose clock
            is the wall clock.
    """

    def __init__(
        self,
        source: Source,
        tell: Callable[[Clock | TradingDays | Instruments], None],
        pace: float | None,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._tell = tell
        self._pace = pace
        self._monotonic_s = monotonic_s
        self._days: frozenset[object] | None = None
        self._markets: dict[str, int] = {}
        self._clock: tuple[int, float] | None = None

    def observe(self, batch: Batch) -> None:
        """Put the hub's idea of the clock right where it is far off."""
        if self._pace is None:
            return
        now_ms = self._source.now_ms()
        if self._clock is not None:
            told_ms, told_s = self._clock
            expected_ms = told_ms + (self._monotonic_s() - told_s) * 1000 * self._pace
            if abs(now_ms - expected_ms) <= MOST_WRONG_MS * max(1.0, self._pace):
                return
        self._tell_clock(now_ms, self._pace)

    def look(self) -> None:
        """Tell the clock, and whatever else has changed."""
        if self._pace is not None:
            self._tell_clock(self._source.now_ms(), self._pace)
        days = self._source.trading_days
        if days is not None and days != self._days:
            self._days = frozenset(days)
            self._tell(TradingDays(sorted(days)))
        markets = dict(self._source.markets)
        if markets != self._markets:
            self._markets = markets
            self._tell(Instruments(markets))

    async def run(self) -> None:
        """Look again and again."""
        while True:
            try:
                self.look()
            except Exception:  # a vendor's clock may raise: a hub that is told nothing would believe in the old one
                _logger.exception("the source does not tell its clock or calendar")
            await asyncio.sleep(LOOK_S)

    def _tell_clock(self, now_ms: int, pace: float) -> None:
        self._clock = (now_ms, self._monotonic_s())
        self._tell(Clock(now_ms, pace))
