"""Rows as light, read-only tuples with the field names that the hub announced.

A class is made per channel, schema and origin when the ``welcome`` arrives; a row is then one tuple of its
values. ``Tick``, ``Bar`` and ``Status`` document the fields of the common channels, for people and type checkers.
"""
# The field names are xtquant's own, which the contract keeps unchanged:
# ruff: noqa: N815

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from operator import itemgetter
from types import MappingProxyType
from typing import Any, ClassVar, Final, Literal, cast

from argus_client.errors import ProtocolError

Origin = Literal["live", "snapshot", "replay", "backfill"]
"""Where a row comes from: just now, the newest row of a topic, history, or filled in from another source."""

ORIGINS: Final[tuple[Origin, ...]] = ("live", "snapshot", "replay", "backfill")
"""In msgpack the origin is the place in this list."""


class Row(tuple[Any, ...]):
    """One row of any channel: a tuple of its values, with the announced field names as attributes.

    ``fields`` are those names in order, ``origin`` tells where the row comes from.
    """

    __slots__ = ()

    channel: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]
    origin: ClassVar[Origin]

    code: str
    """Instrument with its exchange, such as 600000.SH."""
    seq: int
    """Number of the row within its topic, contiguous from 1."""
    time: int
    """Exchange time, epoch milliseconds UTC."""
    recv: int
    """When the row was received from its source, epoch microseconds UTC."""

    @property
    def topic(self) -> str:
        """The row's topic, such as ``tick:600000.SH``."""
        return f"{self.channel}:{self.code}"

    def as_dict(self) -> dict[str, Any]:
        """Return the announced fields and their values, in the order of the schema."""
        return dict(zip(self.fields, self, strict=True))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={value!r}" for name, value in self.as_dict().items())
        return f"{type(self).__name__}({values}, origin={self.origin!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self.channel, self.fields, self.origin, tuple(self))


class Tick(Row):
    """A snapshot of one instrument (channels ``tick`` and ``l2quote``), in xtquant's names and units.

    What a source does not give is None. Source: ``subscribe_whole_quote`` of xtquant's xtdata.
    """

    __slots__ = ()

    lastPrice: float
    """Newest price in yuan; 0 before the first trade of the day."""
    open: float
    """First price of the day in yuan; 0 before the 09:25 match."""
    high: float
    """Highest price of the day in yuan."""
    low: float
    """Lowest price of the day in yuan."""
    lastClose: float
    """Previous close in yuan."""
    amount: float
    """Turnover of the day so far in yuan."""
    volume: int
    """Volume of the day so far in hands of 100 shares."""
    pvolume: int
    """Volume of the day so far in shares."""
    stockStatus: int | None
    """Obsolete status of xtquant."""
    openInt: int
    """Trading status: 12 call auction, 13 continuous, 14 break, 18 closing auction, 15 closed."""
    lastSettlementPrice: float | None
    """Previous settlement in yuan."""
    transactionNum: int
    """Number of trades of the day so far; 0 where the source has none."""
    askPrice: list[float]
    """Ask prices in yuan, best first; 0 for an empty level."""
    bidPrice: list[float]
    """Bid prices in yuan, best first; 0 for an empty level."""
    askVol: list[int]
    """Ask volumes in hands, level by level."""
    bidVol: list[int]
    """Bid volumes in hands, level by level."""


class Bar(Row):
    """A bar (channels ``1m`` to ``1d``); ``time`` is its right edge."""

    __slots__ = ()

    open: float
    """First price of the bar in yuan."""
    high: float
    """Highest price of the bar in yuan."""
    low: float
    """Lowest price of the bar in yuan."""
    close: float
    """Newest price of the bar in yuan."""
    volume: int
    """Volume of the bar in hands."""
    amount: float
    """Turnover of the bar in yuan."""
    source: str | None
    """What a backfilled bar was filled from; None for a bar of the hub's own source."""


class Status(Row):
    """The health of a market (code ``SH``) or of a source (code ``source.xtquant``)."""

    __slots__ = ()

    state: str
    """Of a market: live, quiet, stale, closed; of a source: connected, degraded, away."""
    phase: str | None
    """Trading phase of the market; None for a source."""
    age_ms: int | None
    """Age of the newest data in milliseconds on the source's clock; None before the first row."""
    detail: str | None
    """The reason in words; None where there is nothing to say."""


DOCUMENTED: Final[Mapping[str, type[Row]]] = MappingProxyType(
    {
        "tick": Tick,
        "l2quote": Tick,
        **dict.fromkeys(("1m", "5m", "15m", "30m", "1h", "1d"), Bar),
        "status": Status,
    }
)
"""The documented class of a channel's rows; rows of other channels are plain `Row`."""

_KEY: Final = frozenset({"code", "seq"})
_OWN_NAMES: Final = frozenset({"channel", "fields", "origin", "topic", "as_dict"})


def row_type(channel: str) -> type[Row]:
    """Return the documented class that the rows of a channel have."""
    return DOCUMENTED.get(channel, Row)


@cache
def _class_for(channel: str, fields: tuple[str, ...], origin: Origin) -> type[Row]:
    base = row_type(channel)
    members: dict[str, object] = {"__slots__": (), "channel": channel, "fields": fields, "origin": origin}
    for place, name in enumerate(fields):
        # A name that the class itself uses stays reachable by `as_dict`.
        if name.isidentifier() and not name.startswith("_") and name not in _OWN_NAMES:
            members[name] = property(itemgetter(place))
    return cast("type[Row]", type(base.__name__, (base,), members))


def _restore(channel: str, fields: tuple[str, ...], origin: Origin, values: tuple[Any, ...]) -> Row:
    return tuple.__new__(_class_for(channel, fields, origin), values)


class Schemas:
    """The fields of every channel, as one ``welcome`` announced them."""

    def __init__(self, announced: Mapping[str, Sequence[str]]) -> None:
        """Raises ProtocolError for a channel without ``code`` or ``seq``, or with a field named twice."""
        self._fields = {channel: tuple(fields) for channel, fields in announced.items()}
        for channel, fields in self._fields.items():
            if not _KEY.issubset(fields) or len(set(fields)) != len(fields):
                raise ProtocolError(f"the schema of channel {channel} lacks code or seq, or repeats a field: {fields}")

    def fields(self, channel: str) -> tuple[str, ...]:
        """Return the field names of a channel, in order. Raises ProtocolError for one that was not announced."""
        try:
            return self._fields[channel]
        except KeyError:
            raise ProtocolError(f"the hub sent rows of channel {channel}, which it had not announced") from None

    def rows(self, channel: str, origin: Origin, values: Iterable[Sequence[Any]]) -> list[Row]:
        """Make rows of positional values. Values beyond the announced fields are ignored."""
        fields = self.fields(channel)
        width, cls, new = len(fields), _class_for(channel, fields, origin), tuple.__new__
        return [new(cls, row if len(row) == width else _trimmed(row, width, channel)) for row in values]


def _trimmed(row: Sequence[Any], width: int, channel: str) -> Sequence[Any]:
    if len(row) < width:
        raise ProtocolError(f"a row of channel {channel} has {len(row)} values instead of {width}")
    return row[:width]
