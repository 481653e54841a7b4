"""One side of an order book: up to five price levels with their volumes, kept from one row to the next.

Levels that the market leaves standing keep their prices, and most of them their volumes, as in a real book.
"""

from collections.abc import Callable
from typing import Final

from bridge.simulator.draws import Draws

LEVELS: Final = 5
_EMPTY_PRICES: Final = (0.0,) * LEVELS
_EMPTY_VOLUMES: Final = (0,) * LEVELS


class Ladder:
    """Asks (``step`` 1) or bids (``step`` -1), best first. Prices in fen, volumes in hands."""

    __slots__ = ("_burst", "_exponential", "_step", "_uniform", "depth", "gap", "prices", "volumes")

    def __init__(self, step: int, draws: Draws) -> None:
        self._step = step
        self._uniform: Callable[[], float] = draws.uniform
        self._burst: Callable[[], float] = draws.burst
        self._exponential: Callable[[], float] = draws.exponential
        self.prices: list[int] = []
        self.volumes: list[int] = []
        self.depth = 1.0
        """Usual volume of a level."""
        self.gap = 0.0
        """Usual number of empty ticks between two levels."""

    def clear(self) -> None:
        """Nobody is left on this side."""
        self.prices.clear()
        self.volumes.clear()

    def settle(self, best: int, edge: int) -> None:
        """Move the best price to ``best``, with no level beyond ``edge`` (a price limit, included)."""
        prices, volumes, step = self.prices, self.volumes, self._step
        taken = 0
        for price in prices:
            if (price - best) * step >= 0:
                break
            taken += 1
        if taken:
            del prices[:taken], volumes[:taken]
        if not prices or prices[0] != best:
            if prices and (prices[0] - best) * step > 3 + 4 * self.gap:
                # A jump: what stood far behind the new best would leave a hole that no market maker leaves.
                self.clear()
            prices.insert(0, best)
            volumes.insert(0, self._volume())
            del prices[LEVELS:], volumes[LEVELS:]
        while len(prices) < LEVELS:
            price = prices[-1] + step * (1 + int(self.gap * self._exponential()))
            if (edge - price) * step < 0:
                break
            prices.append(price)
            volumes.append(self._volume())
        volumes[int(self._uniform() * len(volumes))] = self._volume()

    def queue_up(self, hands: int) -> None:
        """Put at least ``hands`` on the best price: everybody waits at a price limit."""
        self.volumes[0] = max(self.volumes[0], hands)

    def _volume(self) -> int:
        return 1 + int(self.depth * self._burst())

    def levels(self) -> tuple[list[float], list[int]]:
        """Prices in yuan and volumes, five of each, 0 for an empty level."""
        prices = [price / 100 for price in self.prices]
        volumes = self.volumes[:]
        missing = LEVELS - len(prices)
        if missing:
            prices += _EMPTY_PRICES[:missing]
            volumes += _EMPTY_VOLUMES[:missing]
        return prices, volumes
