"""Finds rows by their exact time where memory has let them go: to tell whether a row came before.

Rows that come again come in the order in which they came the first time. So the pages of the journal that were looked
into are indexed and kept for the next question, and only one question for some thousands of rows costs a search. What
is found without a search earns time for the next one: however many come again, they are all recognised.

Old rows in any other order, or such as never came, cost a search each. That must not hold up everybody: what is left to
ask then is not answered, but counted and told. Whoever asks takes the row for a new one: to leave it out could lose it.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from math import inf
from time import monotonic
from typing import Final

from hub.history import History
from hub.past import Past
from hub.segment import PackedRows, Segment
from hub.topic import Topic

PAGES: Final = 3
"""Pages that are looked into for one question. Rows of one topic and time are at most a few seconds apart."""
KEPT_PAGES: Final = 8
SEARCH_S: Final = 0.05
"""What searching may take of the event loop in each second, beside what was earned."""
EARNED_S: Final = 4e-6
"""What a question earns that needs no search: more than twice what searching takes for each of many rows in order."""
TELL_EVERY_S: Final = 60.0

_logger = logging.getLogger("argus.journal")

_Page = dict[tuple[Topic, int], PackedRows]


class Lookback:
    """Looks into what is behind the memory of a history.

    Args:
        monotonic_s: seconds that only ever grow.
    """

    def __init__(self, history: History, monotonic_s: Callable[[], float] = monotonic) -> None:
        self._history = history
        self._monotonic_s = monotonic_s
        self._pages: OrderedDict[int, _Page] = OrderedDict()
        self.unanswered = 0
        """Questions for which there was no time to search."""
        self._second = 0
        self._searched_s = 0.0
        self._tell_after_s = -inf

    def rows_at(self, topic: Topic, time_ms: int) -> Iterator[bytes]:
        """The rows of a topic with exactly this ``time`` that are on disk only, some perhaps twice.

        The more likely ones come first: whoever has found what it looks for asks no further. Those that are still to be
        searched for are left out when that has taken too much time already.
        """
        past = self._history.past
        if past is None or topic.evicted_time_ms < time_ms:
            return
        is_seen = False
        for page in list(self._pages.values()):
            if found := page.get((topic, time_ms)):
                is_seen = True
                self._searched_s -= EARNED_S
                yield from found
        started_s = self._monotonic_s()
        if int(started_s) != self._second:
            self._second, self._searched_s = int(started_s), 0.0
        if self._searched_s <= SEARCH_S:
            searched = self._search(past, topic, time_ms)
            self._searched_s += self._monotonic_s() - started_s
            yield from searched
        elif not is_seen:  # else its neighbours are known, and hardly another one has that time
            self._pass_over(started_s)

    def _pass_over(self, now_s: float) -> None:
        self.unanswered += 1
        if now_s >= self._tell_after_s:
            self._tell_after_s = now_s + TELL_EVERY_S
            _logger.error(
                "old rows come faster than the journal can be searched for them: whether they came before is not known,"
                " and they are delivered, perhaps for the second time (%d so far)",
                self.unanswered,
            )

    def _search(self, past: Past, topic: Topic, time_ms: int) -> PackedRows:
        found: PackedRows = []
        place = past.first_since_many([topic], time_ms).get(topic)
        at = past.at + 1 if place is None else place[1]
        for _ in range(PAGES):
            segment = past.load(at)
            if segment is None:
                break
            found += self._page(segment).get((topic, time_ms), ())
            at = segment.end_at
        return found

    def _page(self, segment: Segment) -> _Page:
        page = self._pages.get(segment.first_at)
        if page is None or segment.end_at > self._history.at:  # the newest page grows
            page = self._pages[segment.first_at] = _index(segment)
        self._pages.move_to_end(segment.first_at)
        if len(self._pages) > KEPT_PAGES:
            self._pages.popitem(last=False)
        return page


def _index(segment: Segment) -> _Page:
    page: _Page = {}
    for topic, time_ms, row in zip(segment.topics, segment.times, segment.rows, strict=True):
        if row is not None:
            page.setdefault((topic, time_ms), []).append(row)
    return page
