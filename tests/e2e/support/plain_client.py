"""A WebSocket client made of the ``websockets`` library, ``json`` and ``msgpack``: no SDK and nothing of the hub.

It gives what the hub sends in one shape for both encodings, so that a test can be run in either: a control message
is its mapping, a data message is a ``Data`` whose rows are tuples in the order of ``welcome.schemas``.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

Encoding = Literal["json", "msgpack"]
Row = tuple[Any, ...]
Control = dict[str, Any]

PATIENCE_S: Final = 60
"""How long a single awaited thing may take before the test is given up. Never part of what is asserted."""

_ORIGINS: Final = ("live", "snapshot", "replay", "backfill")
_NO_ID: Final = object()


@dataclass(frozen=True, slots=True)
class Data:
    """A data message. ``id`` is that of the request it answers, None for live rows."""

    channel: str
    origin: str
    rows: list[Row]
    id: Any


Message = Control | Data


@dataclass
class PlainClient:
    """One connection, its ``welcome`` already received."""

    socket: ClientConnection
    encoding: Encoding
    welcome: Control = field(default_factory=dict)
    patient_until_s: float | None = None

    @property
    def schemas(self) -> dict[str, list[str]]:
        schemas: dict[str, list[str]] = self.welcome["schemas"]
        return schemas

    async def send(self, op: str, **fields: Any) -> None:
        """Send one request in the encoding of this connection."""
        await self.socket.send(encode({"op": op, **fields}, self.encoding))

    async def receive(self) -> Message:
        """The next message, whatever it is. A closed connection raises ``websockets.ConnectionClosed``.

        Gives up when nothing but heartbeats comes: they go on even if everything else stands still.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout_at(self.patient_until_s or loop.time() + PATIENCE_S) as patience:
            message = decode(await self.socket.recv(), self.encoding, self.welcome.get("schemas", {}))
        heartbeat = isinstance(message, dict) and message["type"] == "heartbeat"
        self.patient_until_s = patience.when() if heartbeat else None
        return message

    async def control(self, kind: str, request_id: Any = _NO_ID) -> Control:
        """The next control message of a type (and id, if given), past everything that comes before it."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self.receive()
                if isinstance(message, dict) and message["type"] == kind:
                    if request_id is _NO_ID or message.get("id") == request_id:
                        return message
                elif isinstance(message, dict) and message["type"] == "error":
                    raise AssertionError(f"an error came instead of {kind!r}: {message}")

    async def request(self, reply: str, op: str, **fields: Any) -> Control:
        """Send a request and wait for its reply, past everything that comes before it."""
        await self.send(op, **fields)
        return await self.control(reply, fields.get("id", _NO_ID))

    async def error(self, request_id: Any = _NO_ID) -> Control:
        """The next error, past everything that comes before it."""
        return await self.control("error", request_id)

    async def data(self, rows: int) -> list[Data]:
        """Data messages until they hold that many rows, past control messages. More is a failure."""
        received: list[Data] = []
        missing = rows
        while missing > 0:
            message = await self.receive()
            if isinstance(message, Data):
                received.append(message)
                missing -= len(message.rows)
        assert missing == 0, f"{-missing} rows more than the {rows} that were due"
        return received

    async def until(self, wanted: Callable[[Message], bool]) -> list[Message]:
        """Every message up to and with the first for which ``wanted`` is true."""
        received: list[Message] = []
        async with asyncio.timeout(PATIENCE_S):
            while not received or not wanted(received[-1]):
                received.append(await self.receive())
        return received

    async def closed(self) -> tuple[int, str]:
        """Read until the hub closes the connection; the close code and reason. 1006 when it was cut."""
        async with asyncio.timeout(PATIENCE_S):
            async for _ in _frames(self.socket):
                pass
            await self.socket.wait_closed()
        assert self.socket.close_code is not None
        return self.socket.close_code, self.socket.close_reason or ""


@asynccontextmanager
async def plain_client(
    url: str,
    encoding: Encoding = "json",
    *,
    subprotocol: bool = True,
    origin: str | None = None,
    headers: dict[str, str] | None = None,
    max_queue: int | None = None,
    **options: Any,
) -> AsyncIterator[PlainClient]:
    """Connect to ``/ws`` and take the ``welcome``, which must be the first message of every connection.

    With ``max_queue`` the library stops reading the socket once so many frames wait here. It then doesn't see the
    hub's answer to a close either: abort such a connection rather than wait for that.
    """
    async with connect(
        url,
        subprotocols=[Subprotocol(f"argus.v1.{encoding}")] if subprotocol else None,
        origin=Origin(origin) if origin else None,
        additional_headers=headers,
        compression=None,
        max_size=None,
        max_queue=max_queue,
        ping_interval=None,
        open_timeout=PATIENCE_S,
        proxy=None,
        **options,
    ) as socket:
        client = PlainClient(socket, encoding)
        welcome = await client.receive()
        assert isinstance(welcome, dict), welcome
        assert welcome["type"] == "welcome", welcome
        client.welcome = welcome
        yield client


def encode(message: object, encoding: Encoding) -> str | bytes:
    """A message as its frame: text in JSON, binary in msgpack."""
    if encoding == "json":
        return json.dumps(message, ensure_ascii=False)
    packed: bytes = msgpack.packb(message)
    return packed


def decode(frame: str | bytes, encoding: Encoding, schemas: dict[str, list[str]]) -> Message:
    """A frame of the hub in the common shape. The frame's own type must be that of the encoding."""
    if encoding == "json":
        assert isinstance(frame, str), "a binary frame came on a JSON connection"
        message = json.loads(frame)
        assert isinstance(message, dict), message
        if message["type"] != "data":
            return message
        names = schemas[message["channel"]]
        rows = []
        for row in message["rows"]:
            assert len(row) == len(names), f"fields {list(row)} are not those of the schema {names}"
            rows.append(tuple(row[name] for name in names))
        return Data(message["channel"], message["origin"], rows, message.get("id"))
    assert isinstance(frame, bytes), "a text frame came on a msgpack connection"
    message = msgpack.unpackb(frame, raw=False, strict_map_key=False)
    if isinstance(message, dict):
        return message
    channel, origin, packed_rows, *request_id = message
    names = schemas[channel]
    assert all(len(row) == len(names) for row in packed_rows), "a row is not as long as its schema"
    assert len(request_id) <= 1, message
    return Data(channel, _ORIGINS[origin], [tuple(row) for row in packed_rows], request_id[0] if request_id else None)


async def _frames(socket: ClientConnection) -> AsyncIterator[str | bytes]:
    """Frames until the connection is closed, in whichever way."""
    while True:
        try:
            yield await socket.recv()
        except ConnectionClosed:
            return
