"""Hubs that run in the process of a test: an app with a scripted source, and a whole program with its renewals."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

import pytest

import run_hub
from bridge.app import App
from bridge.feed.endpoint import PATH
from bridge.source import Sink, Source, SourceState, SourceStatus
from hub.history import History
from hub.metrics import Metrics
from hub.opening import Opened
from hub.server import HubServer
from hub.settings import Settings
from tests.hub.support.core import EPOCH
from tests.hub.support.served_hub import ask, until

TEN_MS: Final = 1_788_228_000_000
"""2026-09-01 10:00:00 in Shanghai: a Tuesday, continuous trading."""

PATIENCE_S: Final = 60


@dataclass
class Scripted:
    """A source whose runs are functions of a test: each is given the sink, the last of them is run from then on."""

    runs: list[Callable[[Sink], Any]] = field(default_factory=list)
    started: int = 0
    clock_ms: int = TEN_MS
    wanted: list[frozenset[str]] = field(default_factory=list)
    name = "scripted"
    simulated = True
    continues = True
    channels = frozenset({"tick"})
    trading_days: frozenset[date] | None = None
    markets: Mapping[str, int] = field(default_factory=dict)

    def now_ms(self) -> int:
        return self.clock_ms

    def want(self, topics: frozenset[str]) -> None:
        self.wanted.append(topics)

    async def run(self, sink: Sink) -> None:
        self.started += 1
        outcome = self.runs[min(self.started, len(self.runs)) - 1](sink)
        if outcome is not None:
            await outcome


def connect_and_stay(sink: Sink) -> Any:
    """A run of a source that has nothing to give."""
    sink.report(SourceStatus(SourceState.CONNECTED))
    return asyncio.Event().wait()


def opened_in_memory() -> Opened:
    """A history of a hub without a journal."""
    return Opened(History(ring_rows=1000, ring_bytes=1 << 24), EPOCH)


def app_of(source: Source | None, opened: Opened | None = None, recorder: Any = None, **settings: Any) -> App:
    """An app on any free port that doesn't wait for its clients at the end; without a journal unless one is given."""
    journal = opened is not None and opened.journal is not None
    made = Settings(**{"port": 0, "drain_s": 0, "journal": journal, **settings})
    return App(made, source, opened or opened_in_memory(), Metrics("test"), recorder)


@dataclass
class Running:
    """A hub that runs in this process. ``apps`` and ``ports`` are those that it has had, one after the other."""

    apps: list[App]
    ports: list[int]
    stop: Callable[[], None]
    ended: "asyncio.Task[Any]"

    @property
    def app(self) -> App:
        """The one that runs now."""
        return self.apps[-1]

    @property
    def port(self) -> int:
        return self.ports[-1]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def feed_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}{PATH}"

    async def listens(self, times: int = 1) -> None:
        """Wait until it listens, for so many times in its life; raise what it ended with."""
        await until(lambda: len(self.ports) >= times or self.ended.done(), PATIENCE_S)
        if self.ended.done():
            self.ended.result()
        assert len(self.ports) == times

    async def ready(self) -> tuple[int, list[str]]:
        """Status and reasons of ``/readyz``."""
        answer = await ask(self.port, "/readyz")
        return answer.status, json.loads(answer.body)["reasons"]

    async def degraded(self) -> list[str]:
        """What ``/readyz`` says is wrong although the hub serves."""
        found: list[str] = json.loads((await ask(self.port, "/readyz")).body)["degraded"]
        return found

    async def figure(self, name: str) -> float:
        """One figure without labels of ``/metrics``."""
        lines = (await ask(self.port, "/metrics")).body.splitlines()
        (value,) = [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]
        return float(value)


@asynccontextmanager
async def running(app: App) -> AsyncIterator[Running]:
    """Run an app; at the end stop it as a signal does."""
    stopped = asyncio.Event()
    hub = Running([app], [], stopped.set, asyncio.create_task(app.run(stopped)))
    with _noted_ports(hub):
        async with _ending(hub):
            await hub.listens()
            yield hub


@asynccontextmanager
async def serving(source: Source | None = None, **settings: Any) -> AsyncIterator[Running]:
    """Run the hub as the program does, renewals included; at the end stop it as a signal does."""
    stopped = asyncio.Event()
    apps: list[App] = []

    def make(*parts: Any) -> App:
        apps.append(App(*parts))
        return apps[-1]

    ended = asyncio.create_task(run_hub.serve(Settings(**{"port": 0, "drain_s": 0, **settings}), source, stopped))
    hub = Running(apps, [], stopped.set, ended)
    with pytest.MonkeyPatch.context() as patch, _noted_ports(hub):
        patch.setattr(run_hub, "App", make)
        async with _ending(hub):
            await hub.listens()
            yield hub


@contextmanager
def _noted_ports(hub: Running) -> Iterator[None]:
    """Note the port each time that the hub begins to listen; others may run beside it."""
    start = HubServer.start

    async def start_and_note(server: HubServer, host: str, port: int) -> Any:
        addresses = await start(server, host, port)
        if asyncio.current_task() is hub.ended:
            hub.ports.append(addresses[0][1])
        return addresses

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HubServer, "start", start_and_note)
        yield


@asynccontextmanager
async def _ending(hub: Running) -> AsyncIterator[None]:
    try:
        yield
    finally:
        hub.stop()
        async with asyncio.timeout(PATIENCE_S):
            await hub.ended
