"""A feed's hub and an edge over a relay in memory that fails on demand, for tests of the relay's two ends together."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, Literal

import pytest

from bridge.relay import backoff, beginning, follower
from bridge.relay.assembler import Assembler
from bridge.relay.beginning import Beginning, wait_for_beginning
from bridge.relay.boundary import Addition, Relay, RelayAway
from bridge.relay.fedmarks import FedMarks
from bridge.relay.follower import Assembling, EpochEnded, Follower
from bridge.relay.keeping import Keeping
from bridge.relay.lease import Lease
from bridge.relay.logreader import Stretch
from bridge.relay.memory import MemoryRelay
from bridge.relay.partial import PartialAssembler
from bridge.relay.position import Position
from bridge.relay.publisher import Publisher
from bridge.relay.record import Record
from bridge.relay.share import Share, share_of, whole
from bridge.relay.state import State, decode_told
from bridge.relay.turn import MAGIC
from hub.core import Hub
from hub.past import GapNotice
from tests.hub.support.core import EPOCH, publish

SHARDS: Final = 4
PATIENCE_S: Final = 30


class FaultyRelay(MemoryRelay):
    """A relay of which things get lost. What is lost is drawn by ``chance``, with the probability ``faulty``."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(SHARDS)
        self.faulty = 0.0
        self.faults = 0
        self.asked_times = 0
        self.loses: Literal["", "part", "confirmation"] = ""
        """What is lost next, once."""
        self.away = False
        self.break_off_after: int | None = None
        """After so many parts of the next turn the line is cut, and the relay is away."""
        self._chance = chance

    def is_lost(self) -> bool:
        lost = self._chance.random() < self.faulty
        self.faults += lost
        return lost

    async def lease(self, owner: str, lease_ms: int) -> int | None:
        self._fail()
        return await super().lease(owner, lease_ms)

    async def append(self, additions: Iterable[Addition]) -> None:
        self._fail()
        additions = list(additions)
        if self.break_off_after is not None:
            count, self.break_off_after, self.away = self.break_off_after, None, True
            await super().append(additions[:count])
            raise RelayAway("the line was cut")
        if self.is_lost():  # some of it is done, and nobody is told
            await super().append(additions[: self._chance.randrange(len(additions) + 1)])
            raise RelayAway("the line was cut")
        await super().append(additions)

    async def confirm(self, published: bytes) -> bool:
        self._fail()
        if self.loses == "confirmation" or self.is_lost():
            self.loses = ""
            raise RelayAway("the line was cut")
        return await super().confirm(published)

    async def ask(self, question: bytes, answer_to: str, keep_ms: int) -> None:
        self.asked_times += 1
        await super().ask(question, answer_to, keep_ms)

    async def read(self, shard: int, after: str, most: int) -> list[tuple[str, bytes]]:
        self._fail()
        if self.is_lost():
            raise RelayAway("the line was cut")
        return await super().read(shard, after, most)

    async def state(self) -> bytes:
        self._fail()
        return await super().state()

    async def kept(self, kind: str, most: int) -> bytes:
        self._fail()
        return await super().kept(kind, most)

    def cut(self) -> None:
        """End all that listen: they are told."""
        for incoming in list(self._listeners):
            incoming.fail()

    def flush(self) -> None:
        """Forget everything, but who listens."""
        listeners = self._listeners
        self.__dict__.update(MemoryRelay(SHARDS).__dict__)
        self._listeners = listeners

    def _fail(self) -> None:
        if self.away:
            raise RelayAway("it is away")

    def _tell(self, message: bytes, *listeners: Any) -> None:
        if self.loses == "part" and message.startswith(MAGIC):
            self.loses = ""
        elif not self.is_lost():
            super()._tell(message, *listeners)


def state_of(epoch: str = EPOCH) -> Callable[[int, Position], State]:
    def state(token: int, at: Position) -> State:
        return State(token, epoch, *at, SHARDS, "test", True, ["tick"], None, {}, 0, 1.0, "connected", "")

    return state


class RunningPublisher(Publisher):
    """A publisher, and the task that it runs in."""

    task: asyncio.Task[None]


def publisher_of(relay: Relay, hub: Hub, **values: Any) -> RunningPublisher:
    lease = Lease(relay, values.pop("owner", "feed"), values.pop("lease_ms", 200))
    fixed: dict[str, Any] = {"keep_rows": 1000, "keeping": Keeping(relay), "marks": FedMarks(lambda _: None)}
    given = {**fixed, "lease": lease, "record": Record(None), "state": state_of(hub.epoch), **values}
    given.setdefault("on_wishes", lambda _: None)
    publisher = RunningPublisher(relay, hub.history, hub.epoch, **given)
    hub.on_delivered = publisher.wake
    return publisher


@asynccontextmanager
async def publishing(relay: Relay, hub: Hub, **values: Any) -> AsyncIterator[RunningPublisher]:
    """A feed, for the length of a block; killed at its end."""
    publisher = publisher_of(relay, hub, **values)
    task = publisher.task = asyncio.create_task(publisher.run())
    try:
        yield publisher
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Edge:
    """What an edge was handed, in order: rows as name, seq and bytes; notices as they are."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.story: list[tuple[str, int, bytes] | GapNotice] = []
        self.states: set[int] = set()
        """Arrival numbers of the rows that tell a state."""
        self.position = Position(0, 0)
        self.begin = Position(0, 0)
        self.came = asyncio.Condition()
        self.follower: Follower
        self.ended: EpochEnded | None = None

    def take(self, stretch: Stretch) -> None:
        assert stretch.begin == self.position
        at, notices = stretch.begin.at, list(stretch.notices)
        for first_at, last_at in stretch.states:
            assert at < first_at <= last_at <= stretch.end.at
            self.states.update(at for at in stretch.rows.ats if first_at <= at <= last_at)
        rows = stretch.rows
        for name, row_at, seq, row in zip(rows.names, rows.ats, rows.seqs, rows.rows, strict=True):
            assert row_at == at + 1 if self.share.is_whole else row_at > at
            while notices and notices[0].after_at < row_at:
                self.story.append(notices.pop(0))
            at = row_at
            self.story.append((name, seq, row))
        self.story += notices
        assert all(notice.after_at <= stretch.end.at for notice in notices)
        assert at == stretch.end.at if self.share.is_whole else at <= stretch.end.at
        self.position = stretch.end

    async def reaches(self, at: int, told: int = 0) -> None:
        """Return when it has everything up to a place."""
        async with asyncio.timeout(PATIENCE_S):
            while self.position < Position(at, told):  # noqa: ASYNC110 - it is told by a plain call
                await asyncio.sleep(0.001)


async def beginning_of(relay: Relay, warm_rows: int, share: Share | None = None) -> Beginning:
    async with asyncio.timeout(PATIENCE_S):
        found = await wait_for_beginning(relay, share or whole(relay.shards), warm_rows, asyncio.Event())
    assert found is not None
    return found


def few(*names: str) -> Share:
    """What an edge takes that serves these topics only."""
    share = share_of(names, lambda name: name in names or name.startswith("status:"), SHARDS)
    assert not share.is_whole
    return share


def assembler_of(share: Share, beginning: Beginning, relay: Relay) -> Assembling:
    """As an edge has it."""
    state, position = beginning.state, beginning.position
    if share.is_whole:
        return Assembler(state.epoch, position, relay.shards)
    return PartialAssembler(state.epoch, position, share, state)


@asynccontextmanager
async def following(relay: Relay, warm_rows: int = 1_000_000, share: Share | None = None) -> AsyncIterator[Edge]:
    """An edge, for the length of a block."""
    share = share or whole(relay.shards)
    beginning = await beginning_of(relay, warm_rows, share)
    edge = Edge(share)
    edge.position = edge.begin = beginning.position
    assembler = assembler_of(share, beginning, relay)
    edge.follower = Follower(relay, assembler, beginning.state, beginning.known_at, edge.take, lambda _: None)

    async def follow() -> None:
        try:
            await edge.follower.run()
        except EpochEnded as ended:
            edge.ended = ended

    task = asyncio.create_task(follow())
    try:
        yield edge
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def story_of(hub: Hub, share: Share | None = None) -> list[tuple[str, int, bytes] | GapNotice]:
    """All that a hub holds in memory, as an edge must have been handed it."""
    serves = (share or whole(SHARDS)).serves
    story: list[tuple[str, int, bytes] | GapNotice] = list(hub.history.notices(0, 0))
    segment = hub.history.segment_at(hub.history.cursor_after(0))
    at = 0
    while segment is not None:
        for topic, seq, row in zip(segment.topics, segment.seqs, segment.rows, strict=True):
            assert row is not None
            at += 1
            if serves(topic.name):
                story.append((topic.name, seq, row))
            story += hub.history.notices(at, at)
        segment = segment.next  # type: ignore[assignment]
    return story


def states_of(hub: Hub, share: Share | None = None) -> set[int]:
    """The arrival numbers of all rows of a hub that tell a state, and that an edge must have been handed."""
    serves = (share or whole(SHARDS)).serves
    found: set[int] = set()
    for topic in hub.history.topics:
        if serves(topic.name):
            hub.history.index()
            found.update(at for at in topic.ats if hub.history.states.stretch(at, at)[0])
    return found


def relay_of(seed: int = 1) -> FaultyRelay:
    return FaultyRelay(random.Random(seed))


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have pauses as short as the relay is near."""
    monkeypatch.setattr(backoff, "FIRST_S", 0.001)
    monkeypatch.setattr(backoff, "LAST_S", 0.01)
    monkeypatch.setattr(follower, "SILENCE_S", 0.2)
    monkeypatch.setattr(follower, "GRACE_S", 0.005)
    monkeypatch.setattr(beginning, "ANSWER_S", 0.2)


async def is_told(relay: Relay, at: int) -> None:
    """Return when the feed has told that everything up to a row is published."""
    async with asyncio.timeout(PATIENCE_S):
        while (told := decode_told(await relay.state())) is None or told.at < at:  # noqa: ASYNC110 - it is asked for
            await asyncio.sleep(0.001)


async def publish_half(relay: FaultyRelay, hub: Hub, parts: int) -> None:
    """Publish a turn of all topics, of which only so many parts come through before the relay is away."""
    relay.break_off_after = parts
    publish(hub, *CODES)
    hub.flush()
    async with asyncio.timeout(PATIENCE_S):
        while not relay.away:  # noqa: ASYNC110 - it is a plain attribute
            await asyncio.sleep(0.001)


CODES: Final = [f"{600000 + number}.SH" for number in range(12)]
FEW: Final = few("tick:600001.SH", "tick:600007.SH")
ONE: Final = few("tick:600004.SH")
