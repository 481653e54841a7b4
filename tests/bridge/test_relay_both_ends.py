"""A feed and its edges over a relay that fails: every edge is handed the feed's own story, each piece once."""

import asyncio
import random
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgpack
import pytest

from bridge.relay import beginning, follower, publisher
from bridge.relay.beginning import ask
from bridge.relay.boundary import Ousted
from bridge.relay.newest import Newest
from bridge.relay.position import Position
from bridge.relay.share import Share, whole
from bridge.relay.state import Question
from bridge.relay.state import encode as encode_state
from bridge.relay.turn import decode, shard_of
from hub import history
from hub.core import Hub
from hub.past import GapNotice
from tests.bridge.support.relaying import (
    CODES,
    FEW,
    ONE,
    PATIENCE_S,
    SHARDS,
    Edge,
    beginning_of,
    following,
    hurry,
    is_told,
    publishing,
    relay_of,
    state_of,
    states_of,
    story_of,
)
from tests.hub.support.core import EPOCH, make_hub, publish


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


async def turns_of_five(hub: Hub, edge: Edge) -> None:
    """Twelve turns more, each of the same five topics: the streams let go of what was before them."""
    for number in range(12):
        publish(hub, *CODES[:5], time_ms=2 + number)
        hub.flush()
        await edge.reaches(hub.history.at)


async def test_an_edge_is_handed_what_the_feed_delivers_as_it_comes() -> None:
    hub, relay = make_hub(), relay_of()
    async with publishing(relay, hub), following(relay) as edge:
        await edge.follower.caught_up.wait()
        publish(hub, *CODES)
        hub.announce("tick:*", 1, 5)
        publish(hub, *CODES[:3])
        hub.flush()
        await edge.reaches(15)
        hub.announce("tick:*.SH", None, None)
        hub.flush()
        await edge.reaches(15, 1)
        assert edge.story == story_of(hub)
        assert (edge.follower.holes, edge.follower.refilled_rows) == (0, 0)


@pytest.mark.parametrize("rows", [5, 6, 12, 20])
async def test_what_is_more_than_a_turn_may_carry_is_published_though_nothing_follows(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "TURN_ROWS", 5)
    hub, relay = make_hub(), relay_of()
    async with publishing(relay, hub), following(relay) as edge:
        await edge.follower.caught_up.wait()
        publish(hub, *(CODES * 2)[:rows])
        hub.flush()
        await edge.reaches(rows)
    assert edge.story == story_of(hub)


@pytest.mark.parametrize("share", [None, FEW])
@pytest.mark.parametrize("fault", ["part", "confirmation"])
async def test_what_is_missing_is_fetched_however_much_else_comes(
    fault: Literal["part", "confirmation"], share: Share | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, relay = make_hub(ring_rows=100_000), relay_of()
    monkeypatch.setattr(follower, "GRACE_S", 0.5)

    async def publish_on() -> None:
        while True:
            publish(hub, *CODES[:3])
            hub.flush()
            await asyncio.sleep(0.001)

    async with publishing(relay, hub), following(relay, share=share) as edge:
        await edge.follower.caught_up.wait()
        publishing_on = asyncio.create_task(publish_on())
        await edge.reaches(30)
        relay.loses = fault
        async with asyncio.timeout(PATIENCE_S):
            while relay.loses:  # noqa: ASYNC110 - it is a plain attribute
                await asyncio.sleep(0.001)
        lost_at = hub.history.at
        await edge.reaches(lost_at + 30)
        publishing_on.cancel()
        await edge.reaches(hub.history.at)
    assert edge.story == story_of(hub, share)
    assert edge.follower.trouble == ""


@pytest.mark.parametrize("share", [None, FEW])
async def test_rows_that_the_feed_let_go_before_it_could_publish_them_are_missed(
    share: Share | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long ago the last ones of a shard were."""
    monkeypatch.setattr(history, "SEGMENT_ROWS", 16)
    hub, relay = make_hub(ring_rows=10**6, ring_bytes=1), relay_of()
    async with publishing(relay, hub) as feed, following(relay, share=share) as edge:
        await edge.follower.caught_up.wait()
        publish(hub, CODES[1])
        hub.flush()
        for number in range(100):  # of another shard
            publish(hub, CODES[4], time_ms=2 + number)
            hub.flush()
            await edge.reaches(hub.history.at)
        relay.away = True
        relay.cut()
        publish(hub, CODES[4], time_ms=150)
        hub.flush()
        async with asyncio.timeout(PATIENCE_S):
            while not feed.trouble:  # noqa: ASYNC110 - it is a plain attribute
                await asyncio.sleep(0.001)
        for number in range(40):
            publish(hub, CODES[1], CODES[4], time_ms=200 + number)
            hub.flush()
        relay.away = False
        for number in range(1000):
            publish(hub, CODES[4], time_ms=300 + number)
            hub.flush()
            await asyncio.sleep(0.001)
            if edge.ended is not None:
                break
    assert edge.ended is not None
    assert edge.ended.lost is not None
    assert [seq for name, seq, _ in edge.story if name == f"tick:{CODES[1]}"] == [1]  # type: ignore[misc]


@pytest.mark.parametrize("share", [None, FEW])
@pytest.mark.parametrize("is_restarted", [False, True])
async def test_an_edge_of_quiet_topics_begins_no_earlier_and_asks_no_more_than_others(
    share: Share | None, is_restarted: bool
) -> None:
    hub, relay = make_hub(ring_rows=100_000), relay_of()

    async with publishing(relay, hub, keep_rows=100) as feed:
        await feed.caught_up.wait()
        publish(hub, CODES[1])
        hub.flush()
        for number in range(100):
            publish(hub, *[CODES[4]] * 1000, time_ms=2 + number)
            hub.flush()
            await asyncio.sleep(0)
        await is_told(relay, hub.history.at)
    if is_restarted:
        async with publishing(relay, hub, keep_rows=100) as feed:
            await feed.caught_up.wait()
    # Nobody answers now.
    async with following(relay, warm_rows=50, share=share) as edge, asyncio.timeout(PATIENCE_S):
        assert edge.begin.at > 90_000
        await edge.follower.caught_up.wait()
    assert relay.asked_times == 0


async def test_an_edge_says_since_when_it_hears_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hub, relay, now = make_hub(), relay_of(), datetime(2026, 9, 1, 10, tzinfo=UTC)
    monkeypatch.setattr(follower, "time", lambda: now.timestamp())

    async def says(reason: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while edge.follower.trouble != reason:  # noqa: ASYNC110 - it is a plain attribute
                await asyncio.sleep(0.001)

    async with AsyncExitStack() as stack:
        async with publishing(relay, hub):
            edge = await stack.enter_async_context(following(relay))
            publish(hub, *CODES)
            hub.flush()
            await edge.reaches(12)
        heard = now.astimezone().isoformat(" ", "seconds")
        now += timedelta(hours=1)
        await says(f"the feed is away: nothing was heard of the feed since {heard}")
        relay.away = True
        relay.cut()
        await says(f"the relay is away: it is away; nothing was heard of the feed since {heard}")
        relay.away = False
    async with following(relay) as edge:
        await says("the feed is away: nothing was heard of the feed yet")


async def test_an_edge_that_comes_later_begins_with_the_past() -> None:
    hub, relay = make_hub(), relay_of()
    publish(hub, *CODES)
    hub.flush()
    async with publishing(relay, hub, keep_rows=5):
        async with following(relay) as edge:
            await edge.reaches(12)
            await turns_of_five(hub, edge)
            assert edge.story == story_of(hub)
        async with following(relay, warm_rows=5) as edge:
            begin = edge.begin.at
            assert 12 < begin <= 67
            await edge.reaches(72)
            assert edge.story == story_of(hub)[begin:]


async def test_the_past_that_the_streams_have_let_go_comes_from_the_feed() -> None:
    hub, relay = make_hub(), relay_of()
    async with publishing(relay, hub, keep_rows=3):
        async with following(relay) as early:
            for code in CODES:
                publish(hub, code)
                hub.flush()
                await early.reaches(hub.history.at)
        async with following(relay) as edge:
            assert edge.begin == Position(0, 0)
            await edge.reaches(12)
            assert edge.story == story_of(hub) == early.story


async def test_rows_that_tell_a_state_are_told_apart_however_they_come() -> None:
    hub, relay = make_hub(), relay_of()
    publish(hub, *CODES, is_state=True)
    hub.flush()
    async with publishing(relay, hub, keep_rows=3), following(relay) as live:
        await live.reaches(12)
        for number in range(5):
            publish(hub, *CODES[:2])
            publish(hub, *CODES[2:4], is_state=number == 3)
            hub.flush()
            await live.reaches(hub.history.at)
        async with following(relay) as late:  # some of it comes from the feed, the rest from the streams
            await late.reaches(hub.history.at)
    assert live.states == late.states == {*range(1, 13), 27, 28}


async def test_a_feed_of_another_version_fills_the_relay_anew() -> None:
    hub, relay = make_hub(), relay_of()
    async with publishing(relay, hub), following(relay) as early:
        publish(hub, "a.SH")
        hub.flush()
        await early.reaches(1)
    for shard in relay._shards:
        shard.stream = {turn: b"AT1\n" + message[4:] for turn, message in shard.stream.items()}
    async with publishing(relay, hub) as publisher:
        publish(hub, "b.SH")
        hub.flush()
        async with following(relay) as edge:
            await edge.reaches(2)
    assert edge.story == story_of(hub)
    assert publisher.begun_anew == 1


async def test_an_edge_says_that_the_feed_speaks_another_version(caplog: pytest.LogCaptureFixture) -> None:
    hub, relay = make_hub(), relay_of()
    other = "the feed speaks another version: run the same one everywhere"
    async with publishing(relay, hub), following(relay) as edge:
        publish(hub, "a.SH")
        hub.flush()
        await edge.reaches(1)
        relay._tell(b"\x81\xa7version\x09", *relay._listeners)
        async with asyncio.timeout(PATIENCE_S):
            while other not in caplog.text:  # noqa: ASYNC110 - a log
                await asyncio.sleep(0.001)
        publish(hub, "a.SH")
        hub.flush()
        await edge.reaches(2)  # of that which can be read
    relay._state = b"\x81\xa7version\x09"
    caplog.clear()
    stopped = asyncio.Event()
    waiting = asyncio.create_task(beginning.wait_for_beginning(relay, whole(SHARDS), 0, stopped))
    async with asyncio.timeout(PATIENCE_S):
        while other not in caplog.text:  # noqa: ASYNC110 - a log
            await asyncio.sleep(0.001)
        stopped.set()
        assert await waiting is None
    assert "no feed has published yet" not in caplog.text


async def test_how_often_listening_was_cut_off_is_counted() -> None:
    hub, relay = make_hub(), relay_of()
    async with publishing(relay, hub), following(relay) as edge:
        await edge.follower.caught_up.wait()
        assert edge.follower.cut_off == 0
        for number in (1, 2):
            relay.cut()
            publish(hub, "a.SH")
            hub.flush()
            await edge.reaches(number)
            async with asyncio.timeout(PATIENCE_S):
                while not relay._listeners:  # noqa: ASYNC110 - it is a plain attribute
                    await asyncio.sleep(0.001)
        assert edge.follower.cut_off == 2


async def test_an_edge_serves_nobody_before_it_knows_all_topics() -> None:
    """The newest rows are in the relay before the stream goes on to them, when it is filled anew."""
    hub, relay = make_hub(), relay_of()
    async with publishing(relay, hub), following(relay) as early:
        publish(hub, *CODES[:5])
        hub.flush()
        await early.reaches(5)
    token = await relay.lease("feed", 60_000)
    assert token is not None
    rows: dict[int, list[Newest]] = {shard: [] for shard in range(SHARDS)}
    for at, code in enumerate(CODES, 1):
        rows[shard_of(f"tick:{code}", SHARDS)].append(Newest(f"tick:{code}", at, at, msgpack.packb([code, 1, at])))
    for shard, own in rows.items():
        await relay.begin(shard, token, EPOCH, own)
    await relay.hold("feed", token, 60_000, encode_state(state_of()(token, Position(5, 0))))
    async with following(relay, warm_rows=0) as edge:
        assert edge.begin == Position(5, 0)
        async with asyncio.timeout(PATIENCE_S):
            while not await relay.asked(0.01):  # it looks for more than what the feed says to have published
                pass
        assert not edge.follower.caught_up.is_set()


async def test_a_feed_answers_with_nothing_that_is_not_published(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another feed may yet number it otherwise."""
    hub, relay = make_hub(), relay_of()
    async with publishing(relay, hub), following(relay) as edge:
        publish(hub, *CODES[:2])
        hub.announce("tick:*", 1, 5)
        hub.flush()
        await edge.reaches(2, 1)
        on_its_way = asyncio.Event()

        async def append(_: object) -> None:
            on_its_way.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(relay, "append", append)
        hub.announce("tick:*", 5, 6)
        publish(hub, *CODES)
        hub.flush()
        await on_its_way.wait()
        for begin in (Position(0, 0), Position(2, 0)):
            answer = await ask(relay, Question(EPOCH, *begin, most=100))
            assert answer is not None
            part = decode(answer)
            assert (part.begin, part.end) == (begin, Position(2, 1))
            assert part.notices == [GapNotice(2, "tick:*", 1, 5)]
        assert hub.history.delivered_at == 14


async def test_a_feed_that_was_restarted_leaves_the_streams_as_they_are() -> None:
    hub, relay = make_hub(), relay_of()
    for feed in range(3):
        async with publishing(relay, hub), following(relay) as edge:
            publish(hub, *CODES)
            hub.flush()
            await edge.reaches(12 * (feed + 1))
    held = [message for shard in range(relay.shards) for _, message in await relay.read(shard, "", 100)]
    assert sum(len(decode(message).rows.rows) for message in held) == 36


async def test_the_newest_row_of_each_topic_is_known_where_an_edge_begins() -> None:
    hub, relay = make_hub(), relay_of()
    async with publishing(relay, hub, keep_rows=5):
        async with following(relay) as early:
            publish(hub, *CODES)
            hub.flush()
            await early.reaches(12)
            await turns_of_five(hub, early)
        found = await beginning_of(relay, warm_rows=5)
    assert 12 < found.position.at <= 67
    assert found.known_at == 72
    assert sorted((topic.code, topic.seq, topic.at) for topic in found.topics) == [
        (code, 1, CODES.index(code) + 1) for code in CODES[5:]
    ]


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_is_lost_every_edge_is_handed_the_whole_story(seed: int) -> None:
    chance = random.Random(seed)
    hub, relay = make_hub(ring_rows=100_000), relay_of(seed)
    relay.faulty = 0.15
    async with AsyncExitStack() as stack:
        feed = await stack.enter_async_context(AsyncExitStack())
        await feed.enter_async_context(publishing(relay, hub, keep_rows=40))
        shares = None, None, FEW, ONE
        edges = [await stack.enter_async_context(following(relay, share=share)) for share in shares]
        for number in range(60):
            codes, is_state = chance.sample(CODES, chance.randint(1, 12)), chance.random() < 0.3
            publish(hub, *codes, time_ms=number + 1, is_state=is_state)
            if chance.random() < 0.3:
                hub.announce(f"tick:{chance.choice(CODES)}", None, number)
            hub.flush()
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            match chance.randrange(20):
                case 0:
                    relay.cut()
                case 1:
                    relay.flush()
                case 2:  # the feed is killed; its history stays, as in a journal
                    await feed.aclose()
                    await feed.enter_async_context(publishing(relay, hub, keep_rows=40))
                case 3:
                    relay.away = not relay.away
                case 4 if not relay.away:
                    share = chance.choice(shares)
                    edges.append(await stack.enter_async_context(following(relay, share=share)))
            if not relay.away and chance.random() < 0.5:
                await chance.choice(edges).reaches(hub.history.at)
        relay.away, relay.faulty = False, 0.0
        told = len(hub.history.notices(hub.history.at, hub.history.at))
        for edge in edges:
            await edge.reaches(hub.history.at, told)
    assert relay.faults
    for edge in edges:
        assert edge.ended is None
        assert edge.story == story_of(hub, edge.share)
        assert edge.states == states_of(hub, edge.share)


async def test_the_streams_have_no_hole_where_the_feed_let_rows_go_before_it_could_publish_them() -> None:
    hub, relay = make_hub(ring_rows=1), relay_of()
    async with publishing(relay, hub) as publisher:
        async with following(relay) as early:
            publish(hub, "a.SH")
            hub.flush()
            await early.reaches(1)
        relay.away = True
        for _ in range(300):
            publish(hub, "a.SH")
        hub.flush()
        relay.away = False
        async with asyncio.timeout(PATIENCE_S):
            while publisher.behind_rows:  # noqa: ASYNC110 - it is a plain attribute
                await asyncio.sleep(0.001)
        async with following(relay) as late:
            await late.reaches(301)
        assert late.ended is None
        assert publisher.begun_anew == 2


async def test_a_feed_whose_lease_another_one_has_publishes_no_more() -> None:
    hub, relay = make_hub(), relay_of()
    async with publishing(relay, hub) as publisher, following(relay) as edge:
        publish(hub, "a.SH")
        hub.flush()
        await edge.reaches(1)
        relay.flush()
        assert await relay.lease("another", 3_600_000) is not None
        publish(hub, "a.SH")
        hub.flush()
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(Ousted, match="another feed has the lease"):
                await publisher.task
        assert edge.position == Position(1, 0)


async def test_rows_that_nobody_holds_any_more_end_the_edge_s_history() -> None:
    hub, relay = make_hub(ring_rows=1), relay_of()
    async with publishing(relay, hub, keep_rows=1), following(relay) as edge:
        publish(hub, "a.SH")
        hub.flush()
        await edge.reaches(1)
        relay.faulty = 1.0  # nothing is heard, and nothing can be read
        for _ in range(300):
            publish(hub, "a.SH")
        hub.flush()
        relay.faulty = 0.0
        relay.flush()
        publish(hub, "a.SH")
        hub.flush()
        async with asyncio.timeout(PATIENCE_S):
            while edge.ended is None:  # noqa: ASYNC110 - it is a plain attribute
                await asyncio.sleep(0.001)
        assert edge.ended.lost is not None
        assert edge.ended.lost.at > 1
        async with following(relay) as next_edge:
            await next_edge.reaches(hub.history.at)


async def test_another_epoch_ends_the_edge_s_history() -> None:
    old, new, relay = make_hub(), make_hub(), relay_of()
    new.epoch = "ffeeddccbbaa9988"
    async with AsyncExitStack() as stack:
        feed = await stack.enter_async_context(AsyncExitStack())
        await feed.enter_async_context(publishing(relay, old))
        edge = await stack.enter_async_context(following(relay))
        publish(old, "a.SH")
        old.flush()
        await edge.reaches(1)
        await feed.aclose()
        publish(new, "b.SH")
        new.flush()
        await feed.enter_async_context(publishing(relay, new))
        async with asyncio.timeout(PATIENCE_S):
            while edge.ended is None:  # noqa: ASYNC110 - it is a plain attribute
                await asyncio.sleep(0.001)
        assert not edge.ended.lost
        async with following(relay) as next_edge:
            await next_edge.reaches(1)
            assert next_edge.story == story_of(new)


async def test_the_wishes_of_all_edges_are_united_and_end_with_them() -> None:
    hub, relay = make_hub(), relay_of()
    told: list[frozenset[str]] = []
    async with publishing(relay, hub, on_wishes=told.append):
        await relay.wish("one", ["tick:a.SH", "tick:b.SH"], 60_000)
        await relay.wish("two", ["tick:b.SH", "tick:*.SZ"], 1)
        both = {"tick:a.SH", "tick:b.SH", "tick:*.SZ"}
        async with asyncio.timeout(PATIENCE_S):
            while not told or told[-1] != {"tick:a.SH", "tick:b.SH"}:  # noqa: ASYNC110 - a plain list
                await asyncio.sleep(0.001)
    assert told[0] in (frozenset(), frozenset(both), frozenset({"tick:a.SH", "tick:b.SH"}))
