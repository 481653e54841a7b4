"""One client's conversation with the hub, without a socket: requests come in, messages and rows go to its outbox."""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from msgspec import UNSET

from hub.auth import Token
from hub.core import Hub
from hub.history import Loss, Topic
from hub.limits import Limits, TokenBucket
from hub.messages import (
    Auth,
    Authenticated,
    Draining,
    Error,
    Heartbeat,
    Ping,
    Pong,
    Request,
    RequestError,
    Since,
    Snapshot,
    SnapshotDone,
    Subscribe,
    Subscribed,
    TopicList,
    Topics,
    Unsubscribe,
    Unsubscribed,
    Welcome,
    read_request,
)
from hub.outbox import HistoryJob, Job, Outbox, SnapshotJob, gap
from hub.schema import CHANNELS
from hub.topics import Selector, TopicError
from hub.wire import RequestId

PROTOCOL: Final = "argus.v1"
DAY_MS: Final = 86_400_000
SHANGHAI_MS: Final = 28_800_000
"""China's clocks are eight hours ahead of UTC, all year."""

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
        self.conflated = 0
        self._hub = hub
        self._limits = limits
        self._token = token
        self._close = close
        self._bucket = TokenBucket(limits.requests_per_s, now_s)

    def welcome(self, server: str, heartbeat_s: float, time_ms: int) -> None:
        """Say who is here: the first message of the connection."""
        hub, limits = self._hub, self._limits
        self.outbox.send(
            Welcome(
                protocol=PROTOCOL,
                server=server,
                session=self.name,
                epoch=hub.epoch,
                at=hub.history.at,
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

    def heartbeat(self, time_ms: int, markets: dict[str, dict[str, Any]]) -> None:
        """Say that the hub is alive, how far the client is, and how the markets are."""
        at = self.outbox.at(self._hub.history.delivered_at)
        self.outbox.send(Heartbeat(time=time_ms, at=at, conflated=self.conflated, markets=markets))

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
                self._refuse("rate_limited", "too many requests", None, retry_in_ms=self._bucket.wait_ms)
            return
        request_id: RequestId = None
        try:
            request = read_request(message)
            request_id = request.id
            self._carry_out(request, time_ms)
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
        self._hub.router.move(self.outbox, frozenset())

    def _refuse(self, code: str, message: str, request_id: RequestId, retry_in_ms: int | None = None) -> None:
        retryable = code in _RETRYABLE
        error = Error(id=request_id, code=code, message=message, retryable=retryable, retry_in_ms=retry_in_ms)
        self.outbox.send(error)

    def _carry_out(self, request: Request, time_ms: int) -> None:
        if isinstance(request, Auth):
            self._authenticate(request)
        elif not self.authorized:
            raise RequestError("unauthorized", "send the op auth with the token first")
        elif isinstance(request, Subscribe):
            self._subscribe(request)
        elif isinstance(request, Unsubscribe):
            self._unsubscribe(request)
        elif isinstance(request, Snapshot):
            self._snapshot(request)
        elif isinstance(request, Topics):
            self._list_topics(request)
        elif isinstance(request, Ping):
            self.outbox.send(Pong(id=request.id, time=time_ms))

    def _authenticate(self, request: Auth) -> None:
        if self._token is not None and not self._token.accepts(request.token):
            self._refuse("unauthorized", "this is not the token", request.id)
            self._close(CLOSE_UNAUTHORIZED, "wrong token")
            return
        self.authorized = True
        self.outbox.send(Authenticated(id=request.id))

    def _names(self) -> frozenset[str]:
        audience = self.outbox.audience
        return audience.names if audience is not None else frozenset()

    def _select(self, names: Iterable[str]) -> list[Selector]:
        """Parse topic strings for channels that the source has."""
        selectors = []
        for name in names:
            selector = self._hub.router.select(name)
            if selector.channel not in self._hub.channels:
                raise RequestError("unavailable", f"the source {self._hub.source.name!r} has no {selector.channel!r}")
            selectors.append(selector)
        return selectors

    def _matching(self, selectors: Iterable[Selector]) -> list[Topic]:
        matching = self._hub.router.matching
        return list(dict.fromkeys(topic for selector in selectors for topic in matching(selector)))

    def _subscribe(self, request: Subscribe) -> None:
        if request.mode == "latest":
            raise RequestError("unavailable", "mode latest is not available in this version of the hub")
        if request.interval_ms is not None:
            raise RequestError("bad_message", "interval_ms goes with mode latest only")
        hub, outbox = self._hub, self.outbox
        old = self._names()
        names = old | frozenset(request.topics)
        if len(names) > self._limits.topics:
            raise RequestError("too_many_topics", f"a client may hold {self._limits.topics} topic strings")
        matched = self._matching(self._select(dict.fromkeys(request.topics)))
        since = self._begin_ms(request.since)
        hub.flush()
        cut = hub.history.at
        observed = outbox.audience.topics if outbox.audience is not None else frozenset()
        fresh = [topic for topic in matched if topic not in observed]
        before_at = outbox.at(cut)

        losses: list[Loss] = []
        replayed = 0
        job: Job | None = None
        if request.since is None:
            if fresh:
                job = SnapshotJob(before_at, fresh, request.id, None)
        elif since is not None:
            replayed, losses, job = self._history_since(since, fresh, cut, request.id)
        hub.router.move(outbox, names)
        unrecovered = [loss.topic.name for loss in losses]
        outbox.send(
            Subscribed(
                id=request.id,
                at=cut,
                matched=len(matched),
                recovered=not unrecovered,
                unrecovered=unrecovered,
                replayed=replayed,
            )
        )
        for loss in losses:
            outbox.send(gap(hub.epoch, loss, request.id))
        outbox.begin(hub.history.cursor_after(cut), fresh, job)

    def _begin_ms(self, since: Since | str | None) -> int | None:
        """The exchange time from which on history is wanted; None where no history is."""
        if since is None or since == "none":
            return None
        if isinstance(since, str):
            newest_ms = self._hub.history.time_ms
            return (newest_ms + SHANGHAI_MS) // DAY_MS * DAY_MS - SHANGHAI_MS
        if isinstance(since.time, int):
            if (since.epoch, since.at, since.seq) == (UNSET, UNSET, UNSET):
                return since.time
            raise RequestError("bad_message", "since has either time, or epoch, at and seq")
        raise RequestError("unavailable", "resuming from a position is not available in this version of the hub")

    def _history_since(
        self, time_ms: int, topics: Sequence[Topic], cut: int, request_id: RequestId
    ) -> tuple[int, list[Loss], Job | None]:
        """How many rows there are from a time on, what of them is lost, and the job that sends them."""
        hub = self._hub
        count = 0
        losses = []
        found = set()
        start = cut + 1
        begins = {}
        for topic in topics:
            first = topic.first_since(time_ms)
            if topic.evicted_time_ms >= time_ms:
                losses.append(Loss(topic, 1, topic.first_seq - 1, time_ms, topic.evicted_time_ms))
            if first > topic.seq:
                continue
            count += topic.seq - first + 1
            found.add(topic)
            start = min(start, topic.at_of(first))
            if first > 1:
                begins[topic] = topic.at_of(first)
        job = (
            HistoryJob(hub.epoch, hub.history.cursor_after(start - 1), cut, found, begins, request_id)
            if found
            else None
        )
        return count, losses, job

    def _unsubscribe(self, request: Unsubscribe) -> None:
        old = self._names()
        unknown = [name for name in request.topics if name not in old]
        if unknown:
            raise RequestError("bad_topic", f"not subscribed: {', '.join(unknown)[:200]}")
        hub, outbox = self._hub, self.outbox
        hub.flush()
        before = set(outbox.audience.topics) if outbox.audience is not None else set()
        hub.router.move(outbox, old - set(request.topics))
        outbox.drop(before - (outbox.audience.topics if outbox.audience is not None else set()))
        outbox.send(Unsubscribed(id=request.id))

    def _snapshot(self, request: Snapshot) -> None:
        topics = self._matching(self._select(dict.fromkeys(request.topics)))
        self._hub.flush()
        cut = self._hub.history.at
        done = SnapshotDone(id=request.id, count=len(topics))
        job = SnapshotJob(self.outbox.at(cut), topics, request.id, done)
        self.outbox.begin(self._hub.history.cursor_after(cut), (), job)

    def _list_topics(self, request: Topics) -> None:
        topics = self._matching(self._select([request.pattern]))
        listed = [{"topic": topic.name, "seq": topic.seq, "time": topic.time_ms} for topic in topics]
        self.outbox.send(TopicList(id=request.id, topics=listed))
