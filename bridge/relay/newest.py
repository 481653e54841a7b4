"""The newest row of every topic of a shard: as it stood once, and what followed in the stream.

To write the newest rows with every turn would cost the relay more than everything else that it does for a row. So
they are written now and then, in one piece, and a stream never lets go of what came after them: together the two are
the newest rows at every moment.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from bridge.relay.position import TurnId
from bridge.relay.turn import decode


class Newest(NamedTuple):
    """The newest row of a topic, its arrival number, and the newest ``time`` of all the topic's rows (epoch ms)."""

    name: str
    at: int
    newest_time_ms: int
    row: bytes


pack: Final = msgspec.msgpack.Encoder().encode
"""Newest rows as one piece."""
unpack: Final = msgspec.msgpack.Decoder(list[Newest]).decode


def after(known: Iterable[Newest], messages: Iterable[bytes]) -> list[Newest]:
    """The newest rows after some messages of a stream; what is in those may be known already."""
    newest = {row.name: row for row in known}
    for message in messages:
        rows = decode(message).rows
        for name, at, time_ms, row in zip(rows.names, rows.ats, rows.times, rows.rows, strict=True):
            before = newest.get(name)
            if before is None:
                newest[name] = Newest(name, at, time_ms, row)
            elif before.at < at:
                newest[name] = Newest(name, at, max(time_ms, before.newest_time_ms), row)
    return list(newest.values())


class Written:
    """With which turn the newest rows of each shard were written last, by one feed.

    Args:
        every_rows: after so many rows they are written again, those of one shard with a turn.
    """

    def __init__(self, every_rows: int) -> None:
        self._every_rows = every_rows
        self._by_shard: dict[int, tuple[TurnId, int]] = {}  # with the rows before that turn's end

    def begin(self, shards: Iterable[int], at: int) -> None:
        """They were written before all turns, which go on after row ``at``."""
        self._by_shard = dict.fromkeys(shards, (TurnId(0, 0), at))

    def forget(self) -> None:
        """Nobody here knows when they were written: also where nobody can tell what was done of the newest turn."""
        self._by_shard.clear()

    def due(self, shards: Iterable[int], at: int) -> int | None:
        """The shard among some whose newest rows should be written with the turn that ends at row ``at``."""
        oldest = min(shards, key=lambda shard: self._by_shard[shard][1] if shard in self._by_shard else -1)
        known = self._by_shard.get(oldest)
        return oldest if known is None or at - known[1] >= self._every_rows else None

    def note(self, shard: int, turn: TurnId, at: int) -> None:
        """Those of a shard were written with a turn."""
        self._by_shard[shard] = turn, at

    def keep_from(self, shard: int, turn: TurnId) -> TurnId:
        """The oldest turn that the stream has to hold: this one, or an earlier one for the sake of the newest rows."""
        return min(turn, self._by_shard[shard][0] if shard in self._by_shard else TurnId(0, 0))
