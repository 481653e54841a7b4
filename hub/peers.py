"""Peers of further endpoints after their handshake: few, so they have all that the websockets library offers."""

import asyncio
import logging
from typing import TYPE_CHECKING

from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request
from websockets.server import ServerProtocol

from hub.connection import CLOSE_TIMEOUT_S, WRITE_HIGH_BYTES, WRITE_LOW_BYTES
from hub.endpoint import Endpoint

if TYPE_CHECKING:
    from hub.server import ServerSettings

_logger = logging.getLogger("argus.server")


class PeerConnection(ServerConnection):
    """The library's connection, entered after the handshake."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take over the transport. The library's own way would begin the handshake, which is over."""
        Connection.connection_made(self, transport)


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
