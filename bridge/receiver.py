"""Puts what the feed published into an edge's hub: numbered rows, with the notices at their places."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import compress
from operator import attrgetter
from typing import Final

from bridge.relay.logreader import Stretch
from bridge.relay.turn import Rows
from hub.core import Hub
from hub.followed import FollowedHistory
from hub.rows import Rows as GivenRows
from hub.topic import Topic
from hub.watch import Watch

_TICK: Final = "tick"
_code_of: Final = attrgetter("code")
_channel_of: Final = attrgetter("channel")


class Receiver:
    """Puts what the feed published into the hub, as it is.

    Args:
        soon: has something called when what was taken is delivered: nobody waits for it.
    """

    def __init__(
        self, hub: Hub, history: FollowedHistory, watch: Watch, soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self._hub = hub
        self._history = history
        self._watch = watch
        self._soon = soon
        self._topics: dict[str, Topic] = {}  # by name
        self._unwatched: list[tuple[Sequence[Topic], Sequence[int], Sequence[bytes]]] = []
        self._end_at = history.public_at(history.at)  # up to where everything was taken
        self._is_waiting = False  # something of it is yet to be delivered
        hub.on_delivered = self._delivered

    def take(self, stretch: Stretch) -> None:
        """Take rows, and the notices at their places."""
        rows, start, history, ats = stretch.rows, 0, self._history, stretch.rows.ats
        for first_at, last_at in stretch.states:
            first, end = bisect_left(ats, first_at), bisect_right(ats, last_at)
            if first < end:
                history.states.note(history.at + 1 + first, history.at + end)
        for notice in stretch.notices:
            end = bisect_right(ats, notice.after_at)
            self._take(rows, start, end)
            start = end
            self._hub.announce(notice.topic, notice.from_ms, notice.to_ms)
        self._take(rows, start, len(rows.rows))
        if len(rows.rows) < stretch.end.at - stretch.begin.at:
            self._watch.hear()
        self._end_at = stretch.end.at
        self._is_waiting = self._is_waiting or bool(rows.rows or stretch.notices)
        if not self._is_waiting:
            self._delivered()

    def _delivered(self) -> None:
        """Clients may be told how far everything is here: not before they were given what there is."""
        self._is_waiting = False
        self._history.reach(self._end_at)

    def _take(self, rows: Rows, start: int, end: int) -> None:
        if start == end:
            return
        part = slice(start, end)
        names, packed, times = rows.names[part], rows.rows[part], rows.times[part]
        known = self._topics
        created: list[Topic] = []
        try:
            topics = list(map(known.__getitem__, names))
        except KeyError:
            for name in names:
                if name not in known:
                    channel, _, code = name.partition(":")
                    created.append(known.setdefault(name, self._history.topic(channel, code)))
            topics = list(map(known.__getitem__, names))
        self._history.extend(rows.ats[part], topics, rows.seqs[part], times, rows.recvs[part], packed)
        self._hub.took(created, end - start, rows.recvs[end - 1])
        if not self._unwatched:
            self._soon(self._watch_all)
        self._unwatched.append((topics, times, packed))

    def _watch_all(self) -> None:
        """Show the watch what was taken."""
        taken, self._unwatched = self._unwatched, []
        for topics, times, packed in taken:
            self._note(topics, times, packed)

    def _note(self, topics: Sequence[Topic], times: Sequence[int], packed: Sequence[bytes]) -> None:
        codes = list(map(_code_of, topics))
        channels = list(map(_channel_of, topics))
        if channels.count(_TICK) < len(channels):  # most often all of them are ticks
            are_ticks = [channel == _TICK for channel in channels]
            codes, times, packed = (list(compress(column, are_ticks)) for column in (codes, times, packed))
        if codes:
            self._watch.note(GivenRows(_TICK, codes, times, packed))
