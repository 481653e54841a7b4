"""What the hub has delivered, as the door to it asks: the narrow view of history that tells repeats from new rows."""

from collections.abc import Iterable
from itertools import chain

from bridge.repeats import PastTopic
from hub.history import History
from hub.lookback import Lookback
from hub.rows import PackedRow
from hub.schema import STATUS
from hub.wire import as_given


class DeliveredRows:
    """A `bridge.repeats.Past` of a history.

    Args:
        run: the source's run whose batches came last; empty where there is none.
    """

    def __init__(self, history: History, run: str) -> None:
        self.run = run
        self._history = history
        self._lookback = Lookback(history)

    @property
    def unproven(self) -> int:
        """How often a row was asked for on disk and there was no time to look."""
        return self._lookback.unanswered

    def topics(self) -> Iterable[PastTopic]:
        """Every topic that the source has spoken on."""
        for topic in self._history.topics:
            if topic.channel != STATUS:
                yield PastTopic(topic.channel, topic.code, topic.newest_time_ms)

    def last_row(self, channel: str, code: str) -> PackedRow | None:
        """The row of a topic that came last; None where that is older than one before it."""
        topic = self._history.channels[channel].get(code)
        if topic is None or topic.time_ms != topic.newest_time_ms:
            return None
        return as_given(channel, topic.newest)

    def rows_at(self, channel: str, code: str, time_ms: int) -> Iterable[PackedRow]:
        """The rows of a topic with exactly this ``time`` that are in memory, or are found on disk in time."""
        topic = self._history.channels[channel].get(code)
        if topic is None:
            return ()
        found = chain(self._history.rows_at(topic, time_ms), self._lookback.rows_at(topic, time_ms))
        return (as_given(channel, row) for row in found)
