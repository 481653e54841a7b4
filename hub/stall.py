"""Clients whose socket takes nothing for too long are given up: what waits may be too little for the byte limit."""

import asyncio
from collections.abc import Callable

from hub.connection import HubConnection


class StallWatch:
    """Looks at connections while their transport is full.

    Args:
        stall_s: how long nothing may move.
        give_up: what becomes of a client for which nothing moved.
    """

    def __init__(self, stall_s: float, give_up: Callable[[HubConnection], None]) -> None:
        self._stall_s = stall_s
        self._give_up = give_up
        self._full: dict[HubConnection, tuple[int, float] | None] = {}  # least bytes seen waiting, and when

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
        """Note what moved, and give up those for which nothing did."""
        for connection, seen in list(self._full.items()):
            if connection.outbox.is_shut:
                continue  # given up already: it has its time to close
            waiting = connection.transport.get_write_buffer_size()
            if seen is None or waiting < seen[0]:  # growing is no progress
                self._full[connection] = waiting, now_s
            elif now_s - seen[1] >= self._stall_s:
                del self._full[connection]
                self._give_up(connection)
