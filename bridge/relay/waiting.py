"""Turns of which parts have come, and that can't be handed out yet. There are no more than there is room for."""

from collections.abc import Callable, Iterator
from typing import Generic, Protocol, TypeVar

from bridge.relay.joining import MAX_ROWS
from bridge.relay.position import TurnId
from bridge.relay.turn import MalformedError, Part


class _Turn(Protocol):
    @property
    def count(self) -> int:
        """How much room it takes, in rows."""

    def put(self, part: Part) -> None:
        """Take another part. Raises MalformedError."""


_Kind = TypeVar("_Kind", bound=_Turn)


class Waiting(Generic[_Kind]):
    """Turns that wait, by their names.

    Args:
        begin: makes a turn of the first of its parts. Raises MalformedError.
    """

    def __init__(self, begin: Callable[[Part], _Kind]) -> None:
        self.turns: dict[TurnId, _Kind] = {}
        self.let_go = 0
        """Rows that had to be let go because too many waited: they are read again from the streams."""
        self._begin = begin
        self._rows = 0

    def put(self, part: Part) -> None:
        """Take a part. Raises MalformedError where it does not fit: its turn may come again, and be whole then."""
        if self._rows > MAX_ROWS:
            self.let_go += self._rows
            self.forget()
        turn = self.turns.get(part.turn)
        if turn is None:
            turn = self.turns[part.turn] = self._begin(part)
            self._rows += turn.count
            return
        before = turn.count
        try:
            turn.put(part)
        except MalformedError:
            self.drop(part.turn)
            raise
        self._rows += turn.count - before

    def drop(self, turn: TurnId) -> _Kind:
        """Take a turn out."""
        found = self.turns.pop(turn)
        self._rows -= found.count
        return found

    def forget(self) -> None:
        """Let go of all of them."""
        self.turns.clear()
        self._rows = 0

    def following(self, follows: Callable[[TurnId], bool]) -> Iterator[tuple[TurnId, _Kind]]:
        """Take out, in order, those that follow; after each it is asked again what does. Raises what ``follows`` does.

        Those that are handed out most often follow each other, so that all are gone through once, and once more.
        """
        has_more = True
        while has_more:
            has_more = False
            for turn in sorted(self.turns):
                if turn in self.turns and follows(turn):
                    has_more = True
                    yield turn, self.drop(turn)
