"""What a code tells of an instrument, where the terminal has not told it yet: kind, board, decimal places, lot."""

from dataclasses import dataclass
from typing import Final

INDEX: Final = "index"
FUND: Final = "fund"
BOND: Final = "bond"
STOCK: Final = "stock"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a code stands for. ``digits``: decimal places of its prices; ``lot``: least order in shares, None: none."""

    kind: str
    board: str
    digits: int
    lot: int | None


_INDEX: Final = Kind(INDEX, "index", 4, None)
"""Indices are no multiple of any tick: they are calculated to three or four places."""
_FUND: Final = Kind(FUND, "fund", 3, 100)
_BOND: Final = Kind(BOND, "bond", 3, 10)
_MAIN: Final = Kind(STOCK, "main", 2, 100)
_CHINEXT: Final = Kind(STOCK, "chinext", 2, 100)
_STAR: Final = Kind(STOCK, "star", 2, 200)
_BSE: Final = Kind(STOCK, "bse", 2, 100)
_OTHER: Final = Kind("other", "other", 3, None)

_BY_PREFIX: Final = {
    "SH": {
        "000": _INDEX,
        "88": _INDEX,
        "5": _FUND,
        "1": _BOND,
        "0": _BOND,
        "2": _BOND,
        "60": _MAIN,
        "688": _STAR,
        "689": _STAR,
        "9": _OTHER,
    },
    "SZ": {
        "399": _INDEX,
        "98": _INDEX,
        "15": _FUND,
        "16": _FUND,
        "18": _FUND,
        "1": _BOND,
        "00": _MAIN,
        "300": _CHINEXT,
        "301": _CHINEXT,
        "302": _CHINEXT,
        "2": _OTHER,
    },
    "BJ": {"899": _INDEX, "": _BSE},
}


def kind_of(code: str) -> Kind:
    """What a full code such as 600000.SH stands for, by the longest prefix that is known of its exchange."""
    number, _, market = code.partition(".")
    prefixes = _BY_PREFIX.get(market, {})
    for length in (3, 2, 1, 0):
        if number[:length] in prefixes and len(number[:length]) == length:
            return prefixes[number[:length]]
    return _OTHER
