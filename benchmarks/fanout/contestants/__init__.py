"""Who is measured: the hub, its limit, and what a user would pick instead."""

from collections.abc import Iterator
from typing import Final

from benchmarks.fanout.contestants.base import Contestant
from benchmarks.fanout.contestants.hub import ArgusHub
from benchmarks.fanout.contestants.limit import Limit
from benchmarks.fanout.contestants.nats import Nats
from benchmarks.fanout.contestants.nginx import Nchan
from benchmarks.fanout.contestants.python import PYTHON_SERVERS

__all__ = ["CONTESTANTS", "Contestant"]


def _all() -> Iterator[Contestant]:
    yield ArgusHub("hub", ())
    yield ArgusHub("hub-no-journal", ("--no-journal",))
    yield ArgusHub("hub-flush-5", ("--flush-interval-ms", "5"))
    yield ArgusHub("hub-flush-5-no-journal", ("--flush-interval-ms", "5", "--no-journal"))
    yield Limit("c-each", "each")
    yield Limit("c-gathered", "gathered")
    yield Nats()
    yield from PYTHON_SERVERS
    yield Nchan()


CONTESTANTS: Final = {contestant.name: contestant for contestant in _all()}
"""By name, in the order in which they are shown."""
