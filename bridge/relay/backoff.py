"""Pauses between attempts to reach the relay: short at first, and not the same for all edges."""

import random
from typing import Final

FIRST_S: Final = 0.1
LAST_S: Final = 2.0


class Backoff:
    """The pauses of one mishap."""

    def __init__(self) -> None:
        self._next_s = FIRST_S

    def pause_s(self) -> float:
        """How long to wait now."""
        pause_s = self._next_s * random.uniform(0.5, 1)  # noqa: S311 - nothing secret
        self._next_s = min(LAST_S, self._next_s * 2)
        return pause_s

    def over(self) -> None:
        """It has worked: the next mishap is a new one."""
        self._next_s = FIRST_S
