"""Two feeds as processes: one leads and one stands by, and what clients, feeders and probes are told of it."""

import asyncio
import signal
from pathlib import Path
from typing import Final

import pytest
from websockets.exceptions import InvalidStatus

from tests.bridge.support.redis_servers import needs_redis
from tests.e2e.support.deployment import Deployment, deployment
from tests.e2e.support.hub_process import HubProcess
from tests.e2e.support.plain_client import Data, PlainClient, plain_client

pytestmark = needs_redis

CODES: Final = [f"{600000 + number}.SH" for number in range(10)]
FED: Final = ("--source", "feed")


async def rows_until(client: PlainClient, count: int) -> list[tuple[str, int]]:
    """So many rows, as code and seq; whatever is announced fails."""
    rows: list[tuple[str, int]] = []
    async with asyncio.timeout(60):
        while len(rows) < count:
            message = await client.receive()
            if isinstance(message, Data):
                rows += [(row[0], row[1]) for row in message.rows]
            else:
                assert message["type"] != "gap", message
    return rows


async def pair(d: Deployment, *options: str) -> tuple[HubProcess, HubProcess]:
    """A feed that leads and one that follows it, known to the first."""
    first = await d.start_feed(*options)
    second = await d.start_second_feed(*options)
    await d.ready(second, is_ready=False, reason="following it up to row")
    await d.closed_to_clients(first)
    return first, second


async def test_a_feed_that_stands_by_says_so_and_lets_nobody_in(tmp_path: Path) -> None:
    async with deployment(tmp_path) as d:
        first = await d.start_feed(*FED)
        async with plain_client(first.ws_url) as client:
            second = await d.start_second_feed(*FED)
            assert (await client.closed())[0] == 1012  # what it saw might be numbered anew
        await d.ready(second, is_ready=False, reason="another feed has the lease; following it up to row")
        for feed in (first, second):
            with pytest.raises(InvalidStatus, match="503"):
                async with plain_client(feed.ws_url):
                    pass
            assert feed.get("/healthz").status == 200
        d.feed = second
        with pytest.raises(InvalidStatus, match="503"):
            await d.feeder()
        assert "argus_relay_on 0.0" in second.get("/metrics").body


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_feed_that_stood_by_goes_on_with_the_next_number(fault: signal.Signals, tmp_path: Path) -> None:
    async with deployment(tmp_path) as d:
        first, second = await pair(d, *FED)
        edge = await d.start_edge()
        async with plain_client(edge.ws_url) as client:
            await client.send(op="subscribe", topics=["tick:*"], since="none")
            await client.control("subscribed")
            await (await d.feeder()).feed_ticks(CODES, rounds=3)
            rows = await rows_until(client, 30)
            if fault == signal.SIGKILL:
                await d.kill(first)
            else:
                first.signal(fault)
            await d.leads(second)
            d.feed = second
            await (await d.feeder()).feed_ticks(CODES, rounds=2)
            rows += await rows_until(client, 20)
            assert rows == [(code, seq) for seq in range(1, 6) for code in CODES]
            if fault == signal.SIGSTOP:
                first.signal(signal.SIGCONT)
                await d.ready(first, is_ready=False, reason="following it up to row")


async def test_a_simulated_market_goes_on_in_the_same_epoch(tmp_path: Path) -> None:
    async with deployment(tmp_path) as d:
        options = ("--symbols", "50", "--speed", "5")
        first, second = await pair(d, *options)
        edge = await d.start_edge()
        async with plain_client(edge.ws_url) as client:
            epoch = client.welcome["epoch"]
            await client.send(op="subscribe", topics=["tick:*"], since="none")
            await client.control("subscribed")
            await d.kill(first)
            await d.leads(second)
            assert (await client.control("gap"))["cause"] == "upstream"
            await rows_until(client, 50)
        async with plain_client(edge.ws_url) as client:
            assert client.welcome["epoch"] == epoch


async def test_where_the_relay_has_nothing_the_feed_that_stood_by_begins_a_new_epoch(tmp_path: Path) -> None:
    async with deployment(tmp_path) as d:
        first, second = await pair(d, *FED)
        edge = await d.start_edge()
        async with plain_client(edge.ws_url) as client:
            epoch = client.welcome["epoch"]
            await (await d.feeder()).feed_ticks(CODES)
            await d.kill(first)
            await d.redis.do("FLUSHALL")
            assert (await client.closed())[0] == 1012
        assert "a new epoch begins" in second.log()
        await d.leads(second)
        await d.listens(edge)
        async with plain_client(edge.ws_url) as client:
            assert client.welcome["epoch"] != epoch
