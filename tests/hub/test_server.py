"""One client's life on the wire: welcome, rows, compression, heartbeats, and the end of the connection."""

import asyncio
import gc
import json
import tracemalloc
import zlib
from contextlib import AsyncExitStack, suppress
from secrets import token_hex
from weakref import ref

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State
from websockets.typing import Subprotocol

from hub.connection import HubConnection
from hub.session import Session
from hub.wire import MAX_ROWS_PER_MESSAGE
from tests.e2e.support.plain_client import Data, Encoding, PlainClient, plain_client
from tests.hub.support.core import tick
from tests.hub.support.served_hub import (
    BINARY,
    BOTH_ENCODINGS,
    BOTH_LOOPS,
    CLOSE,
    CONT,
    MANY,
    PING,
    PONG,
    TEXT,
    lazy_client,
    raw_client,
    seqs_of,
    served_hub,
    settings,
    until,
)


@BOTH_LOOPS
@BOTH_ENCODINGS
async def test_welcome_is_the_first_message_and_tells_what_the_settings_say(encoding: Encoding) -> None:
    async with served_hub(settings(heartbeat_s=7.5, pending_bytes=99_000)) as served:
        served.publish(1, 2, 3)
        async with plain_client(served.url, encoding) as client:
            welcome = client.welcome
    assert (welcome["server"], welcome["heartbeat_s"], welcome["at"]) == ("argus-hub/test", 7.5, 3)
    assert (welcome["protocol"], welcome["epoch"]) == ("argus.v1", served.hub.epoch)
    assert welcome["source"] == {"name": "test", "simulated": True}
    assert welcome["limits"] == {
        "message_bytes": 1 << 18,
        "topics": 100,
        "requests_per_s": 1e6,
        "pending_bytes": 99_000,
        "replay_rows": None,
    }
    assert set(welcome["schemas"]) == {"tick", "1m", "status"}


@BOTH_LOOPS
@BOTH_ENCODINGS
async def test_history_and_what_is_published_meanwhile_arrive_once_and_in_order(encoding: Encoding) -> None:
    async with served_hub() as served, plain_client(served.url, encoding) as client:
        served.publish(*range(1, 2_001))
        await client.send("subscribe", id=1, topics=["tick:*"], since={"time": 0})
        await until(lambda: list(served.hub.router.audiences))
        for first in range(2_001, 3_001, 100):
            served.publish(*range(first, first + 100))
            await asyncio.sleep(0)
        reply = await client.control("subscribed", 1)
        assert reply["replayed"] == reply["at"] == 2_000
        messages = await client.data(3_000)
        assert seqs_of(messages) == list(range(1, 3_001))
        assert [row[2] for message in messages for row in message.rows] == list(range(1, 3_001))
        assert {message.origin for message in messages if message.rows[0][1] <= 2_000} == {"replay"}
        assert {message.origin for message in messages if message.rows[0][1] > 2_000} == {"live"}
        served.publish(3_001)
        assert seqs_of(await client.data(1)) == [3_001]
    assert served.faults == []


@BOTH_ENCODINGS
async def test_what_one_turn_has_for_a_client_travels_in_as_few_messages_as_may_be(encoding: Encoding) -> None:
    async with served_hub() as served, plain_client(served.url, encoding) as client:
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since="none")
        for seq in range(1, MAX_ROWS_PER_MESSAGE + 3):
            served.publish(seq)
        messages = await client.data(MAX_ROWS_PER_MESSAGE + 2)
    assert [len(message.rows) for message in messages] == [MAX_ROWS_PER_MESSAGE, 2]
    assert len(served.flushed) == 1


async def test_an_exact_topic_is_not_sent_the_rows_of_others() -> None:
    async with served_hub() as served, plain_client(served.url) as client:
        await client.request("subscribed", "subscribe", id=1, topics=["tick:600001.SH"])
        served.publish(1, 2, code="600000.SH")
        served.publish(1, code="600001.SH")
        (message,) = await client.data(1)
    assert message.rows[0][0] == "600001.SH"


@BOTH_LOOPS
@BOTH_ENCODINGS
async def test_with_compression_every_row_arrives_as_it_does_without(encoding: Encoding) -> None:
    """History of several frames in one write, a turn of several frames, and control messages between them."""
    rows = 3 * MAX_ROWS_PER_MESSAGE
    received = []
    async with served_hub(settings(compression=True)) as served:
        for compression in ("deflate", None):
            async with connect(
                served.url,
                subprotocols=[Subprotocol(f"argus.v1.{encoding}")],
                compression=compression,
                max_size=None,
                proxy=None,
            ) as socket:
                extensions = [extension.name for extension in socket.protocol.extensions]
                assert extensions == (["permessage-deflate"] if compression else [])
                client = PlainClient(socket, encoding)
                client.welcome = await client.control("welcome")
                newest = served.hub.history.at
                served.publish(*range(newest + 1, newest + rows + 1), value=8.01)
                request = {"topics": ["tick:*"], "since": {"time": newest + 1}}
                await client.request("subscribed", "subscribe", id=1, **request)
                messages = await client.data(rows)
                served.publish(*range(newest + rows + 1, newest + 2 * rows + 1), value=8.02)
                messages += await client.data(rows)
                assert await client.request("pong", "ping", id=2)
                assert seqs_of(messages) == list(range(newest + 1, newest + 2 * rows + 1))
                received.append([row[4:] for message in messages for row in message.rows])
    assert received[0] == received[1]
    assert served.faults == []


@BOTH_LOOPS
async def test_with_compression_rows_are_compressed_and_the_others_see_none_of_it() -> None:
    offers = "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover"
    frames = []
    async with served_hub(settings(compression=True)) as served:
        for headers in ((offers,), ()):
            async with raw_client(served, *headers) as client:
                await client.subscribe("tick:*", since="none")
                await until(lambda: list(served.hub.router.audiences))
                served.publish(1)
                await until(lambda: served.flushed)
                await client.send(CLOSE)
                frames.append(await client.frames())
            await until(lambda: not served.server.clients)
            served.flushed.clear()
    compressed, plain = frames
    assert [frame.is_compressed for frame in compressed] == [True, True, True, False]
    assert [frame.is_compressed for frame in plain] == [False] * 4
    inflated = zlib.decompress(compressed[2].payload + b"\x00\x00\xff\xff\x03\x00", wbits=-15)
    assert json.loads(inflated)["rows"][0]["seq"] == 1


@BOTH_LOOPS
async def test_heartbeats_tell_the_time_the_place_in_the_stream_and_the_markets() -> None:
    async with served_hub(settings(heartbeat_s=0.01)) as served, plain_client(served.url, "msgpack") as client:
        served.markets["SH"] = {"phase": "continuous", "state": "live", "age_ms": 12}
        served.publish(1, 2)
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since="none")
        served.publish(3)
        await client.data(1)
        heartbeat = await client.control("heartbeat")
        pong = await client.request("pong", "ping", id=2)
    assert heartbeat["at"] == 3
    assert heartbeat["conflated"] == 0
    assert heartbeat["markets"] == {"SH": {"phase": "continuous", "state": "live", "age_ms": 12}}
    assert 0 <= pong["time"] - heartbeat["time"] < 60_000


@BOTH_LOOPS
@BOTH_ENCODINGS
async def test_a_heartbeat_never_tells_of_rows_that_were_not_sent_before_it(encoding: Encoding) -> None:
    async with (
        served_hub(settings(heartbeat_s=0.05)) as served,
        lazy_client(served, encoding) as lagging,
        plain_client(served.url, encoding) as live,
    ):
        served.publish_big(*range(1, MANY + 1))
        await live.request("subscribed", "subscribe", id=1, topics=["tick:*"], since="none")
        await lagging.send("subscribe", id=1, topics=["tick:*"], since={"time": 0})
        await until(lambda: served.server.pending_bytes)
        for seq in (MANY + 1, MANY + 2):
            served.publish(seq)
            await live.control("heartbeat")
        newest, told = 0, [0]
        while told[-1] < MANY + 2:
            message = await lagging.receive()
            if isinstance(message, Data):
                assert seqs_of([message]) == list(range(newest + 1, newest + 1 + len(message.rows)))
                newest += len(message.rows)
            elif message["type"] == "heartbeat" and newest:  # before its first row it is where it joined
                assert message["at"] == newest
                told.append(newest)
        assert len({at for at in told if 0 < at < MANY}) > 0, "the client did not lag: nothing was tested"


@BOTH_LOOPS
async def test_a_client_that_leaves_is_forgotten() -> None:
    async with served_hub() as served, plain_client(served.url) as staying:
        async with plain_client(served.url) as leaving:
            for client in (staying, leaving):
                await client.request("subscribed", "subscribe", id=1, topics=["tick:*"])
            (audience,) = served.hub.router.audiences
            assert (served.server.clients, len(audience.members)) == (2, 2)
        await until(lambda: served.server.clients == 1)
        assert (len(audience.members), len(audience.live)) == (1, 1)
        served.publish(1)
        await staying.data(1)
    assert served.server.clients == 0
    assert not list(served.hub.router.audiences)


@BOTH_LOOPS
async def test_a_client_whose_line_is_cut_is_forgotten() -> None:
    async with served_hub() as served:
        async with raw_client(served) as client:
            await client.subscribe("tick:*")
            await until(lambda: list(served.hub.router.audiences))
            client.reset()
            await until(lambda: served.server.clients == 0)
        assert not list(served.hub.router.audiences)


@BOTH_LOOPS
async def test_a_client_that_leaves_in_the_middle_of_a_slow_replay_leaves_nothing_behind() -> None:
    """Its next row is due in hours: nothing may wait for that, or clients that come and go use up the memory."""
    async with served_hub() as served:
        for number in range(1, 4):
            served.hub.publish("tick", [tick("600000.SH", number)], number * 3_600_000_000)
        async with plain_client(served.url) as client:
            await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since="none")
            await client.send("replay", id=2, topics=["tick:*"], **{"from": 0, "to": 10}, speed=1)
            await client.data(1)
            ((outbox,),) = (audience.members for audience in served.hub.router.audiences)
            gone = ref(outbox)
            del outbox
        await until(lambda: not served.server.clients)
        await until(lambda: gc.collect() + 1 and gone() is None)


LOST_THIS_TURN = pytest.mark.parametrize(
    "headers", [(), ("Sec-WebSocket-Extensions: permessage-deflate",)], ids=["plain", "deflate"]
)


@BOTH_LOOPS
@LOST_THIS_TURN
async def test_rows_for_a_client_whose_line_was_cut_this_very_turn_harm_nobody(
    monkeypatch: pytest.MonkeyPatch, headers: tuple[str, ...]
) -> None:
    """A batch is published in the turn in which a connection is lost: the flush comes before the session has left."""
    connection_lost = HubConnection.connection_lost
    hits: list[HubConnection] = []

    def publish_and_lose(self: HubConnection, exc: Exception | None) -> None:
        if not hits:
            hits.append(self)
            served.publish(2)
        connection_lost(self, exc)

    monkeypatch.setattr(HubConnection, "connection_lost", publish_and_lose)
    async with served_hub(settings(compression=True)) as served, plain_client(served.url) as witness:
        await witness.request("subscribed", "subscribe", id=1, topics=["tick:600000.SH"], since="none")
        async with raw_client(served, *headers) as client:
            await client.subscribe("tick:*")
            await until(lambda: len(list(served.hub.router.audiences)) == 2)
            served.publish(1)
            await until(lambda: served.flushed)
            client.reset()
            await until(lambda: served.server.clients == 1)
        served.publish(3)
        messages = await witness.until(lambda message: isinstance(message, Data) and message.rows[-1][1] == 3)
    assert hits
    assert served.faults == []
    assert seqs_of(messages) == [1, 2, 3]


@BOTH_LOOPS
@LOST_THIS_TURN
async def test_rows_for_a_client_that_the_hub_cut_off_this_very_turn_harm_nobody(headers: tuple[str, ...]) -> None:
    async with served_hub(settings(compression=True)) as served, raw_client(served, *headers) as client:
        await client.subscribe("tick:*")
        await until(lambda: list(served.hub.router.audiences))
        (connection,) = served.server._clients
        connection.transport.abort()
        served.publish(1)
        served.hub.flush()
        await until(lambda: not served.server.clients)
    assert served.faults == []


@BOTH_LOOPS
@LOST_THIS_TURN
async def test_history_for_a_client_whose_line_was_cut_this_very_turn_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch, headers: tuple[str, ...]
) -> None:
    """A lagging client is pumped in the turn in which its connection is lost; the others' history must go on."""
    connection_lost = HubConnection.connection_lost
    hits: list[bool] = []

    def pump_and_lose(self: HubConnection, exc: Exception | None) -> None:
        if not hits and self.outbox is not None:
            hits.append(self.outbox.lagging)
            self.outbox.writable = True  # the socket took what was there, and then the line was cut
            served.delivery.pump_soon(self.outbox)
        connection_lost(self, exc)

    monkeypatch.setattr(HubConnection, "connection_lost", pump_and_lose)
    async with served_hub(settings(compression=True)) as served:
        for seq in range(1, MANY):
            served.publish(seq, value=token_hex(2000))  # such that compression is of little help
        async with raw_client(served, *headers) as client:
            await client.subscribe("tick:*", since={"time": 0})
            await until(lambda: served.server.pending_bytes)
            client.reset()
            await until(lambda: not served.server.clients)
        assert hits == [True]
        assert served.faults == []
        async with plain_client(served.url) as other:
            await other.send("snapshot", id=1, topics=["tick:*"])
            await other.data(1)


@BOTH_LOOPS
@BOTH_ENCODINGS
async def test_nothing_is_sent_after_the_answer_to_a_close(monkeypatch: pytest.MonkeyPatch, encoding: Encoding) -> None:
    """Rows are published and flushed in the very turn in which the client's close arrives."""
    data_received = HubConnection.data_received

    def receive_and_publish(self: HubConnection, data: bytes) -> None:
        data_received(self, data)
        if self.protocol.state is State.CLOSING:
            served.publish(2)
            served.hub.flush()

    monkeypatch.setattr(HubConnection, "data_received", receive_and_publish)
    async with served_hub() as served, raw_client(served, f"Sec-WebSocket-Protocol: argus.v1.{encoding}") as client:
        await client.subscribe("tick:*")
        await until(lambda: list(served.hub.router.audiences))
        served.publish(1)
        await until(lambda: served.flushed)
        await client.send(CLOSE, b"\x03\xe8")
        frames = await client.frames()
        assert served.hub.history.delivered_at == 2, "the second row was not flushed: nothing was tested"
    assert [frame.opcode for frame in frames].count(CLOSE) == 1
    assert (frames[-1].opcode, frames[-1].payload) == (CLOSE, b"\x03\xe8")
    assert served.faults == []


@BOTH_LOOPS
async def test_nothing_is_sent_after_the_hub_s_own_close() -> None:
    async with served_hub() as served, raw_client(served) as client:
        await client.subscribe("tick:*")
        await until(lambda: list(served.hub.router.audiences))
        draining = asyncio.create_task(served.server.drain("the end", 0.2))
        for seq in range(1, 50):
            served.publish(seq)
            await asyncio.sleep(0.001)
        frames, _ = await asyncio.gather(client.frames(), draining)
    assert [frame.opcode for frame in frames].count(CLOSE) == 1
    assert frames[-1].opcode == CLOSE
    assert served.faults == []


async def test_a_flood_of_requests_ends_with_4429() -> None:
    async with served_hub(settings(requests_per_s=1.0)) as served, plain_client(served.url) as client:
        for number in range(100):
            await client.socket.send(json.dumps({"op": "ping", "id": number}))
        kinds: list[str] = []
        with suppress(ConnectionClosed):
            while isinstance(message := await client.receive(), dict):
                kinds.append(message["type"])
    assert client.socket.close_code == 4429
    assert kinds[:5] == ["pong"] * 5
    assert set(kinds[5:]) == {"error"}
    assert len(kinds) < 20, "what comes after the flood is not answered"


# What clients send


def frames_of(*parts: tuple[int, bytes, bool]) -> bytes:
    """A client's frames: of each its opcode, its payload, and whether it ends the message."""
    return b"".join(
        bytes((0x80 * is_last | opcode, 0x80 | len(payload))) + bytes(4) + payload for opcode, payload, is_last in parts
    )


@BOTH_LOOPS
@pytest.mark.parametrize("size", [1, 7])
async def test_a_message_in_fragments_with_a_ping_between_them_is_one_request(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    received: list[str | bytes] = []
    receive = Session.receive

    def note_and_receive(self: Session, message: str | bytes, now_s: float, time_ms: int) -> None:
        received.append(message)
        receive(self, message, now_s, time_ms)

    monkeypatch.setattr(Session, "receive", note_and_receive)
    text, packed = '{"op":"ping","id":"迅"}', msgspec.msgpack.encode({"op": "ping", "id": 2})
    async with served_hub() as served, raw_client(served) as client:
        for opcode, said in ((TEXT, text.encode()), (BINARY, packed)):
            parts = [said[first : first + size] for first in range(0, len(said), size)]
            await client.send_raw(frames_of((opcode, parts[0], False), (CONT, b"", False), (PING, b"here", True)))
            await client.send_raw(frames_of(*((CONT, part, False) for part in parts[1:]), (CONT, b"", True)))
        await until(lambda: len(received) == 2)
        await client.send(CLOSE)
        frames = await client.frames()
    assert received == [text, packed]
    assert [frame.payload for frame in frames if frame.opcode == PONG] == [b"here"] * 2
    told = [json.loads(frame.payload) for frame in frames if frame.opcode == TEXT]
    assert [message["type"] for message in told] == ["welcome", "pong", "pong"]
    assert [message["id"] for message in told[1:]] == ["迅", 2]


@BOTH_LOOPS
async def test_text_that_is_not_utf_8_closes_with_1007_and_nothing_after_it_is_carried_out() -> None:
    async with served_hub() as served, raw_client(served) as client:
        bad = (TEXT, b'{"op":"ping","id":"\xff"}', True)
        await client.send_raw(frames_of((TEXT, b'{"op":"ping"}', True), bad, (TEXT, b'{"op":"ping"}', True)))
        frames = await client.frames()
    assert int.from_bytes(frames[-1].payload[:2]) == 1007
    assert [json.loads(frame.payload)["type"] for frame in frames[:-1]] == ["welcome", "pong"]


@BOTH_LOOPS
async def test_a_message_that_is_too_large_in_all_its_fragments_closes_with_1009() -> None:
    async with served_hub() as served, raw_client(served) as client:
        part = b"x" * 125
        many = (1 << 18) // len(part) + 1
        await client.send_raw(frames_of((TEXT, part, False), *([(CONT, part, False)] * many)))
        frames = await client.frames()
    assert int.from_bytes(frames[-1].payload[:2]) == 1009


@BOTH_LOOPS
async def test_frames_out_of_order_close_with_1002() -> None:
    async with served_hub() as served, raw_client(served) as client:
        await client.send_raw(frames_of((CONT, b"of nothing", True)))
        frames = await client.frames()
    assert int.from_bytes(frames[-1].payload[:2]) == 1002


@BOTH_LOOPS
async def test_an_idle_client_weighs_little() -> None:
    """Python's share of what the benchmark `idle` weighs; the rest are the transport and what the allocator wastes."""
    clients = 50
    async with served_hub() as served, AsyncExitStack() as stack:
        await stack.enter_async_context(raw_client(served))
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(clients):
                client = await stack.enter_async_context(raw_client(served))
                await client.subscribe("tick:600000.SH", since="none")
            await until(lambda: served.server.clients == clients + 1)
            gc.collect()
            weight = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
    assert weight / clients < 12 * 1024
