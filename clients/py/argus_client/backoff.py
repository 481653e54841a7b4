"""How long to wait before connecting again.

Thousands of clients lose a restarting hub in the same second. Full jitter (a random time between the least and a
bound that doubles) spreads them; a fixed step or a small jitter would bring them back as waves.
Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """A random pause between ``least_s`` and a bound that doubles with every fruitless attempt, up to ``most_s``.

    ``uniform`` draws a number between two others, in seconds.
    """

    least_s: float = 0.5
    most_s: float = 20.0
    uniform: Callable[[float, float], float] = random.uniform

    def __post_init__(self) -> None:
        if not 0 < self.least_s <= self.most_s:
            raise ValueError("a pause needs 0 < least_s <= most_s")

    def pause_s(self, fruitless: int) -> float:
        """Return the next pause in seconds, after so many attempts in a row that led to nothing."""
        doublings = min(fruitless + 1, 32)  # beyond it the bound has long been reached, and floats would overflow
        return self.uniform(self.least_s, min(self.most_s, self.least_s * 2**doublings))
