"""What the hub has delivered, as the door to it asks: the narrow view of history that tells repeats from new rows."""

from collections.abc import Iterable
from itertools import chain
from typing import Any, Final

import msgspec

from hub.history import History
from hub.lookback import Lookback
from hub.schema import STATUS, Row

_decode: Final = msgspec.msgpack.Decoder(list[Any]).decode


class DeliveredRows:
    """A `bridge.repeats.Past` of a history.

    Args:
        run: the source's run whose batches came last; empty where there is none.
    """

    def __init__(self, history: History, run: str) -> None:
        self.run = run
        self._history = history
        self._lookback = Lookback(history)

    def topics(self) -> Iterable[tuple[str, int, Row]]:
        """Of every topic its channel, the newest ``time`` of all its rows, and its last row."""
        for topic in self._history.topics:
            if topic.channel != STATUS:
                yield topic.channel, topic.newest_time_ms, _as_given(topic.newest)

    def rows_at(self, channel: str, code: str, time_ms: int) -> Iterable[Row]:
        """The rows of a topic with exactly this ``time`` that memory holds, or that are found on disk in time."""
        topic = self._history.channels[channel].get(code)
        if topic is None:
            return ()
        held = self._history.rows_at(topic, time_ms)
        return map(_as_given, chain(held, self._lookback.rows_at(topic, time_ms)))


def _as_given(packed: bytes) -> Row:
    """A row as its source gave it: without the number and the time of receipt that the hub put in."""
    code, _, time_ms, _, *values = _decode(packed)
    return (code, time_ms, *values)
