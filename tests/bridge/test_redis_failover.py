"""A feed and an edge while Redis fails over: every row once, whatever the replica had not heard of."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bridge.redis.address import Address
from bridge.redis.relay import RedisRelay
from tests.bridge.support.redis_servers import needs_redis, redis_cluster, redis_with_sentinel
from tests.bridge.support.relaying import PATIENCE_S, SHARDS, following, publishing, story_of
from tests.hub.support.core import make_hub, publish

pytestmark = needs_redis

CODES = [f"{600000 + number}.SH" for number in range(12)]


@asynccontextmanager
async def relay_at(address: str) -> AsyncIterator[RedisRelay]:
    relay = RedisRelay(Address.parse(address), "argus", SHARDS)
    try:
        yield relay
    finally:
        await relay.close()


async def test_a_replica_that_takes_over_is_told_what_it_lacks(tmp_path: Path) -> None:
    hub = make_hub()
    async with (
        redis_with_sentinel(tmp_path) as (address, master, replica),
        relay_at(address) as relay,
        relay_at(address) as own,
        publishing(relay, hub, lease_ms=1000) as publisher,
        following(own) as edge,
    ):
        publish(hub, *CODES)
        hub.flush()
        await edge.reaches(12)
        homes = await own.homes()
        replica.freeze()  # what comes now it never hears of
        for _ in range(5):
            publish(hub, *CODES)
            hub.flush()
            await edge.reaches(hub.history.at)
        await master.kill()
        replica.thaw()
        publish(hub, *CODES)
        hub.flush()
        await edge.reaches(84)
        assert await own.homes() != homes  # so that no other feed takes what it has for all there was
        assert edge.story == story_of(hub)
        assert edge.ended is None
        async with asyncio.timeout(PATIENCE_S):
            while publisher.behind_rows:  # noqa: ASYNC110 - it is a plain attribute
                await asyncio.sleep(0.01)
        async with following(own) as late:  # from what the replica has now
            await late.reaches(84)
            assert late.story == story_of(hub)


async def test_a_master_of_a_cluster_that_comes_back_with_nothing_is_filled_anew(tmp_path: Path) -> None:
    hub = make_hub()
    async with (
        redis_cluster(tmp_path) as (address, servers),
        relay_at(address) as relay,
        relay_at(address) as own,
        publishing(relay, hub, lease_ms=1000) as publisher,
        following(own) as edge,
    ):
        publish(hub, *CODES)
        hub.flush()
        await edge.reaches(12)
        before = publisher.begun_anew
        for server in servers:
            await server.do("FLUSHALL")
            publish(hub, *CODES)
            hub.flush()
            await edge.reaches(hub.history.at)
        assert publisher.begun_anew > before
        assert edge.story == story_of(hub)
        assert edge.ended is None


async def test_a_replica_of_a_cluster_that_takes_over_is_listened_to(tmp_path: Path) -> None:
    hub = make_hub()
    async with (
        redis_cluster(tmp_path, replicas=True) as (address, servers),
        relay_at(address) as relay,
        relay_at(address) as own,
        publishing(relay, hub, lease_ms=1000),
        following(own) as edge,
    ):
        publish(hub, *CODES)
        hub.flush()
        await edge.reaches(12)
        await servers[1].kill()  # it has the first shard
        publish(hub, *CODES)
        hub.flush()
        await edge.reaches(24)
        publish(hub, *CODES)
        hub.flush()
        await edge.reaches(36)
        assert edge.story == story_of(hub)
        assert edge.ended is None
