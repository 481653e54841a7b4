"""When a simulated market may go on: its own time held against the wall clock, at any speed.

Market time is counted in milliseconds *lived*: market time since the source's start without the parts that are
skipped. A market that is behind, because the host stalled, goes on without waiting until it has caught up.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from math import isfinite

Clock = Callable[[], float]
"""Seconds that only ever grow, such as ``time.monotonic``."""

Sleep = Callable[[float], Awaitable[None]]
"""Waits for a number of seconds; 0 lets the event loop run once."""


class Pacer:
    """``speed`` market seconds pass in one second; 0 is as fast as it goes. Raises ValueError for another speed."""

    def __init__(self, speed: float, clock: Clock = time.monotonic, sleep: Sleep = asyncio.sleep) -> None:
        if not (isfinite(speed) and speed >= 0):
            raise ValueError(f"speed must be 0 (as fast as it goes) or more, not {speed:g}")
        self._speed = speed
        self._clock = clock
        self._sleep = sleep
        self._held_ms = 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Let time pass, from where it stood."""
        self._since = self._clock()

    def stop(self) -> None:
        """Hold time where it stands."""
        self._held_ms = self.lived_ms()
        self._since = None

    def lived_ms(self) -> float:
        """Where time stands. At speed 0 there is no pace and it stays at its start."""
        if self._since is None:
            return self._held_ms
        return self._held_ms + (self._clock() - self._since) * 1000 * self._speed

    async def reach(self, lived_ms: float) -> None:
        """Return when time stands at ``lived_ms``. Lets the event loop run at least once, however late it is."""
        wait_s = (lived_ms - self.lived_ms()) / 1000 / self._speed if self._speed else 0.0
        await self._sleep(max(0.0, wait_s))
