"""How fast requests may follow each other, so that the hub refuses none of them.

The hub counts requests by connection: so many a second, and five seconds' worth at once. A client that resumes
thousands of subscriptions would run into that, and being refused costs more than waiting a moment.
"""

from collections.abc import Mapping
from typing import Any, Final

BURST_S: Final = 4.0
"""What may be sent at once, in seconds' worth. The hub grants five: the rest makes up for requests that a network
bunches together on their way."""


class Pace:
    """Turns of one connection: ``per_s`` a second, and `BURST_S` seconds' worth at once. None: without a limit."""

    def __init__(self, per_s: float | None) -> None:
        self._step_s = 0.0 if per_s is None else 1 / per_s
        self._burst_s = max(0.0, BURST_S - self._step_s)
        self._next_s: float | None = None

    @classmethod
    def of(cls, limits: Mapping[str, Any]) -> "Pace":
        """Read the limits of a welcome; a hub that names no usable one has none."""
        per_s = limits.get("requests_per_s")
        return cls(per_s if isinstance(per_s, int | float) and per_s > 0 else None)

    def take(self, now_s: float) -> float:
        """Take the next turn, and return in how many seconds it is."""
        turn_s = now_s - self._burst_s if self._next_s is None else max(self._next_s, now_s - self._burst_s)
        self._next_s = turn_s + self._step_s
        return max(0.0, turn_s - now_s)

    def hold(self, until_s: float) -> None:
        """Give no turn before a moment; after it, one at a time."""
        self._next_s = until_s if self._next_s is None else max(self._next_s, until_s)
