"""Orders on their way to the hub: which are still to be sent, which wait for a reply, and what a reply means.

An order outlives its connection. After a loss each is asked for again: one that the hub had accepted from where it
is, one that it had not answered as it was asked for at first. A hub that takes no more just now is asked later.
"""

import asyncio
from bisect import insort
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Final

from argus_client.delivery import Delivery
from argus_client.errors import ArgusError, ConnectionLost, HubError, ProtocolError
from argus_client.farewells import Farewells
from argus_client.gate import Gate, Request
from argus_client.inbox import Brake, Inbox
from argus_client.ledger import Ledger, Order, Since
from argus_client.messages import Result, Subscribed
from argus_client.places import Places
from argus_client.position import Position, fitting, is_position
from argus_client.router import Router

ENVELOPE_BYTES: Final = 512
"""What a subscribe has beside its topics and its position."""


@dataclass(slots=True, eq=False)
class _Wish:
    """An order, and who waits for the hub to accept it; nobody does once it was accepted."""

    number: int
    inbox: Inbox
    order: Order
    resume: Position | None
    reply: asyncio.Future[Subscribed] | None

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """The order of asking.

        The hub sends history only of topics that nobody has yet: a new subscription of such a topic would take it
        from those who need it. Those of mode ``latest`` come after those of every row, or rows would be skipped that
        another subscription wants.
        """
        is_new = self.reply is not None
        return is_new, not is_new and self.order.mode == "latest", self.number


class Orders:
    """The orders of all subscriptions. ``ids`` numbers all that is sent, calls included."""

    def __init__(
        self, ids: Iterator[int], router: Router, places: Places, delivery: Delivery, farewells: Farewells, brake: Brake
    ) -> None:
        self._ids = ids
        self._router = router
        self._places = places
        self._delivery = delivery
        self._farewells = farewells
        self._brake = brake
        self._ledger = Ledger()
        self._numbers = count()
        self._wishes: dict[Inbox, _Wish] = {}
        self._unsent: list[_Wish] = []
        self._some_unsent = asyncio.Event()
        self._sent: dict[int | str | None, _Wish] = {}

    async def place(self, inbox: Inbox, order: Order, resume: Position | None) -> Subscribed:
        """Have an order sent as soon as there is a connection, and return when the hub has accepted it.

        Raises:
            TopicError: it can't be on one connection with an earlier order.
            HubError: the hub refused it.
            ArgusError: what ended everything first.
        """
        self._ledger.enter(inbox, order)
        self._places.enter(inbox, order, resume)
        reply: asyncio.Future[Subscribed] = asyncio.get_running_loop().create_future()
        wish = self._wishes[inbox] = _Wish(next(self._numbers), inbox, order, resume, reply)
        self._queue(wish)
        try:
            return await reply
        except asyncio.CancelledError:
            if wish in self._unsent:  # else it is taken back when the hub has accepted it
                self._give_up(wish)
            raise

    def drop(self, inbox: Inbox) -> list[str]:
        """Forget the order of an inbox that ends, and return the topics that must be left at the hub for it."""
        wish = self._wishes.pop(inbox, None)
        if wish is not None and wish in self._unsent:
            self._unsent.remove(wish)
        self._places.retire(inbox)
        self._delivery.leave(inbox)
        return self._ledger.strike(inbox)

    async def send(self, gate: Gate) -> None:
        """Send what is to be sent, one after the other, until cancelled or the gate is shut.

        Raises CallbackError where the callback for a gap raises.
        """
        with suppress(ConnectionLost):  # whoever reads the connection hears of it as well
            while True:
                await self._some_unsent.wait()
                await gate.turn()
                await self._send_next(gate)
                if not self._unsent:
                    self._some_unsent.clear()

    @property
    def waiting(self) -> bool:
        """Whether an order waits for its reply."""
        return bool(self._sent)

    def answer(self, request_id: int | str | None, result: Result | HubError, gate: Gate) -> bool:
        """Take a reply; False where no order waits for it.

        Raises:
            ConnectionLost: the hub could not take up a subscription again; a new connection may do.
            ProtocolError: the hub answered something else.
        """
        wish = self._sent.pop(request_id, None)
        if wish is None:
            return False
        # At once, and not when whoever asked gets to run: until then much more could be read.
        self._brake.settle(wish)
        if not isinstance(result, HubError | Subscribed):
            raise ProtocolError(f"the hub answered subscribe with {type(result).__name__}")
        if wish.reply is not None:
            self._begin(request_id, wish, wish.reply, result)
        elif isinstance(result, Subscribed):
            self._resume(request_id, wish, result)
        elif wish.inbox in self._ledger:
            self._refuse(wish, result, gate)
        return True

    def lose(self) -> None:
        """Note that the connection is gone: everything will have to be asked for again."""
        for wish in self._sent.values():
            self._brake.settle(wish)
        self._sent.clear()
        self._ledger.forget_hub()

    def connect(self, epoch: str) -> None:
        """Queue everything for a new connection to a hub of this epoch.

        Raises CallbackError where the callback for a gap raises.
        """
        self._unsent.clear()
        self._delivery.connect(inbox for inbox, wish in self._wishes.items() if wish.reply is None)
        for inbox, wish in list(self._wishes.items()):
            if wish.reply is None:
                self._delivery.lost(inbox, self._places[inbox].connect(epoch))
            elif wish.reply.done():  # whoever asked was cancelled
                self._give_up(wish)
                continue
            else:
                self._places.enter(inbox, wish.order, wish.resume)
            self._queue(wish)

    def end(self, error: ArgusError, *, by_user: bool) -> None:
        """End all subscriptions: who reads one gets to the end of what has arrived, and then the error."""
        for inbox, wish in self._wishes.items():
            if wish.reply is not None and not wish.reply.done():
                wish.reply.set_exception(error.again())
            if by_user:
                self._places.retire(inbox)
                inbox.discard()
            else:
                inbox.end(error)

    def _queue(self, wish: _Wish) -> None:
        insort(self._unsent, wish, key=lambda one: one.rank)
        self._some_unsent.set()

    async def _send_next(self, gate: Gate) -> None:
        if not self._unsent:  # it was unsubscribed while its turn was awaited
            return
        wish, request_id = self._unsent.pop(0), next(self._ids)
        self._sent[request_id] = wish
        if wish.reply is not None:
            self._brake.expect(wish)
        await gate.send({**self._request(wish, gate), "id": request_id})

    def _request(self, wish: _Wish, gate: Gate) -> Request:
        """Return the request for an order. It says only what is not the default."""
        order, place = wish.order, self._places[wish.inbox]
        if wish.reply is not None:
            self._delivery.lost(wish.inbox, place.connect(gate.welcome.epoch))
        request: dict[str, Any] = {"op": "subscribe", "topics": list(order.topics.texts)}
        since = _fitting(place.ask(), request, gate.welcome.limits)
        if since is not None:
            request["since"] = since
        if order.mode != "every":
            request["mode"] = order.mode
        if order.interval_ms is not None:
            request["interval_ms"] = order.interval_ms
        return request

    def _begin(
        self,
        request_id: int | str | None,
        wish: _Wish,
        reply: asyncio.Future[Subscribed],
        result: Subscribed | HubError,
    ) -> None:
        """Let a subscription join here and now, in stream order: what follows this reply is for it."""
        inbox, is_wanted = wish.inbox, not reply.done()
        if isinstance(result, HubError):
            self._give_up(wish)
            if is_wanted:
                reply.set_exception(result)
            return
        topics = self._ledger.confirm(inbox)
        if not is_wanted:
            self._give_up(wish)
            return
        wish.reply = None
        self._delivery.begin(request_id, inbox)
        self._router.join(inbox, topics)
        self._places.begin(inbox, result)
        reply.set_result(result)

    def _resume(self, request_id: int | str | None, wish: _Wish, result: Subscribed) -> None:
        """Let a subscription go on: what is sent for it is for all who lack it."""
        if wish.inbox not in self._ledger:  # unsubscribed meanwhile
            self._farewells.leave_soon(self._ledger.unneeded(wish.order))
            return
        self._ledger.confirm(wish.inbox)
        self._delivery.resume(request_id, wish.inbox)
        self._places[wish.inbox].begin(result)

    def _refuse(self, wish: _Wish, error: HubError, gate: Gate) -> None:
        """Ask again when the hub wants to be asked, or end a subscription that it will never take up again."""
        if error.code == "rate_limited":
            gate.hold(error)
            self._queue(wish)
        elif error.retryable:
            raise ConnectionLost(1006, f"a subscription could not be resumed: {error}")
        else:
            self.drop(wish.inbox)
            wish.inbox.end(error)

    def _give_up(self, wish: _Wish) -> None:
        """Forget an order that nobody wants or that was refused, as if it had never been placed."""
        self._wishes.pop(wish.inbox, None)
        if wish in self._unsent:
            self._unsent.remove(wish)
        self._places.forget(wish.inbox)
        self._farewells.leave_soon(self._ledger.strike(wish.inbox))


def _fitting(since: Since, request: Request, limits: Mapping[str, Any]) -> Since:
    limit_bytes = limits.get("message_bytes")
    if is_position(since) and isinstance(limit_bytes, int):
        return fitting(since, limit_bytes - len(str(request).encode()) - ENVELOPE_BYTES)
    return since
