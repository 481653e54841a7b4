"""Clients that are too slow for too long are given up, although less waits than the byte limit allows.

That are those whose socket takes nothing, and those that read, but for which more than half of the limit waits all
the time.
"""

import asyncio
from collections.abc import Callable

from hub.connection import HubConnection


class StallWatch:
    """Looks at connections while their transport is full.

    Args:
        stall_s: how long nothing may move, and how long more than half of the limit may wait.
        give_up: what becomes of a client that is too slow, and why it is.
    """

    def __init__(self, stall_s: float, give_up: Callable[[HubConnection, str], None]) -> None:
        self._stall_s = stall_s
        self._give_up = give_up
        self._full: dict[HubConnection, tuple[int, float] | None] = {}  # least bytes seen waiting, and when

    def __contains__(self, connection: HubConnection) -> bool:
        return connection in self._full

    def add(self, connection: HubConnection) -> None:
        """Its transport is full."""
        self._full[connection] = None

    def remove(self, connection: HubConnection) -> None:
        """Its transport takes data again, or is gone."""
        self._full.pop(connection, None)

    async def run(self) -> None:
        """Look at regular intervals, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(1.0, self._stall_s / 4))
            self.look(loop.time())

    def look(self, now_s: float) -> None:
        """Note what moved, and give up those that are too slow."""
        for connection, seen in list(self._full.items()):
            if connection.outbox.is_shut:
                continue  # given up already: it has its time to close
            waiting = connection.transport.get_write_buffer_size()
            if seen is None or waiting < seen[0]:  # growing is no progress
                seen = self._full[connection] = waiting, now_s
            # Looked at each time: the outbox forgets it as soon as the client has caught up, also between two looks.
            above_half_s = connection.outbox.above_half_s(now_s)
            if now_s - seen[1] >= self._stall_s:
                self._end(connection, f"the socket took nothing for {self._stall_s:g} s")
            elif above_half_s >= self._stall_s:
                self._end(connection, f"more than half of the bytes that may wait did so for {self._stall_s:g} s")

    def _end(self, connection: HubConnection, why: str) -> None:
        del self._full[connection]
        self._give_up(connection, why)
