import asyncio
import gc
from typing import Any

import pytest
from fake_hub import FakeHub, Peer, tick, until

from argus_client import ConnectionLost, Gap, HubError, connect


async def test_an_iterator_begins_when_it_is_iterated_and_ends_with_its_block() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick(seq=1)])
        request = await peer.expect("unsubscribe")
        assert request["topics"] == ["tick:A.SH", "tick:600000.SH"]
        await peer.rows([tick(seq=2)])
        await peer.say("unsubscribed", id=request["id"])
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        rows = hub.subscribe("tick:A.SH", "tick:600000.SH")
        assert repr(rows) == "Subscription(tick:A.SH, tick:600000.SH: not begun)"
        with pytest.raises(RuntimeError, match="not known before the subscription has begun"):
            assert rows.matched
        async with rows:
            assert (await anext(rows)).seq == 1
            assert repr(rows) == "Subscription(tick:A.SH, tick:600000.SH: 0 rows queued)"
        assert repr(rows) == "Subscription(tick:A.SH, tick:600000.SH: ended)"
        assert [row async for row in rows] == []
        await rows.unsubscribe()


async def test_leaving_the_loop_of_a_nameless_subscription_ends_it() -> None:
    left = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick(seq=seq) for seq in range(1, 10)])
        request = await peer.expect("unsubscribe")
        await peer.say("unsubscribed", id=request["id"])
        left.set()
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url, queue_rows=2) as hub:
        async for row in hub.subscribe("tick:*"):
            assert row.seq == 1
            break
        gc.collect()
        await left.wait()


async def test_a_named_subscription_can_be_read_again_after_its_loop_was_left() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick(seq=seq) for seq in range(1, 5)])
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        rows = hub.subscribe("tick:*")
        seqs = []
        for last in (2, 4):
            async for row in rows:
                seqs.append(row.seq)
                if row.seq == last:
                    break
        assert seqs == [1, 2, 3, 4]


async def test_unsubscribing_frees_a_connection_that_a_full_queue_had_stopped() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.subscribed(await peer.expect("subscribe"))
        for seq in range(1, 101):
            await peer.rows([tick("A.SH", seq)])
        request = await peer.expect("unsubscribe")
        await peer.say("unsubscribed", id=request["id"])
        await peer.rows([tick("B.SH", 1)])
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url, queue_rows=2) as hub:
        unread, read = await hub.subscribe("tick:A.SH"), await hub.subscribe("tick:B.SH")
        await until(lambda: unread.queued >= 2)
        await unread.unsubscribe()
        assert unread.queued == 0
        assert (await anext(read)).code == "B.SH"


async def test_a_subscription_that_was_refused_cannot_be_read() -> None:
    async def script(peer: Peer) -> None:
        await peer.refuse(await peer.expect("subscribe"), "forbidden", "not for you")
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        rows = hub.subscribe("tick:*")
        with pytest.raises(HubError, match="forbidden: not for you"):
            await anext(rows)
        with pytest.raises(RuntimeError, match="this subscription has ended: make a new one"):
            await anext(rows)
        await rows.unsubscribe()


async def test_gaps_are_yielded_at_their_place_where_that_is_wanted() -> None:
    async def script(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        await peer.subscribed(request, recovered=False, unrecovered=["tick:A.SH"], replayed=1)
        await peer.gap("tick:A.SH", **{"from": 1, "to": 4, "id": request["id"]})
        await peer.rows([tick("A.SH", 5)], origin="replay", id=request["id"])
        await peer.idle()

    async with (
        FakeHub(script) as fake,
        connect(fake.url) as hub,
        hub.subscribe("tick:A.SH", since={"time": 0}, inline_gaps=True) as rows,
    ):
        assert (rows.recovered, rows.unrecovered) == (False, ("tick:A.SH",))
        gap, row = await anext(rows), await anext(rows)
        assert isinstance(gap, Gap)
        assert (gap.from_seq, gap.to_seq, gap.cause) == (1, 4, "evicted")
        assert row.seq == 5


async def test_cancelling_a_block_does_not_wait_for_the_hub() -> None:
    begun = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.expect("unsubscribe")  # and no answer
        await peer.gone()

    async with FakeHub(script) as fake, connect(fake.url) as hub:

        async def read() -> None:
            async with hub.subscribe("tick:*") as rows:
                begun.set()
                await anext(rows)

        reader = asyncio.ensure_future(read())
        await begun.wait()
        reader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reader


async def test_a_refused_unsubscribe_is_raised_to_who_waits_for_it_and_logged_where_nobody_does(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.subscribed(await peer.expect("subscribe"))
            await peer.rows([tick()])
            await peer.refuse(await peer.expect("unsubscribe"), "rate_limited", "too fast")
        await peer.say("pong", id=(await peer.expect("ping"))["id"], time=0)
        await peer.gone()

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        rows = await hub.subscribe("tick:*")
        with pytest.raises(HubError, match="rate_limited: too fast"):
            await rows.unsubscribe()
        async for _ in hub.subscribe("tick:*"):
            break
        gc.collect()
        await until(lambda: len(fake.requests) == 4)
        await hub.ping()
    assert caplog.messages == ["could not unsubscribe: rate_limited: too fast"]


async def test_a_lost_connection_counts_as_unsubscribed() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.close(1012)

    async with FakeHub(script) as fake, connect(fake.url, reconnect=False) as hub:
        with pytest.raises(ConnectionLost):
            async with hub.subscribe("tick:*") as rows:
                await anext(rows)


async def test_two_tasks_cannot_read_one_subscription() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url) as hub, hub.subscribe("tick:*") as rows:
        first: asyncio.Future[Any] = asyncio.ensure_future(rows.__anext__())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task is reading"):
            await anext(rows)
        first.cancel()
