"""The published xtquant on Windows, native modules and all, where no terminal runs: away, said in words, for ever."""

from pathlib import Path

from tests.e2e.support.plain_client import Data, plain_client
from tests.windows.support.wine import CTRL_BREAK, INSIDE, Windows, windows_path
from tests.windows.test_hub import LISTENING

WHAT_TO_DO = "start miniQMT on this machine and log in"
FEW, MANY = 50, 400
SLACK = 4
"""Threads and descriptors that come and go by themselves."""


def own_process(mark: str) -> Path:
    """The process in /proc that has this argument, and is no launcher of another."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if mark in arguments and not any("console.py" in argument or "wine64" in argument for argument in arguments):
            return process
    raise AssertionError(f"no process has the argument {mark}")


def held(process: Path) -> tuple[int, int]:
    """How many threads and descriptors a process has."""
    return len(list((process / "task").iterdir())), len(list((process / "fd").iterdir()))


async def test_without_a_terminal_the_source_is_away_and_says_what_to_do(windows: Windows, tmp_path: Path) -> None:
    options = ("--source", "xtquant", "--port", "0", "--data", windows_path(tmp_path / "data"))
    with windows.running("run_hub.py", *options) as program:
        url = program.await_line(LISTENING)[1]
        async with plain_client(url) as client:
            assert client.welcome["source"]["simulated"] is False
            await client.request("subscribed", "subscribe", id=1, topics=["status:*"])
            while True:
                message = await client.receive()
                if isinstance(message, Data) and any(WHAT_TO_DO in str(row) for row in message.rows):
                    break
            (row,) = [row for row in message.rows if WHAT_TO_DO in str(row)]
            fields = dict(zip(client.schemas["status"], row, strict=True))
            assert (fields["code"], fields["state"]) == ("source.xtquant", "away")
            assert "no terminal answers at 127.0.0.1:58610" in fields["detail"]
            program.press(CTRL_BREAK)
            await client.control("draining")
        assert program.wait() == 0
        assert not any("Traceback" in line for line in program.printed), program.printed


def test_it_tries_again_and_again_and_leaks_nothing(windows: Windows, tmp_path: Path) -> None:
    folder = windows_path(tmp_path / "data")
    with windows.running(windows_path(INSIDE / "attempts.py"), folder) as program:
        program.await_line(rf"^away .*{WHAT_TO_DO}")
        program.await_line(rf"^attempt {FEW}$")
        process = own_process(folder)
        threads, descriptors = held(process)
        program.await_line(rf"^attempt {MANY}$")
        later = held(process)
    assert later[0] <= threads + SLACK, f"{threads} threads became {later[0]}"
    assert later[1] <= descriptors + SLACK, f"{descriptors} descriptors became {later[1]}"


def test_the_doctor_says_what_is_missing(windows: Windows, tmp_path: Path) -> None:
    done = windows.run("run_hub.py", "--doctor", "--source", "xtquant", "--port", "0", "--data", windows_path(tmp_path))
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    assert "ok     native modules: they fit Python 3.11" in done.stdout
    assert any(WHAT_TO_DO in line for line in done.stdout.splitlines() if line.startswith("WRONG")), done.stdout
