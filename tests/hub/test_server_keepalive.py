"""Pings and heartbeats: who is dead is found out, who lives stays, and ten thousand of them don't come in one lump."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.protocol import State

import hub.deadlines
import hub.server
from hub.connection import HubConnection
from hub.heartbeats import Heartbeats
from tests.e2e.support.plain_client import PATIENCE_S, plain_client
from tests.hub.support.served_hub import (
    BOTH_LOOPS,
    CLOSE,
    MANY,
    NEVER_S,
    PING,
    PONG,
    raw_client,
    served_hub,
    settings,
    until,
)


def code_of(payload: bytes) -> int:
    return int.from_bytes(payload[:2])


@BOTH_LOOPS
async def test_a_client_that_answers_no_ping_is_closed_with_1011_and_forgotten() -> None:
    async with (
        served_hub(settings(ping_interval_s=0.05, ping_timeout_s=0.05)) as served,
        raw_client(served) as mute,
        plain_client(served.url) as answering,
    ):
        frames = await mute.frames()
        assert [frame.opcode for frame in frames if frame.opcode in (PING, CLOSE)] == [PING, CLOSE]
        assert (code_of(frames[-1].payload), frames[-1].payload[2:]) == (1011, b"keepalive ping timeout")
        mute.reset()
        await until(lambda: served.server.clients == 1)
        await answering.request("pong", "ping", id=1)
    assert served.faults == []


@BOTH_LOOPS
async def test_a_client_that_answers_is_asked_again_and_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    pings: list[HubConnection] = []
    ping = HubConnection.ping

    def note_and_ping(self: HubConnection) -> None:
        pings.append(self)
        ping(self)

    monkeypatch.setattr(HubConnection, "ping", note_and_ping)
    async with (
        served_hub(settings(ping_interval_s=0.02, ping_timeout_s=5)) as served,
        plain_client(served.url) as client,
    ):
        await until(lambda: len(pings) >= 5)
        await client.request("pong", "ping", id=1)
        assert served.server.clients == 1


async def test_a_pong_that_nobody_asked_for_does_not_put_off_the_next_ping(monkeypatch: pytest.MonkeyPatch) -> None:
    pings: list[HubConnection] = []
    monkeypatch.setattr(HubConnection, "ping", lambda self: pings.append(self))
    async with served_hub(settings(ping_interval_s=0.1)) as served, raw_client(served) as client:
        async with asyncio.timeout(PATIENCE_S):
            while not pings:  # all the time, and longer than the interval
                await client.send(PONG, b"alive")
                await asyncio.sleep(0.01)


@BOTH_LOOPS
async def test_a_dead_client_that_does_not_close_its_side_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.server, "CLOSE_TIMEOUT_S", 0.1)
    async with served_hub(settings(ping_interval_s=0.05, ping_timeout_s=0.05)) as served, raw_client(served):
        await until(lambda: served.server.clients == 1)
        await until(lambda: served.server.clients == 0)
    assert served.faults == []


async def test_a_client_that_was_closed_by_the_hub_and_stays_open_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.server, "CLOSE_TIMEOUT_S", 0.1)
    async with served_hub(settings(requests_per_s=0.2)) as served, raw_client(served) as flooding:
        for _ in range(10):
            await flooding.send(1, b'{"op":"ping"}')
        frames = await flooding.frames()
        assert code_of(frames[-1].payload) == 4429
        await until(lambda: served.server.clients == 0)


@BOTH_LOOPS
async def test_a_client_that_is_closing_and_does_not_read_is_not_pinged() -> None:
    """A ping behind the end of the stream can't be sent: it would keep all that are due with it from theirs."""
    async with served_hub() as served, raw_client(served) as leaving:
        await leaving.subscribe("tick:*", since="none")
        await until(lambda: list(served.hub.router.audiences))
        served.publish_big(*range(1, MANY + 1))
        await until(lambda: served.server.pending_bytes)
        (connection,) = served.server._clients
        await leaving.send(CLOSE, (1000).to_bytes(2))
        await until(lambda: connection.protocol.state is not State.OPEN)
        connection.ping()
        assert served.server.clients == 1, "it has not gone yet"


async def test_heartbeats_that_are_due_together_are_sent_a_few_in_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each turn begins with a flush, so that `at` holds for all rows that were sent before."""
    monkeypatch.setattr(hub.deadlines, "DUE_PER_TURN", 2)
    log: list[str] = []
    told: list[Any] = []
    flushing: Any = SimpleNamespace(flush=lambda: log.append("flush"))
    heartbeats = Heartbeats(flushing, 0.03, lambda: {"SH": {"age_ms": len(log)}}, lambda: 7)
    for name in "abcde":
        connection: Any = HubConnection.__new__(HubConnection)

        def beat(time_ms: int, markets: Any, _: Any, name: str = name) -> None:
            log.append(name)
            told.append((time_ms, markets))

        connection.session = SimpleNamespace(heartbeat=beat)
        heartbeats.add(connection)
    await until(lambda: len(told) >= 10)
    heartbeats.stop()
    assert log[:8] == ["flush", "a", "b", "flush", "c", "d", "flush", "e"]
    assert [name for name in log if name != "flush"][:10] == list("abcdeabcde")
    assert told[0] == (7, {"SH": {"age_ms": 0}})


async def test_heartbeats_go_on_after_one_that_could_not_be_made(caplog: pytest.LogCaptureFixture) -> None:
    async with served_hub(settings(heartbeat_s=0.02)) as served, plain_client(served.url) as client:
        served.markets["SH"] = None  # type: ignore[assignment]
        await until(lambda: "Traceback" in caplog.text)
        served.markets["SH"] = {"state": "live"}
        assert (await client.control("heartbeat"))["markets"] == {"SH": {"state": "live"}}


@BOTH_LOOPS
async def test_an_idle_client_costs_no_task() -> None:
    async with served_hub(settings(ping_interval_s=NEVER_S)) as served:
        before = len(asyncio.all_tasks())
        async with raw_client(served), raw_client(served), raw_client(served):
            await until(lambda: served.server.clients == 3)
            assert len(asyncio.all_tasks()) == before
