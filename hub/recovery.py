"""Where a subscription begins: what of the past its topics are sent first, and what the client is told is lost.

All of it is settled at one cut of history. Nothing is guessed: a position of another epoch, or one beyond the newest
row, gets a gap and a snapshot.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import inf

from hub.cursor import Loss
from hub.history import History
from hub.jobs import HistoryJob, Job, gap, snapshot, upstream_gap
from hub.messages import Gap
from hub.past import GapNotice
from hub.topic import Topic
from hub.topics import Selector, concerns, parse
from hub.wire import RequestId


class Recovery:
    """What the topics of one request start with.

    Args:
        epoch: of the hub.
        selectors: what was asked for, also what has not spoken in this epoch.
        request_id: goes into every gap and row.
    """

    def __init__(self, history: History, epoch: str, selectors: Sequence[Selector], request_id: RequestId) -> None:
        self.gaps: list[Gap] = []
        """What is lost, to be told before anything else."""
        self.replayed = 0
        self._history = history
        self._epoch = epoch
        self._selectors = selectors
        self._cut = history.at
        self._left_at_cut = len(history.notices(self._cut, self._cut))  # gap notices there; later ones come live
        self._request_id = request_id
        self._newest: list[Topic] = []
        self._begins: dict[Topic, int] = {}
        self._after_at: int | None = None  # what came after this was missed, gap notices included
        self._since_ms: int | None = None
        self._missed: dict[GapNotice, None] | None = None  # where only numbers tell what was missed: these, in order

    @property
    def unrecovered(self) -> list[str]:
        """Topics of which something is lost."""
        return list(dict.fromkeys(gap.topic for gap in self.gaps))

    def with_snapshot(self, topics: Iterable[Topic]) -> None:
        """Begin with the newest row."""
        self._newest += topics

    def since_time(self, topics: Iterable[Topic], time_ms: int) -> None:
        """Begin with the first row at or after an exchange time."""
        self._since_ms = time_ms
        for topic, (first, is_lost) in self._history.first_since(topics, time_ms).items():
            if is_lost:  # which of the rows let go is no longer known: perhaps the first
                self._lost(topic, 1, first - 1, from_time_ms=time_ms)
            self._from(topic, first)

    def after_position(
        self,
        topics: Sequence[Topic],
        held: Sequence[Selector],
        epoch: str,
        at: int | None,
        seqs: Mapping[str, int],
    ) -> None:
        """Go on after a position.

        Args:
            held: what the client observes already: a position says nothing of that.
            epoch: of the position.
            at: arrival number up to which topics that ``seqs`` does not name are complete; None: they get a snapshot,
                and what was missed of gap notices is judged by the numbers.
            seqs: by topic, the number of the last row that the client has.
        """
        knows_epoch = epoch == self._epoch
        knows_at = knows_epoch and (at is None or at <= self._cut)
        if knows_at:
            self._after_at = at
        self._never_spoke(held, epoch, seqs, knows_epoch=knows_epoch, knows_at=knows_at)
        unnamed = []
        lasts: dict[Topic, int] = {}
        for topic in topics:
            last = seqs.get(topic.name, -1)
            if last > topic.seq or not (knows_at if last < 0 else knows_epoch):
                self._forgotten(topic.name, epoch, last if last >= 0 else None)
                self._newest.append(topic)
            elif last >= 0:
                first = self._history.first_seq(topic)
                if last + 1 < first:
                    self._lost(topic, last + 1, first - 1)
                self._from(topic, max(last + 1, first))
                lasts[topic] = last
            elif at is not None:
                unnamed.append(topic)
            else:
                self._newest.append(topic)
        for topic, (first, is_lost) in self._history.first_after(unnamed, at or 0).items():
            if is_lost:
                self._lost(topic, 1, first - 1)
            self._from(topic, first)
        if at is None:
            self._missed = dict.fromkeys(self._missed_after(lasts))

    @property
    def notices(self) -> list[Gap]:
        """The gaps of the source from before the first row that is sent; `jobs` has those after an arrival number."""
        up_to = self._history.cursor_before(self._begins).at - 1 if self._begins else self._cut
        notices: Iterable[GapNotice] = ()
        if self._since_ms is not None:
            notices = self._history.notices_since(self._since_ms, up_to)
        elif self._missed:
            notices = [notice for notice in self._missed if notice.after_at <= up_to]
        return [upstream_gap(self._epoch, notice, self._request_id) for notice in filter(self._hears, notices)]

    def jobs(self, before_at: int) -> list[Job]:
        """What sends it: snapshot, then history. ``before_at`` is the position of the client before."""
        jobs: list[Job] = []
        history, after_at = self._history, self._after_at
        if self._newest:
            jobs.append(snapshot(before_at, self._newest, self._request_id, tells_end=False))
        has_notices = after_at is not None and bool(history.notices(after_at, self._cut))
        if self._begins or has_notices:
            cursor = history.cursor_before(self._begins)
            if after_at is not None and after_at < cursor.at:
                cursor = history.cursor_after(after_at)
            cursor.until = self._cut
            # Most often all of a topic is meant, and then there is nothing to hold against each row.
            begins = {topic: seq for topic, seq in self._begins.items() if seq > 1}
            topics = set(self._begins)
            jobs.append(HistoryJob(self._epoch, cursor, self._cut, topics, begins, self._request_id, self._hears))
        return jobs

    def _hears(self, notice: GapNotice) -> bool:
        """Whether a gap notice that was come by on the way lies within what is meant."""
        if self._after_at is not None and notice.after_at < self._after_at:
            return False
        if notice.after_at == self._cut:
            self._left_at_cut -= 1
            if self._left_at_cut < 0:
                return False
        if self._missed is not None and notice not in self._missed:
            return False
        is_before = notice.to_ms is not None and notice.to_ms < (self._since_ms or 0)
        return not is_before and concerns(notice.topic, self._selectors)

    def _missed_after(self, lasts: Mapping[Topic, int]) -> list[GapNotice]:
        """The gap notices that come after the last row that the client has of a topic that they concern.

        Args:
            lasts: by topic, the number of that row; 0 where the client has none.
        """
        history = self._history
        held = {topic: last for topic, last in lasts.items() if last >= max(1, history.first_seq(topic))}
        # Where a row is not held nobody knows where it was: then all is told that still can be.
        lower = history.cursor_before(held).at if len(held) == len(lasts) else 0
        notices = history.notices(lower, self._cut) if lasts else ()
        if not notices:
            return []
        ats = {topic.name: 0 for topic in lasts} | {topic.name: at for topic, at in history.ats_of(held).items()}
        after = {name: _lowest(name, ats) for name in {notice.topic for notice in notices}}
        return [notice for notice in notices if after[notice.topic] <= notice.after_at]

    def _never_spoke(
        self, held: Sequence[Selector], epoch: str, seqs: Mapping[str, int], *, knows_epoch: bool, knows_at: bool
    ) -> None:
        """Tell what is lost of what was asked for and has said nothing in this epoch."""
        for name, last in seqs.items():
            channel, _, code = name.partition(":")
            is_meant = _covered(self._selectors, channel, code) and not _covered(held, channel, code)
            if is_meant and code not in self._history.channels.get(channel, {}) and (last or not knows_epoch):
                self._forgotten(name, epoch, last)
        for selector in self._selectors:
            is_meant = selector.text not in seqs and not _is_held(selector, held)
            if is_meant and not knows_at and not self._has_spoken(selector):
                self._forgotten(selector.text, epoch, None)

    def _has_spoken(self, selector: Selector) -> bool:
        return any(map(selector.matches, self._history.channels[selector.channel]))

    def _from(self, topic: Topic, seq: int) -> None:
        if seq <= topic.seq:
            self._begins[topic] = seq
            self.replayed += topic.seq - seq + 1

    def _lost(self, topic: Topic, first: int, last: int, from_time_ms: int | None = None) -> None:
        loss = Loss(topic, first, last, from_time_ms, self._history.evicted_time_ms(topic))
        self.gaps.append(gap(self._epoch, loss, self._request_id, self._history.loss_cause(topic)))

    def _forgotten(self, name: str, epoch: str, last: int | None) -> None:
        self.gaps.append(
            Gap(
                id=self._request_id,
                topic=name,
                epoch=epoch,
                cause="epoch",
                from_=None if last is None else last + 1,
                to=None,
                from_time=None,
                to_time=None,
                by=None,
            )
        )


def _covered(selectors: Sequence[Selector], channel: str, code: str) -> bool:
    return any(selector.channel == channel and selector.matches(code) for selector in selectors)


def _lowest(said_of: str, ats: Mapping[str, int]) -> float:
    """The lowest of the arrival numbers of those topics that a topic or pattern is about."""
    if said_of in ats:
        return ats[said_of]
    selector = parse(said_of, {})
    topics = ((name.partition(":"), at) for name, at in ats.items())
    found = (at for (channel, _, code), at in topics if channel == selector.channel and selector.matches(code))
    return min(found, default=inf)


def _is_held(selector: Selector, held: Sequence[Selector]) -> bool:
    covered = selector.exact is not None and _covered(held, selector.channel, selector.exact)
    return covered or any(selector.text == other.text for other in held)
