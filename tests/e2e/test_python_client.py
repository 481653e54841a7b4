"""The Python client against a real hub over a line that fails: every row, in order, once."""

import asyncio
import random
from collections.abc import Callable
from typing import Any, Final

import pytest

from argus_client import Backoff, ConnectionLost, Gap, Reconnected, connect
from tests.e2e.conftest import StartHub
from tests.e2e.support.fault_proxy import FaultProxy

MARKET: Final = ("--symbols", "50", "--speed", "20", "--interval", "1", "--heartbeat-s", "0.2")
SOON: Final = Backoff(least_s=0.01, most_s=0.05)
PATIENCE_S: Final = 60

Fault = Callable[[FaultProxy, random.Random], None]


def cut(proxy: FaultProxy, chance: random.Random) -> None:
    proxy.cut()


def reset(proxy: FaultProxy, chance: random.Random) -> None:
    proxy.reset()


def cut_in_a_frame(proxy: FaultProxy, chance: random.Random) -> None:
    proxy.cut_after(chance.randrange(1, 20_000))


def half_open(proxy: FaultProxy, chance: random.Random) -> None:
    proxy.flowing.clear()  # until the client has noticed by the missing heartbeats


class Stream:
    """What was handed over: contiguous per topic from the first row on, or it fails."""

    def __init__(self) -> None:
        self.newest: dict[str, int] = {}
        self.rows = 0

    def take(self, row: Any) -> None:
        before = self.newest.get(row.topic, 0)
        assert row.seq == before + 1, f"{row.topic}: row {row.seq} after {before}"
        self.newest[row.topic] = row.seq
        self.rows += 1


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_client_whose_line_fails_ten_times_at_random_moments_gets_every_row_once(
    start_hub: StartHub, seed: int
) -> None:
    hub = start_hub(*MARKET)
    chance = random.Random(seed)
    faults: list[Fault] = [cut, reset, cut_in_a_frame, half_open] * 2 + [cut, cut_in_a_frame]
    chance.shuffle(faults)
    lost: list[ConnectionLost] = []
    back: list[Reconnected] = []
    gaps: list[Gap] = []
    stream = Stream()
    regained = asyncio.Event()
    proxy = FaultProxy.before(hub.ws_url)

    def on_disconnect(reason: ConnectionLost) -> None:
        lost.append(reason)
        regained.clear()
        proxy.flowing.set()

    def on_reconnect(one: Reconnected) -> None:
        back.append(one)
        regained.set()

    async with (
        asyncio.timeout(PATIENCE_S),
        proxy.serve(),
        connect(
            proxy.url,
            reconnect=SOON,
            on_gap=gaps.append,
            on_disconnect=on_disconnect,
            on_reconnect=on_reconnect,
        ) as client,
        client.subscribe("tick:*", since={"time": 0}) as rows,
    ):
        for done, fault in enumerate(faults):
            for _ in range(chance.randrange(1, 400)):
                stream.take(await anext(rows))
            fault(proxy, chance)
            while len(lost) == done:  # a fault may show only rows later
                stream.take(await anext(rows))
        await regained.wait()
        newest = {info.topic: info.seq for info in await client.topics("tick:*")}
        while any(stream.newest.get(topic, 0) < seq for topic, seq in newest.items()):
            stream.take(await anext(rows))
    assert len(lost) == len(back) == len(faults)
    assert len(newest) == 50
    assert gaps == []


async def test_a_slow_and_late_line_loses_nothing(start_hub: StartHub) -> None:
    hub = start_hub(*MARKET)
    stream = Stream()
    proxy = FaultProxy.before(hub.ws_url)
    proxy.delay_s, proxy.bytes_per_s = 0.02, 400_000
    async with (
        asyncio.timeout(PATIENCE_S),
        proxy.serve(),
        connect(proxy.url, reconnect=SOON) as client,
        client.subscribe("tick:*", since={"time": 0}) as rows,
    ):
        while stream.rows < 2_000:
            stream.take(await anext(rows))
    assert proxy.opened == 1


async def test_a_bot_that_is_restarted_ten_times_misses_no_row(start_hub: StartHub) -> None:
    hub = start_hub(*MARKET)
    chance = random.Random(3)
    kept: Any = None
    newest: dict[str, int] = {}
    handled: set[tuple[str, int]] = set()
    async with asyncio.timeout(PATIENCE_S):
        for _ in range(10):
            async with (
                connect(hub.ws_url, resume=kept) as client,
                client.subscribe("tick:*", since={"time": 0}) as rows,
            ):
                again: set[tuple[str, int]] = set()
                for _ in range(chance.randrange(50, 500)):
                    row = await anext(rows)
                    if (row.topic, row.seq) in handled:
                        again.add((row.topic, row.seq))
                    else:
                        assert row.seq == newest.get(row.topic, 0) + 1
                        newest[row.topic] = row.seq
                        handled.add((row.topic, row.seq))
                assert len(again) <= 1, "only the row in hand comes again"
                kept = client.position()
