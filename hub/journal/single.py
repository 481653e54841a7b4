"""The record of a single row, made in one go: what a source costs that gives one row at a time.

It is the record that `hub.journal.encoder` makes of any rows, byte for byte. That one joins and cuts columns, some
forty calls even for one row, and behind every pause each of them runs cold.
"""

import struct
from typing import Final, NamedTuple

from hub.journal.record import Kind, encode
from hub.topic import Topic

_BIN: Final = 0xC4
"""How msgpack begins bytes, before their length."""
_HEAD: Final = struct.Struct("<B BBI BBI BBq BBq BBI BBq BBq")
_ARRAY_OF_7: Final = 0x97


class Single(NamedTuple):
    """One row as `hub.journal.Stretch` has it, of a topic that has a number already."""

    at: int
    topic: Topic
    seq: int
    time_ms: int
    recv_us: int
    batch: int
    row: bytes


def encode_single(single: Single) -> bytes:
    """All of its record: columns of one element each, then the row."""
    at, topic, seq, time_ms, recv_us, batch, row = single
    head = _HEAD.pack(
        _ARRAY_OF_7,
        *(_BIN, 4, topic.number),
        *(_BIN, 4, len(row)),
        *(_BIN, 8, seq),
        *(_BIN, 8, time_ms),
        *(_BIN, 4, 0),
        *(_BIN, 8, recv_us),
        *(_BIN, 8, batch),
    )
    return encode(Kind.ROWS, at, head, row, rows=1) + row
