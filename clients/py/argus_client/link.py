"""One connection to the hub: opening it, messages in and out, noticing its death, and closing it.

This is the only module that knows sockets. Whatever can go wrong here comes out as one of the client's own
errors.
"""

import asyncio
import re
import ssl as tls
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket_connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from argus_client.codec import CODECS, Codec, Encoding
from argus_client.errors import ConnectError, ConnectionLost, HubError, ProtocolError
from argus_client.gate import Request
from argus_client.messages import Message, Reply, Welcome
from argus_client.version import VERSION

MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024
"""A whole market of 27,000 instruments in JSON has about 15 MB; above this, something is wrong."""
MAX_UNREAD_MESSAGES: Final = 16
"""What the socket layer holds beyond the subscriptions' queues before it leaves bytes to the kernel."""
CLOSE_TIMEOUT_S: Final = 5.0
SILENT_HEARTBEATS: Final = 3
"""After this many missed heartbeats a connection is dead, whatever TCP says."""
MAX_REASON_CHARS: Final = 120
"""A WebSocket close frame holds a reason of 123 bytes (RFC 6455, section 5.5)."""
PROTOCOL_VIOLATION: Final = 4400

_REFUSALS: Final = {
    400: "the hub does not speak this version of the protocol",
    401: "the token is wrong or expired",
    403: "forbidden",
    503: "the hub takes no more clients, or is not ready yet",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Where and how to connect."""

    url: str
    token: str | None = field(repr=False)
    encoding: Encoding
    open_timeout_s: float
    ssl: tls.SSLContext | None
    proxy: str | None = field(repr=False)

    def __post_init__(self) -> None:
        """Raises ValueError for arguments that can't be meant."""
        if re.match("[^/]*//[^/?#]*@", self.url):
            raise ValueError("credentials don't belong into the URL, which ends up in logs: give the token as token=")
        if not _is_address(self.url):
            raise ValueError(f"{self.url!r} is not a hub's address: it must look like ws://127.0.0.1:8765/ws")
        if self.ssl is not None and not self.secure:
            raise ValueError("ssl= needs a wss:// address")
        if self.token is not None and not _fits_header(self.token):
            raise ValueError("the token is empty, or has characters that an HTTP header can't carry")
        if self.encoding not in CODECS:
            raise ValueError(f"encoding must be one of {', '.join(CODECS)}, not {self.encoding!r}")

    @property
    def secure(self) -> bool:
        """True for ``wss://``."""
        return urlsplit(self.url).scheme == "wss"

    def refused(self, why: object, *, status: int | None = None, retryable: bool = False) -> ConnectError:
        """Return the error that says that, and why, this connection could not be opened."""
        address = self.url.partition("?")[0]
        return ConnectError(f"cannot connect to {address}: {why}", status=status, retryable=retryable)


class Link:
    """An open connection, from its ``welcome`` on."""

    def __init__(self, websocket: ClientConnection, codec: Codec, welcome: Welcome) -> None:
        self.welcome: Final = welcome
        self._websocket = websocket
        self._codec = codec
        self._receiving = False
        self._silent_beats = 0
        self._beat: asyncio.TimerHandle | None = None
        self._arm_watch()

    @classmethod
    async def open(cls, target: Target) -> "Link":
        """Connect, and wait for the hub's welcome.

        Raises:
            ConnectError: nobody there, refused, not a hub, or no answer in time.
        """
        codec = CODECS[target.encoding]()
        try:
            async with asyncio.timeout(target.open_timeout_s):
                websocket = await _handshake(target, codec.subprotocol)
                try:
                    welcome = await _greeting(websocket, codec, target)
                except BaseException:
                    websocket.transport.abort()
                    raise
        except TimeoutError as error:
            raise target.refused(f"no answer within {target.open_timeout_s:g} s", retryable=True) from error
        return cls(websocket, codec, welcome)

    async def receive(self) -> Message:
        """Return the next message.

        Raises:
            ConnectionLost: there is none: the connection ended, or died without a word.
            ProtocolError: it can't be read.
        """
        self._receiving = True
        try:
            frame = await self._websocket.recv()
        except ConnectionClosed as closed:
            if self._silent_beats >= SILENT_HEARTBEATS:
                silence_s = SILENT_HEARTBEATS * self.welcome.heartbeat_s
                raise ConnectionLost(1006, f"nothing was heard from the hub for {silence_s:g} s") from closed
            raise _lost(closed) from closed
        finally:
            self._receiving = False
        self._silent_beats = 0
        return self._codec.decode(frame)

    async def send(self, request: Request) -> None:
        """Send a request. Raises ConnectionLost where that is no longer possible."""
        try:
            await self._websocket.send(self._codec.encode(request))
        except ConnectionClosed as closed:
            raise _lost(closed) from closed

    async def close(self, *, unreadable: ProtocolError | None = None) -> None:
        """Say goodbye, with the reason where the hub could not be understood. Nobody may be receiving."""
        if self._beat is not None:
            self._beat.cancel()
        code, reason = (1000, "") if unreadable is None else (PROTOCOL_VIOLATION, str(unreadable))
        reason = reason.encode("ascii", "replace").decode()[:MAX_REASON_CHARS]
        # What is still on its way is in front of the hub's own goodbye.
        async with asyncio.TaskGroup() as both:
            both.create_task(self._discard())
            both.create_task(self._websocket.close(code, reason))

    def abort(self) -> None:
        """Drop the connection without a goodbye."""
        if self._beat is not None:
            self._beat.cancel()
        self._websocket.transport.abort()

    async def _discard(self) -> None:
        with suppress(ConnectionClosed):
            while True:
                await self._websocket.recv()

    def _arm_watch(self) -> None:
        """Watch for silence by the hub's heartbeats.

        The socket layer's own pings are off: while reading is paused for a slow user, their answers would not be
        read either, and a healthy connection would be taken for dead. For the same reason silence counts only
        while somebody is receiving. Beats of this loop are counted instead of time, so that a loop that was
        blocked for long reads what has arrived before it judges.
        """
        if self.welcome.heartbeat_s > 0:
            self._beat = asyncio.get_running_loop().call_later(self.welcome.heartbeat_s, self._on_beat)

    def _on_beat(self) -> None:
        if self._receiving:
            self._silent_beats += 1
        if self._silent_beats >= SILENT_HEARTBEATS:
            self._websocket.transport.abort()
        else:
            self._arm_watch()


async def _handshake(target: Target, subprotocol: str) -> ClientConnection:
    try:
        return await websocket_connect(
            target.url,
            subprotocols=[Subprotocol(subprotocol)],
            compression=None,
            additional_headers={"Authorization": f"Bearer {target.token}"} if target.token else None,
            user_agent_header=f"argus-client/{VERSION}",
            proxy=target.proxy,
            open_timeout=None,
            ping_interval=None,
            close_timeout=CLOSE_TIMEOUT_S,
            max_size=MAX_MESSAGE_BYTES,
            max_queue=MAX_UNREAD_MESSAGES,
            ssl=(target.ssl or True) if target.secure else None,
        )
    except InvalidStatus as error:
        raise _refusal(target, error) from error
    except TimeoutError:
        raise
    except ConnectionRefusedError as error:
        raise target.refused("connection refused; is the hub running there?", retryable=True) from error
    except tls.SSLError as error:
        raise target.refused(f"no secure connection: {error}") from error
    except ConnectionError as error:
        question = "; does it speak TLS?" if target.secure else ""
        raise target.refused(f"the connection broke off at once{question}", retryable=True) from error
    except OSError as error:
        # Where a name has several addresses, asyncio packs all failures into one error without a number.
        why = "nobody answers there; is the hub running?" if error.errno is None else error.strerror or error
        raise target.refused(why, retryable=True) from error
    except WebSocketException as error:
        if isinstance(error, InvalidMessage) and isinstance(error.__cause__, EOFError | ConnectionError):
            raise target.refused("the connection broke off before there was an answer", retryable=True) from error
        raise target.refused(f"not answered as a hub would: {error}") from error


async def _greeting(websocket: ClientConnection, codec: Codec, target: Target) -> Welcome:
    if websocket.subprotocol != codec.subprotocol:
        raise target.refused(f"this is not an Argus hub: it does not speak {codec.subprotocol}")
    try:
        message = codec.decode(await websocket.recv())
    except ConnectionClosed as closed:
        lost = _lost(closed)
        raise target.refused(lost, retryable=lost.retryable) from closed
    except ProtocolError as error:
        raise target.refused(error) from error
    if isinstance(message, Welcome):
        return message
    if isinstance(message, Reply) and isinstance(message.result, HubError):
        raise target.refused(message.result, retryable=message.result.retryable)
    raise target.refused(f"the hub began with a {type(message).__name__} instead of a welcome")


def _refusal(target: Target, error: InvalidStatus) -> ConnectError:
    status = error.response.status_code
    why = _REFUSALS.get(status, "this is not a hub's WebSocket endpoint, which ends in /ws")
    if status == 401 and target.token is None:
        why = "the hub wants a token"
    said = _first_line(error.response.body)
    detail = f"HTTP {status}: {said}" if said else f"HTTP {status}"
    return target.refused(f"{why} ({detail})", status=status, retryable=status >= 500)


def _first_line(body: bytes | bytearray | None) -> str:
    line = (body or b"").decode(errors="replace").strip().partition("\n")[0]
    return "".join(filter(str.isprintable, line))[:MAX_REASON_CHARS]


def _lost(closed: ConnectionClosed) -> ConnectionLost:
    if closed.rcvd is None:
        return ConnectionLost(1006, str(closed.__cause__ or ""))
    return ConnectionLost(closed.rcvd.code, closed.rcvd.reason)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0 and not parts.fragment
    except ValueError:  # a port or an IPv6 address that is none
        return False


def _fits_header(token: str) -> bool:
    return token != "" and token.isascii() and token.isprintable() and " " not in token
