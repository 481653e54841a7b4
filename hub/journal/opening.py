"""The start: what the last process left is read, proven or not, and written on or left alone.

Either the numbers go on exactly where they ended, or a new epoch begins and says why. A damaged file is set aside; it
never prevents a start.
"""

import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import accumulate
from pathlib import Path

import msgspec

from hub.journal import disk
from hub.journal.archive import Part, encode_gap
from hub.journal.disk import JournalError
from hub.journal.journal import Begun, Journal, Owner
from hub.journal.lock import Lock
from hub.journal.marks import Index, Mark
from hub.journal.parts import Found, PartName, find, set_aside
from hub.journal.proof import Proof, abandon_journal, is_same_boot, read_proof, this_boot
from hub.journal.record import DamagedError, Kind, Reader
from hub.journal.recovery import Recovered, recover
from hub.journal.settings import JournalSettings
from hub.journal.tally import StateRecord, Tally, decode_state, encode_state
from hub.journal.writer import PartWriter
from hub.past import GapNotice, RestoredTopic


@dataclass(frozen=True, slots=True)
class Adopted:
    """Another process's history, as it stood when this journal of it begins.

    Attributes:
        at: arrival number of the newest row.
        topics: all that had spoken.
        notices: the gap notices right after the newest row.
        run, batch: the source's run, and the newest batch of it that was there (0: none, or not known).
    """

    epoch: str
    at: int
    topics: Sequence[RestoredTopic]
    notices: Sequence[GapNotice]
    run: str = ""
    batch: int = 0


@dataclass(slots=True)
class Restored:
    """What the hub goes on with.

    Attributes:
        new_epoch: why the epoch is a new one; empty where the old one goes on.
        at: arrival number of the newest row.
        late_at: that of the newest row that is older than one of its topic before it.
        topics: in the order in which they first spoke.
        run, batch: the source's run, and the newest batch of it that is in the journal (0: none).
        notes: for the log, what was found and done.
    """

    epoch: str
    new_epoch: str
    at: int = 0
    late_at: int = 0
    topics: list[RestoredTopic] = field(default_factory=list)
    run: str = ""
    batch: int = 0
    day: str = ""
    notes: list[str] = field(default_factory=list)


def open_journal(
    folder: Path,
    *,
    source: str,
    run: str | None,
    day: date,
    settings: JournalSettings,
    on_drop: Callable[[int], None],
    on_note: Callable[[str], None],
    boot: str | None = None,
    adopted: Adopted | None = None,
) -> tuple[Journal, Restored]:
    """Open a journal, or begin one.

    Args:
        source: name of the source; another one's history is not continued.
        run: which run of it; None for a live source, whose history goes on whatever its run.
        day: the trading day that is written from now on.
        on_drop: called before rows are let go (their files have expired, or are damaged), with the arrival number of
            the last of them. They can still be looked up then, but perhaps no longer be loaded.
        on_note: called with words for the log when something turns out to be damaged later.
        boot: what is the same as long as the operating system runs; None to ask it.
        adopted: what a new epoch begins with; None: with nothing.

    Returns:
        The journal, and what was in it. Before anything else it has to be told the topics: `Journal.attach`.

    Raises:
        JournalInUseError: another process has it.
        JournalError: it can't be read or written.
    """
    if sys.byteorder != "little":
        raise JournalError("a journal needs a little-endian machine: go without one (--no-journal)")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = Lock(folder)
        boot = boot or this_boot()
        try:
            return _Opening(folder, source, run, day.isoformat(), settings, boot, on_drop, on_note, adopted).open(lock)
        except BaseException:
            lock.release()
            raise
    except OSError as error:
        abandon_journal(folder)  # the hub may well go on without it
        raise JournalError(f"the journal {folder} cannot be opened: {disk.reason(error)}") from None


def why_new_epoch(part: int, found: Recovered, left: Proof | None, *, source: str, run: str | None, boot: str) -> str:
    """Why the numbers can't go on where the newest part ends; empty when they can.

    Args:
        part: its number.
        left: the proof that the last process left.
    """
    state = found.state
    if left is None:
        return "nothing proves that the journal is complete: rows may have gone out without it"
    if left.epoch != state.epoch:
        return "the proof of completeness is that of another epoch"
    if (part, found.length) < (left.part, left.length):
        return f"rows are missing at the end of the journal: {left.length} bytes were written, {found.length} are there"
    if not is_same_boot(left.boot, boot):
        exactly = (part, found.length) == (left.part, left.length)
        if not (left.durable or (left.closed and exactly)):
            return "the machine was restarted while the journal was open: what was written last may be lost"
    if state.source != source:
        return f"the source is {source} now and was {state.source}"
    if run is not None and found.run != run:
        return f"the source began another run ({run}, before: {found.run or 'none'})"
    return ""


@dataclass(slots=True)
class _Opening:
    folder: Path
    source: str
    run: str | None
    day: str
    settings: JournalSettings
    boot: str
    on_drop: Callable[[int], None]
    on_note: Callable[[str], None]
    adopted: Adopted | None
    notes: list[str] = field(default_factory=list)

    def open(self, lock: Lock) -> tuple[Journal, Restored]:
        for path in self.folder.glob("*.new"):
            path.unlink()
        parts = find(self.folder)
        found, reason = self._newest(parts)
        if found is not None and not reason:
            return self._go_on(lock, parts, found)
        if parts:
            self.notes.append(f"a new epoch begins: {reason}")
        return self._begin(lock, parts[-1].name.number + 1 if parts else 1, reason)

    def _newest(self, parts: Sequence[Found]) -> tuple[Recovered | None, str]:
        """What the newest part has, and why that is not enough."""
        if not parts:
            return None, "there is no journal yet"
        name = parts[-1].name
        if not parts[-1].whole:
            return None, f"the newest file ({name.rows(self.folder).name}) was damaged"
        try:
            found = recover(self.folder, name)
        except DamagedError as error:
            self.notes.append(f"{set_aside(name.rows(self.folder))}: {error}")
            return None, f"the newest file ({name.rows(self.folder).name}) is damaged"
        if found.why_cut:
            cut = found.size - found.length
            self.notes.append(f"{name.rows(self.folder).name}: {cut} bytes at the end are left out: {found.why_cut}")
        left = read_proof(self.folder)
        return found, why_new_epoch(name.number, found, left, source=self.source, run=self.run, boot=self.boot)

    def _begin(self, lock: Lock, number: int, reason: str) -> tuple[Journal, Restored]:
        given = self.adopted or Adopted(secrets.token_hex(8), 0, (), (), self.run or "")
        tally, run, batch = _tally_of(given), given.run, given.batch
        state = encode_state(tally, epoch=given.epoch, source=self.source, run=run, batch=batch, day=self.day)
        gaps = [encode_gap(notice, ends_append=True) for notice in given.notices]
        durable = self.settings.fsync_s == 0
        data = b"".join((state, *gaps))
        writer = PartWriter.begin(self.folder, PartName(number, self.day), data, durable=durable)
        index = Index(tally.mark(len(state)))
        for offset in list(accumulate(map(len, gaps), initial=len(state)))[: len(gaps)]:
            index.add_gap(given.at, offset)
        journal = self._journal(lock, given.epoch, writer, Begun(tally, index, run, batch))
        at, topics = given.at, list(given.topics)
        return journal, Restored(given.epoch, reason, at, at, topics, run, batch, self.day, self.notes)

    def _go_on(self, lock: Lock, parts: Sequence[Found], found: Recovered) -> tuple[Journal, Restored]:
        epoch, name = found.state.epoch, parts[-1].name
        restored = Restored(
            epoch,
            "",
            found.tally.at,
            found.tally.late_at,
            [
                RestoredTopic(channel, code, seq, at, newest, msgspec.msgpack.decode(newest)[2], newest_time_ms)
                for (channel, code), seq, at, newest, newest_time_ms in zip(
                    found.tally.names,
                    found.tally.seqs,
                    found.tally.ats,
                    found.tally.newest,
                    found.tally.newest_times,
                    strict=True,
                )
            ],
            found.run,
            found.batch,
            name.day,
            self.notes,
        )
        begun = Begun(found.tally, found.index, found.run, found.batch, found.unmarked_names, self._older(parts, epoch))
        writer = PartWriter(self.folder, name, found.length, found.marks_length)
        journal = self._journal(lock, epoch, writer, begun)
        try:
            journal.roll(date.fromisoformat(self.day))
        except JournalError:
            journal.close()
            raise
        return journal, restored

    def _journal(self, lock: Lock, epoch: str, writer: PartWriter, begun: Begun) -> Journal:
        owner = Owner(epoch, self.source, self.boot)
        try:
            return Journal(self.folder, self.settings, owner, lock, writer, begun, self.on_drop, self.on_note)
        except BaseException:
            writer.close()
            raise

    def _older(self, parts: Sequence[Found], epoch: str) -> list[Part]:
        """The parts before the newest that belong to the same unbroken history, the oldest first."""
        older: list[Part] = []
        newer = parts[-1].name.number
        for found in reversed(parts[:-1]):
            if not found.whole or found.name.number != newer - 1:
                break
            try:
                state, base = _beginning(self.folder, found.name)
            except DamagedError as error:
                self.notes.append(f"{set_aside(found.name.rows(self.folder))}: {error}")
                break
            if state.epoch != epoch:
                break
            newer = found.name.number
            older.insert(0, Part(found.name, base))
        return older


def _tally_of(given: Adopted) -> Tally:
    tally = Tally()
    tally.at = tally.late_at = given.at  # perhaps: nobody here can tell
    tally.names = [(topic.channel, topic.code) for topic in given.topics]
    tally.seqs = [topic.seq for topic in given.topics]
    tally.ats = [topic.at for topic in given.topics]
    tally.newest_times = [topic.newest_time_ms for topic in given.topics]
    tally.newest = [topic.newest for topic in given.topics]
    return tally


def _beginning(folder: Path, name: PartName) -> tuple[StateRecord, Mark]:
    path = name.rows(folder)
    try:
        reader = Reader(disk.open_to_read(path))
        size = path.stat().st_size
    except OSError as error:
        raise DamagedError(0, f"it cannot be opened ({disk.reason(error)})") from None
    try:
        record = next(reader.records(0, size), None)
    finally:
        reader.close()
    if record is None or record.kind is not Kind.STATE:
        raise DamagedError(0, "no beginning")
    state = decode_state(record.head)
    return state, state.mark(record.at - 1, record.end)
