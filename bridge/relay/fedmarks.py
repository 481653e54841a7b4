"""Which batches of its feeder a feed has published: they travel with the rows, so that another feed can go on.

A feeder lets go of what is acknowledged. So a batch is acknowledged when its rows are published, and not when they
are in a journal that nobody else can read.
"""

from collections import deque
from collections.abc import Callable, Sequence

from bridge.relay.turn import NOT_FED, Fed, Position
from hub.journal import RunBegins
from hub.past import GapNotice
from hub.segment import Segment
from hub.store import Published, Store


class FedMarks:
    """By position, up to which batch everything is there.

    Args:
        on_published: told up to which batch everything is published, each time that grows.
    """

    def __init__(self, on_published: Callable[[Fed], None]) -> None:
        self._on_published = on_published
        self._marks: deque[tuple[Position, Fed]] = deque()
        self._published = Position(0, 0)
        self._told = NOT_FED

    def note(self, position: Position, fed: Fed) -> None:
        """Up to a position that is not before the last one, this is there."""
        self._marks.append((position, fed))
        self._tell()

    def at(self, position: Position) -> Fed:
        """What is known to be there up to a position."""
        return next((fed for place, fed in reversed(self._marks) if place <= position), NOT_FED)

    def publish(self, position: Position) -> None:
        """Everything up to a position is published."""
        self._published = position
        while len(self._marks) > 1 and self._marks[1][0] <= position:
            self._marks.popleft()
        self._tell()

    def _tell(self) -> None:
        fed = self.at(self._published)
        if fed != self._told:
            self._told = fed
            self._on_published(fed)


class MarkingStore:
    """A `hub.store.Store` that notes batches on their way to another one.

    Args:
        position: up to where rows and notices were delivered.
    """

    def __init__(self, store: Store, marks: FedMarks, fed: Fed, position: Callable[[], Position]) -> None:
        self.roll = store.roll
        self._store = store
        self._marks = marks
        self._fed = self._noted = fed
        self._position = position

    def append(self, turn: Sequence[Published | GapNotice | RunBegins], segment: Segment, offset: int) -> None:
        """Write a turn."""
        self._store.append(turn, segment, offset)
        for entry in turn:
            if isinstance(entry, RunBegins):
                self._fed = Fed(entry.run, 0)
            elif isinstance(entry, Published) and entry.batch:
                self._fed = Fed(self._fed.run, entry.batch)

    def settle(self) -> None:
        """Do what is left to do, once the turn was delivered."""
        self._store.settle()
        if self._fed != self._noted:
            self._noted = self._fed
            self._marks.note(self._position(), self._fed)
