"""Which batches of its feeder a feed has published: they travel with the rows, so that another feed can go on.

A feeder lets go of what is acknowledged. So a batch is acknowledged when its rows are published, and not when they
are in a journal that nobody else can read.
"""

from collections import deque
from collections.abc import Callable, Sequence

from bridge.relay.logreader import position_of
from bridge.relay.position import Position
from bridge.relay.turn import NOT_FED, Fed
from hub.history import History
from hub.journal import RunBegins
from hub.past import GapNotice
from hub.segment import Segment
from hub.store import Published, Store


class FedMarks:
    """By position, up to which batch everything is there.

    Args:
        on_told: told up to which batch other feeds know that everything is published, each time that grows.
    """

    def __init__(self, on_told: Callable[[Fed], None]) -> None:
        self._on_told = on_told
        self._marks: deque[tuple[Position, Fed]] = deque()
        self._told = NOT_FED

    def note(self, position: Position, fed: Fed) -> None:
        """Up to a position that is not before the last one, this is there."""
        self._marks.append((position, fed))

    def at(self, position: Position) -> Fed:
        """What is known to be there up to a position."""
        for place, fed in reversed(self._marks):
            if place <= position:
                return fed
        return NOT_FED

    def tell(self, position: Position, fed: Fed) -> None:
        """Everything up to a position is published, and other feeds know what is there."""
        while len(self._marks) > 1 and self._marks[1][0] <= position:
            self._marks.popleft()
        if fed not in (self._told, NOT_FED):
            self._told = fed
            self._on_told(fed)


class MarkingStore:
    """A `hub.store.Store` that notes batches on their way to another one.

    Args:
        history: of which turns are written.
        fed: what it has already.
    """

    def __init__(self, store: Store, marks: FedMarks, history: History, fed: Fed) -> None:
        self.roll = store.roll
        self.settle = store.settle
        self._store = store
        self._marks = marks
        self._history = history
        self._fed = fed
        marks.note(position_of(history), fed)

    def append(self, turn: Sequence[Published | GapNotice | RunBegins], segment: Segment, offset: int) -> None:
        """Write a turn, and note what it has before anybody can publish it."""
        self._store.append(turn, segment, offset)
        fed = self._fed
        for entry in turn:
            if isinstance(entry, RunBegins):
                fed = Fed(entry.run, 0)
            elif isinstance(entry, Published) and entry.batch:
                fed = Fed(fed.run, entry.batch)
        if fed != self._fed:
            self._fed, at = fed, self._history.at
            before = len(self._history.notices(at, at))
            told = before + sum(isinstance(entry, GapNotice) and entry.after_at == at for entry in turn)
            self._marks.note(Position(at, told), fed)
