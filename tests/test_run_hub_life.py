"""The life of the program: what the source delivers and how it fails, readiness, and the order of the end."""

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import run_hub
from bridge.source import Batch, Sink, SourceState, SourceStatus
from hub.config import Settings
from hub.server import HubServer
from run_hub import App
from tests.bridge.support.recordings import line, play, write_csv
from tests.e2e.support.plain_client import plain_client
from tests.hub.support.core import tick
from tests.hub.support.served_hub import ask, until

TEN_MS = 1_788_228_000_000
"""2026-09-01 10:00:00 in Shanghai: a Tuesday, continuous trading."""


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    yield
    gc.unfreeze()


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
    sink.report(SourceStatus(SourceState.CONNECTED))
    return asyncio.Event().wait()


def fail(_: Sink) -> None:
    raise RuntimeError("the terminal is gone")


def app_of(source: Scripted, recorder: Any = None, **settings: Any) -> App:
    return App(Settings(port=0, drain_s=0, journal=False, **settings), source, recorder)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between two runs, which pass at once."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(delay_s: float) -> None:
        pauses.append(delay_s)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)
    return pauses


async def test_a_source_that_fails_is_away_and_started_again_with_growing_pauses(
    pauses: list[float], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Scripted([fail] * 8 + [lambda sink: sink.report(SourceStatus(SourceState.CONNECTED))])
    app = app_of(source)
    states: list[tuple[str, str]] = []
    report = app._watch.report_source

    def note_and_report(state: str, reason: str, recv_us: int) -> None:
        states.append((state, reason))
        report(state, reason, recv_us)

    monkeypatch.setattr(app._watch, "report_source", note_and_report)
    await app._run_source()
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert source.started == 9
    reason = "it failed (RuntimeError: the terminal is gone) and is started again"
    assert states == [("away", reason)] * 8 + [("connected", "")]
    assert app._watch.source_state == "connected"
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors][:2] == [
        "the source failed; it is started again in 1 s",
        "the source failed; it is started again in 2 s",
    ]
    assert all(record.exc_info for record in errors)


async def test_after_a_source_has_run_well_the_pauses_begin_anew(pauses: list[float]) -> None:
    """What failed in the morning must not make the afternoon's first mishap cost half a minute."""

    def run_well_and_fail(sink: Sink) -> None:
        sink.report(SourceStatus(SourceState.CONNECTED))
        sink.deliver(Batch("tick", [tick("600000.SH", TEN_MS)], 1))
        raise RuntimeError("the terminal is gone")

    source = Scripted([fail, fail, fail, run_well_and_fail, fail, lambda _: None])
    await app_of(source)._run_source()
    assert pauses == [1, 2, 4, 1, 2]


async def test_a_source_that_ends_is_not_started_again(pauses: list[float]) -> None:
    source = Scripted([lambda _: None])
    await app_of(source)._run_source()
    assert (source.started, pauses) == (1, [])


async def test_a_batch_goes_through_the_intake_to_the_hub_the_figures_and_the_recorder() -> None:
    def deliver(sink: Sink) -> None:
        sink.deliver(Batch("tick", [tick("600000.SH", TEN_MS), tick("600000.SH", 0), tick("nonsense", 1)], 7))

    recorded: list[Batch] = []
    app = app_of(Scripted([deliver]), SimpleNamespace(observe=recorded.append))
    await app._run_source()
    assert (app._hub.history.at, app._hub.counts.rows_in) == (1, 1)
    assert app._intake.refused == {"time zero": 1, "malformed code": 1}
    assert [len(batch.rows) for batch in recorded] == [1]
    page = app._metrics.page().decode()
    assert "argus_batch_rows_sum 1.0" in page
    app._watch.look(1)
    assert list(app._watch.markets) == ["SH"]


async def test_bars_do_not_count_as_fresh_ticks() -> None:
    source = Scripted([lambda sink: sink.deliver(Batch("1m", [("600000.SH", TEN_MS, *[None] * 7)], 7))])
    source.channels = frozenset({"tick", "1m"})
    app = app_of(source)
    await app._run_source()
    app._watch.look(1)
    assert list(app._watch.markets) == []
    assert app._hub.history.at == 1


async def test_a_row_that_cannot_be_encoded_is_logged_and_the_others_are_published(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [tick("600000.SH", TEN_MS, object()), tick("600000.SH", TEN_MS)]
    app = app_of(Scripted([lambda sink: sink.deliver(Batch("tick", rows, 7))]))
    await app._run_source()
    assert app._hub.history.at == 1
    assert "row refused: tick row that can't be encoded" in caplog.text


@dataclass
class Running:
    """A hub that runs in this process."""

    app: App
    source: Scripted
    port: int
    stop: Callable[[], None]
    ended: "asyncio.Task[None]"

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def ready(self) -> tuple[int, list[str]]:
        """Status and reasons of ``/readyz``."""
        answer = await ask(self.port, "/readyz")
        return answer.status, json.loads(answer.body)["reasons"]


@asynccontextmanager
async def running(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    source: Scripted,
    recorder: Any = None,
    **settings: Any,
) -> AsyncIterator[Running]:
    """Run an app until it says where it listens; at the end stop it as a signal does."""
    stops: list[Callable[[], None]] = []
    monkeypatch.setattr(run_hub, "_on_signals", stops.append)
    app = app_of(source, recorder, **settings)
    ended = asyncio.create_task(app.run())
    said: list[str] = []

    def listens() -> bool:
        said.append(capsys.readouterr().out)
        return "listening" in said[-1] or ended.done()

    await until(listens)
    port = int(said[-1].partition("http://127.0.0.1:")[2].partition("/")[0])
    assert said[-1] == f"Argus Hub is listening on http://127.0.0.1:{port}/ (ws://127.0.0.1:{port}/ws)\n"
    running = Running(app, source, port, stops[0], ended)
    try:
        yield running
    finally:
        running.stop()
        async with asyncio.timeout(20):
            await ended


async def test_from_start_to_end(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    async def work(sink: Sink) -> None:
        sink.report(SourceStatus(SourceState.CONNECTED))
        sink.deliver(Batch("tick", [tick("600000.SH", TEN_MS)], 7))
        try:
            await asyncio.Event().wait()
        finally:
            order.append("source cancelled")

    recorder = SimpleNamespace(observe=lambda _: None, close=lambda: order.append("recorder closed"))
    monkeypatch.setattr(run_hub, "LAG_PROBE_S", 0.001)
    source = Scripted([work])
    async with running(capsys, monkeypatch, source, recorder, max_topics=3) as hub, plain_client(hub.url) as client:
        assert client.welcome["source"] == {"name": "scripted", "simulated": True}
        assert client.welcome["limits"]["topics"] == 3
        assert client.welcome["server"].startswith("argus-hub/")
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"])
        (rows,) = await client.data(1)
        assert rows.rows[0][:2] == ("600000.SH", 1)
        assert source.wanted == [frozenset({"tick:*"})]
        await until(lambda: b"argus_event_loop_lag_seconds_count 0.0" not in hub.app._metrics.page())
        assert await hub.ready() == (200, [])
        metrics = (await ask(hub.port, "/metrics")).body
        assert "argus_clients 1.0" in metrics
        assert 'argus_source_state{source="scripted",state="connected"} 1.0' in metrics
        hub.stop()
        assert (await client.control("draining"))["reason"] == "the hub is restarting"
        assert (await client.closed())[0] in (1012, 1006)
    assert order == ["source cancelled", "recorder closed"]
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others


async def test_what_the_source_delivers_is_recorded_and_the_file_is_complete_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (row,) = await play(write_csv(tmp_path / "day.csv", line()))
    file = tmp_path / "recorded.csv.gz"

    def deliver(sink: Sink) -> Any:
        sink.deliver(Batch("tick", [row], 7))
        return connect_and_stay(sink)

    async with running(capsys, monkeypatch, Scripted([deliver]), record=file) as hub:
        await until(lambda: hub.app._hub.history.at)
    assert await play(file) == [row]


async def test_an_address_of_version_6_is_told_in_brackets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HubServer, "start", started_at("::1", 8765))
    monkeypatch.setattr(HubServer, "drain", started_at())
    stops: list[Callable[[], None]] = []
    monkeypatch.setattr(run_hub, "_on_signals", stops.append)
    ended = asyncio.create_task(app_of(Scripted([connect_and_stay])).run())
    await until(lambda: stops)
    stops[0]()
    await ended
    assert "http://[::1]:8765/ (ws://[::1]:8765/ws)" in capsys.readouterr().out


def started_at(*address: Any) -> Callable[..., Any]:
    async def start(*_: Any) -> list[Any]:
        return [address]

    return start


async def test_while_the_source_has_not_reported_or_is_away_the_hub_is_not_ready(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sinks: list[Sink] = []

    def keep(sink: Sink) -> Any:
        sinks.append(sink)
        return asyncio.Event().wait()

    async with running(capsys, monkeypatch, Scripted([keep])) as hub:
        assert await hub.ready() == (503, ["the source scripted is away: not started yet"])
        sinks[0].report(SourceStatus(SourceState.CONNECTED))
        sinks[0].deliver(Batch("tick", [tick("600000.SH", TEN_MS)], 7))
        assert await hub.ready() == (200, [])
        sinks[0].report(SourceStatus(SourceState.AWAY, "no terminal"))
        assert await hub.ready() == (503, ["the source scripted is away: no terminal"])
    assert hub.app._reasons_not_ready() == ["the hub is draining: it is about to restart"]


async def test_a_source_that_is_connected_but_mute_from_the_start_is_not_ready(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The market has been open for half an hour, and not one row has come: no light may be green."""
    source = Scripted([connect_and_stay])
    async with running(capsys, monkeypatch, source) as hub:
        await until(lambda: hub.app._watch.source_state == "connected")
        hub.app._watch.look(1)
        source.clock_ms += 30 * 60_000
        hub.app._watch.look(2)
        status, reasons = await hub.ready()
    assert status == 503
    assert reasons


async def test_markets_are_looked_at_again_and_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def deliver(sink: Sink) -> Any:
        sink.deliver(Batch("tick", [tick(f"{number}.SH", TEN_MS) for number in range(60)], 7))
        return connect_and_stay(sink)

    monkeypatch.setattr(run_hub, "LOOK_S", 0.005)
    source = Scripted([deliver])
    async with running(capsys, monkeypatch, source, heartbeat_s=0.05) as hub, plain_client(hub.url) as client:
        states = [""]
        while states[-1] != "live":
            states.append((await client.control("heartbeat"))["markets"].get("SH", {}).get("state", ""))
        source.clock_ms += 20 * 60_000
        while states[-1] != "stale":
            states.append((await client.control("heartbeat"))["markets"]["SH"]["state"])
    assert set(states) == {"", "live", "stale"}


def test_the_lag_of_the_loop_is_how_late_a_timer_was(monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of(Scripted())
    now_s, delays_s = 100.0, [0.125, 0.0, 0.5]

    async def sleep(delay_s: float) -> None:
        nonlocal now_s
        if not delays_s:
            raise asyncio.CancelledError
        now_s += delay_s + delays_s.pop(0)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", sleep)
        patch.setattr(asyncio, "get_running_loop", lambda: SimpleNamespace(time=lambda: now_s))
        with pytest.raises(asyncio.CancelledError):
            app._probe_lag().send(None)
    page = app._metrics.page().decode()
    assert "argus_event_loop_lag_seconds_count 3.0" in page
    assert "argus_event_loop_lag_seconds_sum 0.625" in page


async def test_a_clock_that_fails_once_does_not_end_the_watch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a vendor's code raises: a watch that has ended would say for ever what it said last."""
    monkeypatch.setattr(run_hub, "LOOK_S", 0.005)
    source = Scripted([connect_and_stay])
    async with running(capsys, monkeypatch, source) as hub:
        looks: list[int] = []

        def now_ms() -> int:
            looks.append(1)
            if len(looks) == 1:
                raise RuntimeError("the terminal is gone")
            return TEN_MS

        hub.app._watch._now_ms = now_ms
        await until(lambda: len(looks) > 3, patience_s=3)


async def test_a_source_that_would_begin_anew_is_left_ended(pauses: list[float]) -> None:
    """A recording that is played again would give its rows a second time in the same epoch."""
    source = Scripted([fail])
    source.continues = False
    app = app_of(source)
    await app._run_source()
    assert (source.started, pauses) == (1, [])
    assert app._watch.source_state == "away"
    assert "can't go on" in app._watch.source_reason
