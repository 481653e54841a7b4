"""A source that runs in the test over the real xtdata.py, with a clock that the test moves."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.source import Batch, Figures, Interruption, Refusals, SourceState, SourceStatus
from bridge.xtquant import Options, XtquantSource
from bridge.xtquant.package import load
from hub.schema import Row
from tests.bridge.xtquant.support.terminal import TEN_MS, Terminal

PATIENCE_S = 60


@dataclass
class Clock:
    """Wall and monotonic clock, which stand still but for what the test adds."""

    ms: int = TEN_MS

    def now_ms(self) -> int:
        return self.ms

    def monotonic_s(self) -> float:
        return self.ms / 1000

    def pass_s(self, seconds: float) -> None:
        self.ms += round(seconds * 1000)


@dataclass
class Kept:
    """A sink that keeps everything in order."""

    said: list[Any] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def deliver(self, batch: Batch) -> None:
        self._keep(batch)

    def report(self, status: SourceStatus) -> None:
        self._keep(status)

    def interrupt(self, interruption: Interruption) -> None:
        self._keep(interruption)

    def begin_run(self, run: str) -> None:
        raise AssertionError("a terminal has no runs")

    def tell(self, told: Any) -> None:
        self.told.append(told)
        self.changed.set()

    def _keep(self, what: Any) -> None:
        self.said.append(what)
        self.changed.set()

    @property
    def batches(self) -> list[Batch]:
        return [what for what in self.said if isinstance(what, Batch)]

    def rows(self, channel: str = "tick", *, is_state: bool = False) -> list[Row]:
        return [
            row
            for batch in self.batches
            if (batch.channel, batch.is_state) == (channel, is_state)
            for row in batch.rows
        ]

    @property
    def statuses(self) -> list[SourceStatus]:
        return [what for what in self.said if isinstance(what, SourceStatus)]

    @property
    def interruptions(self) -> list[Interruption]:
        return [what for what in self.said if isinstance(what, Interruption)]

    @property
    def state(self) -> SourceState | None:
        return self.statuses[-1].state if self.statuses else None

    @property
    def figures(self) -> dict[str, int]:
        return dict(next((told.counts for told in reversed(self.told) if isinstance(told, Figures)), {}))

    @property
    def refused(self) -> dict[str, str]:
        """Error codes by topic, as they were told last."""
        told = next((told for told in reversed(self.told) if isinstance(told, Refusals)), None)
        return {} if told is None else {topic: refusal.code for topic, refusal in told.topics.items()}

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not happened():
                self.changed.clear()
                await self.changed.wait()


@dataclass
class Running:
    source: XtquantSource
    sink: Kept
    clock: Clock
    task: "asyncio.Task[None]"

    async def connected(self) -> None:
        await self.sink.until(lambda: self.sink.state in (SourceState.CONNECTED, SourceState.DEGRADED))

    async def looked(self, times: int = 1) -> None:
        """Wait until the source has looked at everything so many times again."""
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(times):
                looks = self.source.looks
                while self.source.looks < looks + 2:  # the one that was under way does not count
                    self.source.want(self.source.wanted)  # which wakes it
                    await asyncio.sleep(0.001)

    async def ended(self) -> BaseException | None:
        """Wait until it has ended; what it failed with."""
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.wait({self.task})
        return self.task.exception()


def imported(folder: Path) -> Any:
    """The real xtdata, imported once. What its code is warned of is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(folder)


@asynccontextmanager
async def running(
    terminal: Terminal, folder: Path, data: Path, *, clock: Clock | None = None, **options: Any
) -> AsyncIterator[Running]:
    """A source on a terminal; the sectors are those that the terminal has, unless options say otherwise."""
    clock = clock or Clock()
    usual = {"sectors": tuple(terminal.sectors), "addresses": (terminal.address,), "stale_after_s": 12.0}
    source = XtquantSource(
        Options(**{"folder": folder, "data": data, **usual, **options}),
        now_ms=clock.now_ms,
        monotonic_s=clock.monotonic_s,
        pause_s=lambda _: 0.0,
    )
    sink = Kept()
    task = asyncio.create_task(source.run(sink))
    try:
        yield Running(source, sink, clock, task)
    finally:
        task.cancel()
        await asyncio.wait({task})
