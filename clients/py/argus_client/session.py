"""The conversation with the hub, without a socket: requests and their replies, rows and their inboxes.

The session is given every message in the order of the stream, and a way to send requests. What is subscribed
stands here and not in a connection, so that it outlives one: after a loss the session is suspended, and resumed
with the next connection.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, TypeVar

from argus_client.callbacks import Callbacks, tell
from argus_client.errors import ArgusError, ConnectionLost, HubError, ProtocolError
from argus_client.inbox import Brake, Inbox
from argus_client.ledger import Ledger, Order
from argus_client.messages import (
    Data,
    Draining,
    Gap,
    Heartbeat,
    Message,
    Pong,
    Reply,
    Result,
    Slow,
    SnapshotDone,
    Subscribed,
    TopicInfo,
    TopicList,
    Unknown,
    Unsubscribed,
    Welcome,
)
from argus_client.places import Places
from argus_client.position import Position, fitting, is_position
from argus_client.router import Router
from argus_client.rows import Row

Request = Mapping[str, Any]
Send = Callable[[Request], Awaitable[None]]
ENVELOPE_BYTES: Final = 512
"""What a subscribe has beside its topics and its position."""

_ResultT = TypeVar("_ResultT", bound=Result)

_log = logging.getLogger("argus_client")


@dataclass(slots=True)
class _Call:
    """A request that waits for its reply: the inbox that a subscribe is for, the rows of a snapshot so far."""

    reply: asyncio.Future[Result]
    inbox: Inbox | None
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _History:
    """Whose the beginning of a subscription is: who asked for it, and all who lack its rows."""

    inbox: Inbox
    readers: frozenset[Inbox]


class Session:
    """The state of one client: open requests, subscriptions, and ``at``, the newest place that the hub confirmed."""

    def __init__(self, welcome: Welcome, send: Send, callbacks: Callbacks, resume: Position | None = None) -> None:
        self.welcome = welcome
        self.at = welcome.at
        self.brake = Brake()
        self._send = send
        self._callbacks = callbacks
        self._ids = count(1)
        self._calls: dict[object, _Call] = {}
        self._ledger = Ledger()
        self._router = Router()
        self._places = Places(welcome.epoch, resume)
        self._history_of: dict[object, _History] = {}
        self._resuming: dict[object, tuple[Inbox, Order]] = {}
        self._farewells: set[asyncio.Task[None]] = set()
        self._online = asyncio.Event()
        self._online.set()
        self._lost: ConnectionLost | None = None
        self._end: ArgusError | None = None

    @property
    def ended(self) -> bool:
        """True once `end` was called."""
        return self._end is not None

    @property
    def connected(self) -> bool:
        """True while requests can be sent."""
        return self._lost is None and not self.ended

    def position(self) -> Position:
        """Return how far the handlers of all subscriptions are."""
        return self._places.position()

    async def subscribe(self, inbox: Inbox, order: Order, resume: Position | None = None) -> Subscribed:
        """Have the rows of an order delivered to an inbox, which is new. Without a connection, wait for one.

        Raises:
            TopicError: it can't be on one connection with an earlier order.
            HubError: the hub refused it.
            ConnectionLost: the connection ended first.
        """
        await self._online.wait()
        if self._end is not None:
            raise self._end.again()
        self._ledger.enter(inbox, order)
        self._places.enter(inbox, order, resume)
        return (await self._ask(Subscribed, self._order(inbox, order), inbox))[0]

    async def unsubscribe(self, inbox: Inbox) -> None:
        """Discard an inbox, and leave the topics that nothing else needs. A lost connection counts as left."""
        unneeded = self._drop(inbox)
        if unneeded:
            await self._leave(unneeded)

    def abandon(self, inbox: Inbox) -> None:
        """Unsubscribe in the background, for a subscription that nobody can read any more."""
        self._farewell(self._drop(inbox))

    async def snapshot(self, topics: Sequence[str]) -> list[Row]:
        """Ask for the newest row of every topic that matches."""
        done, rows = await self._ask(SnapshotDone, {"op": "snapshot", "topics": list(topics)})
        if done.count != len(rows):
            raise ProtocolError(f"a snapshot of {done.count} rows came with {len(rows)}")
        return rows

    async def topics(self, pattern: str) -> Sequence[TopicInfo]:
        """Ask which topics exist."""
        return (await self._ask(TopicList, {"op": "topics", "pattern": pattern}))[0].topics

    async def ping(self) -> Pong:
        """Ask for the hub's time."""
        return (await self._ask(Pong, {"op": "ping"}))[0]

    def receive(self, message: Message) -> None:
        """Take the next message of the stream.

        Raises:
            CallbackError: a callback raised.
            ConnectionLost: the hub could not take up a subscription again just now; a new connection may do.
            ProtocolError: the message has no place here.
        """
        if self.ended:
            return
        match message:
            case Data():
                self._deliver(message)
            case Reply():
                self._answer(message)
            case Gap():
                self._announce(message)
            case Heartbeat():
                self.at = message.at
                self._places.beat(message.at)
                tell(self._callbacks.on_heartbeat, message)
            case Slow():
                tell(self._callbacks.on_slow, message)
            case Draining():
                tell(self._callbacks.on_draining, message)
            case Welcome():
                raise ProtocolError("the hub sent a second welcome")
            case Unknown():
                _log.debug("ignored a message of type %s", message.type)

    def suspend(self, lost: ConnectionLost) -> None:
        """Note that the connection is gone: open requests fail at once, subscriptions wait for `resume`."""
        self._lost = lost
        self._online.clear()
        for request_id, call in self._calls.items():
            self.brake.settle(request_id)
            if call.inbox is not None:
                self._places.forget(call.inbox)
                self._ledger.strike(call.inbox)
            if not call.reply.done():
                call.reply.set_exception(lost.again())
        self._calls.clear()
        self._resuming.clear()
        self._history_of.clear()
        self._ledger.forget_hub()

    async def resume(self, welcome: Welcome, send: Send) -> None:
        """Go on with a new connection: ask for every subscription again, from where it was.

        Nothing else is sent before the last of them: the hub sends history only of topics that nobody has yet, and a
        new subscription of such a topic would take it from those who need it. Those of mode ``latest`` come last,
        or rows would be skipped that another subscription wants.

        Raises:
            CallbackError: a callback raised.
            ConnectionLost: the new connection is gone as well.
        """
        self._places.enter_epoch(welcome.epoch)
        self.welcome, self.at = welcome, welcome.at
        for inbox in sorted(self._ledger.inboxes, key=lambda inbox: self._places[inbox].order.mode == "latest"):
            if inbox not in self._ledger:  # it was unsubscribed while the others were asked for
                continue
            order, request_id = self._places[inbox].order, next(self._ids)
            self._resuming[request_id] = inbox, order
            await send({**self._order(inbox, order), "id": request_id})
        self._send, self._lost = send, None
        self._online.set()

    def end(self, error: ArgusError | None) -> None:
        """End the conversation: with an error, or because the user wants it (None). The first reason counts.

        After an error, every subscription can still be read to the end of what has arrived, and then raises it.
        """
        if self.ended:
            return
        self._end = error or ConnectionLost(1000, "closed by this client")
        self._online.set()
        for call in self._calls.values():
            if not call.reply.done():
                call.reply.set_exception(self._end.again())
        for inbox in self._ledger.inboxes:
            if error is None:
                self._places.retire(inbox)
                inbox.discard()
            else:
                inbox.end(error)

    async def _ask(
        self, kind: type[_ResultT], request: Request, inbox: Inbox | None = None
    ) -> tuple[_ResultT, list[Row]]:
        if self._end is not None:
            raise self._end.again()
        if self._lost is not None:
            raise self._lost.again()
        request_id = next(self._ids)
        call = _Call(asyncio.get_running_loop().create_future(), inbox)
        self._calls[request_id] = call
        self.brake.expect(request_id)
        try:
            await self._send({**request, "id": request_id})
        except BaseException:  # also a cancellation: a request that was not sent gets no reply
            self._calls.pop(request_id, None)
            self.brake.settle(request_id)
            if not call.reply.cancel():  # where the connection ended meanwhile, its error counts as heard
                call.reply.exception()
            if inbox is not None:
                self._places.forget(inbox)
                self._ledger.strike(inbox)
            raise
        try:
            result = await call.reply
        finally:
            self.brake.settle(request_id)
        if not isinstance(result, kind):
            raise ProtocolError(f"the hub answered {request['op']} with {type(result).__name__}")
        return result, call.rows

    def _order(self, inbox: Inbox, order: Order) -> Request:
        """Return the request for an order. It says only what is not the default."""
        since, lost = self._places[inbox].ask(self.welcome.epoch)
        for gap in lost:
            self._hand_gap(inbox, gap)
            tell(self._callbacks.on_gap, gap)
        request: dict[str, Any] = {"op": "subscribe", "topics": list(order.topics.texts)}
        limit_bytes = self.welcome.limits.get("message_bytes")
        if is_position(since) and isinstance(limit_bytes, int):
            since = fitting(since, limit_bytes - len(str(request).encode()) - ENVELOPE_BYTES)
        if since is not None:
            request["since"] = since
        if order.mode != "every":
            request["mode"] = order.mode
        if order.interval_ms is not None:
            request["interval_ms"] = order.interval_ms
        return request

    def _deliver(self, data: Data) -> None:
        # Live rows are for everyone whom they concern; the answer to a request is for those who lack it.
        call, history = self._calls.get(data.request_id), self._history_of.get(data.request_id)
        if data.request_id is None or data.origin == "live":
            self._hand(data.rows, None)
        elif call is not None:
            call.rows.extend(data.rows)
        elif history is not None:
            self._hand(data.rows, history)
            self._places[history.inbox].came(data.origin, len(data.rows))

    def _hand(self, rows: Sequence[Row], history: _History | None) -> None:
        """Hand each row to the inboxes that it concerns and that do not have it yet."""
        unannounced: dict[Gap, None] = {}
        for row in rows:
            key = row.channel, row.code
            route = self._router.for_row(*key)
            if history is not None:  # who asked gets what was sent for it, whatever this side knows of its topics
                route = tuple(inbox for inbox in history.readers if inbox is history.inbox or inbox in route)
            for inbox in route:
                new = self._places[inbox].take(key, row.seq)
                if new is False:
                    continue
                if isinstance(new, Gap):
                    unannounced[new] = None
                    if inbox.with_gaps:
                        inbox.put(new)
                inbox.put(row)
        for gap in unannounced:
            _log.warning("the hub left out rows %s to %s of %s", gap.from_seq, gap.to_seq, gap.topic)
            tell(self._callbacks.on_gap, gap)

    def _answer(self, reply: Reply) -> None:
        # At once, and not when whoever asked gets to run: until then much more could be read.
        self.brake.settle(reply.request_id)
        call, result = self._calls.pop(reply.request_id, None), reply.result
        if call is None:
            self._answer_unasked(reply)
            return
        if call.inbox is not None:
            self._settle(reply.request_id, call.inbox, result, wanted=not call.reply.done())
        if call.reply.done():  # whoever asked was cancelled meanwhile
            return
        if isinstance(result, HubError):
            call.reply.set_exception(result)
        else:
            call.reply.set_result(result)

    def _answer_unasked(self, reply: Reply) -> None:
        """Take a reply that no user waits for: that to a resumed subscription, or an error without a request."""
        result = reply.result
        resumed = self._resuming.pop(reply.request_id, None)
        if resumed is None:
            if self._resuming and isinstance(result, HubError) and result.retryable:
                raise ConnectionLost(1006, f"a subscription could not be resumed: {result}")
            _log.warning("the hub answered what was not asked: %s", result)
            return
        inbox, order = resumed
        if isinstance(result, Subscribed):
            self.at = result.at
            if inbox not in self._ledger:  # unsubscribed meanwhile
                self._farewell(self._ledger.unneeded(order))
                return
            self._ledger.confirm(inbox)
            self._history_of[reply.request_id] = _History(inbox, frozenset(self._ledger.inboxes))
            self._places[inbox].begin(result)
        elif inbox not in self._ledger:
            return
        elif isinstance(result, HubError) and not result.retryable:
            self._places.retire(inbox)
            self._router.leave(inbox)
            self._ledger.strike(inbox)
            inbox.end(result)
        else:
            raise ConnectionLost(1006, f"a subscription could not be resumed: {result}")

    def _settle(self, request_id: object, inbox: Inbox, result: Result | HubError, *, wanted: bool) -> None:
        """Let a subscription join here and now, in stream order: what follows this reply is for it."""
        if isinstance(result, Subscribed):
            self.at = result.at
            topics = self._ledger.confirm(inbox)
            if wanted:
                self._history_of[request_id] = _History(inbox, frozenset([inbox]))
                self._router.join(inbox, topics)
                self._places.begin(inbox, result)
                return
        self._places.forget(inbox)
        self._farewell(self._ledger.strike(inbox))

    def _announce(self, gap: Gap) -> None:
        history = None if gap.request_id is None else self._history_of.get(gap.request_id)
        concerned = self._router.for_gap(gap.topic)
        if gap.request_id is not None:
            readers = frozenset[Inbox]() if history is None else history.readers
            concerned = tuple(inbox for inbox in concerned if inbox in readers)
        news = [self._hand_gap(inbox, gap, own=history is not None and inbox is history.inbox) for inbox in concerned]
        first = next(filter(None, news), gap if not news else None)
        if first is not None:
            tell(self._callbacks.on_gap, first)

    def _hand_gap(self, inbox: Inbox, gap: Gap, *, own: bool = False) -> Gap | None:
        """Hand a gap to an inbox, and return what of it is news there."""
        news = self._places[inbox].take_gap(gap, own=own)
        if news is not None and inbox.with_gaps:
            inbox.put(news)
        return news

    def _drop(self, inbox: Inbox) -> list[str]:
        self._places.retire(inbox)
        inbox.discard()
        self._router.leave(inbox)
        self._history_of = {
            request_id: _History(history.inbox, history.readers - {inbox})
            for request_id, history in self._history_of.items()
            if history.inbox is not inbox
        }
        return self._ledger.strike(inbox)

    async def _leave(self, topics: list[str]) -> None:
        try:
            await self._ask(Unsubscribed, {"op": "unsubscribe", "topics": topics})
        except ConnectionLost as lost:  # with the connection, everything is left
            _log.debug("not unsubscribed: %s", lost)
        except ArgusError:
            if not self.ended:
                raise

    def _farewell(self, topics: list[str]) -> None:
        if topics and not self.ended:
            task = asyncio.get_running_loop().create_task(self._leave(topics))
            self._farewells.add(task)
            task.add_done_callback(self._said_farewell)

    def _said_farewell(self, task: asyncio.Task[None]) -> None:
        self._farewells.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("could not unsubscribe: %s", error)
