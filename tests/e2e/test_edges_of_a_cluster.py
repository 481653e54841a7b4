"""A feed and an edge as processes whose Redis Cluster is away as a whole: before they start, and while they serve."""

import asyncio
from pathlib import Path

from tests.bridge.support.redis_servers import needs_redis, redis_cluster
from tests.e2e.support.deployment import deployment
from tests.e2e.support.plain_client import plain_client
from tests.e2e.support.scripted_feeder import TEN_MS
from tests.e2e.test_edges import CODES, rows_until

pytestmark = needs_redis

AWAY = "the relay is away: no node of the Cluster can be reached"


async def test_feed_and_edge_wait_for_a_cluster_and_outlive_it(tmp_path: Path) -> None:
    async with redis_cluster(tmp_path / "cluster") as (url, servers), deployment(tmp_path) as d:
        for server in servers:
            await server.kill()
        d.feed = await d.start_second_feed("--source", "feed", "--redis", url)
        starting = asyncio.create_task(d.start_edge("--redis", url))  # it listens once it has what the feed has
        log = tmp_path / "hub-2.log"
        async with asyncio.timeout(60):
            while not (log.exists() and AWAY in log.read_text(encoding="utf-8")):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        await d.ready(d.feed, is_ready=False, reason=AWAY)
        for server in servers:
            await server.start()
        await d.leads(d.feed)
        edge, mine = await starting, CODES[3]
        few = await d.start_edge("--redis", url, "--edge-topics", f"tick:{mine}")
        feeder = await d.feeder()
        await feeder.feed_ticks(CODES)
        async with plain_client(edge.ws_url) as client, plain_client(few.ws_url) as other:
            await client.send(op="subscribe", topics=["tick:*"])
            await rows_until(client, CODES[-1], 1)
            await other.send(op="subscribe", topics=[f"tick:{mine}"])
            await rows_until(other, mine, 1)
            for server in servers:
                await server.kill()
            await d.ready(edge, is_ready=False, reason=AWAY)
            await client.send(op="replay", id=1, topics=["tick:*"], **{"from": 0, "to": 2 * TEN_MS})
            assert (await client.control("replay_done"))["count"] == len(CODES)
            feeding = asyncio.create_task(feeder.feed_ticks(CODES))  # acknowledged when it is published
            for server in servers:
                await server.start()
            await feeding
            await d.ready(edge)
            rows = await rows_until(client, CODES[-1], 2)
            assert [row[:2] for row in rows] == [(code, 2) for code in CODES]
            assert [row[:2] for row in await rows_until(other, mine, 2)] == [(mine, 2)]
            await d.ready(few)
