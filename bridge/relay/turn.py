"""A turn of the feed's hub as it travels: one message for each shard, the very bytes that clients get inside.

Rows stay packed from the feed to the client: beside them travel columns of what an edge has to know of each. A message
names the stretch of history that its turn covers, and which other shards have a part of it. So whoever has all parts
can splice them, and who takes all shards sees a hole by the positions alone, whatever was published how often.
"""

import struct
from array import array
from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate, pairwise
from operator import itemgetter
from sys import intern
from typing import Final, NamedTuple, TypeVar
from zlib import crc32

import msgspec

from bridge.relay.position import Position, TurnId
from bridge.relay.reach import Reach
from hub.past import GapNotice
from hub.schema import STATUS

MAX_SHARDS: Final = 64
"""A message has one bit for each."""

MAGIC: Final = b"AT3\n"
"""What messages begin with."""
_HEADER: Final = struct.Struct("<4s8sQQqIqIQIIII")
NUMBERS: Final = 4
"""Of 8 bytes for each row, row by row: arrival number, seq, time, recv. A column of 4 bytes follows: lengths."""
NUMBERS_BYTES: Final = 8 * NUMBERS
HEAD: Final = struct.Struct(f"{NUMBERS_BYTES}s")

StateRows = tuple[tuple[int, int], ...]
"""The first and the last arrival number of each stretch of rows that tell a state: see `hub.states`."""

_Value = TypeVar("_Value")

_pack: Final = msgspec.msgpack.Encoder().encode


class Fed(NamedTuple):
    """Up to which batch of which run of a feeder a stretch has everything; empty and 0: that is not known."""

    run: str
    batch: int


NOT_FED: Final = Fed("", 0)

_beside: Final = msgspec.msgpack.Decoder(tuple[list[GapNotice], StateRows, Fed, Reach])


class MalformedError(ValueError):
    """A message that no feed of this version wrote."""


class Rows(NamedTuple):
    """Numbered rows in columns, in order of arrival. ``names`` are topics, such as ``tick:600000.SH``; those of rows
    that have travelled are interned, so that they are found quickly.

    ``rows`` are as clients get them.
    """

    names: Sequence[str]
    ats: Sequence[int]
    seqs: Sequence[int]
    times: Sequence[int]
    recvs: Sequence[int]
    rows: Sequence[bytes]


class Part(NamedTuple):
    """What one shard has of a turn. ``shards``: a bit for every shard that has a part.

    ``numbers``: those of the rows, as they have travelled.
    The notices, the states, what it is fed with and how far the shards had come where it begins are those of the
    whole turn, in each part.
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
    fed: Fed = NOT_FED
    numbers: bytes = b""
    reach: Reach = Reach()


def shard_of(name: str, shards: int) -> int:
    """The shard of a topic: the same in every process and version, since old messages are read by new edges.

    All of the status channel are in one: every edge takes them.
    """
    channel, _, _ = name.partition(":")
    return crc32((STATUS if channel == STATUS else name).encode()) % shards


def no_rows() -> Rows:
    """Columns to add to."""
    return Rows([], array("q"), array("q"), array("q"), array("q"), [])


def pick(rows: Rows, places: Sequence[int]) -> Rows:
    """Some of the rows, by place."""
    return Rows(*(_pick(column, places) for column in rows))  # type: ignore[arg-type]  # all alike


def _pick(column: Sequence[_Value], places: Sequence[int]) -> Sequence[_Value]:
    if len(places) < 2:
        return [column[place] for place in places]
    picked: Sequence[_Value] = itemgetter(*places)(column)
    return picked


def encode(part: Part) -> bytes:
    """The message of a part."""
    names, rows = part.rows.names, part.rows.rows
    numbers = _interleave(part.rows).tobytes()
    return _message(part, names, numbers, rows, _pack((part.notices, part.states, part.fed, part.reach)))


def parts_of(shards: Collection[int], count: int, notices: Sequence[GapNotice]) -> Sequence[int]:
    """The shards that have a part of a turn: those of its rows; what it tells of gaps concerns everybody.

    Args:
        shards: that of every row.
        count: how many there are.
    """
    return range(count) if notices else sorted(set(shards))


def encode_turn(turn: Part, shards: Sequence[int], parts: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """The messages of a turn, each with its shard, one after the other: the first can travel while others are made.

    Args:
        turn: all of it; ``shard`` and ``shards`` mean nothing.
        shards: that of every row.
        parts: the shards that have a part of it.
    """
    if len(parts) == 1:  # as of every turn of one row
        yield parts[0], encode(turn._replace(shard=parts[0], shards=1 << parts[0]))
        return
    places: list[list[int]] = [[] for _ in range(parts[-1] + 1)]
    for place, shard in enumerate(shards):
        places[shard].append(place)
    mask = sum(1 << shard for shard in parts)
    beside = _pack((turn.notices, turn.states, turn.fed, turn.reach))
    names, rows = turn.rows.names, turn.rows.rows
    heads = [head for (head,) in HEAD.iter_unpack(_interleave(turn.rows))]
    for shard in parts:
        own = places[shard]
        head = turn._replace(shard=shard, shards=mask)
        yield shard, _message(head, _pick(names, own), b"".join(_pick(heads, own)), _pick(rows, own), beside)


def _interleave(rows: Rows) -> "array[int]":
    """The numbers of rows, row by row, so that those of one row are one piece."""
    numbers = array("q", bytes(NUMBERS_BYTES * len(rows.rows)))
    for offset, column in enumerate((rows.ats, rows.seqs, rows.times, rows.recvs)):
        numbers[offset::NUMBERS] = column if isinstance(column, array) else array("q", column)
    return numbers


def _message(part: Part, names: Sequence[str], numbers: bytes, rows: Sequence[bytes], beside: bytes) -> bytes:
    text = "\n".join(names).encode()
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
    lengths = array("I", map(len, rows)).tobytes()
    return b"".join((header, numbers, lengths, text, beside, *rows))


def decode(message: bytes) -> Part:
    """Take a message apart. Raises MalformedError."""
    try:
        magic, epoch, token, number, at, told, end_at, end_told, shards, count, text_bytes, beside_bytes, shard = (
            _HEADER.unpack_from(message)
        )
        if magic != MAGIC:
            raise MalformedError("a message of another version")
        offset = _HEADER.size
        numbers = message[offset : offset + NUMBERS_BYTES * count]
        offset += NUMBERS_BYTES * count
        lengths = array("I", message[offset : offset + 4 * count])
        offset += 4 * count
        text = message[offset : offset + text_bytes].decode()
        offset += text_bytes
        notices, states, fed, reach = _beside.decode(message[offset : offset + beside_bytes])
        offset += beside_bytes
        ends = list(accumulate(lengths, initial=offset))
        rows = [message[start:end] for start, end in pairwise(ends)]
        if ends[-1] != len(message) or not len(numbers) == NUMBERS_BYTES * len(lengths) == NUMBERS_BYTES * count:
            raise MalformedError("a message of another length than it says")
        names = list(map(intern, text.split("\n"))) if text else []
        if len(names) != count:
            raise MalformedError(f"a message of {count} rows with {len(names)} topics")
    except (struct.error, ValueError, msgspec.DecodeError) as error:
        raise MalformedError(str(error)) from None
    found = rows_of(names, numbers, rows)
    begin, end = Position(at, told), Position(end_at, end_told)
    turn = TurnId(token, number)
    return Part(shard, epoch.hex(), turn, begin, end, shards, found, notices, states, fed, numbers, reach)


def rows_of(names: Sequence[str], numbers: bytes, rows: Sequence[bytes]) -> Rows:
    """Columns of rows whose numbers are as they travel."""
    column = array("q", numbers)
    ats, seqs, times, recvs = (column[offset::NUMBERS] for offset in range(NUMBERS))
    return Rows(names, ats, seqs, times, recvs, rows)
