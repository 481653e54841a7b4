"""The feed, as the rest of an edge sees it: a source that numbers its rows itself."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from time import monotonic

from bridge.relay.state import State
from bridge.source import Sink
from hub.serving import Serving


class FeedAfar:
    """A `bridge.source.Source` that is told how the feed is.

    Args:
        state: what the feed told last.
        serving: the topics that are served; None: all.
        monotonic_s: seconds that only ever grow.
    """

    continues = True

    def __init__(
        self, state: State, serving: Serving | None = None, monotonic_s: Callable[[], float] = monotonic
    ) -> None:
        self.wanted: frozenset[str] = frozenset()
        """The topics that clients of this edge want now."""
        self.on_want: Callable[[], None] = _nothing
        self.ended = asyncio.Event()
        """Set when the feed is not followed any more."""
        self._state = state
        self._served = None if serving is None else Counter(_markets_of(serving.names))
        self._monotonic_s = monotonic_s
        self._told_s = monotonic_s()

    @property
    def name(self) -> str:
        """Of the feed's source."""
        return self._state.source

    @property
    def simulated(self) -> bool:
        """Whether its prices are invented."""
        return self._state.simulated

    @property
    def channels(self) -> frozenset[str]:
        """Those of the feed's source."""
        return frozenset(self._state.channels)

    @property
    def trading_days(self) -> frozenset[date] | None:
        """Those that it knows."""
        days = self._state.trading_days
        return None if days is None else frozenset(days)

    @property
    def markets(self) -> Mapping[str, int]:
        """The markets that rows are due of, each with how many instruments there are of those that are served."""
        markets = self._state.markets
        if self._served is None:
            return markets
        return {market: min(count, self._served[market]) for market, count in markets.items() if self._served[market]}

    def tell(self, state: State) -> None:
        """Take how the feed is."""
        self._state = state
        self._told_s = self._monotonic_s()

    def now_ms(self) -> int:
        """The source's clock, running on since it was told last."""
        return self._state.now_ms + int((self._monotonic_s() - self._told_s) * 1000 * self._state.pace)

    def want(self, topics: frozenset[str]) -> None:
        """Pass on what is wanted."""
        self.wanted = topics
        self.on_want()

    async def run(self, sink: Sink) -> None:
        """Return when the feed is not followed any more. Rows come another way: see `bridge.relay.follower`."""
        await self.ended.wait()


def _markets_of(names: Iterable[str]) -> Iterator[str]:
    """The market of each topic that is an instrument's ticks."""
    return (name.rpartition(".")[2] for name in names if name.startswith("tick:"))


def _nothing() -> None:
    """Nobody passes wishes on yet."""
