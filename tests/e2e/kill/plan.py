"""How large a kill test is, and at which moments it kills: drawn in advance, so that a seed gives the same ones."""

import random
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Moment(Enum):
    """When the hub is killed."""

    ANY = auto()
    AFTER_BATCH = auto()
    """Within moments of a batch: in the middle of writing, publishing or sending it."""
    STARTING = auto()
    """While it starts, perhaps reading its journal."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill of a hub that has listened for ``life_s``, ``wait_s`` after the moment.

    For ``STARTING`` it is a share of the time that a start takes, and the hub is killed twice.
    """

    moment: Moment
    life_s: float
    wait_s: float


@dataclass(frozen=True, slots=True)
class Size:
    """``longest_s``: the longest time that a hub or a feeder lives before it is killed at any moment."""

    symbols: int
    interval_s: float
    speed: float
    clients: int
    hub_kills: int
    feeder_kills: int
    longest_s: float
    seed: int

    @property
    def hub_phase_s(self) -> float:
        """About how long the hub is being killed."""
        return self.hub_kills * self.longest_s / 2


# Both have the exchanges' rhythm of three seconds: on it the hub builds when it says where an outage ended.
SHORT: Final = Size(
    symbols=500, interval_s=3, speed=6, clients=12, hub_kills=5, feeder_kills=2, longest_s=8, seed=20260901
)
FULL: Final = Size(
    symbols=5500, interval_s=3, speed=1, clients=50, hub_kills=20, feeder_kills=5, longest_s=15, seed=20260901
)


def hub_kills(size: Size, chance: random.Random) -> list[Kill]:
    """At least one of each moment, in any order."""
    moments = [Moment.AFTER_BATCH, Moment.STARTING, Moment.ANY, Moment.ANY]
    chosen = [moments[number % len(moments)] for number in range(size.hub_kills)]
    chance.shuffle(chosen)
    most_s = {Moment.ANY: 0.0, Moment.AFTER_BATCH: 0.05, Moment.STARTING: 1.0}
    return [Kill(moment, chance.uniform(0, size.longest_s), chance.uniform(0, most_s[moment])) for moment in chosen]
