"""The rows of the benchmark, and the bytes that bring them to a server, with the places to fill in when they are sent.

All rows of a workload are of one size behind their ``recv``, so that the reader need not take them apart. A row is the
same bytes to every client of every server: the hub's positional msgpack.
"""

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

import msgspec

from hub.schema import CHANNELS

_pack: Final = msgspec.msgpack.Encoder().encode
_EMPTY_TIME: Final = b"\xcf" + bytes(8)
FIRST_CODE: Final = 300_000


class Fill(IntEnum):
    """What is filled in when a message is sent: eight bytes, big-endian."""

    NUMBER = 0
    """The number of the message, from 1."""
    TIME_MS = 1
    """A time that is later with every message, as the rows of a topic must be."""
    PLANNED_US = 2
    """When the message was to be sent: what delays are counted from."""


@dataclass
class Template:
    """Bytes to send, and what is to be filled in where."""

    data: bytearray = field(default_factory=bytearray)
    fills: list[tuple[int, Fill]] = field(default_factory=list)

    def add(self, data: bytes) -> None:
        """Append bytes as they are."""
        self.data += data

    def add_row(self, row: "RowMaker", symbol: int) -> None:
        """Append a row as clients get it."""
        start = len(self.data)
        self.data += row.head(symbol) + _EMPTY_TIME + _EMPTY_TIME + row.tail
        time = start + len(row.head(symbol)) + 1
        self.fills += [(time, Fill.TIME_MS), (time + 9, Fill.PLANNED_US)]

    def add_fed_row(self, row: "RowMaker", symbol: int) -> None:
        """Append a row as a feeder brings it: without ``seq`` and ``recv``."""
        self.data += row.fed_head(symbol)
        self.add_filled(Fill.TIME_MS)
        self.data += row.tail

    def add_filled(self, fill: Fill) -> None:
        """Append a msgpack number that is filled in."""
        self.fills.append((len(self.data) + 1, fill))
        self.data += _EMPTY_TIME

    def wrapped(self, header: bytes) -> "Template":
        """The same behind a header."""
        return Template(bytearray(header) + self.data, [(place + len(header), fill) for place, fill in self.fills])


class RowMaker:
    """Rows of one channel.

    Args:
        levels: of a tick's book.
    """

    def __init__(self, channel: str, levels: int = 5) -> None:
        self.channel = channel
        self.tail = b"".join(map(_pack, _VALUES[channel](levels)))
        self._width = len(CHANNELS[channel].names)

    def head(self, symbol: int) -> bytes:
        """What comes before the times; the number (seq) is of a fixed width and means nothing."""
        return _array(self._width) + _pack(code(symbol)) + b"\xce" + bytes(4)

    def fed_head(self, symbol: int) -> bytes:
        """The same as a feeder says it."""
        return _array(self._width - 2) + _pack(code(symbol))

    @property
    def size(self) -> int:
        """Bytes of a row, but for the width of its number (up to four fewer)."""
        return len(self.head(0)) + 2 * len(_EMPTY_TIME) + len(self.tail)


def code(symbol: int) -> str:
    """The code of an instrument by number."""
    return f"{FIRST_CODE + symbol:06d}.SZ"


def topic(channel: str, symbol: int) -> str:
    """The topic of an instrument by number."""
    return f"{channel}:{code(symbol)}"


def plan_sends(templates: Iterable[Template], sends: Sequence[tuple[int, int]]) -> bytes:
    """The pacer's plan: see ``native/pacer.c``. ``sends``: nanoseconds after the start, and number of the template."""
    parts = []
    count = 0
    for template in templates:
        parts.append(struct.pack("<II", len(template.data), len(template.fills)) + template.data)
        parts += [struct.pack("<II", place, fill) for place, fill in template.fills]
        count += 1
    parts.append(struct.pack("<I", len(sends)))
    parts += [struct.pack("<QI", due_ns, template) for due_ns, template in sends]
    return struct.pack("<I", count) + b"".join(parts)


def masked_header(size: int) -> bytes:
    """The header of a client's WebSocket message, masked with zeros, so that the payload stays what it is."""
    if size < 126:
        return struct.pack("!BB", 0x82, 0x80 | size) + bytes(4)
    if size < 65536:
        return struct.pack("!BBH", 0x82, 0x80 | 126, size) + bytes(4)
    return struct.pack("!BBQ", 0x82, 0x80 | 127, size) + bytes(4)


def _array(size: int) -> bytes:
    return struct.pack("!B", 0x90 | size) if size < 16 else struct.pack("!BH", 0xDC, size)


def _tick(levels: int) -> Sequence[Any]:
    prices = [10.01 + 0.01 * level for level in range(levels)]
    volumes = [1000 + level for level in range(levels)]
    sums = (1.5e8, 1_000_000, 100_000_000)
    return (10.01, 10.02, 10.03, 10.04, 10.05, *sums, None, 13, None, 4321, prices, prices, volumes, volumes)


def _trade(_: int) -> Sequence[Any]:
    return (10.01, 1000, 10010.5, 1_000_000, 2_000_000, 3_000_000, 0, 1)


_VALUES: Final = {"tick": _tick, "l2transaction": _trade}
