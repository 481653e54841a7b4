"""Who may feed a hub: what a peer brings is given to every client as the market, so the door is a narrow one."""

from http import HTTPStatus
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Response

from hub.auth import Token, is_loopback

_FORWARDED: Final = ("Forwarded", "X-Forwarded-For", "X-Real-IP")
"""A proxy on this machine that tells for whom it asks: then the peer is not this machine itself."""


class FeedRight:
    """The right to feed.

    Args:
        secret: the token that every feeder must show; empty: feeders on this machine need none, and others can't feed.
    """

    def __init__(self, secret: str) -> None:
        self._token = Token(secret) if secret else None

    def refuse(self, connection: ServerConnection, headers: Headers) -> Response | None:
        """Why this peer may not feed; None when it may.

        Raises websockets' MultipleValuesError for a header that comes twice.
        """
        if headers.get("Origin") is not None:
            return connection.respond(HTTPStatus.FORBIDDEN, "Browsers have nothing to feed.\n")
        if self._token is not None:
            if self._token.in_header(headers.get("Authorization", "")):
                return None
            refusal = connection.respond(
                HTTPStatus.UNAUTHORIZED, "Feeding needs the token, in Authorization: Bearer.\n"
            )
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        if is_loopback(address_of(connection)) and not any(name in headers for name in _FORWARDED):
            return None
        reason = "From another machine only a token gives the right to feed, and this hub has none (feed_token).\n"
        return connection.respond(HTTPStatus.FORBIDDEN, reason)


def address_of(connection: ServerConnection) -> str:
    """The peer's address; empty for one that is gone already."""
    peer = connection.remote_address
    return str(peer[0]) if peer else ""
