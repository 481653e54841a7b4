"""A scripted hub: a real WebSocket server that speaks ``argus.v1`` and says exactly what a test tells it.

How to use it::

    async def script(peer: Peer) -> None:                       # runs once for every client that connects
        request = await peer.expect("subscribe")                # the next request must be this
        await peer.subscribed(request, matched=1)               # a reply; any field can be overridden
        await peer.rows([tick(seq=1)], origin="snapshot", id=request["id"])
        await peer.rows([tick(seq=2)])                          # live
        await peer.idle()                                       # until the client leaves; answers unsubscribes

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        ...

| to                                    | use                                                            |
|---------------------------------------|----------------------------------------------------------------|
| send any control message              | ``await peer.say("gap", topic=..., ...)``                      |
| send bytes that are no message        | ``await peer.raw(b"\\xc1")``                                    |
| refuse a request                      | ``await peer.refuse(request, "bad_topic", "...")``             |
| close, or break the connection off    | ``await peer.close(1012, "restart")``, ``peer.break_off()``    |
| change or leave out the welcome       | ``FakeHub(script, welcome={"heartbeat_s": 1})``, ``welcome=None`` |
| refuse the handshake                  | ``FakeHub(refuse=(503, "full"))``                              |
| see what clients sent                 | ``fake.requests``, ``fake.handshakes``                         |

The encoding is the one that the client asked for. It is made here by hand, with nothing of the client's own code.
A script that fails, an `expect` that is not met for instance, fails the test when the ``async with`` is left.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import msgpack
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

TICK_FIELDS = [
    *("code", "seq", "time", "recv", "lastPrice", "open", "high", "low", "lastClose", "amount", "volume", "pvolume"),
    *("stockStatus", "openInt", "lastSettlementPrice", "transactionNum", "askPrice", "bidPrice", "askVol", "bidVol"),
]
BAR_FIELDS = ["code", "seq", "time", "recv", "open", "high", "low", "close", "volume", "amount", "source"]
STATUS_FIELDS = ["code", "seq", "time", "recv", "state", "phase", "age_ms", "detail"]
L2ORDER_FIELDS = ["code", "seq", "time", "recv", "price", "volume", "entrustNo", "entrustType", "entrustDirection"]

WELCOME: Mapping[str, Any] = {
    "protocol": "argus.v1",
    "server": "fake-hub 0",
    "session": "s1",
    "epoch": "00000000000000ab",
    "at": 100,
    "source": {"name": "simulator", "simulated": True},
    "schemas": {
        "tick": TICK_FIELDS,
        **dict.fromkeys(("1m", "1d"), BAR_FIELDS),
        "status": STATUS_FIELDS,
        "l2order": L2ORDER_FIELDS,
    },
    "limits": {"topics": 300},
    "heartbeat_s": 3600,
    "time": 1654047000000,
}
ORIGINS = ("live", "snapshot", "replay", "backfill")


def tick(code: str = "600000.SH", seq: int = 1, **values: Any) -> dict[str, Any]:
    """One row of channel tick."""
    row = dict.fromkeys(TICK_FIELDS, 0) | {
        "code": code,
        "seq": seq,
        "time": 1654047000000 + seq * 3000,
        "recv": 1654047000123456,
        "lastPrice": 7.31,
        "lastClose": 7.28,
        "volume": 758613,
        "stockStatus": None,
        "askPrice": [7.32, 7.33],
        "bidPrice": [7.31, 7.3],
        "askVol": [10929, 12401],
        "bidVol": [2429, 7127],
    }
    return row | values


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something is so that nothing tells of."""
    while not condition():  # noqa: ASYNC110
        await asyncio.sleep(0)


class Peer:
    """The server's end of one client's connection."""

    def __init__(self, websocket: ServerConnection, requests: list[dict[str, Any]]) -> None:
        self.websocket = websocket
        self._requests = requests
        self._binary = websocket.subprotocol == "argus.v1.msgpack"

    async def expect(self, op: str) -> dict[str, Any]:
        """Return the next request, which must be of this op."""
        try:
            frame = await self.websocket.recv()
        except ConnectionClosed as closed:
            raise AssertionError(f"the client left instead of asking to {op}: {closed}") from closed
        request = self._read(frame)
        assert request["op"] == op, f"expected {op}, got {request}"
        return request

    async def say(self, type: str, **fields: Any) -> None:  # noqa: A002 - the name on the wire
        """Send a control message."""
        await self._send({"type": type, **fields})

    async def subscribed(self, request: Mapping[str, Any], **fields: Any) -> None:
        """Accept a subscribe."""
        reply = {"at": 100, "matched": 1, "recovered": True, "unrecovered": [], "replayed": 0}
        await self.say("subscribed", id=request["id"], **(reply | fields))

    async def refuse(self, request: Mapping[str, Any], code: str, message: str, **fields: Any) -> None:
        """Answer a request with an error."""
        error = {"id": request["id"], "code": code, "message": message, "retryable": False, "retry_in_ms": None}
        await self.say("error", **(error | fields))

    async def gap(self, topic: str, **fields: Any) -> None:
        """Announce a gap."""
        gap = {"epoch": WELCOME["epoch"], "from": None, "to": None, "from_time": None, "to_time": None, "by": None}
        await self.say("gap", topic=topic, **(gap | {"cause": "evicted"} | fields))

    async def rows(
        self,
        rows: Sequence[Mapping[str, Any]],
        channel: str = "tick",
        origin: str = "live",
        id: object = None,  # noqa: A002 - the name on the wire
    ) -> None:
        """Send rows of one channel in one message."""
        if self._binary:
            message: list[Any] = [channel, ORIGINS.index(origin), [list(row.values()) for row in rows]]
            await self._send(message if id is None else [*message, id])
        else:
            own = {} if id is None else {"id": id}
            await self._send({"type": "data", "channel": channel, "origin": origin, "rows": list(rows), **own})

    async def raw(self, frame: str | bytes) -> None:
        """Send anything."""
        await self.websocket.send(frame)

    async def close(self, code: int, reason: str = "") -> None:
        """Say goodbye."""
        await self.websocket.close(code, reason)

    def break_off(self) -> None:
        """End the connection without a goodbye."""
        self.websocket.transport.abort()

    def break_off_after_all(self) -> None:
        """End the connection without a goodbye, behind everything that was sent."""
        self.websocket.transport.close()

    async def idle(self) -> None:
        """Answer nothing but unsubscribes, and return when the client has left."""
        while True:
            try:
                frame = await self.websocket.recv()
            except ConnectionClosed:
                return
            request = self._read(frame)
            assert request["op"] == "unsubscribe", f"expected nothing more, got {request}"
            await self.say("unsubscribed", id=request["id"])

    async def gone(self) -> None:
        """Return when the client has left; answer nothing."""
        await self.websocket.wait_closed()

    def _read(self, frame: str | bytes) -> dict[str, Any]:
        assert isinstance(frame, bytes) == self._binary, f"a client of {self.websocket.subprotocol} sent {frame!r}"
        request: dict[str, Any] = msgpack.unpackb(frame) if isinstance(frame, bytes) else json.loads(frame)
        self._requests.append(request)
        return request

    async def _send(self, message: object) -> None:
        await self.raw(msgpack.packb(message) if self._binary else json.dumps(message))


Script = Callable[[Peer], Awaitable[None]]


class FakeHub:
    """The server. ``welcome`` overrides fields of the usual one; None says nothing at all."""

    def __init__(
        self,
        script: Script = Peer.idle,
        *,
        welcome: Mapping[str, Any] | None = {},
        refuse: tuple[int, str] | None = None,
        subprotocols: Sequence[str] | None = ("argus.v1.msgpack", "argus.v1.json"),
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.handshakes: list[Request] = []
        self.peers: list[Peer] = []
        self._script = script
        self._welcome = welcome
        self._refuse = refuse
        self._subprotocols = subprotocols
        self._failures: list[BaseException] = []
        self._server: Server | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        assert self._server is not None
        return f"ws://127.0.0.1:{next(iter(self._server.sockets)).getsockname()[1]}/ws"

    async def __aenter__(self) -> Self:
        silent = logging.getLogger("fake hub")
        silent.disabled = True  # clients that break off are part of the game
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            subprotocols=self._subprotocols,  # type: ignore[arg-type]
            process_request=self._handshake,
            compression=None,
            ping_interval=None,
            logger=silent,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()
        for failure in self._failures:
            raise failure

    def _handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        self.handshakes.append(request)
        if self._refuse is None:
            return None
        status, body = self._refuse
        return Response(status, HTTPStatus(status).phrase, Headers({"Content-Length": str(len(body))}), body.encode())

    async def _serve(self, websocket: ServerConnection) -> None:
        peer = Peer(websocket, self.requests)
        self.peers.append(peer)
        try:
            if self._welcome is not None:
                await peer.say("welcome", **{**WELCOME, **self._welcome})
            await self._script(peer)
        except ConnectionClosed:
            pass  # the client left: what it was to get is the test's business
        except BaseException as failure:
            self._failures.append(failure)
            self._refuse = (403, "the script has failed")  # a client that comes again must not hide it
            raise
