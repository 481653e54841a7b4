"""Who runs when: everybody in turns, so that a machine that gets slower or faster does so for all."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple

from benchmarks.fanout.contestants import Contestant
from benchmarks.fanout.workloads import Workload

OVERHEAD_S: Final = 3.0
"""What a trial takes beside its schedule: a start, its clients, an end."""
CLIENTS_PER_S: Final = 1000


class Turn(NamedTuple):
    """One trial to run. ``number`` counts the rounds from 0."""

    number: int
    workload: Workload
    contestant: Contestant


def turns(workloads: Sequence[Workload], part: Mapping[str, Sequence[Contestant]], rounds: int) -> Iterator[Turn]:
    """Every trial, in order.

    Workloads of one family are run in turns, too: a contestant has all of them in a round before the next one has.

    Args:
        part: by the name of a workload, who takes part in it.
    """
    for _, members in groupby(workloads, key=lambda workload: workload.family or workload.name):
        family = list(members)
        everybody = list(dict.fromkeys(contestant for workload in family for contestant in part[workload.name]))
        for number in range(rounds):
            step = 1 if number % 2 == 0 else -1  # forward and backward, so that nobody always comes first
            for contestant in everybody[::step]:
                for workload in family[::step]:
                    if contestant in part[workload.name]:
                        yield Turn(number, workload, contestant)


def expected_s(turn: Turn) -> float:
    """About how long a trial takes."""
    workload = turn.workload
    connecting_s = workload.clients / (workload.connects_per_s or CLIENTS_PER_S)
    return OVERHEAD_S + connecting_s + workload.warm_up_s + workload.pause_s + workload.seconds
