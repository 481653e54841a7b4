"""Every control message of the contract, typed: what clients ask (`op`) and what the hub says (`type`).

Requests are decoded strictly: an unknown field or a wrong type is an error that names the place, because a
misspelt ``since`` that is ignored would silently give the wrong rows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from hub.wire import RequestId

MAX_ID_CHARS: Final = 128
_EXACT_IN_JSON: Final = 2**53
"""Browsers hold whole numbers exactly up to here; a larger id would not come back as it was sent."""

_Id = Annotated[int, Meta(ge=-_EXACT_IN_JSON, le=_EXACT_IN_JSON)] | Annotated[str, Meta(max_length=MAX_ID_CHARS)] | None
_TimeMs = Annotated[int, Meta(ge=0, le=_EXACT_IN_JSON)]
_Topics = Annotated[list[str], Meta(min_length=1)]


class Request(Struct, tag_field="op", forbid_unknown_fields=True, kw_only=True):
    """What every request may carry."""

    id: _Id = None


class Since(Struct, forbid_unknown_fields=True, kw_only=True):
    """Where a subscription begins: at a time, or after a position (``epoch``, ``at`` and ``seq`` by topic)."""

    time: _TimeMs | UnsetType = UNSET
    epoch: str | UnsetType = UNSET
    at: _TimeMs | UnsetType = UNSET
    seq: dict[str, _TimeMs] | UnsetType = UNSET


class Auth(Request, tag="auth"):
    """Authenticate with the token."""

    token: str


class Subscribe(Request, tag="subscribe"):
    """Observe topics, from a place in history on."""

    topics: _Topics
    since: Literal["none", "open"] | Since | None = None
    mode: Literal["every", "latest"] = "every"
    interval_ms: Annotated[int, Meta(ge=0, le=3_600_000)] | None = None


class Unsubscribe(Request, tag="unsubscribe"):
    """Observe topics no longer; each exactly as it was subscribed."""

    topics: _Topics


class Snapshot(Request, tag="snapshot"):
    """Ask for the newest row of each matching topic."""

    topics: _Topics


class Seq(Struct, forbid_unknown_fields=True):
    """A place in one topic, by the number of a row."""

    seq: Annotated[int, Meta(ge=1, le=_EXACT_IN_JSON)]


class Replay(Request, tag="replay"):
    """Ask for rows of the past, from ``from`` (inclusive) to ``to`` (exclusive)."""

    topics: _Topics
    from_: _TimeMs | Seq | None = msgspec.field(name="from", default=None)
    to: _TimeMs | Seq | None = None
    speed: Annotated[float, Meta(ge=0, le=1_000_000)] = 0.0


class Cancel(Request, tag="cancel"):
    """End a replay."""

    replay: _Id


class Topics(Request, tag="topics"):
    """Ask which topics exist."""

    pattern: str


class Instruments(Request, tag="instruments"):
    """Ask what the source knows of instruments: a code, a pattern or a universe, without a channel."""

    pattern: str


class Ping(Request, tag="ping"):
    """Ask for the hub's time."""


class Envelope(Struct):
    """The part of a request that is read first, so that even a wrong request is answered by its id."""

    op: Any = None
    id: _Id = None


class Message(Struct, tag_field="type", tag=str.lower, omit_defaults=True, kw_only=True):
    """What every message of the hub may carry: the id of the request that it answers."""

    id: RequestId = None


class Welcome(Message):
    """The first message of every connection."""

    protocol: str
    server: str
    session: str
    epoch: str
    at: int
    source: Mapping[str, Any]
    schemas: Mapping[str, Sequence[str]]
    limits: Mapping[str, int | float | None]
    heartbeat_s: float
    time: int


class Subscribed(Message):
    """The one reply to a subscribe: an exact cut of the hub's history."""

    at: int
    matched: int
    recovered: bool
    unrecovered: Sequence[str]
    replayed: int


class Unsubscribed(Message):
    """No row of the topics follows it."""


class Authenticated(Message):
    """The token is right, or none is needed."""


class SnapshotDone(Message, tag="snapshot_done"):
    """All rows of a snapshot were sent."""

    count: int


class ReplayDone(Message, tag="replay_done"):
    """All rows of a replay were sent: how many, the first and last number of each topic, and whether none is lost."""

    count: int
    complete: bool
    topics: Mapping[str, Mapping[str, int]]


class Cancelled(Message):
    """No row of the replay follows it."""


class TopicList(Message, tag="topics"):
    """The topics that exist, with the number and exchange time of their newest row."""

    topics: Sequence[Mapping[str, Any]]


class InstrumentList(Message, tag="instruments"):
    """What the source knows of instruments, with ``code`` and ``name`` at least."""

    instruments: Sequence[Mapping[str, Any]]


class Pong(Message):
    """The hub's time in epoch milliseconds."""

    time: int


class Gap(Message):
    """Rows that the client will not get: ``from`` to ``to`` (seq, inclusive).

    ``by``: what a gap was filled from, later. No gap says that yet.
    """

    topic: str
    epoch: str
    cause: str
    from_: int | None = msgspec.field(name="from")
    to: int | None
    from_time: int | None
    to_time: int | None
    by: str | None


class Slow(Message):
    """Half of the bytes that may wait for this client are waiting."""

    pending_bytes: int
    limit_bytes: int


class Heartbeat(Message):
    """Every row up to ``at`` was sent before it. Times in epoch milliseconds."""

    time: int
    at: int
    conflated: int
    markets: Mapping[str, Mapping[str, Any]]


class Draining(Message):
    """The hub is about to restart."""

    reason: str
    close_in_ms: int


class Error(Message):
    """A request was not carried out, and why."""

    code: str
    message: str
    retryable: bool
    retry_in_ms: int | None


_Decoder = Callable[[bytes], Request]
_REQUESTS: Final[Sequence[type[Request]]] = (
    Auth,
    Subscribe,
    Unsubscribe,
    Snapshot,
    Replay,
    Cancel,
    Topics,
    Instruments,
    Ping,
)
_JSON: Final[Mapping[str, _Decoder]] = {
    str(request.__struct_config__.tag): msgspec.json.Decoder(request).decode for request in _REQUESTS
}
_MSGPACK: Final[Mapping[str, _Decoder]] = {
    str(request.__struct_config__.tag): msgspec.msgpack.Decoder(request).decode for request in _REQUESTS
}
_ENVELOPES: Final[tuple[Callable[[bytes], Envelope], Callable[[bytes], Envelope]]] = (
    msgspec.json.Decoder(Envelope).decode,
    msgspec.msgpack.Decoder(Envelope).decode,
)

_UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)


class RequestError(Exception):
    """A request that can't be carried out: the error code of the contract, and words for the client."""

    def __init__(self, code: str, message: str, request_id: RequestId = None) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


def read_envelope(message: str | bytes) -> Envelope:
    """Decode the op and the id of a text (JSON) or binary (msgpack) message of a client.

    Raises:
        RequestError: ``bad_message``.
    """
    try:
        envelope = _ENVELOPES[0](message.encode()) if isinstance(message, str) else _ENVELOPES[1](message)
    except _UNREADABLE as error:
        raise RequestError("bad_message", _in_short(error)) from None
    if not isinstance(envelope.op, str):
        raise RequestError("bad_message", "not a request: it has no op that is a text", envelope.id)
    return envelope


def id_of(message: str | bytes) -> RequestId:
    """The id of a message that is not carried out; None where it has none that can be read."""
    try:
        return read_envelope(message).id
    except RequestError as error:
        return error.request_id


def read_request(message: str | bytes, envelope: Envelope) -> Request:
    """Decode the whole of a message whose envelope was read.

    Raises:
        RequestError: ``bad_message`` or ``unknown_op``.
    """
    decode = (_JSON if isinstance(message, str) else _MSGPACK).get(envelope.op)
    if decode is None:
        raise RequestError("unknown_op", f"there is no op {envelope.op[:40]!r}", envelope.id)
    try:
        return decode(message.encode() if isinstance(message, str) else message)
    except _UNREADABLE as error:
        raise RequestError("bad_message", _in_short(error), envelope.id) from None


def _in_short(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "the message is nested too deeply"
    return f"not a request: {str(error)[:200]}"
