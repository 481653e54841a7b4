"""The batches that the kill test's feeder writes down, as they come: the moments that others go by."""

import asyncio
from contextlib import suppress

from tests.e2e.support.child import PATIENCE_S, Child


class Batches:
    """Those of one feeder at a time."""

    def __init__(self) -> None:
        self._count = 0
        self._came = asyncio.Condition()
        self._following: asyncio.Task[None] | None = None

    def follow(self, feeder: Child) -> None:
        """Go by this feeder from now on."""
        self.leave()
        self._following = asyncio.create_task(self._follow(feeder))

    def leave(self) -> None:
        """Hear no more of the feeder: it is about to end."""
        if self._following is not None:
            self._following.cancel()

    async def next(self) -> None:
        """Return at the moment of the next batch."""
        async with asyncio.timeout(PATIENCE_S), self._came:
            before = self._count
            await self._came.wait_for(lambda: self._count > before)

    async def end(self) -> None:
        """Return when nothing is followed any more."""
        self.leave()
        if self._following is not None:
            with suppress(asyncio.CancelledError, EOFError):
                await self._following

    async def _follow(self, feeder: Child) -> None:
        while True:
            await feeder.line("batch")
            async with self._came:
                self._count += 1
                self._came.notify_all()
