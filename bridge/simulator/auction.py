"""The call auctions of the opening and of the close: what an indicative book shows, and the match at its end.

Before the match ask1 and bid1 both show the indicative price and the volume that would be matched at it; the second
level has price 0 and the volume left over on one side. Real auction rows of both exchanges look like this.
"""

from math import exp
from typing import Final

from bridge.simulator.draws import Draws
from bridge.simulator.ladder import LEVELS
from bridge.simulator.stock import Stock
from hub.schema import Row

CADENCE_MS: Final = 9000
"""An auction book is sent every nine seconds."""

_EMPTY: Final = (0,) * (LEVELS - 2)


class Auction:
    """One kind of call auction. ``wobble``: standard deviation of the indicative price's log when it begins."""

    def __init__(self, draws: Draws, status: int, wobble: float, *, opening: bool) -> None:
        self._draws = draws
        self._status = status
        self._wobble = wobble
        self._opening = opening

    def is_due(self, stock: Stock, start_ms: int, end_ms: int) -> bool:
        """True if the stock's indicative book is sent again in this slice, and then plans the one after."""
        if stock.auction_due_ms >= end_ms:
            return False
        if stock.auction_due_ms < start_ms - CADENCE_MS:
            # The first book of the phase, or after a long slice: spread the following ones over the cadence.
            stock.auction_due_ms = start_ms + int(CADENCE_MS * self._draws.uniform())
        else:
            idle = int(stock.auction_idle * self._draws.exponential())
            stock.auction_due_ms = start_ms + CADENCE_MS * (1 + idle)
        return True

    def book(self, stock: Stock, time_ms: int, fair: float, progress: float) -> Row:
        """The indicative row when ``progress`` (0 to 1) of the auction is over and ``fair`` is the price in fen."""
        matched = int(stock.auction_hands * progress)
        price = 0
        over_bid = over_ask = 0
        if matched:
            price = stock.within_limits(fair * exp(self._wobble * (1 - progress) * self._draws.normal()))
            over = int(3 * stock.bids.depth * self._draws.burst())
            if price == stock.limit_up:
                over_bid = over + int(stock.seal_hands * progress)
            elif price == stock.limit_down:
                over_ask = over + int(stock.seal_hands * progress)
            elif self._draws.uniform() < 0.5:
                over_bid = over
            else:
                over_ask = over
        return stock.make_row_with(
            time_ms,
            self._status,
            price if self._opening else stock.last,
            [price / 100, 0.0, 0.0, 0.0, 0.0],
            [price / 100, 0.0, 0.0, 0.0, 0.0],
            [matched, over_ask, *_EMPTY],
            [matched, over_bid, *_EMPTY],
        )


def match(stock: Stock, fair: float) -> None:
    """End an auction: all that was gathered is traded at one price, and the book stands open around it."""
    stock.trade_auction(stock.within_limits(fair))
    stock.quote(fair)
