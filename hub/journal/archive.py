"""The reading side: the files of one epoch in order, opened as they are needed, and rows read back from them.

What is held is always one unbroken stretch up to the newest row; the *base* says where it begins. A file that is
deleted takes the rows before it along, a damaged place everything up to the next mark.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from hub.journal import columns, disk
from hub.journal.columns import Columns
from hub.journal.marks import Index, Mark
from hub.journal.parts import PartName
from hub.journal.record import DamagedError, Kind, Reader, encode
from hub.journal.recovery import recover
from hub.past import GapNotice
from hub.segment import Segment
from hub.topic import Topic

OPEN_PARTS: Final = 6
"""Files that are open at once with their marks, beside the one that is written."""
KEPT_SEGMENTS: Final = 16
KEPT_SEGMENTS_BYTES: Final = 1 << 26
"""Segments that are kept for the next reader: so many, and no more bytes than that unless it is a single one."""


def encode_gap(notice: GapNotice, *, ends_append: bool) -> bytes:
    """A gap notice as it is written."""
    return encode(Kind.GAP, notice.after_at + 1, msgspec.msgpack.encode(notice), ends_append=ends_append)


_decode_gap: Final = msgspec.msgpack.Decoder(GapNotice).decode


@dataclass(slots=True)
class OpenPart:
    """A part that can be read. ``length``: up to where its rows are whole."""

    reader: Reader
    index: Index
    length: int

    def columns(self, block: int) -> Iterator[tuple[int, Columns]]:
        """The columns of the rows between a mark and the next, with the arrival number of the first of each record."""
        marks = self.index.marks
        stop = marks[block + 1].offset if block + 1 < len(marks) else self.length
        for record in self.reader.records(marks[block].offset, stop):
            if record.kind is Kind.ROWS:
                yield record.at, columns.decode(record.head)


@dataclass(slots=True)
class Part:
    """A part of the archive, open or not."""

    name: PartName
    base: Mark
    opened: OpenPart | None = None


class Archive:
    """What is held of an epoch.

    Args:
        on_drop: called before rows are let go, with the arrival number of the last of them. They can be looked up then.
        on_note: called with words for the log when a file turns out to be damaged.
        mark_now: makes a mark after the newest row.
    """

    def __init__(
        self,
        folder: Path,
        *,
        on_drop: Callable[[int], None],
        on_note: Callable[[str], None],
        mark_now: Callable[[], Mark],
    ) -> None:
        self.parts: list[Part] = []
        self.base = Mark(0, 0, columns.large(), columns.large())
        self.topics: list[Topic] = []
        """By number."""
        self._folder = folder
        self._on_drop = on_drop
        self._on_note = on_note
        self._mark_now = mark_now
        self._dropping = False
        self._open: OrderedDict[int, Part] = OrderedDict()
        self._segments: OrderedDict[int, tuple[Segment, int]] = OrderedDict()
        self._segments_bytes = 0

    def add(self, part: Part) -> None:
        """Add the newest part."""
        if self.parts:
            self._may_close(self.parts[-1])
        else:
            self.base = part.base
        self.parts.append(part)

    def close(self) -> None:
        """Close all files."""
        for part in self.parts:
            self._close(part)

    def part_of(self, at: int) -> int:
        """The place of the part in which a row is."""
        return bisect_left(self.parts, at, key=lambda part: part.base.at) - 1

    def open(self, place: int) -> OpenPart:
        """Open a part, if need be. Raises DamagedError when not all of it can be read."""
        part = self.parts[place]
        if part.opened is None:
            found = recover(self._folder, part.name)
            if found.tally.at < self.parts[place + 1].base.at:
                raise DamagedError(found.length, found.why_cut or "rows are missing")
            part.opened = OpenPart(Reader(disk.open_to_read(part.name.rows(self._folder))), found.index, found.length)
        if place + 1 < len(self.parts):
            self._may_close(part)
        return part.opened

    def load(self, at: int) -> Segment | None:
        """A segment that contains a row; None when it is not held (any more)."""
        if not self.base.at < at:
            return None
        place = self.part_of(at)
        try:
            opened = self.open(place)
            first_at, start, stop = opened.index.page(at)
            kept = self._segments.get(first_at)
            if kept is not None:
                self._segments.move_to_end(first_at)
                return kept[0]
            end = opened.length if stop is None else stop
            segment = self._read(opened, first_at, start, end)
        except DamagedError as error:
            self.give_up(place, error)
            return None
        if at >= segment.end_at:
            return None
        if stop is not None or place + 1 < len(self.parts):  # else it still grows
            self._keep(segment, end - start)
        return segment

    def gaps_between(self, at: int, up_to: int) -> list[GapNotice]:
        """The gap notices with ``at <= after_at < up_to``, in order."""
        found: list[GapNotice] = []
        at = max(at, self.base.at)
        place = max(0, self.part_of(at))
        while place < len(self.parts) and self.parts[place].base.at < up_to:
            try:
                opened = self.open(place)
                ats, offsets = opened.index.gap_ats, opened.index.gap_offsets
                # Those after the last row of a part are also in the next one, which may outlive it.
                end_at = self.parts[place + 1].base.at if place + 1 < len(self.parts) else up_to
                for number in range(bisect_left(ats, at), bisect_left(ats, min(end_at, up_to))):
                    record = next(opened.reader.records(offsets[number], opened.length))
                    found.append(_decode_gap(record.head))
            except DamagedError as error:
                if not self.give_up(place, error):
                    return found
                return self.gaps_between(at, up_to)
            place += 1
        return found

    def drop_before(self, mark: Mark) -> None:
        """Let go of all rows up to a mark."""
        if mark.at > self.base.at:
            if self.topics:  # else nobody reads yet
                self._dropping = True
                try:
                    self._on_drop(mark.at)
                finally:
                    self._dropping = False
            self.base = mark
        while len(self.parts) > 1 and self.parts[1].base.at <= mark.at:
            self._close(self.parts.pop(0))

    def give_up(self, place: int, error: DamagedError) -> bool:
        """Let go of everything up to the first mark after a damaged place.

        Returns:
            False when that is already under way: then there is nothing to be gained by looking again.
        """
        if self._dropping:
            return False
        part = self.parts[place]
        marks = [] if part.opened is None else part.opened.index.marks
        after = [mark for mark in marks if mark.offset > error.offset]
        if not after:
            after = [self.parts[place + 1].base if place + 1 < len(self.parts) else self._mark_now()]
        rows = after[0].at - self.base.at
        path = part.name.rows(self._folder).name
        self._on_note(f"{path} is damaged: {error}; the {rows} oldest rows of the journal can no longer be served")
        self.drop_before(after[0])
        return True

    def _read(self, opened: OpenPart, first_at: int, start: int, stop: int) -> Segment:
        opened.reader.read_ahead(start, stop)
        segment = Segment(first_at)
        topics, channels = self.topics, segment.channels
        for record in opened.reader.records(start, stop):
            if record.kind is not Kind.ROWS:
                continue
            rows = columns.decode(record.head)
            offset = record.at - first_at
            segment.rows += columns.split(opened.reader.body(record), rows.lengths)
            segment.topics += map(topics.__getitem__, rows.numbers)
            segment.seqs += rows.seqs
            segment.times += rows.times
            for begin, recv_us in zip(rows.runs.starts, rows.runs.recvs, strict=True):
                channel = topics[rows.numbers[begin]].channel
                if not channels or channels[-1][1] != channel:
                    channels.append((offset + begin, channel))
                segment.note_recv(offset + begin, recv_us)
        return segment

    def _keep(self, segment: Segment, size: int) -> None:
        self._segments[segment.first_at] = segment, size
        self._segments_bytes += size
        while len(self._segments) > 1 and (
            len(self._segments) > KEPT_SEGMENTS or self._segments_bytes > KEPT_SEGMENTS_BYTES
        ):
            self._segments_bytes -= self._segments.popitem(last=False)[1][1]

    def _may_close(self, part: Part) -> None:
        """Count a part as used just now, and close the one that was not for the longest time."""
        if part.opened is None:
            return
        self._open[part.name.number] = part
        self._open.move_to_end(part.name.number)
        if len(self._open) > OPEN_PARTS:
            self._close(self._open.popitem(last=False)[1])

    def _close(self, part: Part) -> None:
        self._open.pop(part.name.number, None)
        if part.opened is not None:
            part.opened.reader.close()
            part.opened = None
