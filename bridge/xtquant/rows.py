"""Bars and level 2 as xtdata gives them become rows of the contract."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from bridge.xtquant.prices import Price, Rounder, real, whole
from hub.schema import CHANNELS, Row

BARS: Final = frozenset({"1m", "5m", "15m", "30m", "1h", "1d"})
"""Channels whose newest row is repeated while its bar forms."""

EVENTS: Final = frozenset({"l2order", "l2transaction"})
"""Channels whose rows each tell of something that happened: two equal ones are two."""

_average: Final = Rounder(4).__getitem__
"""Averages are no multiple of a tick."""

_PRICES: Final = frozenset({"open", "high", "low", "close", "price"})
_AVERAGES: Final = frozenset({"avgBidPrice", "avgOffPrice"})
_AMOUNTS: Final = frozenset({"amount", "withdrawBidAmount", "withdrawOffAmount"})
_LEVEL_PRICES: Final = frozenset({"bidLevelPrice", "offerLevelPrice"})
_NOT_GIVEN: Final = frozenset({"source"})

_Value = Callable[[Any, Price], Any]
_Reader = tuple[str, _Value]


def _reader(name: str) -> _Value:
    if name in _PRICES or name in _LEVEL_PRICES:
        return lambda given, price: _each(price, given)
    if name in _AVERAGES:
        return lambda given, price: _average(given)
    if name in _AMOUNTS:
        return lambda given, price: real(given)
    return lambda given, price: _each(whole, given)


def _each(read: Callable[[Any], Any], given: Any) -> Any:
    """One value, or a list of them: queues and levels come as either."""
    return list(map(read, given)) if isinstance(given, list | tuple) else read(given)


_READERS: Final[Mapping[str, tuple[_Reader, ...]]] = MappingProxyType(
    {
        name: tuple((field, _reader(field)) for field in channel.source_names[2:] if field not in _NOT_GIVEN)
        for name, channel in CHANNELS.items()
        if name not in ("tick", "l2quote", "status")
    }
)


def row_of(channel: str, code: str, given: Mapping[str, Any], price: Price) -> Row:
    """A row of a bar or of level 2 (``source_names``). What the terminal does not give is null.

    Of a bar only price, volume and amount are taken: in pushed ones ``preClose`` and ``suspendFlag`` were seen to hold
    uninitialised memory. Raises KeyError, TypeError or ValueError for what is no row.
    """
    values = [None if (value := given.get(name)) is None else read(value, price) for name, read in _READERS[channel]]
    if channel in BARS:
        if None in values:
            raise ValueError("a bar without price, volume or amount")
        values.append(None)  # source: it is the hub's own
    return (code, int(given["time"]), *values)
