"""The relay over real Redis servers: one, one over TLS for a user, one behind a sentinel, and a Cluster."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
import pytest_asyncio

from bridge.redis.address import Address
from bridge.redis.line import AnsweredLine
from bridge.redis.relay import RedisRelay
from bridge.relay.boundary import Refused, Relay
from bridge.relay.position import TurnId
from tests.bridge.relay_conformance import RelayConformance, addition, lead
from tests.bridge.support.certificates import Certificates
from tests.bridge.support.redis_servers import (
    RIGHTS,
    needs_redis,
    redis_cluster,
    redis_over_tls,
    redis_server,
    redis_with_sentinel,
)
from tests.bridge.support.relaying import SHARDS, following, publishing, story_of
from tests.hub.support.core import make_hub, publish

pytestmark = needs_redis

USER: Final = "用户"
PASSWORD: Final = "p:ä/s#?@ %&+w"  # noqa: S105 - of nobody


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["single", "tls", "sentinel", "cluster"])
async def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    folder = tmp_path_factory.mktemp("redis")
    match request.param:
        case "single":
            async with redis_server(folder) as server:
                yield server.url
        case "tls":
            files = Certificates(folder / "files")
            async with redis_over_tls(folder / "server", files) as (place, server):
                await server.do("ACL", "SETUSER", USER, "on", f">{PASSWORD}", "~*", "&*", *RIGHTS)
                query = f"ssl_ca_certs={files.ca}&ssl_certfile={files.client}&ssl_keyfile={files.client}"
                yield f"rediss://{quote(USER)}:{quote(PASSWORD, safe='')}@{place}/0?{query}"
        case "sentinel":
            async with redis_with_sentinel(folder) as (url, _, _):
                yield url
        case _:
            async with redis_cluster(folder) as (url, _):
                yield url


@pytest.mark.asyncio(loop_scope="module")
class TestRedisRelay(RelayConformance):
    @pytest_asyncio.fixture(loop_scope="module")
    async def relay(self, address: str, request: pytest.FixtureRequest) -> AsyncIterator[Relay]:
        relay = RedisRelay(Address.parse(address), request.node.name[:60], 4)
        yield relay
        await relay.close()


@pytest.mark.parametrize("through", ["single", "sentinel"])
async def test_two_deployments_in_two_databases_hear_nothing_of_each_other(through: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        if through == "single":
            url = (await stack.enter_async_context(redis_server(tmp_path))).url.removesuffix("/0")
        else:
            url, _, _ = await stack.enter_async_context(redis_with_sentinel(tmp_path))
        hubs = [make_hub(), make_hub()]
        hubs[1].epoch = "b" * 16
        edges = []
        for db, hub in enumerate(hubs):
            ends = [RedisRelay(Address.parse(f"{url}/{db}"), "argus", SHARDS) for _ in range(2)]
            for end in ends:
                stack.push_async_callback(end.close)
            await stack.enter_async_context(publishing(ends[0], hub, lease_ms=5000))
            edges.append(await stack.enter_async_context(following(ends[1])))
        for number in range(1, 6):
            for hub in hubs:
                publish(hub, "600000.SH")
                hub.flush()
            for edge in edges:
                await edge.reaches(number)
        for hub, edge in zip(hubs, edges, strict=True):
            assert edge.story == story_of(hub)
            assert edge.ended is None
            assert edge.follower.trouble == ""


async def test_who_is_cancelled_while_a_connection_is_made_leaves_no_answer_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every turn from then on would be judged by the answer to the one before."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(redis_server(tmp_path))
        relay = RedisRelay(Address.parse(server.url), "argus", SHARDS)
        stack.push_async_callback(relay.close)
        token = await lead(relay)
        part = addition(0, TurnId(token, 1), "", ("tick:a", 1, b"row"))
        asked = asyncio.Event()

        async def never(*_: object) -> None:
            asked.set()
            await asyncio.Event().wait()

        with monkeypatch.context() as patch:
            patch.setattr(AnsweredLine, "answers", never)
            append = asyncio.create_task(relay.append([part]))
            await asked.wait()
            append.cancel()
            await asyncio.wait([append])
        await relay.append([part])
        assert [turn for turn, _ in await relay.read(0, "", 10)] == [f"{token}-1"]
        with pytest.raises(Refused):
            await relay.append([addition(0, TurnId(token, 3), f"{token}-2", ("tick:a", 2, b"row"))])
