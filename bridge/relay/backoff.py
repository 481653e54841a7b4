"""Pauses between attempts to reach the relay: short at first, and not the same for all edges."""

import random
from typing import Final

FIRST_S: Final = 0.1
LAST_S: Final = 2.0


class Backoff:
    """The pauses of one mishap. ``last_s``: the longest."""

    def __init__(self, last_s: float | None = None) -> None:
        self._next_s = FIRST_S
        self._last_s = LAST_S if last_s is None else last_s

    def pause_s(self) -> float:
        """How long to wait now."""
        pause_s = self._next_s * random.uniform(0.5, 1)  # noqa: S311 - nothing secret
        self._next_s = min(self._last_s, self._next_s * 2)
        return pause_s

    def over(self) -> None:
        """It has worked: the next mishap is a new one."""
        self._next_s = FIRST_S
