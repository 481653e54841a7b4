"""Hears, for the feed that leads, what edges wish, and which other feeds make themselves known."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bridge.relay.boundary import Relay
from bridge.relay.record import Record
from bridge.relay.succession import announced, is_feed

WISHES_S: Final = 0.5


class Hearing:
    """What was heard last.

    Args:
        grace_s: how long an edge that is not heard of keeps its wishes: the relay may have forgotten.
        on_wishes: given the topics that edges want, when they change.
    """

    def __init__(
        self,
        relay: Relay,
        record: Record,
        epoch: str,
        grace_s: float,
        on_wishes: Callable[[frozenset[str]], None],
    ) -> None:
        self.seconded = asyncio.Event()
        """Set once another feed follows this epoch, or has led it."""
        self._relay = relay
        self._record = record
        self._epoch = epoch
        self._grace_s = grace_s
        self._on_wishes = on_wishes
        self._wished: dict[str, tuple[frozenset[str], float]] = {}  # by edge, with when it was heard of last
        self._told: frozenset[str] | None = None
        if record.kept.epoch == epoch and record.kept.others:
            self.seconded.set()

    async def run(self) -> None:
        """Hear without end. Raises RelayAway."""
        loop, self._told = asyncio.get_running_loop(), None
        while True:
            wishes = await self._relay.wishes()
            self._record.second([name for name, (epoch, _) in announced(wishes).items() if epoch == self._epoch])
            if self._record.kept.others:
                self.seconded.set()
            wanted = self._unite(wishes, loop.time())
            if wanted != self._told:
                self._told = wanted
                self._on_wishes(wanted)
            await asyncio.sleep(WISHES_S)

    def _unite(self, wishes: Mapping[str, Sequence[str]], now_s: float) -> frozenset[str]:
        """What edges want. One that is missing gets time to say it again."""
        edges = {name: topics for name, topics in wishes.items() if not is_feed(name)}
        self._wished.update((edge, (frozenset(topics), now_s)) for edge, topics in edges.items())
        self._wished = {edge: wish for edge, wish in self._wished.items() if now_s - wish[1] <= self._grace_s}
        return frozenset().union(*(topics for topics, _ in self._wished.values()))
