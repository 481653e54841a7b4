"""What a feeder and its hub say to each other, as msgpack: an array is a batch, a map is anything else.

Here bytes become checked messages and the other way round. What a newer peer adds is passed over and told by
name; what is of the wrong type is a `FeedViolation`.
"""

import logging
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Final, Literal

import msgspec

from bridge.feed.cutter import Cutter
from hub.schema import Row

SUBPROTOCOL: Final = "argus.feed.v1"

MAX_MESSAGE_BYTES: Final = 64 * 2**20
"""Largest message to a hub: three times a batch of 60,000 instruments."""

CLOSE_VIOLATION: Final = 4400
CLOSE_FORBIDDEN: Final = 4403
CLOSE_REPLACED: Final = 4409
CLOSE_RESTART: Final = 1012

MAX_REASON_BYTES: Final = 123
"""What a WebSocket close frame has room for (RFC 6455, section 5.5)."""

MAX_TOLD_APART: Final = 100
"""Unknown names that are logged for one peer."""

_MAX_INT: Final = 2**63 - 1

_Number = Annotated[int, msgspec.Meta(ge=1, le=_MAX_INT)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=_MAX_INT)]
_Moment = Annotated[int, msgspec.Meta(ge=0, le=_MAX_INT)]
_Name = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z_-]{1,24}\Z")]
_Run = Annotated[str, msgspec.Meta(pattern=r"\A[!-~]{1,64}\Z")]


_logger = logging.getLogger("argus.feed")


class FeedViolation(Exception):  # noqa: N818 (it reads as what happened)
    """The peer said what can't be understood. The text is for the peer."""


class Hello(msgspec.Struct, frozen=True, tag="hello", tag_field="op"):
    """A feeder introduces itself.

    ``run``: random name of this run of the feeder, whose batches are numbered from 1. ``continues``: whether another
    run goes on with the same market; a recording is played from its start instead.
    """

    source: _Name
    run: _Run
    simulated: bool
    channels: Annotated[list[str], msgspec.Meta(min_length=1)]
    continues: bool = True


class Status(msgspec.Struct, frozen=True, tag="status", tag_field="op"):
    """How the source is doing; ``keeps`` as in `bridge.source.SourceStatus`."""

    state: Literal["connected", "degraded", "away"]
    reason: str = ""
    keeps: bool = False


class TradingDays(msgspec.Struct, frozen=True, tag="calendar", tag_field="op"):
    """The trading days that the source knows."""

    days: list[date]


class Instruments(msgspec.Struct, frozen=True, tag="instruments", tag_field="op"):
    """The markets that rows are due of, each with its number of instruments."""

    markets: dict[str, _Count]


class Clock(msgspec.Struct, frozen=True, tag="clock", tag_field="op"):
    """The source's clock in epoch milliseconds, and how many times faster than the wall clock it runs."""

    time: _Moment
    pace: Annotated[float, msgspec.Meta(ge=0, le=1e9)]


class Dropped(msgspec.Struct, frozen=True, tag="dropped", tag_field="op"):
    """Numbers of a run that have no batch, because the feeder had to drop it or because its source missed rows.

    ``from_time``: exchange time of the newest row before, ``to_time``: of the next batch after; null where unknown.
    ``topics``: what is missing; nothing means everything that the feeder has.
    """

    first: _Number = msgspec.field(name="from")
    last: _Number = msgspec.field(name="to")
    from_time: _Moment | None = None
    to_time: _Moment | None = None
    topics: list[str] = []

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"dropped from {self.first} to {self.last}")


class FedBatch(msgspec.Struct, frozen=True):
    """Rows that came together. ``recv_us``: epoch microseconds when they were received from the source.

    ``is_state``: as `bridge.source.Batch` has it.
    """

    number: _Number
    channel: str
    rows: Sequence[Row]
    recv_us: _Moment
    is_state: bool = False


class _RawBatch(msgspec.Struct, frozen=True, array_like=True):
    """The same with rows that were not looked into."""

    number: _Number
    channel: str
    rows: list[msgspec.Raw]
    recv_us: _Moment
    is_state: Any = False


class _UnpackedBatch(msgspec.Struct, frozen=True, array_like=True):
    """The same with rows that were."""

    number: _Number
    channel: str
    rows: list[tuple[Any, ...]]
    recv_us: _Moment
    is_state: Any = False  # a newer feeder may say something else here


class Reference(msgspec.Struct, frozen=True, tag="reference", tag_field="op"):
    """What the source knows of its instruments, as `bridge.source.ReferenceData`."""

    instruments: list[dict[str, Any]]
    universes: dict[str, list[str]]


class Refused(msgspec.Struct, frozen=True, tag="refused", tag_field="op"):
    """All topics that are wanted and can't be given, each with an error code and the reason."""

    topics: dict[str, tuple[str, str]]


class Counts(msgspec.Struct, frozen=True, tag="counts", tag_field="op"):
    """How often something happened at the source since it began, by what it was."""

    counts: dict[str, _Count]


Told = Status | TradingDays | Instruments | Clock | Dropped | Reference | Refused | Counts
"""What a feeder says beside its batches, once it has introduced itself."""


class Newest(msgspec.Struct, frozen=True):
    """The newest exchange time of the hub's history (epoch ms), and when that row was received (epoch µs)."""

    time: _Moment
    recv: _Moment


class Welcome(msgspec.Struct, frozen=True, omit_defaults=True, tag="welcome", tag_field="type"):
    """The hub answers ``hello``: ``batch`` is the last one of this run that it has in its journal, 0 for none."""

    run: str
    batch: _Count
    want: list[str]
    newest: Newest | None = None


class Want(msgspec.Struct, frozen=True, tag="want", tag_field="type"):
    """The topics and patterns that clients want now."""

    want: list[str]


class Ack(msgspec.Struct, frozen=True, tag="ack", tag_field="type"):
    """Everything up to this batch is in the hub's journal."""

    batch: _Count


class Error(msgspec.Struct, frozen=True, tag="error", tag_field="type"):
    """Why the hub is going to close the connection."""

    code: str
    message: str


Said = Welcome | Want | Ack | Error
"""What a hub says to its feeder."""


FEEDER_SAYS: Final = (Hello, Status, TradingDays, Instruments, Clock, Dropped, Reference, Refused, Counts)
HUB_SAYS: Final = (Welcome, Want, Ack, Error)

encode: Final = msgspec.msgpack.Encoder().encode
"""Any of the messages above to bytes."""


def encode_batch(number: int, channel: str, rows: Sequence[Row], recv_us: int, *, is_state: bool = False) -> bytes:
    """A batch to bytes. Raises TypeError or OverflowError where a row holds what msgpack can't."""
    return encode((number, channel, rows, recv_us, *((True,) if is_state else ())))


class Reader:
    """Reads what one peer says.

    Maps tell what they are in the field that the structs name; a feeder may also write ``type`` for ``op``.

    Args:
        kinds: the maps that are known.
        peer: who says it, for the log.
    """

    def __init__(self, kinds: Sequence[type[msgspec.Struct]], peer: str) -> None:
        self._kinds = {str(kind.__struct_config__.tag): kind for kind in kinds}
        self._tag_field = kinds[0].__struct_config__.tag_field or ""
        self._peer = peer
        self._passed_over: set[str] = set()
        self._cutter = Cutter()

    def read(self, data: bytes | str) -> msgspec.Struct | None:
        """The message; None for a map of an unknown kind. Raises FeedViolation for what can't be understood."""
        if isinstance(data, str):
            raise FeedViolation("this connection speaks msgpack: a text message can't be read")
        try:
            message = _decode(data)
            return self._batch(message, data) if isinstance(message, _RawBatch) else self._told(message)
        except msgspec.ValidationError as error:
            return self._without_odd_rows(data, error)
        except msgspec.DecodeError as error:
            raise FeedViolation(f"not msgpack: {error}") from None

    def _batch(self, raw: _RawBatch, data: bytes) -> FedBatch:
        rows: Sequence[Row] | None = self._cutter.cut(raw.channel, raw.rows)
        if rows is None:
            rows = _unpack(data).rows
            self._cutter.learn(rows)
        return FedBatch(raw.number, raw.channel, rows, raw.recv_us, raw.is_state is True)

    def _told(self, fields: dict[Any, Any]) -> msgspec.Struct | None:
        if self._tag_field not in fields and "type" in fields:
            fields[self._tag_field] = fields.pop("type")
        name = fields.get(self._tag_field)
        if not isinstance(name, str):
            raise FeedViolation(f"a map without its {self._tag_field}")
        kind = self._kinds.get(name)
        if kind is None:
            self._pass_over(f"message {name!r}")
            return None
        for key in fields:
            if key != self._tag_field and key not in kind.__struct_encode_fields__:
                self._pass_over(f"field {key!r} of {name}")
        try:
            return msgspec.convert(fields, kind)
        except msgspec.ValidationError as error:
            raise FeedViolation(f"{name}: {error}") from None

    def _without_odd_rows(self, data: bytes, error: msgspec.ValidationError) -> FedBatch:
        """Read a batch some of whose rows are none. A feeder would send it again for ever, so the others are taken."""
        try:
            number, channel, rows, *others = msgspec.msgpack.decode(data)
            rest = msgspec.convert([number, channel, [], *others], _UnpackedBatch)
            rows = msgspec.convert(rows, list[Any])
            kept = [tuple(row) for row in rows if isinstance(row, list)]
        except (msgspec.DecodeError, TypeError, ValueError):  # no array, too short, or wrong apart from its rows
            raise FeedViolation(f"not a batch: {error}") from None
        _logger.error("%s: batch %d has %d rows that are none", self._peer, number, len(rows) - len(kept))
        return FedBatch(rest.number, rest.channel, kept, rest.recv_us, rest.is_state is True)

    def _pass_over(self, what: str) -> None:
        if what not in self._passed_over and len(self._passed_over) < MAX_TOLD_APART:
            self._passed_over.add(what)
            _logger.warning("%s: %s is not known here and passed over; is one of the two too old?", self._peer, what)


_decode: Final = msgspec.msgpack.Decoder(_RawBatch | dict[Any, Any]).decode
_unpack: Final = msgspec.msgpack.Decoder(_UnpackedBatch).decode


def short_reason(text: str) -> str:
    """A text that fits a close frame."""
    return text.encode()[:MAX_REASON_BYTES].decode(errors="ignore")
