"""The journal of a feed that stands by: what another feed has published is written as if it had been numbered here."""

import logging
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import msgspec

from bridge.relay.logreader import Stretch
from bridge.relay.turn import NOT_FED, Fed, Position, Rows
from hub.history import History
from hub.journal import (
    Adopted,
    Entry,
    Journal,
    JournalError,
    JournalSettings,
    RunBegins,
    abandon_journal,
    cut_journal,
    open_journal,
)
from hub.journal import Stretch as Written
from hub.past import GapNotice, RestoredTopic

_decode_row = msgspec.msgpack.Decoder(list[object]).decode
_logger = logging.getLogger("argus.relay")


@dataclass
class Gathered:
    """A history that is followed before there is a journal of it: the newest row of each topic.

    Args:
        epoch, position: which, and where it begins.
        topics: as they were then, by name.
    """

    epoch: str
    position: Position
    topics: dict[str, RestoredTopic]
    notices: list[GapNotice] = field(default_factory=list)
    """Those right after the newest row."""
    fed: Fed = NOT_FED

    def take(self, stretch: Stretch) -> None:
        """Take what follows."""
        rows = stretch.rows
        for name, at, seq, time_ms, row in zip(rows.names, rows.ats, rows.seqs, rows.times, rows.rows, strict=True):
            before = self.topics.get(name)
            newest_ms = time_ms if before is None else max(time_ms, before.newest_time_ms)
            channel, _, code = name.partition(":")
            self.topics[name] = RestoredTopic(channel, code, seq, at, row, time_ms, newest_ms)
        if rows.rows:
            self.notices.clear()
        self.notices += [notice for notice in stretch.notices if notice.after_at == stretch.end.at]
        self.position, self.fed = stretch.end, stretch.fed if stretch.fed.run else self.fed

    def adopted(self) -> Adopted:
        """What a journal begins with that goes on from here."""
        return Adopted(self.epoch, self.position.at, list(self.topics.values()), list(self.notices), *self.fed)


class FollowedJournal:
    """A journal, opened and written on.

    Args:
        folder, settings, source: as `hub.journal.open_journal` takes them.
        day: the trading day now.
    """

    def __init__(self, folder: Path, settings: JournalSettings, source: str, day: Callable[[], date]) -> None:
        self._folder = folder
        self._settings = settings
        self._source = source
        self._day = day
        self._open(None)

    def _open(self, adopted: Adopted | None) -> None:
        """Raises JournalError."""
        self._history = History(ring_rows=1, ring_bytes=1)  # only its topics are used
        self._journal, restored = open_journal(
            self._folder,
            source=self._source,
            run=None,
            day=self._day(),
            settings=self._settings,
            on_drop=lambda _: None,
            on_note=_note,
            adopted=adopted,
        )
        for note in restored.notes:
            _note(note)
        self._journal.attach(self._history.topic)
        self.epoch = self._journal.epoch
        self.position = Position(restored.at, len(self._journal.gaps_between(restored.at, restored.at + 1)))
        """Where it ends."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written under its epoch."""
        return self.position == Position(0, 0)

    def take(self, stretch: Stretch) -> None:
        """Write what follows. Raises JournalError, or ValueError where it does not follow."""
        if stretch.begin != self.position:
            raise ValueError(f"{stretch.begin} does not follow {self.position}")
        self._journal.append(_entries(stretch, self._history, self._journal))
        self._journal.settle()
        self._journal.roll(self._day())
        self.position = stretch.end

    def note(self, fed: Fed) -> None:
        """Write up to which batch everything is here. Raises JournalError."""
        self._journal.append(_fed_entries(fed, self.position.at, self._journal))
        self._journal.settle()

    def cut(self, position: Position) -> bool:
        """Let go of what comes after a position. Returns whether that could be done. Raises JournalError."""
        if position >= self.position:
            return True
        self.close()
        gone = cut_journal(self._folder, position)
        self._open(None)
        if gone:
            _logger.warning("%d rows are discarded that were journalled here and never published", gone)
        return gone is not None

    def adopt(self, gathered: Gathered) -> None:
        """Put what is there aside, and begin with another history. Raises JournalError."""
        self.renew(gathered.adopted())

    def renew(self, adopted: Adopted | None = None) -> None:
        """Begin a new epoch. Raises JournalError."""
        self.close()
        abandon_journal(self._folder)
        self._open(adopted)

    def close(self) -> None:
        """Make everything durable and let others have it. Raises JournalError."""
        self._journal.close()


def _entries(stretch: Stretch, history: History, journal: Journal) -> Iterator[Entry]:
    rows, start, at = stretch.rows, 0, stretch.begin.at
    for notice in stretch.notices:
        end = start + notice.after_at - at
        yield from _written(rows, start, end, history)
        yield notice
        start, at = end, notice.after_at
    yield from _written(rows, start, len(rows.rows), history)
    yield from _fed_entries(stretch.fed, stretch.end.at, journal)


def _fed_entries(fed: Fed, at: int, journal: Journal) -> Iterator[Entry]:
    run, batch = fed
    if run and run != journal.run:
        yield RunBegins(run)
    if batch and fed != (journal.run, journal.batch):
        none: array[int] = array("q")
        yield Written(at + 1, 0, batch, (), none, none, ())


def _written(rows: Rows, start: int, end: int, history: History) -> Iterator[Written]:
    """Some rows, those that were received together at once."""
    while start < end:
        recv_us = rows.recvs[start]
        stop = next((place for place in range(start, end) if rows.recvs[place] != recv_us), end)
        part = slice(start, stop)
        topics = [history.topic(*_named(name)) for name in rows.names[part]]
        packed: Sequence[bytes] = rows.rows[part]
        yield Written(rows.ats[start], recv_us, 0, topics, rows.seqs[part], rows.times[part], packed)
        start = stop


def _named(name: str) -> tuple[str, str]:
    channel, _, code = name.partition(":")
    return channel, code


def _note(note: str) -> None:
    _logger.warning("journal: %s", note)


__all__ = ["FollowedJournal", "Gathered", "JournalError"]
