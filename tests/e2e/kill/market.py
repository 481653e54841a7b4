"""A market that goes on while nobody looks: the simulator's, at a place that the wall clock alone decides.

Who comes back to it has missed what came meanwhile, and begins with the newest row of every instrument, as a
subscription of the whole market gives it. That is what happens to a live source whose process was killed.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from datetime import time as time_of_day
from pathlib import Path
from typing import Final

from bridge.simulator.market import Market
from bridge.simulator.source import DEFAULT_DAY
from bridge.simulator.timeline import slices_from
from bridge.simulator.universe import build_universe
from bridge.source import Batch, Sink, SourceState, SourceStatus
from hub.schema import Row

OPENS: Final = time_of_day(9, 30)
SEED: Final = 1

Note = Callable[[Sequence[Row], bool], None]
"""Told of every batch before it is handed on; False: it came while nobody was there, and is not."""


def write_codes(folder: Path, symbols: int) -> Path:
    """Write down the instruments of the market, a line each. Returns the file."""
    file = folder / "codes"
    file.write_text("\n".join(profile.code for profile in build_universe(symbols, SEED)), encoding="utf-8")
    return file


class OngoingMarket:
    """A `bridge.source.Source` that plays a market which opened at ``opened_s`` (epoch seconds).

    Batches that came before ``away_s`` (epoch seconds) and before this run are not noted: an earlier run did.
    """

    name = "exchange"
    simulated = False  # so that another process goes on with it
    continues = True
    channels = frozenset({"tick"})
    trading_days: frozenset[date] | None = None
    markets: Mapping[str, int] = {}

    def __init__(
        self, symbols: int, interval_s: float, speed: float, opened_s: float, away_s: float, note: Note
    ) -> None:
        interval_ms = round(interval_s * 1000)
        self._market = Market(symbols, SEED, DEFAULT_DAY, OPENS, interval_ms)
        self._slices = slices_from(DEFAULT_DAY, OPENS, interval_ms)
        self._speed = speed
        self._opened_s = opened_s
        self._away_s = away_s
        self._note = note
        self._now_ms = 0

    def now_ms(self) -> int:
        """End of the newest slice, epoch milliseconds."""
        return self._now_ms

    def want(self, topics: frozenset[str]) -> None:
        """The whole market is given anyway."""

    async def run(self, sink: Sink) -> None:
        """Deliver without end."""
        sink.report(SourceStatus(SourceState.CONNECTED))
        came_s = time.time()
        due_s = self._opened_s
        is_first = True
        for piece in self._slices:
            rows: list[Row] = []
            for chunk in self._market.advance(piece):
                rows += chunk
                await asyncio.sleep(0)
            due_s += piece.length_ms / 1000 / self._speed
            self._now_ms = piece.end_ms
            if due_s < came_s:
                if due_s >= self._away_s:
                    self._note(rows, False)
                continue
            await asyncio.sleep(max(0.0, due_s - time.time()))
            if is_first:
                is_first, rows = False, self._market.snapshot()
            self._note(rows, True)
            sink.deliver(Batch("tick", rows, time.time_ns() // 1000))
