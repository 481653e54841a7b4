"""Reads one file of the journal from its newest mark to its end, to know how far every topic had come.

Whatever is not whole at the end (half an append of a process that was killed, garbage of a power loss) is left out:
what is known then is exactly what some append had written.
"""

from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hub.journal import columns, disk
from hub.journal.columns import large
from hub.journal.marks import Index, MarkRecord
from hub.journal.parts import PartName
from hub.journal.record import DamagedError, Kind, Reader, Record
from hub.journal.tally import StateRecord, Tally, TopicName, decode_state


@dataclass(slots=True)
class Recovered:
    """What is known of a part. Of its rows ``length`` of ``size`` bytes are whole, of its marks ``marks_length``."""

    state: StateRecord
    tally: Tally
    index: Index
    run: str
    batch: int
    length: int
    size: int
    marks_length: int
    unmarked_names: int
    why_cut: str

    def apply(self, record: Record, reader: Reader) -> None:
        """Go on by one record."""
        tally = self.tally
        if record.at != tally.at + 1:
            raise DamagedError(record.offset, "rows that do not follow those before")
        match record.kind:
            case Kind.ROWS:
                rows = columns.decode(record.head)
                tally.add(
                    record.at, rows.numbers, rows.seqs, rows.times, columns.split(reader.body(record), rows.lengths)
                )
                self.index.add_rows(record.at, record.offset, record.rows)
                self.batch = max(rows.runs.batches) or self.batch
            case Kind.TOPICS:
                names = decode_names(record.head)
                tally.declare(names)
                self.unmarked_names += len(names)
                self.index.add_others(1)
            case Kind.RUN:
                self.run, self.batch = record.head.decode(), 0
                self.index.add_others(1)
            case Kind.BATCH:
                self.batch = int.from_bytes(record.head)
                self.index.add_others(1)
            case Kind.GAP:
                self.index.add_gap(tally.at, record.offset)
            case _:
                raise DamagedError(record.offset, "a record that has no place there")


decode_names = msgspec.msgpack.Decoder(list[TopicName]).decode


def recover(folder: Path, name: PartName) -> Recovered:
    """Read a part. Raises DamagedError when its beginning can't be read, or a newest row that is not at its end."""
    path = name.rows(folder)
    try:
        size = path.stat().st_size
        reader = Reader(disk.open_to_read(path))
    except OSError as error:
        raise DamagedError(0, f"{path.name} cannot be opened ({disk.reason(error)})") from None
    try:
        part = _begin(reader, size)
        _read_marks(part, name.marks(folder))
        _read_newest(part, reader)
        _read_tail(part, reader)
    finally:
        reader.close()
    return part


def _begin(reader: Reader, size: int) -> Recovered:
    record = next(reader.records(0, size), None)
    if record is None or record.kind is not Kind.STATE:
        raise DamagedError(0, "no beginning")
    state = decode_state(record.head)
    tally = state.tally(record.at - 1, reader.body(record))
    index = Index(state.mark(tally.at, record.end))
    return Recovered(state, tally, index, state.run, state.batch, record.end, size, 0, 0, "")


def _read_marks(part: Recovered, path: Path) -> None:
    """Take what the sidecar has; all of it could also be read from the rows, so what is damaged there is no loss."""
    newest: MarkRecord | None = None
    try:
        reader = Reader(disk.open_to_read(path))
    except OSError:
        return
    try:
        for record in reader.records(0, path.stat().st_size):
            mark = MarkRecord.of(record)
            if record.kind is not Kind.MARK or mark.offset > part.size:
                break
            newest = mark
            part.index.add_record(record.at - 1, mark)
            part.tally.declare(mark.topics)
            part.marks_length, part.tally.at = record.end, record.at - 1
    except DamagedError:
        pass
    finally:
        reader.close()
    if newest is not None:
        part.tally.seqs, part.tally.ats = list(large(newest.seqs)), list(large(newest.ats))
        part.tally.newest_times, part.tally.late_at = list(large(newest.newest_times)), newest.late_at
        part.run, part.batch, part.length = newest.run, newest.batch, newest.offset


def _read_newest(part: Recovered, reader: Reader) -> None:
    """Read the newest row of every topic that spoke between the beginning and the newest mark, page by page."""
    tally, state_at = part.tally, part.index.marks[0].at
    by_page: dict[int, list[tuple[int, int]]] = {}
    for number, at in enumerate(tally.ats):
        if at > state_at:
            by_page.setdefault(bisect_right(part.index.page_ats, at) - 1, []).append((at, number))
    for page, wanted in by_page.items():
        wanted.sort(reverse=True)
        for record in reader.records(part.index.page_offsets[page], part.length):
            if record.kind is Kind.ROWS and wanted[-1][0] < record.at + record.rows:
                rows = columns.split(reader.body(record), columns.decode(record.head).lengths)
                while wanted and wanted[-1][0] < record.at + record.rows:
                    at, number = wanted.pop()
                    tally.newest[number] = rows[at - record.at]
            if not wanted:
                break


def _read_tail(part: Recovered, reader: Reader) -> None:
    appended: list[Record] = []
    try:
        for record in reader.records(part.length, part.size):
            appended.append(record)
            if not record.ends_append:
                continue
            for each in appended:
                reader.body(each)  # all of it, or nothing of it
            for each in appended:
                part.apply(each, reader)
            appended.clear()
            part.length = record.end
        if appended:
            raise DamagedError(part.length, "an append that is not all there")
    except DamagedError as error:
        part.why_cut = str(error)
