"""The sockets: puts together who is let in, what becomes of each client, and the end of the day.

A connection begins as a `Handshake`, and becomes a client's `HubConnection` or a peer of another endpoint.
What is to happen to clients at some time each part keeps for itself: pings, heartbeats, stalled sockets, closing.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from time import time
from types import MappingProxyType
from typing import Any, Final

from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from hub.auth import Token, is_loopback
from hub.connection import CLOSE_TIMEOUT_S, HubConnection
from hub.core import Hub
from hub.deadlines import Deadlines
from hub.delivery import Delivery
from hub.door import Conversation, Door, codec_of
from hub.drain import CLOSE_RESTART, dismiss
from hub.endpoint import Endpoint
from hub.handshake import Handshake, Reception
from hub.heartbeats import Heartbeats
from hub.keepalive import Keepalive
from hub.limits import Limits
from hub.outbox import Outbox
from hub.peers import Peers
from hub.session import CLOSE_UNAUTHORIZED, Session
from hub.stall import StallWatch

CLOSE_SLOW: Final = 4408
BACKLOG: Final = 4096
"""Connections that the system may hold until the hub comes to accept them."""
LAST_S: Final = 1.0
"""How long the hub waits, at most, to be told that the connections that it cut off are gone."""
_NO_ENDPOINTS: Final[Mapping[str, Endpoint]] = MappingProxyType({})

_logger = logging.getLogger("argus.server")


def _is_open() -> str:
    """Clients are let in."""
    return ""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How the server treats its clients. Times in seconds."""

    name: str
    limits: Limits
    token: Token | None
    allowed_origins: Set[str]
    max_clients: int
    heartbeat_s: float
    stall_s: float
    auth_timeout_s: float
    ping_interval_s: float
    ping_timeout_s: float
    compression: bool


class HubServer:
    """Serves clients of one hub.

    Args:
        pages: answers plain HTTP requests by path; None for a path that it doesn't know.
        markets: the state of each market, as heartbeats tell it.
        endpoints: further endpoints by path, for peers that are no clients; they count as none.
        closed: why clients are not let in now; empty where they are.
    """

    def __init__(
        self,
        hub: Hub,
        delivery: Delivery,
        settings: ServerSettings,
        pages: Callable[[str], Response | None],
        markets: Callable[[], Mapping[str, Mapping[str, Any]]],
        endpoints: Mapping[str, Endpoint] = _NO_ENDPOINTS,
        closed: Callable[[], str] = _is_open,
    ) -> None:
        self.closed_slow = 0
        self._hub = hub
        self._delivery = delivery
        self._settings = settings
        self._clients: dict[HubConnection, None] = {}
        self._door = Door(settings, pages, endpoints, lambda: len(self._clients) < settings.max_clients, closed)
        self._peers = Peers(settings)
        self._closing: Deadlines[HubConnection | Handshake] = Deadlines(CLOSE_TIMEOUT_S, _abort)
        self._reception = Reception(self._door, self._peers, self._admit, self._closing)
        self._unauthorized: Deadlines[HubConnection] = Deadlines(settings.auth_timeout_s, self._expect_authorized)
        self._keepalive = Keepalive(settings.ping_interval_s, settings.ping_timeout_s, self._end_mute)
        self._heartbeats = Heartbeats(hub, settings.heartbeat_s, markets, _now_ms)
        self._stalls = StallWatch(settings.stall_s, self._give_up)
        self._listener: asyncio.Server
        self._watching: asyncio.Task[None]

    @property
    def draining(self) -> bool:
        """Whether the hub is about to end: nobody is let in any more."""
        return self._door.draining

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    @property
    def pending_bytes(self) -> int:
        """Encoded bytes that wait for clients, in outboxes and transports."""
        return sum(
            connection.outbox.queued_bytes + connection.transport.get_write_buffer_size()
            for connection in self._clients
        )

    async def start(self, host: str, port: int) -> Sequence[tuple[str, int]]:
        """Listen, and keep the clients alive. Returns the addresses. Raises OSError when the port can't be had."""
        loop = asyncio.get_running_loop()
        self._door.loopback_only = is_loopback(host)
        self._listener = await loop.create_server(self._reception.make, host, port, backlog=BACKLOG)
        self._watching = loop.create_task(self._stalls.run())
        return [socket.getsockname()[:2] for socket in self._listener.sockets]

    async def send_away(self, reason: str, drain_s: float) -> None:
        """Tell the clients of now, send what waits, and close them with 1012."""
        self._hub.flush()
        await dismiss(self._clients, reason, drain_s, asyncio.get_running_loop().time() + drain_s)

    async def drain(self, reason: str, drain_s: float) -> None:
        """Stop accepting, tell the clients, send what waits, close them with 1012 spread over part of the time, end.

        Peers of other endpoints are closed after the clients, so that they still hear what became of what they sent.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + drain_s * 0.9
        self._door.draining = True
        self._listener.close()
        self._hub.flush()
        await dismiss(self._clients, reason, drain_s, deadline_s)
        await self._peers.close(CLOSE_RESTART, reason, max(drain_s * 0.05, deadline_s - loop.time()))
        self._reception.end()
        for connection in self._clients:
            connection.transport.abort()
        while (self._clients or self._reception) and loop.time() < deadline_s + LAST_S:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0)  # the loop is about to tell that they are gone
        for parts in (self._unauthorized, self._keepalive, self._heartbeats, self._closing):
            parts.stop()
        self._watching.cancel()
        await asyncio.gather(self._watching, return_exceptions=True)
        await self._listener.wait_closed()

    def _admit(self, transport: asyncio.Transport, conversation: Conversation, request: Request) -> HubConnection:
        """Make a client of a connection that was let in, and hand the connection to it."""
        settings = self._settings
        connection = HubConnection(transport, conversation, self)
        outbox = connection.outbox = Outbox(
            codec_of(conversation, request),
            self._hub.epoch,
            connection.write_compressed if conversation.extensions else connection.write,
            settings.limits.pending_bytes,
            partial(self._give_up, connection, f"more than {settings.limits.pending_bytes} bytes were waiting"),
            self._hub.counts,
        )
        outbox.on_fault = partial(connection.close, CloseCode.INTERNAL_ERROR, "the hub failed; its log tells more")
        session = connection.session = Session(
            secrets.token_hex(8),
            self._hub,
            outbox,
            settings.limits,
            token=settings.token,
            authorized="Authorization" in request.headers,  # a wrong one was refused
            close=connection.close,
            now_s=asyncio.get_running_loop().time(),
        )
        transport.set_protocol(connection)
        self._clients[connection] = None
        self._keepalive.add(connection)
        self._heartbeats.add(connection)
        if not session.authorized:
            self._unauthorized.add(connection)
        session.welcome(settings.name, settings.heartbeat_s, _now_ms())
        return connection

    # What connections tell

    def on_message(self, connection: HubConnection, message: str | bytes) -> None:
        """A client said something: have its session carry it out."""
        connection.session.receive(message, asyncio.get_running_loop().time(), _now_ms())
        self._delivery.pump_soon(connection.outbox)

    def on_pong(self, connection: HubConnection) -> None:
        """A client is alive."""
        self._keepalive.answered(connection)

    def on_paused(self, connection: HubConnection) -> None:
        """A client's socket takes no more."""
        self._stalls.add(connection)

    def on_resumed(self, connection: HubConnection) -> None:
        """A client's socket takes data again."""
        self._stalls.remove(connection)
        self._delivery.pump_soon(connection.outbox)

    def on_closing(self, connection: HubConnection) -> None:
        """A client's connection is going to end: soon by itself, or it is cut."""
        if connection not in self._closing:
            self._closing.add(connection)

    def on_lost(self, connection: HubConnection) -> None:
        """A client is gone: keep nothing of it."""
        _logger.debug("client %s lost: %s", connection.session.name, connection.protocol.close_reason)
        del self._clients[connection]
        for parts in (self._unauthorized, self._keepalive, self._heartbeats, self._stalls, self._closing):
            parts.remove(connection)
        connection.session.leave()
        self._delivery.forget(connection.outbox)

    def _expect_authorized(self, connections: Sequence[HubConnection]) -> None:
        for connection in connections:
            if not connection.session.authorized:
                connection.close(CLOSE_UNAUTHORIZED, "no token was shown in time")

    def _end_mute(self, connections: Sequence[HubConnection]) -> None:
        """Close those that answered no ping: the ping waits behind what a slow one does not read."""
        for connection in connections:
            if connection in self._stalls and not connection.outbox.is_shut:
                self._give_up(connection, "no ping was answered, and the socket was full")
            else:
                connection.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")

    def _give_up(self, connection: HubConnection, why: str) -> None:
        self.closed_slow += 1
        connection.close(CLOSE_SLOW, f"too slow: {why}")


def _abort(connections: Sequence[HubConnection | Handshake]) -> None:
    """Cut connections whose close frame waits behind what the peer does not read, or that do not answer it."""
    for connection in connections:
        connection.transport.abort()


def _now_ms() -> int:
    return int(time() * 1000)
