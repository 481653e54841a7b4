"""One instrument on one day: its price, what was traded, its book, and the row that says so.

Prices are whole fen and money is counted in fen, so that rows are on the tick grid and sums are exact. A stock only
works when it has something to say: everything since its last change is then drawn in one step.
"""

from collections.abc import Callable
from datetime import date
from math import exp, log, sqrt
from typing import Final

from bridge.simulator.boards import TICK_SIZE, Board, price_limits
from bridge.simulator.draws import Draws
from bridge.simulator.factors import Factors
from bridge.simulator.ladder import Ladder
from bridge.simulator.universe import Instrument, Profile
from hub.schema import Row

PRE_OPEN_STATUS: Final = 11
SUSPENDED_STATUS: Final = 1

_SLICES_A_DAY: Final = 4740
"""Exchange snapshots of three seconds between 09:30 and 14:57."""
_TURNOVER_OF_ONE_CHANGE_A_SLICE: Final = 20e6
"""Yuan a day at which a stock changes about once per snapshot, as seen in real days."""
_TRADE_YUAN: Final = 12_000
"""Usual size of one trade."""
_ANCHOR_PULL: Final = 0.02
"""Part of the way back to its first close that a stock goes overnight, so that months of running stay plausible."""


class Stock:
    """The state of one instrument. ``row`` is its newest row, in the columns of the ``tick`` channel."""

    __slots__ = (
        "_anchor",
        "_base",
        "_beta",
        "_board",
        "_clock",
        "_day_shares",
        "_draws",
        "_due",
        "_exponential",
        "_fen",
        "_gamma",
        "_high",
        "_low",
        "_normal",
        "_open",
        "_own",
        "_push",
        "_push_end",
        "_sector",
        "_shares",
        "_sigma",
        "_spread",
        "_traded_at",
        "_trades",
        "_uniform",
        "asks",
        "auction_due_ms",
        "auction_hands",
        "auction_idle",
        "bids",
        "close",
        "last",
        "limit_down",
        "limit_up",
        "offset",
        "profile",
        "rate",
        "row",
        "seal_hands",
        "suspended",
    )

    def __init__(self, profile: Profile, draws: Draws, day: date) -> None:
        self.profile = profile
        self._draws = draws
        # Bound once: they are called several times for every row.
        self._uniform: Callable[[], float] = draws.uniform
        self._normal: Callable[[], float] = draws.normal
        self._exponential: Callable[[], float] = draws.exponential
        self._board = profile.listing.board
        self._sector = profile.sector
        self._anchor = log(profile.close_fen)
        self._beta = 0.6 + 0.8 * draws.uniform()
        self._gamma = 0.5 + 1.0 * draws.uniform()
        self._sigma = (0.018 if self._board is Board.MAIN else 0.025) * (0.7 + 0.6 * draws.uniform())
        self.offset = draws.uniform()
        """Where in a slice its snapshot falls, 0 to 1."""
        self.asks = Ladder(1, draws)
        self.bids = Ladder(-1, draws)
        self.close = profile.close_fen
        """Previous close."""
        self.last = 0
        """Newest price; 0 before the first trade of the day."""
        self.begin_day(day, 0)

    def begin_day(self, day: date, time_ms: int, *, suspended: bool = False, push: int = 0) -> None:
        """Roll over to ``day``: the last price becomes the previous close, and what accumulates starts from 0.

        ``push`` 1 or -1 makes it a day on which the stock runs towards its upper or lower limit.
        """
        profile, draws = self.profile, self._draws
        self.close = close = self.last or self.close
        percent = profile.listing.limit_percent_on(day, st=profile.st)
        self.limit_down, self.limit_up = price_limits(close, percent)
        self._open = self._high = self._low = self.last = 0
        self._shares = self._fen = self._trades = 0
        self._clock = self._traded_at = self._own = 0.0
        self.suspended = suspended
        self._base = log(close) + _ANCHOR_PULL * (self._anchor - log(close)) + 0.4 * self._sigma * draws.normal()
        self._push = self._push_end = 0.0
        turnover = profile.turnover_yuan * exp(0.35 * draws.normal())
        if push:
            limit = self.limit_up if push > 0 else self.limit_down
            # Beyond the limit, so that the other walks do not open it again at once.
            self._push = log(limit / close) + push * (0.03 + 0.03 * draws.uniform())
            self._push_end = max(0.0, 0.7 * draws.uniform() - 0.1)
            turnover *= 2.5
        self.rate = _SLICES_A_DAY * min(50.0, (turnover / _TURNOVER_OF_ONE_CHANGE_A_SLICE) ** 0.9)
        """Changes to be expected in a day."""
        self._due = self._exponential() / self.rate
        self._day_shares = turnover * 100 / close
        self._size_books(draws)
        self.auction_hands = int(self._day_shares / 100 * 0.008 * draws.burst())
        self.auction_due_ms = 0
        self.auction_idle = min(20.0, _SLICES_A_DAY / self.rate)
        """Auction snapshots without a change, on average, between two with one."""
        self.row = self.make_row(time_ms, SUSPENDED_STATUS if suspended else PRE_OPEN_STATUS)

    def _size_books(self, draws: Draws) -> None:
        """Depth and spread as seen in real books: low prices have thick levels, high or idle ones wide gaps."""
        ticks_of_a_day = max(3.0, 0.03 * self.close)
        depth = (self._day_shares / 100 / ticks_of_a_day) ** 0.6
        self._spread = 0.00018 * self.close * (1 + 3 / (1 + self.rate / _SLICES_A_DAY))
        for ladder in (self.asks, self.bids):
            ladder.clear()
            ladder.depth = depth
            ladder.gap = 0.7 * self._spread
        self.seal_hands = 100 + int(self._day_shares / 100 * (0.03 + 0.4 * draws.uniform() ** 2))
        """What queues at a price limit."""

    def walk(self, factors: Factors, at: float) -> float:
        """Walk on to business time ``at``, and give the price in fen that buyers and sellers would agree on."""
        elapsed = at - self._clock
        if elapsed > 0:
            self._own += self._sigma * sqrt(elapsed) * self._normal()
            self._clock = at
        pushed = self._push if at >= self._push_end else self._push * at / self._push_end
        common = self._beta * factors.boards[self._board] + self._gamma * factors.sectors[self._sector]
        return exp(self._base + self._own + pushed + common)

    def within_limits(self, fair: float) -> int:
        """The price on the tick grid nearest to ``fair`` that the limits allow."""
        return max(self.limit_down, min(int(fair + 0.5), self.limit_up))

    def trade_on(self, factors: Factors, at: float) -> bool:
        """Continuous trading up to business time ``at``. False if nothing changed."""
        if at < self._due:
            return False
        self._due = at + self._exponential() / self.rate
        self.quote(self.walk(factors, at))
        since = at - self._traded_at
        eagerness = 0.6 * self.rate * since
        # A limit is only reached by trading at it.
        reached = not (self.asks.prices and self.bids.prices) and self.last != self._touch()
        if reached or self._uniform() < eagerness / (1 + eagerness):
            self._traded_at = at
            shares = self._round_to_lots(self._day_shares * since * self._draws.burst())
            price = self._touch()
            first = shares // 200 * 100
            if first and self._uniform() < 0.5:
                self.trade(first, self._touch())
                shares -= first
            self.trade(shares, price)
        return True

    def _touch(self) -> int:
        """The price that the next order to arrive trades at: the best ask or the best bid."""
        asks, bids = self.asks.prices, self.bids.prices
        if asks and bids:
            return asks[0] if self._uniform() < 0.5 else bids[0]
        return (asks or bids)[0]

    def _round_to_lots(self, shares: float) -> int:
        listing = self.profile.listing
        if listing.lot_step == 1:
            return max(listing.lot, int(shares))
        whole = max(1, int(shares / 100 + 0.5)) * 100
        if self._uniform() < 0.02:
            # Odd lots come from dividends in shares, and may be sold.
            whole += 1 + int(99 * self._uniform())
        return whole

    def trade(self, shares: int, price: int) -> None:
        """Book ``shares`` traded at ``price``, in one trade or more."""
        if (self._shares + shares) % 100 == 50:
            # Half a hand is rounded up by some and to even by others; leave no row that depends on it.
            shares += 1
        self._shares += shares
        self._fen += shares * price
        trades = int(shares * price / 100 / _TRADE_YUAN * (0.5 + self._uniform()))
        self._trades += max(1, min(trades, shares // 100))
        if not self._open:
            self._open = self._high = self._low = price
        elif price > self._high:
            self._high = price
        elif price < self._low:
            self._low = price
        self.last = price

    def trade_auction(self, price: int) -> None:
        """Match what the auction has gathered, all at one price."""
        if self.auction_hands:
            shares = max(self.auction_hands * 100, self.profile.listing.lot)
            self.trade(shares, price)

    def prepare_closing_auction(self) -> None:
        """Draw how much the closing auction is going to match."""
        self.auction_hands = int(self._day_shares / 100 * 0.01 * self._draws.burst())
        self.auction_due_ms = 0

    def quote(self, fair: float) -> None:
        """Settle the book around the price ``fair`` in fen; at a limit one side is empty and the other queues."""
        asks, bids, down, up = self.asks, self.bids, self.limit_down, self.limit_up
        if fair >= up:
            asks.clear()
            bids.settle(up, down)
            bids.queue_up(int(self.seal_hands * (0.9 + 0.2 * self._uniform())))
            return
        if fair <= down:
            bids.clear()
            asks.settle(down, up)
            asks.queue_up(int(self.seal_hands * (0.9 + 0.2 * self._uniform())))
            return
        bid = int(fair)
        wide = int(self._spread * self._exponential())
        ask = min(up, bid + 1 + wide - wide // 2)
        bid = max(down, bid - wide // 2)
        if asks.prices and bids.prices and bids.prices[0] <= fair < asks.prices[0] and self._uniform() < 0.6:
            # The book still stands around the price: often only volumes change.
            ask, bid = asks.prices[0], bids.prices[0]
        asks.settle(ask, up)
        bids.settle(bid, down)

    def make_row(self, time_ms: int, status: int) -> Row:
        """The row of the present state with its standing book; kept as ``row``."""
        ask_prices, ask_volumes = self.asks.levels()
        bid_prices, bid_volumes = self.bids.levels()
        return self.make_row_with(time_ms, status, self.last, ask_prices, bid_prices, ask_volumes, bid_volumes)

    def make_row_with(
        self,
        time_ms: int,
        status: int,
        last: int,
        ask_prices: list[float],
        bid_prices: list[float],
        ask_volumes: list[int],
        bid_volumes: list[int],
    ) -> Row:
        """The row of the present state with another newest price (fen) and book; kept as ``row``."""
        close = self.close / 100
        self.row = row = (
            self.profile.code,
            time_ms,
            last / 100,
            self._open / 100,
            self._high / 100,
            self._low / 100,
            close,
            self._fen / 100,
            (self._shares + 50) // 100,
            self._shares,
            None,
            status,
            close,
            self._trades,
            ask_prices,
            bid_prices,
            ask_volumes,
            bid_volumes,
        )
        return row

    def instrument(self) -> Instrument:
        """What is known of it before the present day begins."""
        profile = self.profile
        return Instrument(
            code=profile.code,
            name=profile.name,
            board=self._board,
            last_close=self.close / 100,
            limit_up=self.limit_up / 100,
            limit_down=self.limit_down / 100,
            tick_size=TICK_SIZE,
            lot=profile.listing.lot,
        )
