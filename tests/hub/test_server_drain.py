"""The end of the day: everybody is told, closed one after the other, and nothing is left running."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

import hub.drain
from hub.connection import HubConnection
from hub.drain import dismiss
from hub.handshake import Handshake
from tests.e2e.support.plain_client import PATIENCE_S, Data, Encoding, Message, plain_client
from tests.hub.support.served_hub import (
    BOTH_ENCODINGS,
    BOTH_LOOPS,
    CLOSE,
    MANY,
    UPGRADE,
    ServedHub,
    ask,
    ask_on,
    lazy_client,
    raw_client,
    seqs_of,
    served_hub,
    settings,
    until,
)


async def drain(served: ServedHub, drain_s: float) -> None:
    """Drain, and give up where that takes much longer than it may."""
    async with asyncio.timeout(drain_s + 8):
        await served.server.drain("the hub is restarting", drain_s)


async def cut_off(reader: asyncio.StreamReader) -> None:
    """Read to the end of a connection on which nothing comes."""
    async with asyncio.timeout(PATIENCE_S):
        with suppress(ConnectionResetError):
            assert await reader.read() == b""


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left


@BOTH_LOOPS
@BOTH_ENCODINGS
async def test_rows_come_before_the_announcement_and_then_the_connection_is_closed_with_1012(
    encoding: Encoding,
) -> None:
    async with served_hub() as served, plain_client(served.url, encoding) as client:
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since="none")

        async def publish_and_drain() -> None:
            served.publish(1, 2)
            await drain(served, 5)

        ending = asyncio.create_task(publish_and_drain())
        (rows, draining) = [await client.receive() for _ in range(2)]
        assert isinstance(rows, Data)
        assert isinstance(draining, dict)
        assert len(rows.rows) == 2
        assert (draining["type"], draining["reason"]) == ("draining", "the hub is restarting")
        assert await client.closed() == (1012, "the hub is restarting")
        await ending
    assert served.server.clients == 0
    assert served.faults == []


@BOTH_LOOPS
async def test_closes_are_spread_over_a_part_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.drain, "CLOSES_PER_S", 100)
    closed: list[int] = []
    close = HubConnection.close
    loop = asyncio.get_running_loop()
    begun_s = 0.0

    def note_close(self: HubConnection, code: int, reason: str) -> None:
        if code == 1012:
            closed.append(round((loop.time() - begun_s) * 1000))
        close(self, code, reason)

    monkeypatch.setattr(HubConnection, "close", note_close)
    async with served_hub() as served, AsyncExitStack() as clients:
        opened = [await clients.enter_async_context(plain_client(served.url)) for _ in range(5)]
        begun_s = loop.time()
        ending = asyncio.create_task(drain(served, 5))
        announced = [(await client.control("draining"))["close_in_ms"] for client in opened]
        assert announced == [10, 20, 30, 40, 50]
        assert [(await client.closed())[0] for client in opened] == [1012] * 5
        await ending
    assert all(at_ms >= due_ms for at_ms, due_ms in zip(closed, announced, strict=True))


@pytest.mark.parametrize(
    ("count", "drain_s", "first_ms", "last_ms"),
    [(1, 5, 100, 100), (3, 5, 100, 300), (60, 5, 50, 3000), (5000, 5, 1, 3000), (5000, 600, 72, 360_000)],
)
async def test_many_closes_take_most_of_the_time_and_few_take_little(
    count: int, drain_s: float, first_ms: int, last_ms: int
) -> None:
    told: list[int] = []

    def note(_: str, close_in_ms: int) -> None:
        told.append(close_in_ms)

    session = SimpleNamespace(draining=note)
    clients: list[Any] = [SimpleNamespace(session=session, close=lambda *_: None) for _ in range(count)]
    await dismiss(clients, "the hub is restarting", drain_s, asyncio.get_running_loop().time())
    assert told == sorted(told)
    assert (len(told), told[0], told[-1]) == (count, first_ms, last_ms)


async def test_however_many_clients_the_spread_leaves_time_for_their_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.drain, "CLOSES_PER_S", 0.001)
    async with served_hub() as served, AsyncExitStack() as clients:
        opened = [await clients.enter_async_context(plain_client(served.url)) for _ in range(3)]
        ending = asyncio.create_task(drain(served, 0.5))
        assert [(await client.control("draining"))["close_in_ms"] for client in opened] == [100, 200, 300]
        await ending


@BOTH_LOOPS
async def test_clients_that_do_not_answer_are_cut_off_in_time() -> None:
    async with served_hub() as served, raw_client(served) as deaf, raw_client(served):
        await drain(served, 0.3)
        assert served.server.clients == 0
        frames = await deaf.frames()
    assert [json.loads(frame.payload)["type"] for frame in frames[:-1]] == ["welcome", "draining"]
    assert (frames[-1].opcode, frames[-1].payload[:2]) == (CLOSE, (1012).to_bytes(2))


@BOTH_LOOPS
async def test_a_client_that_reads_nothing_is_cut_off_in_time() -> None:
    async with served_hub() as served, lazy_client(served) as lazy:
        served.publish_big(*range(1, MANY))
        await lazy.send("subscribe", id=1, topics=["tick:*"], since={"time": 0})
        await until(lambda: served.server.pending_bytes)
        await drain(served, 0.3)
        assert served.server.clients == 0
    assert served.faults == []


@BOTH_LOOPS
async def test_a_connection_that_never_sent_a_request_does_not_hold_up_the_end() -> None:
    """Browsers open connections in advance, and so do port scanners: nothing ever comes on them."""
    async with served_hub() as served, plain_client(served.url):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        try:
            await drain(served, 0.3)
            await cut_off(reader)
        finally:
            writer.close()


@BOTH_LOOPS
@pytest.mark.parametrize("drain_s", [0, 0.3])
async def test_a_connection_that_comes_in_the_very_turn_of_the_drain_does_not_hold_it_up(
    monkeypatch: pytest.MonkeyPatch, drain_s: float
) -> None:
    """It is accepted, but has no transport yet."""
    ending: list[asyncio.Task[None]] = []
    make = Handshake.__init__

    def make_and_drain(self: Handshake, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        ending.append(asyncio.create_task(drain(served, drain_s)))

    monkeypatch.setattr(Handshake, "__init__", make_and_drain)
    async with served_hub() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        try:
            await until(lambda: ending)
            await ending[0]
            await cut_off(reader)
        finally:
            writer.close()


@BOTH_LOOPS
async def test_who_was_about_to_connect_is_told_that_the_hub_restarts() -> None:
    async with served_hub() as served, raw_client(served):
        readers = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(2)]
        async with plain_client(served.url):  # they are accepted by now
            pass
        ending = asyncio.create_task(drain(served, 0.5))
        await until(lambda: served.server.draining)
        refused = await ask_on(*readers[0], "/ws", *UPGRADE)
        page = await ask_on(*readers[1], "/page")
        for _, writer in readers:
            writer.close()
        await ending
    assert (refused.status, "restarting" in refused.body) == (503, True)
    assert (page.status, page.body) == (200, "a page")


@BOTH_LOOPS
async def test_the_port_is_free_as_soon_as_the_drain_begins() -> None:
    async with served_hub() as served, raw_client(served):
        ending = asyncio.create_task(drain(served, 0.3))
        await until(lambda: served.server.draining)
        await asyncio.sleep(0)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", served.port)
        await ending


@BOTH_LOOPS
@pytest.mark.parametrize("drain_s", [0, 0.01])
async def test_without_time_everybody_is_cut_off_at_once(drain_s: float) -> None:
    async with served_hub(settings(heartbeat_s=0.01)) as served, raw_client(served), plain_client(served.url) as client:
        await drain(served, drain_s)
        assert (await client.closed())[0] in (1012, 1006)
    assert served.faults == []


async def test_without_clients_there_is_nothing_to_wait_for() -> None:
    async with served_hub() as served:
        await drain(served, PATIENCE_S)


@BOTH_LOOPS
async def test_what_waits_for_a_client_that_reads_reaches_it_before_the_close() -> None:
    """The time to drain is there to send what is pending when the hub stops, the announcement included."""
    async with served_hub() as served, lazy_client(served) as lazy:
        await lazy.request("subscribed", "subscribe", id=1, topics=["tick:*"], since="none")
        newest = 0
        while served.server.pending_bytes < 12_000_000:
            served.publish_big(*range(newest + 1, newest + 251))
            newest += 250
            await asyncio.sleep(0)
        ending = asyncio.create_task(drain(served, 5))
        await until(lambda: served.server.draining)
        received: list[Message] = []
        with suppress(ConnectionClosed):
            while True:
                received.append(await lazy.receive())
        await ending
    assert lazy.socket.close_code == 1012
    assert seqs_of(received) == list(range(1, newest + 1))
    assert [message["type"] for message in received if isinstance(message, dict)] == ["draining"]


async def test_clients_are_sent_away_and_others_are_kept_out_while_the_hub_goes_on() -> None:
    why = [""]
    async with served_hub(closed=lambda: why[0]) as served:
        async with plain_client(served.url) as client:
            await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since="none")
            why[0] = "Clients are served elsewhere."
            served.publish(1)
            async with asyncio.timeout(PATIENCE_S):
                await served.server.send_away(why[0], 5)
            messages = [await client.receive() for _ in range(2)]
            assert isinstance(messages[0], Data)
            assert await client.closed() == (1012, why[0])
        answer = await ask(served.port, "/ws", *UPGRADE)
        assert (answer.status, answer.body) == (503, "Clients are served elsewhere.\n")
        assert not served.server.draining
        why[0] = ""
        async with plain_client(served.url) as client:
            assert client.welcome["at"] == 1
