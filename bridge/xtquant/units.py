"""In which unit the terminal gives volumes, found out from the data: hands by its documents, shares by some reports.

``amount`` is in yuan beyond doubt. So amount / (volume * price) is about 100 where volumes are hands, and about 1 where
they are shares.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from statistics import median
from typing import Any, Final

from bridge.xtquant.codes import STOCK, kind_of
from bridge.xtquant.prices import real

ENOUGH: Final = 20
"""Stocks that have traded, below which nothing is concluded."""


class VolumeUnit(Enum):
    """What one unit of ``volume`` is."""

    HANDS = "hands"
    SHARES = "shares"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the volumes are in; None: neither, and ``ratio`` tells what they are instead."""

    unit: VolumeUnit | None
    ratio: float
    stocks: int


def judge(ticks: Iterable[tuple[str, Mapping[str, Any]]]) -> Verdict | None:
    """Judge by the stocks of a snapshot that have traded; None where there are too few of them.

    Funds and indices are left out: of them, other units were seen.
    """
    ratios = [ratio for code, tick in ticks if kind_of(code).kind == STOCK and (ratio := _ratio(tick))]
    if len(ratios) < ENOUGH:
        return None
    typical = median(ratios)
    if 50 <= typical <= 200:
        return Verdict(VolumeUnit.HANDS, typical, len(ratios))
    if 0.5 <= typical <= 2:
        return Verdict(VolumeUnit.SHARES, typical, len(ratios))
    return Verdict(None, typical, len(ratios))


def _ratio(tick: Mapping[str, Any]) -> float:
    """Yuan per unit of volume and yuan of price; 0 where nothing was traded or the tick is none."""
    try:
        amount, volume, price = (real(tick[name]) for name in ("amount", "volume", "lastPrice"))
    except (KeyError, TypeError, ValueError, IndexError):
        return 0.0
    return amount / (volume * price) if amount and volume and price else 0.0
