"""The hub on Windows: its event loop, clients elsewhere, and every way in which a console ends it."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from argus_client import connect
from tests.e2e.support.plain_client import Data, PlainClient, plain_client
from tests.windows.support.wine import CLOSE, CTRL_BREAK, CTRL_C, Program, Windows, windows_path

MARKET = ("--symbols", "50", "--interval", "0.5", "--seed", "7", "--heartbeat-s", "0.2")
LISTENING = r"Argus Hub is listening on http://127\.0\.0\.1:\d+/ \((ws://127\.0\.0\.1:\d+/ws)\)"
WITHOUT_WINLOOP = "import sys; sys.modules['winloop'] = None; import run_hub; sys.exit(run_hub.main(sys.argv[1:]))"

RunHub = Callable[..., AbstractContextManager[tuple[Program, str]]]


@pytest.fixture
def run_hub(windows: Windows, tmp_path: Path) -> RunHub:
    @contextmanager
    def run(*options: str, program: tuple[str, ...] = ("run_hub.py",)) -> Iterator[tuple[Program, str]]:
        where = ("--port", "0", "--data", windows_path(tmp_path / "data"))
        with windows.running(*program, *where, *MARKET, *options) as running:
            yield running, running.await_line(LISTENING)[1]

    return run


async def take_live_rows(client: PlainClient) -> None:
    """Receive until a live row has come."""
    await client.until(lambda message: isinstance(message, Data) and message.origin == "live")


async def test_it_runs_on_winloop_and_a_client_elsewhere_gets_every_tick(run_hub: RunHub) -> None:
    with run_hub() as (program, url):
        assert any("the event loop is winloop's" in line for line in program.printed)
        newest: dict[str, int] = {}
        async with asyncio.timeout(60), connect(url) as hub:
            async for tick in hub.subscribe("tick:*", since="open"):
                assert tick.seq == newest.get(tick.code, 0) + 1
                newest[tick.code] = tick.seq
                if len(newest) == 50 and sum(newest.values()) > 300:
                    break


async def test_without_winloop_it_says_so_and_serves_on_the_standard_loop(run_hub: RunHub) -> None:
    with run_hub(program=("-c", WITHOUT_WINLOOP)) as (program, url):
        (line,) = [line for line in program.printed if "standard event loop" in line]
        assert "WARNING" in line
        assert "winloop can't be had" in line
        async with plain_client(url) as client:
            await client.request("subscribed", "subscribe", id=1, topics=["tick:*"])
            await take_live_rows(client)
            program.press(CTRL_BREAK)
            assert (await client.closed())[0] == 1012
        assert program.wait() == 0


@pytest.mark.parametrize("event", [CTRL_C, CTRL_BREAK], ids=["Ctrl-C", "Ctrl-Break"])
@pytest.mark.parametrize("how", [(), ("--isolate-source",)], ids=["one process", "isolated source"])
async def test_a_key_drains_the_hub(run_hub: RunHub, event: int, how: tuple[str, ...]) -> None:
    with run_hub(*how) as (program, url):
        async with plain_client(url) as client, plain_client(url) as idle:
            await client.request("subscribed", "subscribe", id=1, topics=["tick:*"])
            await take_live_rows(client)
            program.press(event)
            draining = await client.control("draining")
            assert draining["reason"] == "the hub is restarting"
            assert draining["close_in_ms"] >= 0
            assert (await client.closed())[0] == 1012
            assert (await idle.closed())[0] == 1012
        assert program.wait() == 0
        assert any("2 clients to drain" in line for line in program.printed)
        assert not any("Traceback" in line for line in program.printed), program.printed


async def test_a_console_that_is_closed_waits_until_the_clients_are_drained(run_hub: RunHub) -> None:
    """Windows ends the program as soon as its handler has returned."""
    with run_hub() as (program, url):
        async with plain_client(url) as client:
            await client.request("subscribed", "subscribe", id=1, topics=["tick:*"])
            await take_live_rows(client)
            program.press(CLOSE)
            await client.control("draining")
            assert (await client.closed())[0] == 1012


async def test_the_journal_goes_on_after_the_hub_was_ended_without_a_word(run_hub: RunHub, tmp_path: Path) -> None:
    """The feeder is in a process of its own and dies with it; the next hub has the same epoch and every row."""
    with run_hub("--source", "feed") as (_, url):
        async with plain_client(url) as client:
            epoch = client.welcome["epoch"]
    with run_hub("--source", "feed") as (program, url):
        async with plain_client(url) as client:
            assert client.welcome["epoch"] == epoch
        program.press(CTRL_BREAK)
        assert program.wait() == 0


def test_a_second_hub_is_turned_away_from_the_journal_and_from_the_port(windows: Windows, run_hub: RunHub) -> None:
    with run_hub() as (_, url):
        port = url.rsplit(":", 1)[1].removesuffix("/ws")
        done = windows.run("run_hub.py", "--port", port, "--symbols", "5")
        assert done.returncode == 2
        (line,) = [line for line in done.stdout.splitlines() if "run_hub.py: " in line]
        assert f"cannot listen on 127.0.0.1 port {port}" in line
        assert "Traceback" not in done.stdout
