"""A turn of which not all parts came through is nobody's, and what of it stays behind is given to no edge."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from msgspec.structs import replace

from bridge.relay.position import Position, TurnId
from bridge.relay.record import Record
from bridge.relay.share import Share
from bridge.relay.state import State
from bridge.relay.turn import decode, encode
from hub.core import Hub
from tests.bridge.support.relaying import (
    CODES,
    FEW,
    ONE,
    PATIENCE_S,
    SHARDS,
    Edge,
    FaultyRelay,
    beginning_of,
    following,
    hurry,
    is_told,
    publish_half,
    publishing,
    relay_of,
    state_of,
    story_of,
)
from tests.hub.support.core import make_hub, publish


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


async def test_a_turn_that_was_half_published_is_whole_in_the_streams_after_the_next_feed_took_over() -> None:
    hub, relay = make_hub(), relay_of()
    async with publishing(relay, hub):
        async with following(relay) as early:
            publish(hub, *CODES[:2])
            hub.flush()
            await early.reaches(2)
        await publish_half(relay, hub, parts=1)
    relay.away = False
    async with publishing(relay, hub), following(relay) as early:
        await early.reaches(14)
    held = [decode(message).rows for shard in range(SHARDS) for _, message in await relay.read(shard, "", 100)]
    assert {at for rows in held for at in rows.ats} == set(range(1, 15))


async def test_what_comes_late_of_an_older_feed_is_passed_over() -> None:
    """It may be of a turn that was never whole; what holds of it is in the streams."""
    hub, relay = make_hub(), relay_of()
    async with publishing(relay, hub), following(relay, share=ONE) as edge:
        publish(hub, "600004.SH")
        hub.flush()
        await edge.reaches(1)
    late = decode((await relay.read(3, "", 1))[0][1])._replace(begin=Position(1, 0), end=Position(2, 0))
    late = late._replace(rows=late.rows._replace(ats=[2], rows=[b"never published"]), turn=TurnId(late.turn.token, 2))
    async with publishing(relay, hub), following(relay, share=ONE) as edge:
        await edge.reaches(1)
        await edge.follower.caught_up.wait()
        relay._tell(encode(late), *relay._listeners)
        publish(hub, "600001.SH", "600004.SH")
        hub.flush()
        await edge.reaches(3)
    assert edge.story == story_of(hub, ONE)


@pytest.mark.parametrize("share", [None, FEW])
async def test_an_edge_begins_nowhere_beyond_what_is_published(share: Share | None) -> None:
    hub, relay = make_hub(), relay_of()
    async with following_once(relay, hub, Record(None), share) as (feed, _):
        await publish_half(relay, hub, parts=3)
        await feed.aclose()
        relay.away = False
        found = await beginning_of(relay, 0, share)
    assert found.known_at > 2
    assert found.position <= Position(2, 0)
    assert all(topic.at <= 2 for topic in found.topics)


async def test_a_feed_with_another_number_of_shards_ends_the_edge_s_history() -> None:
    hub, relay = make_hub(), relay_of()

    def state(token: int, at: Position) -> State:
        return replace(state_of()(token, at), shards=9)

    async with following_once(relay, hub, Record(None), None) as (feed, edge):
        await feed.aclose()
        async with publishing(relay, hub, state=state), asyncio.timeout(PATIENCE_S):
            while edge.ended is None:  # noqa: ASYNC110 - it is a plain attribute
                await asyncio.sleep(0.001)
    assert str(edge.ended) == "the feed spreads topics over 9 shards now"


@pytest.mark.parametrize("numbers_early", [False, True])
@pytest.mark.parametrize("share", [None, FEW, ONE])
async def test_numbers_that_come_again_after_a_journal_lost_its_end_are_nobody_s_in_the_streams(
    share: Share | None, numbers_early: bool
) -> None:
    """It had them when they were half published: a power cut may take what was not durable yet."""
    hub, relay, record = make_hub(), relay_of(), Record(None)
    async with following_once(relay, hub, record, share) as (before, edge):
        await publish_half(relay, hub, parts=3)
        await before.aclose()
        relay.away = False
        again = make_hub()
        publish(again, *CODES[:2])
        again.flush()
        async with publishing(relay, again, record=record) as publisher:
            if not numbers_early:
                await publisher.caught_up.wait()
            publish(again, *reversed(CODES), time_ms=9)
            again.flush()
            await edge.reaches(14)
            await is_told(relay, 14)
            async with following(relay, share=share) as late:
                await late.reaches(14)
    assert edge.story == late.story == story_of(again, share)


@asynccontextmanager
async def following_once(
    relay: FaultyRelay, hub: Hub, record: Record, share: Share | None
) -> AsyncIterator[tuple[AsyncExitStack, Edge]]:
    """A feed that has published two rows, and can be killed before the block ends; an edge."""
    async with AsyncExitStack() as feed, AsyncExitStack() as stack:
        await feed.enter_async_context(publishing(relay, hub, record=record))
        edge = await stack.enter_async_context(following(relay, share=share))
        publish(hub, *CODES[:2])
        hub.flush()
        await edge.reaches(2)
        yield feed, edge
