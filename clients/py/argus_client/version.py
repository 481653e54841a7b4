"""The version of the client: packaging reads it from here, and the hub sees it in the handshake."""

from typing import Final

VERSION: Final = "0.1.0"
