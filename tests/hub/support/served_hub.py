"""A hub that serves its clients in this process, on a free port of loopback, and clients that misbehave on purpose."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Response

from hub.core import Hub
from hub.delivery import Delivery
from hub.limits import Limits
from hub.server import HubServer, ServerSettings
from tests.e2e.support.plain_client import PATIENCE_S, PlainClient, plain_client
from tests.hub.support.core import make_hub, tick

BOTH_LOOPS: Final = pytest.mark.asyncio(loop_factories=["standard", "uvloop"])
BOTH_ENCODINGS: Final = pytest.mark.parametrize("encoding", ["json", "msgpack"])

NEVER_S: Final = 3600.0
"""Nothing of the server's own accord happens in a test, unless the test asks for it."""

BIG: Final = "x" * 4_000
"""A price that nobody would believe, so that few rows fill every buffer on the way to a client."""

MANY: Final = 2_500
"""So many big rows that no transport and no network holds them all."""

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
"""Opcodes of frames."""

QUIET_SETTINGS: Final = ServerSettings(
    name="argus-hub/test",
    limits=Limits(message_bytes=1 << 18, topics=100, requests_per_s=1e6, pending_bytes=1 << 26),
    token=None,
    allowed_origins=frozenset(),
    max_clients=100,
    heartbeat_s=NEVER_S,
    stall_s=NEVER_S,
    auth_timeout_s=NEVER_S,
    ping_interval_s=NEVER_S,
    ping_timeout_s=NEVER_S,
    compression=False,
)

Markets = Mapping[str, Mapping[str, Any]]


@dataclass
class ServedHub:
    """A hub and its server. ``flushed`` has what `Delivery` told of each flush, ``faults`` what the loop was told."""

    hub: Hub
    server: HubServer
    delivery: Delivery
    port: int
    markets: dict[str, dict[str, Any]]
    flushed: list[float]
    faults: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def publish(self, *seqs: int, code: str = "600000.SH", value: Any = None) -> None:
        """Publish a batch with a row for each of these numbers, which are their times too."""
        self.hub.publish("tick", [tick(code, seq, value) for seq in seqs], 1)

    def publish_big(self, *seqs: int) -> None:
        """Publish rows that are as large as many."""
        self.publish(*seqs, value=BIG)


async def until(happened: Callable[[], object], patience_s: float = 10) -> None:
    """Wait for something that the server does by itself, and that nothing else tells of."""
    async with asyncio.timeout(patience_s):
        while not happened():  # noqa: ASYNC110 - nobody sets an event
            await asyncio.sleep(0.005)


def settings(*, pending_bytes: int = 1 << 26, requests_per_s: float = 1e6, **changes: Any) -> ServerSettings:
    """Settings under which nothing happens of itself, but for the changes."""
    limits = replace(QUIET_SETTINGS.limits, pending_bytes=pending_bytes, requests_per_s=requests_per_s)
    return replace(QUIET_SETTINGS, limits=limits, **changes)


def one_page(path: str) -> Response | None:
    """Pages for servers whose pages don't matter: a single one."""
    if path != "/page":
        return None
    return Response(HTTPStatus.OK.value, "OK", Headers({"Content-Length": "6"}), b"a page")


@asynccontextmanager
async def served_hub(
    settings: ServerSettings = QUIET_SETTINGS,
    *,
    hub: Hub | None = None,
    pages: Callable[[str], Response | None] = one_page,
    closed: Callable[[], str] = lambda: "",
) -> AsyncIterator[ServedHub]:
    """Serve a hub. At the end it is drained without mercy, and whatever the loop was told must be in ``faults``."""
    hub = hub or make_hub(ring_rows=100_000, ring_bytes=1 << 28)
    loop = asyncio.get_running_loop()
    flushed: list[float] = []
    markets: dict[str, dict[str, Any]] = {}
    delivery = Delivery(hub, loop, flushed.append)
    server = HubServer(hub, delivery, settings, pages, lambda: markets, closed=closed)
    ((_, port),) = await server.start("127.0.0.1", 0)
    served = ServedHub(hub, server, delivery, port, markets, flushed)
    loop.set_exception_handler(lambda _, context: served.faults.append(repr(context.get("exception"))))
    try:
        yield served
    finally:
        if not server.draining:
            await server.drain("the test is over", 0)
        loop.set_exception_handler(None)


@dataclass
class Answer:
    """The answer to a plain HTTP request. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: str


async def ask(port: int, path: str, *headers: str, method: str = "GET") -> Answer:
    """Send a plain HTTP request, and read the answer up to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await ask_on(reader, writer, path, *headers, method=method)
    finally:
        writer.close()


async def ask_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, *headers: str, method: str = "GET"
) -> Answer:
    """Send a plain HTTP request on a connection that is open."""
    lines = (f"{method} {path} HTTP/1.1", "Host: hub.test", *headers, "", "")
    writer.write("\r\n".join(lines).encode())
    async with asyncio.timeout(PATIENCE_S):
        answer = await reader.read()
    head, _, body = answer.decode().partition("\r\n\r\n")
    status_line, *header_lines = head.split("\r\n")
    parted = (line.partition(": ") for line in header_lines)
    return Answer(int(status_line.split()[1]), {name.lower(): value for name, _, value in parted}, body)


UPGRADE: Final = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version: 13",
)


class Frame(NamedTuple):
    """A frame as it came over the wire."""

    opcode: int
    payload: bytes
    is_compressed: bool


class RawClient:
    """A WebSocket client that does nothing by itself: it answers no ping and no close, and reads when it is told to."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._loop = asyncio.get_running_loop()

    async def send(self, opcode: int, payload: bytes = b"") -> None:
        """Send a frame, with a mask of zeros."""
        await self.send_raw(struct.pack("!BB4x", 0x80 | opcode, 0x80 | len(payload)) + payload)

    async def send_raw(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        await self._loop.sock_sendall(self._raw, data)

    async def subscribe(self, *topics: str, **fields: Any) -> None:
        """Send a subscribe, in JSON."""
        await self.send(TEXT, json.dumps({"op": "subscribe", "topics": topics, **fields}).encode())

    async def frames(self) -> list[Frame]:
        """Read to the end of the stream: every frame that came. A reset ends it too."""
        received = b""
        async with asyncio.timeout(PATIENCE_S):
            while chunk := await self._receive():
                received += chunk
        frames = []
        while received:
            size, start = received[1], 2
            if size > 125:
                start = 4 if size == 126 else 10
                size = int.from_bytes(received[2:start])
            frames.append(Frame(received[0] & 0x0F, received[start : start + size], bool(received[0] & 0x40)))
            received = received[start + size :]
        return frames

    def reset(self) -> None:
        """Cut the connection off, so that the hub is told of an error instead of an end."""
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._raw.close()

    async def _receive(self) -> bytes:
        try:
            return await self._loop.sock_recv(self._raw, 1 << 16)
        except ConnectionResetError:
            return b""


@asynccontextmanager
async def raw_client(served: ServedHub, *headers: str) -> AsyncIterator[RawClient]:
    """Connect to ``/ws`` over a socket that holds as little as possible."""
    loop = asyncio.get_running_loop()
    with small_socket() as raw:
        await loop.sock_connect(raw, ("127.0.0.1", served.port))
        request = "\r\n".join((f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{served.port}", *UPGRADE, *headers, "", ""))
        await loop.sock_sendall(raw, request.encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await loop.sock_recv(raw, 1)
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield RawClient(raw)


def small_socket() -> socket.socket:
    """A socket that takes little from the network unless it is read."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    return raw


@asynccontextmanager
async def lazy_client(served: ServedHub, encoding: Any = "json") -> AsyncIterator[PlainClient]:
    """A well-behaved client, but what it isn't asked to receive waits at the hub."""
    raw = small_socket()
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", served.port))
    async with plain_client(served.url, encoding, max_queue=1, sock=raw) as client:
        try:
            yield client
        finally:
            client.socket.transport.abort()  # a proper close waits for an answer behind all that was not read


def seqs_of(messages: Sequence[Any]) -> list[int]:
    """The numbers of all rows in these messages, in order."""
    return [row[1] for message in messages if not isinstance(message, dict) for row in message.rows]
