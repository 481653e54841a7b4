"""The relay over real Redis servers: one, one behind a sentinel, and a Cluster of three."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from bridge.redis.address import Address
from bridge.redis.relay import RedisRelay
from bridge.relay.boundary import Relay
from tests.bridge.relay_conformance import RelayConformance
from tests.bridge.support.redis_servers import (
    needs_redis,
    redis_cluster,
    redis_server,
    redis_with_sentinel,
)

pytestmark = needs_redis


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["single", "sentinel", "cluster"])
async def address(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    folder = tmp_path_factory.mktemp("redis")
    match request.param:
        case "single":
            async with redis_server(folder) as server:
                yield server.url
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
