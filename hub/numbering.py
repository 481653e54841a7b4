"""Arrival numbers of an edge that serves few topics: how its own count, without holes, goes with the feed's.

Clients are told the feed's numbers, which are the same everywhere; history counts what it holds. An edge that serves
everything has the same in both.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence


class Numbering:
    """The two counts, in runs in which both grow by one with each row. Up to the beginning they are the same.

    Args:
        at: where both begin.
    """

    def __init__(self, at: int) -> None:
        self.reached = at
        """Up to this number of the feed's everything is here that is served."""
        self._begin = at
        self._at = at  # the newest row here
        self._own = array("q")  # the first number of each run
        self._feeds = array("q")

    def add(self, feed_ats: Sequence[int]) -> None:
        """Rows follow, with these numbers of the feed's, which only grow."""
        count = len(feed_ats)
        begins = [0]
        if feed_ats[-1] - feed_ats[0] >= count:
            begins += [place for place in range(1, count) if feed_ats[place] != feed_ats[place - 1] + 1]
        if self._own and feed_ats[0] - self._feeds[-1] == self._at + 1 - self._own[-1]:
            del begins[0]
        self._own.extend(self._at + 1 + place for place in begins)
        self._feeds.extend(feed_ats[place] for place in begins)
        self._at += count
        self.reached = feed_ats[-1]

    def feeds(self, at: int) -> int:
        """The feed's number up to which everything is here, where it is up to the own number ``at``."""
        if at >= self._at:
            return self.reached
        run = bisect_right(self._own, at) - 1
        return at if run < 0 else self._feeds[run] + at - self._own[run]

    def own(self, feed_at: int) -> int:
        """The number of the newest row that is not behind the feed's; where that is still to come, one beyond all."""
        if feed_at > self.reached:
            return self._at + 1
        run = bisect_right(self._feeds, feed_at) - 1
        if run < 0:
            return min(feed_at, self._begin)
        last = self._own[run + 1] - 1 if run + 1 < len(self._own) else self._at
        return min(last, self._own[run] + feed_at - self._feeds[run])

    def forget(self, at: int) -> None:
        """What comes before an own number need not be known exactly any more: then less is said to be here."""
        runs = bisect_right(self._own, at) - 1
        if runs > len(self._own) // 2:
            del self._own[:runs]
            del self._feeds[:runs]
