"""The user's view of a hub: what can be asked of it, and its life from connecting to closing.

One task reads the link and feeds the session. When a link breaks it opens the next one, and the session goes on.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

from argus_client.backoff import Backoff
from argus_client.callbacks import Callbacks, Reconnected, tell
from argus_client.errors import ArgusError, CallbackError, ConnectError, ConnectionLost, ProtocolError
from argus_client.inbox import Inbox
from argus_client.ledger import Mode, Order, Since
from argus_client.link import Link, Target
from argus_client.messages import Data, Draining, Gap, Heartbeat, TopicInfo, Welcome
from argus_client.position import Position, check_position
from argus_client.rows import Row, row_type
from argus_client.session import Session
from argus_client.subscription import Subscription
from argus_client.topics import TopicSet

RowT = TypeVar("RowT", bound=Row)

_log = logging.getLogger("argus_client")


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """Answer to a ping: the hub's clock in epoch milliseconds, and how long the answer took."""

    time: int
    round_trip_ms: float


class Hub:
    """A connection to a hub, renewed when it breaks. Made by `connect`; all its methods belong to one event loop.

    ``backoff`` is None where it shall not be renewed.
    """

    def __init__(
        self,
        link: Link,
        target: Target,
        callbacks: Callbacks,
        queue_rows: int,
        backoff: Backoff | None,
        resume: Position | None,
    ) -> None:
        self._link = link
        self._target = target
        self._callbacks = callbacks
        self._session = Session(link.welcome, link.send, callbacks, resume)
        self._queue_rows = queue_rows
        self._backoff = backoff
        self._resume = resume
        self._fruitless = 0
        self._not_before_s = 0.0
        self._pumps: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._error: ArgusError | None = None
        self._error_is_unseen = False
        self._ending: asyncio.Task[None] | None = None
        self._reader = asyncio.get_running_loop().create_task(self._read(), name="argus-client reader")

    @property
    def welcome(self) -> Welcome:
        """What the hub said of itself: source, schemas, limits."""
        return self._session.welcome

    @property
    def connected(self) -> bool:
        """False while the hub is away, and when it was left for good."""
        return self._session.connected

    @property
    def epoch(self) -> str:
        """Name of the hub's unbroken history; row numbers mean nothing without it."""
        return self._session.welcome.epoch

    @property
    def at(self) -> int:
        """Newest arrival number that the hub confirmed, in welcome, replies and heartbeats."""
        return self._session.at

    def position(self) -> Position:
        """Return how far this program is: data for JSON, to be given to ``connect(..., resume=...)`` after a restart.

        It covers only rows whose handler has returned; with an iterator, those before the row handed out last. So
        after a crash a row may come again, and none is missed. Of several subscriptions the slowest counts.
        """
        return self._session.position()

    @overload
    def subscribe(
        self,
        *topics: str,
        since: Since = ...,
        mode: Mode = ...,
        interval_ms: int | None = ...,
        resume: Position | Literal[False] | None = ...,
        inline_gaps: bool = ...,
    ) -> Subscription[Any]: ...
    @overload
    def subscribe(
        self,
        *topics: str,
        row: type[RowT],
        since: Since = ...,
        mode: Mode = ...,
        interval_ms: int | None = ...,
        resume: Position | Literal[False] | None = ...,
        inline_gaps: Literal[False] = ...,
    ) -> Subscription[RowT]: ...
    @overload
    def subscribe(
        self,
        *topics: str,
        row: type[RowT],
        since: Since = ...,
        mode: Mode = ...,
        interval_ms: int | None = ...,
        resume: Position | Literal[False] | None = ...,
        inline_gaps: Literal[True],
    ) -> Subscription[RowT | Gap]: ...
    def subscribe(
        self,
        *topics: str,
        row: type[Row] = Row,
        since: Since = None,
        mode: Mode = "every",
        interval_ms: int | None = None,
        resume: Position | Literal[False] | None = None,
        inline_gaps: bool = False,
    ) -> Subscription[Any]:
        """Subscribe to topics: exact (``tick:600000.SH``), patterns (``tick:688*.SH``), universes (``tick:@NAME``).

        ``since`` says where to begin: absent, the newest row of each topic comes first; ``"none"``, live rows only;
        ``"open"``, the whole current trading day; ``{"time": ms}``, from that exchange time on (epoch milliseconds).
        ``mode="latest"`` skips rows that a newer one of their topic has overtaken, or sends at most one row per
        topic in ``interval_ms``. ``row`` is the class that type checkers shall see (`Tick`, `Bar`, `Status`).
        With ``inline_gaps`` a `Gap` is yielded at its place among the rows. ``resume`` is a `position`, after which
        to go on instead of where ``since`` says; absent, that of the connection; False, none.

        The hub sends a row once per connection; here it goes to every subscription that covers it. History,
        though, is sent for topics that the connection did not have yet: a second subscription of the same topic
        has live rows only.

        Raises, when the subscription begins:
            TopicError: malformed topics, or not together with an earlier subscription: the same topic with
                another mode, or a universe beside other topics of its channel.
            HubError: the hub refused it.
            ConnectionLost: the connection ended.
        """
        order = Order(TopicSet.of(topics), since, mode, interval_ms)
        for channel in order.topics.channels:
            if not issubclass(row_type(channel), row):
                raise ValueError(f"rows of channel {channel} are {row_type(channel).__name__}, not {row.__name__}")
        inbox = Inbox(", ".join(topics), self._queue_rows, self._session.brake, with_gaps=inline_gaps)
        start = None if resume is False else self._resume if resume is None else check_position(resume)
        return Subscription(self._session, order, inbox, start)

    async def on(
        self,
        *topics: str,
        callback: Callable[[RowT], object],
        since: Since = None,
        mode: Mode = "every",
        interval_ms: int | None = None,
        resume: Position | Literal[False] | None = None,
    ) -> Subscription[RowT]:
        """Call a function, plain or asynchronous, with every row; arguments and errors are those of `subscribe`.

        Rows wait in the same bounded queue as those of an iterator: an asynchronous callback is awaited before
        the next row. What ends the connection is raised by `wait_closed`, or else when the ``async with`` block
        of the connection is left. If the callback raises, the connection ends with a CallbackError.
        """
        subscription: Subscription[RowT] = self.subscribe(
            *topics, since=since, mode=mode, interval_ms=interval_ms, resume=resume
        )
        await subscription
        pump = asyncio.get_running_loop().create_task(self._pump(subscription, callback))
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)
        return subscription

    @overload
    async def snapshot(self, *topics: str) -> list[Any]: ...
    @overload
    async def snapshot(self, *topics: str, row: type[RowT]) -> list[RowT]: ...
    async def snapshot(self, *topics: str, row: type[Row] = Row) -> list[Any]:
        """Return the newest row of every topic that matches.

        Raises:
            HubError: the hub refused it.
            ConnectionLost: the connection ended.
        """
        rows = await self._session.snapshot(topics)
        for one in rows:
            if not isinstance(one, row):
                raise ValueError(f"rows of channel {one.channel} are {type(one).__name__}, not {row.__name__}")
        return rows

    async def topics(self, pattern: str) -> Sequence[TopicInfo]:
        """Return the topics that exist and match, such as ``tick:688*.SH``. Errors as for `snapshot`."""
        return await self._session.topics(pattern)

    async def ping(self) -> RoundTrip:
        """Ask for the hub's time, and measure how long that takes. Errors as for `snapshot`."""
        begin_s = time.perf_counter()
        pong = await self._session.ping()
        return RoundTrip(pong.time, (time.perf_counter() - begin_s) * 1000)

    async def wait_closed(self) -> None:
        """Wait until the connection has ended and every callback has seen its last row.

        Raises:
            ConnectionLost: it ended of itself.
            ProtocolError: the hub could not be understood.
            CallbackError: a callback raised.
        """
        await self._over.wait()
        while self._pumps:
            await asyncio.wait(self._pumps)
        if self._error is not None:
            self._error_is_unseen = False
            raise self._error.again()

    async def close(self) -> None:
        """Close the connection. Subscriptions stop without an error, and what they have not read is discarded."""
        self._end(None)
        pumps = self._pumps - {asyncio.current_task()}
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        if self._ending is not None:
            await asyncio.shield(self._ending)

    async def __aenter__(self) -> "Hub":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
        if error is None and self._error is not None and self._error_is_unseen:
            raise self._error.again()

    async def _read(self) -> None:
        try:
            while True:
                try:
                    await self._converse()
                except ConnectionLost as lost:
                    self._session.suspend(lost)
                    self._link.abort()
                    tell(self._callbacks.on_disconnect, lost)
                    if self._backoff is None or not lost.retryable:
                        raise
                    await self._regain(self._backoff)
        except ArgusError as error:
            self._end(error)
        except Exception as error:  # a fault of this client must not look like a market that has gone quiet
            fault = ArgusError(f"fault in the client: {error!r}")
            fault.__cause__ = error
            self._end(fault)

    async def _converse(self) -> None:
        """Listen, and send orders, until the connection is lost or something else ends it, which is raised."""
        loop = asyncio.get_running_loop()
        both = [loop.create_task(self._listen()), loop.create_task(self._session.send_orders())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)
        errors = [error for task in both if not task.cancelled() and (error := task.exception()) is not None]
        raise next((error for error in errors if not isinstance(error, ConnectionLost)), errors[0])

    async def _listen(self) -> None:
        """Feed the session until the connection is lost, and raise how that came."""
        while True:
            message = await self._link.receive()
            if isinstance(message, Data | Heartbeat):
                self._fruitless = 0
            elif isinstance(message, Draining):
                self._not_before_s = asyncio.get_running_loop().time() + message.close_in_ms / 1000
            self._session.receive(message)
            await self._session.brake.wait_off()

    async def _regain(self, backoff: Backoff) -> None:
        """Connect again, and take up every subscription. Raises ArgusError where that is of no use."""
        loop = asyncio.get_running_loop()
        lost_s, epoch = loop.time(), self._session.welcome.epoch
        for attempts in count(1):
            # A hub that drains takes nobody before it has closed everybody.
            drained_s = max(0.0, self._not_before_s - loop.time())
            await asyncio.sleep(max(drained_s, backoff.pause_s(self._fruitless)))
            self._fruitless += 1
            try:
                self._link = await Link.open(self._target)
            except ConnectError as error:
                if not error.retryable:
                    raise
                _log.info("attempt %d: %s", attempts, error)
                continue
            self._session.resume(self._link.welcome, self._link.send)
            same = self._session.welcome.epoch == epoch
            tell(self._callbacks.on_reconnect, Reconnected(attempts, loop.time() - lost_s, same))
            return

    async def _pump(self, subscription: Subscription[RowT], callback: Callable[[RowT], object]) -> None:
        try:
            async for row in subscription:
                await _call(callback, row)
        except CallbackError as error:
            self._end(error)
        except ArgusError as error:
            _log.debug("callbacks for %s end: %s", ", ".join(subscription.topics), error)

    def _end(self, error: ArgusError | None) -> None:
        """End the connection and everything that waits for it; the first reason counts."""
        if self._ending is None:
            self._error = error
            # Nobody iterates for a callback: its error would be lost with the task that calls it.
            self._error_is_unseen = isinstance(error, CallbackError) or bool(error and self._pumps)
            self._session.end(error)
            self._over.set()
            self._ending = asyncio.get_running_loop().create_task(self._shut(error))

    async def _shut(self, error: ArgusError | None) -> None:
        self._reader.cancel()
        await asyncio.wait([self._reader])
        await self._link.close(unreadable=error if isinstance(error, ProtocolError) else None)


async def _call(callback: Callable[[RowT], object], row: RowT) -> None:
    try:
        result = callback(row)
        if asyncio.iscoroutine(result):
            await result
    except Exception as error:
        raise CallbackError(f"the callback for rows of {row.topic} raised {error!r}") from error
