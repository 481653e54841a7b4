"""A further WebSocket endpoint beside ``/ws``, for peers that are no clients, such as those that bring rows.

The server does for it what is the same for everybody: the port, the handshake, pings, and the end of the day.
"""

from typing import TYPE_CHECKING, Protocol

from websockets.datastructures import Headers
from websockets.http11 import Response

if TYPE_CHECKING:
    from hub.peers import PeerConnection


class Endpoint(Protocol):
    """Who may connect at one path, and what is spoken there."""

    @property
    def subprotocol(self) -> str:
        """The only one that is spoken; a peer that offers none is taken to speak it."""

    @property
    def max_message_bytes(self) -> int:
        """The largest message that a peer may send; a larger one closes its connection with 1009."""

    def refuse(self, connection: "PeerConnection", headers: Headers) -> Response | None:
        """Why this peer may not connect; None when it may."""

    async def serve(self, connection: "PeerConnection") -> None:
        """Speak with one peer until its connection has ended. Returning closes it with 1000."""
