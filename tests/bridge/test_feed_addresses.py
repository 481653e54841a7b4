"""A feeder with the addresses of two hubs: it goes to the one that takes it, and leaves one that has gone mute."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import Any

import pytest

import bridge.feed.feeder
from bridge.feed.feeder import FeedEnded, Feeder
from bridge.source import Batch
from tests.bridge.support.feeding import TEN_MS, no_task_is_left
from tests.bridge.test_feed_feeder import HELLO, ScriptedHub
from tests.hub.support.core import tick


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> Any:
    with no_task_is_left():
        yield


@asynccontextmanager
async def feeding(*hubs: ScriptedHub) -> AsyncIterator[Feeder]:
    for hub in hubs:
        await hub.start()
    url = ",".join(hub.url for hub in hubs)
    feeder = Feeder(url, "", HELLO, buffer_bytes=1 << 20, on_want=lambda _: None, pause_s=lambda _: 0.0)
    task = asyncio.create_task(feeder.run())
    try:
        yield feeder
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, FeedEnded):
            await task
        for hub in hubs:
            await hub.stop()


def deliver(feeder: Feeder, number: int) -> None:
    feeder.deliver(Batch("tick", [tick("600000.SH", TEN_MS + number)], 17))


async def test_a_hub_that_stands_by_is_passed_over() -> None:
    first, second = ScriptedHub(), ScriptedHub()
    first.refusals = [HTTPStatus.SERVICE_UNAVAILABLE] * 2
    async with feeding(first, second) as feeder:
        deliver(feeder, 1)
        hub = await second.next()
        await hub.greet()
        assert await hub.batches(1) == [1]
        assert len(first.refusals) == 1


async def test_what_one_hub_did_not_acknowledge_the_other_one_is_sent() -> None:
    first, second = ScriptedHub(), ScriptedHub()
    async with feeding(first, second) as feeder:
        for number in (1, 2, 3):
            deliver(feeder, number)
        hub = await first.next()
        await hub.greet()
        assert await hub.batches(3) == [1, 2, 3]
        await hub.say("ack", batch=1)
        await hub.socket.close(1012)
        other = await second.next()
        await other.greet(batch=1)
        assert await other.batches(2) == [2, 3]


async def test_a_hub_that_says_nothing_any_more_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one whose process was stopped: its connections stay, and nothing comes over them."""
    monkeypatch.setattr(bridge.feed.feeder, "PING_AMONG_SEVERAL_S", 0.05)
    monkeypatch.setattr(bridge.feed.feeder, "LOST_AMONG_SEVERAL_S", 0.2)
    first, second = ScriptedHub(), ScriptedHub()
    async with feeding(first, second) as feeder:
        hub = await first.next()
        await hub.greet()
        hub.socket.transport.pause_reading()
        deliver(feeder, 1)
        other = await second.next()
        await other.greet()
        assert await other.batches(1) == [1]
        hub.socket.transport.abort()
