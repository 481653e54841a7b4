"""A feeder process from its start to its end: a source runs here, and what it delivers goes to a hub elsewhere."""

import asyncio
import logging
import secrets
import time as wall
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, time

from bridge.feed.feeder import Feeder
from bridge.feed.going_on import RowsSince, place_after
from bridge.feed.messages import Hello
from bridge.feed.teller import Teller
from bridge.running import keep_running
from bridge.source import Batch, Interruption, Observer, ProcessMustEnd, Sink, Source, SourceStatus, Told

_logger = logging.getLogger("argus.feeder")


@dataclass(frozen=True, slots=True)
class FeedingSettings:
    """Where to, and how.

    ``finish_s``: what the hub is given at the end to acknowledge what waits. ``speed``: of the source's clock; None
    for a live source.
    """

    url: str
    token: str
    buffer_bytes: int
    finish_s: float
    speed: float | None


class Feeding:
    """One run of a feeder.

    Args:
        source: what to feed.
        make_again: makes the source anew to start on a day at a time; called for a simulated market that goes on
            where the hub's history ends. None for a source that has a market of its own.
        observers: are given every batch before it is sent.
    """

    def __init__(
        self,
        source: Source,
        settings: FeedingSettings,
        make_again: Callable[[date, time], Source] | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._source = source
        self._settings = settings
        self._make_again = make_again
        self._observers = observers

    async def run(self, stopped: asyncio.Event) -> None:
        """Feed until ``stopped`` is set, then give the hub some time.

        Raises:
            FeedEnded: the hub wants no more.
            ProcessMustEnd: the source can't go on in this process.
        """
        settings, source = self._settings, self._source
        feeder = Feeder(
            settings.url,
            settings.token,
            Hello(source.name, secrets.token_hex(8), source.simulated, sorted(source.channels), source.continues),
            buffer_bytes=settings.buffer_bytes,
            on_want=lambda topics: self._source.want(topics),
        )
        sending = asyncio.create_task(feeder.run())
        working = asyncio.create_task(self._work(feeder))
        stopping = asyncio.create_task(stopped.wait())
        must_end: ProcessMustEnd | None = None
        try:
            await asyncio.wait({sending, working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            try:
                await _end(working)
            except ProcessMustEnd as error:  # what came before it is the hub's all the same
                must_end = error
            if not sending.done():
                finishing = asyncio.create_task(feeder.finish(settings.finish_s))
                await asyncio.wait({sending, finishing}, return_when=asyncio.FIRST_COMPLETED)
                await _end(finishing)
        finally:
            for task in (working, stopping):
                task.cancel()
            await _end(sending)
        if must_end is not None:
            raise must_end

    async def _work(self, feeder: Feeder) -> None:
        """Run the source, and tell what it knows also after it has ended."""
        since_ms = 0
        if self._make_again is not None:
            since_ms = await self._find_place(feeder, self._make_again)
        teller = Teller(self._source, feeder.tell, self._settings.speed)
        sink: Sink = _Observed(feeder, [*self._observers, teller])
        if since_ms:
            sink = RowsSince(sink, since_ms)
        must_end: list[ProcessMustEnd] = []
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(teller.run())
                both.create_task(keep_running(self._source, sink, lambda: feeder.batches))
        except* ProcessMustEnd as group:
            must_end += [error for error in group.exceptions if isinstance(error, ProcessMustEnd)]
        if must_end:
            raise must_end[0]

    async def _find_place(self, feeder: Feeder, make_again: Callable[[date, time], Source]) -> int:
        """Wait for the hub, which knows how far the market has come. Returns the newest exchange time that it has."""
        newest = (await asyncio.shield(feeder.welcome)).newest
        if newest is None:
            return 0
        day, start = place_after(newest, wall.time_ns() // 1000, self._settings.speed or 0.0)
        self._source = make_again(day, start)
        _logger.info("the simulated market goes on on %s at %s", day, start.isoformat("seconds"))
        return newest.time


class _Observed:
    """The `bridge.source.Sink` before a feeder: observers are given each batch first."""

    def __init__(self, feeder: Feeder, observers: Sequence[Observer]) -> None:
        self._observers = observers
        self.report: Callable[[SourceStatus], None] = feeder.report
        self.interrupt: Callable[[Interruption], None] = feeder.interrupt
        self.begin_run: Callable[[str], None] = feeder.begin_run
        self.tell: Callable[[Told], None] = feeder.tell
        self._deliver = feeder.deliver

    def deliver(self, batch: Batch) -> None:
        for observer in self._observers:
            observer.observe(batch)
        self._deliver(batch)


async def _end(task: asyncio.Task[None]) -> None:
    """End a task; raises what it failed with."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
