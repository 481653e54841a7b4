"""Where things are in one file of the journal: marks, pages and gap notices.

A *mark* holds, for a place between two rows, how far every topic had come: its ``seq`` and the newest time it had
reached. A row is found by bisecting the marks and searching the one *block* between two of them. A *page* is what is
read at once to read on. Marks are kept in a sidecar, for the next start; what it lacks is read from the rows.
"""

from array import array
from bisect import bisect_right
from typing import Final

import msgspec

from hub.journal.columns import large
from hub.journal.record import Kind, Record, encode

PAGE_ROWS: Final = 4096
BLOCK_ROWS: Final = 1 << 16
BLOCK_ROWS_PER_TOPIC: Final = 12
"""A mark costs 16 bytes in memory and 24 on disk for every topic. With so many rows in a block of the whole market that
is 2 bytes a row at most, however many topics there are; what it saves is searching, see docs/journal.md."""
BLOCK_RECORDS: Final = 1 << 14
"""Tiny records (a row at a time) cost more to search than their rows: so these are counted as well."""

NEVER_MS: Final = -1
"""The newest time of a topic that has no row."""


class Mark:
    """How far every topic had come after row ``at``. ``offset``: where in the file the next record begins."""

    __slots__ = ("_newest_times", "_seqs", "at", "offset")

    def __init__(self, at: int, offset: int, seqs: "array[int]", newest_times: "array[int]") -> None:
        self.at = at
        self.offset = offset
        self._seqs = seqs
        self._newest_times = newest_times

    def seq(self, number: int) -> int:
        """The number of a topic's newest row, 0 before its first."""
        return self._seqs[number] if number < len(self._seqs) else 0

    def newest_time_ms(self, number: int) -> int:
        """The newest exchange time among all rows of a topic."""
        return self._newest_times[number] if number < len(self._newest_times) else NEVER_MS


class MarkRecord(msgspec.Struct, array_like=True, frozen=True):
    """A mark in the sidecar: columns by topic, and what is new since the mark before."""

    offset: int
    run: str
    batch: int
    topics: list[tuple[str, str]]
    seqs: bytes
    newest_times: bytes
    ats: bytes
    page_ats: bytes
    page_offsets: bytes
    gap_ats: bytes
    gap_offsets: bytes
    late_at: int

    def to_bytes(self, at: int) -> bytes:
        """As it is written."""
        return encode(Kind.MARK, at + 1, _encode(self))

    @staticmethod
    def of(record: Record) -> "MarkRecord":
        """As it was written."""
        return _decode(record.head)


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(MarkRecord).decode


class Index:
    """The marks of one file, and since the newest of them the pages and gap notices that the next one will hold."""

    def __init__(self, base: Mark) -> None:
        self.marks = [base]
        self.page_ats = large()
        self.page_offsets = large()
        self.gap_ats = large()
        self.gap_offsets = large()
        self._page_rows = PAGE_ROWS
        self._rows = 0
        self._records = 0
        self._marked_pages = 0
        self._marked_gaps = 0

    def mark_due(self, topics: int) -> bool:
        """Whether the block has become long, for so many topics."""
        return self._rows >= max(BLOCK_ROWS, BLOCK_ROWS_PER_TOPIC * topics) or self._records >= BLOCK_RECORDS

    @property
    def changed(self) -> bool:
        """Whether anything was added since the newest mark."""
        return self._records > 0

    def add_rows(self, at: int, offset: int, count: int) -> None:
        """Note a record of rows."""
        self._page_rows += count
        self._rows += count
        self._records += 1
        if self._page_rows > PAGE_ROWS:
            self._page_rows = count
            self.page_ats.append(at)
            self.page_offsets.append(offset)

    def add_gap(self, after_at: int, offset: int) -> None:
        """Note a gap notice."""
        self._records += 1
        self.gap_ats.append(after_at)
        self.gap_offsets.append(offset)

    def add_others(self, count: int) -> None:
        """Note records that nobody looks for."""
        self._records += count

    def page(self, at: int) -> tuple[int, int, int | None]:
        """The page of a row: arrival number of its first row, its offset, that of the next page (None: none yet)."""
        number = bisect_right(self.page_ats, at) - 1
        stop = self.page_offsets[number + 1] if number + 1 < len(self.page_offsets) else None
        return self.page_ats[number], self.page_offsets[number], stop

    def add_mark(self, mark: Mark) -> None:
        """Begin a block."""
        self.marks.append(mark)
        self._page_rows = PAGE_ROWS
        self._rows = self._records = 0
        self._marked_pages = len(self.page_ats)
        self._marked_gaps = len(self.gap_ats)

    def to_record(
        self, mark: Mark, ats: list[int], late_at: int, run: str, batch: int, topics: list[tuple[str, str]]
    ) -> MarkRecord:
        """The next mark as it goes into the sidecar.

        Args:
            ats: where the newest row of every topic is.
            late_at: the newest row that is older than one of its topic before.
        """
        pages, gaps = slice(self._marked_pages, None), slice(self._marked_gaps, None)
        return MarkRecord(
            mark.offset,
            run,
            batch,
            topics,
            mark._seqs.tobytes(),
            mark._newest_times.tobytes(),
            large(ats).tobytes(),
            self.page_ats[pages].tobytes(),
            self.page_offsets[pages].tobytes(),
            self.gap_ats[gaps].tobytes(),
            self.gap_offsets[gaps].tobytes(),
            late_at,
        )

    def add_record(self, at: int, record: MarkRecord) -> None:
        """Begin a block where one began before."""
        self.page_ats.frombytes(record.page_ats)
        self.page_offsets.frombytes(record.page_offsets)
        self.gap_ats.frombytes(record.gap_ats)
        self.gap_offsets.frombytes(record.gap_offsets)
        self.add_mark(Mark(at, record.offset, large(record.seqs), large(record.newest_times)))
