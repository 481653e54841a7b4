"""What comes of a turn to an edge that takes a few shards: the rows that it serves, whatever else the turn has."""

from itertools import chain, compress, pairwise

from bridge.relay.share import Share
from bridge.relay.turn import MalformedError, Part, Rows, pick


def served(rows: Rows, share: Share) -> Rows:
    """Those of some rows whose topic is served."""
    are_served = list(map(share.serves, rows.names))
    return rows if all(are_served) else pick(rows, list(compress(range(len(are_served)), are_served)))


class Gathering:
    """The parts of a turn that an edge takes.

    Args:
        part: the one that came first.
        share: what the edge takes.
    """

    def __init__(self, part: Part, share: Share) -> None:
        self.first = part
        """It tells of the turn what all its parts do."""
        self._missing = {shard for shard in share.shards if part.shards >> shard & 1}
        self._share = share
        self._found: list[Rows] = []
        self.put(part)

    def put(self, part: Part) -> int:
        """Take a part, but none twice. Returns how many rows it keeps of it. Raises MalformedError."""
        first = self.first
        if (part.begin, part.end, part.shards) != (first.begin, first.end, first.shards):
            raise MalformedError(f"parts of turn {part.turn} that do not belong together")
        if part.shard not in self._missing:
            return 0
        self._missing.remove(part.shard)
        rows = served(part.rows, self._share)
        self._found.append(rows)
        return len(rows.rows)

    @property
    def is_whole(self) -> bool:
        """Whether all parts are here that the edge takes."""
        return not self._missing

    @property
    def count(self) -> int:
        """How many rows are here."""
        return sum(len(rows.rows) for rows in self._found)

    @property
    def rows(self) -> Rows:
        """What is here, in order of arrival. Raises MalformedError."""
        found, (begin, end) = self._found, self.first[3:5]
        rows = found[0]
        if len(found) > 1:
            rows = Rows(*(list(chain.from_iterable(columns)) for columns in zip(*found, strict=True)))
            rows = pick(rows, sorted(range(len(rows.ats)), key=rows.ats.__getitem__))
        places = [begin.at, *rows.ats, end.at + 1]
        if any(at >= after for at, after in pairwise(places)):
            raise MalformedError(f"turn {self.first.turn} has rows that lie outside of it, or two in one place")
        return rows
