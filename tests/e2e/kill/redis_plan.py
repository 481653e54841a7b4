"""What befalls a feed, its edges and the Redis between them, and when: drawn in advance, a seed gives the same."""

import random
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final


class Fault(Enum):
    """What is done to whom."""

    KILL_EDGE = auto()
    PAUSE_EDGE = auto()
    KILL_FEED = auto()
    """The one that leads: the other one takes over."""
    PAUSE_FEED = auto()
    """The same, for longer than its lease: when it goes on it finds that another one leads."""
    KILL_STANDBY = auto()
    PAUSE_STANDBY = auto()
    KILL_REDIS = auto()
    """It comes back with nothing."""
    PAUSE_REDIS = auto()
    """By its own command: it answers nobody, and its connections stay."""
    FLUSH_REDIS = auto()
    CUT_LISTENERS = auto()
    """As when the output buffers of all that listen are full."""
    CUT_ALL = auto()
    CUT_EDGE = auto()
    """The line between an edge and Redis, at any byte."""
    SILENCE_EDGE = auto()
    """The same line carries nothing for a time, and both ends believe that it does."""
    THROTTLE_EDGE = auto()
    """It carries less than is published, until Redis cuts it off."""


@dataclass(frozen=True, slots=True)
class Event:
    """A fault, after all has been well for ``well_s``; ``edge`` is the one that it befalls, where it does.

    ``lasts_s``: how long, for what lasts. ``after_batch``: within moments of a batch.
    """

    fault: Fault
    well_s: float
    lasts_s: float
    edge: int
    after_batch: bool


@dataclass(frozen=True, slots=True)
class RedisSize:
    """How large it is. ``every``: every so many-th client wants the whole market.

    ``few``: clients of one edge more, which serves a few topics only.
    """

    symbols: int
    interval_s: float
    speed: float
    edges: int
    clients: int
    every: int
    few: int
    rounds: int
    longest_s: float
    relay_rows: int
    seed: int

    @property
    def phase_s(self) -> float:
        """About how long faults come."""
        return self.rounds * len(Fault) * self.longest_s


SHORT: Final = RedisSize(
    symbols=300,
    interval_s=3,
    speed=6,
    edges=3,
    clients=18,
    every=9,
    few=2,
    rounds=1,
    longest_s=1.5,
    relay_rows=3_000,
    seed=20261127,
)
FULL: Final = RedisSize(
    symbols=5500,
    interval_s=3,
    speed=1,
    edges=3,
    clients=300,
    every=100,
    few=10,
    rounds=3,
    longest_s=8,
    relay_rows=50_000,
    seed=20261127,
)


def events(size: RedisSize, chance: random.Random) -> list[Event]:
    """Each fault as often as there are rounds, in any order."""
    faults = [*Fault] * size.rounds
    chance.shuffle(faults)
    return [
        Event(
            fault,
            chance.uniform(0, size.longest_s),
            chance.uniform(0.5, 1) * size.longest_s * 2,
            chance.randrange(size.edges + 1),
            chance.random() < 0.5,
        )
        for fault in faults
    ]
