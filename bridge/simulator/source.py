"""The simulated market as a source: paced by its own clock, delivered in whole-market batches, with faults on request.

The work of a slice is spread over the time of the slice, a few instruments at a time, so that a hub on the same
event loop never waits for it for more than about a millisecond.
"""

import asyncio
import time as wall
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, time
from types import MappingProxyType
from typing import Any, Final

from bridge.simulator.faults import Fault, FaultKind, FaultPlan
from bridge.simulator.market import Market
from bridge.simulator.pacing import Clock, Pacer, Sleep
from bridge.simulator.timeline import FIRST_START, LAST_START, slices_from
from bridge.simulator.trading_days import is_trading_day, trading_days
from bridge.simulator.universe import Instrument
from bridge.source import Batch, ReferenceData, Sink, SourceState, SourceStatus
from hub.schema import Row

DEFAULT_DAY: Final = date(2026, 9, 1)
"""A fixed day, so that a seed gives the same market whenever it is run."""

MIN_INTERVAL_S: Final = 0.1
MAX_INTERVAL_S: Final = 600.0


class SimulatorSource:
    """An invented A-share market.

    The first batch of a run is a snapshot of every instrument, as a whole-market subscription gives it; then one batch
    of what changed per ``interval_s`` of market time. The clock starts at ``start`` (09:15 to 15:00) on ``day``, runs
    ``speed`` times as fast as the wall clock (0: as fast as it goes), and jumps over lunch, night and holidays. Rows
    and batches depend on ``symbols``, ``interval_s``, ``seed``, ``start``, ``day`` and ``faults`` only.

    Raises ValueError, with one line, for settings that make no sense.
    """

    def __init__(
        self,
        *,
        symbols: int = 5500,
        interval_s: float = 3.0,
        seed: int = 1,
        speed: float = 1.0,
        start: time = time(9, 30),
        day: date = DEFAULT_DAY,
        faults: Sequence[Fault] = (),
        clock: Clock = wall.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        if not MIN_INTERVAL_S <= interval_s <= MAX_INTERVAL_S:
            raise ValueError(f"interval must be {MIN_INTERVAL_S:g} to {MAX_INTERVAL_S:g} seconds, not {interval_s:g}")
        if not FIRST_START <= start < LAST_START:
            raise ValueError(
                f"the simulated day starts between {FIRST_START:%H:%M} and {LAST_START:%H:%M}, not {start}"
            )
        if not is_trading_day(day):
            raise ValueError(f"{day} is not a trading day")
        self._pacer = Pacer(speed, clock, sleep)
        self._faults = FaultPlan(faults, seed)
        self._first_day = day
        interval_ms = round(interval_s * 1000)
        self._market = Market(symbols, seed, day, start, interval_ms)
        self._slices = slices_from(day, start, interval_ms)
        codes = [instrument.code for instrument in self._market.instruments()]
        self._markets = MappingProxyType(dict(Counter(code[code.rfind(".") + 1 :] for code in codes)))
        self._lived_ms = 0
        self._state: SourceState | None = None
        self._snapshot_due = True
        self._told_day: date | None = None
        self._enter_next_slice()

    @property
    def name(self) -> str:
        """``simulator``."""
        return "simulator"

    @property
    def simulated(self) -> bool:
        """Always true: every price is invented."""
        return True

    @property
    def continues(self) -> bool:
        """Always true: the market goes on where it was."""
        return True

    @property
    def channels(self) -> frozenset[str]:
        """Ticks only."""
        return frozenset({"tick"})

    @property
    def trading_days(self) -> frozenset[date]:
        """The trading days from the first simulated one to the end of the year after the present market year.

        It grows as the market goes on; ask again after a change of the day.
        """
        return trading_days(self._first_day, self._piece.day.year + 1)

    @property
    def markets(self) -> Mapping[str, int]:
        """Every market with its instruments, the suspended ones included: which those are changes with the day."""
        return self._markets

    @property
    def instruments(self) -> list[Instrument]:
        """Every instrument with the limits of the present market day, in order of their codes."""
        return self._market.instruments()

    def now_ms(self) -> int:
        """The market's clock in epoch milliseconds.

        It never runs ahead of the batch that is being made, so that a stalled host makes the market late, not stale.
        It stands still while the source does not run.
        """
        into_slice = int(self._pacer.lived_ms()) - self._lived_ms
        paced = self._piece.start_ms + min(into_slice, self._piece.length_ms)
        return max(self._reached_ms, paced)

    def want(self, topics: frozenset[str]) -> None:
        """Nothing to do: the whole market is made anyway."""

    async def run(self, sink: Sink) -> None:
        """Deliver without end. Raises SourceCrashed where a fault asks for it; a further call continues the market."""
        self._state = None
        self._snapshot_due = True
        self._told_day = None
        self._pacer.start()
        try:
            self._put([], self._lived_ms, sink)
            while True:
                await self._live_through_slice()
                self._reached_ms = self._piece.end_ms
                try:
                    self._put(self._rows, self._lived_ms + self._piece.length_ms, sink)
                finally:
                    self._lived_ms += self._piece.length_ms
                    self._enter_next_slice()
        finally:
            self._pacer.stop()

    def _tell_instruments(self, sink: Sink) -> None:
        """The instruments with their limits, and the sector lists that a terminal has, too: anew each market day."""
        if self._piece.day == self._told_day:
            return
        self._told_day = self._piece.day
        instruments = self._market.instruments()
        codes = [instrument.code for instrument in instruments]
        universes = {
            "沪深A股": [code for code in codes if not code.endswith(".BJ")],
            "京市A股": [code for code in codes if code.endswith(".BJ")],
        }
        sink.tell(ReferenceData([_described(instrument) for instrument in instruments], universes))

    def _enter_next_slice(self) -> None:
        self._piece = next(self._slices)
        self._reached_ms = self._piece.start_ms
        self._chunks = self._market.advance(self._piece)
        self._chunks_done = 0
        self._rows: list[Row] = []

    async def _live_through_slice(self) -> None:
        """Make the rows of the present slice at its pace. When cancelled, a further call makes the rest of them."""
        length_ms = self._piece.length_ms
        steps = self._market.chunks + 1
        for chunk in self._chunks:
            self._rows += chunk
            self._chunks_done += 1
            await self._pacer.reach(self._lived_ms + length_ms * self._chunks_done / steps)
        await self._pacer.reach(self._lived_ms + length_ms)

    def _put(self, rows: list[Row], lived_ms: int, sink: Sink) -> None:
        """Deliver what is due at ``lived_ms``, unless a fault has it otherwise."""
        lived_s = lived_ms / 1000
        self._tell_instruments(sink)
        self._faults.crash_if_due(lived_s)
        disconnect = self._faults.active(FaultKind.DISCONNECT, lived_s)
        state = SourceState.AWAY if disconnect else SourceState.CONNECTED
        if state is not self._state:
            self._state = state
            reason = f"simulated disconnect for {disconnect.for_s:g} s" if disconnect else ""
            sink.report(SourceStatus(state, reason))
        if disconnect or self._faults.active(FaultKind.SILENCE, lived_s):
            return
        if self._snapshot_due:
            # Newer than what the slice alone would bring, and complete: a fault may have kept the first one back.
            self._snapshot_due = False
            rows = self._market.snapshot()
        rows = self._faults.spoil(rows, lived_s)
        if rows:
            sink.deliver(Batch("tick", rows, wall.time_ns() // 1000))


def _described(instrument: Instrument) -> Mapping[str, Any]:
    """An instrument as clients are told of it, by the names that those of a terminal have."""
    return {
        "code": instrument.code,
        "name": instrument.name,
        "board": instrument.board.value,
        "kind": "stock",
        "priceTick": instrument.tick_size,
        "lot": instrument.lot,
        "preClose": instrument.last_close,
        "upStopPrice": instrument.limit_up,
        "downStopPrice": instrument.limit_down,
        "listed": None,
        "expires": None,
        "isTrading": True,
    }
