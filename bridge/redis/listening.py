"""Hears what is published: one connection for each server that has a shard, all of them or none.

Whatever ends one of them ends the block: the output buffer limit of Redis, a cut line, a shard that has moved. Who
listens then begins again and reads what was missed from the streams.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio.connection import ConnectionPool

from bridge.redis.line import Line
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
        self._came: asyncio.Future[None] | None = None  # while somebody waits

    def put(self, message: bytes) -> None:
        """Take a message that came."""
        self._waiting.append(message)
        self._waiting_bytes += len(message)
        if self._waiting_bytes > MAX_WAITING_BYTES:
            raise RelayAway("messages came faster than they were taken")
        self._wake()

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        self._failure = self._failure or error
        self._wake()

    async def take(self, wait_s: float) -> Sequence[bytes]:
        """The next messages. A timer and a future, for each message: `asyncio.timeout` costs three times as much."""
        if not self._waiting and self._failure is None:
            loop = asyncio.get_running_loop()
            self._came = loop.create_future()
            limit = loop.call_later(wait_s, self._wake)
            try:
                await self._came
            finally:
                limit.cancel()
                self._came = None
        if self._failure is not None:
            raise RelayAway(f"listening has ended: {explain(self._failure)}")
        taken, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return taken

    def _wake(self) -> None:
        if self._came is not None and not self._came.done():
            self._came.set_result(None)


class Listening:
    """One connection that hears some channels."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._missing = 0
        self._heard: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line = Line(self._take, self._fail)
        self.close = self._line.close

    async def begin(self, pool: ConnectionPool, channels: Sequence[str], *, sharded: bool) -> None:
        """Subscribe, and return when the server has confirmed all of it; what comes meanwhile is put already.

        Raises:
            RedisError, OSError, RelayAway: it refuses, or has gone.
        """
        await self._line.open(pool)
        self._missing = len(channels)
        for channel in channels:  # one by one: they may be in different slots
            self._line.write("SSUBSCRIBE" if sharded else "SUBSCRIBE", channel)
        await self._heard

    def _take(self, answer: Any) -> None:
        """Take what the server said: a message, or that it knows what to send."""
        if isinstance(answer, Exception):
            raise RelayAway(explain(answer))
        if answer[0] in (b"message", b"smessage"):
            self._incoming.put(answer[2])
        elif answer[0] in (b"subscribe", b"ssubscribe"):
            self._missing -= 1
            if not self._missing:
                self._heard.set_result(None)
        else:
            raise RelayAway(f"a shard has moved to another server ({answer[0]!r})")

    def _fail(self, error: Exception) -> None:
        if self._heard.done():
            self._incoming.fail(error)
        else:
            self._heard.set_exception(error)
