"""What a feeder had, written down by the feeder's process before anybody else got it, batch by batch.

A batch goes to the file in one write, so that it outlives a SIGKILL of the writer at any instant; only a torn last
one may be there, and that was not handed on. Rows are kept as digests: the whole of them would be gigabytes.
"""

import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgpack

_SIZE: Final = struct.Struct("<I")


class Noted(NamedTuple):
    """A row: its instrument, exchange time (epoch ms), and the digest of all that its source gave."""

    code: str
    time_ms: int
    digest: int


@dataclass(frozen=True, slots=True)
class NotedBatch:
    """A batch of one run. ``at_s``: when it was written, epoch seconds. Not ``given``: nobody was there to take it."""

    run: str
    given: bool
    at_s: float
    rows: Sequence[Noted]


def digest(row: Sequence[Any]) -> int:
    """64 bits of a row as a source gives it: ``code, time, values``."""
    return int.from_bytes(blake2b(msgpack.packb(row), digest_size=8).digest())


class RecordFile:
    """The file, to write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o644)

    def write(self, batch: NotedBatch) -> None:
        """Append a batch. When it returns the operating system has it."""
        data: bytes = msgpack.packb((batch.run, batch.given, batch.at_s, batch.rows))
        written = os.write(self._file, _SIZE.pack(len(data)) + data)
        if written != _SIZE.size + len(data):
            raise OSError(f"{written} of {len(data)} bytes could be written")


def noted(rows: Iterable[Sequence[Any]]) -> list[Noted]:
    """Rows of a source as they are noted."""
    return [Noted(row[0], row[1], digest(row)) for row in rows]


def read_record(path: Path) -> Iterator[NotedBatch]:
    """Every whole batch of a file, in order."""
    data = path.read_bytes()
    start = 0
    while start + _SIZE.size <= len(data):
        (size,) = _SIZE.unpack_from(data, start)
        start += _SIZE.size
        if start + size > len(data):
            return
        run, given, at_s, rows = msgpack.unpackb(data[start : start + size])
        yield NotedBatch(run, given, at_s, [Noted(*row) for row in rows])
        start += size
