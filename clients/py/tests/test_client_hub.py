import asyncio
from typing import Any

import pytest
from fake_hub import BAR_FIELDS, FakeHub, Peer, tick, until

from argus_client import (
    ArgusError,
    CallbackError,
    ConnectionLost,
    Draining,
    Gap,
    Heartbeat,
    HubError,
    ProtocolError,
    Slow,
    Tick,
    connect,
)
from argus_client.codec import Encoding


async def accept(peer: Peer, *rows: dict[str, Any]) -> None:
    """Accept one subscription, send rows, and wait until the client leaves."""
    request = await peer.expect("subscribe")
    await peer.subscribed(request)
    if rows:
        await peer.rows(rows)
    await peer.idle()


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
async def test_a_subscription_yields_snapshot_history_and_live_rows_in_order(encoding: Encoding) -> None:
    async def script(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert (request["topics"], request["since"]) == (["tick:600000.SH"], "open")
        await peer.subscribed(request, at=102, matched=1, replayed=2)
        await peer.rows([tick(seq=1), tick(seq=2)], origin="replay", id=request["id"])
        await peer.rows([tick(seq=3)])
        await peer.idle()

    async with (
        FakeHub(script) as fake,
        connect(fake.url, encoding=encoding) as hub,
        hub.subscribe("tick:600000.SH", since="open") as ticks,
    ):
        got = [await anext(ticks) for _ in range(3)]
        assert [(row.seq, row.origin) for row in got] == [(1, "replay"), (2, "replay"), (3, "live")]
        assert (ticks.matched, ticks.recovered, ticks.unrecovered, ticks.replayed) == (1, True, (), 2)
        assert hub.at == 102


async def test_a_snapshot_returns_its_rows() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.expect("snapshot")
        assert request["topics"] == ["tick:A.SH", "tick:B.SH"]
        await peer.rows([tick("A.SH", 5)], origin="snapshot", id=request["id"])
        await peer.rows([tick("B.SH", 6)], origin="snapshot", id=request["id"])
        await peer.say("snapshot_done", id=request["id"], count=2)
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        rows = await hub.snapshot("tick:A.SH", "tick:B.SH", row=Tick)
    assert [(row.topic, row.seq, row.origin) for row in rows] == [
        ("tick:A.SH", 5, "snapshot"),
        ("tick:B.SH", 6, "snapshot"),
    ]


async def test_topics_and_ping_are_answered() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.expect("topics")
        assert request["pattern"] == "tick:688*.SH"
        await peer.say("topics", id=request["id"], topics=[{"topic": "tick:688001.SH", "seq": 3, "time": 4}])
        request = await peer.expect("ping")
        await peer.say("pong", id=request["id"], time=1654047000000)
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        (info,) = await hub.topics("tick:688*.SH")
        assert (info.topic, info.seq, info.time) == ("tick:688001.SH", 3, 4)
        pong = await hub.ping()
        assert pong.time == 1654047000000
        assert pong.round_trip_ms > 0


async def test_a_refused_request_raises_and_the_connection_goes_on() -> None:
    async def script(peer: Peer) -> None:
        await peer.refuse(await peer.expect("subscribe"), "unknown_channel", "there is no channel 'tock'")
        await accept(peer, tick(seq=1))

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        with pytest.raises(HubError, match="unknown_channel: there is no channel 'tock'"):
            await hub.subscribe("tock:600000.SH")
        assert (await anext(hub.subscribe("tick:600000.SH"))).seq == 1


async def test_a_full_queue_stops_reading_from_the_socket_and_loses_nothing() -> None:
    messages, rows_each, queue_rows = 300, 500, 1000
    fat = [7.31] * 50  # so much that no kernel buffers all of it
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.subscribed(await peer.expect("subscribe"))
        for number in range(messages):
            await peer.rows([tick(seq=number * rows_each + n, askPrice=fat) for n in range(1, rows_each + 1)])
            sent += 1
        await peer.idle()

    async with (
        FakeHub(script) as fake,
        connect(fake.url, queue_rows=queue_rows) as hub,
        hub.subscribe("tick:*") as ticks,
    ):
        stalled = fake.peers[0].websocket.transport
        await until(lambda: ticks.queued >= queue_rows and stalled.get_write_buffer_size() > 0)
        for _ in range(1000):  # whatever else the loop has to do: nothing more is read
            await asyncio.sleep(0)
        assert ticks.queued == queue_rows
        assert sent < messages
        seqs = [(await anext(ticks)).seq for _ in range(messages * rows_each)]
    assert seqs == list(range(1, messages * rows_each + 1))
    assert sent == messages


async def test_an_iterator_goes_on_after_its_queue_was_full_however_often() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        await peer.subscribed(request)
        for seq in range(1, 2001, 5):
            await peer.rows([tick(seq=seq + n) for n in range(5)])
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url, queue_rows=3) as hub:
        got = 0
        async for row in hub.subscribe("tick:*"):
            got += 1
            assert row.seq == got
            if got == 2000:
                break
    assert got == 2000


async def test_a_request_from_inside_the_loop_is_answered_though_the_queue_is_full() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        await peer.subscribed(request)
        for seq in range(1, 101):
            await peer.rows([tick(seq=seq)])
        request = await peer.expect("ping")
        await peer.rows([tick(seq=101)])
        await peer.say("pong", id=request["id"], time=1)
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url, queue_rows=2) as hub:
        seqs = []
        async for row in hub.subscribe("tick:*"):
            seqs.append(row.seq)
            if row.seq == 1:
                assert (await hub.ping()).time == 1
            if row.seq == 101:
                break
    assert seqs == list(range(1, 102))


async def test_notices_reach_their_callbacks() -> None:
    async def script(peer: Peer) -> None:
        await peer.gap("tick:A.SH", **{"from": 3, "to": 9})
        await peer.say("slow", pending_bytes=5, limit_bytes=10)
        await peer.say("heartbeat", time=1, at=200, conflated=0, markets={})
        await peer.say("draining", reason="update", close_in_ms=0)
        await peer.close(1012, "update")

    told: list[object] = []
    async with FakeHub(script) as fake:
        notices: Any = {f"on_{name}": told.append for name in ("gap", "slow", "heartbeat", "draining")}
        async with connect(fake.url, reconnect=False, **notices) as hub:
            with pytest.raises(ConnectionLost, match="the hub restarts, or its history began anew") as caught:
                await hub.wait_closed()
    assert [type(notice) for notice in told] == [Gap, Slow, Heartbeat, Draining]
    assert (caught.value.code, caught.value.reason, caught.value.retryable) == (1012, "update", True)


async def test_rows_go_to_plain_and_asynchronous_callbacks() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick(seq=seq) for seq in range(1, 51)])
        await peer.close(1001, "bye")

    plain: list[int] = []
    slow: list[int] = []

    def at_once(row: Tick) -> None:
        plain.append(row.seq)

    async def in_a_while(row: Tick) -> None:
        await asyncio.sleep(0)
        slow.append(row.seq)

    async with FakeHub(script) as fake, connect(fake.url, reconnect=False, queue_rows=4) as hub:
        first = await hub.on("tick:*", callback=at_once)
        await hub.on("tick:600000.SH", callback=in_a_while)
        assert first.matched == 1
        with pytest.raises(ConnectionLost, match="1001: bye"):
            await hub.wait_closed()
    assert plain == slow == list(range(1, 51))


async def test_a_callback_that_raises_ends_the_connection_and_is_heard_of() -> None:
    def fail(row: Tick) -> None:
        raise ZeroDivisionError("oops")

    async with FakeHub(lambda peer: accept(peer, tick())) as fake, connect(fake.url) as hub:
        await hub.on("tick:600000.SH", callback=fail)
        with pytest.raises(CallbackError, match=r"rows of tick:600000.SH raised ZeroDivisionError\('oops'\)") as caught:
            await hub.wait_closed()
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        await fake.peers[0].gone()


async def test_an_error_that_only_callbacks_could_see_is_raised_when_the_block_is_left() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick()])
        await peer.expect("ping")
        await peer.close(4408, "slow consumer")

    async def look_away(url: str) -> None:
        async with connect(url, reconnect=False) as hub:
            await hub.on("tick:*", callback=lambda row: None)
            with pytest.raises(ConnectionLost):
                await hub.ping()

    async with FakeHub(script) as fake:
        with pytest.raises(ConnectionLost, match="this client read too slowly"):
            await look_away(fake.url)


async def test_an_error_in_a_notices_callback_ends_the_connection_too() -> None:
    async def script(peer: Peer) -> None:
        await peer.say("slow", pending_bytes=1, limit_bytes=2)
        await peer.gone()

    def fail(slow: Slow) -> None:
        raise ValueError("oops")

    async def look_away(url: str) -> None:
        async with connect(url, on_slow=fail) as hub:
            with pytest.raises(CallbackError):
                await hub.ping()

    async with FakeHub(script) as fake:
        with pytest.raises(CallbackError, match="the callback for Slow raised"):
            await look_away(fake.url)


@pytest.mark.parametrize(
    ("end", "code"),
    [(lambda peer: peer.close(1012, "restart"), 1012), (lambda peer: broken_off(peer), 1006)],
)
async def test_every_iterator_hears_of_a_lost_connection_after_its_last_row(end: Any, code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick(seq=1), tick(seq=2)])
        await peer.say("pong", id=(await peer.expect("ping"))["id"], time=0)
        await end(peer)

    async with FakeHub(script) as fake, connect(fake.url, reconnect=False) as hub:
        first, second = await hub.subscribe("tick:*"), await hub.subscribe("tick:600000.SH")
        await hub.ping()
        for rows in (first, second):
            assert [(await anext(rows)).seq for _ in range(2)] == [1, 2]
            with pytest.raises(ConnectionLost) as caught:
                await anext(rows)
            assert caught.value.code == code


async def broken_off(peer: Peer) -> None:
    peer.break_off()


async def test_a_hub_that_cannot_be_understood_is_told_so_and_left() -> None:
    async def script(peer: Peer) -> None:
        await peer.raw(b"\x93\xa4tick\x00\x91\x91\xa1A")
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        with pytest.raises(ProtocolError, match="a row of channel tick has 1 values instead of 20"):
            await hub.wait_closed()
        await fake.peers[0].gone()
        closed = fake.peers[0].websocket
        assert closed.close_code == 4400
        assert closed.close_reason == "a row of channel tick has 1 values instead of 20"


async def test_a_fault_of_the_client_itself_is_an_error_and_no_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    async with FakeHub(lambda peer: accept(peer, tick())) as fake, connect(fake.url) as hub:
        monkeypatch.setattr(hub._session, "receive", lambda message: 1 / 0)
        with pytest.raises(ArgusError, match="fault in the client: ZeroDivisionError"):
            await hub.subscribe("tick:*")


async def test_closing_stops_iterators_without_an_error_and_says_goodbye() -> None:
    async with FakeHub(lambda peer: accept(peer, tick())) as fake:
        hub = await connect(fake.url, reconnect=False)
        rows = await hub.subscribe("tick:*")

        async def read() -> list[int]:
            return [row.seq async for row in rows]

        reader = asyncio.ensure_future(read())
        await hub.close()
        assert await reader in ([], [1])
        await fake.peers[0].gone()
        assert fake.peers[0].websocket.close_code == 1000
        await hub.close()
        await hub.wait_closed()
        with pytest.raises(ConnectionLost, match="closed by this client"):
            await hub.ping()


async def test_a_request_on_a_connection_that_has_just_ended_raises() -> None:
    async def script(peer: Peer) -> None:
        await peer.close(1012, "restart")

    async with FakeHub(script) as fake, await connect(fake.url, reconnect=False) as hub:
        await fake.peers[0].gone()
        await until(lambda: hub._link._websocket.state.name == "CLOSED")
        with pytest.raises(ConnectionLost, match="1012: restart"):
            await hub._link.send({"op": "ping"})
        with pytest.raises(ConnectionLost, match="1012: restart"):
            await hub.ping()


async def test_closing_does_not_wait_for_a_user_who_does_not_read() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        for seq in range(1, 10_000):
            await peer.rows([tick(seq=seq)])

    async with FakeHub(script) as fake:
        async with connect(fake.url, queue_rows=1) as hub:
            rows = await hub.subscribe("tick:*")
            assert (await anext(rows)).seq == 1
        await fake.peers[0].gone()
        assert fake.peers[0].websocket.close_code == 1000
        assert hub._link._websocket.protocol.close_rcvd is not None, "the goodbye was not waited for"


async def test_a_row_class_that_does_not_fit_the_channel_is_refused() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.expect("snapshot")
        bar = dict.fromkeys(BAR_FIELDS, 1) | {"code": "A.SH"}
        await peer.rows([bar], channel="1m", origin="snapshot", id=request["id"])
        await peer.say("snapshot_done", id=request["id"], count=1)
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        with pytest.raises(ValueError, match="rows of channel 1m are Bar, not Tick"):
            hub.subscribe("tick:A.SH", "1m:A.SH", row=Tick)
        with pytest.raises(ValueError, match="rows of channel 1m are Bar, not Tick"):
            await hub.snapshot("1m:A.SH", row=Tick)
