"""The source that the settings name, with everything that they say of it."""

from datetime import date, time
from pathlib import Path
from typing import Any

import pytest

import bridge.sources
from bridge.listening import StartError
from bridge.recording import RecordingSource
from bridge.rowfile import RecordingError
from bridge.simulator import SimulatorSource
from bridge.sources import make_source, xtquant_options
from hub.settings import Settings
from tests.bridge.support.recordings import line, write_csv


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return write_csv(tmp_path / "day.csv", line())


@pytest.fixture
def simulator(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the simulator is given instead of being made."""
    given: dict[str, Any] = {}
    monkeypatch.setattr(bridge.sources, "SimulatorSource", lambda **options: given.update(options))
    return given


def test_the_simulator_is_made_as_the_settings_say(simulator: dict[str, Any]) -> None:
    make_source(
        Settings(symbols=12, interval=0.5, seed=7, speed=4, sim_start=time(13, 0), faults=("silence@30+15", "crash@9"))
    )
    faults = [(fault.kind.value, fault.at_s, fault.for_s) for fault in simulator.pop("faults")]
    assert simulator == {"symbols": 12, "interval_s": 0.5, "seed": 7, "speed": 4, "start": time(13, 0)}
    assert faults == [("silence", 30, 15), ("crash", 9, 0)]


def test_a_market_that_goes_on_starts_at_its_place_and_not_where_the_settings_say(simulator: dict[str, Any]) -> None:
    make_source(Settings(symbols=12, sim_start=time(13, 0)), (date(2026, 9, 2), time(10, 30)))
    assert (simulator["day"], simulator["start"]) == (date(2026, 9, 2), time(10, 30))


def test_the_defaults_are_a_simulator() -> None:
    assert isinstance(make_source(Settings(symbols=5)), SimulatorSource)


def test_a_recording_is_played_at_the_speed_of_the_settings(monkeypatch: pytest.MonkeyPatch, recording: Path) -> None:
    assert isinstance(make_source(Settings(source="recording", recording=recording)), RecordingSource)
    given: list[Any] = []
    monkeypatch.setattr(bridge.sources, "RecordingSource", lambda path, speed: given.append((path, speed)))
    make_source(Settings(source="recording", recording=recording, speed=0))
    assert given == [(recording, 0)]


def test_a_terminal_without_its_package_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"source xtquant can't run here: there is no package xtquant in .*folder"):
        make_source(Settings(source="xtquant", xtquant_folder=tmp_path))


def test_a_terminal_is_made_as_the_settings_say(tmp_path: Path) -> None:
    settings = Settings(
        source="xtquant",
        data=tmp_path,
        xtquant_addresses=("qmt:58611",),
        xtquant_sectors=("沪深A股",),
        max_subscriptions=7,
        subscription_grace_s=8,
        xtquant_stale_after_s=9,
        xtquant_refresh_at=time(8, 50),
        xtquant_probe_at=time(9, 10),
        xtquant_token="secret",  # noqa: S106
        xtquant_servers=("10.0.0.1:55300",),
    )
    options = xtquant_options(settings)
    assert (options.data, options.addresses, options.sectors) == (tmp_path / "xtquant", ("qmt:58611",), ("沪深A股",))
    assert (options.max_subscriptions, options.grace_s, options.stale_after_s) == (7, 8, 9)
    assert (options.refresh_at, options.probe_at) == (time(8, 50), time(9, 10))
    assert options.token_mode is not None
    assert (options.token_mode.token, options.token_mode.servers) == ("secret", ("10.0.0.1:55300",))
    assert xtquant_options(Settings(source="xtquant")).token_mode is None


def test_a_simulator_that_cannot_run_so_says_why() -> None:
    with pytest.raises(StartError, match=r"the simulator can't run so: .*simulated day"):
        make_source(Settings(sim_start=time(3, 0)))


def test_a_recording_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nowhere\.csv"):
        make_source(Settings(source="recording", recording=tmp_path / "nowhere.csv"))
