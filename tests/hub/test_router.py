"""Who observes what: audiences that are shared, patterns that stay alive, and what the source is asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hub.topics
from hub.history import History
from hub.past import GapNotice
from hub.router import Audience, Names, Router
from hub.topic import Topic
from hub.topics import TopicError, glob
from hub.wire import Codec
from tests.hub.support.core import JSON, MSGPACK, Client, make_hub, publish, row_of

A, B, C, STAR_MARKET = "600000.SH", "600001.SH", "000001.SZ", "688001.SH"
UNIVERSES = {"two": [B, "688*.SH"]}


@dataclass(eq=False)
class Observer:
    """What the router sees of a client's outbox."""

    codec: Codec = MSGPACK
    lagging: bool = False
    audience: Audience | None = None

    @property
    def members(self) -> set[Any]:
        assert self.audience is not None
        return self.audience.members

    @property
    def live(self) -> list[Any]:
        assert self.audience is not None
        return list(self.audience.live)

    @property
    def observes(self) -> set[str]:
        return {topic.name for topic in self.audience.topics} if self.audience is not None else set()


class Market:
    """A router, its topics, and what it asked the source for."""

    def __init__(self, *codes: str) -> None:
        self.wants: list[Names] = []
        self.history = History(ring_rows=10, ring_bytes=1 << 20)
        self.router = Router(self.history.channels, UNIVERSES, lambda topics: self.wants.append(frozenset(topics)))
        self.speak(*codes)

    def speak(self, *codes: str, channel: str = "tick") -> None:
        created, _ = self.history.append(channel, [row_of(channel, code) for code in codes], 1)
        for topic in created:
            self.router.created(topic)

    def move(self, observer: Any, *names: str) -> None:
        for name in names:
            self.router.select(name)
        self.router.move(observer, frozenset(names))

    def joined(self, *names: str, codec: Codec = MSGPACK, lagging: bool = False) -> Observer:
        observer = Observer(codec, lagging)
        self.move(observer, *names)
        return observer

    @property
    def topics(self) -> dict[str, Topic]:
        return {topic.name: topic for topics in self.history.channels.values() for topic in topics.values()}

    def observed_by(self, name: str) -> list[Audience]:
        return list(self.topics[name].audiences)


# Selecting


def test_a_topic_string_is_parsed_with_the_hubs_universes() -> None:
    assert Market().router.select("tick:@two").matches(B)


def test_a_topic_string_that_somebody_holds_is_not_parsed_again() -> None:
    market = Market()
    market.joined("tick:*")
    assert market.router.select("tick:*") is market.router.select("tick:*")


def test_a_topic_string_that_cannot_be_used_is_an_error() -> None:
    with pytest.raises(TopicError):
        Market().router.select("tick:?")


@pytest.mark.parametrize(
    ("name", "codes"),
    [(f"tick:{A}", [A]), ("tick:999999.SH", []), ("tick:*.SH", [A, B, STAR_MARKET]), ("tick:@two", [B, STAR_MARKET])],
)
def test_the_topics_that_a_string_matches_are_those_of_its_channel(name: str, codes: list[str]) -> None:
    market = Market(A, B, C, STAR_MARKET)
    market.speak(A, B, channel="1m")
    matching = market.router.matching(market.router.select(name))
    assert [(topic.channel, topic.code) for topic in matching] == [("tick", code) for code in codes]


# Observing


def test_a_topic_is_observed_once_however_often_it_matches() -> None:
    market = Market(A, B)
    observer = market.joined("tick:*", f"tick:{A}", "tick:6*")
    assert observer.observes == {f"tick:{A}", f"tick:{B}"}
    assert market.observed_by(f"tick:{A}") == [observer.audience]


def test_a_topic_that_first_speaks_later_is_observed_by_whoever_waits_for_it() -> None:
    market = Market()
    exact, pattern, universe, other = (market.joined(n) for n in (f"tick:{B}", "tick:*.SH", "tick:@two", "tick:*.SZ"))
    bars = market.joined("1m:*")
    market.speak(B)
    assert set(market.observed_by(f"tick:{B}")) == {o.audience for o in (exact, pattern, universe)}
    assert other.observes == bars.observes == set()


def test_a_topic_that_first_speaks_later_is_observed_once_by_overlapping_strings() -> None:
    market = Market()
    observer = market.joined(f"tick:{A}", "tick:*", "tick:6*")
    market.speak(A)
    assert observer.observes == {f"tick:{A}"}
    assert market.observed_by(f"tick:{A}") == [observer.audience]


@pytest.mark.parametrize("names", [[f"tick:{A}"], ["tick:*"], [f"tick:{A}", "tick:*"]], ids=str)
def test_a_topic_that_first_spoke_later_can_be_dropped(names: list[str]) -> None:
    market = Market()
    observer = market.joined(*names)
    market.speak(A)
    market.move(observer, f"tick:{C}")
    assert (observer.observes, market.observed_by(f"tick:{A}")) == (set(), [])


@pytest.mark.parametrize("dropped", [f"tick:{A}", "tick:*", "tick:6*"])
def test_a_topic_stays_observed_until_the_last_string_that_covers_it_is_dropped(dropped: str) -> None:
    market = Market(A)
    names = {f"tick:{A}", "tick:*", "tick:6*"}
    observer = market.joined(*names)
    market.move(observer, *(names - {dropped}))
    assert observer.observes == {f"tick:{A}"}
    market.move(observer, f"tick:{C}")
    assert observer.observes == set()
    assert market.observed_by(f"tick:{A}") == []


def test_a_string_of_another_channel_keeps_no_topic_observed() -> None:
    market = Market(A)
    observer = market.joined("tick:*", "1m:*", f"1m:{A}")
    market.move(observer, "1m:*", f"1m:{A}")
    assert observer.observes == set()


def test_who_leaves_observes_nothing_and_leaves_nothing_behind() -> None:
    market = Market(A)
    observer = market.joined("tick:*", f"tick:{A}")
    market.move(observer)
    assert observer.audience is None
    assert market.observed_by(f"tick:{A}") == []
    assert list(market.router.audiences) == []
    market.speak(B)
    assert market.observed_by(f"tick:{B}") == []


def test_who_never_came_can_leave() -> None:
    market = Market()
    market.move(observer := Observer())
    assert (observer.audience, market.wants) == (None, [])


# Sharing


def test_clients_with_equal_strings_share_an_audience_in_order_of_joining() -> None:
    market = Market(A)
    first, second = market.joined(f"tick:{A}", "tick:6*"), market.joined("tick:6*", f"tick:{A}")
    assert first.audience is second.audience
    assert first.members == {first, second}
    assert first.live == [first, second]
    assert list(market.router.audiences) == [first.audience]


def test_clients_with_different_encodings_do_not_share() -> None:
    market = Market(A)
    first, second = market.joined("tick:*"), market.joined("tick:*", codec=JSON)
    assert first.audience is not second.audience
    assert len(market.observed_by(f"tick:{A}")) == 2


def test_who_lags_is_a_member_but_not_live() -> None:
    market = Market(A)
    observer = market.joined("tick:*", lagging=True)
    assert (observer.members, observer.live) == ({observer}, [])


def test_who_lags_is_not_made_live_by_moving_to_others() -> None:
    market = Market(A)
    live, observer = market.joined("tick:*"), market.joined("tick:6*", lagging=True)
    market.move(observer, "tick:*")
    assert (observer.members, observer.live) == ({live, observer}, [live])


def test_a_sole_member_takes_its_audience_along() -> None:
    market = Market(A, C)
    observer = market.joined(f"tick:{A}")
    audience = observer.audience
    market.move(observer, f"tick:{C}")
    assert observer.audience is audience
    assert (observer.observes, observer.live) == ({f"tick:{C}"}, [observer])
    assert list(market.router.audiences) == [audience]
    assert market.joined(f"tick:{C}").audience is audience
    assert market.joined(f"tick:{A}").audience is not audience


def test_a_member_among_others_leaves_them_where_they_are() -> None:
    market = Market(A, C)
    stays, goes = market.joined(f"tick:{A}"), market.joined(f"tick:{A}")
    market.move(goes, f"tick:{A}", f"tick:{C}")
    assert (stays.members, stays.live, stays.observes) == ({stays}, [stays], {f"tick:{A}"})
    assert (goes.members, goes.live, goes.observes) == ({goes}, [goes], {f"tick:{A}", f"tick:{C}"})


def test_a_sole_member_that_joins_others_leaves_no_empty_audience() -> None:
    market = Market(A, C)
    others, observer = market.joined(f"tick:{A}"), market.joined(f"tick:{C}")
    market.move(observer, f"tick:{A}")
    assert others.members == {others, observer}
    assert list(market.router.audiences) == [others.audience]
    assert market.observed_by(f"tick:{C}") == []


def test_moving_to_the_same_strings_changes_nothing() -> None:
    market = Market(A)
    first, second = market.joined("tick:*"), market.joined("tick:*")
    market.move(first, "tick:*")
    assert (first.audience, first.live) == (second.audience, [first, second])
    assert len(market.wants) == 1


# Wants


def test_the_source_is_told_the_union_of_what_clients_want_when_it_changes() -> None:
    market = Market()
    first, second = market.joined("tick:*"), market.joined("tick:*", f"tick:{A}")
    market.move(first)
    market.move(second)
    both = frozenset({"tick:*", f"tick:{A}"})
    assert market.wants == [frozenset({"tick:*"}), both, frozenset()]


def test_the_source_is_not_told_what_it_knows() -> None:
    market = Market()
    first = market.joined("tick:*")
    market.joined("tick:*", codec=JSON)
    market.move(first)
    assert market.wants == [frozenset({"tick:*"})]


def test_the_source_never_drops_a_topic_that_a_client_goes_on_wanting() -> None:
    market = Market()
    observer = market.joined("tick:*")
    market.joined("1m:*")
    market.move(observer, "tick:*", f"tick:{A}")
    market.move(observer, "tick:*", "1m:*")
    assert all("tick:*" in wanted for wanted in market.wants)


# The price of a change


def test_a_pattern_that_nobody_holds_any_more_is_not_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def remember(code: str) -> bool:
        asked.append(code)
        return True

    monkeypatch.setattr(hub.topics, "glob", lambda _: remember)
    market = Market()
    market.move(market.joined("tick:*"))
    market.speak(A)
    assert asked == []


def test_the_price_of_dropping_patterns_does_not_grow_with_their_product(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def counting(pattern: str) -> Callable[[str], bool]:
        matches = glob(pattern)

        def counted(code: str) -> bool:
            nonlocal calls
            calls += 1
            return matches(code)

        return counted

    monkeypatch.setattr(hub.topics, "glob", counting)
    count = 30
    market = Market(*(f"{number:06}.SH" for number in range(count)))
    dropped = ["tick:" + "*" * number for number in range(1, count + 1)]
    kept = [f"tick:*x{number}*" for number in range(count)]
    observer = market.joined(*dropped, *kept)
    calls = 0
    market.move(observer, *kept)
    assert calls <= 4 * count * count


# Against a naive model

NAMES = [f"tick:{A}", f"tick:{C}", "tick:*", "tick:6*", "tick:@two", "1m:*", f"1m:{B}"]
TOPICS = [("tick", code) for code in (A, B, C, STAR_MARKET)] + [("1m", code) for code in (A, B)]


def covers(name: str, topic: str) -> bool:
    """Whether a topic string covers a topic, the simple way."""
    channel, instrument = name.split(":")
    patterns = UNIVERSES[instrument[1:]] if instrument.startswith("@") else [instrument]
    return any(glob(f"{channel}:{pattern}")(topic) for pattern in patterns)


moves = st.tuples(st.integers(0, 4), st.sets(st.sampled_from(NAMES)))


@given(st.lists(moves | st.sampled_from(TOPICS), max_size=25))
def test_after_any_moves_everybody_observes_what_its_strings_cover(steps: list[Any]) -> None:
    market = Market()
    observers = [Observer(codec) for codec in (MSGPACK, MSGPACK, MSGPACK, JSON, JSON)]
    names: dict[Observer, set[str]] = {observer: set() for observer in observers}
    for first, second in steps:
        if isinstance(first, str):
            market.speak(second, channel=first)
        else:
            names[observers[first]] = second
            market.move(observers[first], *second)
        for observer in observers:
            covered = {topic for topic in market.topics if any(covers(name, topic) for name in names[observer])}
            assert observer.observes == covered
            assert {t for t in market.topics if observer.audience in market.observed_by(t)} == covered
        groups = {(observer.codec.name, frozenset(names[observer])) for observer in observers if names[observer]}
        assert {(audience.codec.name, audience.names) for audience in market.router.audiences} == groups
        assert sum(len(audience.live) for audience in market.router.audiences) == sum(map(bool, names.values()))
        assert (market.wants or [frozenset()])[-1] == set().union(*names.values())


# Who is told of what the source lost


@pytest.mark.parametrize(
    ("said_of", "told"),
    [
        ("tick:*", {"exact", "pattern", "universe", "latest", "lagging"}),
        ("tick:*.SH", {"exact", "universe", "latest", "lagging"}),
        (f"tick:{A}", {"exact", "lagging"}),
        (f"tick:{STAR_MARKET}", {"universe", "latest"}),
        ("tick:0*", {"pattern"}),
        ("1m:*", {"bars"}),
        ("1d:*", set()),
    ],
)
@pytest.mark.parametrize("spoken", [[], [A, B, C, STAR_MARKET]], ids=["before anybody spoke", "later"])
def test_a_gap_of_the_source_is_for_whoever_can_be_concerned_whatever_has_spoken(
    said_of: str, told: set[str], spoken: list[str]
) -> None:
    hub = make_hub()
    publish(hub, *spoken)
    hub.flush()
    clients = {name: Client(hub) for name in ("exact", "pattern", "universe", "latest", "lagging", "bars", "nobody")}
    clients["exact"].ask("subscribe", topics=[f"tick:{A}"], since="none")
    clients["pattern"].ask("subscribe", topics=["tick:*.SZ"], since="none")
    clients["universe"].ask("subscribe", topics=["tick:@two"], since="none")
    clients["latest"].ask("subscribe", topics=["tick:688*"], since="none", mode="latest")
    clients["lagging"].ask("subscribe", topics=[f"tick:{A}"])
    clients["bars"].ask("subscribe", topics=["1m:*"], since="none")
    notice = GapNotice(hub.history.at, said_of, None, None)
    found = hub.router.hearers(said_of)
    assert {name for name, client in clients.items() if client.outbox in found} == told
    assert {name for name, client in clients.items() if client.outbox.hears(notice)} == told
