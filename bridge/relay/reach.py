"""How far each shard had come at a place in history: so that who takes a few shards sees what it lacks of them.

Who takes all shards sees that by the places alone. Of the others nothing is heard, not even that they had rows: each
message says how long ago every shard had its last ones.
"""

from array import array
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from bridge.relay.position import Position

_SMALL: Final = b"H"
_LARGE: Final = b"Q"


class Reach(NamedTuple):
    """How far shards had come, as seen from a place. By its defaults everything before that concerns every shard.

    ``whole``: everything up to there concerns every shard. ``behind``: of each shard, how many rows before the place
    its newest turn has ended; a letter that says in how many bytes each is told goes before them.
    """

    whole: Position = Position(0, 0)
    behind: bytes = b""

    def need(self, place: Position, shards: Iterable[int]) -> Position:
        """What has to be there of some shards, so that nothing of them is missing up to a place."""
        if not self.behind:
            return place
        behind = self.behinds()
        return max(self.whole, Position(place.at - min(behind[shard] for shard in shards), 0))

    def behinds(self) -> "memoryview[int]":
        """Of each shard, how many rows it is behind."""
        return memoryview(self.behind)[1:].cast("H" if self.behind.startswith(_SMALL) else "Q")


class Reached:
    """Keeps how far the shards have come, for the feed that leads."""

    def __init__(self, shards: int) -> None:
        self.place: Position | None = None
        """What is published up to."""
        self._whole = Position(0, 0)
        self._ends = [0] * shards

    def begin(self, place: Position) -> None:
        """Go on at a place; where that is another one, nothing is known of what lies before it."""
        if place != self.place:
            self.place = self._whole = place
            self._ends = [place.at] * len(self._ends)

    def go_on(self, begin: Position, reach: Reach) -> None:
        """Go on where a turn has begun that says this."""
        if len(behind := reach.behinds()) == len(self._ends):
            self.place, self._whole = begin, reach.whole
            self._ends = [begin.at - rows for rows in behind]

    def now(self) -> Reach:
        """How far they have come, as seen from the place."""
        at = 0 if self.place is None else self.place.at
        behind = [at - end for end in self._ends]
        kind = _SMALL if max(behind) < 2**16 else _LARGE
        return Reach(self._whole, kind + array(kind.decode(), behind).tobytes())

    def note(self, parts: Collection[int], end: Position) -> None:
        """A turn that these shards have a part of was published up to its end. All of them do if it tells of gaps."""
        self.place = end
        if len(parts) == len(self._ends):
            self._whole = end
        for shard in parts:
            self._ends[shard] = end.at
