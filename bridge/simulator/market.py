"""The simulated market without any clock of its own: slices of market time go in, rows come out.

The same settings give the very same rows. Rows come in chunks of a few instruments, so that the caller can let the
event loop run between two of them.
"""

from collections.abc import Callable, Iterator
from datetime import date, time
from typing import Final

from bridge.simulator.auction import Auction, match
from bridge.simulator.draws import Draws
from bridge.simulator.factors import Factors
from bridge.simulator.rhythm import business_time
from bridge.simulator.stock import SUSPENDED_STATUS, Stock
from bridge.simulator.timeline import Phase, Slice, slices_before
from bridge.simulator.universe import Instrument, build_universe
from hub.schema import Row

CHUNK: Final = 64
"""Instruments between two chances for the event loop: about a millisecond of work."""

_OPENING_STATUS: Final = 12
_CONTINUOUS_STATUS: Final = 13
_CLOSED_STATUS: Final = 15
_CLOSING_STATUS: Final = 18

_AT_ONCE: Final = frozenset({Phase.PRE_OPEN, Phase.MATCHED, Phase.LUNCH, Phase.CLOSED})
"""Phases in which all that happens happens when they begin."""

# Parts of the market: how many stocks are suspended on a day, and how many run to their limits.
_SUSPENDED: Final = 0.004
_TO_LIMIT_UP: Final = 0.010
_TO_LIMIT_DOWN: Final = 0.004

_Act = Callable[[Stock, Slice, float], Row | None]


class Market:
    """All instruments and what moves them, begun on ``day`` as if it had run since the morning until ``start``."""

    def __init__(self, symbols: int, seed: int, day: date, start: time, interval_ms: int) -> None:
        profiles = build_universe(symbols, seed)
        self._draws = Draws(seed, "market")
        self._factors = Factors(self._draws)
        self._stocks = [Stock(profile, self._draws, day) for profile in profiles]
        self._chunks = [self._stocks[at : at + CHUNK] for at in range(0, symbols, CHUNK)]
        self._suspended: frozenset[Stock] = frozenset()
        self._pushes: dict[Stock, int] = {}
        self._opening = Auction(self._draws, _OPENING_STATUS, 0.008, opening=True)
        self._closing = Auction(self._draws, _CLOSING_STATUS, 0.001, opening=False)
        self._acts: dict[Phase, _Act] = {
            Phase.PRE_OPEN: self._begin,
            Phase.OPENING_AUCTION: self._call,
            Phase.MATCHED: self._match,
            Phase.CONTINUOUS: self._trade,
            Phase.LUNCH: self._pause,
            Phase.CLOSING_AUCTION: self._call_again,
            Phase.CLOSED: self._close,
        }
        for piece in slices_before(day, start, interval_ms):
            for _ in self.advance(piece):
                pass

    def snapshot(self) -> list[Row]:
        """The newest row of every instrument, in order of their codes."""
        return [stock.row for stock in self._stocks]

    def instruments(self) -> list[Instrument]:
        """Every instrument as it stands on the present day."""
        return [stock.instrument() for stock in self._stocks]

    @property
    def chunks(self) -> int:
        """How many chunks a busy slice comes in."""
        return len(self._chunks)

    def advance(self, piece: Slice) -> Iterator[list[Row]]:
        """Let the market live through a slice, and give the rows of what changed, chunk by chunk.

        Slices must be given in order, and each of them read to its end.
        """
        if piece.phase in _AT_ONCE and not piece.first:
            return
        if piece.phase is Phase.PRE_OPEN:
            self._plan_day()
        at = business_time(piece.ms_of_day)
        self._factors.advance(at)
        act = self._acts[piece.phase]
        for chunk in self._chunks:
            yield [row for stock in chunk if (row := act(stock, piece, at)) is not None]

    def _plan_day(self) -> None:
        """Draw what makes the day: the night's news, who is suspended, and who runs to a limit."""
        self._factors.begin_day()
        count = len(self._stocks)
        # A small market of a test or a demo shall have them, too.
        suspended = max(count >= 100, round(_SUSPENDED * count))
        ups = max(count >= 50, round(_TO_LIMIT_UP * count))
        downs = max(count >= 50, round(_TO_LIMIT_DOWN * count))
        special = self._draws.sample(self._stocks, suspended + ups + downs)
        self._suspended = frozenset(special[:suspended])
        self._pushes = dict.fromkeys(special[suspended : suspended + ups], 1)
        self._pushes.update(dict.fromkeys(special[suspended + ups :], -1))

    def _begin(self, stock: Stock, piece: Slice, _at: float) -> None:
        stock.begin_day(piece.day, piece.start_ms, suspended=stock in self._suspended, push=self._pushes.get(stock, 0))

    def _call(self, stock: Stock, piece: Slice, at: float) -> Row | None:
        if stock.suspended:
            return stock.make_row(_second(stock, piece), SUSPENDED_STATUS) if piece.first else None
        if not self._opening.is_due(stock, piece.start_ms, piece.end_ms):
            return None
        return self._opening.book(stock, _second(stock, piece), stock.walk(self._factors, at), piece.progress)

    def _match(self, stock: Stock, piece: Slice, at: float) -> Row | None:
        if stock.suspended:
            return None
        match(stock, stock.walk(self._factors, at))
        return stock.make_row(_second(stock, piece), stock.profile.listing.break_status)

    def _trade(self, stock: Stock, piece: Slice, at: float) -> Row | None:
        if stock.suspended or not stock.trade_on(self._factors, at):
            return None
        return stock.make_row(_second(stock, piece), _CONTINUOUS_STATUS)

    def _pause(self, stock: Stock, piece: Slice, _at: float) -> Row | None:
        status = stock.profile.listing.break_status
        if stock.suspended or status == _CONTINUOUS_STATUS:
            return None
        return stock.make_row(_second(stock, piece), status)

    def _call_again(self, stock: Stock, piece: Slice, at: float) -> Row | None:
        if stock.suspended:
            return None
        if piece.first:
            stock.prepare_closing_auction()
        if not self._closing.is_due(stock, piece.start_ms, piece.end_ms):
            return None
        return self._closing.book(stock, _second(stock, piece), stock.walk(self._factors, at), piece.progress)

    def _close(self, stock: Stock, piece: Slice, at: float) -> Row | None:
        if stock.suspended:
            return None
        match(stock, stock.walk(self._factors, at))
        return stock.make_row(_second(stock, piece), _CLOSED_STATUS)


def _second(stock: Stock, piece: Slice) -> int:
    """The exchange time of a stock's row in a slice: whole seconds, each stock at its own place in the slice."""
    return (piece.start_ms + int(stock.offset * piece.length_ms)) // 1000 * 1000
