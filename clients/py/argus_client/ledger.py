"""Which topic strings this connection has at the hub, and which subscriptions share each.

At the hub a connection has each topic string once, whatever number of subscriptions ask for it. The ledger makes
sharing safe: nothing is unsubscribed that another subscription still needs, and nothing is shared on terms that
would give one of them something else than it asked for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypedDict

from argus_client.errors import TopicError
from argus_client.inbox import Inbox
from argus_client.topics import TopicSet

Mode = Literal["every", "latest"]


class FromTime(TypedDict):
    """Begin with the first row of each topic at or after ``time``, epoch milliseconds UTC."""

    time: int


class FromPosition(TypedDict, total=False):
    """Begin after a position: the ``epoch``, the arrival number ``at``, and ``seq`` by topic."""

    epoch: str
    at: int
    seq: Mapping[str, int]


Since = Literal["none", "open"] | FromTime | FromPosition | None
"""Where a subscription begins. None: the newest row of each topic, then live."""


@dataclass(frozen=True, slots=True)
class Order:
    """What one subscription asks for. ``interval_ms`` belongs to mode ``latest``."""

    topics: TopicSet
    since: Since = None
    mode: Mode = "every"
    interval_ms: int | None = None

    @property
    def terms(self) -> tuple[Mode, int | None]:
        """How rows are delivered; subscriptions that share a topic string must agree on it."""
        return self.mode, self.interval_ms


class Ledger:
    """The orders of one connection's subscriptions, from the moment they are sent."""

    def __init__(self) -> None:
        self._orders: dict[Inbox, Order] = {}
        self._at_hub: set[str] = set()

    def __contains__(self, inbox: Inbox) -> bool:
        return inbox in self._orders

    def enter(self, inbox: Inbox, order: Order) -> None:
        """Note an order that is about to be sent.

        Raises:
            TopicError: the order and an earlier one can't be on the same connection.
        """
        for other in self._orders.values():
            _check_terms(order, other)
            _check_universes(order.topics, other.topics)
            _check_universes(other.topics, order.topics)
        self._orders[inbox] = order

    def confirm(self, inbox: Inbox) -> TopicSet:
        """Note that the hub has accepted the order, and return its topics."""
        topics = self._orders[inbox].topics
        self._at_hub.update(topics.texts)
        return topics

    def strike(self, inbox: Inbox) -> list[str]:
        """Forget an order, and return the topics that nothing else needs: the hub must be told."""
        order = self._orders.pop(inbox, None)
        if order is None:
            return []
        unneeded = [text for text in self.unneeded(order) if text in self._at_hub]
        self._at_hub.difference_update(unneeded)
        return unneeded

    def unneeded(self, order: Order) -> list[str]:
        """Return the topics of an order that no other has."""
        needed = {text for other in self._orders.values() for text in other.topics.texts}
        return [text for text in order.topics.texts if text not in needed]

    def forget_hub(self) -> None:
        """Note that the connection is gone, and with it what the hub had accepted. The orders stand."""
        self._at_hub.clear()


def _check_terms(order: Order, other: Order) -> None:
    """The hub keeps one mode per topic string: the later order would change it for the earlier one."""
    shared = set(order.topics.texts).intersection(other.topics.texts)
    if shared and order.terms != other.terms:
        raise TopicError(
            f"{min(shared)} is already subscribed with mode={other.mode}, interval_ms={other.interval_ms}: "
            "use the same here, or a second connection"
        )


def _check_universes(topics: TopicSet, others: TopicSet) -> None:
    """No row says which universe it came for, so that it could not be told to which of the two it belongs."""
    for channel, universe in topics.universes.items():
        if channel in others.channels:
            raise TopicError(
                f"rows of {universe} can't be told from those of another subscription of channel {channel}: "
                "put the topics into one subscription, or use a second connection"
            )
