"""The last step into the hub, and the observers that judge the markets and count: what the door hands on goes here."""

from collections.abc import Callable

from bridge.source import Batch, Interruption
from hub.core import Hub
from hub.rows import Rows
from hub.watch import Watch


class HubPublisher:
    """A `bridge.source.Publisher` that publishes in a hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def publish(self, batch: Batch) -> None:
        """Publish one batch."""
        self._hub.publish(batch.channel, batch.rows, batch.recv_us, batch.number)

    def announce(self, interruption: Interruption) -> None:
        """Announce what the source did not give."""
        self._hub.announce(interruption.topic, interruption.from_ms, interruption.to_ms)

    def begin_run(self, run: str) -> None:
        """Note that another run of the source begins."""
        self._hub.begin_run(run)


class MarketObserver:
    """An observer that tells the watch of the markets, and the figures, what came.

    Args:
        on_rows: told how many rows each batch has.
    """

    def __init__(self, watch: Watch, on_rows: Callable[[float], None]) -> None:
        self._watch = watch
        self._on_rows = on_rows

    def observe(self, batch: Batch) -> None:
        """Take notice of one batch."""
        assert isinstance(batch.rows, Rows)  # noqa: S101 - packed at the door
        if batch.channel == "tick":
            self._watch.note(batch.rows)
        self._on_rows(len(batch.rows))
