"""What is passed between the rooms of this package."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

Key = tuple[str, str]
"""A single subscription: channel and code."""


class Heard(NamedTuple):
    """What a callback said: on which subscription, and when it came (wall clock, epoch microseconds)."""

    topic: object
    said: Any
    recv_us: int


@dataclass(eq=False)
class Listening:
    """One subscription in the terminal. A later one of the same instruments is another.

    ``channel``: that of the rows; ``codes``: the instruments asked for; ``number``: by which xtdata knows it.
    ``fresh``: instruments whose first row is still to come, which is the state at the subscription and nothing that
    just happened; until ``fresh_until_s`` on a clock that never goes back, None while nothing has come at all.
    """

    channel: str
    codes: frozenset[str]
    number: int = 0
    fresh: set[str] = field(default_factory=set)
    fresh_until_s: float | None = None

    def __post_init__(self) -> None:
        self.fresh = set(self.codes)


@dataclass(frozen=True, slots=True)
class LinkSaid:
    """What the status callbacks are about: the link to the terminal, or the terminal's link to its quote server."""

    link: str
