"""What a client asked for and is sent bit by bit: snapshots, history, and what is made of one step of them."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import Final, NamedTuple, Protocol

from hub.cursor import Cursor, Loss
from hub.messages import Gap, SnapshotDone
from hub.past import GapNotice
from hub.segment import Run
from hub.topic import Topic
from hub.wire import MAX_ROWS_PER_MESSAGE, Codec, Origin, RequestId

ROWS_PER_STEP: Final = MAX_ROWS_PER_MESSAGE
"""Rows that a lagging client is given at once, so that no client's history holds up the others."""

JOB_BYTES: Final = 2000
"""About what a job weighs by itself."""
ENTRY_BYTES: Final = 150
"""About what a job weighs more for each row that it holds, the row itself apart, or for each topic."""


Hears = Callable[[GapNotice], bool]
"""Whether somebody is to be told of a gap notice."""


def hears_nothing(_: GapNotice) -> bool:
    """Whoever has asked for nothing is told of no gap."""
    return False


class Step(NamedTuple):
    """What one step of a job gives: whole frames, how many rows are in them, and whether it was the last."""

    frames: bytes
    rows: int
    done: bool


class Job(Protocol):
    """Something that a client asked for and that is sent bit by bit."""

    @property
    def at(self) -> int:
        """Arrival number up to which the client has everything, as far as this job goes."""

    @property
    def held_bytes(self) -> int:
        """About how much memory it takes as long as it waits."""

    def step(self, codec: Codec) -> Step:
        """Make the next frames, perhaps none."""

    def drop(self, topics: Set[Topic]) -> None:
        """Leave these topics out from now on."""


class RowsJob:
    """Some rows at hand: a snapshot, or live rows that must not overtake what is still to be sent.

    Args:
        at: position of the client before it.
        rows: encoded rows, each with its topic.
        tells_end: whether ``snapshot_done`` follows the last row.
    """

    def __init__(
        self,
        at: int,
        origin: Origin,
        rows: Iterable[tuple[Topic, bytes]],
        request_id: RequestId = None,
        *,
        tells_end: bool = False,
    ) -> None:
        self._at = at
        self._origin = origin
        self._rows = deque(rows)
        self._held_bytes = self._weigh()
        self._request_id = request_id
        self._tells_end = tells_end
        self._count = 0

    @property
    def at(self) -> int:  # noqa: D102
        return self._at

    @property
    def held_bytes(self) -> int:  # noqa: D102
        return self._held_bytes

    def step(self, codec: Codec) -> Step:  # noqa: D102
        runs: list[Run] = []
        count = min(len(self._rows), ROWS_PER_STEP)
        for _ in range(count):
            topic, row = self._rows.popleft()
            if not runs or runs[-1].channel != topic.channel:
                runs.append(Run(topic.channel, []))
            runs[-1].rows.append(row)
        self._count += count
        frames = [codec.data(run.channel, self._origin, run.rows, self._request_id) for run in runs]
        if not self._rows and self._tells_end:
            frames.append(codec.message(SnapshotDone(id=self._request_id, count=self._count)))
        return Step(b"".join(frames), count, not self._rows)

    def drop(self, topics: Set[Topic]) -> None:  # noqa: D102
        self._rows = deque((topic, row) for topic, row in self._rows if topic not in topics)
        self._held_bytes = self._weigh()

    def _weigh(self) -> int:
        return JOB_BYTES + sum(ENTRY_BYTES + len(row) for _, row in self._rows)


def snapshot(at: int, topics: Iterable[Topic], request_id: RequestId, *, tells_end: bool) -> RowsJob:
    """The newest rows of some topics as of now. ``at`` is the position of the client before it."""
    topics = list(topics)
    at = min(at, *(topic.at - 1 for topic in topics)) if topics else at  # these rows are still to be sent
    rows = [(topic, topic.newest) for topic in topics]
    return RowsJob(at, Origin.SNAPSHOT, rows, request_id, tells_end=tells_end)


class HistoryJob:
    """Rows of some topics from the log, up to the moment of the request.

    Args:
        epoch: of the hub, for the gaps that may turn up on the way.
        cursor: stands before the first row to send.
        up_to: arrival number of the last row to send.
        begins: by topic, the number (seq) of its first row to send, where not all rows are meant.
        hears: whether a gap notice on the way is to be told.
    """

    def __init__(
        self,
        epoch: str,
        cursor: Cursor,
        up_to: int,
        topics: set[Topic],
        begins: Mapping[Topic, int],
        request_id: RequestId,
        hears: Hears = hears_nothing,
    ) -> None:
        self._epoch = epoch
        self._cursor = cursor
        self._up_to = up_to
        self._topics = topics
        self._begins = begins
        self._request_id = request_id
        self._hears = hears

    @property
    def at(self) -> int:  # noqa: D102
        return self._cursor.at

    @property
    def held_bytes(self) -> int:  # noqa: D102
        return JOB_BYTES + ENTRY_BYTES * len(self._topics)

    def step(self, codec: Codec) -> Step:  # noqa: D102
        runs = self._cursor.read(self._up_to, self._topics, self._begins, ROWS_PER_STEP)
        notices = list(filter(self._hears, self._cursor.take_notices()))
        done = self._cursor.at >= self._up_to
        losses = self._cursor.take_losses(at_end=done)
        frames = frames_of(codec, self._epoch, losses, runs, notices, Origin.REPLAY, self._request_id)
        return Step(frames, sum(len(run.rows) for run in runs), done)

    def drop(self, topics: Set[Topic]) -> None:  # noqa: D102
        if self._topics and not self._topics - topics:
            self._hears = hears_nothing  # nobody waits for any of it any more
        self._topics -= topics
        self._cursor.forget(topics)


def frames_of(
    codec: Codec,
    epoch: str,
    losses: Sequence[Loss],
    runs: Sequence[Run],
    notices: Iterable[GapNotice],
    origin: Origin,
    request_id: RequestId,
) -> bytes:
    """Frame what is lost, rows, and the gap notices after them, as one step of reading the log gives them."""
    frames = [codec.message(gap(epoch, loss, request_id)) for loss in losses]
    frames += [codec.data(run.channel, origin, run.rows, request_id) for run in runs]
    frames += [codec.message(upstream_gap(epoch, notice, request_id)) for notice in notices]
    return b"".join(frames)


def gap(epoch: str, loss: Loss, request_id: RequestId, cause: str = "evicted") -> Gap:
    """The message that announces rows which history no longer holds."""
    return Gap(
        id=request_id,
        topic=loss.topic.name,
        epoch=epoch,
        cause=cause,
        from_=loss.first,
        to=loss.last,
        from_time=loss.first_time_ms,
        to_time=loss.last_time_ms,
        by=None,
    )


def upstream_gap(epoch: str, notice: GapNotice, request_id: RequestId) -> Gap:
    """The message that announces what the source never gave."""
    return Gap(
        id=request_id,
        topic=notice.topic,
        epoch=epoch,
        cause="upstream",
        from_=None,
        to=None,
        from_time=notice.from_ms,
        to_time=notice.to_ms,
        by=None,
    )
