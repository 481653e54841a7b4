"""Runs the core on an event loop: one flush a turn, and lagging clients served in turn without holding up live rows."""

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

from hub.core import Hub
from hub.outbox import Outbox

PUMP_BUDGET_S: Final = 0.002
"""Time that lagging clients may use of one turn of the loop."""


class Delivery:
    """Calls `Hub.flush` and `Outbox.pump` when there is something to do.

    Args:
        on_flush: told after each flush how many seconds went by since the first row in it was published.
    """

    def __init__(self, hub: Hub, loop: asyncio.AbstractEventLoop, on_flush: Callable[[float], None]) -> None:
        self._hub = hub
        self._loop = loop
        self._on_flush = on_flush
        self._flush_due = False
        self._published_s = 0.0
        self._lagging: deque[Outbox] = deque()
        self._queued: set[Outbox] = set()
        hub.on_publish = self.flush_soon

    def flush_soon(self) -> None:
        """Flush in this turn of the loop, after everything that is due in it."""
        if not self._flush_due:
            self._flush_due = True
            self._published_s = perf_counter()
            self._loop.call_soon(self._flush)

    def pump_soon(self, outbox: Outbox) -> None:
        """Go on with a client that has something waiting."""
        if outbox not in self._queued:
            if not self._queued:
                self._loop.call_soon(self._pump)
            self._queued.add(outbox)
            self._lagging.append(outbox)

    def _flush(self) -> None:
        self._flush_due = False
        self._hub.flush()
        self._on_flush(perf_counter() - self._published_s)

    def _pump(self) -> None:
        deadline_s = perf_counter() + PUMP_BUDGET_S
        lagging, delivered_at = self._lagging, self._hub.history.delivered_at
        while lagging:
            outbox = lagging.popleft()
            if outbox.pump(delivered_at):
                lagging.append(outbox)
            else:
                self._queued.discard(outbox)
            if perf_counter() > deadline_s:
                break
        if lagging:
            self._loop.call_soon(self._pump)
