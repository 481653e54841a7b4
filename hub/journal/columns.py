"""The rows of a record as columns: arrays that are written, read, searched and added up at the speed of C.

The rows themselves are the bytes that clients were sent, one after the other; ``lengths`` takes them apart.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import accumulate, pairwise
from typing import Final, NamedTuple

import msgspec

FEW: Final = 16
"""Up to so many topics are looked for one by one, more of them by going through the rows once."""


class Runs(NamedTuple):
    """The batches that a record's rows came in: from which position on, received when (epoch µs), number (0: none)."""

    starts: "array[int]"
    recvs: "array[int]"
    batches: "array[int]"


class Columns(NamedTuple):
    """What is known of the rows of a record without looking at them. ``numbers`` are those of their topics."""

    numbers: "array[int]"
    lengths: "array[int]"
    seqs: "array[int]"
    times: "array[int]"
    runs: Runs


class _Head(msgspec.Struct, array_like=True, frozen=True):
    numbers: bytes
    lengths: bytes
    seqs: bytes
    times: bytes
    starts: bytes
    recvs: bytes
    batches: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Head).decode


def small(data: bytes | Iterable[int] = b"") -> "array[int]":
    """Numbers of 4 bytes, never negative."""
    return array("I", data)


def large(data: bytes | Iterable[int] = b"") -> "array[int]":
    """Numbers of 8 bytes."""
    return array("q", data)


def joined(parts: Iterable["array[int]"]) -> "array[int]":
    """Numbers of 8 bytes, one column behind the other."""
    column = large()
    for part in parts:
        column.extend(part)
    return column


def encode(columns: Columns) -> bytes:
    """The head of a record of rows."""
    numbers, lengths, seqs, times, runs = columns
    return _encode(tuple(column.tobytes() for column in (numbers, lengths, seqs, times, *runs)))


def decode(head: bytes) -> Columns:
    """The columns from the head of a record of rows."""
    raw = _decode(head)
    runs = Runs(small(raw.starts), large(raw.recvs), large(raw.batches))
    return Columns(small(raw.numbers), small(raw.lengths), large(raw.seqs), large(raw.times), runs)


def split(body: bytes, lengths: Sequence[int]) -> list[bytes]:
    """Take rows apart that were joined."""
    return [body[start:end] for start, end in pairwise(accumulate(lengths, initial=0))]


def places(numbers: "array[int]", wanted: Set[int]) -> Iterable[int]:
    """The positions of some topics' rows, in order."""
    if len(wanted) > FEW:
        return [place for place, number in enumerate(numbers) if number in wanted]
    if len(wanted) == 1:
        return _places_of(numbers.tobytes(), *wanted)
    data = numbers.tobytes()
    return sorted(place for number in wanted for place in _places_of(data, number))


def _places_of(numbers: bytes, number: int) -> Iterator[int]:
    pattern = small((number,)).tobytes()
    at = numbers.find(pattern)
    while at >= 0:
        if at % 4 == 0:
            yield at // 4
        at = numbers.find(pattern, at + 1)
