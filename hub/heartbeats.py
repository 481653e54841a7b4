"""Heartbeats: what every client is told at regular intervals, each at its own time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hub.connection import HubConnection
from hub.core import Hub
from hub.deadlines import Deadlines


class Heartbeats:
    """Sends every client a heartbeat each ``interval_s``.

    Args:
        markets: the state of each market, as heartbeats tell it.
        now_ms: epoch milliseconds.
    """

    def __init__(
        self,
        hub: Hub,
        interval_s: float,
        markets: Callable[[], Mapping[str, Mapping[str, Any]]],
        now_ms: Callable[[], int],
    ) -> None:
        self._hub = hub
        self._markets = markets
        self._now_ms = now_ms
        self._waiting: Deadlines[HubConnection] = Deadlines(interval_s, self._beat)

    def add(self, connection: HubConnection) -> None:
        """Begin with a client."""
        self._waiting.add(connection)

    def remove(self, connection: HubConnection) -> None:
        """The client is gone."""
        self._waiting.remove(connection)

    def stop(self) -> None:
        """Send no more."""
        self._waiting.stop()

    def _beat(self, connections: Sequence[HubConnection]) -> None:
        for connection in connections:  # first of all: whatever fails must not be the last heartbeat
            self._waiting.add(connection)
        markets = {market: dict(health) for market, health in self._markets().items()}
        self._hub.flush()  # a heartbeat's `at` holds for all rows that were sent before
        now_ms, made = self._now_ms(), dict[tuple[Any, ...], bytes]()
        for connection in connections:
            connection.session.heartbeat(now_ms, markets, made)
