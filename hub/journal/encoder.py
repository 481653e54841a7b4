"""What is appended at once, as records: new topics, then rows in the order of their arrival, gap notices between them.

Batches that follow each other share a record, so that a source that gives a row at a time does not cost a record a row.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import accumulate, chain
from typing import Final, NamedTuple

import msgspec

from hub.journal import columns
from hub.journal.archive import encode_gap
from hub.journal.columns import Columns, Runs, joined, small
from hub.journal.marks import PAGE_ROWS
from hub.journal.record import HEADER_BYTES, Kind, encode
from hub.past import GapNotice
from hub.topic import Topic

_KEPT_BYTES: Final = 1 << 23
"""Memory that is kept for the next append."""

_encode_names: Final = msgspec.msgpack.Encoder().encode


class Stretch(NamedTuple):
    """Rows that follow each other in the log; or none, for a batch that had none.

    ``first_at`` is the arrival number of the first, ``runs`` the batches that they came in. The other sequences have
    one element a row; ``rows`` are msgpack arrays ``[code, seq, time, recv, ...]``.
    """

    first_at: int
    runs: Runs
    topics: Sequence[Topic]
    seqs: "array[int]"
    times: "array[int]"
    rows: Sequence[bytes]


class RunBegins(NamedTuple):
    """The source begins another run: its batch numbers start again."""

    run: str


Entry = Stretch | GapNotice | RunBegins


class RowsRecord(NamedTuple):
    """Rows that go into one record; the first has arrival number ``at``."""

    at: int
    columns: Columns
    rows: Sequence[bytes]


@dataclass(slots=True)
class Appended:
    """What one append holds. ``at`` is the arrival number of the newest row."""

    at: int
    topics: list[Topic] = field(default_factory=list)
    """Those that have no number yet. They get the next ones."""
    rows: list[tuple[int, RowsRecord]] = field(default_factory=list)
    """With the offset of each record from the beginning of the append."""
    gaps: list[tuple[int, GapNotice]] = field(default_factory=list)
    others: int = 0
    """Records without rows or gap notices."""
    run: str | None = None
    batch: int = 0


_Item = RowsRecord | GapNotice | RunBegins | int
"""What becomes a record; a number is that of a batch without rows."""


class Encoder:
    """Makes the bytes of appends, always in the same memory.

    New memory for every append would be given back to the operating system and asked for again each time, which
    costs as much as everything else here together.
    """

    def __init__(self) -> None:
        self._buffer = BytesIO()

    def encode(self, entries: Iterable[Entry], at: int, known: int) -> tuple[Appended, memoryview]:
        """Make the bytes of everything that follows row ``at``, in order and without a hole.

        Args:
            known: how many topics have a number.

        Returns:
            What it holds, and the bytes (none if there is nothing to write); release them before the next call.

        Raises:
            ValueError: there is a hole.
        """
        done, items = _plan(entries, at, known)
        if self._buffer.tell() > _KEPT_BYTES:
            self._buffer = BytesIO()
        self._buffer.seek(0)
        if done.topics:
            names = _encode_names([(topic.channel, topic.code) for topic in done.topics])
            self._buffer.write(encode(Kind.TOPICS, at + 1, names, ends_append=False))
            done.others += 1
        for number, item in enumerate(items, 1):
            at = self._add(item, at, done, ends_append=number == len(items))
        return done, self._buffer.getbuffer()[: self._buffer.tell()]

    def _add(self, item: _Item, at: int, done: Appended, *, ends_append: bool) -> int:
        offset = self._buffer.tell()
        if isinstance(item, RowsRecord):
            done.rows.append((offset, item))
            self._add_rows(item, offset, ends_append)
            return item.at + len(item.rows) - 1
        if isinstance(item, GapNotice):
            done.gaps.append((offset, item))
            self._buffer.write(encode_gap(item, ends_append=ends_append))
            return at
        done.others += 1
        kind, head = (Kind.BATCH, item.to_bytes(8)) if isinstance(item, int) else (Kind.RUN, item.run.encode())
        self._buffer.write(encode(kind, at + 1, head, ends_append=ends_append))
        return at

    def _add_rows(self, item: RowsRecord, offset: int, ends_append: bool) -> None:
        buffer, head = self._buffer, columns.encode(item.columns)
        begin = buffer.seek(offset + HEADER_BYTES + len(head))
        buffer.writelines(item.rows)
        end = buffer.tell()
        with buffer.getbuffer() as data, data[begin:end] as body:
            record = encode(Kind.ROWS, item.at, head, body, rows=len(item.rows), ends_append=ends_append)
        buffer.seek(offset)
        buffer.write(record)
        buffer.seek(end)


def _plan(entries: Iterable[Entry], at: int, known: int) -> tuple[Appended, list[_Item]]:
    done = Appended(at)
    items: list[_Item] = []
    stretches: list[Stretch] = []
    for entry in entries:
        if isinstance(entry, Stretch):
            if entry.first_at != done.at + 1:
                raise ValueError(f"rows from {entry.first_at} on do not follow row {done.at}")
            done.batch = max(entry.runs.batches) or done.batch
            if entry.rows:
                stretches.append(entry)
                done.at += len(entry.rows)
                continue
        items += _records(stretches, known, done.topics)
        stretches = []
        if isinstance(entry, Stretch):
            items += filter(None, entry.runs.batches)
            continue
        items.append(entry)
        if isinstance(entry, RunBegins):
            done.run, done.batch = entry.run, 0
        elif entry.after_at != done.at:
            raise ValueError(f"a gap notice after row {entry.after_at} does not follow row {done.at}")
    items += _records(stretches, known, done.topics)
    return done, items


def _records(stretches: Iterable[Stretch], known: int, created: list[Topic]) -> Iterator[RowsRecord]:
    """The records of stretches that follow each other: as few as there are pages."""
    for page in _pages(stretches):
        first_at, runs, topics, seqs, times, rows = page[0]
        if len(page) > 1:
            runs = _joined_runs(page)
            topics = list(chain.from_iterable(stretch.topics for stretch in page))
            seqs = joined(stretch.seqs for stretch in page)
            times = joined(stretch.times for stretch in page)
            rows = list(chain.from_iterable(stretch.rows for stretch in page))
        numbers = _numbers(topics, known, created)
        yield RowsRecord(first_at, Columns(numbers, small(map(len, rows)), seqs, times, runs), rows)


def _pages(stretches: Iterable[Stretch]) -> Iterator[list[Stretch]]:
    """Group stretches into pages. One that has no room left begins another, so that whole markets are not copied."""
    page: list[Stretch] = []
    held = 0
    for stretch in stretches:
        for part in _cut(stretch):
            if held + len(part.rows) > PAGE_ROWS:
                yield page
                page, held = [], 0
            page.append(part)
            held += len(part.rows)
    if page:
        yield page


def _cut(stretch: Stretch) -> Iterator[Stretch]:
    """A stretch in parts of a page at most."""
    if len(stretch.rows) <= PAGE_ROWS:
        yield stretch
        return
    at, runs, topics, seqs, times, rows = stretch
    for start in range(0, len(rows), PAGE_ROWS):
        part = slice(start, start + PAGE_ROWS)
        inside = slice(bisect_right(runs.starts, start) - 1, bisect_left(runs.starts, part.stop))
        starts = small(max(0, begin - start) for begin in runs.starts[inside])
        runs_inside = Runs(starts, runs.recvs[inside], runs.batches[inside])
        yield Stretch(at + start, runs_inside, topics[part], seqs[part], times[part], rows[part])


def _joined_runs(page: Sequence[Stretch]) -> Runs:
    """The runs of some stretches, one behind the other."""
    begins = accumulate((len(stretch.rows) for stretch in page), initial=0)
    return Runs(
        small(begin + start for begin, stretch in zip(begins, page, strict=False) for start in stretch.runs.starts),
        joined(stretch.runs.recvs for stretch in page),
        joined(stretch.runs.batches for stretch in page),
    )


def _numbers(topics: Sequence[Topic], known: int, created: list[Topic]) -> "array[int]":
    try:
        return small([topic.number for topic in topics])
    except OverflowError:  # one has none yet
        new = {topic: known + i for i, topic in enumerate(created)}
        for topic in topics:
            if topic.number < 0 and topic not in new:
                new[topic] = known + len(new)
                created.append(topic)
        return small([new.get(topic, topic.number) for topic in topics])
