"""What moves many instruments together: the market, the boards and the sectors.

Each factor is a random walk of log returns in business time, begun anew every day with what happened overnight. An
instrument looks at the walks' present levels when it has something to say, so that silent ones cost nothing.
"""

from math import sqrt
from typing import Final

from bridge.simulator.boards import Board
from bridge.simulator.draws import Draws
from bridge.simulator.names import SECTORS

# Standard deviations of a day's log return. Together with an instrument's own walk they make a usual stock move by
# some 2.5 % a day, half of its variance in common with others.
_MARKET_SIGMA: Final = 0.010
_BOARD_SIGMA: Final = 0.005
_SECTOR_SIGMA: Final = 0.009
_OVERNIGHT: Final = 0.4
"""What a night moves, as a part of what a day moves."""


class Factors:
    """The present levels of all common factors, as log returns since the previous close."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._at = 0.0
        self.boards: dict[Board, float] = {}
        """Market and board together, by board."""
        self.sectors: list[float] = []
        """By sector."""
        self.begin_day()

    def begin_day(self) -> None:
        """Start from the previous close, moved by the night."""
        self._at = 0.0
        self.boards = dict.fromkeys(Board, 0.0)
        self.sectors = [0.0] * len(SECTORS)
        self._move(_OVERNIGHT)

    def advance(self, at: float) -> None:
        """Walk on to business time ``at``."""
        if at > self._at:
            self._move(sqrt(at - self._at))
            self._at = at

    def _move(self, scale: float) -> None:
        normal = self._draws.normal
        market = _MARKET_SIGMA * scale * normal()
        for board in self.boards:
            self.boards[board] += market + _BOARD_SIGMA * scale * normal()
        self.sectors = [level + _SECTOR_SIGMA * scale * normal() for level in self.sectors]
