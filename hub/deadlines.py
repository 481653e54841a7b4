"""What is due for each of thousands a fixed time after it was asked for, under one timer and a few in each turn.

A timer for each connection costs more memory than what it waits for, and ten thousand that are due together would
hold up everything else of the event loop.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from typing import Final, Generic, TypeVar

DUE_PER_TURN: Final = 100
"""How many are served in one turn of the loop."""
LATE_SHARE: Final = 0.02
"""By so much of its time each may be served late, together with those that are due until then. Waking up for every one
of thousands would cost more than what is done for it."""

_logger = logging.getLogger("argus.server")

T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Things with a deadline, the next one first: they are in order as they were added, since all have the same time.

    Args:
        after_s: the time that each of them has.
        on_due: called with those whose time is over, and which are no longer held here; it may add them again.
    """

    def __init__(self, after_s: float, on_due: Callable[[Sequence[T]], None]) -> None:
        self._after_s = after_s
        self._on_due = on_due
        self._due_s: dict[T, float] = {}
        self._timer: asyncio.Handle | None = None

    def __len__(self) -> int:
        return len(self._due_s)

    def __contains__(self, thing: T) -> bool:
        return thing in self._due_s

    @property
    def next(self) -> T:
        """The one that has the least time left. Raises StopIteration where there is none."""
        return next(iter(self._due_s))

    def add(self, thing: T) -> None:
        """Give it the whole time from now on."""
        loop = asyncio.get_running_loop()
        self._due_s.pop(thing, None)
        self._due_s[thing] = loop.time() + self._after_s
        if self._timer is None:
            self._timer = loop.call_later(self._after_s * (1 + LATE_SHARE), self._run)

    def remove(self, thing: T) -> None:
        """Nothing is due for it any more."""
        self._due_s.pop(thing, None)

    def stop(self) -> None:
        """Nothing is due for anything any more."""
        self._due_s.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = self._take(loop.time())
        try:
            self._on_due(due)
        except Exception:  # deadlines that have ended would keep the dead, and look like a dead hub to the living
            _logger.exception("what was due for %d connections failed", len(due))
        if not self._due_s:
            self._timer = None
        elif len(due) == DUE_PER_TURN:
            self._timer = loop.call_soon(self._run)
        else:
            self._timer = loop.call_at(self._due_s[self.next] + self._after_s * LATE_SHARE, self._run)

    def _take(self, until_s: float) -> list[T]:
        due: list[T] = []
        for thing, due_s in self._due_s.items():
            if due_s > until_s or len(due) == DUE_PER_TURN:
                break
            due.append(thing)
        for thing in due:
            del self._due_s[thing]
        return due
