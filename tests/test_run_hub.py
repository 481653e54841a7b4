"""The start of the program: the source that the settings name, the loop that it runs on, and every mistake."""

import asyncio
import gc
import logging
import os
import runpy
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

import run_hub
from bridge.recorder import Recorder
from bridge.recording import RecordingSource
from bridge.simulator import SimulatorSource
from hub.config import Settings
from run_hub import App, main, make_source
from tests.bridge.support.recordings import line, write_csv


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "day.csv", line())


@pytest.fixture(autouse=True)
def process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.upper().startswith("ARGUS_")]:
        monkeypatch.delenv(name)
    loggers = [logging.getLogger(name) for name in ("", "websockets", "websockets.server")]
    before = [(logger.level, logger.handlers[:], logger.filters[:]) for logger in loggers]
    yield
    for logger, (level, handlers, filters) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:], logger.filters[:] = handlers, filters
    gc.unfreeze()


def run_main(monkeypatch: pytest.MonkeyPatch, *options: str) -> int:
    monkeypatch.setattr(sys, "argv", ["run_hub.py", *options])
    return main()


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

    def make(path: Path) -> Recorder:
        recorders.append(Recorder(path))
        return recorders[-1]

    monkeypatch.setattr(run_hub, "Recorder", make)
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


def test_the_settings_reach_the_server_each_in_its_place() -> None:
    settings = Settings(
        max_message_bytes=1111,
        max_topics=22,
        max_requests_per_s=33,
        max_pending_bytes=444_444,
        token=SecretStr("correct-horse"),
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
