"""Which rows tell how things stood when the source was asked, and not that something happened.

They have their numbers and their place in history like all others, but no client is given them as live.
"""

from bisect import bisect_left, bisect_right
from typing import Final

MOST: Final = 1000
"""Stretches that are remembered; what is older is read as history anyway, but by a client that lags by hours."""


class States:
    """Stretches of such rows, by arrival number."""

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []

    def note(self, first_at: int, last_at: int) -> None:
        """Note a stretch, behind all that were noted before."""
        self._firsts.append(first_at)
        self._lasts.append(last_at)
        if len(self._firsts) > MOST:
            del self._firsts[0], self._lasts[0]

    def between(self, after_at: int, up_to: int) -> tuple[tuple[int, int], ...]:
        """The stretches, each by its first and last row, among the rows after one up to another."""
        if not self._lasts or self._lasts[-1] <= after_at or up_to <= after_at:
            return ()
        firsts, lasts = self._firsts, self._lasts
        places = range(bisect_right(lasts, after_at), bisect_right(firsts, up_to))
        return tuple((max(firsts[place], after_at + 1), min(lasts[place], up_to)) for place in places)

    def stretch(self, at: int, up_to: int) -> tuple[bool, int]:
        """Whether the row ``at`` is such a one, and how far, up to ``up_to`` at most, the same holds."""
        place = bisect_left(self._lasts, at)
        if place == len(self._lasts):
            return False, up_to
        first_at, last_at = self._firsts[place], self._lasts[place]
        return (True, min(last_at, up_to)) if first_at <= at else (False, min(first_at - 1, up_to))
