"""Whether the markets are alive: the age of the data, held against the trading calendar.

A source can go mute while its connection stays up, and a market can be silent because nothing is due. Sockets tell
neither; this does. It reads no clock: times are arguments, epoch milliseconds on the source's clock.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hub.calendar import Calendar, Phase, shanghai_day

SNAPSHOT_MS: Final = 3000
"""In continuous trading an active instrument has a row about every 3 s, so that the rows of 3 s count instruments."""

AUCTION_STALE_AFTER_MS: Final = 20_000
"""Least threshold in auctions, where the snapshots of an instrument are 9 s apart: two of them, and 2 s to arrive."""

ENOUGH_INSTRUMENTS: Final = 50
"""With fewer instruments than this, silence is not yet a fault after the plain threshold. See `Health`."""

_PROBE_MS: Final = 600_000
"""Sessions of continuous trading last two hours: in one without rows, rows are overdue for most of it."""

_WORDS: Final = {
    Phase.CALL_AUCTION: "the call auction",
    Phase.CONTINUOUS: "continuous trading",
    Phase.CLOSING_AUCTION: "the closing auction",
}


class MarketState(StrEnum):
    """How a market is doing, as ``markets.state`` of the heartbeat has it."""

    LIVE = "live"
    """Rows are due, and the newest is fresh."""
    QUIET = "quiet"
    """Open, but no row is overdue: lunch, the break before 09:30, the moment after an opening, few instruments."""
    STALE = "stale"
    """Open, and rows are overdue: the source may be mute."""
    CLOSED = "closed"
    """Nothing can be due: outside 09:15 to 15:00, or no trading day."""


@dataclass(frozen=True, slots=True)
class MarketHealth:
    """One market at one time. ``age_ms`` is the age of its newest data, None before its first row."""

    phase: Phase
    state: MarketState
    age_ms: int | None


@dataclass(slots=True)
class _Market:
    since_ms: int
    asked: int | None = None
    newest_ms: int | None = None
    seen: int = 0
    slot_start_ms: int = 0
    slot_rows: int = 0

    @property
    def instruments(self) -> int:
        return self.seen if self.asked is None else self.asked

    def count(self, instruments: int, time_ms: int) -> None:
        # Slots are of data time: after a stall the backlog of one instrument must not count as many instruments.
        if not 0 <= time_ms - self.slot_start_ms < SNAPSHOT_MS:
            self.slot_start_ms, self.slot_rows = time_ms, 0
        self.slot_rows += instruments
        self.seen = max(self.seen, self.slot_rows)

    def rewind(self, now_ms: int, slack_ms: int) -> None:
        self.since_ms = min(self.since_ms, now_ms)
        if self.newest_ms is not None and self.newest_ms > now_ms:
            # A corrected clock steps back a little; a day that was started again leaves no data of its own.
            self.newest_ms = now_ms if self.newest_ms - now_ms <= slack_ms else None


class Health:
    """Judges every market that has spoken (`note`) or was asked for (`watch`).

    While rows are due (call auction, continuous trading, closing auction) a market is live as long as its newest row
    is no older than the threshold: ``stale_after_s``, in auctions at least 20 s. Then rows are overdue once silence
    has lasted for the allowance, counted from the newest row, but not from before the session opened or watching
    began. The allowance is the threshold, times 50 / n where the market has n < 50 instruments, since the rows of
    n instruments come n times as rarely. In between it is quiet.

    That rule was held against recordings of 25 stocks of two exchanges. The quietest stock was silent for 493 s in a
    call auction (allowed: 1000 s) and for 75 s in continuous trading (750 s). Random sets of 1 to 20 of them, 60 of
    each size, used up to 53 % of their allowance in call auctions, up to 10 % in continuous trading.
    """

    def __init__(self, calendar: Calendar, stale_after_s: float = 15.0) -> None:
        """Judge by ``calendar``; ``stale_after_s`` is the threshold in continuous trading, on the source's clock."""
        self._calendar = calendar
        self._stale_after_ms = round(stale_after_s * 1000)
        self._markets: dict[str, _Market] = {}
        self._clock_ms = 0

    def watch(self, market: str, instruments: int, now_ms: int) -> None:
        """Say how many instruments of ``market`` the source is asked for from now on; 0 when none.

        Without it a market is watched from its first row on, and taken to have as many instruments as spoke within
        3 s at most. So it must be called where a source is expected to speak but has not, and where it delivers only
        what clients want: nothing is due of a market that nobody wants.
        """
        entry = self._entry(market, now_ms)
        if entry.asked == 0:
            entry.since_ms = now_ms
        entry.asked = instruments

    def note(self, market: str, instruments_in_batch: int, newest_time_ms: int, now_ms: int) -> None:
        """Take notice of one batch of snapshots: how many instruments of ``market`` it has, and its newest ``time``.

        A time ahead of the clock counts as now, so that one wrong row can't make a mute market look alive later on.
        A time of 0 is none.
        """
        entry = self._entry(market, now_ms)
        entry.count(instruments_in_batch, newest_time_ms)
        time_ms = min(newest_time_ms, now_ms)
        if time_ms > (entry.newest_ms or 0):
            entry.newest_ms = time_ms

    def assess(self, now_ms: int) -> dict[str, MarketHealth]:
        """Return the health of every watched market, in the order in which watching began."""
        self._advance(now_ms)
        return {name: self._judge(name, market, now_ms) for name, market in self._markets.items()}

    def was_mute(self, market: str, until_ms: int) -> bool:
        """Whether rows of ``market`` were overdue in continuous trading since its newest one, up to ``until_ms``.

        Unlike stale, that does not end with the session: a market may have fallen silent before lunch. Auctions do not
        count, in which nothing is traded, nor do days before that of ``until_ms``. Asking changes nothing.
        """
        entry = self._markets.get(market)
        if entry is None or entry.newest_ms is None or entry.instruments == 0:
            return False
        newest_ms = entry.newest_ms
        first_ms = newest_ms + self._stale_after_ms * ENOUGH_INSTRUMENTS // min(entry.instruments, ENOUGH_INSTRUMENTS)
        if first_ms >= until_ms or shanghai_day(newest_ms) != shanghai_day(until_ms):
            return False
        for time_ms in (*range(first_ms + 1, until_ms, _PROBE_MS), until_ms):
            health = self._judge(market, entry, time_ms)
            if health.state is MarketState.STALE and health.phase is Phase.CONTINUOUS:
                return True
        return False

    def reasons_not_ready(self, now_ms: int) -> list[str]:
        """Return why fresh data can't be served, one sentence for each stale market; empty when it can."""
        reasons = []
        for name, health in self.assess(now_ms).items():
            if health.state is not MarketState.STALE:
                continue
            newest = "no row has come yet" if health.age_ms is None else f"newest row is {_span(health.age_ms)} old"
            reason = f"{name} is stale: {newest} in {_WORDS[health.phase]}"
            if self._calendar.is_guess(shanghai_day(now_ms)):
                reason += f" (the calendar ends on {self._calendar.known_until}: today may be a holiday)"
            reasons.append(reason)
        return reasons

    def _judge(self, name: str, market: _Market, now_ms: int) -> MarketHealth:
        phase = self._calendar.phase(name, now_ms)
        age_ms = None if market.newest_ms is None else now_ms - market.newest_ms
        session_start_ms = self._calendar.session_start_ms(name, now_ms)
        if session_start_ms is None:
            state = MarketState.QUIET if phase in (Phase.BREAK, Phase.LUNCH) else MarketState.CLOSED
            return MarketHealth(phase, state, age_ms)
        threshold_ms = self._stale_after_ms
        if phase is not Phase.CONTINUOUS:
            threshold_ms = max(threshold_ms, AUCTION_STALE_AFTER_MS)
        if age_ms is not None and age_ms <= threshold_ms:
            return MarketHealth(phase, MarketState.LIVE, age_ms)
        silence_ms = now_ms - max(market.newest_ms or 0, market.since_ms, session_start_ms)
        # Multiplied out, so that a market with no instruments is never overdue.
        overdue = silence_ms * min(market.instruments, ENOUGH_INSTRUMENTS) > threshold_ms * ENOUGH_INSTRUMENTS
        return MarketHealth(phase, MarketState.STALE if overdue else MarketState.QUIET, age_ms)

    def _entry(self, name: str, now_ms: int) -> _Market:
        self._advance(now_ms)
        entry = self._markets.get(name)
        if entry is None:
            entry = self._markets[name] = _Market(now_ms)
        return entry

    def _advance(self, now_ms: int) -> None:
        if now_ms < self._clock_ms:
            for market in self._markets.values():
                market.rewind(now_ms, self._stale_after_ms)
        self._clock_ms = now_ms


def _span(duration_ms: int) -> str:
    seconds = duration_ms // 1000
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
