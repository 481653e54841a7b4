"""Reads what a hub published, as it goes to other processes: rows with their columns, notices at their places.

It stands in the log as a lagging client does: nothing is kept for it, however long the relay is away, and what memory
has let go comes from the journal.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from operator import attrgetter
from typing import Final, NamedTuple

from bridge.relay.position import Position
from bridge.relay.turn import NOT_FED, Fed, Rows, StateRows, no_rows
from hub.history import History
from hub.past import GapNotice
from hub.segment import Segment
from hub.topic import Topic

_name_of: Final = attrgetter("name")


class Lost(Exception):  # noqa: N818 (it reads as what happened)
    """Rows that were to be read are held nowhere any more; from ``at`` on there may be some."""

    def __init__(self, at: int) -> None:
        super().__init__(f"history no longer holds all rows up to {at}")
        self.at = at


class Stretch(NamedTuple):
    """What follows a position, and where it ends. ``topics``: of the rows, where they are from this process's log."""

    begin: Position
    end: Position
    rows: Rows
    notices: list[GapNotice]
    states: StateRows = ()
    fed: Fed = NOT_FED
    topics: Sequence[Topic] = ()


class LogReader:
    """A place in a history.

    Args:
        position: where to begin. Raises Lost where that is before all that is held.
    """

    def __init__(self, history: History, position: Position) -> None:
        self._history = history
        self._cursor = history.cursor_after(position.at)
        if self._cursor.at > position.at:
            raise Lost(self._cursor.at)
        self._position = Position(position.at, 0)
        self._early = self._take_notices()[position.told :]  # that are right here
        self._position = position

    def read(self, most: int, up_to: Position | None = None) -> Stretch | None:
        """What follows of what was delivered; None where nothing does. Raises Lost.

        Args:
            most: about so many rows.
            up_to: nothing behind it.
        """
        history, cursor, begin = self._history, self._cursor, self._position
        last_at = history.delivered_at if up_to is None else min(history.delivered_at, up_to.at)
        rows, topics = no_rows(), list[Topic]()
        notices, self._early = self._early, []
        self._position = Position(begin.at, begin.told + len(notices))
        while len(rows.rows) < most:
            before = self._position
            segment, places = cursor.look(last_at, None, {}, most)
            is_whole = not places or all(segment.rows[places[0] : places[-1] + 1])  # a row is never empty
            lost = () if is_whole else set(places) - set(cursor.without_losses(segment, places))
            if lost or cursor.losses:
                raise Lost(segment.first_at + max(lost) if lost else cursor.at)
            if cursor.at > before.at:
                topics += _add(rows, segment, before.at + 1 - segment.first_at, cursor.at + 1 - segment.first_at)
                self._position = Position(cursor.at, 0)
            notices += self._take_notices()
            if self._position == before or cursor.at == last_at:
                break
        end = self._position
        if up_to is not None and end > up_to:  # too many notices
            del notices[len(notices) - (end.told - up_to.told) :]
            end = up_to
        if end <= begin:
            return None
        return Stretch(begin, end, rows, notices, history.states.between(begin.at, end.at), topics=topics)

    def _take_notices(self) -> list[GapNotice]:
        notices = list(self._cursor.take_notices())
        self._position = Position(self._position.at, self._position.told + len(notices))
        return notices


def reader_from(history: History, begin: Position) -> LogReader:
    """A reader from a position on, or from the oldest that is held."""
    try:
        return LogReader(history, begin)
    except Lost as lost:
        return LogReader(history, Position(lost.at, 0))


def position_of(history: History) -> Position:
    """Where a history ends, as far as it was delivered."""
    at = history.delivered_at
    return Position(at, len(history.notices(at, at)))


def _add(rows: Rows, segment: Segment, start: int, stop: int) -> list[Topic]:
    """Add what is at some positions of a segment: all of it is there. Returns the topics."""
    part = slice(start, stop)
    topics = segment.topics[part]
    for column, more in zip(
        rows,
        (
            map(_name_of, topics),
            range(segment.first_at + start, segment.first_at + stop),
            segment.seqs[part],
            segment.times[part],
            _recvs(segment, start, stop),
            segment.rows[part],
        ),
        strict=True,
    ):
        column.extend(more)  # type: ignore[attr-defined]  # lists and arrays
    return topics


def _recvs(segment: Segment, start: int, stop: int) -> "array[int]":
    recvs = array("q")
    places, known = segment.recv_places, segment.recvs
    number = bisect_right(places, start) - 1
    while start < stop:
        end = places[number + 1] if number + 1 < len(places) else stop
        count = min(stop, end) - start
        recvs.extend(known[number : number + 1] * count)
        start += count
        number += 1
    return recvs
