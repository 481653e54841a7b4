"""Hears what is published: one connection for each server that has a shard, all of them or none.

Whatever ends one of them ends the block: the output buffer limit of Redis, a cut line, a shard that has moved. Who
listens then begins again and reads what was missed from the streams.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from bridge.redis.words import explain
from bridge.relay.boundary import RelayAway

MAX_WAITING_BYTES = 256 * 2**20
"""What may wait for an edge that doesn't come to take it: then it is cut off, as Redis would do itself."""


class Incoming:
    """Messages that came in, on any of some connections."""

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._failure: Exception | None = None
        self._came = asyncio.Event()

    def put(self, message: bytes) -> None:
        """Take a message that came."""
        self._waiting.append(message)
        self._waiting_bytes += len(message)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            raise RelayAway("messages came faster than they were taken")
        self._came.set()

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        self._failure = self._failure or error
        self._came.set()

    async def take(self) -> Sequence[bytes]:
        """The next messages."""
        await self._came.wait()
        if self._failure is not None:
            raise RelayAway(f"listening has ended: {explain(self._failure)}")
        self._came.clear()
        taken, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return taken


async def begin(pubsub: PubSub, channels: Sequence[str], incoming: Incoming, *, sharded: bool) -> None:
    """Subscribe, and return when the server has confirmed all of it; what comes meanwhile is put already."""
    for channel in channels:  # one by one: they may be in different slots
        if sharded:
            await pubsub.ssubscribe(channel)
        else:
            await pubsub.subscribe(channel)
        while not _put(await pubsub.parse_response(block=True), incoming):
            pass


async def hear(pubsub: PubSub, incoming: Incoming) -> None:
    """Put everything that comes on one connection, until it ends."""
    try:
        while True:
            _put(await pubsub.parse_response(block=True), incoming)
    except (RedisError, RelayAway, OSError) as error:
        incoming.fail(error)


def _put(answer: Any, incoming: Incoming) -> bool:
    """Put what a server said, if it is a message. Returns whether it confirmed a subscription instead."""
    if answer[0] in (b"message", b"smessage"):
        incoming.put(answer[2])
        return False
    if answer[0] in (b"subscribe", b"ssubscribe"):
        return True
    raise RelayAway(f"a shard has moved to another server ({answer[0]!r})")
