"""Who may connect: one static token, and the origins that a browser page may come from."""

import hmac
from collections.abc import Set
from urllib.parse import urlsplit


class Token:
    """The token that clients must show. Compared in constant time."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def accepts(self, shown: str) -> bool:
        """Whether this is the token."""
        return hmac.compare_digest(self._secret, shown.encode(errors="surrogatepass"))

    def in_header(self, authorization: str) -> bool:
        """Whether an ``Authorization`` header carries the token as a bearer."""
        scheme, _, shown = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.accepts(shown.strip())


def origin_allowed(origin: str | None, host: str, allowed: Set[str]) -> bool:
    """Whether a page of this origin may open a connection.

    Args:
        origin: the ``Origin`` header; None where there is none, as from programs that are not browsers.
        host: the ``Host`` header of the same request.
        allowed: further origins, such as ``https://desk.example.com``.
    """
    if origin is None or origin in allowed:
        return True
    try:
        return urlsplit(origin).netloc.lower() == host.lower() != ""
    except ValueError:  # no browser sends what is no address
        return False
