"""The trading day on disk: rows are written before anybody sees them, and found again when the ring has let them go.

One process writes, on one thread; another thread waits for the disk. What is written by ``append`` outlives the process
at once, and a power loss when it has been made durable. See docs/journal.md.
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import accumulate
from pathlib import Path
from typing import NoReturn

from hub.journal import disk
from hub.journal.archive import OpenPart, Part, encode_gap
from hub.journal.disk import JournalError
from hub.journal.encoder import Appended, Encoder, Entry
from hub.journal.keeper import Keeper
from hub.journal.lock import Lock
from hub.journal.marks import Index, Mark
from hub.journal.parts import PartName, expired, find
from hub.journal.past import Past
from hub.journal.proof import Proof, ProofFile
from hub.journal.record import Reader
from hub.journal.settings import JournalSettings
from hub.journal.single import Single, encode_single
from hub.journal.tally import Tally, encode_state
from hub.journal.writer import PartWriter


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose history it is."""

    epoch: str
    source: str
    boot: str


@dataclass(slots=True)
class Begun:
    """Where a journal is when it is opened; ``unmarked_names`` topics are new since the newest mark."""

    tally: Tally
    index: Index
    run: str
    batch: int = 0
    unmarked_names: int = 0
    older: list[Part] = field(default_factory=list)


class Journal(Past):
    """An open journal. `hub.journal.open_journal` makes it.

    Whoever writes calls ``append`` before rows are delivered and ``settle`` after; both raise JournalError once nothing
    can be written any more. What was written before can be read even then.
    """

    def __init__(
        self,
        folder: Path,
        settings: JournalSettings,
        owner: Owner,
        lock: Lock,
        writer: PartWriter,
        begun: Begun,
        on_drop: Callable[[int], None],
        on_note: Callable[[str], None],
    ) -> None:
        super().__init__(folder, begun.tally, on_drop=on_drop, on_note=on_note, mark_now=self._mark_now)
        self.run = begun.run
        self.batch = begun.batch
        """The newest batch of this run that is written; 0: none."""
        self.failed = ""
        """Why nothing can be written any more; empty while all is well."""
        self._settings = settings
        self._owner = owner
        self._lock = lock
        self._encoder = Encoder()
        self._keeper = Keeper(settings.fsync_s)
        self._marked_names = len(begun.tally.names) - begun.unmarked_names
        self._older_bytes = 0
        for part in begun.older:
            self._archive.add(part)
        self._use(writer, begun.index)
        try:
            self._retain()
            self._proof = ProofFile.begin(
                folder, Proof(writer.name.number, writer.length, False, settings.fsync_s == 0, owner.epoch, owner.boot)
            )
        except BaseException:
            self._archive.close()
            raise
        self._keeper.start()

    @property
    def epoch(self) -> str:
        """Of the history that is written."""
        return self._owner.epoch

    @property
    def day(self) -> str:
        """The trading day that is written, such as 2026-03-02."""
        return self._writer.name.day

    @property
    def bytes(self) -> int:
        """What all files take."""
        return self._older_bytes + self._writer.length + self._writer.marks_length

    def append(self, entries: Iterable[Entry]) -> None:
        """Write rows, gap notices and beginnings of runs, in order, all of them or (when killed) none.

        When it returns they outlast this process.

        Raises:
            ValueError: there is a hole before or between them.
            JournalError: they could not be written, and no later ones will be.
        """
        if self.failed:
            raise JournalError(self.failed)
        appended, data = self._encoder.encode(entries, self.at, len(self._archive.topics))
        with data:
            if data:
                start = self._writer.length
                self._write(data)
                self._note(appended, start)

    def append_single(self, single: Single) -> None:
        """Write one row. The same as ``append``, in a shorter way."""
        if self.failed:
            raise JournalError(self.failed)
        standing, writer, opened = self._standing, self._writer, self._opened
        if single.at != standing.at + 1:
            raise ValueError(f"row {single.at} does not follow row {standing.at}")
        start = writer.length
        self._write(encode_single(single))
        opened.index.add_rows(single.at, start, 1)
        opened.length = writer.length
        standing.at = single.at
        self.batch = single.batch or self.batch

    def settle(self) -> None:
        """Do what the last append left to do, once its rows are delivered: mark, begin a new file.

        Raises:
            JournalError: as ``append`` does, but for the rows of the last append, which are written.
        """
        if self.failed:
            return
        try:
            index = self._opened.index
            if index.mark_due(len(self._archive.topics)):
                self._write_mark()
            if self._writer.length - index.marks[0].offset >= self._settings.roll_bytes and self._standing.is_newest():
                self._roll(self.day)
        except OSError as error:
            self._fail(error)

    def roll(self, day: date) -> None:
        """Begin the file of another trading day, and delete those whose time is over.

        Raises:
            ValueError: rows were published that were not appended: the newest are not known any more.
            JournalError: as ``append`` does.
        """
        if self.failed:
            raise JournalError(self.failed)
        if day.isoformat() == self.day:
            return
        if not self._standing.is_newest():
            raise ValueError("a trading day ends with its last row: append it first")
        try:
            self._roll(day.isoformat())
        except OSError as error:
            self._fail(error)

    def close(self) -> None:
        """Make everything durable, so that the next start knows that nothing is missing, and let others have it."""
        self._keeper.watch(None)
        self._keeper.stop()
        try:
            if not self.failed:
                if self._opened.index.changed:
                    self._write_mark()
                self._writer.make_durable()
                disk.make_durable(self._writer.marks)
                disk.make_folder_durable(self._folder)
                self._proof.write(self._writer.length, closed=self._keeper.failure is None)
                self._proof.make_durable()
        except OSError as error:
            self._fail(error)
        finally:
            self._archive.close()
            self._writer.close()
            self._proof.close()
            self._lock.release()

    def _write(self, data: disk.Data) -> None:
        """Write an append, so that it outlasts this process."""
        try:
            if self._keeper.failure is not None:
                raise self._keeper.failure
            self._writer.write(data)
            if self._settings.fsync_s == 0:
                self._writer.make_durable()
            self._proof.write(self._writer.length)
        except OSError as error:
            self._fail(error)
        self._keeper.note_write()

    def _note(self, appended: Appended, start: int) -> None:
        """Know what was written."""
        index = self._opened.index
        if appended.topics:
            for number, topic in enumerate(appended.topics, len(self._archive.topics)):
                topic.number = number
            self._archive.topics += appended.topics
        for offset, record in appended.rows:
            index.add_rows(record.at, start + offset, len(record.rows))
        for offset, notice in appended.gaps:
            index.add_gap(notice.after_at, start + offset)
        if appended.run is not None:
            self.run, self.batch = appended.run, 0
        index.add_others(appended.others)
        self.batch = appended.batch or self.batch
        self._standing.at = appended.at
        self._opened.length = self._writer.length

    def _write_mark(self) -> None:
        index = self._opened.index
        if self._archive.topics:
            tally = self._standing.counts(self._marked_names)
            names = tally.names
        else:  # as they stood at the start: it is not known yet who they are
            tally = self._begun
            names = tally.names[self._marked_names :]
        mark = tally.mark(self._writer.length)
        record = index.to_record(mark, tally.ats, tally.late_at, self.run, self.batch, names)
        index.add_mark(mark)
        self._marked_names = len(tally.seqs)
        self._writer.write_mark(record.to_bytes(mark.at))

    def _tally(self) -> Tally:
        """How the topics stand; as they did at the start where it is not known yet who they are."""
        return self._standing.tally() if self._archive.topics else self._begun

    def _mark_now(self) -> Mark:
        """A mark in the middle of things, because what stands before it can't be read."""
        try:
            self._write_mark()
        except OSError as error:
            with suppress(JournalError):  # the next append will say so
                self._fail(error)
        return self._opened.index.marks[-1]

    def _roll(self, day: str) -> None:
        if self._opened.index.changed:
            self._write_mark()
        old = self._writer
        self._begin(PartName(old.name.number + 1, day))
        self._keeper.retire(old.rows)
        self._keeper.retire(old.marks)
        self._proof.write(self._writer.length, part=self._writer.name.number)
        self._retain()

    def _begin(self, name: PartName) -> None:
        """Begin a part: with the state, and the gap notices since the newest row, which belong before the next."""
        gaps = [encode_gap(notice, ends_append=True) for notice in self.gaps_between(self.at, self.at + 1)]
        tally = self._tally()
        state = encode_state(
            tally, epoch=self.epoch, source=self._owner.source, run=self.run, batch=self.batch, day=name.day
        )
        writer = PartWriter.begin(self._folder, name, b"".join((state, *gaps)), durable=self._settings.fsync_s == 0)
        self._marked_names = len(tally.names)
        index = Index(tally.mark(len(state)))
        for offset in accumulate(map(len, gaps[:-1]), initial=len(state)) if gaps else ():
            index.add_gap(self.at, offset)
        self._use(writer, index)

    def _use(self, writer: PartWriter, index: Index) -> None:
        reader = Reader(disk.open_to_read(writer.name.rows(self._folder)))
        self._writer = writer
        self._opened = OpenPart(reader, index, writer.length)
        self._archive.add(Part(writer.name, index.marks[0], self._opened))
        self._keeper.watch(writer.rows)

    def _retain(self) -> None:
        """Delete the files whose time is over; the rows in them are no longer held."""
        settings = self._settings
        found = find(self._folder)
        gone = expired(found, settings.keep_days, settings.keep_bytes - settings.roll_bytes)
        if gone:
            newest_gone = gone[0].name.number
            self._archive.drop_before(next(part for part in self._archive.parts if part.name.number > newest_gone).base)
        for part in gone:
            for path in part.paths:
                self._keeper.delete(path)
        self._older_bytes = sum(part.bytes for part in found[len(gone) : -1])

    def give_up(self, reason: str) -> None:
        """Write no more. Rows go out from now on that are not here, so nothing may prove that it is complete."""
        self.failed = (
            f"the journal {self._folder} cannot be written ({reason}): from now on rows go out that it "
            "does not have, and the next start will begin a new epoch; see to the disk, then restart the hub"
        )
        if not self._proof.withdraw():
            self.failed += f" (delete {self._folder} before that: not even this could be written there)"
        self._writer.undo()

    def _fail(self, error: OSError) -> NoReturn:
        self.give_up(disk.reason(error))
        raise JournalError(self.failed) from None
