"""What is told of a Redis that can't be used, and that whoever waits for it goes on waiting."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.redis.address import Address
from bridge.redis.relay import RedisRelay
from bridge.redis.words import away
from bridge.relay.beginning import wait_for_beginning
from bridge.relay.boundary import Addition, RelayAway
from bridge.relay.keeping import Learning
from bridge.relay.position import TurnId
from bridge.relay.share import whole
from bridge.relay.wishing import Wishing
from tests.bridge.support.redis_servers import free_port, needs_redis, redis_cluster, redis_server, redis_with_sentinel

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
    async with relay.listen(range(relay.shards)):
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
            asyncio.create_task(wait_for_beginning(relay, whole(relay.shards), 0, stopped)),
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


async def told_of(url: str) -> str:
    """What is told of a Redis that can't be used."""
    relay = RedisRelay(Address.parse(url), "argus", 2)
    with pytest.raises(RelayAway) as away:
        await relay.state()
    await relay.close()
    return str(away.value)


async def test_sentinels_that_are_not_there_or_do_not_know_the_master_are_told_in_a_few_words(tmp_path: Path) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    form = "(redis+sentinel://HOST,.../SERVICE)"
    told = await told_of(f"redis+sentinel://{nobody}/x")
    assert told == f"no sentinel can be reached that knows a master 'x' {form}"
    async with redis_with_sentinel(tmp_path) as (url, _, _):
        told = await told_of(url.removesuffix("argus") + "x")
        assert told == f"the sentinels know no master 'x' that is up {form}"
        place = url.removeprefix("redis+sentinel://").removesuffix("/argus")
        told = await told_of(f"redis+sentinel://{nobody},{place}/x")
        assert told == f"no sentinel can be reached that knows a master 'x' {form}"
    async with redis_server(tmp_path / "server") as server:
        assert (await told_of(f"redis+sentinel://127.0.0.1:{server.port}/x")).startswith("it is no sentinel")


async def test_a_database_that_is_none_and_a_node_of_a_cluster_are_told(tmp_path: Path) -> None:
    async with redis_server(tmp_path / "one") as server:
        assert (await told_of(f"redis://127.0.0.1:{server.port}/99")).startswith("it has no database of that number")
    async with redis_cluster(tmp_path / "cluster") as (_, servers):
        a_node = "it is a node of a Cluster (redis+cluster://HOST,... is the address of one)"
        assert await told_of(f"redis://127.0.0.1:{servers[0].port}/1") == a_node
        relays = [RedisRelay(Address.parse(server.url), "argus", 2) for server in servers]
        told = await asyncio.gather(*(relay.state() for relay in relays), return_exceptions=True)
        assert sorted(map(str, told)) == sorted([a_node, a_node, str(b"")])  # one of the three has the key
        for relay in relays:
            await relay.close()


def test_a_connection_that_is_lost_while_it_is_written_to_is_away_with_uvloop_as_well() -> None:
    """There asyncio passes over what is written, and uvloop raises a RuntimeError."""
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not for Windows")

    async def write_to_a_lost_one() -> None:
        async def end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()

        server = await asyncio.start_server(end, "127.0.0.1", 0)
        async with server, asyncio.timeout(30):
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await reader.read()
            writer.transport.abort()
            await asyncio.sleep(0)
            with pytest.raises(RelayAway, match="the connection was lost"), away():
                writer.writelines([b"PING"])
        with pytest.raises(RuntimeError, match="another"), away():
            raise RuntimeError("another")

    uvloop.run(write_to_a_lost_one())
