"""A connection that breaks, seen from both ends: what the client asks for again, and what its user gets."""

import asyncio

import pytest
from fake_hub import WELCOME, FakeHub, Peer, tick, until
from reconnecting import AT_ONCE, EPOCH, OTHER_EPOCH, beat, in_turn, position

from argus_client import (
    Backoff,
    CallbackError,
    ConnectError,
    ConnectionLost,
    Gap,
    HubError,
    Position,
    Reconnected,
    connect,
)
from argus_client.ledger import Since


async def test_what_was_unsubscribed_while_away_is_not_asked_for_again() -> None:
    away = asyncio.Event()

    async def first(peer: Peer) -> None:
        for _ in range(2):
            await peer.subscribed(await peer.expect("subscribe"))
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        assert request["topics"] == ["tick:B.SH"]
        await peer.subscribed(request)
        await peer.rows([tick("B.SH", 1)])
        await peer.idle()

    async with (
        FakeHub(in_turn(first, second)) as fake,
        connect(fake.url, reconnect=AT_ONCE, on_disconnect=lambda lost: away.set()) as hub,
    ):
        one, other = await hub.subscribe("tick:A.SH", since="none"), await hub.subscribe("tick:B.SH", since="none")
        await away.wait()
        assert not hub.connected
        await one.unsubscribe()
        assert (await anext(other)).code == "B.SH"
        assert hub.connected


async def test_a_subscription_begun_while_away_waits_for_the_hub_and_a_request_fails() -> None:
    away = asyncio.Event()

    async def first(peer: Peer) -> None:
        peer.break_off()

    async def second(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick(seq=1)])
        await peer.idle()

    async with (
        FakeHub(in_turn(first, second)) as fake,
        connect(fake.url, reconnect=AT_ONCE, on_disconnect=lambda lost: away.set()) as hub,
    ):
        await away.wait()
        with pytest.raises(ConnectionLost, match="1006"):
            await hub.ping()
        assert (await anext(hub.subscribe("tick:*"))).seq == 1


async def test_a_request_that_waits_for_its_reply_fails_as_soon_as_the_line_breaks() -> None:
    async def first(peer: Peer) -> None:
        for op in ("ping", "snapshot"):
            await peer.expect(op)
        peer.break_off()

    async def second(peer: Peer) -> None:
        await peer.say("pong", id=(await peer.expect("ping"))["id"], time=7)
        await peer.idle()

    back = asyncio.Event()
    async with (
        FakeHub(in_turn(first, second)) as fake,
        connect(fake.url, reconnect=AT_ONCE, on_reconnect=lambda back_: back.set()) as hub,
    ):
        asked = [hub.ping(), hub.snapshot("tick:*")]
        for result in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(result, ConnectionLost)
        await back.wait()
        assert (await hub.ping()).time == 7


@pytest.mark.parametrize(
    ("since", "asked"),
    [(None, None), ("none", "none"), ("open", "open"), ({"time": 5}, {"time": 5}), ({"time": 0}, {"time": 0})],
)
async def test_a_subscribe_that_was_not_answered_is_asked_again_as_it_was_asked_at_first(
    since: Since, asked: object
) -> None:
    async def first(peer: Peer) -> None:
        assert (await peer.expect("subscribe")).get("since") == asked
        peer.break_off()

    async def other_history(peer: Peer) -> None:  # there is no place yet that could be lost with the old one
        await peer.say("welcome", **{**WELCOME, "epoch": OTHER_EPOCH})
        await first(peer)

    async def last(peer: Peer) -> None:
        await peer.say("welcome", **{**WELCOME, "epoch": OTHER_EPOCH})
        request = await peer.expect("subscribe")
        assert request.get("since") == asked
        await peer.subscribed(request)
        await peer.rows([tick(seq=1)])
        await peer.idle()

    async def greet(peer: Peer) -> None:
        await peer.say("welcome", **WELCOME)
        await first(peer)

    gaps: list[Gap] = []
    async with (
        FakeHub(in_turn(greet, other_history, last), welcome=None) as fake,
        connect(fake.url, reconnect=AT_ONCE, on_gap=gaps.append) as hub,
    ):
        assert [(await anext(hub.subscribe("tick:*", since=since))).seq] == [1]
    assert gaps == []


async def test_a_subscribe_after_a_position_that_was_not_answered_is_asked_again_after_it() -> None:
    async def first(peer: Peer) -> None:
        await peer.say("welcome", **{**WELCOME, "epoch": OTHER_EPOCH})
        assert (await peer.expect("subscribe"))["since"] == position(70, A=3)
        peer.break_off()

    async def second(peer: Peer) -> None:
        await peer.say("welcome", **{**WELCOME, "epoch": OTHER_EPOCH})
        request = await peer.expect("subscribe")
        assert request["since"] == position(70, A=3)
        await peer.subscribed(request)
        await peer.rows([tick("A.SH", 1)])
        await peer.idle()

    kept = Position(epoch=EPOCH, at=70, seq={"tick:A.SH": 3})
    async with (
        FakeHub(in_turn(first, second), welcome=None) as fake,
        connect(fake.url, reconnect=AT_ONCE, resume=kept) as hub,
    ):
        assert (await anext(hub.subscribe("tick:*"))).seq == 1


async def test_what_was_accepted_is_taken_up_before_what_was_not_answered() -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.expect("subscribe")
        peer.break_off()

    async def second(peer: Peer) -> None:
        exact, pattern = await peer.expect("subscribe"), await peer.expect("subscribe")
        assert (exact["topics"], pattern["topics"]) == (["tick:A.SH"], ["tick:*"])
        await peer.subscribed(exact, replayed=1)
        await peer.rows([tick("A.SH", 1)], origin="replay", id=exact["id"])
        await peer.subscribed(pattern)
        await peer.rows([tick("B.SH", 1)])
        await peer.idle()

    async with FakeHub(in_turn(first, second)) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        exact = await hub.subscribe("tick:A.SH", since="none", mode="latest")
        pattern = await hub.subscribe("tick:*", since="none")
        assert [(await anext(rows)).code for rows in (exact, pattern)] == ["A.SH", "B.SH"]


async def test_a_subscribe_that_is_given_up_while_the_hub_is_away_is_not_sent_again() -> None:
    away = asyncio.Event()

    async def first(peer: Peer) -> None:
        await peer.expect("subscribe")
        peer.break_off()

    async def second(peer: Peer) -> None:
        assert (await peer.expect("subscribe"))["topics"] == ["tick:B.SH"]
        await peer.gone()

    def on_disconnect(lost: ConnectionLost) -> None:
        asked.cancel()
        away.set()

    async with (
        FakeHub(in_turn(first, second)) as fake,
        connect(fake.url, reconnect=AT_ONCE, on_disconnect=on_disconnect) as hub,
    ):
        asked = asyncio.ensure_future(hub.subscribe("tick:A.SH")._begin())
        await away.wait()
        other = asyncio.ensure_future(hub.subscribe("tick:B.SH")._begin())
        await until(lambda: len(fake.requests) == 2)
        other.cancel()
        await asyncio.wait([asked, other])
        assert asked.cancelled()


@pytest.mark.parametrize("code", [1006, 4401])
async def test_a_subscribe_that_will_never_be_answered_raises_what_ended_the_connection(code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.expect("subscribe")
        if code == 1006:
            peer.break_off()
        else:
            await peer.close(code, "no")

    async with FakeHub(script) as fake, connect(fake.url, reconnect=code != 1006) as hub:
        with pytest.raises(ConnectionLost, match=str(code)):
            await hub.subscribe("tick:*")


@pytest.mark.parametrize("code", [1007, 1009, 4400, 4401, 4403, 4409])
async def test_after_a_close_that_would_only_come_again_nobody_connects_again(code: int) -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick(seq=1)])
        await peer.close(code, "no")

    async with FakeHub(script) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        rows = await hub.subscribe("tick:*")
        assert (await anext(rows)).seq == 1
        with pytest.raises(ConnectionLost, match=f"{code}: no"):
            await anext(rows)
        assert not hub.connected
        assert len(fake.peers) == 1


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_after_a_refused_handshake_nobody_connects_again(status: int) -> None:
    async def script(peer: Peer) -> None:
        fake._refuse = (status, "no")
        await peer.close(1012, "restart")

    async with FakeHub(script) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        with pytest.raises(ConnectError, match=f"HTTP {status}: no") as caught:
            await hub.wait_closed()
        assert caught.value.status == status
        assert len(fake.handshakes) == 2


@pytest.mark.parametrize("code", [1000, 1001, 1011, 1012, 4408, 4429])
async def test_after_any_other_close_the_client_comes_back_however_often_it_is_refused(code: int) -> None:
    pauses: list[tuple[float, float]] = []

    def draw(least: float, most: float) -> float:
        pauses.append((least, most))
        if len(pauses) == 8:
            fake._refuse = None
        return 0.0

    async def first(peer: Peer) -> None:
        fake._refuse = (503, "not ready")
        await peer.close(code, "later")

    lost: list[ConnectionLost] = []
    back: list[Reconnected] = []
    told = asyncio.Event()

    def on_reconnect(one: Reconnected) -> None:
        back.append(one)
        told.set()

    async with (
        FakeHub(in_turn(first, Peer.idle)) as fake,
        connect(fake.url, reconnect=Backoff(uniform=draw), on_disconnect=lost.append, on_reconnect=on_reconnect),
    ):
        await told.wait()
    assert [one.code for one in lost] == [code]
    assert [(one.attempts, one.same_history) for one in back] == [(8, True)]
    assert pauses == [(0.5, most) for most in (1, 2, 4, 8, 16, 20, 20, 20)]


async def test_a_connection_that_brought_nothing_does_not_shorten_the_next_pause() -> None:
    bounds: list[float] = []
    done = asyncio.Event()

    def draw(least: float, most: float) -> float:
        bounds.append(most)
        if len(bounds) == 4:
            done.set()
        return 0.0

    async def close(peer: Peer) -> None:
        await peer.close(1012, "not yet")

    async def live(peer: Peer) -> None:
        await beat(peer, 200)
        await peer.close(1012, "again")

    script = in_turn(close, close, live, close, Peer.idle)
    async with FakeHub(script) as fake, connect(fake.url, reconnect=Backoff(uniform=draw)):
        await done.wait()
    assert bounds == [1, 2, 1, 2]


def test_pauses_are_random_between_half_a_second_and_a_bound_that_doubles_up_to_twenty() -> None:
    backoff = Backoff()
    for fruitless in range(0, 2000, 7):
        assert 0.5 <= backoff.pause_s(fruitless) <= min(20, 0.5 * 2 ** min(fruitless + 1, 32))
    assert len({backoff.pause_s(10) for _ in range(20)}) == 20
    with pytest.raises(ValueError, match="least_s <= most_s"):
        Backoff(least_s=2, most_s=1)


async def test_a_draining_hub_is_left_alone_until_it_has_closed_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    asleep = asyncio.Event()

    async def sleep(delay_s: float) -> None:
        waited.append(delay_s)
        asleep.set()
        await asyncio.Event().wait()

    async def script(peer: Peer) -> None:
        await peer.say("draining", reason="update", close_in_ms=60_000)
        await peer.close(1012, "update")

    async with FakeHub(script) as fake, connect(fake.url, reconnect=AT_ONCE):
        monkeypatch.setattr("argus_client.hub.asyncio.sleep", sleep)
        await asleep.wait()
        monkeypatch.undo()
    assert 30 < waited[0] <= 60


async def test_without_reconnect_the_loss_is_the_end() -> None:
    async def script(peer: Peer) -> None:
        await peer.close(1012, "restart")

    lost: list[ConnectionLost] = []
    async with FakeHub(script) as fake, connect(fake.url, reconnect=False, on_disconnect=lost.append) as hub:
        with pytest.raises(ConnectionLost, match="1012: restart"):
            await hub.wait_closed()
        assert len(fake.peers) == 1
    assert [one.code for one in lost] == [1012]


async def test_a_subscription_that_the_hub_no_longer_takes_ends_alone() -> None:
    async def first(peer: Peer) -> None:
        for _ in range(2):
            await peer.subscribed(await peer.expect("subscribe"))
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        await peer.refuse(await peer.expect("subscribe"), "bad_topic", "there is no universe @banks")
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick(seq=1)])
        await peer.idle()

    async with FakeHub(in_turn(first, second)) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        banks, ticks = await hub.subscribe("1m:@banks"), await hub.subscribe("tick:*")
        assert (await anext(ticks)).seq == 1
        with pytest.raises(HubError, match="no universe"):
            await anext(banks)


@pytest.mark.parametrize("named", [True, False])
async def test_a_subscription_that_cannot_be_resumed_just_now_is_tried_on_a_new_connection(named: bool) -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        peer.break_off_after_all()

    async def failing(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        await peer.refuse(request, "internal", "oops", retryable=True, **({} if named else {"id": None}))
        await peer.gone()

    async def last(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick(seq=1)])
        await peer.idle()

    async with FakeHub(in_turn(first, failing, last)) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        ticks = await hub.subscribe("tick:*", since="none")
        assert (await anext(ticks)).seq == 1


async def test_a_resume_that_the_hub_finds_too_fast_goes_on_when_it_wants_to_be_asked_again() -> None:
    async def first(peer: Peer) -> None:
        for _ in range(3):
            await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick("B.SH", 1)])
        peer.break_off_after_all()

    async def busy(peer: Peer) -> None:
        a, b, c = [await peer.expect("subscribe") for _ in range(3)]
        too_fast = {"retryable": True, "retry_in_ms": 1}
        await peer.subscribed(a)
        for request in (b, c):
            await peer.refuse(request, "rate_limited", "too many requests", **too_fast)
        b_again, c_again = [await peer.expect("subscribe") for _ in range(2)]
        assert [{**b, "id": 0}, {**c, "id": 0}] == [{**b_again, "id": 0}, {**c_again, "id": 0}]
        await peer.refuse(b_again, "rate_limited", "still too many", **too_fast)
        await peer.subscribed(c_again)
        b_again = await peer.expect("subscribe")
        assert b_again["since"] == position(100, B=1)
        await peer.subscribed(b_again, replayed=1)
        await peer.rows([tick("B.SH", 2)], origin="replay", id=b_again["id"])
        await peer.rows([tick(f"{code}.SH", 3) for code in "ABC"])
        await peer.idle()

    async with FakeHub(in_turn(first, busy)) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        a, b, c = [await hub.subscribe(f"tick:{code}.SH", since="none") for code in "ABC"]
        got = [[(await anext(rows)).seq for _ in range(count)] for rows, count in ((a, 1), (b, 3), (c, 1))]
    assert got == [[3], [1, 2, 3], [3]]


async def test_a_request_that_the_hub_finds_too_fast_is_refused_and_no_other() -> None:
    async def script(peer: Peer) -> None:
        snapshot, subscribe, ping = [await peer.expect(op) for op in ("snapshot", "subscribe", "ping")]
        await peer.refuse(subscribe, "rate_limited", "too many", retryable=True, retry_in_ms=5)
        await peer.say("pong", id=ping["id"], time=7)
        await peer.say("snapshot_done", id=snapshot["id"], count=0)
        await peer.refuse(await peer.expect("snapshot"), "rate_limited", "too many", retryable=True)
        await peer.idle()

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        snapshot = asyncio.ensure_future(hub.snapshot("tick:*"))
        await until(lambda: len(fake.requests) == 1)
        subscribe = asyncio.ensure_future(hub.subscribe("tick:*")._begin())
        await until(lambda: len(fake.requests) == 2)
        assert (await hub.ping()).time == 7
        with pytest.raises(HubError, match="rate_limited") as caught:
            await subscribe
        assert caught.value.retry_in_ms == 5
        assert await snapshot == []
        with pytest.raises(HubError, match="rate_limited"):
            await hub.snapshot("tick:*")


async def test_a_callback_goes_on_over_a_loss_like_an_iterator() -> None:
    async def first(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick(seq=1)])
        peer.break_off_after_all()

    async def second(peer: Peer) -> None:
        request = await peer.expect("subscribe")
        await peer.subscribed(request, replayed=1)
        await peer.rows([tick(seq=2)], origin="replay", id=request["id"])
        await peer.idle()

    seqs: list[int] = []
    async with FakeHub(in_turn(first, second)) as fake, connect(fake.url, reconnect=AT_ONCE) as hub:
        await hub.on("tick:*", since="none", callback=lambda row: seqs.append(row.seq))
        await until(lambda: len(seqs) == 2)
    assert seqs == [1, 2]


async def test_a_callback_for_the_loss_that_raises_ends_everything() -> None:
    def fail(lost: ConnectionLost) -> None:
        raise KeyError("oops")

    async def script(peer: Peer) -> None:
        peer.break_off()

    async with FakeHub(script) as fake, connect(fake.url, reconnect=AT_ONCE, on_disconnect=fail) as hub:
        with pytest.raises(CallbackError, match="the callback for ConnectionLost raised"):
            await hub.wait_closed()
