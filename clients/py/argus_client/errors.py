"""Every error that the client raises, each with a one-line message that a person can act on.

All derive from `ArgusError`, so that one ``except`` catches what comes from the hub or the network and lets
mistakes in the caller's own code through.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Self

CLOSE_MEANINGS: Final[Mapping[int, str]] = MappingProxyType(
    {
        1000: "the hub closed it",
        1001: "the hub is going away",
        1006: "it broke off without a goodbye",
        1007: "the hub could not read a text of this client",
        1009: "a message of this client was too big",
        1011: "the hub failed",
        1012: "the hub restarts, or its history began anew",
        4400: "protocol violation",
        4401: "unauthorized: the token is missing, wrong or expired",
        4403: "forbidden",
        4408: "this client read too slowly",
        4409: "kicked by an administrator",
        4429: "too many requests",
    }
)
"""What the close codes of the contract (section 6) say to a person."""

FINAL_CLOSE_CODES: Final = frozenset({1002, 1003, 1007, 1009, 4400, 4401, 4403, 4409})
"""Close codes after which the same client would only be refused again."""


class ArgusError(Exception):
    """Anything that went wrong between this client and the hub."""

    def again(self) -> Self:
        """Return the same error to be raised in another place.

        One end of a connection is raised to many; a shared exception would show each of them another's traceback.
        """
        twin = type(self).__new__(type(self), *self.args)
        twin.__dict__.update(self.__dict__)
        twin.__cause__ = self.__cause__
        return twin


class ConnectError(ArgusError):
    """The connection could not be opened.

    ``status`` is the HTTP status of a refused handshake, None where there was none. ``retryable`` is true where
    the same call may succeed later: nobody listens, a time-out, the hub is full or starting (503).
    """

    def __init__(self, message: str, *, status: int | None = None, retryable: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = retryable


class ConnectionLost(ArgusError):  # noqa: N818 - what happened, not a mistake
    """The connection ended while something was expected of it.

    ``code`` and ``reason`` are those of the WebSocket close, code 1006 where none was received. ``retryable``
    is false for codes after which connecting again is of no use.
    """

    def __init__(self, code: int, reason: str) -> None:
        meaning = CLOSE_MEANINGS.get(code, "it was closed")
        super().__init__(f"connection lost: {meaning} ({code}{': ' + reason if reason else ''})")
        self.code = code
        self.reason = reason
        self.retryable = code not in FINAL_CLOSE_CODES


class HubError(ArgusError):
    """The hub refused a request.

    ``code`` is an error code of the contract such as ``bad_topic``, ``message`` the hub's words. ``retryable``
    says whether the same request may succeed later, ``retry_in_ms`` when (None where the hub does not say).
    """

    def __init__(self, code: str, message: str, retryable: bool, retry_in_ms: int | None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.retryable = retryable
        self.retry_in_ms = retry_in_ms


class ProtocolError(ArgusError):
    """The hub sent something that this client can't read. Never skipped: rows would be missing unseen."""


class CallbackError(ArgusError):
    """A callback of the user raised; the original exception is the ``__cause__``. It ends the connection."""


class TopicError(ArgusError, ValueError):
    """Topics that can't be subscribed as asked; nothing was sent to the hub."""
