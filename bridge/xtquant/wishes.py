"""Which single subscriptions the terminal should hold: what clients want, as far as the account goes.

Clients share them: each instrument and channel is subscribed once, however many want it. A wish, which is one topic
string, is met as a whole or refused as a whole; those that are met already come first. What nobody wants any more is
kept for a while, since clients come and go, unless its place is needed. Pure: it is told the time, and plans.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from bridge.xtquant.words import Key


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now: subscriptions to begin and to end, and why the other wishes are not met."""

    begin: list[Key] = field(default_factory=list)
    end: list[Key] = field(default_factory=list)
    refused: Mapping[str, str] = field(default_factory=dict)


class Wishes:
    """The account of single subscriptions.

    Args:
        most: how many there may be at once.
        grace_s: how long one that nobody wants is kept.
    """

    def __init__(self, most: int, grace_s: float) -> None:
        self.evicted = 0
        """Subscriptions that were ended because nobody wanted them any more."""
        self._most = most
        self._grace_s = grace_s
        self._held: dict[Key, float | None] = {}  # since when nobody wants it; None while somebody does
        self._met: dict[str, None] = {}  # wishes that are met, the oldest first

    @property
    def held(self) -> Set[Key]:
        """The subscriptions that the terminal has, or is to have."""
        return self._held.keys()

    def plan(self, wants: Mapping[str, Set[Key]], now_s: float) -> Plan:
        """Decide what to do about what is wanted now: each topic string with the subscriptions that it needs."""
        needed: set[Key] = set()
        refused: dict[str, str] = {}
        met: dict[str, None] = {}
        for topic in [*(topic for topic in self._met if topic in wants), *sorted(wants.keys() - self._met.keys())]:
            both = needed | wants[topic]
            if len(both) <= self._most:
                needed = both
                met[topic] = None
            else:
                more = len(both) - len(needed)
                refused[topic] = (
                    f"{topic} needs {more} more {'subscription' if more == 1 else 'subscriptions'} of the source, "
                    f"which may have {self._most} and has {len(needed)} in use; its rows come when there is room"
                )
        self._met = met
        begin = sorted(needed - self._held.keys())
        for key in needed:
            self._held[key] = None
        return Plan(begin, self._evict(needed, now_s), refused)

    def due_in_s(self, now_s: float) -> float | None:
        """In how many seconds the next one is kept no longer; None where all are wanted."""
        since = [unwanted_s for unwanted_s in self._held.values() if unwanted_s is not None]
        return max(0.0, min(since) + self._grace_s - now_s) if since else None

    def forget(self, key: Key) -> None:
        """The terminal did not take a subscription: it is planned anew the next time."""
        self._held.pop(key, None)

    def forget_all(self) -> None:
        """The terminal has lost them all: only what is wanted is planned anew."""
        self._held.clear()

    def _evict(self, needed: Set[Key], now_s: float) -> list[Key]:
        unwanted = [key for key in self._held if key not in needed]
        for key in unwanted:
            if self._held[key] is None:
                self._held[key] = now_s
        unwanted.sort(key=lambda key: self._held[key] or 0.0)
        room = self._most - len(needed)
        over = len(unwanted) - room
        end = [
            key
            for place, key in enumerate(unwanted)
            if place < over or now_s - (self._held[key] or 0.0) >= self._grace_s
        ]
        for key in end:
            del self._held[key]
        self.evicted += len(end)
        return end
