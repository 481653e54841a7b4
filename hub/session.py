"""One client's conversation with the hub, without a socket: requests come in, messages and rows go to its outbox."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from itertools import groupby
from typing import Any, Final

from msgspec import UNSET

from hub.auth import Token
from hub.core import Hub
from hub.jobs import Job, RowsJob, snapshot
from hub.limits import Limits, TokenBucket
from hub.messages import (
    Auth,
    Authenticated,
    Cancel,
    Cancelled,
    Draining,
    Error,
    Heartbeat,
    InstrumentList,
    Instruments,
    Ping,
    Pong,
    Replay,
    Request,
    RequestError,
    Since,
    Snapshot,
    Subscribe,
    Subscribed,
    TopicList,
    Topics,
    Unsubscribe,
    Unsubscribed,
    Welcome,
    id_of,
    read_envelope,
    read_request,
)
from hub.outbox import Outbox
from hub.past import GapNotice
from hub.recovery import Recovery
from hub.replay import plan_replay
from hub.schema import CHANNELS
from hub.topic import Topic
from hub.topics import Selector, TopicError, concerns
from hub.wire import RequestId

PROTOCOL: Final = "argus.v1"

MAX_PATTERNS: Final = 256
"""Patterns and universes that one client may hold: each is held against every instrument when it is subscribed."""
MAX_REPLAYS: Final = 16
"""Replays that one client may have running."""

CLOSE_UNAUTHORIZED: Final = 4401
CLOSE_FLOOD: Final = 4429

_RETRYABLE: Final = frozenset({"rate_limited", "internal"})
_logger = logging.getLogger("argus.session")


class Session:
    """What one client may do, has asked for, and is told.

    Args:
        name: of the session, unique within the hub.
        token: None where none is needed.
        authorized: whether the handshake already showed the token.
        close: closes the connection with a code and a reason.
        now_s: any clock that never goes back, in seconds.
    """

    __slots__ = (
        "_bucket",
        "_close",
        "_hub",
        "_ids",
        "_limits",
        "_modes",
        "_since",
        "_token",
        "authorized",
        "name",
        "outbox",
    )

    def __init__(
        self,
        name: str,
        hub: Hub,
        outbox: Outbox,
        limits: Limits,
        *,
        token: Token | None,
        authorized: bool,
        close: Callable[[int, str], None],
        now_s: float,
    ) -> None:
        self.name = name
        self.outbox = outbox
        self.authorized = authorized or token is None
        self._hub = hub
        self._limits = limits
        self._token = token
        self._close = close
        self._modes: dict[str, int | None] = {}  # of each topic string: None for every row, else the interval in ms
        self._bucket = TokenBucket(limits.requests_per_s, now_s)
        # Of each topic string, after which arrival number it was subscribed and which gap notices were there already.
        self._since: dict[str, tuple[int, Set[GapNotice]]] = {}
        self._ids: dict[str, RequestId] = {}  # of each topic string, the id of its first subscribe, if that had one
        outbox.hears = self._hears
        outbox.asked_by = self._ids.get

    def welcome(self, server: str, heartbeat_s: float, time_ms: int) -> None:
        """Say who is here: the first message of the connection."""
        hub, limits = self._hub, self._limits
        self.outbox.send(
            Welcome(
                protocol=PROTOCOL,
                server=server,
                session=self.name,
                epoch=hub.epoch,
                at=hub.history.public_at(hub.history.delivered_at),
                source={"name": hub.source.name, "simulated": hub.source.simulated},
                schemas={name: CHANNELS[name].names for name in CHANNELS if name in hub.channels},
                limits={
                    "message_bytes": limits.message_bytes,
                    "topics": limits.topics,
                    "requests_per_s": limits.requests_per_s,
                    "pending_bytes": limits.pending_bytes,
                    "replay_rows": None,
                },
                heartbeat_s=heartbeat_s,
                time=time_ms,
            )
        )

    def heartbeat(
        self, time_ms: int, markets: dict[str, dict[str, Any]], made: dict[tuple[Any, ...], bytes] | None = None
    ) -> None:
        """Say that the hub is alive, how far the client is, and how the markets are.

        Args:
            made: what other clients were sent with the same arguments; filled as needed.
        """
        outbox = self.outbox
        made = {} if made is None else made
        key = outbox.codec, outbox.at(self._hub.history.delivered_at), outbox.conflated
        if key not in made:
            at, conflated = self._hub.history.public_at(key[1]), outbox.conflated
            made[key] = outbox.codec.message(Heartbeat(time=time_ms, at=at, conflated=conflated, markets=markets))
        outbox.put(made[key])

    def draining(self, reason: str, close_in_ms: int) -> None:
        """Say that the hub is about to close the connection."""
        self.outbox.send(Draining(reason=reason, close_in_ms=close_in_ms))

    def receive(self, message: str | bytes, now_s: float, time_ms: int) -> None:
        """Carry out one request. Whatever is wrong with it becomes an error reply.

        Args:
            message: text is JSON, bytes are msgpack.
            now_s: the session's clock.
            time_ms: epoch milliseconds.
        """
        if self.outbox.is_shut:
            return
        if not self._bucket.take(now_s):
            if self._bucket.flooded:
                self._close(CLOSE_FLOOD, "too many requests")
            else:
                self._refuse("rate_limited", "too many requests", id_of(message), retry_in_ms=self._bucket.wait_ms)
            return
        request_id: RequestId = None
        try:
            envelope = read_envelope(message)
            request_id = envelope.id
            if not self.authorized and envelope.op != "auth":
                raise RequestError("unauthorized", "send the op auth with the token first")
            self._carry_out(read_request(message, envelope), time_ms)
        except RequestError as error:
            self._refuse(error.code, str(error), request_id if error.request_id is None else error.request_id)
        except TopicError as error:
            self._refuse(error.code, str(error), request_id)
        except Exception:  # the last barrier: one client's request must not end the others' hub
            _logger.exception("request failed", extra={"session": self.name})
            self._refuse("internal", "the hub failed to carry this out; its log tells more", request_id)

    def leave(self) -> None:
        """The connection is gone: observe nothing."""
        self.outbox.shut()
        self._observe({})

    def _refuse(self, code: str, message: str, request_id: RequestId, retry_in_ms: int | None = None) -> None:
        retryable = code in _RETRYABLE
        error = Error(id=request_id, code=code, message=message, retryable=retryable, retry_in_ms=retry_in_ms)
        self.outbox.send(error)

    def _carry_out(self, request: Request, time_ms: int) -> None:
        if isinstance(request, Auth):
            self._authenticate(request)
        elif isinstance(request, Subscribe):
            self._subscribe(request)
        elif isinstance(request, Unsubscribe):
            self._unsubscribe(request)
        elif isinstance(request, Snapshot):
            self._snapshot(request)
        elif isinstance(request, Replay):
            self._replay(request)
        elif isinstance(request, Cancel):
            self._cancel(request)
        elif isinstance(request, Topics):
            self._list_topics(request)
        elif isinstance(request, Instruments):
            self._list_instruments(request)
        elif isinstance(request, Ping):
            self.outbox.send(Pong(id=request.id, time=time_ms))

    def _authenticate(self, request: Auth) -> None:
        if self._token is not None and not self._token.accepts(request.token):
            self._refuse("unauthorized", "this is not the token", request.id)
            self._close(CLOSE_UNAUTHORIZED, "wrong token")
            return
        self.authorized = True
        self.outbox.send(Authenticated(id=request.id))

    def _select(self, names: Iterable[str]) -> list[Selector]:
        """Parse topic strings for what is served here."""
        serving, selectors = self._hub.serving, list(map(self._parse, names))
        for selector in selectors:
            if serving is not None and not serving.covers(selector):
                few = "this edge serves some topics only"
                raise RequestError("unavailable", f"{few}, and {selector.text!r} is not, or not wholly, among them")
        return selectors

    def _parse(self, name: str) -> Selector:
        """Parse a topic string for a channel that the source has."""
        selector = self._hub.router.select(name)
        if selector.channel not in self._hub.channels:
            raise RequestError("unavailable", f"the source {self._hub.source.name!r} has no {selector.channel!r}")
        return selector

    def _matching(self, selectors: Iterable[Selector]) -> list[Topic]:
        matching = self._hub.router.matching
        return list(dict.fromkeys(topic for selector in selectors for topic in matching(selector)))

    def _expect_reader(self) -> None:
        """Refuse what would be held for a client as long as it does not read what it asked for before."""
        if self.outbox.is_laden:
            raise RequestError("rate_limited", "read first what you asked for: too much of it waits")

    def _subscribe(self, request: Subscribe) -> None:
        self._expect_reader()
        if request.interval_ms is not None and request.mode == "every":
            raise RequestError("bad_message", "interval_ms goes with mode latest only")
        modes = self._modes | dict.fromkeys(
            request.topics, None if request.mode == "every" else request.interval_ms or 0
        )
        if len(modes) > self._limits.topics:
            raise RequestError("too_many_topics", f"a client may hold {self._limits.topics} topic strings")
        hub, outbox = self._hub, self.outbox
        selectors = self._select(dict.fromkeys(request.topics))
        if sum(hub.router.select(name).exact is None for name in modes) > MAX_PATTERNS:
            raise RequestError("too_many_topics", f"a client may hold {MAX_PATTERNS} patterns and universes")
        hub.flush()
        matched = self._matching(selectors)
        observed = outbox.observed
        fresh = [topic for topic in matched if topic not in observed]
        recovery = self._recover(request, fresh, selectors)
        jobs = recovery.jobs(outbox.at(hub.history.at))
        here = hub.history.at
        since = here, frozenset(hub.history.notices(here, here))
        self._since.update((name, since) for name in modes.keys() - self._modes.keys())
        if request.id is not None:
            self._ids.update((name, request.id) for name in modes.keys() - self._modes.keys())
        switched, last = self._observe(modes)
        outbox.send(
            Subscribed(
                id=request.id,
                at=hub.history.public_at(hub.history.at),
                matched=len(matched),
                recovered=not recovery.gaps,
                unrecovered=recovery.unrecovered,
                replayed=recovery.replayed,
            )
        )
        for message in recovery.gaps + recovery.notices:
            outbox.send(message)
        for refusal in hub.refusals_of(dict.fromkeys(request.topics), request.id):
            outbox.send(refusal)
        outbox.begin(hub.history.cursor_at_end(), fresh + switched, [*jobs, *last])

    def _observe(self, modes: Mapping[str, int | None]) -> tuple[list[Topic], list[Job]]:
        """Observe exactly these topic strings: every row of those with None, else the latest at most every so many ms.

        Returns:
            The topics that went from mode latest to mode every, and what sends their last conflated rows.
        """
        router, outbox = self._hub.router, self.outbox
        conflated = set(outbox.conflater.intervals_s) if outbox.conflater is not None else set()
        read_at, unread = outbox.unread()
        at = outbox.at(self._hub.history.at)
        latest = {name: interval_ms / 1000 for name, interval_ms in modes.items() if interval_ms is not None}
        router.move(outbox, frozenset(name for name in modes if name not in latest), keep=latest)
        last = router.conflate(outbox, latest)
        self._modes = dict(modes)
        self._since = {name: since for name, since in self._since.items() if name in modes}
        for name in self._ids.keys() - modes.keys():
            del self._ids[name]
        if outbox.conflater is not None:
            # The rows that it has not read are conflated to the newest.
            newly = {topic: begin for topic, begin in unread.items() if topic in outbox.conflater.intervals_s}
            history = self._hub.history
            firsts = history.first_after(newly, read_at)
            for topic, begin in newly.items():
                skipped = max(0, topic.seq - max(firsts[topic][0], begin))
                is_state, _ = history.states.stretch(topic.at, topic.at)
                outbox.conflater.skip(topic, topic.newest, read_at, skipped, is_state=is_state)
        jobs: list[Job] = [
            RowsJob(at, origin, [(topic, waiting.row) for topic, waiting in rows])
            for origin, rows in groupby(last, key=lambda item: item[1].origin)
        ]
        return [topic for topic in conflated if topic in outbox.every], jobs

    def _hears(self, notice: GapNotice) -> bool:
        """Whether a gap notice that the client comes by as it reads on concerns it: no older than its wish."""
        names = (
            name
            for name, (since_at, before) in self._since.items()
            if since_at < notice.after_at or (since_at == notice.after_at and notice not in before)
        )
        return concerns(notice.topic, map(self._hub.router.select, names))

    def _recover(self, request: Subscribe, fresh: Sequence[Topic], selectors: Sequence[Selector]) -> Recovery:
        """What the new topics of a subscribe begin with."""
        hub, since = self._hub, request.since
        recovery = Recovery(hub.history, hub.epoch, selectors, request.id)
        if since is None:
            recovery.with_snapshot(fresh)
        elif since == "open":
            recovery.since_time(fresh, hub.day_start_ms())
        elif isinstance(since, Since):
            if isinstance(since.time, int) and (since.epoch, since.at, since.seq) == (UNSET, UNSET, UNSET):
                recovery.since_time(fresh, since.time)
            elif isinstance(since.epoch, str) and since.time is UNSET:
                seqs = since.seq if isinstance(since.seq, dict) else {}
                at = hub.history.own_at(since.at) if isinstance(since.at, int) else None
                held = [hub.router.select(name) for name in self._modes]
                recovery.after_position(fresh, held, since.epoch, at, seqs)
            else:
                raise RequestError("bad_message", "since has either time, or epoch with at and seq")
        return recovery

    def _unsubscribe(self, request: Unsubscribe) -> None:
        unknown = [name for name in request.topics if name not in self._modes]
        if unknown:
            raise RequestError("bad_topic", f"not subscribed: {', '.join(unknown)[:200]}")
        outbox = self.outbox
        self._hub.flush()
        before = set(outbox.observed)
        self._observe({name: mode for name, mode in self._modes.items() if name not in request.topics})
        outbox.drop(before - outbox.observed)
        outbox.send(Unsubscribed(id=request.id))

    def _replay(self, request: Replay) -> None:
        hub = self._hub
        selectors = self._select(dict.fromkeys(request.topics))
        hub.flush()
        topics = self._matching(selectors)
        if len(self.outbox.replays) >= MAX_REPLAYS:
            raise RequestError("rate_limited", f"{MAX_REPLAYS} replays are running already")
        if request.id in self.outbox.replays:
            raise RequestError("bad_message", f"a replay with the id {request.id!r} is running already")
        self.outbox.replay(plan_replay(hub.history, hub.epoch, topics, selectors, request))

    def _cancel(self, request: Cancel) -> None:
        if not self.outbox.cancel(request.replay):
            raise RequestError("bad_message", f"no replay with the id {request.replay!r} is running")
        self.outbox.send(Cancelled(id=request.id))

    def _snapshot(self, request: Snapshot) -> None:
        self._expect_reader()
        topics = self._matching(self._select(dict.fromkeys(request.topics)))
        self._hub.flush()
        cut = self._hub.history.at
        job = snapshot(self.outbox.at(cut), topics, request.id, tells_end=True)
        self.outbox.begin(self._hub.history.cursor_at_end(), (), [job])

    def _list_topics(self, request: Topics) -> None:
        serving, topics = self._hub.serving, self._matching([self._parse(request.pattern)])
        topics = [topic for topic in topics if serving is None or serving.has(topic.name)]
        self._hub.flush()  # a number that nobody was sent yet could be given out again after a kill
        listed = [{"topic": topic.name, "seq": topic.seq, "time": topic.time_ms} for topic in topics]
        self.outbox.send(TopicList(id=request.id, topics=listed))

    def _list_instruments(self, request: Instruments) -> None:
        reference = self._hub.reference
        if not reference.instruments:
            raise RequestError("unavailable", f"the source {self._hub.source.name!r} has not told of its instruments")
        self.outbox.send(InstrumentList(id=request.id, instruments=reference.select(request.pattern)))
