"""A source that is somewhere else: what a feeder says becomes batches, interruptions and reports here.

It knows no socket (`bridge.feed.endpoint` does): it is told who comes, what they say and who is gone, and keeps
the account of which batches are taken and which are stored.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Final, Protocol

import msgspec

from bridge.feed.messages import (
    CLOSE_FORBIDDEN,
    CLOSE_REPLACED,
    CLOSE_RESTART,
    Clock,
    Counts,
    Dropped,
    FedBatch,
    FeedViolation,
    Hello,
    Instruments,
    Newest,
    Reference,
    Refused,
    Status,
    TradingDays,
    Welcome,
)
from bridge.feed.told import told_of
from bridge.source import Batch, Figures, Interruption, Refusals, Sink, SourceState, SourceStatus
from hub.rows import Rows
from hub.schema import CHANNELS, STATUS, Row
from hub.topics import TopicError, parse

FEEDABLE: Final = frozenset(CHANNELS) - {STATUS}
"""What a feeder may bring; the hub alone speaks on ``status``."""

_REPLACED: Final = "replaced by a newer run"

_logger = logging.getLogger("argus.feed")


class FeedRefused(Exception):  # noqa: N818 (it reads as what happened)
    """A feeder may not feed now. ``code`` is the close code, ``word`` a short name for programs."""

    def __init__(self, code: int, word: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.word = word


class Link(Protocol):
    """The hub's end of the connection to one feeder, as the source sees it."""

    def wake(self, *, ack_again: bool = False) -> None:
        """Say that there may be something to send: an acknowledgement, or what is wanted."""

    def end(self, code: int, reason: str) -> None:
        """Close the connection soon; nothing of it is taken from now on."""


class FeedSource:
    """A `bridge.source.Source` whose rows a feeder brings.

    Args:
        run: the feeder's run that the hub's history ends with; empty where there is none.
        batch: the newest batch of that run in the history.
        newest: the newest exchange time of the history (epoch ms) and when that row was received (epoch µs); None
            while there is no row.
        on_hello: called before a feeder is let in, with those of its channels that are known here; False when it
            can't go on in this history. It is then closed with 1012, and whoever said so begins another history.
        monotonic_s: seconds that only ever grow.
        wall_ms: the wall clock in epoch milliseconds, which holds while no feeder tells another.
    """

    continues = True

    def __init__(
        self,
        *,
        newest: Callable[[], tuple[int, int] | None],
        on_hello: Callable[[Hello], bool],
        run: str = "",
        batch: int = 0,
        monotonic_s: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.name = "feed"
        self.simulated = False
        self.channels = FEEDABLE
        self.markets: Mapping[str, int] = {}
        self.trading_days: frozenset[date] | None = None
        self.stored_batch = batch
        """The newest batch of the present run that is in the journal."""
        self.wanted: frozenset[str] = frozenset()
        """The topics that clients want now."""
        self.may_take: Callable[[], bool] = _always
        """Whether batches may be numbered here now; a feeder that comes nevertheless is sent away, to come back."""
        self._newest = newest
        self._on_hello = on_hello
        self._monotonic_s = monotonic_s
        self._wall_ms = wall_ms
        self._run = run
        self._taken_batch = batch
        self._replaced: set[str] = set()
        self._sink: Sink | None = None
        self._is_running = asyncio.Event()
        self._link: Link | None = None
        self._said = SourceStatus(SourceState.CONNECTED)
        self._reported: SourceStatus | None = None
        self._clock: tuple[Clock, float] | None = None
        self._rows_ms = 0  # the newest time of the rows of this run, where its clock is not the wall clock
        self._strange_channels: set[str] = set()

    def now_ms(self) -> int:
        """The feeder's clock, running on since it was told last.

        Where none was told: the wall clock or, of a simulated market, which has a time of its own, that of its rows,
        be they from before the hub's start.
        """
        if self._clock is None:
            return self._rows_ms or (self.simulated and self._kept_ms()) or self._wall_ms()
        # What is told may be a second old when it comes, which a fast market counts as many: never behind the rows.
        clock, told_s = self._clock
        return max(self._rows_ms, clock.time + int((self._monotonic_s() - told_s) * 1000 * clock.pace))

    def want(self, topics: frozenset[str]) -> None:
        """Pass on to the feeder what is wanted."""
        self.wanted = topics
        if self._link is not None:
            self._link.wake()

    def stored(self, batch: int) -> None:
        """Note that every batch of the present run up to this one is in the journal; the feeder may let go of them."""
        if self.stored_batch < batch <= self._taken_batch:
            self.stored_batch = batch
            if self._link is not None:
                self._link.wake()

    def published(self, run: str, batch: int) -> None:
        """Note the same where it holds for the batches of a certain run."""
        if run == self._run:
            self.stored(batch)

    async def run(self, sink: Sink) -> None:
        """Take what feeders bring, without end. They are kept waiting while this doesn't run."""
        if self._link is not None:  # what it sent meanwhile was not taken: it must begin again after what is stored
            self._link.end(CLOSE_RESTART, "the hub takes batches again from the last stored one")
            self._link = None
        self._sink, self._reported = sink, None
        self._report(SourceStatus(SourceState.AWAY, "no feeder has connected yet", keeps=bool(self._run)))
        self._is_running.set()
        try:
            await asyncio.Event().wait()
        finally:
            self._is_running.clear()
            self._sink = None

    async def running(self) -> None:
        """Return when `run` runs."""
        await self._is_running.wait()

    def enter(self, link: Link, hello: Hello) -> Welcome:
        """Let a feeder in, in the place of the one that is there. Raises FeedRefused or FeedViolation."""
        if self._sink is None or not self.may_take():
            raise FeedRefused(CLOSE_RESTART, "restart", "the hub takes no batches now")
        if hello.run in self._replaced:
            raise FeedRefused(CLOSE_REPLACED, "replaced", _REPLACED)
        if self._link is not None and hello.source != self.name:
            raise FeedRefused(CLOSE_FORBIDDEN, "forbidden", f"this hub is being fed by the source {self.name}")
        channels = FEEDABLE.intersection(hello.channels)
        if not channels:
            raise FeedViolation(f"hello: none of its channels is known here ({', '.join(hello.channels)})")
        hello = msgspec.structs.replace(hello, channels=sorted(channels))
        if not self._on_hello(hello):
            raise FeedRefused(CLOSE_RESTART, "restart", "another history begins with this feeder")
        before, self._link = self._link, link
        is_new_run = hello.run != self._run
        if before is not None:
            before.end(CLOSE_REPLACED if is_new_run else CLOSE_RESTART, _REPLACED if is_new_run else "connected anew")
        _logger.info("fed by %s, run %s, %s", hello.source, hello.run, "a new one" if is_new_run else "which goes on")
        self.name, self.simulated, self.channels = hello.source, hello.simulated, channels
        self._strange_channels.clear()
        if is_new_run:
            self._begin(self._sink, hello.run)
        self._report(self._said)
        newest = self._newest()
        return Welcome(hello.run, self.stored_batch, sorted(self.wanted), None if newest is None else Newest(*newest))

    def take(self, link: Link, message: msgspec.Struct) -> None:
        """Take what a feeder said after its welcome. Of one that was replaced, or while nothing runs, nothing is."""
        sink = self._sink
        if sink is None or link is not self._link:
            return
        if not self.may_take():  # what is not taken has to come again, from the last batch that was stored
            self.leave(link, "the hub takes no batches now", keeps=True)
            link.end(CLOSE_RESTART, "the hub takes no batches now")
            return
        match message:
            case FedBatch():
                self._take_batch(sink, link, message)
            case Dropped():
                self._take_dropped(sink, link, message)
            case Status(state, reason, keeps):
                self._said = SourceStatus(SourceState(state), reason, keeps)
                self._report(self._said)
            case TradingDays(days):
                self.trading_days = frozenset(days)
            case Instruments(markets):
                self.markets = markets
            case Clock():
                self._clock = (message, self._monotonic_s())
            case Reference() | Refused() | Counts():
                sink.tell(told_of(message))
            case _:
                raise FeedViolation("hello: it was said already")

    def leave(self, link: Link, reason: str, *, keeps: bool) -> None:
        """Note that a connection has ended. ``keeps``: its feeder goes on and will bring what came meanwhile."""
        if link is self._link:
            self._link = None
            self._report(SourceStatus(SourceState.AWAY, reason, keeps))

    def _begin(self, sink: Sink, run: str) -> None:
        if self._run:
            self._replaced.add(self._run)
        self._run = run
        self._taken_batch = self.stored_batch = self._rows_ms = 0
        self._said = SourceStatus(SourceState.CONNECTED)
        sink.begin_run(run)
        sink.tell(Refusals({}))
        sink.tell(Figures({}))

    def _take_batch(self, sink: Sink, link: Link, fed: FedBatch) -> None:
        if fed.number <= self._taken_batch:
            link.wake(ack_again=True)
            return
        if fed.number > self._taken_batch + 1 and (self._taken_batch or self._newest() is not None):
            _logger.error("batches %d to %d did not come, nor word of them", self._taken_batch + 1, fed.number - 1)
            newest = self._newest()
            self._interrupt(sink, (), None if newest is None else newest[0], newest_ms(fed.rows))
        self._taken_batch = fed.number
        if self.simulated or self._clock is not None:
            self._rows_ms = max(self._rows_ms, newest_ms(fed.rows) or 0)
        batch = Batch(fed.channel, fed.rows, fed.recv_us, fed.number, fed.is_state)
        if fed.channel not in self.channels:
            if fed.channel not in self._strange_channels:
                self._strange_channels.add(fed.channel)
                _logger.error("rows of the channel %.40r are left out: the feeder did not announce it", fed.channel)
            batch = self._empty(fed.recv_us)
        try:
            sink.deliver(batch)
        except Exception:  # sent again it would fail again, and nothing after it would ever come through
            _logger.exception("batch %d could not be taken", fed.number)
            self._interrupt(sink, (), None, None)

    def _take_dropped(self, sink: Sink, link: Link, dropped: Dropped) -> None:
        if dropped.last <= self._taken_batch:
            link.wake(ack_again=True)
            return
        _logger.warning("the feeder has no batches %d to %d", dropped.first, dropped.last)
        is_all_told = dropped.first <= self._taken_batch + 1
        self._interrupt(sink, dropped.topics if is_all_told else (), dropped.from_time, dropped.to_time)
        self._taken_batch = dropped.last
        sink.deliver(self._empty(self._wall_ms() * 1000))  # so that they are told once, and acknowledged

    def _empty(self, recv_us: int) -> Batch:
        """A batch that only counts."""
        return Batch(min(self.channels), (), recv_us, self._taken_batch)

    def _interrupt(self, sink: Sink, topics: Sequence[str], from_ms: int | None, to_ms: int | None) -> None:
        known = [topic for topic in topics if _is_topic(topic)]
        for topic in known or [f"{channel}:*" for channel in sorted(self.channels)]:
            sink.interrupt(Interruption(topic, from_ms, to_ms))

    def _kept_ms(self) -> int:
        newest = self._newest()
        return 0 if newest is None else newest[0]

    def _report(self, status: SourceStatus) -> None:
        if self._sink is not None and status != self._reported:
            self._reported = status
            self._sink.report(status)


def _always() -> bool:
    """Where nobody else may number, batches are always taken."""
    return True


def newest_ms(rows: Sequence[Row]) -> int | None:
    """The newest exchange time of rows; those that have none are judged elsewhere."""
    if isinstance(rows, Rows):
        return max(rows.times, default=None)
    return max((row[1] for row in rows if len(row) > 1 and type(row[1]) is int), default=None)


def _is_topic(text: str) -> bool:
    try:
        parse(text, {})
    except TopicError:
        return False
    return True
