"""The conversation with the hub, without a socket: where each message of the stream goes.

The session is given every message in order, and a way to send requests. What is subscribed stands here and not in
a connection, so that it outlives one: after a loss the session is suspended, and resumed with the next connection.
"""

import logging
from collections.abc import Sequence
from itertools import count

from argus_client.callbacks import Callbacks, tell
from argus_client.calls import Calls
from argus_client.delivery import Delivery
from argus_client.errors import ArgusError, ConnectionLost, HubError, ProtocolError
from argus_client.farewells import Farewells
from argus_client.gate import Gate, Send
from argus_client.inbox import Brake, Inbox
from argus_client.ledger import Order
from argus_client.messages import (
    Data,
    Draining,
    Gap,
    Heartbeat,
    Message,
    Pong,
    Reply,
    Slow,
    SnapshotDone,
    Subscribed,
    TopicInfo,
    TopicList,
    Unknown,
    Welcome,
)
from argus_client.orders import Orders
from argus_client.places import Places
from argus_client.position import Position
from argus_client.router import Router
from argus_client.rows import Row

_log = logging.getLogger("argus_client")


class Session:
    """The state of one client, and ``at``, the newest place that the hub confirmed."""

    def __init__(self, welcome: Welcome, send: Send, callbacks: Callbacks, resume: Position | None = None) -> None:
        self.at = welcome.at
        self.brake = Brake()
        self._callbacks = callbacks
        self._gate = Gate(welcome, send)
        ids, router = count(1), Router()
        self._calls = Calls(self._gate, ids, self.brake)
        self._farewells = Farewells(self._calls)
        self._places = Places(welcome.epoch, resume)
        self._delivery = Delivery(router, self._places, callbacks)
        self._orders = Orders(ids, router, self._places, self._delivery, self._farewells, self.brake)
        self._end: ArgusError | None = None

    @property
    def welcome(self) -> Welcome:
        """What the hub said of itself on the newest connection."""
        return self._gate.welcome

    @property
    def ended(self) -> bool:
        """True once `end` was called."""
        return self._end is not None

    @property
    def connected(self) -> bool:
        """True while requests can be sent."""
        return self._gate.is_open

    def position(self) -> Position:
        """Return how far the handlers of all subscriptions are."""
        return self._places.position()

    async def subscribe(self, inbox: Inbox, order: Order, resume: Position | None = None) -> Subscribed:
        """Have the rows of an order delivered to an inbox, which is new. Without a connection, wait for one.

        Raises:
            TopicError: it can't be on one connection with an earlier order.
            HubError: the hub refused it.
            ConnectionLost: the session ended first.
        """
        if self._end is not None:
            raise self._end.again()
        return await self._orders.place(inbox, order, resume)

    async def unsubscribe(self, inbox: Inbox) -> None:
        """Discard an inbox, and leave the topics that nothing else needs. A lost connection counts as left."""
        await self._farewells.leave(self._drop(inbox))

    def abandon(self, inbox: Inbox) -> None:
        """Unsubscribe in the background, for a subscription that nobody can read any more."""
        self._farewells.leave_soon(self._drop(inbox))

    async def snapshot(self, topics: Sequence[str]) -> list[Row]:
        """Ask for the newest row of every topic that matches."""
        done, rows = await self._calls.ask(SnapshotDone, {"op": "snapshot", "topics": list(topics)})
        if done.count != len(rows):
            raise ProtocolError(f"a snapshot of {done.count} rows came with {len(rows)}")
        return rows

    async def topics(self, pattern: str) -> Sequence[TopicInfo]:
        """Ask which topics exist."""
        return (await self._calls.ask(TopicList, {"op": "topics", "pattern": pattern}))[0].topics

    async def ping(self) -> Pong:
        """Ask for the hub's time."""
        return (await self._calls.ask(Pong, {"op": "ping"}))[0]

    async def send_orders(self) -> None:
        """Send orders as they come, until cancelled or the connection is gone; to be run beside `receive`.

        Raises CallbackError where the callback for a gap raises.
        """
        await self._orders.send(self._gate)

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
                self._take(message)
            case Reply():
                self._answer(message)
            case Gap():
                self._delivery.gap(message)
            case Heartbeat():
                self.at = message.at
                self._places.beat(message.at, collecting=self._calls.collecting)
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
        """Note that the connection is gone: open calls fail at once, orders wait for `resume`."""
        self._gate.shut(lost)
        self._calls.fail(lost)
        self._orders.lose()

    def resume(self, welcome: Welcome, send: Send) -> None:
        """Go on with a new connection, on which every order will be sent again, from where it was.

        Raises CallbackError where the callback for a gap raises.
        """
        self._gate = self._calls.gate = Gate(welcome, send)
        self.at = welcome.at
        self._places.enter_epoch(welcome.epoch)
        self._orders.connect(welcome.epoch)

    def end(self, error: ArgusError | None) -> None:
        """End the conversation: with an error, or because the user wants it (None). The first reason counts.

        After an error, every subscription can still be read to the end of what has arrived, and then raises it.
        """
        if self.ended:
            return
        self._end = error or ConnectionLost(1000, "closed by this client")
        self._gate.shut(self._end)
        self._calls.fail(self._end)
        self._orders.end(self._end, by_user=error is None)

    def _take(self, data: Data) -> None:
        collected = None if data.origin == "live" else self._calls.rows_for(data.request_id)
        if collected is None:
            self._delivery.data(data)
        else:
            collected.extend(data.rows)

    def _answer(self, reply: Reply) -> None:
        request_id, result = reply.request_id, reply.result
        if isinstance(result, Subscribed):
            self.at = result.at
        if self._orders.answer(request_id, result, self._gate) or self._calls.answer(request_id, result):
            return
        if self._orders.waiting and isinstance(result, HubError) and result.retryable:
            raise ConnectionLost(1006, f"a subscription may not have been taken up: {result}")
        if isinstance(result, HubError) and isinstance(request_id, int) and self._callbacks.on_refused is not None:
            tell(self._callbacks.on_refused, result)
            return
        _log.warning("the hub says of an earlier request: %s", result)

    def _drop(self, inbox: Inbox) -> list[str]:
        unneeded = self._orders.drop(inbox)
        inbox.discard()
        return unneeded
