"""What a feed tells beside its rows, where it is too large to be told again and again: pieces that the relay keeps.

A piece begins with the digest of its content. The feed's state names the digest of each, so an edge sees what it lacks,
and fetches it. The feed looks again and again whether the relay still has them, whatever has happened to it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Final

from bridge.relay.boundary import Relay, RelayAway

REFERENCE: Final = "reference"
"""What the source knows of its instruments, as `hub.reference.pack` has it."""
UNIVERSES: Final = "universes"
"""Those of the feed's operator."""
REFUSALS: Final = "refusals"
"""What is wanted and can't be given now, and why."""

MAX_BYTES: Final = 32 * 2**20
"""A piece of more is neither kept nor taken. That of a market of 5,500 instruments has 1 MB."""
AGAIN_S: Final = 1.0
_DIGEST_BYTES: Final = 16

_logger = logging.getLogger("argus.relay")


class Keeping:
    """The feed's end: has the relay keep the newest piece of each kind."""

    def __init__(self, relay: Relay) -> None:
        self.digests: dict[str, str] = {}
        """Of what the relay has, by kind."""
        self.confirmed = asyncio.Event()
        """Set when they have changed, for whoever clears it."""
        self._relay = relay
        self._pieces: dict[str, bytes] = {}
        self._changed = asyncio.Event()

    def put(self, kind: str, content: bytes) -> None:
        """Have this kept from now on. One that is too large is not, and edges go on with what they have."""
        if len(content) > MAX_BYTES:
            _logger.error("edges are not told the %s: %d bytes are more than %d", kind, len(content), MAX_BYTES)
            return
        self._pieces[kind] = _digest(content) + content
        self._changed.set()

    async def keep(self, owner: str, token: int) -> None:
        """See to it that the relay has all of it. Raises Refused.

        What was not put here is left as an earlier feed has put it.
        """
        for kind in (REFERENCE, UNIVERSES, REFUSALS):
            digest = await self._relay.kept(kind, _DIGEST_BYTES)
            piece = self._pieces.get(kind, digest)
            if piece[:_DIGEST_BYTES] != digest:
                digest = piece[:_DIGEST_BYTES]
                await self._relay.keep(owner, token, kind, piece)
            if self.digests.get(kind, "") != digest.hex():
                self.digests[kind] = digest.hex()
                self.confirmed.set()

    async def run(self, owner: str, token: int) -> None:
        """Keep it without end. Raises Refused."""
        while True:
            self._changed.clear()
            await self.keep(owner, token)
            try:
                async with asyncio.timeout(AGAIN_S):
                    await self._changed.wait()
            except TimeoutError:
                continue


class Learning:
    """An edge's end: fetches what it lacks.

    Args:
        take: given the kind and the content of each piece. Whatever it raises, the piece is passed over.
    """

    def __init__(self, relay: Relay, take: Callable[[str, bytes], None]) -> None:
        self.caught_up = asyncio.Event()
        """Set once everything was here that the feed had told of."""
        self._relay = relay
        self._take = take
        self._told: Mapping[str, str] = {}
        self._has: dict[str, str] = {}
        self._noted = asyncio.Event()

    def note(self, digests: Mapping[str, str]) -> None:
        """Take notice of what the feed has told of."""
        if digests != self._told:
            self._told = digests
            self._noted.set()

    async def run(self) -> None:
        """Fetch without end, whatever happens to the relay."""
        while True:
            self._noted.clear()
            for kind, digest in self._lacking():
                await self._fetch(kind, digest)
            lacks = bool(self._lacking())
            if not lacks:
                self.caught_up.set()
            try:
                async with asyncio.timeout(AGAIN_S if lacks else None):
                    await self._noted.wait()
            except TimeoutError:
                continue

    def _lacking(self) -> list[tuple[str, str]]:
        return [(kind, digest) for kind, digest in self._told.items() if digest and digest != self._has.get(kind)]

    async def _fetch(self, kind: str, digest: str) -> None:
        most = _DIGEST_BYTES + MAX_BYTES
        try:
            piece = await self._relay.kept(kind, most + 1)
        except RelayAway as error:
            _logger.debug("the %s can't be fetched yet: %s", kind, error)
            return
        if piece[:_DIGEST_BYTES].hex() != digest:
            _logger.debug("the relay has another %s than the feed told of last", kind)
            return
        self._has[kind] = digest  # what can't be used now can't be used later
        content = piece[_DIGEST_BYTES:]
        if len(piece) > most or _digest(content).hex() != digest:
            _logger.error("the %s in the relay can't be used: too large, or not whole", kind)
            return
        try:
            self._take(kind, content)
        except Exception as error:  # the last barrier: whatever is in it, clients get their rows
            _logger.error("the %s in the relay can't be used: %s: %s", kind, type(error).__name__, error)


def _digest(content: bytes) -> bytes:
    return sha256(content).digest()[:_DIGEST_BYTES]
