"""A reader's place in the log, wherever its rows are: in memory, or on disk once memory has let them go.

A cursor holds no row, so that however far a client lags it costs no memory per row. What it finds to be gone from both
it knows exactly, by topic and number.
"""

from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, NamedTuple

from hub.past import GapNotice
from hub.segment import Run, Segment
from hub.topic import Topic

if TYPE_CHECKING:
    from hub.history import History


class Loss(NamedTuple):
    """Rows of one topic that a reader can no longer have: ``first`` to ``last`` (seq), and their times where known."""

    topic: Topic
    first: int
    last: int
    first_time_ms: int | None
    last_time_ms: int | None


class Cursor:
    """A reader's place in the log. Cheap to make and to keep.

    Args:
        at: everything up to this arrival number is behind it.
        segment: where the next row is, while that is in memory.
        told: how many of the gap notices right after ``at`` are behind it.
    """

    __slots__ = (
        "__weakref__",
        "_before",
        "_dropped",
        "_due",
        "_history",
        "_passed",
        "_segment",
        "_told",
        "at",
        "losses",
        "until",
    )

    def __init__(self, history: "History", at: int, segment: Segment | None, told: int = 0) -> None:
        self.at = at
        """The arrival number up to which everything was read."""
        self.until: int | None = None
        """Arrival number of the last row that is meant, where that is known: gap notices after it are not."""
        self.losses: dict[Topic, Loss] = {}
        self._history = history
        self._segment = segment
        self._told = told
        self._before = at, told  # where the last step began
        self._due: list[Topic] = []
        self._dropped: dict[Topic, Loss] = {}  # of all topics, whoever reads
        self._passed: list[GapNotice] = []  # those among the rows that were lost

    @property
    def in_memory(self) -> bool:
        """Whether it goes on from a segment that it knows, and not by its number."""
        return self._segment is not None and not self._segment.gone

    def read(self, up_to: int, topics: Set[Topic], begins: Mapping[Topic, int], most: int) -> list[Run]:
        """Go on by one bounded step and return what is there for these topics, in order of arrival.

        The step ends before a gap notice: see `take_notices`.

        Args:
            up_to: arrival number to stop after.
            topics: the topics to read.
            begins: for some of them, the number (seq) of the first row that is meant.
            most: rows after which to stop, at the latest at the end of the segment.

        Returns:
            Runs of encoded rows. What had to be skipped because it was let go is added to ``losses``.
        """
        segment, places = self.look(up_to, topics, begins, most)
        return segment.take(self.without_losses(segment, places))

    def look(
        self, up_to: int, topics: Set[Topic] | None, begins: Mapping[Topic, int], most: int
    ) -> tuple[Segment, list[int]]:
        """Go on by one bounded step, as `read` does, and return where the rows of these topics are; None: of all."""
        segment = self._stand()
        up_to = min(up_to, segment.end_at - 1)  # also where the rows are then read from a page that reaches further
        notices = self._notices(up_to)
        if notices:
            up_to = notices[0].after_at
        self._before = self.at, self._told
        if self._dropped:
            self._take_dropped(topics, begins)
        start, places, stop = self._find(segment, up_to, topics, most)
        past = self._history.past
        if past is not None and None in [segment.rows[i] for i in places]:
            loaded = past.load(self.at + 1)
            if loaded is not None:
                segment = loaded
            elif past.first_at > self.at + 1:  # up to there memory has all that there is; from there on, ask again
                up_to = min(up_to, past.first_at - 1)
            start, places, stop = self._find(segment, up_to, topics, most)
        if stop > start:
            self._told = 0
            self.at = segment.first_at + stop - 1
        if begins:
            seqs, topics_at = segment.seqs, segment.topics
            places = [i for i in places if seqs[i] >= begins.get(topics_at[i], 0)]
        return segment, places

    def stretch(self, up_to: int) -> tuple[bool, int]:
        """Whether the next row tells a state, as `hub.states` has it, and how far, up to ``up_to``, the same holds."""
        return self._history.states.stretch(self.at + 1, up_to)

    def back_to(self, at: int) -> None:
        """Have read no further than up to a row of the step that was looked at last."""
        begin_at, told = self._before
        self.at, self._told = at, told if at == begin_at else 0

    def take_notices(self) -> Sequence[GapNotice]:
        """The gap notices that have their place right here: before the next row, after all that was read."""
        notices = self._notices(self.at)
        self._told += len(notices) - len(self._passed)
        self._passed.clear()
        if notices:
            self._due = list(self.losses)  # what was lost before them is told before them
        return notices

    def without_losses(self, segment: Segment, places: list[int]) -> list[int]:
        """Leave out the rows that were let go, and add them to ``losses``."""
        rows = segment.rows
        if None in [rows[i] for i in places]:
            places = self._note_losses(segment, places)
        if self.losses:
            self._due += {segment.topics[i] for i in places} & self.losses.keys()
        return places

    def forget(self, topics: Set[Topic]) -> None:
        """Drop what was lost of topics that nobody waits for any more."""
        for topic in topics & self.losses.keys():
            del self.losses[topic]

    def take_losses(self, *, at_end: bool) -> list[Loss]:
        """What was lost of the topics that have a row in the last step: a loss for each.

        Of all topics ``at_end``, and where the step ended at a gap notice.
        """
        topics = list(self.losses) if at_end else [topic for topic in self._due if topic in self.losses]
        self._due.clear()
        return [self.losses.pop(topic) for topic in topics]

    def lose(self, up_to: int, firsts: Mapping[Topic, int], nexts: Mapping[Topic, int]) -> None:
        """Go on after arrival number ``up_to``: what comes before is gone, but for the gap notices in it.

        Args:
            firsts: by topic, the number of the row that would have been next.
            nexts: that of the first row after what is gone.
        """
        self._passed = [*self._notices(up_to - 1 if self.until is None else min(self.until, up_to - 1))]
        for topic, first in firsts.items():
            if first < nexts[topic]:
                known = self._dropped.get(topic)
                loss = Loss(topic, known.first if known else first, nexts[topic] - 1, None, None)
                self._dropped[topic] = loss
        self.at = up_to
        self._told = 0
        self._segment = None

    def stand_in(self, segment: Segment) -> None:
        """Keep a segment that leaves memory and can't be read back from disk, if this is where the next row was."""
        if not self.in_memory and segment.first_at <= self.at + 1 < segment.end_at:
            self._segment = segment

    def _stand(self) -> Segment:
        """The segment in which the next row is, or will be."""
        segment = self._segment
        if segment is not None and self.at + 1 == segment.end_at and segment.next is not None:
            segment = segment.next
        if segment is None or segment.gone:
            segment = self._history.segment_at(self)
        # One that was read from disk is nobody's to keep: it has no place in the chain.
        self._segment = segment if segment.next is not None or segment is self._history.tail else None
        return segment

    def _find(self, segment: Segment, up_to: int, topics: Set[Topic] | None, most: int) -> tuple[int, list[int], int]:
        start = self.at + 1 - segment.first_at
        stop = max(start, min(len(segment.rows), up_to + 1 - segment.first_at))
        return start, *segment.find(topics, start, stop, most)

    def _notices(self, up_to: int) -> Sequence[GapNotice]:
        """The gap notices between here and a row that were not taken yet."""
        notices = self._history.notices(self.at, up_to)
        if self._told:
            notices = notices[self._told :]
        return [*self._passed, *notices] if self._passed else notices

    def _take_dropped(self, topics: Set[Topic] | None, begins: Mapping[Topic, int]) -> None:
        for topic, loss in self._dropped.items():
            first = max(loss.first, begins.get(topic, 0))
            if (topics is None or topic in topics) and first <= loss.last:
                self._add_loss(loss._replace(first=first))
        self._dropped.clear()

    def _note_losses(self, segment: Segment, places: list[int]) -> list[int]:
        kept = []
        for i in places:
            if segment.rows[i] is not None:
                kept.append(i)
            else:
                time_ms = segment.times[i]
                self._add_loss(Loss(segment.topics[i], segment.seqs[i], segment.seqs[i], time_ms, time_ms))
        return kept

    def _add_loss(self, loss: Loss) -> None:
        known = self.losses.get(loss.topic)
        if known is not None:
            loss = loss._replace(first=known.first, first_time_ms=known.first_time_ms)
        self.losses[loss.topic] = loss
