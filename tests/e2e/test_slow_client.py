"""Clients that fall behind: cut off or told what they missed, never left with a silent hole, and nobody else waits."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from websockets.exceptions import ConnectionClosed

from tests.e2e.conftest import StartHub
from tests.e2e.support.document import blocks, check_message
from tests.e2e.support.hub_process import HubProcess
from tests.e2e.support.plain_client import Data, Encoding, Message, PlainClient, Row, plain_client
from tests.e2e.support.recorded_day import expected_rows, recording, without_recv

DAY: Final = "ticks-20220601-szse.csv.gz"
HELD_ROWS: Final = 20_000
"""In history when the ring of each of the busy market's 1,000 topics is full: more than sockets hold."""
BUSY_MARKET: Final = ("--symbols", "1000", "--interval", "1", "--speed", "10", "--heartbeat-s", "0.2")


@asynccontextmanager
async def lazy_client(hub: HubProcess, encoding: Encoding = "json") -> AsyncIterator[PlainClient]:
    """A client whose machine holds as little as possible: what it does not read, waits at the hub."""
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 524_288)
    small.setblocking(False)
    await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", hub.port))
    async with plain_client(hub.ws_url, encoding, max_queue=1, sock=small) as client:
        yield client
        client.socket.transport.abort()


class Stream:
    """All topics as one client sees them: rows and gaps together must be contiguous from seq 1 on."""

    def __init__(self) -> None:
        self.newest: dict[str, int] = {}
        self.rows = 0
        self.gaps: list[dict[str, Any]] = []
        self.gap_before_next_row: dict[str, dict[str, Any]] = {}

    def take(self, message: Message) -> None:
        if isinstance(message, Data):
            for code, seq, *_ in message.rows:
                topic = f"{message.channel}:{code}"
                assert seq == self.newest.get(topic, 0) + 1, f"{topic}: seq {seq} after {self.newest.get(topic)}"
                self.newest[topic] = seq
                self.gap_before_next_row.pop(topic, None)
                self.rows += 1
        elif message["type"] == "gap":
            expected = self.newest.get(message["topic"], 0) + 1
            assert (message["cause"], message["from"]) == ("evicted", expected), message
            assert message["to"] >= message["from"], message
            # One hole is one gap, except where it was told at the join and history let go more of it before the first
            # row was read, and where history asked for (with an id) ends in it and live rows begin.
            before = self.gap_before_next_row.get(message["topic"])
            is_one_hole = before is not None and before["from"] > 1 and before.get("id") == message.get("id")
            assert not is_one_hole, f"{before} and {message} are one hole"
            self.gap_before_next_row[message["topic"]] = message
            self.newest[message["topic"]] = message["to"]
            self.gaps.append(message)
        else:
            assert message["type"] in ("subscribed", "heartbeat", "slow"), message


async def read_until_closed(client: PlainClient, stream: Stream) -> None:
    with contextlib.suppress(ConnectionClosed):
        while True:
            stream.take(await client.receive())
    await client.socket.wait_closed()


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_a_client_that_stops_reading_is_closed_and_the_others_do_not_notice(
    start_hub: StartHub, encoding: Encoding
) -> None:
    hub = start_hub(*BUSY_MARKET, "--max-pending-bytes", "1000000")
    async with lazy_client(hub, encoding) as lazy, plain_client(hub.ws_url, "msgpack") as healthy:
        lazy_stream, healthy_stream = Stream(), Stream()
        for client, stream in ((lazy, lazy_stream), (healthy, healthy_stream)):
            await client.send("subscribe", id=1, topics=["tick:*"], since={"time": 0})
            stream.take(await client.receive())
        given_up = 0.0
        while not given_up:  # the healthy client's messages are the clock
            message = await healthy.receive()
            healthy_stream.take(message)
            if isinstance(message, dict) and message["type"] == "heartbeat":
                given_up = hub.figure("argus_clients_closed_slow_total")
        await read_until_closed(lazy, lazy_stream)
        assert lazy.socket.close_code in (4408, 1006)
        assert lazy_stream.rows > 0, "whole frames that were sent before must be readable"
        assert lazy_stream.gaps == []
        enough = healthy_stream.rows + 1_000
        while healthy_stream.rows < enough:
            healthy_stream.take(await healthy.receive())
        assert healthy_stream.gaps == []
    async with plain_client(hub.ws_url) as again:  # and the hub still serves
        await again.request("subscribed", "subscribe", id=1, topics=["tick:*"])


async def test_a_client_whose_socket_takes_nothing_for_too_long_is_closed(start_hub: StartHub) -> None:
    hub = start_hub(*BUSY_MARKET, "--stall-s", "0.5")
    async with lazy_client(hub) as lazy, plain_client(hub.ws_url, "msgpack") as healthy:
        for client in (lazy, healthy):
            await client.send("subscribe", id=1, topics=["tick:*"], since={"time": 0})
        while not hub.figure("argus_clients_closed_slow_total"):
            await healthy.control("heartbeat")
        await read_until_closed(lazy, Stream())
        assert lazy.socket.close_code in (4408, 1006)


async def test_a_client_is_warned_once_half_of_its_budget_waits(start_hub: StartHub) -> None:
    budget = 16_000_000  # wide, so that the reader is back long before the other half is used, on a loaded machine too
    hub = start_hub(*BUSY_MARKET, "--max-pending-bytes", str(budget), "--stall-s", "600")
    async with lazy_client(hub) as lazy, plain_client(hub.ws_url, "msgpack") as healthy:
        for client in (lazy, healthy):
            await client.send("subscribe", id=1, topics=["tick:*"], since={"time": 0})
        stream = Stream()
        while hub.figure("argus_pending_bytes") < budget * 0.55:
            await healthy.control("heartbeat")
        messages = await lazy.until(lambda message: isinstance(message, dict) and message["type"] == "slow")
        slow = messages[-1]
        assert isinstance(slow, dict)
        (example,) = (block.json() for block in blocks() if block.info[2:] == ("slow",))
        check_message(example, slow, shape=True)
        assert slow["limit_bytes"] == budget
        assert budget / 2 <= slow["pending_bytes"] <= budget
        for message in messages:
            stream.take(message)
        while not (isinstance(message, dict) and message["type"] == "heartbeat"):
            stream.take(message := await lazy.receive())


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_what_history_no_longer_holds_is_announced_before_the_rows_that_it_holds(
    start_hub: StartHub, encoding: Encoding
) -> None:
    rows = expected_rows(recording(DAY))
    play = ("--source", "recording", "--recording", f"../shared/data/{DAY}", "--speed", "0")
    hub = start_hub(*play, "--ring-rows", "50", "--heartbeat-s", "0.2", "--no-journal")
    codes = {row[0] for row in rows}
    newest = {row[0]: row[1] for row in rows}
    async with plain_client(hub.ws_url, "msgpack") as witness:  # until all is played
        await witness.send("subscribe", id=1, topics=["tick:*"])
        seen: dict[str, int] = {}
        while seen != newest:
            message = await witness.receive()
            seen |= {row[0]: row[1] for row in message.rows} if isinstance(message, Data) else {}

    async with plain_client(hub.ws_url, encoding) as client:
        reply = await client.request("subscribed", "subscribe", id=5, topics=["tick:*"], since={"time": 0})
        stream, received = Stream(), list[Row]()
        kinds: list[str] = []
        message = {}
        while isinstance(message, Data) or message.get("type") != "heartbeat" or message["at"] < reply["at"]:
            stream.take(message := await client.receive())
            if isinstance(message, Data):
                kinds.append("rows")
                received += message.rows
            elif message["type"] != "heartbeat":
                kinds.append(message["type"])
        epoch = client.welcome["epoch"]

    assert reply["recovered"] is False
    assert sorted(reply["unrecovered"]) == sorted(f"tick:{code}" for code in codes)
    assert reply["matched"] == len(codes)
    assert reply["replayed"] == len(received)
    assert kinds == ["gap"] * len(codes) + ["rows"] * (len(kinds) - len(codes))
    assert stream.newest == {f"tick:{code}": seq for code, seq in newest.items()}, "gaps and rows are not the whole"
    by_seq = {(row[0], row[1]): row for row in rows}
    assert [without_recv(row) for row in received] == [by_seq[row[0], row[1]] for row in received]
    for gap in stream.gaps:
        code = gap["topic"].removeprefix("tick:")
        assert (gap["id"], gap["epoch"]) == (5, epoch)
        assert newest[code] - gap["to"] >= 50, "fewer rows are held than the setting says"
        assert gap["to_time"] == by_seq[code, gap["to"]][2]
        assert gap["from_time"] <= by_seq[code, 1][2]


async def test_a_reader_whom_history_overtakes_is_told_what_it_missed(start_hub: StartHub) -> None:
    hub = start_hub(
        *BUSY_MARKET, "--speed", "30", "--ring-rows", str(HELD_ROWS // 1_000), "--stall-s", "600", "--no-journal"
    )
    async with plain_client(hub.ws_url, "msgpack") as healthy, lazy_client(hub) as lazy:
        await healthy.send("subscribe", id=1, topics=["tick:*"], since={"time": 0})
        while hub.figure("argus_rows_evicted_total") == 0:
            await healthy.control("heartbeat")
        cut = (await lazy.request("subscribed", "subscribe", id=1, topics=["tick:*"], since={"time": 0}))["at"]
        evicted = hub.figure("argus_rows_evicted_total")
        while hub.figure("argus_rows_evicted_total") < evicted + 2 * HELD_ROWS:
            await healthy.control("heartbeat")
        stream = Stream()
        message: Message = {}
        while isinstance(message, Data) or message.get("type") != "heartbeat" or message["at"] < cut + 2 * HELD_ROWS:
            stream.take(message := await lazy.receive())
        at_the_join = [gap for gap in stream.gaps if gap["from"] == 1]
        assert at_the_join
        assert len(stream.gaps) > len(at_the_join), "history did not overtake the reader: nothing was tested"
        assert {gap["id"] for gap in at_the_join} == {1}
        assert stream.rows > 0
