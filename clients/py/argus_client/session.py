"""The conversation with the hub, without a socket: requests and their replies, rows and their inboxes.

The session is given every message in the order of the stream, and a way to send requests. What is subscribed
stands here and not in a connection, so that it can outlive one.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import count
from typing import Any, Final, TypeVar

from argus_client.errors import ArgusError, CallbackError, ConnectionLost, HubError, ProtocolError
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
from argus_client.router import Router
from argus_client.rows import Row

Request = Mapping[str, Any]
Send = Callable[[Request], Awaitable[None]]
_ResultT = TypeVar("_ResultT", bound=Result)
_NoticeT = TypeVar("_NoticeT")

_log = logging.getLogger("argus_client")


@dataclass(frozen=True, slots=True)
class Callbacks:
    """Plain functions that are called in stream order, on the event loop, before the next message is read."""

    on_gap: Callable[[Gap], object] | None = None
    on_slow: Callable[[Slow], object] | None = None
    on_heartbeat: Callable[[Heartbeat], object] | None = None
    on_draining: Callable[[Draining], object] | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            if inspect.iscoroutinefunction(getattr(self, one.name)):
                raise TypeError(f"{one.name} must be a plain function: nothing would await its coroutine")


@dataclass(slots=True)
class _Call:
    """A request that waits for its reply: the inbox that a subscribe is for, the rows of a snapshot so far."""

    reply: asyncio.Future[Result]
    inbox: Inbox | None
    rows: list[Row] = field(default_factory=list)


class Session:
    """The state of one client: open requests, subscriptions, and ``at``, the newest place that the hub confirmed."""

    def __init__(self, welcome: Welcome, send: Send, callbacks: Callbacks) -> None:
        self.welcome: Final = welcome
        self.at = welcome.at
        self.brake: Final = Brake()
        self._send = send
        self._callbacks = callbacks
        self._ids = count(1)
        self._calls: dict[object, _Call] = {}
        self._ledger = Ledger()
        self._router = Router()
        self._history_of: dict[object, Inbox] = {}
        self._farewells: set[asyncio.Task[None]] = set()
        self._end: ArgusError | None = None

    @property
    def ended(self) -> bool:
        """True once `end` was called."""
        return self._end is not None

    async def subscribe(self, inbox: Inbox, order: Order) -> Subscribed:
        """Have the rows of an order delivered to an inbox, which is new.

        Raises:
            TopicError: it can't be on one connection with an earlier order.
            HubError: the hub refused it.
            ConnectionLost: the connection ended first.
        """
        self._ledger.enter(inbox, order)
        request: dict[str, Any] = {"op": "subscribe", "topics": list(order.topics.texts)}
        if order.since is not None:
            request["since"] = order.since
        if order.mode != "every":
            request["mode"] = order.mode
        if order.interval_ms is not None:
            request["interval_ms"] = order.interval_ms
        return (await self._ask(Subscribed, request, inbox))[0]

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
                _tell(self._callbacks.on_heartbeat, message)
            case Slow():
                _tell(self._callbacks.on_slow, message)
            case Draining():
                _tell(self._callbacks.on_draining, message)
            case Welcome():
                raise ProtocolError("the hub sent a second welcome")
            case Unknown():
                _log.debug("ignored a message of type %s", message.type)

    def end(self, error: ArgusError | None) -> None:
        """End the conversation: with an error, or because the user wants it (None). The first reason counts.

        After an error, every subscription can still be read to the end of what has arrived, and then raises it.
        """
        if self.ended:
            return
        self._end = error or ConnectionLost(1000, "closed by this client")
        for call in self._calls.values():
            if not call.reply.done():
                call.reply.set_exception(self._end.again())
        for inbox in self._ledger.inboxes:
            if error is None:
                inbox.discard()
            else:
                inbox.end(error)

    async def _ask(
        self, kind: type[_ResultT], request: Request, inbox: Inbox | None = None
    ) -> tuple[_ResultT, list[Row]]:
        if self._end is not None:
            raise self._end.again()
        request_id = next(self._ids)
        call = _Call(asyncio.get_running_loop().create_future(), inbox)
        self._calls[request_id] = call
        self.brake.expect(request_id)
        try:
            await self._send({**request, "id": request_id})
        except BaseException:  # also a cancellation: a request that was not sent gets no reply
            del self._calls[request_id]
            self.brake.settle(request_id)
            call.reply.cancel()  # where the session ended meanwhile, this marks its error as heard
            if inbox is not None:
                self._ledger.strike(inbox)
            raise
        try:
            result = await call.reply
        finally:
            self.brake.settle(request_id)
        if not isinstance(result, kind):
            raise ProtocolError(f"the hub answered {request['op']} with {type(result).__name__}")
        return result, call.rows

    def _deliver(self, data: Data) -> None:
        # Live rows are for everyone whom they concern; the answer to a request is for the one who asked.
        if data.request_id is None or data.origin == "live":
            for row in data.rows:
                for inbox in self._router.for_row(row.channel, row.code):
                    inbox.put(row)
        elif data.request_id in self._calls:
            self._calls[data.request_id].rows.extend(data.rows)
        elif data.request_id in self._history_of:
            inbox = self._history_of[data.request_id]
            for row in data.rows:
                inbox.put(row)

    def _answer(self, reply: Reply) -> None:
        # At once, and not when whoever asked gets to run: until then much more could be read.
        self.brake.settle(reply.request_id)
        call, result = self._calls.pop(reply.request_id, None), reply.result
        if call is None:
            _log.warning("the hub answered what was not asked: %s", result)
            return
        if call.inbox is not None:
            self._settle(reply.request_id, call.inbox, result, wanted=not call.reply.done())
        if call.reply.done():  # whoever asked was cancelled meanwhile
            return
        if isinstance(result, HubError):
            call.reply.set_exception(result)
        else:
            call.reply.set_result(result)

    def _settle(self, request_id: object, inbox: Inbox, result: Result | HubError, *, wanted: bool) -> None:
        """Let a subscription join here and now, in stream order: what follows this reply is for it."""
        if isinstance(result, Subscribed):
            self.at = result.at
            topics = self._ledger.confirm(inbox)
            if wanted:
                self._history_of[request_id] = inbox
                self._router.join(inbox, topics)
                return
        self._farewell(self._ledger.strike(inbox))

    def _announce(self, gap: Gap) -> None:
        if gap.request_id is None:
            concerned: Iterable[Inbox] = self._router.for_gap(gap.topic)
        else:
            concerned = [inbox for key, inbox in self._history_of.items() if key == gap.request_id]
        for inbox in concerned:
            if inbox.with_gaps:
                inbox.put(gap)
        _tell(self._callbacks.on_gap, gap)

    def _drop(self, inbox: Inbox) -> list[str]:
        inbox.discard()
        self._router.leave(inbox)
        self._history_of = {key: other for key, other in self._history_of.items() if other is not inbox}
        return self._ledger.strike(inbox)

    async def _leave(self, topics: list[str]) -> None:
        try:
            await self._ask(Unsubscribed, {"op": "unsubscribe", "topics": topics})
        except ArgusError:
            if not self.ended:  # with the connection, everything is left
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


def _tell(callback: Callable[[_NoticeT], object] | None, notice: _NoticeT) -> None:
    if callback is None:
        return
    try:
        callback(notice)
    except Exception as error:
        raise CallbackError(f"the callback for {type(notice).__name__} raised {error!r}") from error
