"""Quotes that stop in continuous trading, as clients see it: told, healed, and nothing lost without a word."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.bridge.xtquant.support.terminal import TEN_MS, Terminal, a_terminal, codes_of, tick
from tests.bridge.xtquant.support.wheel import installed
from tests.e2e.conftest import StartHub
from tests.e2e.support.hub_process import REPOSITORY, HubProcess, environment
from tests.e2e.support.plain_client import Data, Message, PlainClient, plain_client

CODES = codes_of(60)
SECTORS = {"沪深A股": CODES}
LUNCH_MS = TEN_MS + 2 * 3_600_000
STALE_S = 2.0
PATIENCE_S = 60


@pytest.fixture(scope="module")
def folder() -> Path:
    return installed()


@asynccontextmanager
async def fed(
    start_hub: StartHub, folder: Path, data: Path, terminal: Terminal, begin_ms: int
) -> AsyncIterator[HubProcess]:
    """A hub and a feeder on a terminal, whose clock begins at some moment; both call quotes old after two seconds."""
    hub = await asyncio.to_thread(
        start_hub, "--source", "feed", "--stale-after-s", str(STALE_S), "--heartbeat-s", "0.2"
    )
    log = data / "feeder.log"
    with log.open("wb") as stderr:
        feeder = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bridge.xtquant.support.shifted_feeder", f"ws://127.0.0.1:{hub.port}/feed"),
            *(terminal.address, str(folder), str(data), str(begin_ms), str(STALE_S)),
            cwd=REPOSITORY,
            env=environment({}),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=stderr,
        )
    try:
        await terminal.until(terminal.wholes)
        yield hub
    finally:
        feeder.kill()
        await feeder.wait()


async def trade(terminal: Terminal, begin_ms: int) -> None:
    """Push the whole market five times a second, each time newer, until cancelled."""
    for number in range(1, 100_000):
        terminal.push({code: tick(begin_ms + number * 200, 10 + number / 100, volume=1000 + number) for code in CODES})
        await asyncio.sleep(0.2)


def status_of(message: Message, client: PlainClient, code: str) -> dict[str, Any]:
    """The newest status of a market or source that a message tells; empty where it tells none."""
    if not isinstance(message, Data) or message.channel != "status":
        return {}
    rows = [dict(zip(client.schemas["status"], row, strict=True)) for row in message.rows]
    return next((row for row in reversed(rows) if row["code"] == code), {})


async def test_silence_is_told_everywhere_and_healed(start_hub: StartHub, folder: Path, tmp_path: Path) -> None:
    before = {code: tick(TEN_MS) for code in CODES}
    async with (
        a_terminal(SECTORS, ticks=before) as terminal,
        fed(start_hub, folder, tmp_path, terminal, TEN_MS) as hub,
        plain_client(hub.ws_url) as client,
    ):
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*", "status:*"])
        subscribed, trading = set(terminal.held), asyncio.create_task(trade(terminal, TEN_MS))
        await client.until(lambda message: isinstance(message, Data) and message.origin == "live")
        await client.until(lambda message: _beats(message, "live"))
        trading.cancel()
        quiet_ms = max(one["time"] for one in terminal.ticks.values())
        said = await client.until(
            lambda message: status_of(message, client, "source.xtquant").get("state") == "degraded"
        )
        detail = status_of(said[-1], client, "source.xtquant")["detail"]
        assert detail.startswith("quotes have stopped, the newest of SH")
        assert detail.endswith("step taken: resubscribe")
        await terminal.until(lambda: terminal.wholes() and not subscribed & set(terminal.held))
        await client.until(lambda message: _beats(message, "stale"))
        body = await _ready(hub, lambda body: any("SH is stale" in reason for reason in body["reasons"]))
        assert any("xtquant is degraded: quotes have stopped" in reason for reason in body["reasons"])
        trading = asyncio.create_task(trade(terminal, quiet_ms + 10_000))
        try:
            said = await client.until(lambda message: _beats(message, "live"))
            await _ready(hub, lambda body: body["ready"])
        finally:
            trading.cancel()
        (gap,) = [one for one in said if isinstance(one, dict) and one["type"] == "gap"]
        assert (gap["topic"], gap["cause"], gap["from_time"]) == ("tick:*.SH", "upstream", quiet_ms)
        assert gap["to_time"] > quiet_ms
        rows = [row for one in said if isinstance(one, Data) and one.channel == "tick" for row in one.rows]
        assert min(row[2] for row in rows) == gap["to_time"]


async def test_lunch_is_no_silence(start_hub: StartHub, folder: Path, tmp_path: Path) -> None:
    before = {code: tick(LUNCH_MS - 1_800_000) for code in CODES}
    async with (
        a_terminal(SECTORS, ticks=before) as terminal,
        fed(start_hub, folder, tmp_path, terminal, LUNCH_MS) as hub,
        plain_client(hub.ws_url) as client,
    ):
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*", "status:*"])
        beats: list[dict[str, Any]] = []
        async with asyncio.timeout(PATIENCE_S):
            while len(beats) < 25:  # five seconds
                message = await client.receive()
                assert status_of(message, client, "source.xtquant").get("state") != "degraded"
                if isinstance(message, dict) and message["type"] == "heartbeat" and "SH" in message["markets"]:
                    beats.append(message["markets"]["SH"])
        assert {(beat["phase"], beat["state"]) for beat in beats} == {("lunch", "quiet")}
        assert [call[0] for call in terminal.calls].count("whole") == 1


def _beats(message: Message, state: str) -> bool:
    """Whether a heartbeat says so of Shanghai."""
    if not isinstance(message, dict) or message["type"] != "heartbeat":
        return False
    return bool(message["markets"].get("SH", {}).get("state") == state)


async def _ready(hub: HubProcess, wanted: Any) -> Any:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            body = json.loads((await asyncio.to_thread(hub.get, "/readyz")).body)
            if wanted(body):
                return body
            await asyncio.sleep(0.05)
