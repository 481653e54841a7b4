"""What a client asks for again after a cut, and what its user gets of it: each row once, and every gap."""

import asyncio

import pytest
from fake_hub import WELCOME, FakeHub, Peer, tick
from reconnecting import AT_ONCE, EPOCH, OTHER_EPOCH, beat, in_turn, position

from argus_client import (
    Gap,
    Reconnected,
    connect,
)
from argus_client.ledger import Since


async def test_a_cut_client_goes_on_after_its_newest_rows_and_the_last_heartbeat() -> None:
    async def first(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        await peer.subscribed(request, at=100)
        await peer.rows([tick("A.SH", 1), tick("B.SH", 7)], origin="snapshot", id=request["id"])
        await peer.rows([tick("A.SH", 2)])
        await beat(peer, 140)
        await peer.rows([tick("A.SH", 3)])
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert (request["topics"], request["since"]) == (["tick:*"], position(140, A=3, B=7))
        await peer.subscribed(request, at=150, replayed=2)
        await peer.rows([tick("A.SH", 4), tick("C.SH", 1)], origin="replay", id=request["id"])
        await peer.rows([tick("A.SH", 5)])
        await peer.idle()

    async with FakeHub(in_turn(first, second)) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        rows = await hub.subscribe("tick:*")
        got = [await anext(rows) for _ in range(7)]
    assert [(row.code[0], row.seq) for row in got] == [
        ("A", 1), ("B", 7), ("A", 2), ("A", 3), ("A", 4), ("C", 1), ("A", 5),
    ]  # fmt: skip


@pytest.mark.parametrize("beats", [False, True])
async def test_a_client_cut_in_the_middle_of_its_history_resumes_without_a_hole(beats: bool) -> None:
    async def first(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        await peer.subscribed(request, at=100, replayed=4)
        await peer.rows([tick("A.SH", 1), tick("B.SH", 1)], origin="replay", id=request["id"])
        if beats:
            await beat(peer, 200)  # says nothing as long as the history is not whole
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert request["since"] == "open"
        await peer.subscribed(request, at=120, replayed=5)
        old = [tick("A.SH", 1), tick("B.SH", 1), tick("A.SH", 2), tick("B.SH", 2), tick("C.SH", 1)]
        await peer.rows(old, origin="replay", id=request["id"])
        await peer.rows([tick("A.SH", 3)])
        await peer.idle()

    gaps: list[Gap] = []
    async with (
        FakeHub(in_turn(first, second)) as fake,
        connect(fake.url, reconnect=AT_ONCE, on_gap=gaps.append) as hub,
    ):
        rows = await hub.subscribe("tick:*", since="open")
        got = [await anext(rows) for _ in range(6)]
    assert [(row.code[0], row.seq) for row in got] == [("A", 1), ("B", 1), ("A", 2), ("B", 2), ("C", 1), ("A", 3)]
    assert gaps == []


@pytest.mark.parametrize("since", ["open", {"time": 5}])
async def test_a_history_that_was_cut_goes_on_from_the_heartbeat_that_told_how_far_it_was(since: Since) -> None:
    async def first(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        await peer.subscribed(request, at=100, replayed=6)
        await peer.rows([tick("A.SH", 1), tick("B.SH", 1)], origin="replay", id=request["id"])
        await beat(peer, 40)
        await peer.rows([tick("A.SH", 2)], origin="replay", id=request["id"])
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert request["since"] == position(40, A=2, B=1)
        await peer.subscribed(request, at=120, replayed=4)
        await peer.rows([tick("C.SH", 1), tick("B.SH", 2)], origin="replay", id=request["id"])
        await beat(peer, 60)
        peer.break_off_after_all()

    async def third(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert request["since"] == position(60, A=2, B=2, C=1)
        await peer.subscribed(request, at=120, replayed=2)
        await peer.rows([tick("A.SH", 3), tick("C.SH", 2)], origin="replay", id=request["id"])
        await peer.rows([tick("A.SH", 4)])
        await peer.idle()

    gaps: list[Gap] = []
    async with (
        FakeHub(in_turn(first, second, third)) as fake,
        connect(fake.url, reconnect=AT_ONCE, on_gap=gaps.append) as hub,
    ):
        rows = await hub.subscribe("tick:*", since=since)
        got = [((row := await anext(rows)).code[0], row.seq) for _ in range(8)]
    assert got == [("A", 1), ("B", 1), ("A", 2), ("C", 1), ("B", 2), ("A", 3), ("C", 2), ("A", 4)]
    assert gaps == []


async def test_a_cut_history_of_all_that_there_is_goes_on_without_any_heartbeat() -> None:
    async def first(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert request["since"] == {"time": 0}
        await peer.subscribed(request, at=100, replayed=4)
        await peer.rows([tick("A.SH", 1), tick("A.SH", 2)], origin="replay", id=request["id"])
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert request["since"] == position(0, A=2)
        await peer.subscribed(request, at=100, replayed=2)
        await peer.rows([tick("B.SH", 1), tick("A.SH", 3)], origin="replay", id=request["id"])
        await peer.idle()

    async with FakeHub(in_turn(first, second)) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        rows = await hub.subscribe("tick:*", since={"time": 0})
        got = [((row := await anext(rows)).code[0], row.seq) for _ in range(4)]
        assert hub.position()["at"] == 100
    assert got == [("A", 1), ("A", 2), ("B", 1), ("A", 3)]


async def test_a_heartbeat_that_tells_of_several_histories_does_not_tell_where_one_of_them_is() -> None:
    async def first(peer: Peer) -> None:
        ticks, bars = await peer.expect("subscribe"), await peer.expect("subscribe")
        await peer.subscribed(ticks, at=100, replayed=2)
        await peer.subscribed(bars, at=100, replayed=2)
        await peer.rows([tick("A.SH", 7)], origin="replay", id=ticks["id"])
        await beat(peer, 3)  # where the second will begin, far before the first
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        assert [(await peer.expect("subscribe"))["since"] for _ in range(2)] == ["open", {"time": 1}]
        told.set()
        await peer.gone()

    told = asyncio.Event()
    async with FakeHub(in_turn(first, second)) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        orders = hub.subscribe("tick:*", since="open"), hub.subscribe("1m:*", since={"time": 1})
        await asyncio.gather(*(one._begin() for one in orders))
        await told.wait()


async def test_a_snapshot_that_had_not_come_whole_is_asked_for_again_and_rows_that_had_are_resumed() -> None:
    async def first(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        await peer.subscribed(request, at=100, matched=2)
        await peer.rows([tick("A.SH", 5)], origin="snapshot", id=request["id"])
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert request["since"] == position(None, A=5)
        await peer.subscribed(request, at=120, matched=2, replayed=1)
        await peer.rows([tick("B.SH", 9)], origin="snapshot", id=request["id"])
        await peer.rows([tick("A.SH", 6)], origin="replay", id=request["id"])
        await peer.idle()

    async with FakeHub(in_turn(first, second)) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        rows = await hub.subscribe("tick:*")
        assert [((row := await anext(rows)).code[0], row.seq) for _ in range(3)] == [("A", 5), ("B", 9), ("A", 6)]


async def test_rows_that_come_again_are_handed_over_once() -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick(seq=seq) for seq in (1, 2, 2, 1, 3)])
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        await peer.subscribed(request, replayed=3)
        await peer.rows([tick(seq=seq) for seq in (2, 3, 4)], origin="replay", id=request["id"])
        await peer.rows([tick(seq=seq) for seq in (4, 5)])
        await peer.idle()

    async with FakeHub(in_turn(first, second)) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        rows = await hub.subscribe("tick:*", since="none")
        assert [(await anext(rows)).seq for _ in range(5)] == [1, 2, 3, 4, 5]


async def test_history_that_is_sent_for_one_subscription_reaches_all_that_lack_it() -> None:
    async def first(peer: Peer) -> None:
        for _ in range(2):
            await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick("A.SH", 1)])
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        pattern, exact = await peer.expect("subscribe"), await peer.expect("subscribe")
        await peer.subscribed(pattern, replayed=1)
        await peer.subscribed(exact)  # what it asks for is observed already
        await peer.rows([tick("A.SH", 2)], origin="replay", id=pattern["id"])
        await peer.idle()

    async with FakeHub(in_turn(first, second)) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        pattern = await hub.subscribe("tick:*", since="none")
        exact = await hub.subscribe("tick:A.SH", since="none")
        for rows in (pattern, exact):
            assert [(await anext(rows)).seq for _ in range(2)] == [1, 2]


async def test_history_that_is_sent_for_a_subscription_that_has_left_still_reaches_those_that_lack_it() -> None:
    async def first(peer: Peer) -> None:
        for _ in range(2):
            await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick("A.SH", 1)])
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        exact, pattern = await peer.expect("subscribe"), await peer.expect("subscribe")
        await peer.subscribed(exact, replayed=2)
        await peer.subscribed(pattern)
        await peer.rows([tick("A.SH", 2)], origin="replay", id=exact["id"])
        await peer.say("unsubscribed", id=(await peer.expect("unsubscribe"))["id"])
        await peer.rows([tick("A.SH", 3)], origin="replay", id=exact["id"])
        await peer.idle()

    gaps: list[Gap] = []
    async with (
        FakeHub(in_turn(first, second)) as fake,
        connect(fake.url, reconnect=AT_ONCE, on_gap=gaps.append) as hub,
    ):
        exact = await hub.subscribe("tick:A.SH", since="none")
        pattern = await hub.subscribe("tick:*", since="none")
        assert [(await anext(exact)).seq for _ in range(2)] == [1, 2]
        await exact.unsubscribe()
        assert [(await anext(pattern)).seq for _ in range(3)] == [1, 2, 3]
    assert gaps == []


async def test_subscriptions_of_every_row_are_asked_for_before_those_of_the_latest() -> None:
    async def first(peer: Peer) -> None:
        for _ in range(2):
            await peer.subscribed(await peer.expect("subscribe"))
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        every, latest = await peer.expect("subscribe"), await peer.expect("subscribe")
        assert (every["topics"], latest["topics"], latest["mode"]) == (["tick:A.SH"], ["tick:*"], "latest")
        await peer.subscribed(every)
        await peer.subscribed(latest)
        await peer.rows([tick("B.SH", 1), tick("B.SH", 9)])  # a jump is conflation
        await peer.idle()

    gaps: list[Gap] = []
    async with (
        FakeHub(in_turn(first, second)) as fake,
        connect(fake.url, reconnect=AT_ONCE, on_gap=gaps.append) as hub,
    ):
        latest = await hub.subscribe("tick:*", since="none", mode="latest")
        exact = await hub.subscribe("tick:A.SH", since="none")  # a name keeps it
        assert [(await anext(latest)).seq for _ in range(2)] == [1, 9]
        assert exact.queued == 0
    assert gaps == []


async def test_a_new_epoch_is_asked_for_by_the_old_position_and_its_gap_is_told() -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"), at=100)
        await peer.rows([tick("A.SH", 8)])
        await peer.close(1012, "history began anew")

    async def second(peer: Peer) -> None:
        await peer.say("welcome", **{**WELCOME, "epoch": OTHER_EPOCH, "at": 3})
        request = await peer.expect("subscribe")
        assert request["since"] == position(100, A=8)
        await peer.subscribed(request, at=3, recovered=False, unrecovered=["tick:A.SH"])
        await peer.gap("tick:A.SH", **{"from": 9, "id": request["id"], "cause": "epoch"})
        await peer.rows([tick("A.SH", 2)], origin="snapshot", id=request["id"])
        await peer.rows([tick("A.SH", 3)])
        await peer.idle()

    async def greet(peer: Peer) -> None:
        await peer.say("welcome", **WELCOME)
        await first(peer)

    gaps: list[Gap] = []
    back: list[Reconnected] = []
    async with (
        FakeHub(in_turn(greet, second), welcome=None) as fake,
        connect(fake.url, reconnect=AT_ONCE, on_gap=gaps.append, on_reconnect=back.append) as hub,
    ):
        rows = await hub.subscribe("tick:*", since="none")
        assert [(await anext(rows)).seq for _ in range(3)] == [8, 2, 3]
        assert hub.epoch == OTHER_EPOCH
        assert hub.welcome.at == 3
    assert [(gap.topic, gap.epoch, gap.from_seq, gap.to_seq, gap.cause) for gap in gaps] == [
        ("tick:A.SH", EPOCH, 9, None, "epoch")
    ]
    assert [one.same_history for one in back] == [False]


async def test_an_unfinished_history_of_another_epoch_is_told_as_lost_and_begun_again() -> None:
    async def first(peer: Peer) -> None:
        await peer.say("welcome", **WELCOME)
        request = await peer.expect("subscribe")
        await peer.subscribed(request, at=100, replayed=5)
        await peer.rows([tick("A.SH", 1)], origin="replay", id=request["id"])
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        await peer.say("welcome", **{**WELCOME, "epoch": OTHER_EPOCH})
        request = await peer.expect("subscribe")
        assert request["since"] == {"time": 5}
        await peer.subscribed(request, at=3, replayed=1)
        await peer.rows([tick("A.SH", 1)], origin="replay", id=request["id"])
        await peer.idle()

    async with FakeHub(in_turn(first, second), welcome=None) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        rows = await hub.subscribe("tick:A.SH", since={"time": 5}, inline_gaps=True)
        row, gap, again = [await anext(rows) for _ in range(3)]
    assert (row.seq, again.seq) == (1, 1)
    assert (gap.topic, gap.epoch, gap.from_seq, gap.to_seq, gap.cause) == ("tick:A.SH", EPOCH, 2, None, "epoch")


async def test_a_gap_that_covers_rows_that_came_is_told_only_for_the_rest_and_a_jump_without_one_is_told_too() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick("A.SH", 4)])
        await peer.gap("tick:A.SH", **{"from": 1, "to": 3})
        await peer.gap("tick:A.SH", **{"from": 3, "to": 6})
        await peer.rows([tick("A.SH", 7), tick("A.SH", 10)])
        await peer.idle()

    gaps: list[Gap] = []
    async with FakeHub(script) as fake, connect(fake.url, on_gap=gaps.append) as hub:
        rows = await hub.subscribe("tick:*", since="none")
        assert [(await anext(rows)).seq for _ in range(3)] == [4, 7, 10]
    assert [(gap.from_seq, gap.to_seq, gap.cause) for gap in gaps] == [(5, 6, "evicted"), (8, 9, "unannounced")]
