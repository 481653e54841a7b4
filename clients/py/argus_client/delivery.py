"""Rows and gaps on their way from the stream to the inboxes that they concern, each handed over once.

Live rows are for everyone whom they concern; the answer to a request is for those who lack it.
"""

import logging
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from argus_client.callbacks import Callbacks, tell
from argus_client.inbox import Inbox
from argus_client.messages import Data, Gap
from argus_client.notices import Notices, is_notice
from argus_client.places import Places
from argus_client.router import Router
from argus_client.rows import Row

_log = logging.getLogger("argus_client")


@dataclass(frozen=True, slots=True)
class _History:
    """Whose the beginning of a subscription is: who asked for it, None once it has left, and all who lack its rows."""

    inbox: Inbox | None
    readers: Set[Inbox]


class Delivery:
    """Hands over what comes. It knows the histories that are on their way on this connection."""

    def __init__(self, router: Router, places: Places, callbacks: Callbacks) -> None:
        self._router = router
        self._places = places
        self._callbacks = callbacks
        self._history_of: dict[int | str | None, _History] = {}
        self._resumed: set[Inbox] = set()
        self._told = Notices()

    def begin(self, request_id: int | str | None, inbox: Inbox) -> None:
        """Note that the history that answers a request is for an inbox that begins."""
        self._history_of[request_id] = _History(inbox, {inbox})

    def resume(self, request_id: int | str | None, inbox: Inbox) -> None:
        """Note that the history that answers a request is for an inbox that goes on, and for all others that do.

        The hub sends each row once: what several of them lack comes for the first that asks.
        """
        self._history_of[request_id] = _History(inbox, self._resumed)

    def leave(self, inbox: Inbox) -> None:
        """Hand nothing more to an inbox."""
        self._router.leave(inbox)
        self._resumed.discard(inbox)
        for request_id in [one for one, history in self._history_of.items() if history.inbox is inbox]:
            others = self._history_of.pop(request_id).readers - {inbox}
            if others:  # what is sent for it may be all that they get of topics that they share
                self._history_of[request_id] = _History(None, others)

    def connect(self, resumed: Iterable[Inbox]) -> None:
        """Begin with a new connection, on which these inboxes go on. History that was on its way is gone."""
        self._history_of.clear()
        self._resumed = set(resumed)

    def data(self, data: Data) -> None:
        """Hand over rows of the stream. Raises CallbackError where a callback for a gap among them raises."""
        history = self._history_of.get(data.request_id)
        if data.request_id is None or data.origin == "live":
            self._hand(data.rows, None)
        elif history is not None:
            self._hand(data.rows, history)
            if history.inbox is not None:
                self._places[history.inbox].came(data.origin, len(data.rows))

    def gap(self, gap: Gap) -> None:
        """Hand over a gap of the stream. Raises CallbackError where the callback raises."""
        history = None if gap.request_id is None else self._history_of.get(gap.request_id)
        concerned = self._router.for_gap(gap.topic)
        if gap.request_id is not None:
            concerned = tuple(inbox for inbox in concerned if history is not None and inbox in history.readers)
        news = [self._put(inbox, gap, own=history is not None and inbox is history.inbox) for inbox in concerned]
        first = next(filter(None, news), gap if not news else None)
        # Where a subscription begins with a notice that another one brought, only its own reader has not heard of it.
        if first is not None and (not is_notice(first) or self._told.is_news(first)):
            tell(self._callbacks.on_gap, first)

    def lost(self, inbox: Inbox, gaps: Iterable[Gap]) -> None:
        """Tell of gaps that are known before the hub is asked. Raises CallbackError where the callback raises."""
        for gap in gaps:
            self._put(inbox, gap)
            tell(self._callbacks.on_gap, gap)

    def _hand(self, rows: Sequence[Row], history: _History | None) -> None:
        """Hand each row to the inboxes that it concerns and that do not have it yet."""
        unannounced: dict[Gap, None] = {}
        for row in rows:
            key = row.channel, row.code
            route = self._router.for_row(*key)
            if history is not None:  # who asked gets what was sent for it, whatever this side knows of its topics
                others = (inbox for inbox in route if inbox in history.readers and inbox is not history.inbox)
                route = (*others,) if history.inbox is None else (history.inbox, *others)
            for inbox in route:
                new = self._places[inbox].take(key, row.seq)
                if new is False:
                    continue
                if isinstance(new, Gap):
                    unannounced[new] = None
                    if inbox.with_gaps:
                        inbox.put(new)
                inbox.put(row)
        for gap in unannounced:
            _log.warning("the hub left out rows %s to %s of %s", gap.from_seq, gap.to_seq, gap.topic)
            tell(self._callbacks.on_gap, gap)

    def _put(self, inbox: Inbox, gap: Gap, *, own: bool = False) -> Gap | None:
        """Hand a gap to an inbox, and return what of it is news there."""
        news = self._places[inbox].take_gap(gap, own=own)
        if news is not None and inbox.with_gaps:
            inbox.put(news)
        return news
