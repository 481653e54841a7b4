"""How far every topic had come when the journal was written last. Topics know that: an append need not count rows."""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

from hub.journal.tally import Tally
from hub.topic import Topic

_seq_of: Final = attrgetter("seq")
_at_of: Final = attrgetter("at")
_newest_time_of: Final = attrgetter("newest_time_ms")


class Standing:
    """What the topics were after the newest row that is written, whatever was published since.

    Args:
        at: arrival number of that row.
        topics: by number; more may join them.
    """

    def __init__(self, at: int, topics: Sequence[Topic]) -> None:
        self.at = at
        self.index: Callable[[], None] = _nothing
        """Called before topics are asked where their rows are."""
        self.late_at: Callable[[], int] = int
        """Tells the arrival number of the newest row that is older than one of its topic before it."""
        self._topics = topics

    def seq(self, number: int) -> int:
        """The number of a topic's newest row."""
        return self._as_of(number)[0]

    def newest_time_ms(self, number: int) -> int:
        """The newest exchange time among all rows of a topic."""
        return self._as_of(number)[2]

    def is_newest(self) -> bool:
        """Whether nothing was published since."""
        self.index()
        return all(topic.at <= self.at for topic in self._topics)

    def tally(self) -> Tally:
        """All topics as columns. Their newest rows are among them where nothing was published since."""
        tally = self.counts(0)
        tally.newest = [topic.newest if topic.at <= self.at else b"" for topic in self._topics]
        return tally

    def counts(self, first: int) -> Tally:
        """The same without rows, and with the names of the topics from a number on.

        Nobody gets anything meanwhile, and thousands of little objects would have the collector go through all others.
        """
        tally, topics = Tally(), self._topics
        self.index()
        tally.at, tally.late_at = self.at, min(self.at, self.late_at())
        tally.names = [(topic.channel, topic.code) for topic in topics[first:]]
        tally.seqs, tally.ats = list(map(_seq_of, topics)), list(map(_at_of, topics))
        tally.newest_times = list(map(_newest_time_of, topics))
        for number, at in enumerate(tally.ats):
            if at > self.at:  # it spoke again since
                stood = topics[number].as_of(self.at)
                tally.seqs[number], tally.ats[number], tally.newest_times[number] = stood
        return tally

    def _as_of(self, number: int) -> tuple[int, int, int]:
        self.index()
        return self._topics[number].as_of(self.at)


def _nothing() -> None:
    """Where topics know at any time."""
