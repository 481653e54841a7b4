"""Who may connect: one static token, and the origins that a browser page may come from."""

import hmac
import ipaddress
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


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def origin_allowed(origin: str | None, host: str, allowed: Set[str], *, loopback_only: bool = False) -> bool:
    """Whether a page of this origin may open a connection.

    Args:
        origin: the ``Origin`` header; None where there is none, as from programs that are not browsers.
        host: the ``Host`` header of the same request.
        allowed: further origins, such as ``https://desk.example.com``.
        loopback_only: the hub listens on this machine only, so no other name can be its own: a foreign page whose name
            was made to point here (DNS rebinding) has origin and host alike, but not a name of this machine.
    """
    if origin is None or origin in allowed:
        return True
    try:
        url = urlsplit(origin)
        if loopback_only and not is_loopback(url.hostname or ""):
            return False
        return url.netloc.lower() == host.lower() != ""
    except ValueError:  # no browser sends what is no address
        return False
