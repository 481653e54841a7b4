"""The task for the Task Scheduler, read as that reads it: UTF-16, in its namespace."""

from pathlib import PureWindowsPath
from typing import Any
from xml.etree.ElementTree import Element, fromstring

from bridge.windows.task import NAMESPACE, task_xml

PROGRAM = r"C:\Argus Hub\.venv\Scripts\pythonw.exe"
FOLDER: Any = PureWindowsPath(r"C:\Argus Hub")


def task() -> Element:
    text = task_xml([PROGRAM, r"C:\Argus Hub\run_hub.py", "--config", "hub 沪深.toml"], FOLDER, r"DESK\trader & co")
    assert text.startswith(b"\xff\xfe")
    found: Element = fromstring(text.decode("utf-16").partition("?>")[2])  # noqa: S314 (it is our own)
    return found


def text_of(path: str) -> str | None:
    return task().findtext("/".join(f"{{{NAMESPACE}}}{name}" for name in path.split("/")))


def test_it_runs_the_command_in_its_folder() -> None:
    assert text_of("Actions/Exec/Command") == PROGRAM
    assert text_of("Actions/Exec/Arguments") == r'"C:\Argus Hub\run_hub.py" --config "hub 沪深.toml"'
    assert text_of("Actions/Exec/WorkingDirectory") == r"C:\Argus Hub"


def test_it_starts_at_logon_and_again_whenever_it_does_not_run() -> None:
    assert text_of("Triggers/LogonTrigger/UserId") == r"DESK\trader & co"
    assert text_of("Triggers/LogonTrigger/Repetition/Interval") == "PT1M"
    assert text_of("Triggers/LogonTrigger/Repetition/Duration") is None
    assert text_of("Settings/MultipleInstancesPolicy") == "IgnoreNew"


def test_it_is_never_ended_for_having_run_long_nor_on_a_battery_and_runs_at_normal_priority() -> None:
    assert text_of("Settings/ExecutionTimeLimit") == "PT0S"
    assert text_of("Settings/StopIfGoingOnBatteries") == "false"
    assert text_of("Settings/DisallowStartIfOnBatteries") == "false"
    assert text_of("Settings/Priority") == "4"


def test_it_needs_no_administrator_and_no_password() -> None:
    assert text_of("Principals/Principal/UserId") == r"DESK\trader & co"
    assert text_of("Principals/Principal/LogonType") == "InteractiveToken"
    assert text_of("Principals/Principal/RunLevel") == "LeastPrivilege"
    assert task().get("version") == "1.2"
