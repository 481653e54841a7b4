"""A turn of the feed's hub as it travels: one message for each shard, the very bytes that clients get inside.

Rows stay packed from the feed to the client: beside them travel columns of what an edge has to know of each. A message
names the stretch of history that its turn covers, and which other shards have a part of it. So whoever has all parts
can splice them, and sees a hole by the positions alone, whatever was published how often.
"""

import struct
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final, NamedTuple
from zlib import crc32

import msgspec

from hub.past import GapNotice

MAX_SHARDS: Final = 64
"""A message has one bit for each."""

MAGIC: Final = b"AT2\n"
"""What messages begin with."""
_HEADER: Final = struct.Struct("<4s8sQQqIqIQIIII")
HEADER_BYTES: Final = _HEADER.size
COLUMNS: Final = 5
"""Columns of 8 bytes a row: ats, newests, seqs, times, recvs, in this order. One of 4 bytes follows: lengths."""
PLACE_BYTES: Final = 16
"""In front of every row: arrival number and newest time once more, so that what is kept of a topic is one piece."""

StateRows = tuple[tuple[int, int], ...]
"""The first and the last arrival number of each stretch of rows that tell a state: see `hub.states`."""

_beside = msgspec.msgpack.Decoder(tuple[list[GapNotice], StateRows])


class MalformedError(ValueError):
    """A message that no feed of this version wrote."""


class Position(NamedTuple):
    """A place in history: everything up to row ``at``, and the first ``told`` gap notices right after it."""

    at: int
    told: int


class TurnId(NamedTuple):
    """Names a turn: the fencing token of the feed that published it, and its number under that token, from 1."""

    token: int
    number: int

    def __str__(self) -> str:
        return f"{self.token}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> "TurnId":
        """Read what `str` wrote; an empty text is before all turns."""
        token, _, number = text.partition("-")
        return cls(int(token or 0), int(number or 0))


class Rows(NamedTuple):
    """Numbered rows in columns, in order of arrival. ``names`` are topics, such as ``tick:600000.SH``.

    ``newests``: the newest ``time`` of the topic when the row was published, epoch ms. ``rows`` are as clients get
    them.
    """

    names: Sequence[str]
    ats: "array[int]"
    newests: "array[int]"
    seqs: "array[int]"
    times: "array[int]"
    recvs: "array[int]"
    rows: Sequence[bytes]


class Part(NamedTuple):
    """What one shard has of a turn. ``shards``: a bit for every shard that has a part.

    The notices and the states are those of the whole turn, in each part.
    """

    shard: int
    epoch: str
    turn: TurnId
    begin: Position
    end: Position
    shards: int
    rows: Rows
    notices: Sequence[GapNotice]
    states: StateRows = ()


def shard_of(name: str, shards: int) -> int:
    """The shard of a topic: the same in every process and version, since old messages are read by new edges."""
    return crc32(name.encode()) % shards


def no_rows() -> Rows:
    """Columns to add to."""
    return Rows([], array("q"), array("q"), array("q"), array("q"), array("q"), [])


def pick(rows: Rows, places: Sequence[int]) -> Rows:
    """Some of the rows, by place."""
    names, ats, newests, seqs, times, recvs, packed = rows

    def of(column: "array[int]") -> "array[int]":
        return array("q", map(column.__getitem__, places))

    columns = of(ats), of(newests), of(seqs), of(times), of(recvs)
    return Rows(list(map(names.__getitem__, places)), *columns, list(map(packed.__getitem__, places)))


def splice(parts: Sequence[Rows]) -> Rows:
    """Rows of several shards as one, in order of arrival: without a hole, as they were before they were split."""
    if len(parts) == 1:
        return parts[0]
    joined = no_rows()
    for part in parts:
        for column, more in zip(joined, part, strict=True):
            column.extend(more)  # type: ignore[attr-defined]  # lists and arrays
    first = min(joined.ats, default=0)
    places = [0] * len(joined.ats)
    for place, at in enumerate(joined.ats):
        places[at - first] = place
    return pick(joined, places)


def encode(part: Part) -> bytes:
    """The message of a part."""
    names, ats, newests, seqs, times, recvs, rows = part.rows
    text = "\n".join(names).encode()
    beside = msgspec.msgpack.encode((part.notices, part.states))
    header = _HEADER.pack(
        MAGIC,
        bytes.fromhex(part.epoch),
        *part.turn,
        *part.begin,
        *part.end,
        part.shards,
        len(rows),
        len(text),
        len(beside),
        part.shard,
    )
    lengths = array("I", map(len, rows))
    columns = [column.tobytes() for column in (ats, newests, seqs, times, recvs, lengths)]
    places = array("q", bytes(PLACE_BYTES * len(rows)))
    places[::2], places[1::2] = ats, newests
    packed = places.tobytes()
    body = [b""] * (2 * len(rows))
    body[::2] = [packed[start : start + PLACE_BYTES] for start in range(0, len(packed), PLACE_BYTES)]
    body[1::2] = rows
    return b"".join((header, *columns, text, beside, *body))


def decode(message: bytes) -> Part:
    """Take a message apart. Raises MalformedError."""
    try:
        magic, epoch, token, number, at, told, end_at, end_told, shards, count, text_bytes, beside_bytes, shard = (
            _HEADER.unpack_from(message)
        )
        if magic != MAGIC:
            raise MalformedError("a message of another version")
        offset = HEADER_BYTES
        columns: list[array[int]] = []
        for kind in "q" * COLUMNS + "I":
            column = array(kind)
            size = column.itemsize * count
            column.frombytes(message[offset : offset + size])
            columns.append(column)
            offset += size
        ats, newests, seqs, times, recvs, lengths = columns
        text = message[offset : offset + text_bytes].decode()
        offset += text_bytes
        notices, states = _beside.decode(message[offset : offset + beside_bytes])
        offset += beside_bytes
        ends = list(accumulate((length + PLACE_BYTES for length in lengths), initial=offset))
        rows = [message[start + PLACE_BYTES : end] for start, end in pairwise(ends)]
        if ends[-1] != len(message):
            raise MalformedError("a message of another length than it says")
        names = text.split("\n") if text else []
        if len(names) != count:
            raise MalformedError(f"a message of {count} rows with {len(names)} topics")
    except (struct.error, ValueError, msgspec.DecodeError) as error:
        raise MalformedError(str(error)) from None
    found = Rows(names, ats, newests, seqs, times, recvs, rows)
    begin, end = Position(at, told), Position(end_at, end_told)
    return Part(shard, epoch.hex(), TurnId(token, number), begin, end, shards, found, notices, states)


def split(
    epoch: str,
    turn: TurnId,
    begin: Position,
    end: Position,
    rows: Rows,
    notices: Sequence[GapNotice],
    shards: Iterable[int],
    states: StateRows = (),
) -> Iterator[Part]:
    """The parts of a turn. ``shards`` has that of every row. Without rows it is the first's."""
    places: dict[int, list[int]] = {}
    for place, shard in enumerate(shards):
        places.setdefault(shard, []).append(place)
    mask = sum(1 << shard for shard in places) or 1
    for shard, own in sorted((places or {0: []}).items()):
        part = rows if len(places) == 1 else pick(rows, own)
        yield Part(shard, epoch, turn, begin, end, mask, part, notices, states)
