"""A turn whose parts are put in their places as they come: with the last one it is whole, and nothing is left to do."""

from typing import Final

from bridge.relay.turn import HEAD, MalformedError, Part, Rows, rows_of

MAX_ROWS: Final = 500_000
"""A turn of more is no feed's. Of turns that wait for others more are let go: they are read again from the stream."""


class Joining:
    """What has come of a turn.

    Args:
        part: the one of its parts that came first. Raises MalformedError, as `put` does.
    """

    def __init__(self, part: Part) -> None:
        self.first = part
        """It tells of the turn what all its parts do."""
        self.count = part.end.at - part.begin.at
        """The rows that the turn has when it is whole."""
        self._names: list[str] = []
        self._heads: list[bytes] = []
        self._packed: list[bytes] = []
        self._shards = 0
        self._found = 0
        if not len(part.rows.rows) <= self.count <= MAX_ROWS:
            raise MalformedError(f"a part of {len(part.rows.rows)} rows of a turn of {self.count}")
        if part.shards == 1 << part.shard:  # nothing to join
            self._shards, self._found = part.shards, len(part.rows.rows)
            return
        self._names, self._heads, self._packed = [""] * self.count, [b""] * self.count, [b""] * self.count
        self.put(part)

    def put(self, part: Part) -> None:
        """Take a part; one that is here already is passed over."""
        first = self.first
        if (part.begin, part.end, part.shards) != (first.begin, first.end, first.shards):
            raise MalformedError(f"parts of turn {part.turn} that do not belong together")
        if not self._shards & 1 << part.shard:
            self._place(part)
            self._shards |= 1 << part.shard
            self._found += len(part.rows.rows)

    @property
    def is_whole(self) -> bool:
        """Whether all parts are here. Raises MalformedError where those are not all rows."""
        if self._shards != self.first.shards:
            return False
        if self._found != self.count:
            raise MalformedError(f"turn {self.first.turn} has {self._found} rows, and should have {self.count}")
        return True

    @property
    def rows(self) -> Rows:
        """The rows of a turn that is whole, in order of arrival."""
        return rows_of(self._names, b"".join(self._heads), self._packed) if self._names else self.first.rows

    def _place(self, part: Part) -> None:
        """A loop over the rows, while other parts are on their way. The numbers of each are one piece for that time."""
        names, heads, packed, before = self._names, self._heads, self._packed, part.begin.at + 1
        ats = part.rows.ats
        columns = part.rows.names, ats, HEAD.iter_unpack(part.numbers), part.rows.rows
        try:
            if ats and ats[0] < before:  # a place counted from the end
                raise IndexError
            for name, at, (head,), row in zip(*columns, strict=True):
                place = at - before
                names[place], heads[place], packed[place] = name, head, row
        except IndexError:
            raise MalformedError(f"a row of turn {part.turn} that lies outside of it") from None
