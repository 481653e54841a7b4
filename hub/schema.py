"""The channels, and the fields of their rows in wire order, with units.

Names, units and meaning are xtquant's own (``xtdata`` callbacks of the same period), so that a strategy
written for xtdata reads the same values. A schema may gain fields at its end, never lose or reorder any.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

Row = tuple[Any, ...]
"""The values of one row, in the order of its channel's fields."""

ASSIGNED_BY_HUB: Final = ("seq", "recv")
"""Fields that a source doesn't give: the hub numbers the row, and the batch says when it was received."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column: its name on the wire, its unit (empty where it has none) and what it means."""

    name: str
    unit: str
    meaning: str


@dataclass(frozen=True)
class Channel:
    """A kind of row. ``fields`` are in wire order."""

    name: str
    fields: tuple[Field, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Field names in wire order, as ``welcome.schemas`` announces them."""
        return tuple(field.name for field in self.fields)

    @cached_property
    def source_names(self) -> tuple[str, ...]:
        """The columns that a source gives, in order: ``code``, ``time``, then the values."""
        return tuple(name for name in self.names if name not in ASSIGNED_BY_HUB)


_KEY: Final = (
    Field("code", "", "instrument with its exchange, such as 600000.SH"),
    Field("seq", "", "number of the row within its topic, contiguous from 1"),
    Field("time", "epoch ms UTC", "exchange time"),
    Field("recv", "epoch µs UTC", "when the row was received from its source"),
)

_TICK: Final = (
    *_KEY,
    Field(
        "lastPrice",
        "yuan",
        "newest price; in a call auction the indicative price where the source gives it, else 0 before the first trade",
    ),
    Field("open", "yuan", "first price of the day; 0 before the 09:25 match"),
    Field("high", "yuan", "highest price of the day"),
    Field("low", "yuan", "lowest price of the day"),
    Field("lastClose", "yuan", "previous close"),
    Field("amount", "yuan", "turnover of the day so far"),
    Field("volume", "hands", "volume of the day so far, in hands of 100 shares"),
    Field("pvolume", "shares", "volume of the day so far"),
    Field("stockStatus", "", "obsolete status of xtquant; null where the source has none"),
    Field("openInt", "", "trading status: 12 call auction, 13 continuous, 14 break, 18 closing auction, 15 closed"),
    Field("lastSettlementPrice", "yuan", "previous settlement; null where the source has none"),
    Field("transactionNum", "", "number of trades of the day so far; 0 where the source has none"),
    Field("askPrice", "yuan", "ask prices, best first; 0 for an empty level"),
    Field("bidPrice", "yuan", "bid prices, best first; 0 for an empty level"),
    Field("askVol", "hands", "ask volumes, level by level"),
    Field("bidVol", "hands", "bid volumes, level by level"),
)

_BAR: Final = (
    *_KEY,
    Field("open", "yuan", "first price of the bar"),
    Field("high", "yuan", "highest price of the bar"),
    Field("low", "yuan", "lowest price of the bar"),
    Field("close", "yuan", "newest price of the bar"),
    Field("volume", "hands", "volume of the bar"),
    Field("amount", "yuan", "turnover of the bar"),
    Field("source", "", "what a backfilled bar was filled from; null for a bar of the hub's own source"),
)

_STATUS: Final = (
    *_KEY,
    Field("state", "", "of a market: live, quiet, stale, closed; of a source: connected, degraded, away"),
    Field("phase", "", "trading phase of the market; null for a source"),
    Field("age_ms", "ms", "age of the newest data on the source's clock; null before the first row"),
    Field("detail", "", "the reason in words; null where there is nothing to say"),
)

_L2QUOTEAUX: Final = (
    *_KEY,
    Field("avgBidPrice", "yuan", "average price of all bids"),
    Field("totalBidQuantity", "hands", "volume of all bids"),
    Field("avgOffPrice", "yuan", "average price of all offers"),
    Field("totalOffQuantity", "hands", "volume of all offers"),
    Field("withdrawBidQuantity", "hands", "volume of withdrawn bids"),
    Field("withdrawBidAmount", "yuan", "amount of withdrawn bids"),
    Field("withdrawOffQuantity", "hands", "volume of withdrawn offers"),
    Field("withdrawOffAmount", "yuan", "amount of withdrawn offers"),
)

_L2ORDER: Final = (
    *_KEY,
    Field("price", "yuan", "price of the order"),
    Field("volume", "", "volume of the order; xtquant does not document its unit"),
    Field("entrustNo", "", "number of the order"),
    Field("entrustType", "", "type of the order"),
    Field("entrustDirection", "", "1 buy, 2 sell, 3 cancel of a buy, 4 cancel of a sell (SSE)"),
)

_L2TRANSACTION: Final = (
    *_KEY,
    Field("price", "yuan", "price of the trade"),
    Field("volume", "", "volume of the trade; xtquant does not document its unit"),
    Field("amount", "yuan", "amount of the trade"),
    Field("tradeIndex", "", "number of the trade"),
    Field("buyNo", "", "number of the buy order"),
    Field("sellNo", "", "number of the sell order"),
    Field("tradeType", "", "type of the trade"),
    Field("tradeFlag", "", "0 unknown, 1 outer, 2 inner, 3 cancel (SZSE)"),
)

_L2ORDERQUEUE: Final = (
    *_KEY,
    Field("bidLevelPrice", "yuan", "best bid"),
    Field("bidLevelVolume", "hands", "volumes of the orders queued at the best bid"),
    Field("offerLevelPrice", "yuan", "best offer"),
    Field("offerLevelVolume", "hands", "volumes of the orders queued at the best offer"),
    Field("bidLevelNumber", "", "number of orders queued at the best bid"),
    Field("offLevelNumber", "", "number of orders queued at the best offer"),
)

STATUS: Final = "status"
"""The channel that the hub itself speaks on: the health of markets and sources."""

CHANNELS: Final[Mapping[str, Channel]] = MappingProxyType(
    {
        name: Channel(name, fields)
        for name, fields in (
            ("tick", _TICK),
            *((period, _BAR) for period in ("1m", "5m", "15m", "30m", "1h", "1d")),
            ("l2quote", _TICK),
            ("l2quoteaux", _L2QUOTEAUX),
            ("l2order", _L2ORDER),
            ("l2transaction", _L2TRANSACTION),
            ("l2orderqueue", _L2ORDERQUEUE),
            (STATUS, _STATUS),
        )
    }
)
"""Every channel of the contract by name; which of them have rows depends on the source."""
