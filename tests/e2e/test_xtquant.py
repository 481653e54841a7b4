"""The whole way, in processes of their own: the real xtdata.py over a scripted terminal, feeder, hub, clients."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from argus_client import connect
from tests.bridge.xtquant.support.terminal import TEN_MS, Terminal, a_terminal, codes_of, tick
from tests.bridge.xtquant.support.wheel import installed
from tests.e2e.conftest import StartHub
from tests.e2e.support.hub_process import REPOSITORY, HubProcess, environment
from tests.e2e.support.plain_client import Data, Message, PlainClient, plain_client

CODES = codes_of(30)
SECTORS = {"沪深A股": CODES, "上证50": CODES[:5]}
NEWEST = {code: tick(TEN_MS) for code in CODES}
PATIENCE_S = 60


@pytest.fixture(scope="module")
def folder() -> Path:
    return installed()


def options_of(folder: Path, terminal: Terminal) -> list[str]:
    return [
        *("--source", "xtquant", "--xtquant-folder", str(folder), "--xtquant-addresses", terminal.address),
        *("--xtquant-sectors", "沪深A股", "--xtquant-universes", "上证50"),
    ]


@asynccontextmanager
async def a_hub(start_hub: StartHub, folder: Path, terminal: Terminal, *options: str) -> AsyncIterator[HubProcess]:
    """A hub that has heard of its terminal, or that there is none."""
    hub = await asyncio.to_thread(start_hub, *options_of(folder, terminal), *options)
    if terminal.is_up:
        await page(hub, lambda body: body["universes"], "/instruments")
    else:
        await page(hub, lambda body: "start miniQMT" in str(body["reasons"]), "/readyz")
    yield hub


async def page(hub: HubProcess, wanted: Callable[[Any], object], path: str) -> Any:
    """A page of JSON, once it is as wanted."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            body = json.loads((await asyncio.to_thread(hub.get, path)).body)
            if wanted(body):
                return body
            await asyncio.sleep(0.05)


async def events(hub: HubProcess) -> dict[str, float]:
    """What happened at the source, by its name in the metrics."""
    text = (await asyncio.to_thread(hub.get, "/metrics")).body
    found = re.findall(r'^argus_source_events_total\{event="([^"]+)"\} (\S+)$', text, re.MULTILINE)
    return {name: float(count) for name, count in found}


def is_live(message: Message) -> bool:
    return isinstance(message, Data) and message.origin == "live"


def is_error(message: Message) -> bool:
    return isinstance(message, dict) and message["type"] == "error"


async def test_ticks_of_the_terminal_reach_a_python_client(start_hub: StartHub, folder: Path) -> None:
    async with a_terminal(SECTORS, ticks=dict(NEWEST)) as terminal, a_hub(start_hub, folder, terminal) as hub:
        async with connect(hub.ws_url) as client:
            rows = client.subscribe("tick:@上证50")
            async with asyncio.timeout(PATIENCE_S):
                first = await anext(rows)
                assert (first.origin, first.lastPrice, first.askPrice[0]) == ("snapshot", 10.0, 10.01)
                terminal.push({CODES[9]: tick(TEN_MS + 3000, 10.01), CODES[3]: tick(TEN_MS + 3000, 10.02)})
                async for row in rows:
                    if row.origin == "live":
                        break
            assert (row.code, row.time, row.lastPrice, row.seq) == (CODES[3], TEN_MS + 3000, 10.02, 2)


async def test_the_state_at_a_subscription_is_no_live_row_for_a_client_that_waits(
    start_hub: StartHub, folder: Path
) -> None:
    async with a_terminal(SECTORS, ticks=dict(NEWEST)) as terminal:
        await terminal.stop()
        async with a_hub(start_hub, folder, terminal) as hub:
            async with plain_client(hub.ws_url) as every, plain_client(hub.ws_url, "msgpack") as latest:
                await every.request("subscribed", "subscribe", id=1, topics=["tick:*"])
                await latest.request("subscribed", "subscribe", id=1, topics=["tick:*"], mode="latest")
                await terminal.start()
                for client in (every, latest):
                    data = await client.data(len(CODES))
                    assert {one.origin for one in data} == {"snapshot"}
                    assert {one.id for one in data} == {None}
                terminal.push({CODES[0]: tick(TEN_MS + 3000, 10.02)})
                for client in (every, latest):
                    (one,) = await client.data(1)
                    assert one.origin == "live"


async def test_a_subscription_of_a_universe_follows_its_changes(start_hub: StartHub, folder: Path) -> None:
    async with a_terminal(dict(SECTORS), ticks=dict(NEWEST)) as terminal, a_hub(start_hub, folder, terminal) as hub:
        async with plain_client(hub.ws_url) as client:
            await client.request("subscribed", "subscribe", id=1, topics=["tick:@上证50"], since="none")
            terminal.sectors["上证50"] = CODES[4:6]
            terminal.cut()  # with a new connection the lists are asked for again
            await page(hub, lambda body: body["universes"]["上证50"] == CODES[4:6], "/instruments")
            await terminal.until(terminal.wholes)
            terminal.push({code: tick(TEN_MS + 3000, 10.02) for code in CODES})
            said = await client.until(lambda message: _has(message, CODES[5], TEN_MS + 3000))
            codes = {row[0] for message in said if isinstance(message, Data) for row in message.rows}
            assert codes == set(CODES[4:6])


async def test_instruments_are_served_to_clients_and_as_a_page(start_hub: StartHub, folder: Path) -> None:
    async with a_terminal(SECTORS, ticks=dict(NEWEST)) as terminal, a_hub(start_hub, folder, terminal) as hub:
        body = await page(hub, lambda body: body["instruments"], "/instruments")
        assert len(body["instruments"]) == len(CODES)
        assert body["universes"] == {"沪深A股": CODES, "上证50": CODES[:5]}
        async with plain_client(hub.ws_url) as client:
            told = await client.request("instruments", "instruments", id=1, pattern="@上证50")
            assert [one["code"] for one in told["instruments"]] == CODES[:5]
            assert told["instruments"][0]["name"] == "股票600000"
            told = await client.request("instruments", "instruments", id=2, pattern="60001*.SH")
            assert len(told["instruments"]) == 10


async def test_a_client_whose_wish_does_not_fit_is_told_and_served_when_there_is_room(
    start_hub: StartHub, folder: Path
) -> None:
    bar = {"time": TEN_MS, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1, "amount": 100.0}
    options = ("--max-subscriptions", "2", "--subscription-grace-s", "600")
    async with a_terminal(SECTORS, ticks=dict(NEWEST)) as terminal, a_hub(start_hub, folder, terminal, *options) as hub:
        async with plain_client(hub.ws_url) as second, plain_client(hub.ws_url) as third:
            async with plain_client(hub.ws_url) as first:
                await first.request("subscribed", "subscribe", id=1, topics=["1m:600000.SH", "1m:600001.SH"])
                await terminal.until(lambda: len(terminal.singles()) == 2)
                await second.request("subscribed", "subscribe", id="mine", topics=["1m:600002.SH", "1m:600000.SH"])
                error = await second.error("mine")
                assert (error["code"], error["retryable"]) == ("upstream_limit", False)
                assert "1m:600002.SH needs 1 more subscription" in error["message"]
                await third.send("subscribe", id=5, topics=["1m:600002.SH"])
                said = await third.until(is_error)
                assert [one["type"] for one in said if isinstance(one, dict)][-2:] == ["subscribed", "error"]
                assert isinstance(said[-1], dict)
                assert (said[-1]["id"], said[-1]["code"]) == (5, "upstream_limit")
            await terminal.until(lambda: ("600002.SH", "1m") in terminal.singles())
            assert terminal.singles() == {("600000.SH", "1m"), ("600002.SH", "1m")}
            terminal.push_single("600002.SH", "1m", [bar])
            for client in (second, third):
                (data,) = await client.data(1)
                assert data.rows[0][0] == "600002.SH"


async def burst(terminal: Terminal, slices: int, sent: list[tuple[str, int]]) -> None:
    """Push the whole market again and again."""
    for number in range(1, slices + 1):
        time_ms = TEN_MS + number * 3000
        ticks = {code: tick(time_ms, 10 + number / 100) for code in CODES}
        terminal.push(ticks)
        sent += [(code, time_ms) for code in CODES]
        await asyncio.sleep(0)


async def test_a_crash_in_a_burst_loses_nothing_that_is_not_announced(start_hub: StartHub, folder: Path) -> None:
    sent: list[tuple[str, int]] = []
    async with a_terminal(SECTORS, ticks=dict(NEWEST)) as terminal, a_hub(start_hub, folder, terminal) as hub:
        async with plain_client(hub.ws_url) as client:
            await client.request("subscribed", "subscribe", id=1, topics=["tick:*"])
            await client.data(len(CODES))
            await burst(terminal, 20, sent)
            terminal.abort_client()
            await burst(terminal, 20, sent)
            await terminal.until(lambda: terminal.connections == 2 and terminal.wholes())
            last_ms = TEN_MS + 3_000_000
            terminal.push({code: tick(last_ms, 12.0) for code in CODES})
            sent += [(code, last_ms) for code in CODES]
            said = await client.until(lambda message: _has(message, CODES[-1], last_ms))
        got = {(row[0], row[2]) for message in said if isinstance(message, Data) for row in message.rows}
        gaps = [message for message in said if isinstance(message, dict) and message["type"] == "gap"]
        for code, time_ms in sent:
            told = any(gap["from_time"] <= time_ms <= gap["to_time"] and gap["cause"] == "upstream" for gap in gaps)
            assert (code, time_ms) in got or told, f"{code} at {time_ms} is lost without a word: {gaps}"
        assert (CODES[0], sent[-1][1]) in got
        seqs = [row[1] for message in said if isinstance(message, Data) for row in message.rows if row[0] == CODES[0]]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
        assert (await events(hub))["process started"] == 2


def _has(message: Message, code: str, time_ms: int) -> bool:
    return isinstance(message, Data) and any((row[0], row[2]) == (code, time_ms) for row in message.rows)


async def test_a_hub_that_was_restarted_knows_its_universes_at_once(
    start_hub: StartHub, folder: Path, tmp_path: Path
) -> None:
    data = ("--data", str(tmp_path / "kept"))
    async with a_terminal(SECTORS, ticks=dict(NEWEST)) as terminal:
        async with a_hub(start_hub, folder, terminal, *data) as hub:
            await page(hub, lambda body: body["instruments"], "/instruments")
            await asyncio.to_thread(hub.stop)
        await terminal.stop()
        hub = await asyncio.to_thread(start_hub, *options_of(folder, terminal), *data)
        async with plain_client(hub.ws_url) as client:
            reply = await client.request("subscribed", "subscribe", id=1, topics=["tick:@上证50"])
            assert reply["matched"] == 5


async def test_without_a_terminal_the_hub_is_up_and_says_what_is_missing(start_hub: StartHub, folder: Path) -> None:
    async with a_terminal(SECTORS) as terminal:
        await terminal.stop()
        async with a_hub(start_hub, folder, terminal) as hub:
            body = await page(hub, lambda body: "start miniQMT" in str(body["reasons"]), "/readyz")
            assert terminal.address in str(body["reasons"])
            async with plain_client(hub.ws_url) as client:
                await client.request("subscribed", "subscribe", id=1, topics=["status:source.xtquant"])
                row = (await client.data(1))[0].rows[0]
                names = dict(zip(client.schemas["status"], row, strict=True))
                assert names["state"] == "away"
                assert "start miniQMT" in names["detail"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't send these signals to a process")
async def test_a_feeder_for_a_hub_elsewhere_keeps_the_terminal_in_a_child(
    start_hub: StartHub, folder: Path, tmp_path: Path
) -> None:
    async with a_terminal(SECTORS, ticks=dict(NEWEST)) as terminal:
        hub = await asyncio.to_thread(start_hub, "--source", "feed")
        log = tmp_path / "feeder.log"
        with log.open("wb") as stderr:
            feeder = await asyncio.create_subprocess_exec(
                *(sys.executable, "run_hub.py", "--role", "feeder", "--to", f"ws://127.0.0.1:{hub.port}/feed"),
                *("--data", str(tmp_path / "data"), *options_of(folder, terminal)),
                cwd=REPOSITORY,
                env=environment({}),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=stderr,
            )
        try:
            async with plain_client(hub.ws_url) as client:
                await terminal.until(terminal.wholes)
                terminal.abort_client()
                await terminal.until(lambda: terminal.connections == 2 and terminal.wholes())
                assert feeder.returncode is None
                await _rows(client, terminal)
            feeder.send_signal(signal.SIGTERM)
            async with asyncio.timeout(PATIENCE_S):
                assert await feeder.wait() == 0, log.read_text()
            await terminal.until(lambda: not terminal._writers)  # its child is gone, too
        finally:
            if feeder.returncode is None:
                os.kill(feeder.pid, signal.SIGKILL)
                await feeder.wait()


async def _rows(client: PlainClient, terminal: Terminal) -> None:
    await client.request("subscribed", "subscribe", id=1, topics=[f"tick:{CODES[0]}"])
    terminal.push({CODES[0]: tick(TEN_MS + 60_000, 11.0)})
    said = await client.until(lambda message: _has(message, CODES[0], TEN_MS + 60_000))
    assert is_live(said[-1])
