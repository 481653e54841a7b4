"""The doctor: what it finds right, and the words with which it tells what is not."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bridge.doctor
from bridge.check import Check
from bridge.doctor import check_data, check_hub, check_python, check_time_zone, check_token, examine, is_strong
from hub.config import Settings
from run_hub import main

GOOD_TOKEN = "Pq7-xkW2_mLd93ZsYt0b"  # noqa: S105


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.doctor, "check_clock", lambda: Check("clock", True, "+3 ms"))


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., tuple[int, dict[str, str]]]:
    """Examine with options and variables; the exit code, and each line by its check's name."""

    def examined(*options: str, **variables: str) -> tuple[int, dict[str, str]]:
        lines: list[str] = []
        code = examine(["--doctor", "--data", str(tmp_path / "data"), *options], variables, lines.append)
        *found, last = lines
        assert last == "all is well" if code == 0 else last.endswith(" to mend")
        assert not (tmp_path / "data").exists(), "nothing is left behind"
        return code, {line[7:].partition(": ")[0]: line for line in found}

    return examined


Ask = Callable[..., tuple[int, dict[str, str]]]


def test_where_all_is_well_every_line_says_so(ask: Ask) -> None:
    code, lines = ask("--port", "0")
    assert code == 0
    assert all(line.startswith("ok     ") for line in lines.values())
    names = "python, event loop, time zone, clock, settings, port, token, data folder, disk, source"
    assert ", ".join(lines) == names
    assert "invents its prices" in lines["source"]


def test_each_wrong_setting_is_a_line(ask: Ask) -> None:
    code, lines = ask("--port", "70000", ARGUS_SPEED="quick")
    assert code == 1
    assert lines["settings"].startswith("WRONG  settings: ")
    assert "port" not in lines


def test_a_port_in_use_is_told(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, lines = ask("--port", str(other.getsockname()[1]))
    assert code == 1
    assert lines["port"].startswith("WRONG  port: cannot listen on 127.0.0.1 port ")
    assert "another hub?" in lines["port"]


def test_a_source_that_can_not_be_made_is_told(ask: Ask) -> None:
    code, lines = ask("--port", "0", "--source", "recording", "--recording", "nowhere.csv")
    assert code == 1
    assert lines["source"].startswith("WRONG  source: ")
    assert "nowhere.csv" in lines["source"]
    assert "its own machine" in ask("--port", "0", "--source", "feed")[1]["source"]


@pytest.mark.parametrize(
    ("how", "is_ok", "words"),
    [
        ({}, True, "none is needed"),
        ({"host": "0.0.0.0", "insecure": True}, False, "secrets.token_urlsafe"),  # noqa: S104
        ({"host": "0.0.0.0", "token": "12345678"}, False, "can be guessed"),  # noqa: S104
        ({"host": "0.0.0.0", "token": "a" * 40}, False, "can be guessed"),  # noqa: S104
        ({"host": "0.0.0.0", "token": GOOD_TOKEN}, True, "set"),  # noqa: S104
        ({"token": "12345678"}, False, "can be guessed"),
    ],
)
def test_the_token(how: dict[str, Any], is_ok: bool, words: str) -> None:
    check = check_token(Settings(**how))
    assert check.ok is is_ok
    assert words in check.text
    assert "12345678" not in check.text


def test_a_strong_token_is_long_and_varied() -> None:
    assert is_strong(GOOD_TOKEN)
    assert not is_strong(GOOD_TOKEN[:15])


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    (check,) = check_data(tmp_path / "data", 1)
    assert not check.ok
    assert f"{tmp_path} can't be written (Permission denied)" in check.text


def test_a_disk_without_room_for_a_day_is_told(tmp_path: Path) -> None:
    folder, disk = check_data(tmp_path / "a" / "b", 10**18)
    assert folder.ok
    assert not disk.ok
    assert f"are free on the disk of {tmp_path}" in disk.text


def test_a_feeder_looks_for_its_hub(ask: Ask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hub:
        to = f"ws://127.0.0.1:{hub.getsockname()[1]}/feed"
        code, lines = ask("--role", "feeder", "--to", to)
        assert code == 0
        assert lines["hub"].endswith(" answers")
        assert "port" not in lines
    code, lines = ask("--role", "feeder", "--to", to)
    assert code == 1
    assert "does its firewall let this machine in?" in lines["hub"]


def test_a_feeder_to_another_machine_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "create_connection", lambda *_: socket.socket())
    settings = {"role": "feeder", "to": "ws://192.0.2.1:8765/feed"}
    assert "set ARGUS_TOKEN" in check_hub(Settings(**settings), settings["to"]).text
    assert check_hub(Settings(**settings, token=GOOD_TOKEN), settings["to"]).ok


def test_an_old_python_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check_python().ok
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    assert "install Python 3.11" in check_python().text


def test_missing_time_zone_data_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(key: str) -> None:
        raise KeyError(key)

    monkeypatch.setattr(bridge.doctor, "ZoneInfo", none)
    check = check_time_zone()
    assert not check.ok
    assert "pip install tzdata" in check.text


def test_a_missing_event_loop_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert not bridge.doctor.check_loop().ok


@pytest.mark.parametrize("word", ["doctor", "--doctor"])
def test_the_program_has_it(word: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([word, "--port", "0", "--data", str(tmp_path)]) == 0
    assert capsys.readouterr().out.endswith("all is well\n")
