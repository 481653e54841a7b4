"""What the doctor finds out about Redis: whether it is reached, may be used, and is set up so that nothing gets lost.

It reads, and tries the relay under a name of its own beside the deployment's; what it writes there ends by itself.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from time import time
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import RedisError, ResponseError

from bridge.check import Check
from bridge.redis.address import Address, close
from bridge.redis.relay import RedisRelay
from bridge.redis.words import FAILURES, explain
from bridge.relay.boundary import RelayAway
from bridge.relay.state import decode
from hub.settings import Settings

OLDEST: Final = (7, 0)
"""The oldest that the tests run with. Of a Cluster nothing older would do: pub/sub is sharded from then on."""
ROW_BYTES: Final = 450
"""A row in a stream: 300 were measured, and some room."""
LEAST_BUFFER: Final = (64 * 2**20, 32 * 2**20)
"""The hard and the soft limit: see docs/scaling.md."""
ALLOWED_CLOCK_S: Final = 5.0
PROBE_MS: Final = 5000
_HINT: Final = "does it run there, is this machine let in, does it speak TLS just where the address says so?"
_BUFFER: Final = "client-output-buffer-limit"
_Server = tuple[str, Redis]


def checks(settings: Settings) -> Iterator[Check]:
    """Check the Redis of a feed or an edge, one thing after the other; without an answer nothing more is asked."""
    try:
        address = Address.parse(settings.redis)
    except ValueError as error:
        yield Check("redis", False, f"redis {error}")
        return

    async def all_of_them() -> list[Check]:
        return [check async for check in _checks(address, settings)]

    yield from asyncio.run(all_of_them())


async def _checks(address: Address, settings: Settings) -> AsyncIterator[Check]:
    client = address.client()
    servers: list[_Server] = []
    try:
        servers += await _servers(address, client)
        facts = [(await server.info(), await _limits(server), await _ahead_s(server)) for _, server in servers]
    except FAILURES as error:
        hint = "" if isinstance(error, ResponseError) else f"; {_HINT}"  # else it is there, and has answered
        yield Check("redis", False, f"{address}: {explain(error)}{hint}")
        return
    finally:
        for _, server in servers:
            if server is not client:
                await server.aclose()
        await close(client)
    names = [name for name, _ in servers]
    rows = settings.relay_rows // len(servers)
    yield Check("redis", True, f"{address} answers{f', {len(servers)} masters' if len(servers) > 1 else ''}")
    yield _worst(names, [check_version(info) for info, _, _ in facts])
    yield _worst(names, [check_memory(info, rows) for info, _, _ in facts])
    yield _worst(names, [check_buffers(limits) for _, limits, _ in facts])
    yield _worst(names, [check_redis_clock(ahead_s) for _, _, ahead_s in facts])
    yield await _check_use(address, settings)
    yield await _check_feed(address, settings)


async def _servers(address: Address, client: "Redis | RedisCluster") -> list[_Server]:
    """The servers that keep rows, each with its name for the user."""
    if not isinstance(client, RedisCluster):
        return [(str(address), client)]
    await client.initialize()
    places = [(str(node.host), int(node.port)) for node in client.get_primaries()]
    return [(f"{host}:{port}", address.node(host, port)) for host, port in places]


def _worst(names: Sequence[str], found: Sequence[Check]) -> Check:
    """What was found on several servers, as one line: what is wrong, and where."""
    wrong = [(name, check) for name, check in zip(names, found, strict=True) if not check.ok]
    if not wrong or len(found) == 1:
        return found[0]
    name, check = wrong[0]
    return Check(check.name, False, f"{name}: {check.text}")


def check_version(info: Mapping[str, Any]) -> Check:
    """Whether it can do what the relay asks of it."""
    version = str(info.get("redis_version", ""))
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST:
        return Check("redis version", False, f"{version or 'unknown'}: install {OLDEST[0]}.{OLDEST[1]} or newer")
    return Check("redis version", True, version)


def check_memory(info: Mapping[str, Any], rows: int) -> Check:
    """Whether it keeps what it is given. ``rows``: those that it holds in streams."""
    limit, policy = int(info.get("maxmemory", 0)), str(info.get("maxmemory_policy", "noeviction"))
    if not limit:
        return Check("redis memory", True, f"{int(info.get('used_memory', 0)) / 1e6:.0f} MB used, without a limit")
    if policy != "noeviction":
        return Check(
            "redis memory",
            False,
            f"where its {limit / 1e6:.0f} MB are full it throws keys away ({policy}), such as the feed's lease: "
            "CONFIG SET maxmemory-policy noeviction",
        )
    needed = rows * ROW_BYTES
    if limit < needed:
        return Check(
            "redis memory",
            False,
            f"it may use {limit / 1e6:.0f} MB, but {rows} rows take up to {needed / 1e6:.0f} MB: "
            "raise maxmemory, or lower relay_rows",
        )
    return Check("redis memory", True, f"{limit / 1e6:.0f} MB, and nothing is thrown away")


def check_buffers(limits: str | None) -> Check:
    """Whether an edge that pauses for a moment is cut off. ``limits``: as Redis says; None where it doesn't."""
    asked = f'{_BUFFER} "pubsub 64mb 32mb 60"'
    if limits is None:
        return Check("redis buffers", True, f"not known, since this user may not ask; set {asked}")
    found = re.search(r"pubsub (\d+) (\d+) (\d+)", limits)
    sizes = (int(found[1]), int(found[2])) if found else (0, 0)
    if any(size and size < least for size, least in zip(sizes, LEAST_BUFFER, strict=True)):
        shown = " ".join(f"{size / 2**20:.0f}mb" for size in sizes)
        return Check("redis buffers", False, f"pubsub {shown} cuts an edge off that pauses: CONFIG SET {asked}")
    return Check("redis buffers", True, "an edge that pauses for a moment is not cut off")


def check_redis_clock(ahead_s: float) -> Check:
    """Whether its clock is right: fencing tokens grow with it. ``ahead_s``: of this machine's."""
    if abs(ahead_s) > ALLOWED_CLOCK_S:
        wrong = "ahead of" if ahead_s > 0 else "behind"
        return Check("redis clock", False, f"{abs(ahead_s):.0f} s {wrong} this machine's: use a time server on both")
    return Check("redis clock", True, "as this machine's")


async def _limits(server: Redis) -> str | None:
    try:
        found = await server.config_get(_BUFFER)
    except RedisError:  # an operator may well forbid it
        return None
    return str(found.get(_BUFFER, ""))


async def _ahead_s(server: Redis) -> float:
    before_s = time()
    seconds, us = await server.time()
    return float(seconds) + float(us) / 1e6 - (before_s + time()) / 2


async def _check_use(address: Address, settings: Settings) -> Check:
    """Listen, run a script and read what it wrote, as the relay does."""
    relay = RedisRelay(address, f"{settings.relay_name}:doctor-{secrets.token_hex(4)}", 1)
    try:
        async with relay.listen(range(1)):
            await relay.ask(b"", "nobody", PROBE_MS)
            heard = await relay.asked(PROBE_MS / 1000)
    except RelayAway as error:
        return Check("relay", False, str(error))
    finally:
        await relay.close()
    if heard is None:
        return Check("relay", False, "what was written was not there a moment later: is this Redis a replica?")
    return Check("relay", True, "scripts, keys and channels may be used")


async def _check_feed(address: Address, settings: Settings) -> Check:
    """What is there under the relay's name."""
    name, relay = settings.relay_name, RedisRelay(address, settings.relay_name, settings.relay_shards)
    try:
        told = await relay.state()
    except RelayAway as error:
        return Check("feed", False, str(error))
    finally:
        await relay.close()
    state = decode(told)
    if not told:
        return Check("feed", True, f"none has published as {name} yet: edges wait for it")
    if state is None:
        return Check("feed", False, f"what is there as {name} is of another version: run the same one everywhere")
    if state.shards != settings.relay_shards:
        return Check("feed", False, f"relay_shards is {settings.relay_shards} here, but {state.shards} at the feed")
    return Check("feed", True, f"one with the source {state.source} publishes as {name}, or did last")
