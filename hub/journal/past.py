"""Reading the journal: rows found by topic and number, time or place, and loaded as segments of the log."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from hub.calendar import shanghai_day
from hub.journal.archive import Archive
from hub.journal.finder import Finder
from hub.journal.marks import NEVER_MS, Mark
from hub.journal.standing import Standing
from hub.journal.tally import Tally
from hub.past import GapNotice
from hub.segment import Segment
from hub.topic import Topic

_FAR_MS: Final = 250_000_000_000_000
"""No file is of a day after that (the year 9892), and not much later dates end."""

_Answer = TypeVar("_Answer")


class Past:
    """What can be read of one epoch.

    Args:
        begun: how the topics stood when it was opened.
        mark_now: makes a mark after the newest row.
    """

    def __init__(
        self,
        folder: Path,
        begun: Tally,
        *,
        on_drop: Callable[[int], None],
        on_note: Callable[[str], None],
        mark_now: Callable[[], Mark],
    ) -> None:
        self._folder = folder
        self._begun = begun
        self._archive = Archive(folder, on_drop=on_drop, on_note=on_note, mark_now=mark_now)
        self._standing = Standing(begun.at, self._archive.topics)
        self._finder = Finder(self._archive, self._standing)

    def attach(
        self, topic_of: Callable[[str, str], Topic], late_at: Callable[[], int], index: Callable[[], None]
    ) -> None:
        """Be told the topics of what was restored, before anything is read or appended.

        Their counts are those of what was restored, and go on with every row that is numbered, appended yet or not.

        Args:
            topic_of: gives a topic by channel and code.
            late_at: tells the arrival number of the newest row that is older than one of its topic before it.
            index: called before a topic is asked where its rows are.
        """
        topics = [topic_of(channel, code) for channel, code in self._begun.names]
        for number, topic in enumerate(topics):
            topic.number = number
        self._archive.topics[:] = topics
        self._standing.late_at = late_at
        self._standing.index = index

    @property
    def at(self) -> int:
        """Arrival number of the newest row that is written."""
        return self._standing.at

    @property
    def first_at(self) -> int:
        """Arrival number of the oldest row that is held; above ``at`` where none is."""
        return self._archive.base.at + 1

    def day_first_at(self, time_ms: int) -> int:
        """Arrival number of the first row of a time's trading day, or of the newest day before it; else of all.

        A day that has no row yet begins with the next row.
        """
        parts = self._archive.parts
        day = shanghai_day(min(max(0, time_ms), _FAR_MS)).isoformat()
        newest = next((part for part in reversed(parts) if part.name.day <= day), parts[0])
        first = next(part for part in parts if part.name.day == newest.name.day)
        return max(first.base.at + 1, self.first_at)

    def load(self, at: int) -> Segment | None:
        """A segment of at most some 4,096 rows that contains row ``at``; None when that is not held.

        None for a row at or below ``self.at`` means that it was let go: ``first_at`` is above it then.
        """
        return self._archive.load(at) if at <= self.at else None

    def gaps_between(self, at: int, up_to: int) -> list[GapNotice]:
        """The gap notices with ``at <= after_at < up_to``, in order: those before the rows ``at + 1`` to ``up_to``."""
        return self._archive.gaps_between(at, up_to)

    def first_seq(self, topic: Topic) -> int:
        """The number of a topic's oldest row that is held; above its newest where none is."""
        return self._archive.base.seq(topic.number) + 1 if topic.number >= 0 else 1

    def evicted_time_ms(self, topic: Topic) -> int:
        """The newest ``time`` among the rows of a topic that are no longer held; -1 where there are none."""
        return self._archive.base.newest_time_ms(topic.number) if topic.number >= 0 else NEVER_MS

    def at_of(self, topic: Topic, seq: int) -> int | None:
        """The arrival number of a row; None when it is not held."""
        return self.at_of_many({topic: seq}).get(topic)

    def at_of_many(self, seqs: Mapping[Topic, int]) -> dict[Topic, int]:
        """The same for many topics at once, a row of each. Those that are not held are left out."""
        return self._by_topic(self._finder.at_of(self._by_number(seqs)))

    def not_after(self, seqs: Mapping[Topic, int]) -> int | None:
        """An arrival number that none of these rows precedes, and that is at most some 65,000 rows before the first.

        It is known without reading anything, however far apart the rows are: whoever reads on from there can tell by
        ``seq`` what is meant. None when none of them is held.
        """
        return self._finder.not_after(self._by_number(seqs))

    def first_since(self, topic: Topic, time_ms: int) -> tuple[int, int] | None:
        """``seq`` and arrival number of a topic's first row with ``time`` at or after ``time_ms``; None: there is none.

        Where that may be a row that was let go (``evicted_time_ms`` is not below ``time_ms``): the oldest that is held.
        """
        return self.first_since_many([topic], time_ms).get(topic)

    def first_since_many(self, topics: Iterable[Topic], time_ms: int) -> dict[Topic, tuple[int, int]]:
        """The same for many topics at once. Those without such a row are left out."""
        return self._by_topic(self._finder.first_since(self._known(topics), time_ms))

    def first_after(self, topic: Topic, at: int) -> int:
        """The number of a topic's oldest held row that arrived after ``at``; above its newest where none did."""
        return self.first_after_many([topic], at).get(topic, 1)

    def first_after_many(self, topics: Iterable[Topic], at: int) -> dict[Topic, int]:
        """The same for many topics at once. Those that never spoke are left out."""
        return self._by_topic(self._finder.first_after(self._known(topics), at))

    def _by_number(self, seqs: Mapping[Topic, int]) -> dict[int, int]:
        return {topic.number: seq for topic, seq in seqs.items() if topic.number >= 0}

    def _known(self, topics: Iterable[Topic]) -> list[int]:
        return [topic.number for topic in topics if topic.number >= 0]

    def _by_topic(self, found: Mapping[int, _Answer]) -> dict[Topic, _Answer]:
        topics = self._archive.topics
        return {topics[number]: answer for number, answer in found.items()}
