"""Clients as a hub meets them in a long life: busy, fickle, slow, mute, on a bad line. Each checks what it gets.

Every visitor comes and goes until ``leave`` is set. What it does is drawn from its own random numbers; the pauses
in here are how a visitor behaves, never a wait for something.
"""

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed

from argus_client import Backoff, Gap, connect
from tests.e2e.soak.promise import Promise
from tests.e2e.support.fault_proxy import FaultProxy
from tests.e2e.support.plain_client import PlainClient, plain_client

PATTERNS: Final = ("tick:6*.SH", "tick:60*1.SH", "tick:688*", "tick:0*.SZ", "tick:3*5.SZ", "tick:*88*", "status:*")
SOON: Final = Backoff(least_s=0.01, most_s=0.1)


@dataclass
class Visit:
    """Where a visitor goes, until when, and what all of them together were given.

    ``codes`` are some instruments of the market.
    """

    url: str
    codes: list[str]
    leave: asyncio.Event
    counts: Counter[str] = field(default_factory=Counter)


Visitor = Callable[[Visit, random.Random], Coroutine[Any, Any, None]]


@asynccontextmanager
async def small_client(visit: Visit, chance: random.Random) -> AsyncIterator[PlainClient]:
    """A client whose machine holds as little as possible: what it does not read, waits at the hub."""
    address = urlsplit(visit.url)
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262_144)
    small.setblocking(False)
    await asyncio.get_running_loop().sock_connect(small, (address.hostname, address.port))
    async with plain_client(visit.url, chance.choice(("json", "msgpack")), max_queue=1, sock=small) as client:
        try:
            yield client
        finally:
            client.socket.transport.abort()  # it would not see the hub's answer to a close


async def churner(visit: Visit, chance: random.Random) -> None:
    """Come, ask for this and that in any order, and leave with or without a goodbye."""
    while not visit.leave.is_set():
        conflated = chance.random() < 0.3
        promise = Promise(conflated=conflated)
        async with plain_client(visit.url, chance.choice(("json", "msgpack"))) as client:
            for number in range(chance.randrange(1, 12)):
                request = _some_request(visit, chance, promise, conflated=conflated) | {"id": number}
                promise.sent(request)
                await client.send(**request)
                for _ in range(chance.choice((0, 1, 5, 20))):
                    promise.take(await client.receive())
                if visit.leave.is_set():
                    break
            if chance.random() < 0.5:
                client.socket.transport.abort()
        visit.counts += promise.counts
        visit.counts["visits"] += 1


async def trickler(visit: Visit, chance: random.Random) -> None:
    """Ask for everything, and read it a frame at a time with pauses: the hub conflates, or gives up."""
    while not visit.leave.is_set():
        conflated = chance.random() < 0.5
        promise = Promise(conflated=conflated)
        mode: dict[str, Any] = {"mode": "latest", "interval_ms": 500} if conflated else {}
        async with small_client(visit, chance) as client:
            await _ask(client, promise, op="subscribe", id=0, topics=["tick:*"], since={"time": 0}, **mode)
            with contextlib.suppress(ConnectionClosed):
                for _ in range(chance.randrange(20, 200)):
                    promise.take(await client.receive())
                    await asyncio.sleep(0.02)
                    if visit.leave.is_set():
                        break
        visit.counts += promise.counts
        visit.counts["visits"] += 1


async def mute(visit: Visit, chance: random.Random) -> None:
    """Ask for everything, read nothing for a while, then what is still there until the hub's close or the leave."""
    while not visit.leave.is_set():
        promise = Promise()
        async with small_client(visit, chance) as client:
            await _ask(client, promise, op="subscribe", id=0, topics=["tick:*"], since={"time": 0})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(visit.leave.wait(), chance.uniform(1, 4))
            with contextlib.suppress(ConnectionClosed):
                while not visit.leave.is_set():
                    promise.take(await client.receive())
        visit.counts += promise.counts
        visit.counts["visits"] += 1


async def mute_for_ever(visit: Visit, chance: random.Random) -> None:
    """Ask for everything and read nothing, until ``leave`` is set; then what is still there, to the hub's close."""
    promise = Promise()
    async with small_client(visit, chance) as client:
        await _ask(client, promise, op="subscribe", id=0, topics=["tick:*"], since={"time": 0})
        await visit.leave.wait()
        with contextlib.suppress(ConnectionClosed):
            while True:
                promise.take(await client.receive())
    visit.counts += promise.counts
    visit.counts["visits"] += 1


async def stranger(visit: Visit, chance: random.Random) -> None:
    """Open a connection, say something or nothing that is no handshake, and be gone. Read a page now and then."""
    address = urlsplit(visit.url)
    while not visit.leave.is_set():
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        words = chance.choice(
            (b"", b"GET /ws HTTP/1.1\r\nHost: ", b"\x16\x03\x01\x02", b"GET /metrics HTTP/1.1\r\n\r\n")
        )
        writer.write(words)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            if words.endswith(b"\r\n\r\n"):
                await reader.read()
        writer.transport.abort()
        visit.counts["visits"] += 1
        await asyncio.sleep(chance.uniform(0, 0.2))


async def traveller(visit: Visit, chance: random.Random) -> None:
    """The Python client on a line that fails again and again: every row once and in order, across all connections."""
    proxy = FaultProxy.before(visit.url)
    newest: dict[str, int] = {}

    def regained(_: object) -> None:
        proxy.flowing.set()
        proxy.delay_s, proxy.bytes_per_s = 0.0, None

    async with (
        proxy.serve(),
        connect(proxy.url, reconnect=SOON, on_disconnect=regained) as client,
        client.subscribe("tick:6*", inline_gaps=True) as items,
    ):
        async for item in items:
            if isinstance(item, Gap):
                assert item.cause in ("evicted", "upstream"), item
                visit.counts[f"gap {item.cause}"] += 1
                if item.to_seq is not None:
                    assert item.from_seq == newest[item.topic] + 1, f"{item} after {newest[item.topic]}"
                    newest[item.topic] = item.to_seq
                continue
            before = newest.get(item.topic)
            assert before is None or item.seq == before + 1, f"{item.topic}: {item.seq} after {before}"
            newest[item.topic] = item.seq
            visit.counts[item.origin] += 1
            if chance.random() < 0.001:
                _harm(proxy, chance)
            if visit.leave.is_set():
                break
    visit.counts["visits"] += proxy.opened


def _harm(proxy: FaultProxy, chance: random.Random) -> None:
    match chance.choice(("cut", "reset", "cut in a frame", "half-open", "delay", "throttle")):
        case "cut":
            proxy.cut()
        case "reset":
            with contextlib.suppress(OSError):  # a line that is ending already
                proxy.reset()
        case "cut in a frame":
            proxy.cut_after(chance.randrange(1, 20_000))
        case "half-open":
            proxy.flowing.clear()  # until the client has noticed by the missing heartbeats
        case "delay":
            proxy.delay_s = chance.uniform(0, 0.05)
        case "throttle":
            proxy.bytes_per_s = chance.uniform(200_000, 2_000_000)


async def _ask(client: PlainClient, promise: Promise, **request: Any) -> None:
    promise.sent(request)
    await client.send(**request)


def _some_request(visit: Visit, chance: random.Random, promise: Promise, *, conflated: bool) -> dict[str, Any]:
    """A request that makes sense now, without its id."""
    kind = chance.choice(("subscribe", "subscribe", "unsubscribe", "replay", "cancel", "snapshot"))
    topics = [f"tick:{code}" for code in chance.sample(visit.codes, chance.randint(1, 8))]
    topics += chance.sample(PATTERNS, chance.choice((0, 0, 1)))
    if kind == "unsubscribe" and promise.held:
        return {"op": "unsubscribe", "topics": chance.sample(promise.held, chance.randint(1, len(promise.held)))}
    if kind == "cancel" and promise.replays:
        return {"op": "cancel", "replay": chance.choice(list(promise.replays))}
    if kind == "replay":
        return {"op": "replay"} | _some_range(chance, promise, topics)
    if kind == "snapshot":
        return {"op": "snapshot", "topics": topics}
    sinces: tuple[dict[str, Any], ...] = (
        {},
        {"since": "none"},
        {"since": {"time": 0}},
        {"since": {"time": max(0, promise.time_ms - chance.randrange(60_000))}},
    )
    modes: tuple[dict[str, Any], ...] = ({"mode": "latest"}, {"mode": "latest", "interval_ms": 300})
    return {"op": "subscribe", "topics": topics} | chance.choice(sinces) | (chance.choice(modes) if conflated else {})


def _some_range(chance: random.Random, promise: Promise, topics: list[str]) -> dict[str, Any]:
    """Topics and bounds of a replay, most of them short, some of them slow."""
    kind = chance.choice(("whole", "by time", "by seq"))
    speed = {"speed": chance.choice((0, 0, 1, 20))}
    if kind == "by time":
        return speed | {"topics": topics, "from": max(0, promise.time_ms - chance.randrange(60_000))}
    if kind == "by seq":
        begin = chance.randrange(1, 50)
        return speed | {"topics": topics[:1], "from": {"seq": begin}, "to": {"seq": begin + chance.randrange(200)}}
    return speed | {"topics": topics[:3]}
