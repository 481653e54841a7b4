"""How far each shard had come at a place in history: so that who takes a few shards sees what it lacks of them.

Who takes all shards sees that by the places alone. Of the others nothing is heard, not even that they had rows: each
message says how long ago every shard had its last ones.
"""

from array import array
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from bridge.relay.position import Position

MOST_BEHIND: Final = 2**16 - 1
"""Of a shard that had nothing for more rows, it is taken that it had something then: so it is asked for in vain."""


class Reach(NamedTuple):
    """How far shards had come. As it stands nothing is known, and everything is taken to concern everybody.

    ``whole``: everything up to there concerns every shard. ``behind``: of each shard, how many rows (2 bytes) before
    the place its newest turn has ended.
    """

    whole: Position = Position(0, 0)
    behind: bytes = b""

    def need(self, place: Position, shards: Iterable[int]) -> Position:
        """What has to be there of some shards, so that nothing of them is missing up to a place."""
        if not self.behind:
            return place
        behind = memoryview(self.behind).cast("H")
        return max(self.whole, Position(place.at - min(behind[shard] for shard in shards), 0))


class Reached:
    """Keeps how far the shards have come, for the feed that leads."""

    def __init__(self, shards: int) -> None:
        self._place: Position | None = None
        self._whole = Position(0, 0)
        self._ends = [0] * shards

    def begin(self, place: Position) -> None:
        """Go on at a place: where another feed has published up to it, nobody here knows of which shards."""
        if place != self._place:
            self._place = self._whole = place
            self._ends = [place.at] * len(self._ends)

    def now(self) -> Reach:
        """How far they have come, as seen from the place."""
        at = 0 if self._place is None else self._place.at
        behind = array("H", [min(at - end, MOST_BEHIND) for end in self._ends])
        return Reach(self._whole, behind.tobytes())

    def note(self, parts: Collection[int], end: Position) -> None:
        """A turn that these shards have a part of was published up to its end. All of them do if it tells of gaps."""
        self._place = end
        if len(parts) == len(self._ends):
            self._whole = end
        for shard in parts:
            self._ends[shard] = end.at
