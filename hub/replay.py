"""``replay``: rows of the past on request, beside the live ones, paced by the client's reading or by the original time.

A replay reads the log bit by bit as the client takes it, whatever its length. Its end tells count, first and last
number of each topic, and whether it is complete, so that the client can verify what it got.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hub.cursor import Cursor, Loss
from hub.history import History
from hub.jobs import ROWS_PER_STEP, Step, gap, upstream_gap
from hub.messages import Gap, Replay, ReplayDone, RequestError, Seq
from hub.past import GapNotice
from hub.segment import Segment
from hub.topic import Topic
from hub.topics import Selector, concerns
from hub.wire import Codec, Origin, RequestId

US_PER_S: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Range:
    """Which rows are meant.

    Args:
        begins: by topic, the number (seq) of the first row.
        from_ms, to_ms: times, in epoch milliseconds of ``time``.
        up_to: arrival number of the last row.
        selectors: what was asked for, for gap notices.
    """

    begins: Mapping[Topic, int]
    from_ms: int | None
    to_ms: int | None
    up_to: int
    selectors: Sequence[Selector]

    def hears(self, notice: GapNotice) -> bool:
        """Whether a gap notice lies within what is meant."""
        is_before = self.from_ms is not None and notice.to_ms is not None and notice.to_ms < self.from_ms
        is_after = self.to_ms is not None and notice.from_ms is not None and notice.from_ms >= self.to_ms
        return not is_before and not is_after and concerns(notice.topic, self.selectors)


class ReplayJob:
    """One running replay.

    Args:
        cursor: stands before the first row that may be meant.
        lost: gaps that are known before the first row; the replay is incomplete.
        around: gap notices from before the first row that may be meant, and from after the last.
        speed: 0 as fast as the client reads, 1 original pace by ``recv``, n times.
    """

    def __init__(
        self,
        epoch: str,
        cursor: Cursor,
        wanted: Range,
        lost: Sequence[Gap],
        around: tuple[Sequence[GapNotice], Sequence[GapNotice]],
        speed: float,
        request_id: RequestId,
    ) -> None:
        self.request_id = request_id
        self.due_s = 0.0
        """When the next row is due, on the clock that `step` is given."""
        self._epoch = epoch
        self._cursor = cursor
        self._wanted = wanted
        before, self._after = around
        self._first = [*lost, *self._told(before)]
        self._complete = not lost
        self._speed = speed
        self._count = 0
        self._seen: dict[Topic, list[int]] = {}
        self._started: tuple[float, int] | None = None  # when the first row was sent, and its recv

    def step(self, codec: Codec, now_s: float) -> Step:
        """Make the next frames, perhaps none."""
        wanted = self._wanted
        frames = [codec.message(message) for message in self._first]
        self._first = []
        segment, places = self._cursor.look(wanted.up_to, wanted.begins.keys(), wanted.begins, ROWS_PER_STEP)
        if wanted.from_ms is not None or wanted.to_ms is not None:
            first = -1 if wanted.from_ms is None else wanted.from_ms
            last = float("inf") if wanted.to_ms is None else wanted.to_ms
            times = segment.times
            places = [i for i in places if first <= times[i] < last]
        if self._speed and places:
            places = self._due(segment, places, now_s)
        kept = self._cursor.without_losses(segment, places)
        notices = self._told(self._cursor.take_notices())
        done = self._cursor.at >= wanted.up_to
        losses = self._cursor.take_losses(at_end=done)
        self._complete = self._complete and not losses
        frames += [codec.message(gap(self._epoch, loss, self.request_id)) for loss in losses]
        for i in kept:
            seq = segment.seqs[i]
            self._seen.setdefault(segment.topics[i], [seq, seq])[1] = seq
        self._count += len(kept)
        frames += [codec.data(run.channel, Origin.REPLAY, run.rows, self.request_id) for run in segment.take(kept)]
        if done:
            notices += self._told(self._after)
        frames += map(codec.message, notices)
        if done:
            frames.append(codec.message(self._done()))
        return Step(b"".join(frames), len(kept), done)

    def _told(self, notices: Iterable[GapNotice]) -> list[Gap]:
        """Of gap notices those that are meant, as they are told."""
        return [upstream_gap(self._epoch, notice, self.request_id) for notice in notices if self._wanted.hears(notice)]

    def _due(self, segment: Segment, places: list[int], now_s: float) -> list[int]:
        """The rows whose turn has come; the cursor goes back to the first whose has not."""
        if self._started is None:
            self._started = now_s, segment.recv_us(places[0])
        start_s, start_us = self._started
        now_us = start_us + (now_s - start_s) * self._speed * US_PER_S
        for number, place in enumerate(places):
            recv_us = segment.recv_us(place)
            if recv_us > now_us:
                self.due_s = start_s + (recv_us - start_us) / self._speed / US_PER_S
                self._cursor.back_to(segment.first_at + place - 1)
                return places[:number]
        return places

    def _done(self) -> ReplayDone:
        topics: Mapping[str, Mapping[str, int]] = {
            topic.name: {"first": first, "last": last} for topic, (first, last) in self._seen.items()
        }
        return ReplayDone(id=self.request_id, count=self._count, complete=self._complete, topics=topics)


def plan_replay(
    history: History, epoch: str, topics: Sequence[Topic], selectors: Sequence[Selector], request: Replay
) -> ReplayJob:
    """Settle what a replay has to send.

    Args:
        topics: those that ``selectors``, what was asked for, match.

    Raises:
        RequestError: the range makes no sense.
    """
    begin, end = request.from_, request.to
    lost: list[Gap] = []
    up_to = history.at
    if isinstance(begin, Seq) or isinstance(end, Seq):
        if len(topics) > 1 or len(request.topics) > 1:
            raise RequestError("bad_message", "a replay by seq is of one topic")
        if (begin is not None and not isinstance(begin, Seq)) or (end is not None and not isinstance(end, Seq)):
            raise RequestError("bad_message", "from and to of a replay are both times, or both seq")
    if isinstance(begin, int) and isinstance(end, int) and begin >= end:
        topics = ()
    begins = {}
    for topic, first in _firsts(history, topics, begin).items():
        held, last = history.first_seq(topic), topic.seq
        if isinstance(end, Seq):
            last = min(last, end.seq - 1)
            up_to = history.at_of(topic, last) if held <= last else 0
        if first < held and first <= last:
            loss = Loss(topic, first, min(last, held - 1), None, None)
            lost.append(gap(epoch, loss, request.id))
        if max(first, held) <= last:
            begins[topic] = max(first, held)
    if not begins:
        up_to = 0
    elif isinstance(end, int):
        up_to = history.passed(begins, end)
    cursor = history.cursor_before(begins) if begins else history.cursor_at_end()
    cursor.until = up_to
    around: tuple[Sequence[GapNotice], Sequence[GapNotice]] = (), ()
    if not isinstance(begin, Seq) and not isinstance(end, Seq):  # the times in a range may be those of no row
        before = history.notices_since(begin or 0, cursor.at - 1 if begins else history.at)
        around = before, history.notices(up_to + 1, history.at) if begins else ()
    from_ms, to_ms = (begin if isinstance(begin, int) else None), (end if isinstance(end, int) else None)
    wanted = Range(begins, from_ms, to_ms, up_to, selectors)
    return ReplayJob(epoch, cursor, wanted, lost, around, request.speed, request.id)


def _firsts(history: History, topics: Sequence[Topic], begin: int | Seq | None) -> Mapping[Topic, int]:
    """By topic, the number of the first row that is meant, held or not."""
    if not isinstance(begin, int):
        return dict.fromkeys(topics, 1 if begin is None else begin.seq)
    found = history.first_since(topics, begin)
    return {topic: 1 if is_lost else first for topic, (first, is_lost) in found.items()}
