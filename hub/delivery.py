"""Runs the core on an event loop: one flush a turn, and lagging clients served in turn without holding up live rows."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import Final

from hub.core import Hub
from hub.outbox import Outbox

_logger = logging.getLogger("argus.delivery")

PUMP_BUDGET_S: Final = 0.002
"""Time that lagging clients may use of one turn of the loop."""

READING_S: Final = 0.002
"""Before a flush, time to read what has come and to number it: the event loop counts in milliseconds."""

SETTLE_S: Final = 0.05
"""How long after a flush what nobody waits for is done, once for all flushes until then. Who was woken by what was
delivered, in this process and in others, has the processor meanwhile."""

SETTLE_ROWS: Final = 8192
"""With so many rows it is done at once: it would grow into a pause of its own."""


class Delivery:
    """Calls `Hub.deliver`, `Hub.settle` and `Outbox.pump` when there is something to do.

    Args:
        on_flush: told after each flush how many seconds went by since the first row in it was published.
        interval_s: how long a row may wait for others to travel with.
    """

    def __init__(
        self, hub: Hub, loop: asyncio.AbstractEventLoop, on_flush: Callable[[float], None], interval_s: float = 0.0
    ) -> None:
        self._hub = hub
        self._loop = loop
        self._on_flush = on_flush
        self._interval_s = interval_s
        self._flush_due = self._has_ended = False
        self._settling: asyncio.TimerHandle | None = None
        self._flush_at_s = -math.inf
        self._published_s = 0.0
        self._lagging: deque[Outbox] = deque()
        self._queued: set[Outbox] = set()
        self._timers: dict[Outbox, asyncio.TimerHandle] = {}
        hub.on_publish = self.flush_soon

    def flush_soon(self) -> None:
        """Flush in this turn of the loop, after everything that is due in it, or when the interval is over."""
        if self._flush_due:
            return
        self._flush_due = True
        self._published_s = perf_counter()
        if self._interval_s:
            self._flush_at_s = self._loop.time() + self._interval_s
            self._loop.call_at(self._flush_at_s, self._flush)
        else:
            self._loop.call_soon(self._flush)

    def rest_s(self) -> float:
        """For how many seconds nothing needs to be read, since it would wait for the next flush anyway."""
        return max(0.0, self._flush_at_s - READING_S - self._loop.time())

    def pump_soon(self, outbox: Outbox) -> None:
        """Go on with a client that has something waiting."""
        if outbox not in self._queued:
            if not self._queued:
                self._loop.call_soon(self._pump)
            self._queued.add(outbox)
            self._lagging.append(outbox)

    def forget(self, outbox: Outbox) -> None:
        """A client is gone: keep nothing of it."""
        timer = self._timers.pop(outbox, None)
        if timer is not None:
            timer.cancel()

    def end(self) -> None:
        """Do now what would be done later: soon nothing can be written any more."""
        self._has_ended = True
        if self._settling is not None:
            self._settling.cancel()
        self._settle()

    def _flush(self) -> None:
        self._flush_due = False
        self._hub.deliver()
        for conflater in self._hub.conflating:
            self.pump_soon(conflater.outbox)
        self._hub.conflating.clear()
        self._on_flush(perf_counter() - self._published_s)
        if self._hub.history.untrimmed_rows >= SETTLE_ROWS:
            self._hub.settle()
        elif self._settling is None and not self._has_ended:
            self._settling = self._loop.call_later(SETTLE_S, self._settle)

    def _settle(self) -> None:
        self._settling = None
        self._hub.settle()

    def _pump(self) -> None:
        deadline_s = perf_counter() + PUMP_BUDGET_S
        lagging, delivered_at = self._lagging, self._hub.history.delivered_at
        while lagging:
            outbox = lagging.popleft()
            now_s = self._loop.time()
            if self._step(outbox, delivered_at, now_s):
                lagging.append(outbox)
            else:
                self._queued.discard(outbox)
                self._wake_when_due(outbox, now_s)
            if perf_counter() > deadline_s:
                break
        if lagging:
            self._loop.call_soon(self._pump)

    def _step(self, outbox: Outbox, delivered_at: int, now_s: float) -> bool:
        try:
            return outbox.pump(delivered_at, now_s)
        except Exception:  # the last barrier: what one client is sent must not end the others' service
            _logger.exception("a client is given up: what it was to be sent could not be made")
            outbox.fail()
            return False

    def _wake_when_due(self, outbox: Outbox, now_s: float) -> None:
        """Come back to a client that has something which waits for its time."""
        due_s = outbox.due_s()
        timer = self._timers.get(outbox)
        if timer is not None and timer.when() <= due_s:
            return
        if timer is not None:
            timer.cancel()
            del self._timers[outbox]
        if outbox.writable and due_s < math.inf:
            self._timers[outbox] = self._loop.call_at(max(due_s, now_s), self._due, outbox)

    def _due(self, outbox: Outbox) -> None:
        del self._timers[outbox]
        self.pump_soon(outbox)
