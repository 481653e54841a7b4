"""The heart: publish, flush, and the parts that sessions work with. Pure: no clock, no task, no socket.

``publish`` numbers rows and puts them into history. ``flush``, once a turn of the event loop, writes them to the
journal and then hands every live client what it observes of them, made once for each audience. Between the two nothing
is sent, so whoever changes what a client observes flushes first: that is the exact cut on which snapshot, history and
live join.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date
from itertools import chain
from typing import Final

from hub.conflation import Conflater
from hub.counts import Counts
from hub.history import History
from hub.jobs import upstream_gap
from hub.messages import Error
from hub.past import GapNotice
from hub.reference import Reference
from hub.router import Audience, Router
from hub.schema import STATUS, Row
from hub.serving import Serving
from hub.store import NO_STORE, Published, RunBegins, Store, Turn
from hub.topic import Topic
from hub.wire import Origin, RequestId

MANY_TOPICS: Final = 200
"""From so many rows at once on, all audiences are looked at instead of those of each topic."""

_logger = logging.getLogger("argus.core")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a topic has no rows: an error code of the contract, and words for the client."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What clients are told of the source."""

    name: str
    simulated: bool


class Hub:
    """One unbroken history and who observes it.

    Args:
        epoch: name of this history, 16 hex digits.
        source: what clients are told of the source.
        channels: those that the source can give; ``status`` comes on top.
        history: where rows are kept.
        universes: named lists of codes and patterns.
        on_wants: called with the topic strings that clients want, when they change: see `hub.router.Router`.
        on_refused: called with a reason for every row that could not be published.
        day_start_ms: tells when the source's current trading day began (epoch ms), by its own clock.
        store: where everything is written before anybody sees it.
        reference: what is known of instruments.
    """

    def __init__(
        self,
        *,
        epoch: str,
        source: SourceInfo,
        channels: Set[str],
        history: History,
        universes: Mapping[str, Sequence[str]],
        on_wants: Callable[[Set[str]], None],
        on_refused: Callable[[str], None],
        day_start_ms: Callable[[], int],
        store: Store = NO_STORE,
        reference: Reference | None = None,
    ) -> None:
        self.epoch = epoch
        self.source = source
        self.channels: Set[str] = frozenset(channels) | {STATUS}
        self.history = history
        self.day_start_ms = day_start_ms
        self.router = Router(history.channels, universes, on_wants)
        self.counts = Counts()
        self.reference = reference or Reference(universes)
        self.serving: Serving | None = None
        """The topics that are served; None: all that the source gives."""
        self.refused: Mapping[str, Refusal] = {}
        """The topic strings that are wanted and that the source can't give now, and why."""
        self.conflating: dict[Conflater, None] = {}
        """Clients that were given conflated rows by the last flush, for its caller to send on and clear."""
        self.on_publish: Callable[[], None] = _nothing
        """Called when there is something to flush; whoever sets it calls `flush` soon, once a turn of the loop."""
        self.on_delivered: Callable[[], None] = _nothing
        """Called when live clients were given what was published: it is written, and may be shown to anybody."""
        self.on_stored: Callable[[int], None] = _stored_nothing
        """Called with the newest number of a batch that was delivered, and written where the store still can."""
        self._on_refused = on_refused
        self._store = store
        self._turn: Turn = []
        self._unsettled: int | None = None  # the newest batch that was delivered since the last time, 0 for none
        self._segment = history.tail
        self._offset = 0

    def publish(
        self, channel: str, rows: Iterable[Row], recv_us: int, batch: int = 0, *, is_state: bool = False
    ) -> None:
        """Take rows of one channel that arrived together (``source_names`` of the channel, in order of arrival).

        A row that can't be encoded is refused and reported, the others are published. ``batch`` is the feeder's
        number of the batch; 0: it has none. ``is_state``: the rows tell how things stood when the source was asked:
        they are given to nobody as live.
        """
        before = self.history.at
        created, refused = self.history.append(channel, rows, recv_us)
        for topic in created:
            self.router.created(topic)
        for reason in refused:
            self._on_refused(reason)
        self.counts.batches_in += 1
        self.counts.rows_in += self.history.at - before
        self.counts.rows_refused += len(refused)
        if is_state and self.history.at > before:
            self.history.states.note(before + 1, self.history.at)
        self._take(Published(before + 1, self.history.at, recv_us, batch))

    def took(self, created: Iterable[Topic], count: int, recv_us: int) -> None:
        """Take notice of rows that another process of the hub numbered, and that history has already.

        Args:
            created: the topics that spoke for the first time.
            count: how many rows there are: the newest ones of history.
        """
        for topic in created:
            self.router.created(topic)
        self.counts.batches_in += 1
        self.counts.rows_in += count
        self._take(Published(self.history.at - count + 1, self.history.at, recv_us, 0))

    def announce(self, topic: str, from_ms: int | None, to_ms: int | None) -> None:
        """Take notice of rows that the source never gave: after what was published so far, before what follows.

        Args:
            topic: a topic or a pattern.
            from_ms, to_ms: between which exchange times, where known.
        """
        self.counts.gaps_in += 1
        self._take(GapNotice(self.history.at, topic, from_ms, to_ms))

    def begin_run(self, run: str) -> None:
        """Take notice of another run of the source: its batches are numbered from 1 again.

        What came before is stored first: nobody must take the old run's number for one of the new.
        """
        self.flush()
        self._take(RunBegins(run))

    def refuse(self, refused: Mapping[str, Refusal]) -> None:
        """Take all topic strings that the source can't give now; whoever has subscribed one is told why, once."""
        before, self.refused = self.refused, dict(refused)
        for name, refusal in self.refused.items():
            known = before.get(name)
            if known is None or known.code != refusal.code:
                for outbox in self.router.holders(name):
                    outbox.send(_error_of(refusal, outbox.asked_by(name)))

    def refusals_of(self, names: Iterable[str], request_id: RequestId) -> list[Error]:
        """What to tell a client that subscribes these topic strings of those among them that can't be given."""
        return [_error_of(self.refused[name], request_id) for name in names if name in self.refused]

    def flush(self) -> None:
        """Write what was published since the last flush, then hand it to the live clients."""
        self.deliver()
        self.settle()

    def deliver(self) -> None:
        """The first part of `flush`: all that somebody waits for. Call `settle` soon."""
        if not self._turn:
            return
        turn, self._turn = self._turn, []
        self._store.append(turn, self._segment, self._offset)
        for entry in turn:
            if isinstance(entry, GapNotice):
                self._deliver_up_to(entry.after_at)
                self._deliver_gap(entry)
        self._deliver_up_to(self.history.at)
        batch = max((entry.batch for entry in turn if isinstance(entry, Published)), default=0)
        self._unsettled = max(batch, self._unsettled or 0)
        self.on_delivered()

    def settle(self) -> None:
        """The second part of `flush`: what can wait until the clients have their rows."""
        if self._unsettled is None:
            return
        batch, self._unsettled = self._unsettled, None
        self._store.settle()
        self.history.trim()
        if batch:
            self.on_stored(batch)

    def roll(self, day: date) -> None:
        """Go on in the store's file of a trading day, behind everything that was published up to now."""
        self.flush()
        self._store.roll(day)

    def _take(self, entry: Published | GapNotice | RunBegins) -> None:
        self._turn.append(entry)
        self.on_publish()

    def _deliver_up_to(self, at: int) -> None:
        """Hand on all rows up to an arrival number: those of one channel at once, wherever segments end."""
        read_at = self.history.delivered_at
        while read_at < at:
            is_state, up_to = self.history.states.stretch(read_at + 1, at)
            self._deliver_rows(read_at, up_to, Origin.SNAPSHOT if is_state else Origin.LIVE)
            read_at = up_to
        self.history.delivered_at = max(at, self.history.delivered_at)

    def _deliver_rows(self, read_at: int, at: int, origin: Origin) -> None:
        pending: tuple[str, list[Topic], list[bytes | None]] | None = None
        while read_at < at:
            segment = self._segment
            end = min(len(segment.rows), at + 1 - segment.first_at)
            for channel, places in segment.runs(range(self._offset, end)):
                part = slice(places[0], places[-1] + 1)
                if pending is not None and pending[0] == channel:
                    pending[1].extend(segment.topics[part])
                    pending[2].extend(segment.rows[part])
                    continue
                if pending is not None:
                    self._deliver(*pending, origin)
                pending = channel, segment.topics[part], segment.rows[part]
            read_at = segment.first_at + end - 1
            self._offset = end
            if end == len(segment.rows) and segment.next is not None:  # all of it may be let go from now on
                self._segment, self._offset = segment.next, 0
        if pending is not None:
            self._deliver(*pending, origin)

    def _deliver(self, channel: str, topics: Sequence[Topic], rows: Sequence[bytes | None], origin: Origin) -> None:
        if not self.router.is_observed:
            return
        encoded: dict[bytes, bytes] = {}
        before_at = self.history.delivered_at
        is_state = origin is Origin.SNAPSHOT
        for topic, row in zip(topics, rows, strict=True):
            for waiting in topic.audiences.values():
                waiting.append(row)  # type: ignore[arg-type]  # rows that are not delivered yet are never let go
            if topic.conflaters:
                self.history.know()
                for conflater in topic.conflaters:
                    conflater.put(topic, row, before_at, is_state=is_state)  # type: ignore[arg-type]
                    self.conflating[conflater] = None
        for audience in self._hearers(topics):
            if audience.live and audience.rows:
                try:
                    frames = audience.codec.data(channel, origin, audience.rows, encoded=encoded)
                except ValueError:  # the last barrier: what can't be said in one encoding must not end the others
                    _logger.exception(
                        "rows of %s have no form in %s: clients are given up", channel, audience.codec.name
                    )
                    for outbox in audience.live:
                        outbox.fail()
                else:
                    for outbox in audience.live:
                        outbox.put(frames)
                    self.counts.rows_out += len(audience.rows) * len(audience.live)
            audience.rows.clear()

    def _hearers(self, topics: Sequence[Topic]) -> Iterable[Audience]:
        """The audiences that observe some of these topics; of many topics all audiences: cheaper than to look."""
        if len(topics) < MANY_TOPICS:
            return dict.fromkeys(chain.from_iterable(topic.audiences for topic in topics))
        return self.router.audiences

    def _deliver_gap(self, notice: GapNotice) -> None:
        """Tell the live clients that it concerns; the others come by it as they read on."""
        self.history.note_gap(notice)
        message = upstream_gap(self.epoch, notice, None)
        for outbox in self.router.hearers(notice.topic):
            if not outbox.lagging:
                outbox.send(message)


def _error_of(refusal: Refusal, request_id: RequestId) -> Error:
    # To ask again helps nothing: the subscription stays, and its rows come when they can.
    return Error(id=request_id, code=refusal.code, message=refusal.reason, retryable=False, retry_in_ms=None)


def _nothing() -> None:
    """Where nobody waits for rows to flush, nobody is told."""


def _stored_nothing(_: int) -> None:
    """Where no feeder waits for its batches, nobody is told."""
