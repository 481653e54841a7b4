"""The socket side of feeding at a hub: one conversation for each feeder that connects to ``/feed``."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import msgspec
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response
from websockets.protocol import State

from bridge.feed.messages import (
    CLOSE_VIOLATION,
    FEEDER_SAYS,
    MAX_MESSAGE_BYTES,
    SUBPROTOCOL,
    Ack,
    Error,
    FedBatch,
    FeedViolation,
    Hello,
    Reader,
    Want,
    Welcome,
    encode,
    short_reason,
)
from bridge.feed.right import FeedRight, address_of
from bridge.feed.source import FeedRefused, FeedSource
from hub.peers import PeerConnection

PATH: Final = "/feed"

HELLO_TIMEOUT_S: Final = 5.0
"""How long a feeder may take to introduce itself."""

ROWS_IN_A_TURN: Final = 1000
"""Rows of batches that have arrived already which are taken before the others get their turn."""

ACK_EVERY_S: Final = 0.02
"""Least time between two acknowledgements: one tells of all batches up to it, and a feeder keeps seconds of them."""

_logger = logging.getLogger("argus.feed")


class FeedEndpoint:
    """A `hub.endpoint.Endpoint` that brings what feeders say to a `FeedSource`.

    Args:
        rest_s: see `hub.peers.PeerConnection`.
    """

    subprotocol = SUBPROTOCOL
    max_message_bytes = MAX_MESSAGE_BYTES

    def __init__(
        self,
        source: FeedSource,
        right: FeedRight,
        hello_timeout_s: float = HELLO_TIMEOUT_S,
        rest_s: Callable[[], float] = float,
    ) -> None:
        self._source = source
        self._rest_s = rest_s
        self._right = right
        self._hello_timeout_s = hello_timeout_s

    def refuse(self, connection: PeerConnection, headers: Headers) -> Response | None:
        """Why this peer may not feed; None when it may."""
        return self._right.refuse(connection, headers)

    async def serve(self, connection: PeerConnection) -> None:
        """Take what one feeder brings, until its connection has ended."""
        peer = f"feeder at {address_of(connection)}"
        link = FeedLink(connection, self._source)
        try:
            await self._converse(connection, link, Reader(FEEDER_SAYS, peer))
        except FeedViolation as violation:
            _logger.error("%s: %s", peer, violation)
            self._source.leave(link, f"the feeder can't be understood: {violation}", keeps=True)
            await self._dismiss(connection, CLOSE_VIOLATION, "bad_message", str(violation))
        except FeedRefused as refused:
            _logger.warning("%s: refused, %s", peer, refused)
            await self._dismiss(connection, refused.code, refused.word, str(refused))
        except ConnectionClosed:
            _logger.debug("%s: lost", peer)
        finally:
            is_going = connection.close_code == 1000
            self._source.leave(link, _loss(connection), keeps=not is_going)
            link.stop()

    async def _converse(self, connection: PeerConnection, link: "FeedLink", reader: Reader) -> None:
        hello = await self._introduction(connection, reader)
        if not await self._is_running(connection):
            return
        welcome = self._source.enter(link, hello)
        await connection.send(encode(welcome))
        link.begin(welcome)
        connection.take_at_once = partial(self._take_at_once, link, reader)
        connection.rest_s = self._rest_s
        rows = 0
        async for data in connection:
            message = reader.read(data)
            if message is not None:
                self._source.take(link, message)
            rows += len(message.rows) if isinstance(message, FedBatch) else ROWS_IN_A_TURN
            if rows >= ROWS_IN_A_TURN:  # a feeder that catches up must not keep everybody else from their turn
                rows = 0
                await asyncio.sleep(0)

    def _take_at_once(self, link: "FeedLink", reader: Reader, data: bytes) -> bool:
        """Take what can be understood; the rest is for the conversation, which ends with it."""
        try:
            message = reader.read(data)
        except FeedViolation:
            return False
        if isinstance(message, Hello):
            return False
        if message is not None:
            self._source.take(link, message)
        return True

    async def _introduction(self, connection: PeerConnection, reader: Reader) -> Hello:
        try:
            async with asyncio.timeout(self._hello_timeout_s):
                while (message := reader.read(await connection.recv())) is None:
                    continue
        except TimeoutError:
            raise FeedViolation(f"no hello came within {self._hello_timeout_s:g} s") from None
        if not isinstance(message, Hello):
            raise FeedViolation("the first message must be hello")
        return message

    async def _is_running(self, connection: PeerConnection) -> bool:
        """Wait until the source takes batches; False when the feeder has gone meanwhile."""
        running = asyncio.ensure_future(self._source.running())
        gone = asyncio.ensure_future(connection.wait_closed())
        try:
            await asyncio.wait({running, gone}, return_when=asyncio.FIRST_COMPLETED)
            return running.done() and connection.state is State.OPEN
        finally:
            running.cancel()
            gone.cancel()

    async def _dismiss(self, connection: PeerConnection, code: int, word: str, reason: str) -> None:
        with suppress(ConnectionClosed):
            await connection.send(encode(Error(word, reason)))
        await connection.close(code, short_reason(reason))


class FeedLink:
    """What the hub sends to one feeder after its welcome: acknowledgements and what is wanted, the newest only."""

    def __init__(self, connection: PeerConnection, source: FeedSource) -> None:
        self._connection = connection
        self._source = source
        self._is_ended = False
        self._ack_again = False
        self._told_wanted: frozenset[str] = frozenset()
        self._resting: asyncio.TimerHandle | None = None  # after an acknowledgement, before the next
        self._woken = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    def begin(self, welcome: Welcome) -> None:
        """Send from now on what changes after the welcome."""
        self._told_wanted = frozenset(welcome.want)
        self._sending = asyncio.create_task(self._send(welcome.batch))

    def wake(self, *, ack_again: bool = False) -> None:
        """Look for something to send, in the next turn of the loop; for a further acknowledgement only after a rest."""
        self._ack_again |= ack_again
        if self._resting is None or self._source.wanted is not self._told_wanted:
            self._woken.set()

    def end(self, code: int, reason: str) -> None:
        """Close the connection, without waiting."""
        self._is_ended = True
        self._woken.set()
        self._ending = asyncio.create_task(self._connection.close(code, short_reason(reason)))

    def stop(self) -> None:
        """Send nothing any more; the connection has ended."""
        if self._sending is not None:
            self._sending.cancel()
        if self._resting is not None:
            self._resting.cancel()

    async def _send(self, acked: int) -> None:
        loop = asyncio.get_running_loop()
        with suppress(ConnectionClosed):
            while True:
                await self._woken.wait()
                self._woken.clear()
                if self._is_ended:
                    return
                before, self._told_wanted = self._told_wanted, self._source.wanted
                # Two sets that are one and the same would be compared topic by topic.
                if self._told_wanted is not before and self._told_wanted != before:
                    await self._say(Want(sorted(self._told_wanted)))
                stored = self._source.stored_batch
                if self._resting is None and (stored > acked or self._ack_again):
                    acked, self._ack_again = stored, False
                    self._resting = loop.call_later(ACK_EVERY_S, self._rested)
                    await self._say(Ack(stored))

    def _rested(self) -> None:
        self._resting = None
        self._woken.set()

    async def _say(self, message: msgspec.Struct) -> None:
        await self._connection.send(encode(message))


def _loss(connection: PeerConnection) -> str:
    if connection.close_code == 1000:
        return "the feeder has ended"
    reason = f": {connection.close_reason}" if connection.close_reason else ""
    return f"the connection to the feeder is lost ({connection.close_code}{reason})"
