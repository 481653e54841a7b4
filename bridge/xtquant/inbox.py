"""Brings what callbacks say onto the event loop, in order of arrival.

Callbacks come on several native threads, and whatever one raises is printed by xtdata and lost. So all they do is to
note when they came, append, and wake the loop once for all that has come since it looked last.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from bridge.xtquant.words import Heard

_Hear = Callable[[Heard], None]


class Inbox:
    """What waits to be heard.

    Args:
        hear: is given everything, one after the other, on the event loop.
    """

    def __init__(self, hear: _Hear, wall_us: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._hear: Final = hear
        self._wall_us = wall_us
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Heard] = deque()
        self._is_woken = False

    def listener(self, topic: object) -> Callable[[Any], None]:
        """A callback for xtdata; ``topic`` tells what it says from what others say."""

        def listen(said: Any) -> None:
            self._waiting.append(Heard(topic, said, self._wall_us()))
            if not self._is_woken:  # two threads may both find it so: the loop then looks once for nothing
                self._is_woken = True
                with suppress(RuntimeError):  # the loop has ended
                    self._loop.call_soon_threadsafe(self._drain)

        return listen

    def _drain(self) -> None:
        self._is_woken = False  # before looking: what comes from now on wakes again
        while self._waiting:
            self._hear(self._waiting.popleft())
