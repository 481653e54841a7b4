"""Rows and messages to bytes, and WebSocket frames around them.

A row is encoded once, as a positional msgpack array, and lives as those bytes in history. A data message is
spliced from them: a prefix, an array header, the rows. JSON rows are made from the same bytes, so that both
encodings show the same values.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, Protocol

import msgspec
import orjson

from hub.schema import CHANNELS

SUBPROTOCOLS: Final = ("argus.v1.msgpack", "argus.v1.json")

MAX_ROWS_PER_MESSAGE: Final = 500
"""A data message is cut at this many rows: clients commonly refuse messages above 1 MiB, and a tick is up to 450 bytes
in JSON."""

_TEXT, _BINARY = 0x1, 0x2


class Origin(IntEnum):
    """Where the rows of a data message come from: the number is for msgpack, the lower-case name for JSON."""

    LIVE = 0
    SNAPSHOT = 1
    REPLAY = 2
    BACKFILL = 3


RequestId = int | str | None
"""What a request carried as ``id``; None where it carried none."""

Packed = bytes
"""A value as it travels in msgpack."""

pack: Final = msgspec.msgpack.Encoder().encode
"""Encode a value as it travels in msgpack. Raises TypeError or OverflowError for what msgpack can't hold."""

_unpack_row: Final = msgspec.msgpack.Decoder(list[Any]).decode


def array_header(count: int) -> bytes:
    """What comes before the values of a msgpack array."""
    return struct.pack("!B", 0x90 | count) if count < 16 else struct.pack("!BH", 0xDC, count)


def row_head(channel: str, code: str) -> bytes:
    """What all packed rows of a topic begin with: ``seq``, ``time``, ``recv`` and the values follow."""
    return array_header(len(CHANNELS[channel].names)) + pack(code)


def source_head(channel: str, code: str) -> bytes:
    """What all rows of a topic begin with as their source gives them: ``time`` and the values follow."""
    return array_header(len(CHANNELS[channel].source_names)) + pack(code)


def as_given(channel: str, row: bytes) -> bytes:
    """A packed row without the fields that the hub put in."""
    code, seq, time_ms, recv_us = _unpack_row(row)[:4]
    time = pack(time_ms)
    start = len(row_head(channel, code)) + len(pack(seq)) + len(time) + len(pack(recv_us))
    return source_head(channel, code) + time + row[start:]


def frame(opcode: int, payload: bytes) -> bytes:
    """Wrap a whole message into one unmasked WebSocket frame (RFC 6455, section 5.2), as servers send them."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x80 | opcode, size) + payload
    if size < 65536:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


def split_frames(frames: bytes) -> Iterator[tuple[int, bytes]]:
    """Take frames that `frame` made apart again: opcode and message of each."""
    start = 0
    while start < len(frames):
        size = frames[start + 1]
        body = start + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size = int.from_bytes(frames[body : body + width])
            body += width
        yield frames[start] & 0x0F, frames[body : body + size]
        start = body + size


class Codec(Protocol):
    """One of the two encodings. All methods return whole WebSocket frames."""

    name: str
    subprotocol: str

    def message(self, message: object) -> bytes:
        """Frame a control message (a struct of `hub.messages`)."""

    def data(
        self,
        channel: str,
        origin: Origin,
        rows: Sequence[bytes],
        request_id: RequestId = None,
        encoded: dict[bytes, bytes] | None = None,
    ) -> bytes:
        """Frame rows of one channel, as one frame or, above `MAX_ROWS_PER_MESSAGE`, several back to back.

        Args:
            rows: whole msgpack arrays, as history has them.
            encoded: rows of this channel in this encoding by packed row, for a caller that frames the same rows for
                several audiences; filled as needed.
        """


class MsgpackCodec:
    """Binary messages: control messages are maps, data messages arrays."""

    name = "msgpack"
    subprotocol = SUBPROTOCOLS[0]

    def __init__(self) -> None:
        self._heads = {(c, o): pack(c) + pack(int(o)) for c in CHANNELS for o in Origin}

    def message(self, message: object) -> bytes:  # noqa: D102
        return frame(_BINARY, msgspec.msgpack.encode(message))

    def data(  # noqa: D102
        self,
        channel: str,
        origin: Origin,
        rows: Sequence[bytes],
        request_id: RequestId = None,
        encoded: dict[bytes, bytes] | None = None,
    ) -> bytes:
        count = len(rows)
        if count > MAX_ROWS_PER_MESSAGE:
            return b"".join(self.data(channel, origin, part, request_id) for part in _parts(rows))
        head = self._heads[channel, origin]
        if request_id is None:
            return frame(_BINARY, b"".join((b"\x93", head, array_header(count), *rows)))
        return frame(_BINARY, b"".join((b"\x94", head, array_header(count), *rows, pack(request_id))))


class JsonCodec:
    """Text messages: everything is an object with a ``type``, rows are objects with their schema's names."""

    name = "json"
    subprotocol = SUBPROTOCOLS[1]

    def __init__(self) -> None:
        self._heads = {
            (c, o): b'{"type":"data","channel":"%s","origin":"%s",' % (c.encode(), o.name.lower().encode())
            for c in CHANNELS
            for o in Origin
        }

    def message(self, message: object) -> bytes:  # noqa: D102
        return frame(_TEXT, msgspec.json.encode(message))

    def data(  # noqa: D102
        self,
        channel: str,
        origin: Origin,
        rows: Sequence[bytes],
        request_id: RequestId = None,
        encoded: dict[bytes, bytes] | None = None,
    ) -> bytes:
        if len(rows) > MAX_ROWS_PER_MESSAGE:
            return b"".join(self.data(channel, origin, part, request_id, encoded) for part in _parts(rows))
        names = CHANNELS[channel].names
        texts = {} if encoded is None else encoded
        for row in rows:
            if row not in texts:
                values = dict(zip(names, _unpack_row(row), strict=True))
                texts[row] = orjson.dumps(values, default=_text_of, option=orjson.OPT_NON_STR_KEYS)
        body = b",".join([texts[row] for row in rows])
        own = b"" if request_id is None else b'"id":%s,' % orjson.dumps(request_id)
        return frame(_TEXT, b'%s%s"rows":[%s]}' % (self._heads[channel, origin], own, body))


def _parts(rows: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    for start in range(0, len(rows), MAX_ROWS_PER_MESSAGE):
        yield rows[start : start + MAX_ROWS_PER_MESSAGE]


def _text_of(value: object) -> str:
    """What JSON has no form for, so that one odd row never keeps the others from a client."""
    return str(value)


CODECS: Final[Mapping[str, Codec]] = {codec.subprotocol: codec for codec in (MsgpackCodec(), JsonCodec())}
