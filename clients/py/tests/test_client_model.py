"""The session against a model of a hub, cut at random: rows and gaps together are the whole stream, nothing twice."""

import asyncio
from collections import defaultdict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from model_hub import Connection, ModelHub, epoch_name

from argus_client.callbacks import Callbacks
from argus_client.errors import ConnectionLost
from argus_client.inbox import Inbox
from argus_client.ledger import Order, Since
from argus_client.messages import Gap
from argus_client.session import Session
from argus_client.topics import TopicSet

CODES = ("A", "B", "C")
LOST = ConnectionLost(1006, "")
TURNS = 6
"""Turns of the loop in which whatever can go on has gone on: nothing here waits for anything outside."""

topics = st.sampled_from([("*",), ("*",), ("A",), ("B", "C")])
sinces: st.SearchStrategy[Since] = st.sampled_from([None, "none", "open", {"time": 0}, {"time": 3}])
wishes = st.lists(st.tuples(topics, sinces), min_size=1, max_size=3)
befores = st.lists(st.sampled_from(CODES), min_size=3, max_size=12)
publish = st.tuples(st.just("publish"), st.lists(st.sampled_from(CODES), min_size=1, max_size=4))
deliver = st.tuples(st.just("deliver"), st.integers(1, 4))
faults = st.one_of(
    st.tuples(st.sampled_from(["cut", "cut", "cut", "outage", "begin_anew"]), st.none()),
    st.tuples(st.just("evict"), st.integers(1, 3)),
)
rounds = st.tuples(deliver, st.sampled_from([[("beat", None)], []]), st.one_of(deliver, publish), faults)
scripts = st.lists(rounds, min_size=1, max_size=12)


class Run:
    """A client and its hub, and everything that the client's subscriptions were given."""

    def __init__(self, hub: ModelHub) -> None:
        self.hub = hub
        self.told: list[Gap] = []
        self.line = Connection(hub)
        self.session = Session(self.line.welcome(), self._send, Callbacks(on_gap=self.told.append))
        self.inboxes: list[Inbox] = []
        self.asked: list[asyncio.Task[Any]] = []
        self.sender = asyncio.ensure_future(self.session.send_orders())

    async def _send(self, request: Any) -> None:
        self.line.receive(request)

    async def subscribe(self, codes: tuple[str, ...], since: Since) -> None:
        texts = [f"tick:{code}" for code in codes]
        inbox = Inbox(", ".join(texts), 10_000, self.session.brake, with_gaps=True)
        self.inboxes.append(inbox)
        order = Order(TopicSet.of(texts), since)
        self.asked.append(asyncio.ensure_future(self.session.subscribe(inbox, order)))
        await turns()

    async def do(self, name: str, argument: Any) -> None:
        if name == "publish":
            for code in argument:
                self.hub.publish(code)
        elif name == "deliver":
            self.deliver(argument)
        elif name == "beat":
            self.session.receive(self.line.beat())
        elif name == "outage":
            self.hub.outage()
        elif name == "evict":
            self.hub.evict(argument)
        else:
            await self.cut(anew=name == "begin_anew")
        await turns()

    def deliver(self, count: int | None = None) -> None:
        while count != 0 and (message := self.line.next()) is not None:
            self.session.receive(message)
            count = None if count is None else count - 1

    async def cut(self, *, anew: bool) -> None:
        self.session.suspend(LOST)
        self.sender.cancel()
        await asyncio.wait([self.sender])
        if anew:
            self.hub.connection = None
            self.hub.begin_anew()
        self.line = Connection(self.hub)
        self.session.resume(self.line.welcome(), self._send)
        self.sender = asyncio.ensure_future(self.session.send_orders())

    async def finish(self) -> None:
        """Let everything come."""
        await turns()
        self.deliver()
        await turns()
        for code in CODES:
            self.hub.publish(code)
        self.deliver()
        self.session.receive(self.line.beat())
        async with asyncio.timeout(5):
            await asyncio.gather(*self.asked)


async def turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


def covered(codes: tuple[str, ...]) -> tuple[str, ...]:
    return CODES if codes == ("*",) else codes


def check_stream(items: list[Any], hub: ModelHub, codes: tuple[str, ...]) -> None:
    """Every topic's rows and gaps follow each other number by number, up to the newest."""
    epoch: dict[str, int] = {}
    last: dict[str, int | None] = dict.fromkeys(CODES)
    for item in items:
        if not isinstance(item, Gap):
            code, of = item.code, item.volume
            assert code in covered(codes)
            assert of >= epoch.get(code, of)
            if of != epoch.setdefault(code, of):
                assert last[code] is None, f"{code}: another epoch without a gap"
                epoch[code] = of
            assert last[code] in (None, item.seq - 1), f"{item.code} {item.seq} after {last[code]}"
            assert (of, code, item.seq) in hub.published
            last[code] = item.seq
        elif item.cause == "epoch":
            for code in covered((item.topic.partition(":")[2],)):
                if epoch_name(epoch.get(code, 0)) == item.epoch:
                    assert item.from_seq in (None, (last[code] or 0) + 1)
                    last[code] = None
        elif item.cause == "evicted":
            code = item.topic.partition(":")[2]
            of = next(number for number in range(1, hub.epoch + 1) if epoch_name(number) == item.epoch)
            assert item.from_seq is not None
            assert last[code] in (None, item.from_seq - 1)
            last[code], epoch[code] = item.to_seq, of
        else:
            assert item.cause == "upstream"
    for code in covered(codes):
        assert (epoch.get(code), last[code]) == (hub.epoch, hub.newest[code])


def check_beginning(items: list[Any], since: Since, hub: ModelHub) -> None:
    """A history begins where it was asked to, for every topic: nothing is missing in front of it, and nothing more."""
    firsts: dict[str, Any] = {}
    for item in items:
        if not isinstance(item, Gap) or item.from_seq is not None:
            firsts.setdefault(item.topic.partition(":")[2], item)
    for code, item in firsts.items():
        first = item.from_seq if isinstance(item, Gap) else item.seq
        since_ms = since["time"] if isinstance(since, dict) and "time" in since else 0
        times = [at for (_, one, _), at in hub.published.items() if one == code]
        wanted = next((number for number, at in enumerate(times, 1) if at >= since_ms), len(times) + 1)
        assert first <= wanted
        if not isinstance(item, Gap) and item.origin == "replay":  # live rows come whatever their time
            assert first == wanted


def check_order(items: list[Any], hub: ModelHub) -> None:
    """Rows come in the order in which they arrived."""
    places: dict[int, list[int]] = defaultdict(list)
    for item in items:
        if not isinstance(item, Gap) and item.origin != "snapshot":
            places[item.volume].append(hub.published[item.volume, item.code, item.seq])
    for ats in places.values():
        assert ats == sorted(set(ats))


def check_notices(items: list[Any]) -> None:
    notices = [item for item in items if isinstance(item, Gap) and item.cause == "upstream"]
    assert len(notices) == len(set(notices))


async def play(before: list[str], asked: list[tuple[tuple[str, ...], Since]], script: list[Any]) -> Run:
    hub = ModelHub()
    for code in before:
        hub.publish(code)
    run = Run(hub)
    for codes, since in asked:
        await run.subscribe(codes, since)
    for first, beats, second, fault in script:
        for name, argument in (first, *beats, second, fault):
            await run.do(name, argument)
    await run.finish()
    run.sender.cancel()
    return run


@settings(max_examples=400, deadline=None)
@given(befores, wishes, scripts)
def test_rows_and_gaps_together_are_the_whole_stream_however_often_it_is_cut(
    before: list[str], asked: list[tuple[tuple[str, ...], Since]], script: list[Any]
) -> None:
    run = asyncio.run(play(before, asked, script))
    check_notices(run.told)
    for inbox, (codes, since) in zip(run.inboxes, asked, strict=True):
        items = inbox.waiting
        check_stream(items, run.hub, codes)
        check_notices(items)
        if len(asked) == 1:
            check_order(items, run.hub)
            if since not in (None, "none") and run.hub.epoch == 1:
                check_beginning(items, since, run.hub)
                assert (
                    len([one for one in items if isinstance(one, Gap) and one.cause == "upstream"]) == run.hub.outages
                )
