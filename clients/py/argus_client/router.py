"""To which inboxes a row or a gap goes: the observers of one connection.

Matching is done once per code and remembered, until a subscription comes or goes.
"""

from argus_client.inbox import Inbox
from argus_client.topics import TopicSet


class Router:
    """The inboxes that have joined, with their topics."""

    def __init__(self) -> None:
        self._joined: dict[Inbox, TopicSet] = {}
        self._routes: dict[tuple[str, str], tuple[Inbox, ...]] = {}

    def join(self, inbox: Inbox, topics: TopicSet) -> None:
        """Deliver rows of the topics to the inbox from now on."""
        self._joined[inbox] = topics
        self._routes.clear()

    def leave(self, inbox: Inbox) -> None:
        """Deliver nothing more to the inbox."""
        if self._joined.pop(inbox, None) is not None:
            self._routes.clear()

    def for_row(self, channel: str, code: str) -> tuple[Inbox, ...]:
        """Return the inboxes that a row goes to."""
        route = self._routes.get((channel, code))
        if route is None:
            route = tuple(inbox for inbox, topics in self._joined.items() if topics.covers(channel, code))
            self._routes[channel, code] = route
        return route

    def for_gap(self, topic: str) -> tuple[Inbox, ...]:
        """Return the inboxes that a gap concerns. Its topic may be a pattern; in doubt an inbox is told."""
        lost = TopicSet.of([topic])
        return tuple(inbox for inbox, topics in self._joined.items() if topics.may_overlap(lost))
