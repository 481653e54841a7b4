"""The program as a whole: the source that the settings name, its mishaps, the order of the end, and every mistake."""

import asyncio
import gc
import json
import logging
import runpy
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import run_hub
from bridge.recorder import Recorder
from bridge.recording import RecordingSource
from bridge.simulator import SimulatorSource
from bridge.source import Batch, Sink, SourceState, SourceStatus
from hub.config import Settings
from run_hub import App, main, make_source
from tests.e2e.support.plain_client import plain_client
from tests.hub.support.core import tick
from tests.hub.support.served_hub import ask, until

TEN_MS = 1_788_228_000_000
"""2026-09-01 10:00:00 in Shanghai: a Tuesday, continuous trading."""

HEADER = "code,time,lastPrice,open,high,low,lastClose,amount,volume,pvolume,openInt,transactionNum," + ",".join(
    f"{name}{level}" for name in ("askPrice", "bidPrice", "askVol", "bidVol") for level in range(1, 6)
)
LINE = "600000.SH,1654047000000,8.01,8,8.02,7.99,8,801000,1000,100000,13,9" + ",8.02" * 5 + ",8.01" * 5 + ",10" * 10


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "day.csv"
    path.write_text(f"{HEADER}\n{LINE}\n", encoding="utf-8")
    return path


@dataclass
class Scripted:
    """A source whose runs are functions of a test: each is given the sink, the last of them is run from then on."""

    runs: list[Callable[[Sink], Any]] = field(default_factory=list)
    started: int = 0
    clock_ms: int = TEN_MS
    wanted: list[frozenset[str]] = field(default_factory=list)
    name = "scripted"
    simulated = True
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


@pytest.fixture(autouse=True)
def process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("ARGUS_CONFIG", "ARGUS_TOKEN", "ARGUS_PORT", "ARGUS_SOURCE"):
        monkeypatch.delenv(name, raising=False)
    root, library = logging.getLogger(), logging.getLogger("websockets")
    handlers, level, library_level = root.handlers[:], root.level, library.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    library.setLevel(library_level)
    gc.unfreeze()


def run_main(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["run_hub.py", *options])
    return main()


# The source


def test_the_simulator_is_made_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(run_hub, "SimulatorSource", lambda **options: given.update(options))
    make_source(
        Settings(symbols=12, interval=0.5, seed=7, speed=4, sim_start=time(13, 0), faults=("silence@30+15", "crash@9"))
    )
    faults = [(fault.kind.value, fault.at_s, fault.for_s) for fault in given.pop("faults")]
    assert given == {"symbols": 12, "interval_s": 0.5, "seed": 7, "speed": 4, "start": time(13, 0)}
    assert faults == [("silence", 30, 15), ("crash", 9, 0)]


def test_the_defaults_are_a_simulator() -> None:
    assert isinstance(make_source(Settings(symbols=5)), SimulatorSource)


def test_a_recording_is_played_at_the_speed_of_the_settings(monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    assert isinstance(make_source(Settings(source="recording", recording=recording)), RecordingSource)
    given: list[Any] = []
    monkeypatch.setattr(run_hub, "RecordingSource", lambda path, speed: given.append((path, speed)))
    make_source(Settings(source="recording", recording=recording, speed=0))
    assert given == [(recording, 0)]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--source", "xtquant"), "xtquant"),
        (("--faults", "explosion@3"), "explosion"),
        (("--faults", "silence@3"), "silence"),
        (("--sim-start", "03:00:00"), "simulated day"),
        (("--sim-start", "15:00"), "simulated day"),
        (("--source", "recording", "--recording", "nowhere.csv"), "nowhere.csv"),
        (("--source", "recording"), "recording"),
        (("--record", "nowhere/day.csv"), "day.csv"),
        (("--record", "day.txt"), "day.txt"),
        (("--interval", "0.001"), "--interval"),
        (("--port", "70000"), "--port"),
        (("--nonsense",), "--nonsense"),
        (("--host", "192.0.2.1", "--insecure"), "cannot listen on 192.0.2.1"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_one_line_on_standard_error_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    options: tuple[str, ...],
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_main(monkeypatch, "--symbols", "5", "--log-level", "error", *options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("run_hub.py: ")
    assert named in line


def test_a_port_in_use_is_a_mistake_and_leaves_no_recording_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Who frees the port and tries again with the same options must not be told that the file exists."""
    recorders: list[Recorder] = []
    monkeypatch.setattr(run_hub, "Recorder", lambda path: recorders.append(Recorder(path)) or recorders[-1])
    file = tmp_path / "day.csv"
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        options = ("--symbols", "5", "--log-level", "error", "--port", port, "--record", str(file))
        codes = [run_main(monkeypatch, *options) for _ in range(2)]
    first, second = capsys.readouterr().err.splitlines()
    for recorder in recorders:
        recorder.close()
    assert codes == [2, 2]
    assert port in first
    assert first == second


def test_run_as_a_program_a_mistake_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run_hub.py", "--port", "http"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(Path(run_hub.__file__)), run_name="__main__")
    assert ended.value.code == 2


def test_an_interrupt_before_the_signals_are_caught_is_a_proper_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(_: App) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(App, "run", interrupted)
    assert run_main(monkeypatch, "--symbols", "5") == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, run_hub.StartError])
def test_the_recording_is_completed_however_the_hub_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: type[BaseException]
) -> None:
    made: list[Path] = []
    closed: list[Path] = []

    def make(path: Path) -> Any:
        made.append(path)
        return SimpleNamespace(observe=None, close=lambda: closed.append(path))

    monkeypatch.setattr(run_hub, "Recorder", make)

    async def ended(_: App) -> None:
        raise error

    monkeypatch.setattr(App, "run", ended)
    run_main(monkeypatch, "--symbols", "5", "--record", str(tmp_path / "day.csv"))
    assert closed == made


@pytest.mark.parametrize(("style", "level"), [("json", "error"), ("console", "debug")])
def test_logging_is_configured_before_anything_is_made(monkeypatch: pytest.MonkeyPatch, style: str, level: str) -> None:
    order: list[Any] = []
    monkeypatch.setattr(run_hub, "configure_logging", lambda *given: order.append(given))

    def make(_: Settings) -> Any:
        order.append("source")
        raise run_hub.StartError("enough")

    monkeypatch.setattr(run_hub, "make_source", make)
    assert run_main(monkeypatch, "--log-format", style, "--log-level", level) == 2
    assert order == [(style, level), "source"]


# The loop


def test_the_fastest_loop_is_uvloop_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = ModuleType("uvloop")
    fast.new_event_loop = object()  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "uvloop", fast)
    assert run_hub._fastest_loop() is fast.new_event_loop


def test_on_windows_the_fastest_loop_is_winloop(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = ModuleType("winloop")
    fast.new_event_loop = object()  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "winloop", fast)
    assert run_hub._fastest_loop() is fast.new_event_loop


@pytest.mark.parametrize(("platform", "module"), [("linux", "uvloop"), ("win32", "winloop")])
def test_without_a_fast_loop_the_standard_one_is_taken(
    monkeypatch: pytest.MonkeyPatch, platform: str, module: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setitem(sys.modules, module, None)
    assert run_hub._fastest_loop() is None
    ran: list[asyncio.AbstractEventLoop] = []

    async def look(_: App) -> None:
        ran.append(asyncio.get_running_loop())

    monkeypatch.setattr(App, "run", look)
    with monkeypatch.context() as patch:
        patch.setattr(run_hub, "_fastest_loop", lambda: None)
        assert run_main(patch, "--symbols", "5") == 0
    assert type(ran[0]).__module__.startswith("asyncio.")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_the_hub(number: signal.Signals) -> None:
    stopped = asyncio.Event()
    run_hub._on_signals(stopped.set)
    try:
        signal.raise_signal(number)
        async with asyncio.timeout(10):
            await stopped.wait()
    finally:
        for caught in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().remove_signal_handler(caught)


async def test_on_windows_ctrl_c_and_ctrl_break_stop_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    handlers: dict[Any, Callable[..., None]] = {}
    stops: list[None] = []
    monkeypatch.setattr(signal, "SIGBREAK", "break", raising=False)
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        run_hub._on_signals(lambda: stops.append(None))
    assert set(handlers) == {signal.SIGINT, "break"}
    for handler in handlers.values():
        handler(None, None)
    assert stops == [], "a signal handler may come at any point: the loop must run it"
    await asyncio.sleep(0)
    assert len(stops) == 2


# The source's mishaps


def app_of(source: Scripted, recorder: Any = None, **settings: Any) -> App:
    return App(Settings(port=0, drain_s=0, **settings), source, recorder)


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
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    source = Scripted([fail] * 8 + [lambda sink: sink.report(SourceStatus(SourceState.CONNECTED))])
    app = app_of(source)
    states: list[tuple[str, str]] = []
    report = app._watch.report_source
    app._watch.report_source = lambda *told: (states.append(told[:2]), report(*told))[1]  # type: ignore[method-assign]
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


# The whole


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


async def test_the_settings_reach_the_server_each_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        max_message_bytes=1111,
        max_topics=22,
        max_requests_per_s=33,
        max_pending_bytes=444_444,
        token="correct-horse",  # noqa: S106 - of the hub under test
        allowed_origins=("https://desk.example",),
        max_clients=5,
        heartbeat_s=6,
        stall_s=7,
        auth_timeout_s=8,
        ping_interval_s=9,
        ping_timeout_s=10,
        compression=True,
    )
    made = run_hub._server_settings(settings)
    limits = made.limits
    assert (limits.message_bytes, limits.topics, limits.requests_per_s, limits.pending_bytes) == (1111, 22, 33, 444_444)
    assert made.token is not None
    assert made.token.accepts("correct-horse")
    assert made.allowed_origins == {"https://desk.example"}
    assert (made.max_clients, made.heartbeat_s, made.stall_s, made.auth_timeout_s) == (5, 6, 7, 8)
    assert (made.ping_interval_s, made.ping_timeout_s, made.compression) == (9, 10, True)
    assert run_hub._server_settings(Settings()).token is None
