"""``mode: latest``: of the topics that a client wants so, the newest live row that was not sent yet, and nothing else.

Conflation is keyed by topic: a row only ever replaces an older one of its own topic, and every row that is replaced
is counted. What waits is bounded by the number of topics, however slow the client.
"""

from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, NamedTuple

from hub.segment import Run
from hub.topic import Topic
from hub.wire import Origin

if TYPE_CHECKING:
    from hub.outbox import Outbox


class Waiting(NamedTuple):
    """A row that waits: its arrival number, and one before which the client had everything."""

    before_at: int
    at: int
    row: bytes
    is_state: bool

    @property
    def origin(self) -> Origin:
        """What it is sent as: a state was not observed when it came about, so it is nothing live."""
        return Origin.SNAPSHOT if self.is_state else Origin.LIVE


class Conflater:
    """The conflated topics of one client."""

    __slots__ = ("_next_s", "_waiting", "intervals_s", "names", "outbox", "skipped")

    def __init__(self, outbox: "Outbox") -> None:
        self.outbox = outbox
        self.names: Mapping[str, float] = {}
        """The topic strings that the client has in this mode, with their intervals."""
        self.intervals_s: dict[Topic, float] = {}
        """Each topic, and the least time between two of its rows (0: as often as the client can take them)."""
        self.skipped = 0
        """Rows that were replaced by newer ones before they could be sent."""
        self._waiting: dict[Topic, Waiting] = {}
        self._next_s: dict[Topic, float] = {}

    @property
    def waiting(self) -> bool:
        """Whether rows wait."""
        return bool(self._waiting)

    @property
    def at(self) -> int | None:
        """An arrival number before every row that waits; None when none does."""
        return min((waiting.before_at for waiting in self._waiting.values()), default=None)

    def put(self, topic: Topic, row: bytes, before_at: int, *, is_state: bool = False) -> None:
        """Take a row. ``before_at`` is an arrival number before it; ``is_state``: it is no live one."""
        if topic in self._waiting:
            self.skipped += 1
            self.outbox.counts.rows_conflated += 1
        self._waiting[topic] = Waiting(before_at, topic.at, row, is_state)

    def skip(self, topic: Topic, row: bytes, before_at: int, skipped: int, *, is_state: bool) -> None:
        """Take the newest of rows that the client would have read from the log; ``skipped`` is how many were older."""
        self.skipped += skipped
        self.outbox.counts.rows_conflated += skipped
        self.put(topic, row, before_at, is_state=is_state)

    def take(self, now_s: float) -> list[Run]:
        """Take the rows that are due, in order of arrival."""
        due = [topic for topic in self._waiting if self._next_s.get(topic, 0.0) <= now_s]
        due.sort(key=lambda topic: self._waiting[topic].at)
        for topic in due:
            if interval_s := self.intervals_s[topic]:
                self._next_s[topic] = now_s + interval_s
        runs: list[Run] = []
        for topic in due:
            waiting = self._waiting.pop(topic)
            if not runs or (runs[-1].channel, runs[-1].is_state) != (topic.channel, waiting.is_state):
                runs.append(Run(topic.channel, [], waiting.is_state))
            runs[-1].rows.append(waiting.row)
        return runs

    def next_due_s(self) -> float | None:
        """When the next row that waits is due; None when none waits."""
        return min((self._next_s.get(topic, 0.0) for topic in self._waiting), default=None)

    def add(self, topic: Topic, interval_s: float) -> None:
        """Conflate one more topic; where it is conflated already, the shorter interval holds."""
        self.intervals_s[topic] = min(interval_s, self.intervals_s.get(topic, interval_s))
        topic.conflaters[self] = None

    def cover(self, intervals_s: dict[Topic, float], every: Set[Topic]) -> list[tuple[Topic, Waiting]]:
        """Conflate exactly these topics from now on.

        Args:
            every: topics of which the client gets every row from now on.

        Returns:
            Rows that waited of those, in order of arrival: the last that were conflated.
        """
        for topic in self.intervals_s.keys() - intervals_s.keys():
            del topic.conflaters[self]
            self._next_s.pop(topic, None)
        for topic, interval_s in intervals_s.items():
            topic.conflaters[self] = None
            if topic in self._next_s:  # counted from the row that was sent last
                self._next_s[topic] += interval_s - self.intervals_s[topic]
        self.intervals_s = intervals_s
        gone = {topic: waiting for topic, waiting in self._waiting.items() if topic not in intervals_s}
        for topic in gone:
            del self._waiting[topic]
        last = [(topic, waiting) for topic, waiting in gone.items() if topic in every]
        return sorted(last, key=lambda item: item[1].at)
