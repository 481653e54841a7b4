"""Cheap random draws from one seeded stream.

The market draws some ten numbers for every row that it makes. Gaussian, exponential and log-normal numbers come
from tables of quantiles, so that each costs one uniform draw and one look-up.
"""

import random
from collections.abc import Callable, Sequence
from math import exp, log1p
from statistics import NormalDist
from typing import Final, TypeVar

T = TypeVar("T")

_CELLS: Final = 4096
_MIDDLES: Final = tuple((cell + 0.5) / _CELLS for cell in range(_CELLS))
_NORMAL: Final = tuple(NormalDist().inv_cdf(middle) for middle in _MIDDLES)
_EXPONENTIAL: Final = tuple(-log1p(-middle) for middle in _MIDDLES)
_BURST_SIGMA: Final = 1.1
_BURST: Final = tuple(exp(_BURST_SIGMA * z - _BURST_SIGMA**2 / 2) for z in _NORMAL)


class Draws:
    """One stream of draws. Streams with the same key give the same numbers, on every machine."""

    __slots__ = ("_stream", "uniform")

    def __init__(self, *key: object) -> None:
        # Invented prices need speed and repeatability; nothing here is a secret.
        self._stream = random.Random("/".join(map(str, key)))  # noqa: S311
        self.uniform: Callable[[], float] = self._stream.random
        """A number from 0 (inclusive) to 1 (exclusive)."""

    def normal(self) -> float:
        """A standard normal number."""
        return _NORMAL[int(self.uniform() * _CELLS)]

    def exponential(self) -> float:
        """An exponential number of mean 1."""
        return _EXPONENTIAL[int(self.uniform() * _CELLS)]

    def burst(self) -> float:
        """A positive number of mean 1 with a long tail, as trade and order sizes have."""
        return _BURST[int(self.uniform() * _CELLS)]

    def sample(self, population: Sequence[T], count: int) -> list[T]:
        """``count`` different members of ``population``."""
        return self._stream.sample(population, count)
