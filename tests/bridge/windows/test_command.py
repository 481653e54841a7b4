"""The command that Windows is given: checked, complete, and without what it would not see."""

import sys
from pathlib import Path

import pytest

from bridge.windows.command import STOP_MARGIN_S, make_command, unseen_variables
from hub.config import SettingsError, load


def test_a_log_file_is_added_where_there_is_none(tmp_path: Path) -> None:
    command = make_command(["--data", "here", "--drain-s", "7"], tmp_path)
    assert load(command.options, {}).log_file == Path("here/logs/hub.log")
    assert command.log_file == tmp_path / "here" / "logs" / "hub.log"
    assert command.stop_s == 7 + STOP_MARGIN_S
    feeder = make_command(["--role", "feeder", "--to", "ws://127.0.0.1:1/feed"], tmp_path)
    assert feeder.log_file.name == "feeder.log"


def test_a_log_file_of_the_user_s_own_stays(tmp_path: Path) -> None:
    command = make_command(["--log-file", "own.log"], tmp_path)
    assert command.options == ("--log-file", "own.log")
    assert command.log_file == tmp_path / "own.log"


def test_what_windows_runs_is_made_again_from_what_it_is_given(tmp_path: Path) -> None:
    command = make_command(["--port", "0"], tmp_path)
    python, program, verb, *rest = command.run_by_service("Mine")
    assert (python, Path(program).name, verb) == (sys.executable, "service.py", "run")
    assert rest[:4] == ["--name", "Mine", "--folder", str(tmp_path)]
    assert make_command(rest[4:], tmp_path) == command


def test_options_must_be_whole_without_this_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARGUS_TOKEN", "not seen by a service")
    with pytest.raises(SettingsError, match="set a token"):
        make_command(["--host", "0.0.0.0"], tmp_path)  # noqa: S104


def test_variables_that_will_not_be_seen_are_named() -> None:
    assert unseen_variables({"ARGUS_TOKEN": "x", "PATH": "y", "Argus_Port": "1"}) == ["ARGUS_TOKEN", "Argus_Port"]
