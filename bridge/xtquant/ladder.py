"""What to do when quotes stop: subscribe again, connect again, begin again in another process, in this order.

Each step has some time to help before the next. Pure: it is told which markets are stale, and the time.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final


class Step(StrEnum):
    """A step of the ladder, as it is counted and told."""

    RESUBSCRIBE = "resubscribe"
    RECONNECT = "reconnect"
    RESTART = "restart"


_STEPS: Final = (Step.RESUBSCRIBE, Step.RECONNECT, Step.RESTART)

FRUITLESS_RESTART_S: Final = 300.0
"""Time between restarts of processes that brought nothing fresh: what another process can heal, the last one had."""


class Ladder:
    """Where on it this process is.

    Args:
        patience_s: how long a step has time to help.
        began_s: when this process began.
    """

    def __init__(self, patience_s: float, began_s: float) -> None:
        self._patience_s = patience_s
        self._began_s = began_s
        self._taken = 0  # steps since quotes stopped
        self._next_s = 0.0

    @property
    def taken(self) -> Sequence[Step]:
        """The steps that were taken since quotes stopped; empty while all is well."""
        return _STEPS[: self._taken]

    def look(self, now_s: float, *, is_stale: bool, has_brought: bool) -> Step | None:
        """The step to take now, if any.

        Args:
            is_stale: whether rows of some market are overdue.
            has_brought: whether this process has brought anything fresh at all.
        """
        if not is_stale:
            self._taken = 0
            self._next_s = 0.0
            return None
        if self._taken == len(_STEPS) or now_s < self._next_s:
            return None
        step = _STEPS[self._taken]
        if step is Step.RESTART and not has_brought and now_s - self._began_s < FRUITLESS_RESTART_S:
            return None
        self._taken += 1
        self._next_s = now_s + self._patience_s
        return step
