"""What a feed tells beside its rows reaches every edge, once for each change, whatever happens to the relay."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bridge.relay import keeping
from bridge.relay.keeping import MAX_BYTES, REFERENCE, REFUSALS, UNIVERSES, Keeping, Learning
from bridge.relay.state import decode
from tests.bridge.support.relaying import PATIENCE_S, FaultyRelay, publishing
from tests.hub.support.core import make_hub

LEASE_MS = 60_000


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "AGAIN_S", 0.005)


@pytest.fixture
def relay() -> FaultyRelay:
    return FaultyRelay(random.Random(1))


async def lead(relay: FaultyRelay, *keepings: Keeping) -> int:
    token = await relay.lease("feed", LEASE_MS)
    assert token is not None
    for one in keepings:
        await one.keep("feed", token)
    return token


class Edge:
    """What an edge was given, and how it takes the next: it may raise."""

    def __init__(self, relay: FaultyRelay) -> None:
        self.learning = Learning(relay, self.take)
        self.taken: list[tuple[str, bytes]] = []
        self.came = asyncio.Condition()
        self.error: Exception | None = None

    def take(self, kind: str, content: bytes) -> None:
        self.taken.append((kind, content))
        if self.error is not None:
            raise self.error

    async def has(self, *pieces: tuple[str, bytes]) -> None:
        """Return when it was given exactly so much."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.taken) < len(pieces):  # noqa: ASYNC110 - it is given by a plain call
                await asyncio.sleep(0.001)
        assert self.taken == list(pieces)


@asynccontextmanager
async def learning(relay: FaultyRelay) -> AsyncIterator[Edge]:
    edge = Edge(relay)
    task = asyncio.create_task(edge.learning.run())
    try:
        yield edge
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_piece_is_fetched_once_for_each_change(relay: FaultyRelay) -> None:
    feed = Keeping(relay)
    feed.put(REFERENCE, b"one")
    feed.put(REFUSALS, b"")
    token = await lead(relay, feed)
    async with learning(relay) as edge:
        edge.learning.note(dict(feed.digests))
        await edge.has((REFERENCE, b"one"), (REFUSALS, b""))
        feed.put(REFUSALS, b"two")
        await feed.keep("feed", token)
        edge.learning.note(dict(feed.digests))
        await edge.has((REFERENCE, b"one"), (REFUSALS, b""), (REFUSALS, b"two"))


async def test_an_edge_has_caught_up_when_everything_is_here_that_the_feed_told_of(relay: FaultyRelay) -> None:
    feed = Keeping(relay)
    feed.put(UNIVERSES, b"one")
    await lead(relay, feed)
    relay.away = True
    async with learning(relay) as edge:
        edge.learning.note(dict(feed.digests))
        await asyncio.sleep(0)
        assert not edge.learning.caught_up.is_set()
        relay.away = False
        async with asyncio.timeout(PATIENCE_S):
            await edge.learning.caught_up.wait()
        await edge.has((UNIVERSES, b"one"))


async def test_what_the_relay_has_forgotten_is_put_back(relay: FaultyRelay) -> None:
    hub, feed = make_hub(), Keeping(relay)
    feed.put(REFERENCE, b"one")
    async with publishing(relay, hub, keeping=feed):
        async with relay.listen(range(relay.shards)) as incoming:
            assert await incoming.take(PATIENCE_S)
        kept = await relay.kept(REFERENCE, 100)
        assert kept.endswith(b"one")
        for forget in (relay.flush, lambda: relay._kept.clear()):  # everything, and nothing but this
            forget()
            async with asyncio.timeout(PATIENCE_S):
                while await relay.kept(REFERENCE, 100) != kept:  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(0.001)


async def test_a_change_is_told_before_the_next_state_is_due(relay: FaultyRelay) -> None:
    hub, feed = make_hub(), Keeping(relay)
    async with relay.listen(range(relay.shards)) as incoming, publishing(relay, hub, keeping=feed, lease_ms=3_600_000):
        assert await incoming.take(PATIENCE_S)
        feed.put(REFUSALS, b"one")
        states = [decode(message) for message in await incoming.take(PATIENCE_S)]
        assert states[-1] is not None
        assert states[-1].digests[REFUSALS] == feed.digests[REFUSALS] != ""
        assert await relay.kept(REFUSALS, 100) == bytes.fromhex(feed.digests[REFUSALS]) + b"one"


async def test_a_feed_that_was_told_nothing_yet_leaves_what_the_one_before_it_knew(relay: FaultyRelay) -> None:
    before, after = Keeping(relay), Keeping(relay)
    before.put(REFERENCE, b"one")
    await lead(relay, before, after)
    assert after.digests[REFERENCE] == before.digests[REFERENCE] != ""
    async with learning(relay) as edge:
        edge.learning.note(dict(after.digests))
        await edge.has((REFERENCE, b"one"))


async def test_what_is_too_large_is_not_kept(relay: FaultyRelay, caplog: pytest.LogCaptureFixture) -> None:
    feed = Keeping(relay)
    feed.put(REFERENCE, b"one")
    feed.put(REFERENCE, bytes(MAX_BYTES + 1))
    await lead(relay, feed)
    assert (await relay.kept(REFERENCE, 1 << 30)).endswith(b"one")
    assert "edges are not told the reference: 33554433 bytes are more than 33554432" in caplog.text


async def test_what_can_t_be_used_is_passed_over_once_and_the_next_is_taken(
    relay: FaultyRelay, caplog: pytest.LogCaptureFixture
) -> None:
    feed = Keeping(relay)
    token = await lead(relay)

    async def tell(content: bytes, damage: bytes = b"") -> None:
        feed.put(REFERENCE, content)
        await feed.keep("feed", token)
        relay._kept[REFERENCE] += damage
        edge.learning.note(dict(feed.digests))

    async def complained(times: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while caplog.text.count("the reference in the relay can't be used") < times:  # noqa: ASYNC110 - a log
                await asyncio.sleep(0.001)

    async with learning(relay) as edge:
        await tell(b"damaged", b"!")
        await complained(1)
        await tell(b"too large", bytes(MAX_BYTES))
        await complained(2)
        edge.error = ValueError("nobody can read this")
        await tell(b"malformed")
        await complained(3)
        edge.error = None
        await tell(b"whole")
        await edge.has((REFERENCE, b"malformed"), (REFERENCE, b"whole"))
        assert edge.learning.caught_up.is_set()
    assert caplog.text.count("can't be used") == 3
    assert "ValueError: nobody can read this" in caplog.text


async def test_an_edge_waits_for_what_the_feed_told_of_while_the_relay_has_another(relay: FaultyRelay) -> None:
    feed = Keeping(relay)
    feed.put(REFERENCE, b"one")
    token = await lead(relay, feed)
    older, told = dict(relay._kept), dict(feed.digests)
    feed.put(REFERENCE, b"two")
    await feed.keep("feed", token)
    newer = dict(relay._kept)
    relay._kept = older  # as a replica that is behind has it
    async with learning(relay) as edge:
        edge.learning.note(dict(feed.digests))
        for _ in range(10):
            await asyncio.sleep(0.001)
        assert (edge.taken, edge.learning.caught_up.is_set()) == ([], False)
        relay._kept = newer
        await edge.has((REFERENCE, b"two"))
    assert told != feed.digests
