"""Peers of further endpoints after their handshake: few, so they have all that the websockets library offers."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import BINARY, Frame
from websockets.http11 import Request
from websockets.protocol import Event
from websockets.server import ServerProtocol

from hub.connection import CLOSE_TIMEOUT_S, WRITE_HIGH_BYTES, WRITE_LOW_BYTES
from hub.endpoint import Endpoint

if TYPE_CHECKING:
    from hub.server import ServerSettings

DENSE_BYTES: Final = 1 << 12
"""Much comes where so much is read at once."""

_logger = logging.getLogger("argus.server")


def _takes_nothing(_: bytes) -> bool:
    """Where nobody takes messages at once, all of them wait for ``recv``."""
    return False


class PeerConnection(ServerConnection):
    """The library's connection, entered after the handshake."""

    take_at_once: Callable[[bytes], bool] = staticmethod(_takes_nothing)
    """Takes a binary message in the very turn in which it came; False leaves it to ``recv``, as all that come after
    one that waits there. To wake a task that waits in ``recv`` costs as much as all that is done with a row."""

    rest_s: Callable[[], float] = float
    """Tells for how many seconds nothing needs to be read. Where much comes, the socket is then left alone for so long:
    read one by one, each message would cost a turn of the loop, and find cold caches."""

    _resting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport. The library's own way would begin the handshake, which is over."""
        Connection.connection_made(self, transport)

    def data_received(self, data: bytes) -> None:
        """Read what has come."""
        super().data_received(data)
        if len(data) >= DENSE_BYTES and (rest_s := self.rest_s()):
            self.transport.pause_reading()
            self._resting = self.loop.call_later(rest_s, self._read_on)

    def connection_lost(self, error: Exception | None) -> None:
        """Nothing more will come."""
        if self._resting is not None:
            self._resting.cancel()
        super().connection_lost(error)

    def _read_on(self) -> None:
        """Read the socket again, unless too much is waiting for ``recv``."""
        if not (self.recv_messages.paused or self.transport.is_closing()):
            self.transport.resume_reading()

    def process_event(self, event: Event) -> None:
        """Take a frame."""
        assert isinstance(event, Frame)  # noqa: S101 - there is one request, and it is answered
        is_whole = event.opcode is BINARY and event.fin
        if not (is_whole and not self.recv_messages.frames and self.take_at_once(bytes(event.data))):
            super().process_event(event)


class Peers:
    """The peers of one server."""

    def __init__(self, settings: "ServerSettings") -> None:
        self._settings = settings
        self._serving: dict[PeerConnection, asyncio.Task[None]] = {}

    def make(self, transport: asyncio.Transport, protocol: ServerProtocol, request: Request) -> PeerConnection:
        """A connection for a peer that asks to come in."""
        peer = PeerConnection(
            protocol,
            None,  # type: ignore[arg-type]  # the library's server is only asked in its own handshake
            ping_interval=self._settings.ping_interval_s,
            ping_timeout=self._settings.ping_timeout_s,
            close_timeout=CLOSE_TIMEOUT_S,
            write_limit=(WRITE_HIGH_BYTES, WRITE_LOW_BYTES),
        )
        peer.request = request
        peer.connection_made(transport)
        return peer

    def serve(self, peer: PeerConnection, endpoint: Endpoint) -> None:
        """Have an endpoint speak with a peer that was let in."""
        peer.start_keepalive()
        self._serving[peer] = asyncio.get_running_loop().create_task(self._serve(peer, endpoint))

    async def close(self, code: int, reason: str, timeout_s: float) -> None:
        """Close all connections; cut off, in the end, who does not answer in time."""
        closing = [asyncio.ensure_future(peer.close(code, reason)) for peer in self._serving]
        if closing:
            await asyncio.wait(closing, timeout=timeout_s)
        tasks = [*closing, *self._serving.values()]
        for peer in self._serving:
            peer.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, peer: PeerConnection, endpoint: Endpoint) -> None:
        try:
            async with peer:  # closes the connection
                await endpoint.serve(peer)
        except ConnectionClosed:
            _logger.debug("peer lost: %s", peer.close_reason)
        except Exception:
            _logger.exception("a peer could not be served")
        finally:
            peer.transport.abort()
            del self._serving[peer]
