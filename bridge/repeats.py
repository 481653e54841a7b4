"""What was delivered of a channel, as far as it takes to tell a new row from one that comes again or comes late.

The newest row of every topic is kept here. Older ones are asked for seldom, and the hub has them anyway.
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from hub.schema import Row

ALIKE_ROWS: Final = 16
"""Of the rows with a topic's newest ``time``, so many are remembered. The exchanges send two at most; a forming bar
keeps its ``time`` while it changes thousands of times, and never changes back."""


class Past(Protocol):
    """What the hub has of the source's channels, also from before its own start. Rows are in ``source_names`` order."""

    @property
    def run(self) -> str:
        """The source's run whose batches came last; empty where it named none, or where nothing came yet."""

    def topics(self) -> Iterable[tuple[str, int, Row]]:
        """Of every topic its channel, the newest ``time`` of all its rows, and its last row. Asked once, at start."""

    def rows_at(self, channel: str, code: str, time_ms: int) -> Iterable[Row]:
        """The rows of a topic with exactly this ``time`` that were published and are still held."""


class Unpublished:
    """Rows of a batch that were taken already, found by topic and time: the past does not have them yet.

    Args:
        rows: may grow at its end.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._found: dict[tuple[str, int], list[Row]] = {}
        self._looked_at = 0

    def at(self, code: str, time_ms: int) -> Sequence[Row]:
        """The rows of a topic with exactly this ``time``."""
        for row in self._rows[self._looked_at :]:
            self._found.setdefault((row[0], row[1]), []).append(row)
        self._looked_at = len(self._rows)
        return self._found.get((code, time_ms), ())


class Delivered:
    """What was delivered of one channel."""

    def __init__(self, channel: str, past: Past) -> None:
        self.newest: dict[str, Row] = {}
        """By code the row with the newest ``time``, the last one where several have it. It has no values where it was
        restored, and was not the topic's last."""
        self._channel = channel
        self._past = past
        self._alike: dict[str, list[Row]] = {}  # all with that newest time, for topics that had several
        self._restored_ms: dict[str, int] = {}

    @property
    def newest_ms(self) -> int | None:
        """The newest ``time`` of all; None where nothing was delivered."""
        return max((row[1] for row in self.newest.values()), default=None)

    def restore(self, newest_ms: int, last: Row) -> None:
        """Take what a topic's history ended with: the newest ``time`` of its rows, and the last of them."""
        code = last[0]
        self.newest[code] = last if last[1] == newest_ms else (code, newest_ms)
        self._restored_ms[code] = newest_ms

    def take_newer(self, rows: Sequence[Row], until_ms: int) -> list[Row]:
        """Take rows, as long as each is newer than its topic's newest and older than ``until_ms``; return the others.

        The others begin with the first that is not, or is no row, or has a code that was never seen. Nearly always
        there are none: whole markets go this way several times a second, so it is one loop that does little.
        """
        newest = self.newest
        left = iter(rows)
        for row in left:
            try:
                code = row[0]
                if row[1] > newest[code][1] and row[1] < until_ms:
                    newest[code] = row
                    continue
            except (TypeError, LookupError):
                pass
            return [row, *left]
        return []

    def is_repeat(self, row: Row, unpublished: Unpublished) -> bool:
        """Whether a row equals one that was delivered, in every field including ``time``."""
        code, time_ms = row[0], row[1]
        newest = self.newest.get(code)
        if newest is None or time_ms > newest[1]:
            return False
        if time_ms < newest[1]:
            return _is_among(row, unpublished.at(code, time_ms)) or _is_among(row, self._rows_at(code, time_ms))
        return _is_among(row, (newest,)) or _is_among(row, self._alike_of(newest))

    def take(self, row: Row) -> int | None:
        """Take a row that is no repeat. Returns the topic's newest ``time`` if the row is older, else None."""
        newest = self.newest.get(row[0])
        if newest is not None and row[1] < newest[1]:
            return int(newest[1])
        if newest is not None and row[1] == newest[1]:
            self._alike[row[0]] = [*self._alike_of(newest), row][-ALIKE_ROWS:]
        self.newest[row[0]] = row
        return None

    def _alike_of(self, newest: Row) -> Sequence[Row]:
        code, time_ms = newest[0], newest[1]
        alike = self._alike.get(code)
        if alike is not None and alike[-1][1] == time_ms:
            return alike
        if self._restored_ms.get(code) == time_ms:
            return [*self._rows_at(code, time_ms)] or [newest]
        return [newest]

    def _rows_at(self, code: str, time_ms: int) -> Iterable[Row]:
        return self._past.rows_at(self._channel, code, time_ms)


def _is_among(row: Row, others: Iterable[Row]) -> bool:
    return any(row == other or _plain(row) == _plain(other) for other in others)


def _plain(row: Row) -> list[object]:
    # A book that was encoded and decoded comes back as a list, whatever it was before.
    return [list(value) if isinstance(value, tuple) else value for value in row]
