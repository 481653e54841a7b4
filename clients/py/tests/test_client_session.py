"""The session without a socket: what it sends is caught, what it receives is made here."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest
from fake_hub import TICK_FIELDS, WELCOME, tick, until

from argus_client.callbacks import Callbacks
from argus_client.errors import CallbackError, ConnectionLost, HubError, ProtocolError, TopicError
from argus_client.inbox import Inbox
from argus_client.ledger import Order, Since
from argus_client.messages import (
    Data,
    Gap,
    Heartbeat,
    Pong,
    Reply,
    Result,
    SnapshotDone,
    Subscribed,
    Unknown,
    Unsubscribed,
    Welcome,
    parse,
)
from argus_client.rows import Origin, Schemas
from argus_client.session import Session
from argus_client.topics import TopicSet

SCHEMAS = Schemas({"tick": TICK_FIELDS})
ACCEPTED = Subscribed(at=110, matched=1, recovered=True, unrecovered=(), replayed=0)
GAP = Gap("tick:A.SH", "e", 1, 2, None, None, "evicted", None)


def welcome() -> Welcome:
    message = parse({"type": "welcome", **WELCOME})
    assert isinstance(message, Welcome)
    return message


class Talk:
    """A session, and the hub's half of the conversation."""

    def __init__(self, **callbacks: Any) -> None:
        self.sent: list[dict[str, Any]] = []
        self.session = Session(welcome(), self._catch, Callbacks(**callbacks))
        self.sender = asyncio.ensure_future(self.session.send_orders())

    async def _catch(self, request: Any) -> None:
        self.sent.append(request)

    async def ask(self, question: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Start a question, and return when the request is sent."""
        asked = len(self.sent)
        task = asyncio.ensure_future(question)
        await until(lambda: len(self.sent) > asked or task.done())
        return task

    def answer(self, result: Result | HubError, request_id: int | None = None) -> None:
        """Answer the newest request, or another."""
        self.session.receive(Reply(self.sent[-1]["id"] if request_id is None else request_id, result))

    def order(self, *topics: str, since: Since = None) -> tuple[Inbox, Order]:
        inbox = Inbox(", ".join(topics), 100, self.session.brake, with_gaps=True)
        return inbox, Order(TopicSet.of(topics), since)

    async def join(self, *topics: str) -> Inbox:
        """Subscribe, and let the hub accept."""
        inbox, order = self.order(*topics)
        task = await self.ask(self.session.subscribe(inbox, order))
        self.answer(ACCEPTED)
        await task
        return inbox

    def rows(self, *rows: dict[str, Any], origin: Origin = "live", request_id: int | None = None) -> None:
        made = SCHEMAS.rows("tick", origin, [list(row.values()) for row in rows])
        self.session.receive(Data(origin, made, request_id))


def content(inbox: Inbox) -> list[Any]:
    got: list[Any] = []
    while inbox:
        step = inbox.get()
        try:
            step.send(None)
        except StopIteration as done:
            got.append(done.value if isinstance(done.value, Gap) else (done.value.code, done.value.seq))
    return got


async def test_a_subscribe_says_only_what_was_asked() -> None:
    talk = Talk()
    await talk.join("tick:A.SH", "tick:B.SH")
    inbox, order = talk.order("tick:C.SH", since={"time": 5})
    await talk.ask(talk.session.subscribe(inbox, replace(order, mode="latest", interval_ms=500)))
    plain, full = talk.sent
    assert plain == {"op": "subscribe", "topics": ["tick:A.SH", "tick:B.SH"], "id": plain["id"]}
    assert full == {
        "op": "subscribe",
        "topics": ["tick:C.SH"],
        "since": {"time": 5},
        "mode": "latest",
        "interval_ms": 500,
        "id": full["id"],
    }
    talk.session.end(None)


async def test_replies_find_their_requests_by_id_in_any_order() -> None:
    talk = Talk()
    first = await talk.ask(talk.session.ping())
    second = await talk.ask(talk.session.ping())
    talk.answer(Pong(2), talk.sent[1]["id"])
    talk.answer(Pong(1), talk.sent[0]["id"])
    assert (await first, await second) == (Pong(1), Pong(2))


async def test_a_subscription_gets_rows_from_its_reply_on_and_not_before() -> None:
    talk = Talk()
    inbox, order = talk.order("tick:A.SH")
    task = await talk.ask(talk.session.subscribe(inbox, order))
    talk.rows(tick("A.SH", 1))
    talk.answer(ACCEPTED)
    talk.rows(tick("A.SH", 2))  # the task that asked has not run yet
    assert content(inbox) == [("A.SH", 2)]
    assert await task == ACCEPTED
    assert talk.session.at == 110


async def test_a_live_row_goes_to_both_subscriptions_that_cover_it() -> None:
    talk = Talk()
    exact, pattern = await talk.join("tick:A.SH"), await talk.join("tick:*")
    talk.rows(tick("A.SH", 1), tick("B.SH", 1))
    assert content(exact) == [("A.SH", 1)]
    assert content(pattern) == [("A.SH", 1), ("B.SH", 1)]


async def test_history_goes_to_the_subscription_that_asked_for_it() -> None:
    talk = Talk()
    pattern, exact = await talk.join("tick:*"), await talk.join("tick:@沪深A股".replace("tick", "1m"))
    first, second = (request["id"] for request in talk.sent)
    talk.rows(tick("A.SH", 1), origin="snapshot", request_id=first)
    talk.rows(tick("B.SH", 1), origin="replay", request_id=second)
    assert content(pattern) == [("A.SH", 1)]
    assert content(exact) == [("B.SH", 1)]


async def test_live_rows_go_to_everyone_even_if_they_carry_the_id_of_one() -> None:
    talk = Talk()
    pattern, exact = await talk.join("tick:*"), await talk.join("tick:A.SH")
    talk.rows(tick("A.SH", 5), request_id=talk.sent[0]["id"])
    assert content(pattern) == content(exact) == [("A.SH", 5)]


async def test_a_full_queue_brakes_again_as_soon_as_the_reply_that_was_waited_for_is_there() -> None:
    talk = Talk()
    await talk.join("tick:*")
    talk.rows(*[tick("A.SH", seq) for seq in range(1, 101)])
    assert talk.session.brake.on
    asked, cancelled = await talk.ask(talk.session.ping()), await talk.ask(talk.session.ping())
    assert not talk.session.brake.on
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert not talk.session.brake.on
    talk.answer(Pong(1), talk.sent[-2]["id"])
    assert talk.session.brake.on
    await asked


async def test_a_snapshot_collects_its_rows_and_leaves_subscriptions_alone() -> None:
    talk = Talk()
    inbox = await talk.join("tick:*")
    task = await talk.ask(talk.session.snapshot(["tick:A.SH", "tick:B.SH"]))
    talk.rows(tick("A.SH", 7), origin="snapshot", request_id=talk.sent[-1]["id"])
    talk.rows(tick("A.SH", 8))
    talk.rows(tick("B.SH", 3), origin="snapshot", request_id=talk.sent[-1]["id"])
    talk.answer(SnapshotDone(2))
    assert [(row.code, row.seq) for row in await task] == [("A.SH", 7), ("B.SH", 3)]
    assert content(inbox) == [("A.SH", 8)]


async def test_a_snapshot_that_lacks_rows_is_an_error() -> None:
    talk = Talk()
    task = await talk.ask(talk.session.snapshot(["tick:*"]))
    talk.answer(SnapshotDone(1))
    with pytest.raises(ProtocolError, match="a snapshot of 1 rows came with 0"):
        await task


async def test_a_refused_subscription_raises_and_its_topics_are_free_again() -> None:
    talk = Talk()
    inbox, order = talk.order("tick:A.SH")
    task = await talk.ask(talk.session.subscribe(inbox, order))
    talk.answer(HubError("bad_topic", "no such thing", False, None))
    with pytest.raises(HubError, match="bad_topic: no such thing"):
        await task
    talk.rows(tick("A.SH", 1))
    assert content(inbox) == []
    assert [request["op"] for request in talk.sent] == ["subscribe"]


async def test_an_order_that_cannot_be_is_not_sent() -> None:
    talk = Talk()
    await talk.join("tick:@沪深A股")
    with pytest.raises(TopicError):
        await talk.session.subscribe(*talk.order("tick:A.SH"))
    assert len(talk.sent) == 1


async def test_unsubscribing_leaves_only_what_no_other_subscription_has() -> None:
    talk = Talk()
    first, second = await talk.join("tick:A.SH", "tick:B.SH"), await talk.join("tick:B.SH")
    talk.rows(tick("B.SH", 1))
    task = await talk.ask(talk.session.unsubscribe(first))
    assert talk.sent[-1] == {"op": "unsubscribe", "topics": ["tick:A.SH"], "id": talk.sent[-1]["id"]}
    talk.rows(tick("A.SH", 2), tick("B.SH", 2))
    talk.answer(Unsubscribed())
    await task
    assert content(first) == []
    assert content(second) == [("B.SH", 1), ("B.SH", 2)]


async def test_nothing_keeps_what_was_unsubscribed() -> None:
    talk = Talk()
    inbox = await talk.join("tick:A.SH")
    kept = weakref.ref(inbox)
    talk.rows(tick("A.SH", 1))
    task = await talk.ask(talk.session.unsubscribe(inbox))
    talk.answer(Unsubscribed())
    await task
    del inbox, task
    assert kept() is None


async def test_a_subscribe_that_was_cancelled_is_taken_back_when_the_hub_accepts_it() -> None:
    talk = Talk()
    inbox, order = talk.order("tick:A.SH")
    task = await talk.ask(talk.session.subscribe(inbox, order))
    task.cancel()
    await asyncio.wait([task])
    talk.answer(ACCEPTED)
    await asyncio.sleep(0)
    assert talk.sent[-1]["op"] == "unsubscribe"
    assert talk.sent[-1]["topics"] == ["tick:A.SH"]
    talk.rows(tick("A.SH", 1))
    assert content(inbox) == []
    talk.answer(Unsubscribed())


async def test_a_request_that_could_not_be_sent_leaves_no_trace() -> None:
    async def fail(request: object) -> None:
        raise ConnectionLost(1006, "")

    session = Session(welcome(), fail, Callbacks())
    brake = session.brake
    brake.pull(Inbox("tick:*", 1, brake))
    with pytest.raises(ConnectionLost):
        await session.ping()
    assert brake.on  # nothing is waited for


async def test_a_subscribe_that_could_not_be_sent_is_sent_on_the_next_connection() -> None:
    async def fail(request: object) -> None:
        raise lost

    lost = ConnectionLost(1006, "")
    talk = Talk()
    session = talk.session = Session(welcome(), fail, Callbacks())
    inbox, order = talk.order("tick:A.SH", since="open")
    task = asyncio.ensure_future(session.subscribe(inbox, order))
    await asyncio.sleep(0)
    await session.send_orders()  # it ends with the connection
    session.suspend(lost)
    session.resume(welcome(), talk._catch)
    talk.sender = asyncio.ensure_future(session.send_orders())
    await until(lambda: bool(talk.sent))
    assert talk.sent[-1]["since"] == "open"
    talk.answer(ACCEPTED)
    assert await task == ACCEPTED


async def test_a_request_that_is_being_sent_when_the_session_ends_raises_once_and_leaves_no_noise() -> None:
    noise: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: noise.append(context))

    async def fail(request: object) -> None:
        session.end(ConnectionLost(1012, "restart"))
        raise ConnectionLost(1012, "restart")

    async def ask() -> str:  # not `pytest.raises`, which would keep everything alive
        try:
            return str(await session.ping())
        except ConnectionLost as lost:
            return lost.reason

    session = Session(welcome(), fail, Callbacks())
    assert await ask() == "restart"
    gc.collect()
    assert noise == []


async def test_the_end_reaches_every_request_and_after_their_rows_every_subscription() -> None:
    talk = Talk()
    inbox = await talk.join("tick:A.SH")
    talk.rows(tick("A.SH", 1))
    task = await talk.ask(talk.session.ping())
    talk.session.end(ConnectionLost(1012, "restart"))
    talk.session.end(ConnectionLost(1006, "a later reason does not count"))
    talk.rows(tick("A.SH", 2))
    with pytest.raises(ConnectionLost, match="1012: restart"):
        await task
    assert content(inbox) == [("A.SH", 1)]
    with pytest.raises(ConnectionLost, match="1012: restart"):
        await inbox.get()
    with pytest.raises(ConnectionLost, match="1012: restart"):
        await talk.session.ping()
    await talk.session.unsubscribe(inbox)


async def test_the_end_is_an_error_of_its_own_for_each_who_hears_it() -> None:
    talk = Talk()
    first, second = await talk.join("tick:A.SH"), await talk.join("tick:B.SH")
    cause = ValueError("why")
    end = ConnectionLost(1012, "restart")
    end.__cause__ = cause
    talk.session.end(end)
    heard = []
    for inbox in (first, second):
        with pytest.raises(ConnectionLost) as caught:
            await inbox.get()
        heard.append(caught.value)
    assert heard[0] is not heard[1]
    for one in heard:
        assert (str(one), one.code, one.reason, one.retryable) == (str(end), 1012, "restart", True)
        assert one.__cause__ is cause


async def test_gaps_go_to_the_callback_and_to_their_place_in_the_stream() -> None:
    gaps: list[Gap] = []
    talk = Talk(on_gap=gaps.append)
    inbox, other = await talk.join("tick:*"), await talk.join("tick:B.SH")
    talk.rows(tick("A.SH", 1))
    gap = replace(GAP, from_seq=2, to_seq=3)
    talk.session.receive(gap)
    talk.rows(tick("A.SH", 4))
    assert content(inbox) == [("A.SH", 1), gap, ("A.SH", 4)]
    assert content(other) == []
    assert gaps == [gap]


async def test_a_gap_in_history_goes_to_the_subscription_that_asked_for_it() -> None:
    talk = Talk()
    first, second = await talk.join("tick:A.SH"), await talk.join("tick:*")
    talk.session.receive(replace(GAP, request_id=talk.sent[1]["id"]))
    assert content(first) == []
    assert content(second) == [GAP]


async def test_a_heartbeat_moves_the_place_in_the_stream_on() -> None:
    beats: list[Heartbeat] = []
    talk = Talk(on_heartbeat=beats.append)
    assert talk.session.at == 100
    beat = Heartbeat(time=1, at=250, conflated=0, markets={})
    talk.session.receive(beat)
    assert talk.session.at == 250
    assert beats == [beat]


async def test_a_callback_that_raises_is_an_error_with_its_cause() -> None:
    def fail(beat: Heartbeat) -> None:
        raise KeyError("oops")

    talk = Talk(on_heartbeat=fail)
    with pytest.raises(CallbackError, match=r"the callback for Heartbeat raised KeyError\('oops'\)") as caught:
        talk.session.receive(Heartbeat(time=1, at=2, conflated=0, markets={}))
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_asynchronous_function_is_refused_where_nobody_would_await_it() -> None:
    async def later(gap: Gap) -> None: ...

    with pytest.raises(TypeError, match="on_gap must be a plain function"):
        Callbacks(on_gap=later)


async def test_an_answer_to_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk()
    with caplog.at_level(logging.WARNING, "argus_client"):
        talk.session.receive(Reply(None, HubError("bad_message", "not a request", False, None)))
    assert caplog.messages == ["the hub says of an earlier request: bad_message: not a request"]


async def test_topics_that_the_source_can_not_give_are_told_and_the_subscription_stays() -> None:
    refused: list[HubError] = []
    talk = Talk(on_refused=refused.append)
    inbox = await talk.join("tick:A.SH")
    limit = HubError("upstream_limit", "tick:A.SH needs 1 more subscription", False, None)
    talk.answer(limit)
    assert refused == [limit]
    talk.rows(tick("A.SH", 1))
    assert len(inbox) == 1


async def test_messages_of_a_later_version_are_ignored() -> None:
    talk = Talk()
    inbox = await talk.join("tick:A.SH")
    talk.session.receive(Unknown("tea_time"))
    talk.rows(tick("A.SH", 1))
    assert content(inbox) == [("A.SH", 1)]


async def test_a_second_welcome_and_a_wrong_answer_are_errors() -> None:
    talk = Talk()
    with pytest.raises(ProtocolError, match="a second welcome"):
        talk.session.receive(welcome())
    task = await talk.ask(talk.session.ping())
    talk.answer(SnapshotDone(0))
    with pytest.raises(ProtocolError, match="the hub answered ping with SnapshotDone"):
        await task
