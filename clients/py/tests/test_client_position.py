"""Where a client is: what its position covers, and how a bot that starts again goes on from it."""

import asyncio
import json
from typing import Any

import pytest
from fake_hub import FakeHub, Peer, tick, until
from reconnecting import AT_ONCE, EPOCH, beat, in_turn, position

from argus_client import (
    Hub,
    Position,
    Subscription,
    connect,
)


async def test_a_position_covers_only_rows_whose_handler_has_returned() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"), at=100)
        await beat(peer, 120)
        await peer.rows([tick("A.SH", 1), tick("A.SH", 2), tick("B.SH", 4)])
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        rows = await hub.subscribe("tick:*", since="none")
        await until(lambda: rows.queued == 3)
        seen = []
        for _ in range(3):
            await anext(rows)
            seen.append(hub.position()["seq"])
        waiting = asyncio.ensure_future(rows.__anext__())
        await asyncio.sleep(0)
        seen.append(hub.position()["seq"])
        assert hub.position() == {"epoch": EPOCH, "at": 120, "seq": seen[-1], "unfinished": []}
        waiting.cancel()
    assert seen == [
        {"tick:A.SH": 0, "tick:B.SH": 3},
        {"tick:A.SH": 1, "tick:B.SH": 3},
        {"tick:A.SH": 2, "tick:B.SH": 3},
        {"tick:A.SH": 2, "tick:B.SH": 4},
    ]


async def test_a_position_survives_a_restart_of_the_bot() -> None:
    async def first(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert request["since"] == "open"
        await peer.subscribed(request, at=100)
        await peer.rows([tick("A.SH", 1), tick("A.SH", 2), tick("A.SH", 3)])
        await peer.idle()

    async def second(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert request["since"] == position(100, A=1)
        await peer.subscribed(request, at=200, replayed=3)
        await peer.rows([tick("A.SH", seq) for seq in (2, 3, 4)], origin="replay", id=request["id"])
        await peer.idle()

    kept = ""
    async with FakeHub(in_turn(first, second)) as fake:
        async with connect(fake.url) as hub:
            async for row in hub.subscribe("tick:*", since="open"):
                if row.seq == 2:  # it crashes here: this row was not handled
                    break
        kept = json.dumps(hub.position())  # also after all has ended
        saved: Position = json.loads(kept)
        async with connect(fake.url, resume=saved) as hub, hub.subscribe("tick:*", since="open") as rows:
            assert hub.position()["seq"] == {"tick:A.SH": 1}
            assert [(await anext(rows)).seq for _ in range(3)] == [2, 3, 4]


async def test_a_bot_restarted_in_the_middle_of_its_history_gets_the_rest_of_it() -> None:
    async def first(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        await peer.subscribed(request, at=100, replayed=4)
        await peer.rows([tick("A.SH", 1), tick("A.SH", 2)], origin="replay", id=request["id"])
        await peer.idle()

    async def second(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert request["since"] == "open"
        await peer.subscribed(request, at=100, replayed=4)
        old = [tick("A.SH", 1), tick("A.SH", 2), tick("B.SH", 1), tick("B.SH", 2)]
        await peer.rows(old, origin="replay", id=request["id"])
        await peer.idle()

    async with FakeHub(in_turn(first, second)) as fake:
        async with connect(fake.url) as hub, hub.subscribe("tick:*", since="open") as rows:
            for _ in range(2):
                await anext(rows)
            kept = hub.position()
        assert kept == {"epoch": EPOCH, "at": None, "seq": {"tick:A.SH": 1}, "unfinished": ["tick:*"]}
        async with connect(fake.url) as hub, hub.subscribe("tick:*", since="open", resume=kept) as rows:
            got = [await anext(rows) for _ in range(3)]
    assert [(row.code[0], row.seq) for row in got] == [("A", 2), ("B", 1), ("B", 2)]


async def test_a_bot_restarted_in_the_middle_of_its_history_goes_on_from_where_that_was_known_to_be() -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"), at=90)
        ticks = await peer.expect("subscribe")
        await peer.subscribed(ticks, at=100, replayed=4)
        await peer.rows([tick("A.SH", 1), tick("A.SH", 2)], origin="replay", id=ticks["id"])
        await beat(peer, 40)
        await peer.rows([tick("A.SH", 3)], origin="replay", id=ticks["id"])
        await peer.idle()

    async def second(peer: Peer) -> None:
        bars = await peer.expect("subscribe")
        assert bars["since"] == position(90)
        await peer.subscribed(bars, at=90)
        ticks = await peer.expect("subscribe")
        assert ticks["since"] == position(40, A=2)
        await peer.subscribed(ticks, at=100, replayed=2)
        await peer.rows([tick("A.SH", 3), tick("B.SH", 1)], origin="replay", id=ticks["id"])
        await peer.idle()

    async def begin(hub: Hub) -> Subscription[Any]:
        nonlocal bars
        bars = await hub.subscribe("1m:*", since="none")
        return await hub.subscribe("tick:*", since="open")

    bars: Subscription[Any]
    async with FakeHub(in_turn(first, second)) as fake:
        async with connect(fake.url) as hub:
            rows = await begin(hub)
            for _ in range(3):
                await anext(rows)
            kept = hub.position()
        assert kept == {
            "epoch": EPOCH,
            "at": 90,
            "seq": {"tick:A.SH": 2},
            "unfinished": [],
            "partial": {"tick:*": 40},
        }
        async with connect(fake.url, resume=json.loads(json.dumps(kept))) as hub:
            rows = await begin(hub)
            assert [((row := await anext(rows)).code[0], row.seq) for _ in range(2)] == [("A", 3), ("B", 1)]
            assert hub.position()["at"] == 90


@pytest.mark.parametrize("broken", [{}, {"epoch": ""}, {"epoch": "e", "seq": {"a": "1"}}, {"epoch": "e", "at": -1}, 7])
def test_what_is_no_position_is_refused_at_once(broken: Any) -> None:
    with pytest.raises(ValueError, match="position"):
        connect("ws://127.0.0.1:1/ws", resume=broken)


async def test_a_position_too_long_for_the_hub_is_shortened_and_nothing_comes_twice() -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"), at=100)
        await peer.rows([tick(f"{n:06d}.SH", 1) for n in range(100)])
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert 0 < len(request["since"]["seq"]) < 100
        await peer.subscribed(request, at=200, replayed=101)
        rows = [tick(f"{n:06d}.SH", 1) for n in range(100)]
        await peer.rows([*rows, tick("000000.SH", 2)], origin="replay", id=request["id"])
        await peer.idle()

    welcome = {"limits": {"message_bytes": 2000}}
    async with (
        FakeHub(in_turn(first, second), welcome=welcome) as fake,
        connect(fake.url, reconnect=AT_ONCE) as hub,
    ):
        rows = await hub.subscribe("tick:*", since="none")
        assert [(await anext(rows)).seq for _ in range(101)] == [1] * 100 + [2]
