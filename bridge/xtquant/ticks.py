"""Ticks as xtdata gives them become rows of the contract; nothing else is looked at or changed.

A whole market is 8,000 of them in one callback, so this is written for speed: one look-up for all fields of a tick,
and one for each price.
"""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Final

from bridge.xtquant.prices import Price, real, whole
from bridge.xtquant.units import VolumeUnit
from hub.schema import Row

_REQUIRED: Final = (
    *("time", "lastPrice", "open", "high", "low", "lastClose", "amount", "volume"),
    *("askPrice", "bidPrice", "askVol", "bidVol"),
)
_OPTIONAL: Final = ("pvolume", "stockStatus", "openInt", "lastSettlementPrice", "transactionNum")
_all: Final = itemgetter(*_REQUIRED, *_OPTIONAL)
_required: Final = itemgetter(*_REQUIRED)


def tick_row(code: str, tick: Mapping[str, Any], price: Price, unit: VolumeUnit) -> Row:
    """A row of ``tick`` or ``l2quote`` (``source_names``). Raises KeyError, TypeError or ValueError for what is none.

    Volumes are passed on as they are, in hands; where the terminal gives shares, see `VolumeUnit`, they are
    converted. A ``pvolume`` of 0 beside a volume above 0 is one that the terminal does not have: null.
    """
    try:
        given = _all(tick)
    except KeyError:
        given = (*_required(tick), *(tick.get(name) for name in _OPTIONAL))
    time, last, opened, high, low, close, amount, volume, *rest = given
    ask, bid, ask_vol, bid_vol, pvolume, stock_status, status, settlement, trades = rest
    hands = whole(volume)
    shares = None if pvolume is None else whole(pvolume)
    if unit is VolumeUnit.SHARES:
        shares = hands if shares in (None, 0) else shares
        hands = None if hands is None else (hands + 50) // 100
    elif shares == 0 and hands:
        shares = None
    return (
        code,
        int(time),
        price(last),
        price(opened),
        price(high),
        price(low),
        price(close),
        real(amount),
        hands,
        shares,
        None if stock_status is None else whole(stock_status),
        None if status is None else whole(status),
        None if settlement is None else price(settlement),
        None if trades is None else whole(trades),
        list(map(price, ask)),
        list(map(price, bid)),
        list(map(whole, ask_vol)),
        list(map(whole, bid_vol)),
    )
