"""Leaving topics at the hub, for whoever waits for it and for whoever can't."""

import asyncio
import logging

from argus_client.calls import Calls
from argus_client.errors import ArgusError, ConnectionLost
from argus_client.messages import Unsubscribed

_log = logging.getLogger("argus_client")


class Farewells:
    """Unsubscribes. With the connection everything is left: a loss is no error here."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._tasks: set[asyncio.Task[None]] = set()

    async def leave(self, topics: list[str]) -> None:
        """Leave topics, and return when the hub has confirmed it. Raises HubError where it refuses."""
        if not topics:
            return
        try:
            await self._calls.ask(Unsubscribed, {"op": "unsubscribe", "topics": topics})
        except ConnectionLost as lost:
            _log.debug("not unsubscribed: %s", lost)
        except ArgusError:
            if self._calls.gate.is_open:
                raise

    def leave_soon(self, topics: list[str]) -> None:
        """Leave topics in the background."""
        if topics and self._calls.gate.is_open:
            task = asyncio.get_running_loop().create_task(self.leave(topics))
            self._tasks.add(task)
            task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("could not unsubscribe: %s", error)
