"""The last step into the hub, and the observers that judge the markets and count: what the door hands on goes here."""

from collections.abc import Callable, Iterable, Mapping, Sequence

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
        self._hub.publish(batch.channel, batch.rows, batch.recv_us, batch.number, is_state=batch.is_state)

    def announce(self, interruption: Interruption) -> None:
        """Announce what the source did not give."""
        self._hub.announce(interruption.topic, interruption.from_ms, interruption.to_ms)

    def begin_run(self, run: str) -> None:
        """Note that another run of the source begins."""
        self._hub.begin_run(run)


def wanted_of(topics: Iterable[str], universes: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """What a source is told that is wanted, each with the topic strings of clients that it is wanted for.

    The operator's ``universes`` are known to the hub only: of such a one its codes and patterns are wanted.
    """
    wanted: dict[str, set[str]] = {}
    for topic in topics:
        channel, _, instrument = topic.partition(":")
        members = universes.get(instrument[1:]) if instrument.startswith("@") else None
        for name in (topic,) if members is None else (f"{channel}:{member}" for member in members):
            wanted.setdefault(name, set()).add(topic)
    return wanted


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
