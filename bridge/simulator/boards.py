"""The boards of the A-share market: codes, price limits and lots, as they stand since October 2025.

Price limits follow the exchanges' trading rules (SSE and SZSE rules as revised in 2026, in force since 2026-07-06).
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

ST_LIMIT_WIDENED: Final = date(2026, 7, 6)
"""The day since which ST stocks of the main boards move by 10 % instead of 5 %."""

TICK_SIZE: Final = 0.01
"""Yuan. Every A-share moves in whole fen, so prices are counted in fen inside the simulator."""


class Board(StrEnum):
    """Where an instrument is listed."""

    MAIN = "main"
    CHINEXT = "chinext"
    STAR = "star"
    BSE = "bse"


@dataclass(frozen=True, slots=True)
class Listing:
    """One board of one exchange.

    ``weights`` gives the code prefixes in use and how many instruments in a thousand of this listing have each;
    ``spare`` the prefixes that follow when a simulated market is larger than the real one. ``lot`` is the smallest
    order in shares; ``lot_step`` what a larger one may grow by.
    """

    board: Board
    exchange: str
    instruments: int
    weights: dict[str, int]
    spare: tuple[str, ...]
    first_number: int
    limit_percent: int
    lot: int
    lot_step: int

    def limit_percent_on(self, day: date, *, st: bool) -> int:
        """How far a price may move from the previous close on ``day``, in percent."""
        if st and self.board is Board.MAIN and day < ST_LIMIT_WIDENED:
            return 5
        return self.limit_percent

    @property
    def break_status(self) -> int:
        """Status code when nothing can be traded: Shanghai stays 13, the others say 14."""
        return 13 if self.exchange == "SH" else 14


def _prefixes(first: int, last: int, *, but: tuple[str, ...]) -> tuple[str, ...]:
    """The three-digit prefixes ``first`` to ``last`` except those of ``but``."""
    return tuple(prefix for number in range(first, last + 1) if (prefix := f"{number:03d}") not in but)


_SH: Final = {"600": 430, "601": 130, "603": 350, "605": 90}
_SZ: Final = {"000": 270, "001": 70, "002": 620, "003": 40}
_CHINEXT: Final = {"300": 660, "301": 330, "302": 10}
_STAR: Final = {"688": 999, "689": 1}

LISTINGS: Final = (
    Listing(Board.MAIN, "SH", 1700, _SH, _prefixes(602, 679, but=tuple(_SH)), 0, 10, 100, 100),
    Listing(Board.MAIN, "SZ", 1495, _SZ, _prefixes(4, 99, but=()), 1, 10, 100, 100),
    # 399xxx are the indices of Shenzhen.
    Listing(Board.CHINEXT, "SZ", 1400, _CHINEXT, _prefixes(303, 398, but=()), 1, 20, 100, 100),
    Listing(Board.STAR, "SH", 610, _STAR, _prefixes(680, 699, but=tuple(_STAR)), 1, 20, 200, 1),
    Listing(Board.BSE, "BJ", 295, {"920": 1000}, _prefixes(921, 929, but=()), 1, 30, 100, 1),
)
"""Every listing with its number of instruments in a market of 5,500."""


def price_limits(close: int, percent: int) -> tuple[int, int]:
    """Lowest and highest price of the day in fen, from the previous close in fen.

    Rounded half up to the tick and at least one tick away from the close (SSE and SZSE trading rules).
    """
    down = (close * (100 - percent) + 50) // 100
    up = (close * (100 + percent) + 50) // 100
    return max(1, min(down, close - 1)), max(up, close + 1)
