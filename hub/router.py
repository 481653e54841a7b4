"""Who observes what: the observer pattern, by topic.

Clients that subscribed to the same topics in the same encoding form one `Audience`, so that what they are sent is made
once. An audience stands in the list of observers of each of its topics, patterns resolved: publishing looks nothing
up and matches nothing. A topic that speaks for the first time is matched against the patterns once.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.conflation import Conflater, Waiting
from hub.topic import Topic
from hub.topics import Selector, TopicError, meet, parse
from hub.wire import Codec

if TYPE_CHECKING:
    from hub.outbox import Outbox

Names = frozenset[str]
"""The topic strings of a client, as it subscribed them."""


class Audience:
    """All clients with one set of subscriptions and one encoding.

    ``live`` are those that get rows as they come; the others are still catching up. ``rows`` is filled and emptied
    within one flush.
    """

    __slots__ = ("codec", "live", "members", "names", "rows", "topics")

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.names: Names = frozenset()
        self.topics: dict[Topic, int] = {}  # each with the number of topic strings that cover it
        self.members: set[Outbox] = set()
        self.live: dict[Outbox, None] = {}  # in order of joining, so that a test can be repeated
        self.rows: list[bytes] = []


@dataclass(frozen=True, slots=True)
class Interest:
    """One topic string that somebody subscribed, and who did."""

    selector: Selector
    audiences: dict[Audience, None]
    conflaters: dict[Conflater, None]


class Router:
    """Keeps the audiences, and for every topic its observers.

    Args:
        channels: the topics that exist, by channel and code; read, never changed.
        universes: named lists of codes and patterns for ``@NAME``.
        on_wants: called whenever the set of topic strings that at least one client wants has changed, with that set: a
            view, since a copy for each of thousands of clients that come would take longer than all else.
    """

    def __init__(
        self,
        channels: Mapping[str, Mapping[str, Topic]],
        universes: Mapping[str, Sequence[str]],
        on_wants: Callable[[Set[str]], None],
    ) -> None:
        self._channels = channels
        self._universes = universes
        self._on_wants = on_wants
        self._audiences: dict[tuple[str, Names], Audience] = {}
        self._interested: dict[str, Interest] = {}
        self._wants_changed = False
        self._patterns: dict[str, dict[str, Interest]] = {channel: {} for channel in channels}

    @property
    def audiences(self) -> Iterable[Audience]:
        """All audiences that have a member."""
        return self._audiences.values()

    @property
    def is_observed(self) -> bool:
        """Whether anybody is subscribed to anything."""
        return bool(self._interested)

    @property
    def subscriptions(self) -> int:
        """How many topic strings clients are subscribed to, each counted for each client."""
        every = sum(len(audience.names) * len(audience.members) for audience in self.audiences)
        return every + sum(len(interest.conflaters) for interest in self._interested.values())

    def select(self, name: str) -> Selector:
        """Parse a topic string. Raises `hub.topics.TopicError`."""
        interest = self._interested.get(name)
        return interest.selector if interest is not None else parse(name, self._universes)

    def matching(self, selector: Selector) -> list[Topic]:
        """The topics that exist and that the selector covers."""
        topics = self._channels[selector.channel]
        if selector.exact is not None:
            topic = topics.get(selector.exact)
            return [] if topic is None else [topic]
        matches = selector.matches
        return [topic for code, topic in topics.items() if matches(code)]

    def hearers(self, topic: str) -> "set[Outbox]":
        """The clients that what is said of a topic, or of a pattern, concerns."""
        said_of = parse(topic, {})
        found: set[Outbox] = set()
        for interest in self._interested.values():
            if meet(said_of, interest.selector):
                for audience in interest.audiences:
                    found |= audience.members
                found.update(conflater.outbox for conflater in interest.conflaters)
        return found

    def holders(self, name: str) -> "set[Outbox]":
        """The clients that have subscribed exactly this topic string."""
        interest = self._interested.get(name)
        if interest is None:
            return set()
        found = set().union(*(audience.members for audience in interest.audiences))
        found.update(conflater.outbox for conflater in interest.conflaters)
        return found

    def renew(self) -> None:
        """The universes are others than before: whoever has subscribed one observes what is in it now."""
        for name, interest in list(self._interested.items()):
            if not name.partition(":")[2].startswith("@"):
                continue
            try:
                selector = parse(name, self._universes)
            except TopicError:  # it is gone: what it was is kept
                continue
            if selector.patterns == interest.selector.patterns:
                continue
            before, now = set(self.matching(interest.selector)), set(self.matching(selector))
            renewed = self._interested[name] = Interest(selector, interest.audiences, interest.conflaters)
            self._patterns[selector.channel][name] = renewed
            for audience in interest.audiences:
                for topic in now - before:
                    _observe(audience, topic)
                for topic in before - now:
                    _ignore(audience, topic)
            members = (outbox for audience in interest.audiences for outbox in audience.members)
            for outbox in {*members, *(conflater.outbox for conflater in interest.conflaters)}:
                if outbox.conflater is not None:  # what it gets every row of is not conflated, and the other way round
                    for topic, last in self.conflate(outbox, dict(outbox.conflater.names)):
                        outbox.put(outbox.codec.data(topic.channel, last.origin, [last.row]))

    def move(self, outbox: "Outbox", names: Names, keep: Container[str] = ()) -> None:
        """Make a client observe every row of exactly these topic strings; all of them have been through `select`.

        ``keep`` are those that `conflate` will take up next: for the source they were wanted all the time.
        """
        old, codec = outbox.audience, outbox.codec
        if old is not None and old.names == names:
            return
        target = self._audiences.get((codec.name, names))
        if target is None and names and old is not None and len(old.members) == 1:
            del self._audiences[codec.name, old.names]
            self._audiences[codec.name, names] = old
            self._change(old, names, keep)
            return
        if target is None and names:
            target = self._audiences[codec.name, names] = Audience(codec)
            self._change(target, names, keep)
        if target is not None:
            target.members.add(outbox)
            if not outbox.lagging:
                target.live[outbox] = None
        if old is not None:
            old.members.discard(outbox)
            old.live.pop(outbox, None)
            if not old.members:
                del self._audiences[codec.name, old.names]
                self._change(old, frozenset(), keep)
        outbox.audience = target

    def conflate(self, outbox: "Outbox", intervals_s: Mapping[str, float]) -> list[tuple[Topic, Waiting]]:
        """Make a client have exactly these topic strings in mode latest; call it after every `move`.

        Topics that the client observes in mode every are left out. Where two strings cover a topic, the shorter
        interval holds.

        Returns:
            Rows that waited to be sent, of topics that the client gets every row of from now on.
        """
        conflater = outbox.conflater
        if conflater is None:
            if not intervals_s:
                return []
            conflater = outbox.conflater = Conflater(outbox)
        for name in conflater.names - intervals_s.keys():
            del self._interested[name].conflaters[conflater]
            self._lose_interest(name)
        every = outbox.every
        covered: dict[Topic, float] = {}
        for name, interval_s in intervals_s.items():
            interest = self._interest_in(name)
            interest.conflaters[conflater] = None
            for topic in self.matching(interest.selector):
                if topic not in every:
                    covered[topic] = min(interval_s, covered.get(topic, interval_s))
        conflater.names = dict(intervals_s)
        self._tell_wants()
        return conflater.cover(covered, every)

    def created(self, topic: Topic) -> None:
        """A topic spoke for the first time: whoever waits for it, or has a pattern that matches, observes it."""
        exact = self._interested.get(topic.name)
        patterns = self._patterns[topic.channel].values()
        matching = [*([exact] if exact else []), *(p for p in patterns if p.selector.matches(topic.code))]
        for interest in matching:
            for audience in interest.audiences:
                _observe(audience, topic)
        for interest in matching:  # now it is known who observes every row of it
            for conflater in interest.conflaters:
                if topic not in conflater.outbox.every:
                    conflater.add(topic, conflater.names[interest.selector.text])

    def _change(self, audience: Audience, names: Names, keep: Container[str]) -> None:
        added, dropped = names - audience.names, audience.names - names
        audience.names = names
        for name in added:
            self._interest_in(name).audiences[audience] = None
            for topic in self.matching(self._interested[name].selector):
                _observe(audience, topic)
        for name in dropped:
            interest = self._interested[name]
            for topic in self.matching(interest.selector):
                _ignore(audience, topic)
            del interest.audiences[audience]
            if name not in keep:
                self._lose_interest(name)
        self._tell_wants()

    def _tell_wants(self) -> None:
        if self._wants_changed:
            self._wants_changed = False
            self._on_wants(self._interested.keys())

    def _interest_in(self, name: str) -> Interest:
        interest = self._interested.get(name)
        if interest is None:
            interest = self._interested[name] = Interest(parse(name, self._universes), {}, {})
            if interest.selector.exact is None:
                self._patterns[interest.selector.channel][name] = interest
            self._wants_changed = True
        return interest

    def _lose_interest(self, name: str) -> None:
        interest = self._interested[name]
        if not interest.audiences and not interest.conflaters:
            del self._interested[name]
            self._patterns[interest.selector.channel].pop(name, None)
            self._wants_changed = True


def _ignore(audience: Audience, topic: Topic) -> None:
    audience.topics[topic] -= 1
    if not audience.topics[topic]:
        del audience.topics[topic], topic.audiences[audience]


def _observe(audience: Audience, topic: Topic) -> None:
    audience.topics[topic] = audience.topics.get(topic, 0) + 1
    topic.audiences[audience] = audience.rows
