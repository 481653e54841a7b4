"""The journal of a feed that stands by: what another feed has published is written as if it had been numbered here."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

from bridge.relay.logreader import Stretch
from bridge.relay.position import Position
from bridge.relay.turn import NOT_FED, Fed, Rows
from hub.followed import FollowedHistory
from hub.journal import (
    Adopted,
    Entry,
    Journal,
    JournalSettings,
    RunBegins,
    abandon_journal,
    cut_journal,
    open_journal,
)
from hub.journal import Stretch as Written
from hub.journal.columns import Runs, large, small
from hub.past import GapNotice, RestoredTopic
from hub.topic import Topic

RING_BYTES: Final = 1 << 22

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
        for note in restored.notes if adopted is None else ():
            _note(note)
        if adopted is not None:
            _logger.info("journal %s: epoch %s is followed from row %d on", self._folder, adopted.epoch, adopted.at)
        # It is only there for the topics, which know how far they have come.
        at, topics = restored.at, restored.topics
        history = self._history = FollowedHistory(ring_rows=1, ring_bytes=RING_BYTES, at=at, topics=topics, known_at=0)
        history.late_at = restored.late_at
        self._journal.attach(history.topic, lambda: history.late_at, history.index)
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
        history, rows = self._history, stretch.rows
        topics = [history.topic(*_named(name)) for name in rows.names]
        history.extend(rows.ats, topics, rows.seqs, rows.times, rows.recvs, rows.rows)
        self._journal.append(_entries(stretch, topics, self._journal))
        self._journal.settle()
        history.delivered_at = history.at
        history.trim()
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

    def put_aside(self) -> None:
        """End with what is there: it is not gone on with. `adopt` or `begin` has to follow. Raises JournalError."""
        self.close()
        abandon_journal(self._folder)

    def adopt(self, gathered: Gathered) -> None:
        """Begin with another feed's history. Raises JournalError."""
        self._open(gathered.adopted())

    def begin(self) -> None:
        """Put aside what is there, and begin a new epoch. Raises JournalError."""
        self.put_aside()
        self._open(None)

    def close(self) -> None:
        """Make everything durable and let others have it. Raises JournalError."""
        self._journal.close()


def _entries(stretch: Stretch, topics: Sequence[Topic], journal: Journal) -> Iterator[Entry]:
    start, at = 0, stretch.begin.at
    for notice in stretch.notices:
        end = start + notice.after_at - at
        yield from _written(stretch.rows, topics, start, end)
        yield notice
        start, at = end, notice.after_at
    yield from _written(stretch.rows, topics, start, len(topics))
    yield from _fed_entries(stretch.fed, stretch.end.at, journal)


def _fed_entries(fed: Fed, at: int, journal: Journal) -> Iterator[Entry]:
    run, batch = fed
    if run and run != journal.run:
        yield RunBegins(run)
    if batch and fed != (journal.run, journal.batch):
        yield Written(at + 1, Runs(small((0,)), large((0,)), large((batch,))), (), large(), large(), ())


def _written(rows: Rows, topics: Sequence[Topic], start: int, end: int) -> Iterator[Written]:
    """Some rows, with the places from which on they were received at another time."""
    if start < end:
        part = slice(start, end)
        recvs = rows.recvs[part]
        starts = [0, *(place for place in range(1, len(recvs)) if recvs[place] != recvs[place - 1])]
        runs = Runs(small(starts), large(map(recvs.__getitem__, starts)), large(bytes(8 * len(starts))))
        yield Written(
            rows.ats[start], runs, topics[part], large(rows.seqs[part]), large(rows.times[part]), rows.rows[part]
        )


def _named(name: str) -> tuple[str, str]:
    channel, _, code = name.partition(":")
    return channel, code


def _note(note: str) -> None:
    _logger.warning("journal: %s", note)
