"""What clients want of the source, as single subscriptions: topic strings become instruments, and wishes refusals."""

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Final

from bridge.source import Refusals
from bridge.xtquant.reference import Reference
from bridge.xtquant.wishes import Plan, Wishes
from bridge.xtquant.words import Key
from hub.core import Refusal
from hub.schema import STATUS
from hub.topics import TopicError, parse

AGAIN_S: Final = 60.0
"""After which a subscription that the terminal did not take is tried again."""


class Wanting:
    """Everything that is wanted, and why some of it is not given."""

    def __init__(self, most: int, grace_s: float, monotonic_s: Callable[[], float]) -> None:
        self.topics: frozenset[str] = frozenset()
        """The topic strings that clients want now."""
        self._wishes = Wishes(most, grace_s)
        self._monotonic_s = monotonic_s
        self._failed: dict[Key, tuple[str, float]] = {}  # why, and when to try again
        self._needs: dict[str, Set[Key]] = {}
        self._over: Mapping[str, str] = {}
        self._told: Mapping[str, Refusal] = {}

    @property
    def evicted(self) -> int:
        """Subscriptions that were ended because nobody wanted them any more."""
        return self._wishes.evicted

    def plan(self, reference: Reference | None) -> Plan:
        """Decide what to begin and to end now."""
        now_s = self._monotonic_s()
        self._failed = {key: why for key, why in self._failed.items() if now_s < why[1]}
        whole = frozenset(() if reference is None else reference.codes)
        self._needs = {topic: needs for topic in self.topics if (needs := _needs(topic, whole, reference))}
        wants = {topic: needs for topic, needs in self._needs.items() if not needs & self._failed.keys()}
        plan = self._wishes.plan(wants, now_s)
        self._over = plan.refused
        return plan

    def fail(self, key: Key, why: str) -> None:
        """The terminal did not take a subscription."""
        self._wishes.forget(key)
        self._failed[key] = (why, self._monotonic_s() + AGAIN_S)

    def lose_all(self) -> None:
        """The connection is another one: nothing is subscribed on it yet."""
        self._wishes.forget_all()
        self._failed.clear()

    def refusals_to_tell(self) -> Refusals | None:
        """All wishes that are not met, if they are others than those that were told last."""
        refused = {topic: Refusal("upstream_limit", reason) for topic, reason in self._over.items()}
        for topic, needs in self._needs.items():
            for key in sorted(needs & self._failed.keys()):
                reason = (
                    f"the terminal did not take {key[0]}:{key[1]} ({self._failed[key][0]}); is the account entitled?"
                )
                refused.setdefault(topic, Refusal("unavailable", reason))
        if refused == self._told:
            return None
        self._told = refused
        return Refusals(refused)


def _needs(topic: str, whole: Set[str], reference: Reference | None) -> Set[Key]:
    """The single subscriptions that a topic string needs: none for ticks that come by whole quotes anyway."""
    universes = {} if reference is None else {**reference.universes, **reference.sectors}
    try:
        selector = parse(topic, universes)
    except TopicError:  # of a universe that is not known yet
        return frozenset()
    if selector.channel == STATUS:
        return frozenset()
    if selector.channel == "tick":
        return frozenset(("tick", code) for code in _named(selector.patterns) if code not in whole)
    if selector.exact is not None:
        return frozenset(((selector.channel, selector.exact),))
    named = {code for code in whole if selector.matches(code)} | _named(selector.patterns)
    return frozenset((selector.channel, code) for code in named)


def _named(patterns: Sequence[str]) -> set[str]:
    """The codes among codes and patterns."""
    return {pattern for pattern in patterns if "*" not in pattern}
