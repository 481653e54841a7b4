"""Places in history, and the names of turns."""

from typing import NamedTuple


class Position(NamedTuple):
    """A place in history: everything up to row ``at``, and the first ``told`` gap notices right after it."""

    at: int
    told: int


class TurnId(NamedTuple):
    """Names a turn: the fencing token of the feed that published it, and its number under that token, from 1."""

    token: int
    number: int

    def __str__(self) -> str:
        return f"{self.token}-{self.number}"

    @classmethod
    def parse(cls, text: str) -> "TurnId":
        """Read what `str` wrote; an empty text is before all turns."""
        token, _, number = text.partition("-")
        return cls(int(token or 0), int(number or 0))
