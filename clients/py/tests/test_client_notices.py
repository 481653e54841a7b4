"""Gaps of the source: each is told once, however often a resumed history shows it."""

import json
from typing import Any

import pytest
from fake_hub import FakeHub, Peer, tick
from reconnecting import AT_ONCE, EPOCH, beat, in_turn

from argus_client import Gap, Position, connect
from argus_client.notices import REMEMBERED_NOTICES, Notices, Recent

OUTAGE = {"cause": "upstream", "from_time": 5000, "to_time": 9000}
NEXT_OUTAGE = {"cause": "upstream", "from_time": 15000, "to_time": 19000}


def outage(number: int, request_id: int | None = 1) -> Gap:
    return Gap("tick:*", EPOCH, None, None, number, number + 1, "upstream", None, request_id)


async def test_a_notice_at_the_place_of_a_resume_is_told_once() -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"), at=100)
        await beat(peer, 120)
        await peer.gap("tick:*", **OUTAGE)
        await beat(peer, 120)
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        await peer.subscribed(request, at=130, replayed=1)
        await peer.gap("tick:*", **OUTAGE, id=request["id"])
        await peer.gap("tick:*", **NEXT_OUTAGE, id=request["id"])
        await peer.rows([tick(seq=1)], origin="replay", id=request["id"])
        await peer.idle()

    gaps: list[Gap] = []
    async with (
        FakeHub(in_turn(first, second)) as fake,
        connect(fake.url, reconnect=AT_ONCE, on_gap=gaps.append) as hub,
    ):
        rows = await hub.subscribe("tick:*", since="none", inline_gaps=True)
        got = [await anext(rows) for _ in range(3)]
    assert [gap.from_time for gap in gaps] == [5000, 15000]
    assert got[:2] == gaps


async def test_a_notice_is_told_once_also_where_the_bot_restarts_in_between() -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"), at=100)
        await peer.gap("tick:*", cause="upstream", from_time=1000, to_time=2000)
        await beat(peer, 110)
        await peer.gap("tick:*", **OUTAGE)
        await beat(peer, 120)  # the notice may have its place there, and then it is shown again
        await peer.rows([tick(seq=1)])
        await peer.idle()

    async def second(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert request["since"]["at"] == 120
        await peer.subscribed(request, at=130, replayed=1)
        await peer.gap("tick:*", **OUTAGE, id=request["id"])
        await peer.gap("tick:*", **NEXT_OUTAGE, id=request["id"])
        await peer.rows([tick(seq=1)], origin="replay", id=request["id"])  # it was in hand
        await peer.idle()

    gaps: list[Gap] = []
    async with FakeHub(in_turn(first, second)) as fake:
        async with connect(fake.url, on_gap=gaps.append) as hub, hub.subscribe("tick:*", since="none") as rows:
            await anext(rows)
            kept: Position = json.loads(json.dumps(hub.position()))
        assert kept["notices"] == [["tick:*", "upstream", None, None, 5000, 9000, None]]  # and none before the place
        async with (
            connect(fake.url, on_gap=gaps.append, resume=kept) as hub,
            hub.subscribe("tick:*", since="none", inline_gaps=True) as both,
        ):
            gap, row = await anext(both), await anext(both)
            assert (gap.from_time, row.seq) == (15000, 1)
    assert [gap.from_time for gap in gaps] == [1000, 5000, 15000]


async def test_a_notice_that_waits_to_be_read_is_not_kept_as_told() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.gap("tick:*", **OUTAGE)
        await peer.rows([tick(seq=1)])
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        rows = await hub.subscribe("tick:*", since="none", inline_gaps=True)
        await anext(rows)
        assert "notices" not in hub.position()  # it is in hand
        await anext(rows)
        assert len(hub.position()["notices"]) == 1


async def test_a_second_subscription_that_begins_with_a_notice_has_it_in_its_rows_and_the_callback_not_again() -> None:
    async def script(peer: Peer) -> None:
        first = await peer.expect("subscribe")
        await peer.subscribed(first)
        await peer.gap("tick:*", **OUTAGE, id=first["id"])
        second = await peer.expect("subscribe")
        await peer.subscribed(second)
        await peer.gap("tick:*", **OUTAGE, id=second["id"])
        await peer.idle()

    gaps: list[Gap] = []
    async with FakeHub(script) as fake, connect(fake.url, on_gap=gaps.append) as hub:
        first = await hub.subscribe("tick:A.SH", since="open", inline_gaps=True)
        second = await hub.subscribe("tick:B.SH", since="open", inline_gaps=True)
        assert [(await anext(rows)).from_time for rows in (first, second)] == [5000, 5000]
    assert len(gaps) == 1


def test_as_many_notices_are_remembered_as_the_bound_says() -> None:
    notices = Notices()
    assert all(notices.is_news(outage(number)) for number in range(REMEMBERED_NOTICES + 1))
    assert not notices.is_news(outage(1))
    assert notices.is_news(outage(0))  # the oldest is forgotten
    recent = Recent()
    for number in range(REMEMBERED_NOTICES + 5):
        recent.add(outage(number))
    assert len(list(recent)) == REMEMBERED_NOTICES


def test_live_notices_without_times_are_told_each_time_and_those_of_a_history_once() -> None:
    notices, nameless = Notices(), Gap("tick:*", EPOCH, None, None, None, None, "upstream", None)
    in_history = Gap("tick:*", EPOCH, None, None, None, None, "upstream", None, 7)
    assert notices.is_news(nameless)
    assert notices.is_news(nameless)
    assert not notices.is_news(in_history)


@pytest.mark.parametrize(
    "broken",
    [
        {"notices": {}},
        {"notices": [["tick:*", "upstream"]]},
        {"notices": [["tick:*", None, None, None, 1, 2, None]]},
        {"notices": [["tick:*", "upstream", None, None, "1", 2, None]]},
        {"partial": []},
        {"partial": {"tick:*": None}},
    ],
)
def test_a_position_with_notices_or_places_that_are_none_is_refused_at_once(broken: dict[str, Any]) -> None:
    kept: Any = {"epoch": EPOCH, **broken}
    with pytest.raises(ValueError, match="of a position must"):
        connect("ws://127.0.0.1:1/ws", resume=kept)
