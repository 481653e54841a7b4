"""The end of the day: every client is told, gets what waits for it, and is closed, one after the other."""

import asyncio
from collections import deque
from collections.abc import Collection
from typing import Final

from hub.connection import HubConnection

CLOSE_RESTART: Final = 1012
LOOK_S: Final = 0.02
"""How often to look whether a client has what waits for it."""
SPREAD_SHARE: Final = 0.6
"""The closes are spread over so much of the time, since every one of them is a client that comes back elsewhere or
after the restart. In the rest the last of them get what waits for them, and answer the close."""
CLOSES_PER_S: Final = 10
"""Few clients are closed so many in a second, in less than that time: nothing is published while a hub stops."""


async def dismiss(clients: Collection[HubConnection], reason: str, drain_s: float, deadline_s: float) -> None:
    """Tell clients that they are going to be closed, and close them with 1012 spread over part of the time.

    Args:
        clients: those connected, whom others remove as they go; nobody comes any more.
        deadline_s: when, by the loop's clock, to close everybody who is left, and go on.
    """
    loop = asyncio.get_running_loop()
    spread_s = min(drain_s * SPREAD_SHARE, len(clients) / CLOSES_PER_S)
    now_s = loop.time()
    waiting: deque[tuple[float, HubConnection]] = deque()
    for number, connection in enumerate(tuple(clients), 1):
        close_in_s = spread_s * number / len(clients)
        connection.session.draining(reason, round(close_in_s * 1000))
        waiting.append((now_s + close_in_s, connection))
    unsent: list[HubConnection] = []
    while clients and loop.time() < deadline_s:
        while waiting and waiting[0][0] <= loop.time():
            unsent.append(waiting.popleft()[1])
        for connection in unsent:
            if not connection.outbox.queued_bytes:
                connection.close(CLOSE_RESTART, reason)
        unsent = [connection for connection in unsent if connection.outbox.queued_bytes]
        await asyncio.sleep(LOOK_S)
    for connection in tuple(clients):
        connection.close(CLOSE_RESTART, reason)
