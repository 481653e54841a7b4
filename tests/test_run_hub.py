"""The start of the program: the source that the settings name, the loop that it runs on, and every mistake."""

import asyncio
import gc
import logging
import os
import runpy
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import run_hub
from bridge.app import App
from bridge.listening import StartError
from bridge.simulator import SimulatorSource
from hub.config import Settings
from hub.history import History
from hub.journal import JournalSettings
from hub.opening import Opened
from run_hub import FED, main, open_history, own_source
from tests.bridge.support.running_app import TEN_MS
from tests.hub.support import journaled
from tests.hub.support.journaled import deliver_times, hub_of, ignore, kill


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


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--source", "xtquant", "--xtquant-folder", "nowhere"), "xtquant"),
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
        (("--log-file", "."), "log_file . cannot be written"),
        (("--host", "192.0.2.1", "--insecure"), "cannot listen on 192.0.2.1"),
        (("--isolate-source", "--source", "xtquant", "--xtquant-folder", "nowhere"), "xtquant"),
        (("--isolate-source", "--faults", "explosion@3"), "explosion"),
        (("--isolate-source", "--source", "recording", "--recording", "nowhere.csv"), "nowhere.csv"),
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
    assert list(tmp_path.iterdir()) == []


def content(folder: Path) -> dict[str, bytes]:
    """Every file in a folder and what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_who_runs_the_source_is_said_by_the_settings() -> None:
    assert isinstance(own_source(Settings(symbols=5)), SimulatorSource)
    to = "ws://127.0.0.1:1/feed"
    assert isinstance(own_source(Settings(symbols=5, role="feeder", to=to)), SimulatorSource)
    assert own_source(Settings(symbols=5, isolate_source=True)) is None
    assert own_source(Settings(source="feed")) is None


@pytest.mark.parametrize("way", ["sim", "feed", "isolated", "no journal"])
def test_a_port_in_use_is_a_mistake_and_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, way: str
) -> None:
    """Who frees the port and tries again with the same options must not be told that the file exists."""
    how = {
        "sim": (),
        "feed": ("--source", "feed"),
        "isolated": ("--isolate-source",),
        "no journal": ("--no-journal",),
    }
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        options = ("--symbols", "5", "--log-level", "error", "--port", port, "--record", str(tmp_path / "day.csv"))
        codes = [run_main(monkeypatch, *options, "--data", str(tmp_path / "data"), *how[way]) for _ in range(2)]
    out, err = capsys.readouterr()
    first, second = err.splitlines()
    assert codes == [2, 2]
    assert first.startswith(f"run_hub.py: cannot listen on 127.0.0.1 port {port}: ")
    assert (first, out) == (second, "")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The data of a fed hub that was killed."""
    opened = journaled.open_history(tmp_path / "data" / "journal", source=FED)
    deliver_times(hub_of(opened), 1, 2, 3)
    kill(opened)
    return tmp_path / "data"


@pytest.mark.parametrize("way", ["a port in use", "a file that exists", "a file that can't be made"])
@pytest.mark.parametrize("source", [("--source", "feed"), ("--symbols", "5"), ("--no-journal", "--symbols", "5")])
def test_a_failed_start_does_not_touch_the_journal(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    journal: Path,
    way: str,
    source: tuple[str, ...],
) -> None:
    """The hub that is running, or that is started next with better options, must not find another epoch."""
    file = tmp_path / "nowhere" / "day.csv"
    if way == "a file that exists":
        file = tmp_path / "day.csv"
        file.write_text("of yesterday")
    before = content(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1]) if way == "a port in use" else "0"
        options = (*source, "--port", port, "--record", str(file), "--data", str(journal), "--log-level", "error")
        assert run_main(monkeypatch, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("run_hub.py: ")
    assert (port if way == "a port in use" else "day.csv") in line
    assert content(tmp_path) == before


def test_run_as_a_program_a_mistake_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run_hub.py", "--port", "http"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(Path(run_hub.__file__)), run_name="__main__")
    assert ended.value.code == 2


def test_an_interrupt_before_the_signals_are_caught_is_a_proper_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(App, "run", interrupted)
    assert run_main(monkeypatch, "--symbols", "5", "--no-journal") == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, StartError])
def test_the_recording_is_completed_however_the_hub_ends(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: type[BaseException]
) -> None:
    closed: list[Path] = []

    def make(path: Path) -> Any:
        return SimpleNamespace(observe=None, close=lambda: closed.append(path))

    async def ended(*_: object) -> None:
        assert closed == []
        raise error

    monkeypatch.setattr(run_hub, "Recorder", make)
    monkeypatch.setattr(App, "run", ended)
    run_main(monkeypatch, "--symbols", "5", "--no-journal", "--record", str(tmp_path / "day.csv"))
    assert closed == [tmp_path / "day.csv"]


@pytest.mark.parametrize(("style", "level"), [("json", "error"), ("console", "debug")])
def test_logging_is_configured_before_anything_is_made(monkeypatch: pytest.MonkeyPatch, style: str, level: str) -> None:
    order: list[Any] = []
    monkeypatch.setattr(run_hub, "configure_logging", lambda *given: order.append(given))

    def make(_: Settings) -> Any:
        order.append("source")
        raise StartError("enough")

    monkeypatch.setattr(run_hub, "make_source", make)
    assert run_main(monkeypatch, "--log-format", style, "--log-level", level) == 2
    assert order == [(style, level, None), "source"]


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
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, platform: str, module: str
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", platform)
        patch.setitem(sys.modules, module, None)
        assert run_hub._fastest_loop() is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{module} can't be had" in caplog.text
    ran: list[asyncio.AbstractEventLoop] = []

    async def look(*_: object) -> int:
        ran.append(asyncio.get_running_loop())
        return 0

    monkeypatch.setattr(App, "run", look)
    with monkeypatch.context() as patch:
        patch.setattr(run_hub, "_fastest_loop", lambda: None)
        assert run_main(patch, "--symbols", "5", "--no-journal") == 0
    assert type(ran[0]).__module__.startswith("asyncio.")


@dataclass
class Place:
    """A source of which only the day and the name matter."""

    name: str = "somebody"
    trading_days: frozenset[date] | None = None
    clock_ms: int = TEN_MS

    def now_ms(self) -> int:
        return self.clock_ms


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the journal is asked for."""
    asked: dict[str, Any] = {}

    def with_journal(history: History, folder: Path, settings: JournalSettings, **how: Any) -> Opened:
        asked.update(how, folder=folder, settings=settings)
        return Opened(history, "0123456789abcdef")

    monkeypatch.setattr(run_hub, "with_journal", with_journal)
    return asked


def test_the_journal_is_kept_as_the_settings_say(asked: dict[str, Any], tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, journal_fsync_s=0.25, journal_days=3, journal_bytes=2**25, ring_rows=7)
    opened = open_history(settings, None, None, ignore)
    assert asked["folder"] == tmp_path / "journal"
    kept = asked["settings"]
    assert (kept.fsync_s, kept.keep_days, kept.keep_bytes) == (0.25, 3, 2**25)
    assert opened.history._ring_rows == 7
    assert opened.history._ring_bytes == settings.ring_bytes
    assert asked["on_append"] is ignore


def test_a_fed_history_is_the_feeders_whoever_feeds_it_and_one_of_its_own_the_source_s(asked: dict[str, Any]) -> None:
    open_history(Settings(), None, None, ignore)
    assert (asked["source"], asked["run"]) == (FED, None)
    open_history(Settings(), Place(), "run-a", ignore)  # type: ignore[arg-type]
    assert (asked["source"], asked["run"]) == ("somebody", "run-a")


def test_the_file_is_that_of_the_source_s_trading_day(asked: dict[str, Any]) -> None:
    """The clock of a simulated market may stand at any day, and the source may know its own holidays."""
    open_history(Settings(), Place(), "run-a", ignore)  # type: ignore[arg-type]
    assert asked["day"] == date(2026, 9, 1)
    holiday = frozenset({date(2026, 8, 31), date(2026, 9, 2)})
    open_history(Settings(), Place(trading_days=holiday), "run-a", ignore)  # type: ignore[arg-type]
    assert asked["day"] == date(2026, 8, 31)


def test_without_a_journal_none_is_asked_for(asked: dict[str, Any], tmp_path: Path) -> None:
    opened = open_history(Settings(data=tmp_path / "data", journal=False), None, None, ignore)
    assert asked == {}
    assert (opened.journal, opened.reasons_degraded) == (None, [])
    assert list(tmp_path.iterdir()) == []


def test_where_the_system_has_room_for_fewer_clients_fewer_are_let_in_and_the_operator_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run_hub, "room_for", lambda clients: min(clients, 300))
    assert run_hub.within_file_limit(Settings(max_clients=20_000)).max_clients == 300
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert all(word in record.getMessage() for word in ("20000", "300", "ulimit -n", "max_clients"))


def test_where_there_is_room_for_all_clients_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run_hub, "room_for", lambda clients: min(clients, 300))
    assert run_hub.within_file_limit(Settings(max_clients=299)).max_clients == 299
    assert caplog.records == []
