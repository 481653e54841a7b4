"""Cuts the end of a closed journal off: rows that were written, and that another process has numbered otherwise.

What is kept ends where an append ended, at the given place or a little before it: whoever cuts can have the rest again.
"""

from pathlib import Path

from hub.journal import disk
from hub.journal.lock import Lock
from hub.journal.marks import MarkRecord
from hub.journal.parts import Found, PartName, find
from hub.journal.proof import ProofFile, read_proof
from hub.journal.record import DamagedError, Kind, Reader
from hub.journal.recovery import Recovered, recover

Place = tuple[int, int]
"""An arrival number, and how many of the gap notices right after that row."""


def cut_journal(folder: Path, place: Place) -> int | None:
    """Let go of everything after a place.

    Returns:
        How many rows were let go of; None, and nothing is done, where it can't be read or doesn't reach back as far.

    Raises:
        JournalInUseError: another process has it.
        JournalError: it can't be written.
    """
    try:
        lock = Lock(folder)
        try:
            return _cut(folder, place)
        finally:
            lock.release()
    except OSError as error:
        raise disk.JournalError(f"the journal {folder} cannot be cut: {disk.reason(error)}") from None


def _cut(folder: Path, place: Place) -> int | None:
    left = read_proof(folder)
    newer: list[Found] = []
    end_at: int | None = None
    for found in reversed(find(folder)):
        if left is None or not found.whole:
            return None
        try:
            part = recover(folder, found.name)
            if part.state.epoch != left.epoch:
                return None
            end_at = part.tally.at if end_at is None else end_at
            end = _end_of(folder, found.name, part, place)
        except DamagedError:
            return None
        if end is None:
            newer.append(found)
            continue
        at, length = end
        if not newer and length == part.length:
            return 0
        # What proves comes first: it speaks of no more than what is there until all is done.
        ProofFile.begin(folder, left._replace(part=found.name.number, length=length, closed=False)).close()
        for gone in newer:
            for path in gone.paths:
                path.unlink()
        disk.open_to_append(found.name.rows(folder), length).close()
        _cut_marks(found.name.marks(folder), length)
        return end_at - at
    return None


def _end_of(folder: Path, name: PartName, part: Recovered, place: Place) -> tuple[int, int] | None:
    """Where in a part the newest append ends that is not behind a place: its arrival number, and the offset."""
    marks = part.index.marks
    if (marks[0].at, 0) > place:
        return None
    mark = next((mark for mark in reversed(marks) if mark.at < place[0]), marks[0])
    at, told, end = mark.at, 0, (mark.at, mark.offset)
    reader = Reader(disk.open_to_read(name.rows(folder)))
    try:
        for record in reader.records(mark.offset, part.length):
            if record.kind is Kind.ROWS:
                at, told = record.at + record.rows - 1, 0
            elif record.kind is Kind.GAP:
                told += 1
            if (at, told) > place:
                break
            if record.ends_append:
                end = at, record.end
    finally:
        reader.close()
    return end


def _cut_marks(path: Path, length: int) -> None:
    """Keep the marks of what is kept."""
    try:
        reader = Reader(disk.open_to_read(path))
    except FileNotFoundError:
        return
    end = 0
    try:
        for record in reader.records(0, path.stat().st_size):
            if record.kind is not Kind.MARK or MarkRecord.of(record).offset > length:
                break
            end = record.end
    except DamagedError:
        pass  # what lies behind it is read from the rows
    finally:
        reader.close()
    disk.open_to_append(path, end).close()
