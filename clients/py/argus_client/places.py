"""The places of all subscriptions of one client, and the one position that they make together."""

from argus_client.inbox import Inbox
from argus_client.ledger import Order
from argus_client.messages import Subscribed
from argus_client.place import Place
from argus_client.position import Mark, Position, merge


class Places:
    """How far every subscription is. ``start`` is the position that stands until there is one."""

    def __init__(self, epoch: str, start: Position | None) -> None:
        self._epoch = epoch
        self._start = start or Position(epoch=epoch, at=None, seq={}, unfinished=[])
        self._places: dict[Inbox, Place] = {}
        self._retired: dict[tuple[str, ...], Mark] = {}
        self._before: Position | None = None
        self._old_items: dict[Inbox, int] = {}

    def __getitem__(self, inbox: Inbox) -> Place:
        return self._places[inbox]

    def enter(self, inbox: Inbox, order: Order, resume: Position | None) -> Place:
        """Make the place of a new subscription."""
        place = self._places[inbox] = Place(order, resume)
        return place

    def begin(self, inbox: Inbox, reply: Subscribed) -> None:
        """Note that the hub has accepted a new subscription."""
        self._retired.pop(self._places[inbox].order.topics.texts, None)
        self._places[inbox].begin(reply, [place.unbroken for other, place in self._places.items() if other != inbox])

    def forget(self, inbox: Inbox) -> None:
        """Forget a subscription that did not come about."""
        self._places.pop(inbox, None)
        self._old_items.pop(inbox, None)

    def retire(self, inbox: Inbox) -> None:
        """Keep only how far a subscription was that ends: what it leaves unread was not handled."""
        place = self._places.get(inbox)
        if place is not None:
            self._retired[place.order.topics.texts] = self._mark(inbox, place)
            self.forget(inbox)

    def beat(self, at: int, *, collecting: bool) -> None:
        """Note a heartbeat. ``collecting``: a snapshot is on its way beside all subscriptions."""
        beginning = sum(place.is_beginning for place in self._places.values())
        for place in self._places.values():
            place.beat(at, alone=beginning == 1 and not collecting)

    def enter_epoch(self, epoch: str) -> None:
        """Note the history that the hub now has.

        Rows of the one before may still wait to be read. Until they are, and something of the new one is whole, the
        old position stands: a restart in between is told of the change once more rather than not at all.
        """
        if epoch == self._epoch:
            return
        self._before = self.position()
        self._epoch = epoch
        self._old_items = {inbox: inbox.put_so_far for inbox in self._places}
        self._retired = dict.fromkeys(self._retired, Mark(None, {}))

    def position(self) -> Position:
        """Return how far everything is handled."""
        if self._before is not None:
            old = any(inbox.handled_so_far < items for inbox, items in self._old_items.items())
            if old or any(place.at is None for place in self._places.values()):
                return self._before
            self._before = None
            self._old_items.clear()
        if not self._places and not self._retired:
            return self._start
        alive = [(place.order.topics.texts, self._mark(inbox, place)) for inbox, place in self._places.items()]
        return merge(self._epoch, [*alive, *self._retired.items()])

    def _mark(self, inbox: Inbox, place: Place) -> Mark:
        old = max(0, self._old_items.get(inbox, 0) - inbox.handled_so_far)
        return place.handled(inbox.waiting[old:])
