"""Where a turn of the hub is written before anybody sees it: the journal, or nowhere.

Once the journal can't be written any more the hub goes on without it: live comes first. That is told once, and from
then on by whoever is asked how the hub is. Batches are acknowledged all the same, as where there never was a journal.
"""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import date
from time import perf_counter
from typing import Final, NamedTuple, Protocol

from hub.journal import Entry, Journal, JournalError, RunBegins, Single, Stretch
from hub.journal.columns import Runs, large, small
from hub.past import GapNotice
from hub.segment import Segment

__all__ = ["NO_STORE", "JournalStore", "Published", "RunBegins", "Store", "Turn"]

_logger = logging.getLogger("argus.journal")


class Published(NamedTuple):
    """Rows that were published together: their arrival numbers, when they were received, and the feeder's number."""

    first_at: int
    last_at: int
    recv_us: int
    batch: int


Turn = list[Published | GapNotice | RunBegins]
"""What happened between two flushes, in order."""


class Store(Protocol):
    """Where turns are written."""

    def append(self, turn: Sequence[Published | GapNotice | RunBegins], segment: Segment, offset: int) -> None:
        """Write a turn: when it returns, the turn outlives the process.

        Args:
            segment, offset: where its first row is, or will be.
        """

    def settle(self) -> None:
        """Do what is left to do, once the turn was delivered."""

    def roll(self, day: date) -> None:
        """Go on in the file of a trading day, if it is another one."""


class _NoStore:
    def append(self, turn: Sequence[Published | GapNotice | RunBegins], segment: Segment, offset: int) -> None:
        """Write nothing."""

    def settle(self) -> None:
        """Nothing is left to do."""

    def roll(self, day: date) -> None:
        """There are no files."""


NO_STORE: Final = _NoStore()
"""For a hub that keeps its history in memory only."""


class JournalStore:
    """Writes to a journal for as long as that works.

    Args:
        on_append: told after each append how many seconds it took.
    """

    def __init__(self, journal: Journal, on_append: Callable[[float], None]) -> None:
        self.journal = journal
        self.failure = ""
        """Why the journal is no longer written; empty while all is well."""
        self._on_append = on_append

    def append(self, turn: Sequence[Published | GapNotice | RunBegins], segment: Segment, offset: int) -> None:
        """Write a turn, unless that has failed before."""
        if self.failure:
            return
        started_s = perf_counter()
        try:
            single = _single(turn, segment, offset)
            if single is not None:
                self.journal.append_single(single)
            else:
                self.journal.append(_entries(turn, segment, offset))
        except Exception as error:
            self._fail(error)
        self._on_append(perf_counter() - started_s)

    def settle(self) -> None:
        """Mark and roll what was written."""
        if self.failure:
            return
        try:
            self.journal.settle()
        except Exception as error:
            self._fail(error)

    def roll(self, day: date) -> None:
        """Go on in the file of a trading day."""
        if self.failure:
            return
        try:
            self.journal.roll(day)
        except Exception as error:
            self._fail(error)

    def close(self) -> None:
        """Make everything durable and let others have the journal."""
        try:
            self.journal.close()
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """The last barrier: whatever is wrong with the journal, live goes on."""
        if isinstance(error, JournalError):
            self.failure = str(error)
            _logger.critical("%s", error)
        else:
            self.journal.give_up(f"{type(error).__name__}: {error}")
            self.failure = self.journal.failed
            _logger.critical("%s", self.failure, exc_info=error)


def _single(turn: Sequence[Published | GapNotice | RunBegins], segment: Segment, offset: int) -> Single | None:
    """A turn that is one row of a topic that the journal knows; None for any other."""
    entry = turn[0]
    if len(turn) > 1 or not isinstance(entry, Published) or entry.first_at != entry.last_at:
        return None
    topic, row = segment.topics[offset], segment.rows[offset]
    if topic.number < 0 or row is None:
        return None
    return Single(entry.first_at, topic, segment.seqs[offset], segment.times[offset], entry.recv_us, entry.batch, row)


def _entries(turn: Sequence[Published | GapNotice | RunBegins], segment: Segment, offset: int) -> Iterator[Entry]:
    """A turn as the journal takes it: rows that follow each other in a segment, whatever they came in, at once."""
    batches: list[Published] = []
    for entry in turn:
        if isinstance(entry, Published) and entry.first_at <= entry.last_at:
            batches.append(entry)
            continue
        segment, offset = yield from _stretches(batches, segment, offset)
        batches = []
        if not isinstance(entry, Published):
            yield entry
        elif entry.batch:
            yield Stretch(entry.first_at, _runs([entry], entry.first_at), (), segment.seqs[:0], segment.times[:0], ())
    yield from _stretches(batches, segment, offset)


def _stretches(
    batches: Sequence[Published], segment: Segment, offset: int
) -> Generator[Stretch, None, tuple[Segment, int]]:
    """What batches brought, segment by segment. Returns where the next row is, or will be."""
    if not batches:
        return segment, offset
    at, last_at = batches[0].first_at, batches[-1].last_at
    while at <= last_at:
        part = slice(offset, min(len(segment.rows), offset + last_at + 1 - at))
        # Rows that are not delivered yet are never let go: none of them is None.
        rows: Sequence[bytes] = segment.rows[part]  # type: ignore[assignment]
        end = at + len(rows)
        inside = [batch for batch in batches if batch.last_at >= at and batch.first_at < end]
        yield Stretch(at, _runs(inside, at), segment.topics[part], segment.seqs[part], segment.times[part], rows)
        at, offset = end, part.stop
        if offset == len(segment.rows) and segment.next is not None:
            segment, offset = segment.next, 0
    return segment, offset


def _runs(batches: Sequence[Published], at: int) -> Runs:
    """The batches of a stretch that begins with row ``at``."""
    return Runs(
        small(max(0, batch.first_at - at) for batch in batches),
        large(batch.recv_us for batch in batches),
        large(batch.batch for batch in batches),
    )
