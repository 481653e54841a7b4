"""The sockets: handshake, one session for each connection, pings, slow clients, and the end of the day.

The websockets library does the handshake, pings and closing. Rows bypass its send path: one frame, made once, is
written to every client's transport; what waits for a client that doesn't keep up is held by its outbox.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from time import time
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import parse_qs
from weakref import WeakSet

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers, MultipleValuesError
from websockets.exceptions import ConnectionClosed, NegotiationError
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from hub.auth import Token, is_loopback, origin_allowed
from hub.core import Hub
from hub.delivery import Delivery
from hub.endpoint import Endpoint
from hub.limits import Limits
from hub.outbox import Outbox
from hub.session import CLOSE_UNAUTHORIZED, Session
from hub.wire import CODECS, SUBPROTOCOLS, Codec, split_frames

CLOSE_RESTART: Final = 1012
CLOSE_SLOW: Final = 4408

CLOSE_TIMEOUT_S: Final = 5.0
"""How long a closing connection may take to answer before it is aborted."""
WRITE_HIGH_BYTES: Final = 256 * 1024
WRITE_LOW_BYTES: Final = 64 * 1024
"""Bytes in a transport above which the outbox holds back, and below which it goes on."""
DRAIN_LOOK_S: Final = 0.02
"""How often draining looks whether a client has what waits for it."""
CLOSES_PER_S: Final = 1000
"""Draining spreads the closes, since every one of them is a client that comes back elsewhere or after the restart."""
SESSIONS_PER_TURN: Final = 200
"""Heartbeats sent in one turn of the loop."""
_NO_ENDPOINTS: Final[Mapping[str, Endpoint]] = MappingProxyType({})

_logger = logging.getLogger("argus.server")


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


class HubConnection(ServerConnection):
    """A connection that tells its outbox when the socket takes data, and when it is closing."""

    outbox: Outbox | None = None
    session: Session | None = None
    endpoint: Endpoint | None = None  # instead of both, for a peer that is no client
    on_writable: Callable[[Outbox], None]
    made: WeakSet["HubConnection"]
    has_ended: Callable[[], bool]
    unmoved_bytes = -1  # in the transport at the last look, while writing is paused
    unmoved_since_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The peer is there. Who comes in the very turn in which the hub ends is cut off at once."""
        super().connection_made(transport)
        self.made.add(self)
        if self.has_ended():
            self.transport.abort()

    def pause_writing(self) -> None:
        """The transport holds enough: keep the rest in the outbox."""
        super().pause_writing()
        if self.outbox is not None:
            self.outbox.writable = False
            self.unmoved_bytes = -1

    def resume_writing(self) -> None:
        """The transport takes data again."""
        super().resume_writing()
        if self.outbox is not None:
            self.outbox.writable = True
            self.on_writable(self.outbox)

    def send_data(self) -> None:
        """Send what the protocol has to say; nothing may follow a close frame."""
        super().send_data()
        if self.outbox is not None and self.protocol.state is not State.OPEN:
            self.outbox.shut()


class HubServer:
    """Serves clients of one hub.

    Args:
        pages: answers plain HTTP requests by path; None for a path that it doesn't know.
        markets: the state of each market, as heartbeats tell it.
        endpoints: further endpoints by path, for peers that are no clients; they count as none.
    """

    def __init__(
        self,
        hub: Hub,
        delivery: Delivery,
        settings: ServerSettings,
        pages: Callable[[ServerConnection, str], Response | None],
        markets: Callable[[], Mapping[str, Mapping[str, Any]]],
        endpoints: Mapping[str, Endpoint] = _NO_ENDPOINTS,
    ) -> None:
        self.draining = False
        self.closed_slow = 0
        self._ended = False
        self._loopback_only = True
        self._hub = hub
        self._delivery = delivery
        self._settings = settings
        self._pages = pages
        self._markets = markets
        self._endpoints = endpoints
        self._server: Server
        self._connections: dict[HubConnection, None] = {}
        self._peers: dict[HubConnection, None] = {}
        self._made: WeakSet[HubConnection] = WeakSet()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def clients(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    @property
    def pending_bytes(self) -> int:
        """Encoded bytes that wait for clients, in outboxes and transports."""
        return sum(
            connection.outbox.queued_bytes + connection.transport.get_write_buffer_size()
            for connection in self._connections
            if connection.outbox is not None
        )

    async def start(self, host: str, port: int) -> Sequence[tuple[str, int]]:
        """Listen, and keep the clients alive. Returns the addresses. Raises OSError when the port can't be had."""
        settings = self._settings
        self._loopback_only = is_loopback(host)
        self._server = await serve(
            self._serve,
            host,
            port,
            process_request=self._process_request,
            select_subprotocol=_select_subprotocol,
            compression="deflate" if settings.compression else None,
            max_size=settings.limits.message_bytes,
            write_limit=(WRITE_HIGH_BYTES, WRITE_LOW_BYTES),
            ping_interval=settings.ping_interval_s,
            ping_timeout=settings.ping_timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
            server_header=settings.name,
            create_connection=self._make,  # type: ignore[arg-type]  # any factory will do
            backlog=1024,
        )
        self._spawn(self._heartbeats())
        self._spawn(self._watch_stalled())
        return [socket.getsockname()[:2] for socket in self._server.sockets]

    async def drain(self, reason: str, drain_s: float) -> None:
        """Stop accepting, tell the clients, send what waits, close them with 1012 spread over part of the time, end.

        Peers of other endpoints are closed after the clients, so that they still hear what became of what they sent.
        """
        self.draining = True
        self._server.close(close_connections=False)
        self._hub.flush()
        connections = list(self._connections)
        spread_s = min(drain_s * 0.6, len(connections) / CLOSES_PER_S)
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        deadline_s = now_s + drain_s * 0.9
        closing: list[asyncio.Future[None]] = []
        for number, connection in enumerate(connections):
            close_in_s = spread_s * (number + 1) / len(connections)
            if connection.session is not None:
                connection.session.draining(reason, round(close_in_s * 1000))
            closing.append(asyncio.ensure_future(self._dismiss(connection, now_s + close_in_s, deadline_s, reason)))
        if closing:
            await asyncio.wait(closing, timeout=drain_s * 0.9)
        parting = [asyncio.ensure_future(peer.close(CLOSE_RESTART, reason)) for peer in self._peers]
        if parting:
            await asyncio.wait(parting, timeout=max(drain_s * 0.05, deadline_s - loop.time()))
            closing += parting
        self._ended = True
        for connection in self._made:  # also those that never got as far as a handshake
            connection.transport.abort()
        for task in (*self._tasks, *closing):
            task.cancel()
        await asyncio.gather(*self._tasks, *closing, return_exceptions=True)
        await self._server.wait_closed()

    async def _dismiss(self, connection: HubConnection, at_s: float, deadline_s: float, reason: str) -> None:
        """Close one client for the restart, when it has what waits for it or the time is over."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(at_s - loop.time())
        outbox = connection.outbox
        while outbox is not None and outbox.queued_bytes and loop.time() < deadline_s:  # noqa: ASYNC110 - it is pure
            await asyncio.sleep(DRAIN_LOOK_S)
        self._close(connection, CLOSE_RESTART, reason)
        await connection.wait_closed()

    def _make(self, *args: Any, **kwargs: Any) -> HubConnection:
        connection = HubConnection(*args, **kwargs)
        connection.made, connection.has_ended = self._made, lambda: self._ended
        return connection

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a plain page, refuse a handshake, or (None) let it go on."""
        assert isinstance(connection, HubConnection)  # noqa: S101 - made by `create_connection`
        path = request.path.partition("?")[0]
        if path in self._endpoints:
            return self._process_peer(connection, request, self._endpoints[path])
        if path != "/ws":
            if request.method not in ("GET", "HEAD"):
                refusal = connection.respond(HTTPStatus.METHOD_NOT_ALLOWED, "Pages are for reading: GET.\n")
                refusal.headers["Allow"] = "GET, HEAD"
                return refusal
            page = self._pages(connection, path)
            if page is None:
                page = connection.respond(HTTPStatus.NOT_FOUND, "There is nothing here. Clients connect to /ws.\n")
            if request.method == "HEAD":
                page.body = b""
            return page
        encodings = parse_qs(request.path.partition("?")[2]).get("encoding", [])
        if not set(encodings) <= {"json", "msgpack"}:
            return connection.respond(HTTPStatus.BAD_REQUEST, "The encoding is json or msgpack.\n")
        try:
            return self._refuse(connection, request.headers)
        except MultipleValuesError as error:
            return connection.respond(HTTPStatus.BAD_REQUEST, f"The header {error} may come once only.\n")

    def _process_peer(self, connection: HubConnection, request: Request, endpoint: Endpoint) -> Response | None:
        """Refuse a handshake at another endpoint, or (None) let it go on under the rules that hold there."""
        connection.endpoint = endpoint
        connection.protocol.max_message_size = endpoint.max_message_bytes
        try:
            if not _is_handshake(request.headers):
                return None  # the library answers with 426 and says why
            if self.draining:
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "The hub is restarting.\n")
            return endpoint.refuse(connection, request.headers)
        except MultipleValuesError as error:
            return connection.respond(HTTPStatus.BAD_REQUEST, f"The header {error} may come once only.\n")

    def _refuse(self, connection: ServerConnection, headers: Headers) -> Response | None:
        """Why this client may not connect; None when it may."""
        if not _is_handshake(headers):
            return None  # the library answers with 426 and says why
        if self.draining:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "The hub is restarting.\n")
        if len(self._connections) >= self._settings.max_clients:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "The hub has no room for another client.\n")
        origin = headers.get("Origin")
        host, allowed = headers.get("Host", ""), self._settings.allowed_origins
        if not origin_allowed(origin, host, allowed, loopback_only=self._loopback_only):
            return connection.respond(HTTPStatus.FORBIDDEN, f"The origin {origin} is not allowed here.\n")
        token, shown = self._settings.token, headers.get("Authorization")
        if token is not None and shown is not None and not token.in_header(shown):
            refusal = connection.respond(HTTPStatus.UNAUTHORIZED, "This is not the token.\n")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        return None

    async def _serve(self, connection: ServerConnection) -> None:
        assert isinstance(connection, HubConnection)  # noqa: S101 - made by `create_connection`
        if connection.endpoint is not None:
            await self._serve_peer(connection, connection.endpoint)
            return
        assert connection.request is not None  # noqa: S101 - the handshake is over
        loop = asyncio.get_running_loop()
        settings = self._settings
        outbox = Outbox(
            _codec_of(connection),
            self._hub.epoch,
            _writer(connection),
            settings.limits.pending_bytes,
            partial(self._give_up, connection),
            self._hub.counts,
        )
        authorized = settings.token is not None and "Authorization" in connection.request.headers
        session = Session(
            secrets.token_hex(8),
            self._hub,
            outbox,
            settings.limits,
            token=settings.token,
            authorized=authorized,
            close=partial(self._close, connection),
            now_s=loop.time(),
        )
        connection.on_writable = self._delivery.pump_soon
        connection.outbox, connection.session = outbox, session
        outbox.writable = not connection.paused
        self._connections[connection] = None
        session.welcome(settings.name, settings.heartbeat_s, _now_ms())
        expecting = loop.call_later(settings.auth_timeout_s, self._expect_authorized, connection)
        try:
            async for message in connection:
                session.receive(message, loop.time(), _now_ms())
                self._delivery.pump_soon(outbox)
        except ConnectionClosed:
            _logger.debug("client %s lost: %s", session.name, connection.close_reason)
        finally:
            expecting.cancel()
            session.leave()
            self._delivery.forget(outbox)
            del self._connections[connection]

    async def _serve_peer(self, connection: HubConnection, endpoint: Endpoint) -> None:
        self._peers[connection] = None
        try:
            await endpoint.serve(connection)
        except ConnectionClosed:
            _logger.debug("peer lost: %s", connection.close_reason)
        finally:
            del self._peers[connection]

    def _expect_authorized(self, connection: HubConnection) -> None:
        if connection.session is not None and not connection.session.authorized:
            self._close(connection, CLOSE_UNAUTHORIZED, "no token was shown in time")

    def _give_up(self, connection: HubConnection) -> None:
        self.closed_slow += 1
        self._close(connection, CLOSE_SLOW, "too slow: too many bytes were waiting")

    def _close(self, connection: HubConnection, code: int, reason: str) -> None:
        if connection.outbox is not None:
            connection.outbox.shut()
        self._spawn(_end(connection, code, reason))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._settings.heartbeat_s)
            try:
                await self._beat()
            except Exception:  # heartbeats that have ended would look like a dead hub
                _logger.exception("a heartbeat could not be sent")

    async def _beat(self) -> None:
        markets = {market: dict(health) for market, health in self._markets().items()}
        for number, connection in enumerate(list(self._connections)):
            if number % SESSIONS_PER_TURN == 0:
                await asyncio.sleep(0)
                self._hub.flush()
            if connection.session is not None:
                connection.session.heartbeat(_now_ms(), markets)

    async def _watch_stalled(self) -> None:
        """Give up clients whose socket took nothing for too long: what waits may be too little for the byte limit."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, self._settings.stall_s / 4))
            now_s = loop.time()
            for connection in list(self._connections):
                outbox = connection.outbox
                if outbox is None or outbox.writable:
                    continue
                waiting = connection.transport.get_write_buffer_size()
                if connection.unmoved_bytes < 0 or waiting < connection.unmoved_bytes:  # growing is no progress
                    connection.unmoved_bytes, connection.unmoved_since_s = waiting, now_s
                elif now_s - connection.unmoved_since_s >= self._settings.stall_s:
                    self._give_up(connection)


async def _end(connection: HubConnection, code: int, reason: str) -> None:
    """Close a connection; cut it where the close frame waits behind what the peer does not read."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await connection.close(code, reason)
    except TimeoutError:
        connection.transport.abort()


def _is_handshake(headers: Headers) -> bool:
    """Whether a request asks for a WebSocket at all."""
    return "websocket" in headers.get("Upgrade", "").lower()


def _select_subprotocol(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    assert isinstance(connection, HubConnection)  # noqa: S101 - made by `create_connection`
    known = SUBPROTOCOLS if connection.endpoint is None else (connection.endpoint.subprotocol,)
    for subprotocol in offered:
        if subprotocol in known:
            return subprotocol
    if offered:
        raise NegotiationError(f"unknown subprotocol; known here: {', '.join(known)}")
    return None


def _codec_of(connection: HubConnection) -> Codec:
    if connection.subprotocol is not None:
        return CODECS[connection.subprotocol]
    query = connection.request.path.partition("?")[2] if connection.request is not None else ""
    wants_msgpack = parse_qs(query).get("encoding") == ["msgpack"]
    return CODECS[SUBPROTOCOLS[0] if wants_msgpack else SUBPROTOCOLS[1]]


def _writer(connection: HubConnection) -> Callable[[bytes], None]:
    """How frames get onto this connection's wire."""
    if connection.protocol.extensions:
        return partial(_write_compressed, connection)
    transport = connection.transport

    def write(frames: bytes) -> None:
        if not transport.is_closing():  # cut in this very turn: nobody was told yet, and uvloop would raise
            transport.write(frames)

    return write


def _write_compressed(connection: HubConnection, frames: bytes) -> None:
    """Send frames through the library, which compresses each message."""
    for opcode, payload in split_frames(frames):
        if connection.protocol.state is not State.OPEN:
            return
        if opcode == 1:
            connection.protocol.send_text(payload)
        else:
            connection.protocol.send_binary(payload)
        connection.send_data()


def _now_ms() -> int:
    return int(time() * 1000)
