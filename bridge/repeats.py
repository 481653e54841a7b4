"""What was delivered of a channel, as far as it takes to tell a new row from one that comes again or comes late.

Of every topic the newest time is kept here. Rows are asked for seldom, and the hub has them anyway. They are compared
as bytes: one that comes again was packed in the same way.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from hub.rows import PackedRow, Rows

ALIKE_ROWS: Final = 16
"""Of the rows with a topic's newest ``time``, so many are remembered. The exchanges send two at most; a forming bar
keeps its ``time`` while it changes thousands of times, and never changes back."""


class PastTopic(NamedTuple):
    """What the hub has of one topic: the newest ``time`` of all its rows."""

    channel: str
    code: str
    newest_ms: int


class Past(Protocol):
    """What the hub has of the source's channels, also from before its own start."""

    @property
    def run(self) -> str:
        """The source's run whose batches came last; empty where it named none, or where nothing came yet."""

    def topics(self) -> Iterable[PastTopic]:
        """Every topic. Asked once, at start."""

    def last_row(self, channel: str, code: str) -> PackedRow | None:
        """The row of a topic that was published last; None where that is older than one before it."""

    def rows_at(self, channel: str, code: str, time_ms: int) -> Iterable[PackedRow]:
        """The rows of a topic with exactly this ``time`` that were published and are still held."""


class Unpublished:
    """Rows of a batch that were taken already, found by topic and time: the past does not have them yet.

    Args:
        rows: the batch.
        taken: the places of those rows in it; may grow at its end.
    """

    def __init__(self, rows: Rows, taken: Sequence[int]) -> None:
        self._rows = rows
        self._taken = taken
        self._found: dict[tuple[str, int], list[PackedRow]] = {}
        self._looked_at = 0

    def at(self, code: str, time_ms: int) -> Sequence[PackedRow]:
        """The rows of a topic with exactly this ``time``."""
        rows = self._rows
        for place in self._taken[self._looked_at :]:
            self._found.setdefault((rows.codes[place], rows.times[place]), []).append(rows.packed[place])
        self._looked_at = len(self._taken)
        return self._found.get((code, time_ms), ())


class Newest:
    """The newest of one topic: ``time_ms`` of all its rows; ``alike`` are those with the time ``alike_ms``."""

    __slots__ = ("alike", "alike_ms", "restored_ms", "time_ms")

    def __init__(self, time_ms: int, restored_ms: int = -1) -> None:
        self.time_ms = time_ms
        self.alike_ms = -1
        self.alike: list[PackedRow] = []
        self.restored_ms = restored_ms


class Delivered:
    """What was delivered of one channel."""

    def __init__(self, channel: str, past: Past) -> None:
        self.newest: dict[str, Newest] = {}
        """By code."""
        self._channel = channel
        self._past = past

    @property
    def newest_ms(self) -> int | None:
        """The newest ``time`` of all; None where nothing was delivered."""
        return max((newest.time_ms for newest in self.newest.values()), default=None)

    def restore(self, topic: PastTopic) -> None:
        """Take what a topic's history ended with."""
        self.newest[topic.code] = Newest(topic.newest_ms, restored_ms=topic.newest_ms)

    def newest_row(self, code: str) -> PackedRow | None:
        """The last of a topic's rows that have its newest time, if it is still held."""
        known = self.newest[code]
        if known.alike_ms == known.time_ms:
            return known.alike[-1]
        last = self._past.last_row(self._channel, code)
        return last if last is not None else next(reversed(self._rows_at(code, known.time_ms)), None)

    def take_newer(self, rows: Rows, until_ms: int) -> int:
        """Take rows, as long as each is newer than its topic's newest and older than ``until_ms``.

        Returns:
            How many were taken. Nearly always that is all: whole markets go this way several times a second, so it is
            one loop that does little. The next one is not newer, too new, or of a topic that was never seen.
        """
        place = 0
        for known, time_ms in zip(map(self.newest.get, rows.codes), rows.times, strict=True):
            if known is None or time_ms <= known.time_ms or time_ms >= until_ms:
                break
            known.time_ms = time_ms
            place += 1
        return place

    def is_repeat(self, code: str, time_ms: int, row: PackedRow, unpublished: Unpublished) -> bool:
        """Whether a row equals one that was delivered, in every field including ``time``."""
        known = self.newest.get(code)
        if known is None or time_ms > known.time_ms:
            return False
        if time_ms < known.time_ms:
            # Looked through one by one: once the row is found, nothing more is searched for.
            return row in unpublished.at(code, time_ms) or row in self._past.rows_at(self._channel, code, time_ms)
        if known.alike_ms < time_ms and row == self._past.last_row(self._channel, code):
            return True
        return row in self._alike_of(code, known, unpublished)

    def take(self, code: str, time_ms: int, row: PackedRow, unpublished: Unpublished) -> int | None:
        """Take a row that is no repeat. Returns the topic's newest ``time`` if the row is older, else None."""
        known = self.newest.get(code)
        if known is None:
            self.newest[code] = Newest(time_ms)
            return None
        if time_ms < known.time_ms:
            return known.time_ms
        if time_ms == known.time_ms:
            known.alike = [*self._alike_of(code, known, unpublished), row][-ALIKE_ROWS:]
            known.alike_ms = time_ms
        known.time_ms = time_ms
        return None

    def _alike_of(self, code: str, known: Newest, unpublished: Unpublished) -> Sequence[PackedRow]:
        """The rows with a topic's newest time, as far as they are remembered."""
        if known.alike_ms == known.time_ms:
            return known.alike
        if known.restored_ms == known.time_ms and (held := self._rows_at(code, known.time_ms)):
            return held
        # It came after older ones only, so it is a single one.
        single = unpublished.at(code, known.time_ms)
        if single:
            return single
        last = self._past.last_row(self._channel, code)
        return [last] if last is not None else self._rows_at(code, known.time_ms)

    def _rows_at(self, code: str, time_ms: int) -> list[PackedRow]:
        return list(self._past.rows_at(self._channel, code, time_ms))
