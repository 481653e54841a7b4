"""What one client still has to get, in order, and how many bytes of it wait.

A client is either *live*: it is handed the frames of its audience as they are made; or *lagging*: it has history to
get first, and reads the log at its own pace through a cursor, also what is published meanwhile. Nothing is
encoded for a lagging client before its socket takes it. A lagging client that reaches the end of the log is live
again. Bytes that wait are bounded: past the limit the client is given up, never thinned out.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence, Set
from typing import TYPE_CHECKING

from hub.counts import Counts
from hub.cursor import Cursor
from hub.jobs import ROWS_PER_STEP, Hears, Job, Step, frames_of, hears_nothing
from hub.messages import Message, Slow
from hub.replay import ReplayJob
from hub.topic import Topic
from hub.wire import Codec, Origin, RequestId

if TYPE_CHECKING:
    from hub.conflation import Conflater
    from hub.router import Audience


class Outbox:
    """One client's side of the hub.

    Args:
        codec: encoding of the client.
        epoch: of the hub, for gaps.
        write: puts frames on the wire; must take them whatever their size. While it takes no more without
            buffering, its owner keeps ``writable`` False.
        limit_bytes: bytes that may wait here.
        on_overflow: called once when more are waiting; nothing is sent after it.
        counts: of the hub, where the client's rows are counted too.
    """

    def __init__(
        self,
        codec: Codec,
        epoch: str,
        write: Callable[[bytes], None],
        limit_bytes: int,
        on_overflow: Callable[[], None],
        counts: Counts | None = None,
    ) -> None:
        self.codec = codec
        self.audience: Audience | None = None
        self.conflater: Conflater | None = None
        self.writable = True
        self.queued_bytes = 0
        self.is_shut = False
        self.counts = counts if counts is not None else Counts()
        self.hears: Hears = hears_nothing
        """Whether a gap notice concerns what the client observes."""
        self.asked_by: Callable[[str], RequestId] = _nobody
        """By which request a topic string was subscribed, if it had an id."""
        self.on_fault: Callable[[], None] = on_overflow
        """Called instead, once, where the client is given up for no fault of its own."""
        self._epoch = epoch
        self._write = write
        self._limit_bytes = limit_bytes
        self._on_overflow = on_overflow
        self._frames: deque[bytes] = deque()
        self._warned = False
        self._above_half_since_s: float | None = None
        self._jobs: deque[Job] = deque()
        self._cursor: Cursor | None = None
        self._begins: dict[Topic, int] = {}
        self._replays: deque[ReplayJob] = deque()

    @property
    def lagging(self) -> bool:
        """True while the client gets rows from the log and not as they come."""
        return self._cursor is not None

    @property
    def every(self) -> Set[Topic]:
        """The topics that exist and that the client gets every row of."""
        return self.audience.topics.keys() if self.audience is not None else frozenset[Topic]()

    @property
    def observed(self) -> Set[Topic]:
        """The topics that exist and that the client observes, in whichever mode."""
        every = self.every
        return every | self.conflater.intervals_s.keys() if self.conflater is not None else every

    @property
    def conflated(self) -> int:
        """Rows that were replaced by newer ones before they were sent."""
        return self.conflater.skipped if self.conflater is not None else 0

    def at(self, delivered_at: int) -> int:
        """The arrival number up to which everything that the client observes was put in; may fall when a job begins."""
        if self._cursor is None and self.conflater is None:
            return delivered_at
        places = [delivered_at] if self._cursor is None else [self._cursor.at]
        places += [job.at for job in self._jobs]
        if self.conflater is not None and self.conflater.at is not None:
            places.append(self.conflater.at)
        return min(places)

    def put(self, frames: bytes) -> None:
        """Add whole frames, in order."""
        if self.writable and not self._frames:
            self._write(frames)
        elif not self.is_shut:
            self._frames.append(frames)
            self.queued_bytes += len(frames)
            if self.queued_bytes > self._limit_bytes:
                self.shut()
                self._on_overflow()
            elif self.queued_bytes * 2 > self._limit_bytes and not self._warned:
                self._warned = True
                slow = Slow(pending_bytes=self.queued_bytes, limit_bytes=self._limit_bytes)
                self._write(self.codec.message(slow))  # ahead of what waits: it is about that

    def send(self, message: Message) -> None:
        """Add a control message, in order."""
        self.put(self.codec.message(message))

    def fail(self) -> None:
        """Give the client up: what it was to be sent could not be made."""
        self.shut()
        self.on_fault()

    def above_half_s(self, now_s: float) -> float:
        """For how long more than half of the limit has been waiting without a break, since that was first looked at.

        Args:
            now_s: any clock that never goes back, the same one each time.
        """
        if self.queued_bytes * 2 <= self._limit_bytes:
            return 0.0
        if self._above_half_since_s is None:
            self._above_half_since_s = now_s
        return now_s - self._above_half_since_s

    def shut(self) -> None:
        """Take and send nothing any more."""
        self.is_shut = True
        self.writable = True
        self._write = _discard
        self._frames.clear()
        self._jobs.clear()
        self._replays.clear()
        self.queued_bytes = 0

    def begin(self, cursor: Cursor, fresh: Sequence[Topic], jobs: Sequence[Job]) -> None:
        """Observe topics from a moment on, after what jobs have of them.

        Args:
            cursor: stands at that moment: where a client that was live will read on after the jobs.
            fresh: the topics that the client did not observe before.
            jobs: what to send of them first, in order.
        """
        if self._cursor is not None:
            self._begins.update((topic, topic.seq + 1) for topic in fresh)
        elif jobs:
            self._cursor = cursor
            if self.audience is not None:
                self.audience.live.pop(self, None)
        self._jobs.extend(jobs)

    @property
    def is_laden(self) -> bool:
        """Whether what the client asked for and did not read yet takes more memory than bytes may wait for it."""
        return self.queued_bytes + sum(job.held_bytes for job in self._jobs) > self._limit_bytes

    @property
    def replays(self) -> list[RequestId]:
        """The ids of the running replays."""
        return [job.request_id for job in self._replays]

    def replay(self, job: ReplayJob) -> None:
        """Send rows of the past beside the live ones."""
        self._replays.append(job)

    def cancel(self, request_id: RequestId) -> bool:
        """End a replay; False when there is none of this id."""
        running = [job for job in self._replays if job.request_id == request_id]
        for job in running:
            self._replays.remove(job)
        return bool(running)

    def unread(self) -> tuple[int, dict[Topic, int]]:
        """Where a lagging client has read to, and the topics of which it would get rows as it reads on.

        With each the number (seq) below which rows are not meant for it.
        """
        if self._cursor is None:
            return 0, {}
        at, begins = self._cursor.at, self._begins
        unread = [topic for topic in self.every if topic.at > at and topic.seq >= begins.get(topic, 0)]
        return at, {topic: begins.get(topic, 1) for topic in sorted(unread, key=lambda topic: topic.at)}

    def drop(self, topics: Set[Topic]) -> None:
        """Send no row of these topics that is not encoded yet."""
        for job in self._jobs:
            job.drop(topics)
        if self._cursor is not None:
            self._cursor.forget(topics)

    def pump(self, delivered_at: int, now_s: float) -> bool:
        """Send what waits, then one step of what else the client has to get.

        Args:
            delivered_at: arrival number up to which live clients were given the rows.
            now_s: any clock that never goes back.

        Returns:
            True when there is more that could be sent at once.
        """
        while self._frames and self.writable:
            frames = self._frames.popleft()
            self.queued_bytes -= len(frames)
            self._write(frames)
        if not self._frames:
            self._warned = False
        if self.queued_bytes * 2 <= self._limit_bytes:
            self._above_half_since_s = None
        if self.is_shut or not self.writable:
            return False
        if self._cursor is not None:
            self._go_on(self._cursor, delivered_at)
        else:
            self.send_latest(now_s)
            self._step_replay(now_s)
        return self.writable and (self.lagging or self.due_s() <= now_s)

    def due_s(self) -> float:
        """When there is something to send that waits for its time; infinite when there is nothing."""
        if self.is_shut:
            return math.inf
        dues = [job.due_s for job in self._replays]
        if self.conflater is not None and (due_s := self.conflater.next_due_s()) is not None:
            dues.append(due_s)
        return min(dues, default=math.inf)

    def send_latest(self, now_s: float) -> None:
        """Send the conflated rows that are due, unless something waits already."""
        if self.conflater is not None and self.writable and not self.lagging and not self._frames:
            for run in self.conflater.take(now_s):
                self.counts.rows_out += len(run.rows)
                origin = Origin.SNAPSHOT if run.is_state else Origin.LIVE
                self.put(self.codec.data(run.channel, origin, run.rows))

    def _step_replay(self, now_s: float) -> None:
        for _ in range(len(self._replays)):
            job = self._replays[0]
            self._replays.rotate(-1)  # several take turns
            if job.due_s > now_s:
                continue
            step = job.step(self.codec, now_s)
            if step.done:
                self._replays.remove(job)
            self._take(step)
            return

    def _go_on(self, cursor: Cursor, delivered_at: int) -> None:
        if self._jobs:
            step = self._jobs[0].step(self.codec)
            if step.done:
                self._jobs.popleft()
        else:
            step = self._catch_up(cursor, delivered_at)
        self._take(step)

    def _take(self, step: Step) -> None:
        self.counts.rows_out += step.rows
        if step.frames:
            self.put(step.frames)

    def _catch_up(self, cursor: Cursor, delivered_at: int) -> Step:
        is_state, up_to = cursor.stretch(delivered_at)
        runs = cursor.read(up_to, self.every, self._begins, ROWS_PER_STEP)
        notices = list(filter(self.hears, cursor.take_notices()))
        done = cursor.at >= delivered_at
        losses = cursor.take_losses(at_end=done)
        if done:
            self._cursor = None
            self._begins.clear()
            if self.audience is not None:
                self.audience.live[self] = None
        origin = Origin.SNAPSHOT if is_state else Origin.LIVE
        frames = frames_of(self.codec, self._epoch, losses, runs, notices, origin, None)
        return Step(frames, sum(len(run.rows) for run in runs), done)


def _nobody(_: str) -> RequestId:
    """Where no request is known."""
    return None


def _discard(_: bytes) -> None:
    """Where the frames of a client that is gone go."""
