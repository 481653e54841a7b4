"""How the journal's files are made: records one after the other, each with a check of itself.

A record is a header, a *head* (columns, small) and a *body* (rows, large). Head and body are checked apart, so that
columns can be searched without reading the rows. The last record of everything that was appended at once says so:
whatever comes after the last such record was never shown to anybody.
"""

import struct
from collections.abc import Iterator
from enum import IntEnum
from io import FileIO
from typing import Final, NamedTuple

from zlib_ng.zlib_ng import crc32

FORMAT: Final = 1
"""Changes whenever the files of an older hub could be misread."""

_MAGIC: Final = b"AJ"
_HEADER: Final = struct.Struct("<2sBBB3xIIIqI")
_CHECK: Final = struct.Struct("<I")
HEADER_BYTES: Final = _HEADER.size + _CHECK.size
_CHUNK_BYTES: Final = 1 << 17


class Kind(IntEnum):
    """What a record holds."""

    STATE = 1  # the first of every file: the newest row and number of every topic before it
    TOPICS = 2  # topics that speak for the first time, in the order of their numbers
    ROWS = 3
    GAP = 4  # rows that the source never gave
    RUN = 5  # the source began another run: batch numbers start again
    BATCH = 6  # a batch without rows, that the feeder needn't send again
    MARK = 7  # in the sidecar: a place from which to read on


class DamagedError(Exception):
    """A record is not what was written. ``offset`` is where in the file it begins."""

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(f"{why} at byte {offset}")
        self.offset = offset


class Record(NamedTuple):
    """A record without its body. ``at``: arrival number of its first row, or of the row that would come next."""

    kind: Kind
    ends_append: bool
    rows: int
    at: int
    head: bytes
    offset: int
    body_bytes: int
    body_check: int

    @property
    def body_offset(self) -> int:
        """Where in the file the body begins."""
        return self.offset + HEADER_BYTES + len(self.head)

    @property
    def end(self) -> int:
        """Where in the file the next record begins."""
        return self.body_offset + self.body_bytes


def encode(
    kind: Kind, at: int, head: bytes, body: bytes | memoryview = b"", *, rows: int = 0, ends_append: bool = True
) -> bytes:
    """Everything of a record but its body, which has to follow."""
    header = _HEADER.pack(_MAGIC, FORMAT, kind, ends_append, rows, len(head), len(body), at, crc32(body))
    return header + _CHECK.pack(crc32(head, crc32(header))) + head


class Reader:
    """Reads records of one file. What it returns has been checked; anything else is a `DamagedError`."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._data = b""
        self._start = 0

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def records(self, start: int, stop: int) -> Iterator[Record]:
        """The records from ``start`` up to ``stop``, without reading their bodies more than need be."""
        offset = start
        while offset < stop:
            record = self._record(offset, stop)
            yield record
            offset = record.end

    def body(self, record: Record) -> bytes:
        """The body of a record."""
        body = self._take(record.body_offset, record.body_bytes, record.offset) if record.body_bytes else b""
        if crc32(body) != record.body_check:
            raise DamagedError(record.offset, "rows that are not what was written")
        return body

    def read_ahead(self, start: int, stop: int) -> None:
        """Read a stretch of the file at once, for the calls that follow."""
        self._fill(start, stop - start, start)

    def _record(self, offset: int, stop: int) -> Record:
        if offset + HEADER_BYTES > stop:
            raise DamagedError(offset, "half a header")
        start = self._take(offset, HEADER_BYTES, offset)
        header, check = start[: _HEADER.size], start[_HEADER.size :]
        magic, form, kind, ends_append, rows, head_bytes, body_bytes, at, body_check = _HEADER.unpack(header)
        if magic != _MAGIC or form != FORMAT:
            raise DamagedError(offset, "no record of this version")
        if offset + HEADER_BYTES + head_bytes + body_bytes > stop:
            raise DamagedError(offset, "a record that is not all there")
        head = self._take(offset + HEADER_BYTES, head_bytes, offset)
        if crc32(head, crc32(header)) != _CHECK.unpack(check)[0]:
            raise DamagedError(offset, "a record that is not what was written")
        return Record(Kind(kind), bool(ends_append), rows, at, head, offset, body_bytes, body_check)

    def _take(self, offset: int, size: int, record: int) -> bytes:
        begin = offset - self._start
        if begin < 0 or begin + size > len(self._data):
            self._fill(offset, max(size, _CHUNK_BYTES), record)
            begin = 0
        data = self._data[begin : begin + size]
        if len(data) < size:
            raise DamagedError(record, "the end of the file")
        return data

    def _fill(self, offset: int, size: int, record: int) -> None:
        self._data, self._start = b"", offset
        parts = []
        try:
            self._file.seek(offset)
            while size > 0 and (part := self._file.read(size)):
                parts.append(part)
                size -= len(part)
        except OSError as error:
            raise DamagedError(record, f"the disk cannot read ({error.strerror})") from None
        self._data = parts[0] if len(parts) == 1 else b"".join(parts)
