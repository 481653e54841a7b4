"""The two small protocols between the hub and the outside.

A *source* gives batches of rows and is told which topics are wanted. An *observer* is given the same batches.
``run_hub.py`` is the only place where sources, observers and the hub meet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Protocol

from hub.schema import Row


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one channel that arrived together, as one whole-market callback brings them.

    ``rows`` are positional in the channel's ``source_names``: ``code``, ``time``, then the values (no ``seq``,
    no ``recv``). ``recv_us`` is the wall clock in epoch microseconds when they were received.
    """

    channel: str
    rows: Sequence[Row]
    recv_us: int


class SourceState(StrEnum):
    """How a source is doing, by its own account. The age of the data is judged by the hub."""

    CONNECTED = "connected"
    DEGRADED = "degraded"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source's state and, unless all is well, the reason in words that a person can act on."""

    state: SourceState
    reason: str = ""


class Observer(Protocol):
    """Anything that is given the batches of a source: the hub, a recorder, a relay."""

    def observe(self, batch: Batch) -> None:
        """Take one batch. Called on the event loop; must not block."""


class Sink(Protocol):
    """Where a source puts what it has. All calls are made on the event loop."""

    def deliver(self, batch: Batch) -> None:
        """Hand over one batch, in order of arrival."""

    def report(self, status: SourceStatus) -> None:
        """Say how the source is doing, whenever that changes."""


class Source(Protocol):
    """Where rows come from."""

    @property
    def name(self) -> str:
        """Short name as clients see it, such as ``simulator`` or ``xtquant``."""

    @property
    def simulated(self) -> bool:
        """True when prices are invented. Every client and page is told."""

    @property
    def channels(self) -> frozenset[str]:
        """The channels that this source can give rows of."""

    @property
    def trading_days(self) -> frozenset[date] | None:
        """The trading days that the source knows, or None to use the hub's own table."""

    @property
    def continues(self) -> bool:
        """Whether `run` may be called again after a failure, and goes on; one that would begin anew is left ended."""

    def now_ms(self) -> int:
        """The market's time now in epoch milliseconds.

        The calendar and the age of the data are judged by it: the wall clock for a live source, the
        recording's or the simulated day's own clock otherwise.
        """

    def want(self, topics: frozenset[str]) -> None:
        """Be told the topics (exact names and patterns) that at least one client wants now."""

    async def run(self, sink: Sink) -> None:
        """Deliver until the source has ended (return), is cancelled, or fails (raise)."""
