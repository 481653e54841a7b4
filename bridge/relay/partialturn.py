"""What comes of a turn to an edge that takes a few shards: the rows that it serves, whatever else the turn has."""

from itertools import chain, compress, pairwise

from bridge.relay.share import Share
from bridge.relay.turn import MalformedError, Part, Rows, no_rows, pick


def served(rows: Rows, share: Share) -> Rows:
    """Those of some rows whose topic is served."""
    are_served = list(map(share.serves, rows.names))
    return rows if all(are_served) else pick(rows, list(compress(range(len(are_served)), are_served)))


class PartialTurn:
    """The parts of a turn that an edge takes.

    Args:
        part: the one that came first. Raises MalformedError, as `put` does.
        share: what the edge takes.
    """

    def __init__(self, part: Part, share: Share) -> None:
        self.first = part._replace(rows=no_rows(), numbers=b"")
        """It tells of the turn what all its parts do."""
        self.count = 1
        """The rows that are held, and one for the turn itself."""
        self._missing = {shard for shard in share.shards if part.shards >> shard & 1}
        self._share = share
        self._found: list[Rows] = []
        self.put(part)

    def put(self, part: Part) -> None:
        """Take a part; one that is here already is passed over."""
        first = self.first
        if (part.begin, part.end, part.shards) != (first.begin, first.end, first.shards):
            raise MalformedError(f"parts of turn {part.turn} that do not belong together")
        if part.shard in self._missing:
            self._missing.remove(part.shard)
            rows = served(part.rows, self._share)
            self._found.append(rows)
            self.count += len(rows.rows)

    @property
    def is_whole(self) -> bool:
        """Whether all parts are here that the edge takes."""
        return not self._missing

    @property
    def rows(self) -> Rows:
        """What is here, in order of arrival. Raises MalformedError."""
        first, found = self.first, self._found
        rows = found[0]
        if len(found) > 1:
            rows = Rows(*(list(chain.from_iterable(columns)) for columns in zip(*found, strict=True)))
            rows = pick(rows, sorted(range(len(rows.ats)), key=rows.ats.__getitem__))
        places = [first.begin.at, *rows.ats, first.end.at + 1]
        if any(at >= after for at, after in pairwise(places)):
            raise MalformedError(f"turn {first.turn} has rows that lie outside of it, or two in one place")
        return rows
