"""Tells the feed what the clients of an edge want, again and again: a dead edge's wishes end by themselves."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from bridge.relay.boundary import Relay, RelayAway

LEASE_S: Final = 6.0
AGAIN_S: Final = LEASE_S / 3

_logger = logging.getLogger("argus.relay")


class Wishing:
    """Passes wishes on.

    Args:
        edge: name of the edge, unique among all.
        wanted: what its clients want now.
    """

    def __init__(self, relay: Relay, edge: str, wanted: Callable[[], frozenset[str]]) -> None:
        self._relay = relay
        self._edge = edge
        self._wanted = wanted
        self._changed = asyncio.Event()

    def change(self) -> None:
        """What is wanted has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Pass on without end."""
        while True:
            self._changed.clear()
            try:
                await self._relay.wish(self._edge, sorted(self._wanted()), int(LEASE_S * 1000))
            except RelayAway as error:
                _logger.debug("wishes wait for the relay: %s", error)
            try:
                async with asyncio.timeout(AGAIN_S):
                    await self._changed.wait()
            except TimeoutError:
                continue
