"""Who may connect, in which encoding, and what everybody else is told: one request in, one response out."""

import logging
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from websockets.datastructures import Headers, MultipleValuesError
from websockets.exceptions import NegotiationError
from websockets.extensions.permessage_deflate import enable_server_permessage_deflate
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from hub.auth import origin_allowed
from hub.endpoint import Endpoint
from hub.wire import CODECS, SUBPROTOCOLS, Codec

if TYPE_CHECKING:
    from hub.server import ServerSettings

_logger = logging.getLogger("argus.server")
_websockets_logger = logging.getLogger("websockets.server")


class Conversation(ServerProtocol):
    """The websockets library's half of a connection, which takes the first subprotocol that both sides know."""

    known: Sequence[str] = SUBPROTOCOLS

    def select_subprotocol(self, subprotocols: Sequence[Subprotocol]) -> Subprotocol | None:
        """The first one offered that is known; a client that offers none gets none."""
        for subprotocol in subprotocols:
            if subprotocol in self.known:
                return subprotocol
        if subprotocols:
            raise NegotiationError(f"unknown subprotocol; known here: {', '.join(self.known)}")
        return None


class Door:
    """The rules of one server.

    Args:
        pages: answers plain HTTP requests by path; None for a path that it doesn't know.
        has_room: whether one more client may come.
        closed: why none may come; empty where they may.
    """

    def __init__(
        self,
        settings: "ServerSettings",
        pages: Callable[[str], Response | None],
        endpoints: Mapping[str, Endpoint],
        has_room: Callable[[], bool],
        closed: Callable[[], str],
    ) -> None:
        self.draining = False
        self.loopback_only = True
        """Whether the hub listens on this machine only."""
        self._settings = settings
        self._pages = pages
        self._endpoints = endpoints
        self._has_room = has_room
        self._closed = closed
        self._extensions: Final = enable_server_permessage_deflate(None) if settings.compression else None

    def conversation(self) -> Conversation:
        """What a new connection begins with."""
        return Conversation(
            extensions=self._extensions, max_size=self._settings.limits.message_bytes, logger=_websockets_logger
        )

    def endpoint(self, request: Request) -> Endpoint | None:
        """Whom a request is for, if not for the server itself."""
        return self._endpoints.get(_path_of(request))

    def answer(self, conversation: Conversation, request: Request) -> Response:
        """The answer to a request of a client or for a page: 101 lets it in."""
        return self._respond(conversation, request, lambda: self._refuse(conversation, request))

    def answer_peer(
        self, conversation: Conversation, request: Request, endpoint: Endpoint, refuse: Callable[[], Response | None]
    ) -> Response:
        """The answer to a peer of an endpoint, which has its own rules and its own refusal."""
        conversation.known = (endpoint.subprotocol,)
        conversation.max_message_size = endpoint.max_message_bytes

        def judge() -> Response | None:
            if not _is_handshake(request.headers):
                return None  # the library answers with 426 and says why
            if self.draining:
                return conversation.reject(HTTPStatus.SERVICE_UNAVAILABLE, "The hub is restarting.\n")
            return refuse()

        return self._respond(conversation, request, judge)

    def _respond(self, conversation: Conversation, request: Request, judge: Callable[[], Response | None]) -> Response:
        try:
            response = judge() or conversation.accept(request)
        except MultipleValuesError as error:
            response = conversation.reject(HTTPStatus.BAD_REQUEST, f"The header {error} may come once only.\n")
        except Exception:  # the last barrier: one request must not end the others' hub
            _logger.exception("a request for %s failed", request.path)
            response = conversation.reject(HTTPStatus.INTERNAL_SERVER_ERROR, "The hub failed; its log tells more.\n")
        response.headers["Server"] = self._settings.name
        return response

    def _refuse(self, conversation: Conversation, request: Request) -> Response | None:
        """A plain page, why this client may not connect, or (None) nothing against it."""
        if _path_of(request) != "/ws":
            return self._page(conversation, request)
        if not set(_encodings_of(request)) <= {"json", "msgpack"}:
            return conversation.reject(HTTPStatus.BAD_REQUEST, "The encoding is json or msgpack.\n")
        headers = request.headers
        if not _is_handshake(headers):
            return None  # the library answers with 426 and says why
        if self.draining:
            return conversation.reject(HTTPStatus.SERVICE_UNAVAILABLE, "The hub is restarting.\n")
        if closed := self._closed():
            return conversation.reject(HTTPStatus.SERVICE_UNAVAILABLE, f"{closed}\n")
        if not self._has_room():
            return conversation.reject(HTTPStatus.SERVICE_UNAVAILABLE, "The hub has no room for another client.\n")
        origin = headers.get("Origin")
        host, allowed = headers.get("Host", ""), self._settings.allowed_origins
        if not origin_allowed(origin, host, allowed, loopback_only=self.loopback_only):
            return conversation.reject(HTTPStatus.FORBIDDEN, f"The origin {origin} is not allowed here.\n")
        token, shown = self._settings.token, headers.get("Authorization")
        if token is not None and shown is not None and not token.in_header(shown):
            refusal = conversation.reject(HTTPStatus.UNAUTHORIZED, "This is not the token.\n")
            refusal.headers["WWW-Authenticate"] = "Bearer"
            return refusal
        return None

    def _page(self, conversation: Conversation, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            refusal = conversation.reject(HTTPStatus.METHOD_NOT_ALLOWED, "Pages are for reading: GET.\n")
            refusal.headers["Allow"] = "GET, HEAD"
            return refusal
        page = self._pages(_path_of(request))
        if page is None:
            page = conversation.reject(HTTPStatus.NOT_FOUND, "There is nothing here. Clients connect to /ws.\n")
        if request.method == "HEAD":
            page.body = b""
        return page


def codec_of(conversation: Conversation, request: Request) -> Codec:
    """The encoding of a client that was let in: by its subprotocol, else by the query, else JSON."""
    if conversation.subprotocol is not None:
        return CODECS[conversation.subprotocol]
    return CODECS[SUBPROTOCOLS[0] if _encodings_of(request) == ["msgpack"] else SUBPROTOCOLS[1]]


def _path_of(request: Request) -> str:
    return request.path.partition("?")[0]


def _encodings_of(request: Request) -> Sequence[str]:
    return parse_qs(request.path.partition("?")[2]).get("encoding", ())


def _is_handshake(headers: Headers) -> bool:
    """Whether a request asks for a WebSocket at all."""
    return "websocket" in headers.get("Upgrade", "").lower()
