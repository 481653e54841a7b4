"""Numbers as xtquant gives them, and as the hub passes them on: prices on their tick, and null for what is none.

What is not set comes as the largest number of its type, and pushed bars had uninitialised memory in them.
"""

from collections.abc import Callable
from typing import Any, Final

MOST_REMEMBERED: Final = 200_000
"""Different prices that are remembered; a market of 8,000 instruments with five levels has some 60,000 at a time."""

_HUGE: Final = 1e15
"""Above any price or amount of a day. Unset numbers are 1.797e308."""
_TINY: Final = 1e-12
"""Below any price but 0. Uninitialised memory has been seen as 6.95e-310."""
_UNSET: Final = frozenset({2**31 - 1, -(2**31), 2**32 - 1, 2**63 - 1, -(2**63), 2**64 - 1})

Price = Callable[[Any], float | None]
"""Puts a price on its tick; None for what is no price. Raises TypeError or ValueError for what is no number."""


class Rounder(dict[float, float | None]):
    """Prices by what was given for them: looking one up is several times faster than rounding it."""

    def __init__(self, digits: int) -> None:
        super().__init__()
        self._digits = digits

    def __missing__(self, given: Any) -> float | None:
        number = real(given)
        price = None if number is None else round(number, self._digits)
        if len(self) >= MOST_REMEMBERED:
            self.clear()
        self[given] = price
        return price


def real(given: Any) -> float | None:
    """A real number; None where it is not set. Raises TypeError or ValueError for what is no number."""
    number = float(given)
    if number == 0.0 or _TINY < abs(number) < _HUGE:  # false for what is not a number, too
        return number
    return None


def whole(given: Any) -> int | None:
    """A whole number; None where it is not set. Raises TypeError or ValueError for what is no number."""
    number = int(given)  # BSON gives 64-bit numbers a type of their own, which can't be encoded
    return None if number in _UNSET else number


def digits_of(tick: float | None) -> int | None:
    """The decimal places of a tick size; None where it is none."""
    if tick is None or not 0 < tick <= 1:
        return None
    for digits in range(7):
        if abs(round(tick, digits) - tick) < 1e-9:
            return digits
    return None
