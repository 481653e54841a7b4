"""The service, by Wine's Service Control Manager: installed, started, drained when it is stopped, removed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support.plain_client import Data, plain_client
from tests.windows.support.wine import Windows, windows_path

MARKET = ("--symbols", "50", "--interval", "0.5", "--heartbeat-s", "0.2", "--port", "0")
NAME = "ArgusTest"


def service(windows: Windows, *arguments: str) -> tuple[int, str]:
    """What its command line answers: the exit code and all that it printed."""
    done = windows.run("service.py", *arguments)
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@pytest.fixture
def log_file(windows: Windows, tmp_path: Path) -> Iterator[Path]:
    """The log of the service, which is removed after the test in any case."""
    yield tmp_path / "data" / "logs" / "hub.log"
    service(windows, "remove", "--name", NAME)


async def test_from_install_to_remove(windows: Windows, log_file: Path) -> None:
    where = ("--data", windows_path(log_file.parents[1]))
    code, said = service(windows, "install", "--name", NAME, *MARKET, *where)
    assert code == 0
    assert f"the service {NAME} is installed; its log will be {windows_path(log_file)}" in said
    assert service(windows, "install", "--name", NAME) == (
        1,
        f"service.py: there is a service {NAME} already: remove it first\n",
    )
    assert service(windows, "start", "--name", NAME) == (0, f"the service {NAME} is running\n")
    url = await_url(windows, log_file.with_suffix(".out"))
    async with plain_client(url) as client:
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"])
        await client.until(lambda message: isinstance(message, Data) and message.origin == "live")
        assert service(windows, "start", "--name", NAME)[0] == 1
        assert service(windows, "stop", "--name", NAME) == (0, f"the service {NAME} has stopped\n")
        await client.control("draining")
        assert (await client.closed())[0] == 1012
    log, out = (read(path) for path in (log_file, log_file.with_suffix(".out")))
    assert "the event loop is winloop's" in log
    assert "1 clients to drain" in log
    assert "Traceback" not in log + out
    assert service(windows, "stop", "--name", NAME) == (1, f"service.py: the service {NAME} is not running\n")
    code, said = service(windows, "remove", "--name", NAME)
    assert (code, said) == (0, f"the service {NAME} is removed; its data and its log stay\n")
    assert service(windows, "start", "--name", NAME)[1] == (
        f"service.py: there is no service {NAME}: install it first\n"
    )


def await_url(windows: Windows, out: Path) -> str:
    """Where the hub listens, as it says on what is standard output elsewhere."""
    script = (
        "import pathlib, sys, time\n"
        "path, deadline = pathlib.Path(sys.argv[1]), time.monotonic() + 60\n"
        "while 'listening' not in (path.read_text() if path.exists() else '') and time.monotonic() < deadline:\n"
        "    time.sleep(0.1)\n"
        "print(path.read_text())\n"
    )
    found = re.search(r"\((ws://127\.0\.0\.1:\d+/ws)\)", windows.run("-c", script, windows_path(out)).stdout)
    assert found
    return found[1]


def test_a_hub_that_ends_by_itself_is_a_failed_service(windows: Windows, log_file: Path) -> None:
    """So that Windows starts it again."""
    where = ("--data", windows_path(log_file.parents[1]))
    assert service(windows, "install", "--name", NAME, "--host", "192.0.2.1", "--insecure", *where)[0] == 0
    service(windows, "start", "--name", NAME)
    script = (
        "import sys, time, win32service as scm\n"
        "service = scm.OpenService(scm.OpenSCManager(None, None, scm.SC_MANAGER_CONNECT), sys.argv[1], 4)\n"
        "while (status := scm.QueryServiceStatus(service))[1] != scm.SERVICE_STOPPED:\n"
        "    time.sleep(0.1)\n"
        "print('ended with', status[3], status[4])\n"
    )
    assert re.search(r"ended with 1066 [1-9]", windows.run("-c", script, NAME).stdout)
    assert "cannot listen on 192.0.2.1" in read(log_file.with_suffix(".out"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--help",), 0, "usage: service.py"),
        (("install", "--port", "70000"), 2, "--port: should be a whole number from 0 to 65535"),
        (("install", "--nonsense"), 2, "--nonsense: unknown option"),
        (("start", "--port", "9000"), 2, "start takes no options of the hub: --port"),
        (("start", "--name", "Nobody"), 1, "there is no service Nobody: install it first"),
        (("stop", "--name", "Nobody"), 1, "there is no service Nobody: install it first"),
        (("remove", "--name", "Nobody"), 1, "there is no service Nobody: install it first"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_command_line_answers(windows: Windows, arguments: tuple[str, ...], code: int, words: str) -> None:
    found, said = service(windows, *arguments)
    assert words in said
    assert found == code


def test_a_task_is_written_for_the_task_scheduler(windows: Windows, tmp_path: Path) -> None:
    path = tmp_path / "task.xml"
    code, said = service(windows, "task", "--output", windows_path(path), "--port", "9000")
    assert code == 0
    assert f'schtasks /Create /TN ArgusHub /XML "{windows_path(path)}"' in said
    text = path.read_bytes().decode("utf-16")
    assert "pythonw.exe" in text
    assert "--port 9000 --log-file=data\\logs\\hub.log" in text
