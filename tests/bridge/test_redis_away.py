"""What is told of a Redis that can't be used, and that whoever waits for it goes on waiting."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.redis.address import Address
from bridge.redis.relay import RedisRelay
from bridge.relay.beginning import wait_for_beginning
from bridge.relay.boundary import Addition, RelayAway
from bridge.relay.keeping import Learning
from bridge.relay.turn import TurnId
from bridge.relay.wishing import Wishing
from tests.bridge.support.redis_servers import free_port, needs_redis, redis_server

pytestmark = needs_redis

NOBODY: Final = "no node of the Cluster can be reached"
NO_CLUSTER: Final = "it is no Cluster (redis://HOST is the address of one server)"
LOCKED: Final = "it does not know this user or password, or wants one"


@asynccontextmanager
async def cluster_that_is(what: str, folder: Path) -> AsyncIterator[str]:
    """An address of a Cluster at which there is none that lets us in."""
    if what == NOBODY:
        yield f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
        return
    async with redis_server(folder) as server:
        if what == LOCKED:
            await server.do("CONFIG", "SET", "requirepass", "secret")
        yield f"redis+cluster://127.0.0.1:{server.port}"


async def listen(relay: RedisRelay) -> None:
    async with relay.listen():
        pass


CALLS: Final[dict[str, Callable[[RedisRelay], Awaitable[Any]]]] = {
    "state": lambda relay: relay.state(),
    "listen": listen,
    "homes": lambda relay: relay.homes(),
    "lease": lambda relay: relay.lease("feed", 1000),
    "append": lambda relay: relay.append([Addition(0, "e", TurnId(1, 1), "", TurnId(0, 0), b"")]),
    "asked": lambda relay: relay.asked(0.1),
    "read": lambda relay: relay.read(0, "", 1),
    "kept": lambda relay: relay.kept("reference", 1),
}


@pytest.mark.parametrize("what", [NOBODY, NO_CLUSTER, LOCKED])
async def test_a_cluster_that_can_not_be_used_is_away_to_every_call(what: str, tmp_path: Path) -> None:
    async with cluster_that_is(what, tmp_path) as url:
        for call in CALLS.values():
            relay = RedisRelay(Address.parse(url), "argus", 2)
            with pytest.raises(RelayAway) as away:
                await call(relay)
            assert str(away.value).startswith(what)
            await relay.close()


@pytest.mark.parametrize("what", [NOBODY, NO_CLUSTER, LOCKED])
async def test_who_waits_for_a_cluster_goes_on_waiting(
    what: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "argus.relay")
    async with cluster_that_is(what, tmp_path) as url:
        relay, stopped = RedisRelay(Address.parse(url), "argus", 2), asyncio.Event()
        learning = Learning(relay, lambda _kind, _content: None)
        learning.note({"reference": "00"})
        works = [
            asyncio.create_task(wait_for_beginning(relay, 0, stopped)),
            asyncio.create_task(Wishing(relay, "edge", frozenset).run()),
            asyncio.create_task(learning.run()),
        ]
        waits = ("the relay is away: ", "wishes wait for the relay: ", "the reference can't be fetched yet: ")
        async with asyncio.timeout(30):
            while not all(f"{words}{what}" in caplog.text for words in waits):  # noqa: ASYNC110 - a log
                await asyncio.sleep(0.01)
        assert not any(work.done() for work in works)
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        await relay.close()
