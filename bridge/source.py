"""The small protocols between the hub and the outside.

A *source* gives batches of rows and is told which topics are wanted. An *observer* is given the same batches.
``run_hub.py`` is the only place where sources, observers and the hub meet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Protocol

from hub.core import Refusal
from hub.schema import Row


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one channel that arrived together, as one whole-market callback brings them.

    ``rows`` are positional in the channel's ``source_names``: ``code``, ``time``, then the values (no ``seq``,
    no ``recv``). ``recv_us`` is the wall clock in epoch microseconds when they were received. ``number`` is that which
    a feeder gave the batch within its run; 0 where there is no feeder. Rows of a feeder come packed (`hub.rows.Rows`),
    and so does everything that the door of the hub hands on. ``is_state``: the rows tell how things stood when the
    source was asked, and not that something happened: no client is given them as live.
    """

    channel: str
    rows: Sequence[Row]
    recv_us: int
    number: int = 0
    is_state: bool = False


@dataclass(frozen=True, slots=True)
class Interruption:
    """Rows of a topic or of a pattern that the source did not give, or not in order. No number of a row is missing.

    Times in epoch milliseconds of ``time``: that of the newest row before, and of the first after; None where unknown.
    """

    topic: str
    from_ms: int | None
    to_ms: int | None


class SourceState(StrEnum):
    """How a source is doing, by its own account. The age of the data is judged by the hub."""

    CONNECTED = "connected"
    DEGRADED = "degraded"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source's state and, unless all is well, the reason in words that a person can act on.

    ``keeps``: what comes while it is away is kept somewhere and delivered later, so that nothing is missing then.
    """

    state: SourceState
    reason: str = ""
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class ReferenceData:
    """What a source knows of its instruments, beside their rows.

    ``instruments``: a mapping for each, with ``code`` and ``name`` at least. ``universes``: named lists of codes.
    """

    instruments: Sequence[Mapping[str, Any]]
    universes: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Refusals:
    """All topic strings that are wanted and can't be given now; those that are not in it any more are given."""

    topics: Mapping[str, Refusal]


@dataclass(frozen=True, slots=True)
class Figures:
    """How often something happened at the source since it began, by what it was."""

    counts: Mapping[str, int]


Told = ReferenceData | Refusals | Figures
"""What a source says beside its rows, and of which only the newest word counts."""


class ProcessMustEnd(Exception):  # noqa: N818 (it reads as what is to be done)
    """The source can't be helped in this process any more: another one is to begin in its place. The text says why."""


class Observer(Protocol):
    """Anything that is given the batches of a source: a recorder, a relay."""

    def observe(self, batch: Batch) -> None:
        """Take one batch. Called on the event loop; must not block."""


class Publisher(Protocol):
    """The hub, as the door to it sees it. What is called first is earlier in the stream of every client."""

    def publish(self, batch: Batch) -> None:
        """Give the rows of a batch their numbers; one without rows still counts by its own number."""

    def announce(self, interruption: Interruption) -> None:
        """Tell the clients, before the next row."""

    def begin_run(self, run: str) -> None:
        """Batches are numbered from 1 again."""


class Sink(Protocol):
    """Where a source puts what it has. All calls are made on the event loop."""

    def deliver(self, batch: Batch) -> None:
        """Hand over one batch, in order of arrival."""

    def report(self, status: SourceStatus) -> None:
        """Say how the source is doing, whenever that changes."""

    def interrupt(self, interruption: Interruption) -> None:
        """Say that rows are missing between those delivered so far and the next."""

    def begin_run(self, run: str) -> None:
        """Say that another run of the source begins: what came between it and the one before is missing."""

    def tell(self, told: Told) -> None:
        """Say something beside the rows, whenever it changes. It may overtake rows."""


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
    def markets(self) -> Mapping[str, int]:
        """The markets that rows are due of, each with its number of instruments; empty where that is not known."""

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
        """Deliver until the source has ended (return), is cancelled, or fails (raise).

        Raises ProcessMustEnd where running it again in this process would not help.
        """
