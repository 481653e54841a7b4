"""What lies behind the rows in memory, as the hub's core sees it: the journal, without its files."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from hub.segment import Segment
from hub.topic import Topic


class GapNotice(NamedTuple):
    """Rows that the source never gave, by its own account; no number is missing. Times in epoch ms of ``time``.

    ``topic`` is a topic or a pattern; the notice has its place after row ``after_at``.
    """

    after_at: int
    topic: str
    from_ms: int | None
    to_ms: int | None


class RestoredTopic(NamedTuple):
    """A topic as it was. ``time_ms`` is the exchange time of its newest row, ``newest_time_ms`` the newest of all."""

    channel: str
    code: str
    seq: int
    at: int
    newest: bytes
    time_ms: int
    newest_time_ms: int


class Past(Protocol):
    """Rows that can be read back: one unbroken stretch from ``first_at`` to ``at``."""

    @property
    def first_at(self) -> int:
        """Arrival number of the oldest row; above ``at`` where there is none."""

    @property
    def at(self) -> int:
        """Arrival number of the newest row."""

    def day_first_at(self, time_ms: int) -> int:
        """Arrival number of the first row of a time's trading day, or of the newest day before it; else of all."""

    def load(self, at: int) -> Segment | None:
        """A segment that contains a row; None when that is not held. It may be shared: don't change it."""

    def gaps_between(self, at: int, up_to: int) -> Sequence[GapNotice]:
        """The gap notices with ``at <= after_at < up_to``, in order."""

    def first_seq(self, topic: Topic) -> int:
        """The number of a topic's oldest row; above its newest where none is held."""

    def evicted_time_ms(self, topic: Topic) -> int:
        """The newest ``time`` among the rows of a topic that are no longer held; -1 where there are none."""

    def at_of_many(self, seqs: Mapping[Topic, int]) -> Mapping[Topic, int]:
        """The arrival numbers of rows, one for each topic. Those that are not held are left out."""

    def not_after(self, seqs: Mapping[Topic, int]) -> int | None:
        """An arrival number that none of these rows precedes, not far before the first; None where none is held."""

    def first_since_many(self, topics: Iterable[Topic], time_ms: int) -> Mapping[Topic, tuple[int, int]]:
        """``seq`` and arrival number of the first row of each topic with ``time`` at or after ``time_ms``, if any."""

    def first_after_many(self, topics: Iterable[Topic], at: int) -> Mapping[Topic, int]:
        """The number of each topic's oldest row that arrived after ``at``; above its newest where none did."""
