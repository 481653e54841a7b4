"""What was delivered of a channel, as far as it takes to tell a new row from one that comes again or comes late.

The newest row of every topic is kept here. Older ones are asked for seldom, and the hub has them anyway. Rows are
compared as the bytes of their values: one that comes again was packed in the same way.
"""

from collections.abc import Iterable, Sequence
from operator import gt
from typing import Final, NamedTuple, Protocol

from hub.rows import Rows

ALIKE_ROWS: Final = 16
"""Of the rows with a topic's newest ``time``, so many are remembered. The exchanges send two at most; a forming bar
keeps its ``time`` while it changes thousands of times, and never changes back."""


class PastTopic(NamedTuple):
    """What the hub has of one topic: the newest ``time`` of all its rows, and the packed values of its last row.

    They are None where the last row is an older one.
    """

    channel: str
    code: str
    newest_ms: int
    values: bytes | None


class Past(Protocol):
    """What the hub has of the source's channels, also from before its own start."""

    @property
    def run(self) -> str:
        """The source's run whose batches came last; empty where it named none, or where nothing came yet."""

    def topics(self) -> Iterable[PastTopic]:
        """Every topic. Asked once, at start."""

    def values_at(self, channel: str, code: str, time_ms: int) -> Iterable[bytes]:
        """The packed values of the rows of a topic with exactly this ``time`` that were published and are held."""


class Unpublished:
    """Rows of a batch that were taken already, found by topic and time: the past does not have them yet.

    Args:
        rows: the batch.
        taken: the places of those rows in it; may grow at its end.
    """

    def __init__(self, rows: Rows, taken: Sequence[int]) -> None:
        self._rows = rows
        self._taken = taken
        self._found: dict[tuple[str, int], list[bytes]] = {}
        self._looked_at = 0

    def at(self, code: str, time_ms: int) -> Sequence[bytes]:
        """The values of the rows of a topic with exactly this ``time``."""
        rows = self._rows
        for place in self._taken[self._looked_at :]:
            self._found.setdefault((rows.codes[place], rows.times[place]), []).append(rows.values[place])
        self._looked_at = len(self._taken)
        return self._found.get((code, time_ms), ())


class Delivered:
    """What was delivered of one channel."""

    def __init__(self, channel: str, past: Past) -> None:
        self.newest_times: dict[str, int] = {}
        """By code, the newest ``time``."""
        self.newest_values: dict[str, bytes | None] = {}
        """By code, what the row with the newest ``time`` said, the last one where several have it.

        None where that was restored, and was not the topic's last."""
        self._channel = channel
        self._past = past
        self._alike: dict[str, tuple[int, list[bytes]]] = {}  # all with that newest time, of topics that had several
        self._restored_times: dict[str, int] = {}

    @property
    def newest_ms(self) -> int | None:
        """The newest ``time`` of all; None where nothing was delivered."""
        return max(self.newest_times.values(), default=None)

    def restore(self, topic: PastTopic) -> None:
        """Take what a topic's history ended with."""
        self.newest_times[topic.code] = self._restored_times[topic.code] = topic.newest_ms
        self.newest_values[topic.code] = topic.values

    def take_newer(self, rows: Rows, until_ms: int) -> bool:
        """Take rows if each is newer than all of its topic, older than ``until_ms``, and the only one of its topic.

        Else nothing is taken, nor if one has a code that was never seen. Nearly always all can be: whole markets go
        this way several times a second, so no row is looked at by itself.
        """
        codes, times, newest = rows.codes, rows.times, self.newest_times
        if len(set(codes)) < len(codes) or max(times, default=0) >= until_ms:
            return False
        try:
            if not all(map(gt, times, map(newest.__getitem__, codes))):
                return False
        except KeyError:
            return False
        newest.update(zip(codes, times, strict=True))
        self.newest_values.update(zip(codes, rows.values, strict=True))
        return True

    def is_repeat(self, code: str, time_ms: int, values: bytes, unpublished: Unpublished) -> bool:
        """Whether a row equals one that was delivered, in every field including ``time``."""
        newest_ms = self.newest_times.get(code, -1)
        if time_ms > newest_ms:
            return False
        if time_ms < newest_ms:
            return values in unpublished.at(code, time_ms) or values in self._values_at(code, time_ms)
        return values == self.newest_values[code] or values in self._alike_of(code, time_ms)

    def take(self, code: str, time_ms: int, values: bytes) -> int | None:
        """Take a row that is no repeat. Returns the topic's newest ``time`` if the row is older, else None."""
        newest_ms = self.newest_times.get(code, -1)
        if time_ms < newest_ms:
            return newest_ms
        if time_ms == newest_ms:
            self._alike[code] = time_ms, [*self._alike_of(code, time_ms), values][-ALIKE_ROWS:]
        self.newest_times[code] = time_ms
        self.newest_values[code] = values
        return None

    def _alike_of(self, code: str, newest_ms: int) -> list[bytes]:
        time_ms, alike = self._alike.get(code, (-1, []))
        if time_ms == newest_ms:
            return alike
        newest = self.newest_values[code]
        held = self._values_at(code, newest_ms) if self._restored_times.get(code) == newest_ms else []
        return held or ([] if newest is None else [newest])

    def _values_at(self, code: str, time_ms: int) -> list[bytes]:
        return list(self._past.values_at(self._channel, code, time_ms))
