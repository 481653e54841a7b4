"""Ticks as xtdata gives them become rows of the contract; nothing else is looked at or changed.

A whole market is 8,000 of them in one callback, so this is written for speed: all fields of a tick are taken at once,
each price is one look-up, and a function is called for a number only where it may be none.
"""

from collections.abc import Mapping, Sequence
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
FIELDS: Final = (*_REQUIRED, *_OPTIONAL)
"""What is taken of a tick, in the order in which `tick_row` takes it."""

_LIMIT: Final = 2**31 - 1
"""Whole numbers from 0 up to it are plain ones; only beyond may they be unset."""

_all: Final = itemgetter(*FIELDS)
_required: Final = itemgetter(*_REQUIRED)


def fields_of(tick: Mapping[str, Any]) -> tuple[Any, ...]:
    """The fields of a decoded tick; None for an optional one that it lacks. Raises KeyError where a required one is."""
    try:
        fields: tuple[Any, ...] = _all(tick)
    except KeyError:
        fields = (*_required(tick), *(tick.get(name) for name in _OPTIONAL))
    return fields


def tick_row(code: str, fields: Sequence[Any], price: Price, unit: VolumeUnit) -> Row:
    """A row of ``tick`` or ``l2quote`` (``source_names``). Raises TypeError or ValueError for what is none.

    Volumes are passed on as they are, in hands; where the terminal gives shares, see `VolumeUnit`, they are
    converted. A ``pvolume`` of 0 beside a volume above 0 is one that the terminal does not have: null. Books that
    come as tuples come from a layout, whose numbers are plain ones.
    """
    (
        time, last, opened, high, low, close, amount, volume, ask, bid, ask_vol, bid_vol,
        pvolume, stock_status, status, settlement, trades,
    ) = fields  # fmt: skip
    hands = volume if type(volume) is int and 0 <= volume < _LIMIT else whole(volume)
    shares = pvolume if type(pvolume) is int and 0 < pvolume < _LIMIT else _optional(pvolume)
    if unit is VolumeUnit.SHARES:
        shares = hands if shares in (None, 0) else shares
        hands = None if hands is None else (hands + 50) // 100
    elif not shares and hands and shares == 0:
        shares = None
    return (
        code,
        time if type(time) is int else int(time),
        price(last),
        price(opened),
        price(high),
        price(low),
        price(close),
        amount if type(amount) is float and 0.01 <= amount < 1e15 else real(amount),
        hands,
        shares,
        stock_status if type(stock_status) is int and 0 <= stock_status < _LIMIT else _optional(stock_status),
        status if type(status) is int and 0 <= status < _LIMIT else _optional(status),
        None if settlement is None else price(settlement),
        trades if type(trades) is int and 0 <= trades < _LIMIT else _optional(trades),
        list(map(price, ask)),
        list(map(price, bid)),
        list(ask_vol) if type(ask_vol) is tuple and ask_vol and max(ask_vol) < _LIMIT else list(map(whole, ask_vol)),
        list(bid_vol) if type(bid_vol) is tuple and bid_vol and max(bid_vol) < _LIMIT else list(map(whole, bid_vol)),
    )


def _optional(given: Any) -> int | None:
    return None if given is None else whole(given)
