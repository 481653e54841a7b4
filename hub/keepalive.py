"""Pings: a client that shows no sign of life in time is dead, whatever TCP says.

The websockets library has a task and two timers for this in every connection.
"""

from collections.abc import Callable, Sequence

from hub.connection import HubConnection
from hub.deadlines import Deadlines


class Keepalive:
    """Pings every client each ``interval_s``, and tells ``on_dead`` who does not answer within ``timeout_s``."""

    def __init__(self, interval_s: float, timeout_s: float, on_dead: Callable[[Sequence[HubConnection]], None]) -> None:
        self._resting: Deadlines[HubConnection] = Deadlines(interval_s, self._ping)
        self._asked: Deadlines[HubConnection] = Deadlines(timeout_s, on_dead)

    def add(self, connection: HubConnection) -> None:
        """Look after a client."""
        self._resting.add(connection)

    def remove(self, connection: HubConnection) -> None:
        """The client is gone."""
        self._resting.remove(connection)
        self._asked.remove(connection)

    def answered(self, connection: HubConnection) -> None:
        """A pong came; one that nobody asked for changes nothing."""
        if connection in self._asked:
            self._asked.remove(connection)
            self._resting.add(connection)

    def stop(self) -> None:
        """Look after nobody any more."""
        self._resting.stop()
        self._asked.stop()

    def _ping(self, connections: Sequence[HubConnection]) -> None:
        for connection in connections:
            self._asked.add(connection)
            connection.ping()
