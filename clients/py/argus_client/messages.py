"""What the hub says, typed: control messages and data, as they come out of the codec.

Fields that this version does not know are ignored; one that it needs and can't find makes the message a
`ProtocolError`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Final

from argus_client.errors import HubError, ProtocolError
from argus_client.rows import Origin, Row

Fields = Mapping[str, Any]
"""A control message as it is decoded."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the hub's rows come from. ``simulated`` is true when the prices are invented."""

    name: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class Welcome:
    """The first message of a connection.

    ``epoch`` names the hub's unbroken history, ``at`` its newest arrival number. ``schemas`` are the field names
    of every channel in order; ``heartbeat_s`` is in seconds, ``time`` in epoch milliseconds.
    """

    protocol: str
    server: str
    session: str
    epoch: str
    at: int
    source: Source
    schemas: Mapping[str, Sequence[str]]
    limits: Mapping[str, Any]
    heartbeat_s: float
    time: int


@dataclass(frozen=True, slots=True)
class Gap:
    """Rows that will not come, announced before the next row of their topic.

    ``topic`` may be a pattern. ``from_seq`` and ``to_seq`` are inclusive; None where no number was lost
    (``upstream``) or where it is open. Times in epoch milliseconds. ``cause`` is ``evicted``, ``epoch``,
    ``upstream``, ``relay`` or ``backfilled``; ``by`` tells what a gap was filled from.
    """

    topic: str
    epoch: str | None
    from_seq: int | None
    to_seq: int | None
    from_time: int | None
    to_time: int | None
    cause: str
    by: str | None
    request_id: int | str | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Slow:
    """Half of the bytes that may wait for this client at the hub are waiting."""

    pending_bytes: int
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class MarketHealth:
    """How a market is doing: ``state`` is live, quiet, stale or closed; ``age_ms`` is the age of its data."""

    state: str
    phase: str | None
    age_ms: int | None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Sign of life. Every row up to ``at`` came before it; ``conflated`` rows were skipped since connecting."""

    time: int
    at: int
    conflated: int
    markets: Mapping[str, MarketHealth]


@dataclass(frozen=True, slots=True)
class Draining:
    """The hub is going to restart and closes this connection in ``close_in_ms``."""

    reason: str
    close_in_ms: int


@dataclass(frozen=True, slots=True)
class Data:
    """Rows of one channel and origin that travelled together; ``request_id`` where they answer a request."""

    origin: Origin
    rows: Sequence[Row]
    request_id: int | str | None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """Reply to subscribe: ``matched`` topics exist now; ``replayed`` rows of history follow."""

    at: int
    matched: int
    recovered: bool
    unrecovered: Sequence[str]
    replayed: int


@dataclass(frozen=True, slots=True)
class Unsubscribed:
    """Reply to unsubscribe: no row of the topics follows it."""


@dataclass(frozen=True, slots=True)
class SnapshotDone:
    """Reply to snapshot, after its ``count`` rows."""

    count: int


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic that exists, with the number and the time (epoch milliseconds) of its newest row."""

    topic: str
    seq: int
    time: int


@dataclass(frozen=True, slots=True)
class TopicList:
    """Reply to topics."""

    topics: Sequence[TopicInfo]


@dataclass(frozen=True, slots=True)
class Pong:
    """Reply to ping: the hub's time in epoch milliseconds."""

    time: int


Result = Subscribed | Unsubscribed | SnapshotDone | TopicList | Pong
"""What a request can be answered with, if it is not refused."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to the request ``request_id``; an error without one concerns the connection."""

    request_id: int | str | None
    result: Result | HubError


@dataclass(frozen=True, slots=True)
class Unknown:
    """A message type of a later version. It is ignored."""

    type: str


Message = Welcome | Data | Gap | Slow | Heartbeat | Draining | Reply | Unknown


def take(fields: Fields, name: str, kind: type | UnionType) -> Any:
    """Return a field of a message. Raises ProtocolError where it is missing or of another type."""
    value = fields.get(name)
    if not isinstance(value, kind):
        raise ProtocolError(f"a {fields.get('type', 'data')} message has {name}={value!r:.60}, which is not usable")
    return value


def request_id(fields: Fields) -> int | str | None:
    """Return the id of the request that a message answers, if any."""
    answered: int | str | None = take(fields, "id", int | str | NoneType)
    return answered


def parse(fields: Fields) -> Message:
    """Type a control message. Raises ProtocolError for a known one that lacks what it must have."""
    kind = take(fields, "type", str)
    if kind == "data":  # in msgpack that is an array; rows must never pass for a message of a later version
        raise ProtocolError("the hub sent rows as a control message")
    if kind in _RESULTS:
        return Reply(request_id(fields), _RESULTS[kind](fields))
    return _NOTICES[kind](fields) if kind in _NOTICES else Unknown(kind)


def _welcome(fields: Fields) -> Welcome:
    source = take(fields, "source", dict)
    schemas = take(fields, "schemas", dict)
    return Welcome(
        protocol=take(fields, "protocol", str),
        server=take(fields, "server", str),
        session=take(fields, "session", str),
        epoch=take(fields, "epoch", str),
        at=take(fields, "at", int),
        source=Source(take(source, "name", str), take(source, "simulated", bool)),
        schemas=MappingProxyType({channel: tuple(take(schemas, channel, list)) for channel in schemas}),
        limits=MappingProxyType(take(fields, "limits", dict)),
        heartbeat_s=take(fields, "heartbeat_s", int | float),
        time=take(fields, "time", int),
    )


def _gap(fields: Fields) -> Gap:
    return Gap(
        topic=take(fields, "topic", str),
        epoch=take(fields, "epoch", str | NoneType),
        from_seq=take(fields, "from", int | NoneType),
        to_seq=take(fields, "to", int | NoneType),
        from_time=take(fields, "from_time", int | NoneType),
        to_time=take(fields, "to_time", int | NoneType),
        cause=take(fields, "cause", str),
        by=take(fields, "by", str | NoneType),
        request_id=request_id(fields),
    )


def _heartbeat(fields: Fields) -> Heartbeat:
    markets = take(fields, "markets", dict)
    return Heartbeat(
        time=take(fields, "time", int),
        at=take(fields, "at", int),
        conflated=take(fields, "conflated", int),
        markets=MappingProxyType({name: _market(take(markets, name, dict)) for name in markets}),
    )


def _market(fields: Fields) -> MarketHealth:
    return MarketHealth(
        state=take(fields, "state", str),
        phase=take(fields, "phase", str | NoneType),
        age_ms=take(fields, "age_ms", int | NoneType),
    )


def _slow(fields: Fields) -> Slow:
    return Slow(take(fields, "pending_bytes", int), take(fields, "limit_bytes", int))


def _draining(fields: Fields) -> Draining:
    return Draining(take(fields, "reason", str), take(fields, "close_in_ms", int))


def _subscribed(fields: Fields) -> Subscribed:
    return Subscribed(
        at=take(fields, "at", int),
        matched=take(fields, "matched", int),
        recovered=take(fields, "recovered", bool),
        unrecovered=tuple(take(fields, "unrecovered", list)),
        replayed=take(fields, "replayed", int),
    )


def _topic_list(fields: Fields) -> TopicList:
    found = take(fields, "topics", list)
    return TopicList([TopicInfo(take(t, "topic", str), take(t, "seq", int), take(t, "time", int)) for t in found])


def _error(fields: Fields) -> HubError:
    return HubError(
        take(fields, "code", str),
        take(fields, "message", str),
        take(fields, "retryable", bool),
        take(fields, "retry_in_ms", int | NoneType),
    )


_RESULTS: Final[Mapping[str, Callable[[Fields], Result | HubError]]] = {
    "subscribed": _subscribed,
    "unsubscribed": lambda fields: Unsubscribed(),
    "snapshot_done": lambda fields: SnapshotDone(take(fields, "count", int)),
    "topics": _topic_list,
    "pong": lambda fields: Pong(take(fields, "time", int)),
    "error": _error,
}
_NOTICES: Final[Mapping[str, Callable[[Fields], Message]]] = {
    "welcome": _welcome,
    "gap": _gap,
    "slow": _slow,
    "heartbeat": _heartbeat,
    "draining": _draining,
}
