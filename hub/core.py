"""The heart: publish, flush, and the parts that sessions work with. Pure: no clock, no task, no socket.

``publish`` numbers rows and puts them into history. ``flush``, once a turn of the event loop, hands every live
client what it observes of them, made once for each audience. Between the two nothing is sent, so whoever changes
what a client observes flushes first: that is the exact cut on which snapshot, history and live join.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from hub.conflation import Conflater
from hub.counts import Counts
from hub.history import History, Topic
from hub.router import Names, Router
from hub.schema import STATUS, Row
from hub.wire import Origin


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What clients are told of the source."""

    name: str
    simulated: bool


class Hub:
    """One unbroken history and who observes it.

    Args:
        epoch: name of this history, 16 hex digits.
        source: what clients are told of the source.
        channels: those that the source can give; ``status`` comes on top.
        history: where rows are kept.
        universes: named lists of codes and patterns.
        on_wants: called with the topic strings that clients want, when they change.
        on_refused: called with a reason for every row that could not be published.
    """

    def __init__(
        self,
        *,
        epoch: str,
        source: SourceInfo,
        channels: Set[str],
        history: History,
        universes: Mapping[str, Sequence[str]],
        on_wants: Callable[[Names], None],
        on_refused: Callable[[str], None],
    ) -> None:
        self.epoch = epoch
        self.source = source
        self.channels = frozenset(channels) | {STATUS}
        self.history = history
        self.router = Router(history.channels, universes, on_wants)
        self.counts = Counts()
        self.conflating: dict[Conflater, None] = {}
        """Clients that were given conflated rows by the last flush, for its caller to send on and clear."""
        self.on_publish: Callable[[], None] = _nothing
        """Called when there is something to flush; whoever sets it calls `flush` soon, once a turn of the loop."""
        self._on_refused = on_refused
        self._segment = history.tail
        self._offset = 0

    def publish(self, channel: str, rows: Iterable[Row], recv_us: int) -> None:
        """Take rows of one channel that arrived together (``source_names`` of the channel, in order of arrival).

        A row that can't be encoded is refused and reported, the others are published.
        """
        before = self.history.at
        created, refused = self.history.append(channel, rows, recv_us)
        for topic in created:
            self.router.created(topic)
        for reason in refused:
            self._on_refused(reason)
        self.counts.batches_in += 1
        self.counts.rows_in += self.history.at - before
        self.counts.rows_refused += len(refused)
        self.on_publish()

    def flush(self) -> None:
        """Hand what was published since the last flush to the live clients."""
        if self.history.delivered_at == self.history.at:
            return
        segment, offset = self._segment, self._offset
        while True:
            end = len(segment.rows)
            for channel, places in segment.runs(range(offset, end)):
                part = slice(places[0], places[-1] + 1)
                self._deliver(channel, segment.topics[part], segment.rows[part])
            if segment.next is None:
                break
            segment, offset = segment.next, 0
        self._segment, self._offset = segment, end
        self.history.delivered_at = self.history.at

    def _deliver(self, channel: str, topics: Sequence[Topic], rows: Sequence[bytes | None]) -> None:
        touched = []
        encoded: dict[bytes, bytes] = {}
        before_at = self.history.delivered_at
        for topic, row in zip(topics, rows, strict=True):
            for audience in topic.audiences:
                waiting = audience.rows
                if not waiting:
                    touched.append(audience)
                waiting.append(row)  # type: ignore[arg-type]  # rows that are not delivered yet are never let go
            for conflater in topic.conflaters:
                conflater.put(topic, row, before_at)  # type: ignore[arg-type]
                self.conflating[conflater] = None
        for audience in touched:
            if audience.live:
                frames = audience.codec.data(channel, Origin.LIVE, audience.rows, encoded=encoded)
                for outbox in audience.live:
                    outbox.put(frames)
                self.counts.rows_out += len(audience.rows) * len(audience.live)
            audience.rows.clear()


def _nothing() -> None:
    """Where nobody waits for rows to flush, nobody is told."""
