"""What a feeder keeps until the hub has it: numbered messages, bounded by bytes, the oldest let go first.

Numbers that were let go unacknowledged are a hole at the beginning. A hole is never skipped: whoever reads the
backlog from before it is given the message that tells of it. No clock and no socket here.
"""

from dataclasses import dataclass
from typing import NamedTuple

from bridge.feed.messages import Dropped, encode


class Message(NamedTuple):
    """Something to send, and the number up to which everything is said with it."""

    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Kept:
    data: bytes
    newest_ms: int | None


@dataclass(frozen=True, slots=True)
class _Hole:
    first: int
    before_ms: int | None


class Backlog:
    """The messages of one run, numbered from 1.

    Args:
        limit_bytes: what is kept at most; the newest message is kept whatever its size.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.dropped = 0
        """Numbers that were let go before the hub had acknowledged them; some of them it may have had."""
        self.kept_bytes = 0
        self.newest_ms: int | None = None
        """The newest exchange time of all that was ever added."""
        self._limit_bytes = limit_bytes
        self._kept: dict[int, _Kept] = {}
        self._first = 1  # the oldest number that is kept, or the next one
        self._next = 1
        self._hole: _Hole | None = None  # up to the number before the first
        self._let_go_ms: int | None = None  # the newest exchange time of what is not kept any more

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def next_number(self) -> int:
        """The number that the next message gets."""
        return self._next

    @property
    def has_hole(self) -> bool:
        """Whether something was let go that the hub is still to be told of."""
        return self._hole is not None

    def add(self, data: bytes, newest_ms: int | None) -> None:
        """Keep the message that has the next number. ``newest_ms``: its newest exchange time."""
        self._kept[self._next] = _Kept(data, newest_ms)
        self._next += 1
        self.kept_bytes += len(data)
        self.newest_ms = _later(self.newest_ms, newest_ms)
        while self.kept_bytes > self._limit_bytes and len(self._kept) > 1:
            if self._hole is None:
                self._hole = _Hole(self._first, self._let_go_ms)
            self._let_go()
            self.dropped += 1

    def acknowledge(self, number: int) -> None:
        """Let go of everything up to this number: the hub has it."""
        while self._first <= min(number, self._next - 1):
            self._let_go()
        if self._hole is not None and number >= self._hole.first:
            is_over = number >= self._first - 1
            self._hole = None if is_over else _Hole(number + 1, self._hole.before_ms)

    def after(self, number: int) -> Message | None:
        """What to send to a hub that has everything up to this number; None when there is nothing."""
        if self._hole is not None and number < self._first - 1:
            start, end = max(number + 1, self._hole.first), self._first - 1
            dropped = Dropped(start, end, self._hole.before_ms, self._kept[self._first].newest_ms)
            return Message(end, encode(dropped))
        following = max(number + 1, self._first)
        kept = self._kept.get(following)
        return None if kept is None else Message(following, kept.data)

    def _let_go(self) -> None:
        kept = self._kept.pop(self._first)
        self._first += 1
        self.kept_bytes -= len(kept.data)
        self._let_go_ms = _later(self._let_go_ms, kept.newest_ms)


def _later(one_ms: int | None, other_ms: int | None) -> int | None:
    if one_ms is None or other_ms is None:
        return one_ms if other_ms is None else other_ms
    return max(one_ms, other_ms)
