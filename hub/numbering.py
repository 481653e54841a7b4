"""Arrival numbers of an edge that serves few topics: how its own count, without holes, goes with the feed's.

Clients are told the feed's numbers, which are the same everywhere; history counts what it holds. An edge that serves
everything has the same in both.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence


class Numbering:
    """The two counts, in runs in which both grow by one with each row. Up to the beginning they are the same.

    Args:
        at: where both begin.
    """

    def __init__(self, at: int) -> None:
        self._begin = at
        self._at = at  # the newest row here
        self._own = array("q")  # the first number of each run
        self._feeds = array("q")
        self._befores = array("q")  # how far everything was here before each run, by the feed's number
        # How far everything was here, by the feed's number, when this was the newest row.
        self._reached = self._reached_own = at

    @property
    def has_holes(self) -> bool:
        """Whether the feed has rows that are not here."""
        return len(self._own) > 1

    def add(self, feed_ats: Sequence[int]) -> None:
        """Rows follow, with these numbers of the feed's, which only grow."""
        count = len(feed_ats)
        if not count:
            return
        begins = [0]
        if feed_ats[-1] - feed_ats[0] >= count:
            begins += [place for place in range(1, count) if feed_ats[place] != feed_ats[place - 1] + 1]
        if self._own and feed_ats[0] - self._feeds[-1] == self._at + 1 - self._own[-1]:
            del begins[0]
        before = self.feed_at(self._at)
        self._own.extend(self._at + 1 + place for place in begins)
        self._feeds.extend(feed_ats[place] for place in begins)
        self._befores.extend(feed_ats[place - 1] if place else before for place in begins)
        self._at += count

    def reach(self, feed_at: int) -> None:
        """Up to this number of the feed's everything is here that is served, and all of it was given to clients."""
        self._reached, self._reached_own = feed_at, self._at

    def feed_at(self, at: int) -> int:
        """The feed's number up to which everything was given to whoever was given everything up to the own one."""
        run = bisect_right(self._own, at) - 1
        if run + 1 < len(self._own) and at == self._own[run + 1] - 1:
            return self._befores[run + 1]
        exact = at if run < 0 else self._feeds[run] + min(at, self._at) - self._own[run]
        return max(exact, self._reached) if at >= self._reached_own else exact

    def own_at(self, feed_at: int) -> int:
        """The number of the newest row that is not behind the feed's; where that is still to come, one beyond all."""
        if feed_at > self.feed_at(self._at):
            return self._at + 1
        run = bisect_right(self._feeds, feed_at) - 1
        if run < 0:
            return min(feed_at, self._begin)
        last = self._own[run + 1] - 1 if run + 1 < len(self._own) else self._at
        return min(last, self._own[run] + feed_at - self._feeds[run])

    def forget(self, at: int) -> None:
        """What comes before an own number need not be known exactly any more: then less is said to be here."""
        runs = bisect_left(self._own, at) - 1  # the row before it tells how far everything is here until it comes
        if runs > len(self._own) // 2:
            for column in (self._own, self._feeds, self._befores):
                del column[:runs]
