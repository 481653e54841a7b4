"""Gaps of the source: each is told once, at its place in the stream, to whoever it concerns."""

from typing import Any

import pytest

import hub.history
import hub.jobs
import hub.outbox
import hub.replay
from tests.hub.support.core import EPOCH, JSON, MSGPACK, Client, make_hub, publish, told
from tests.hub.support.notices import announce, gap, live, make_client, replay, speak

A, B, C = "600000.SH", "600001.SH", "000001.SZ"


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 4)
    for module in hub.jobs, hub.outbox, hub.replay:
        monkeypatch.setattr(module, "ROWS_PER_STEP", 3)


# Live


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])
def test_a_gap_of_the_source_has_its_times_and_no_numbers(codec: Any) -> None:
    client = make_client(make_hub(), "tick:*", codec=codec)
    announce(client.hub, "tick:*.SH", 5, 9)
    (message,) = client.messages()
    assert message.get("id") is None
    message.pop("id", None)
    assert message == {
        "type": "gap",
        "topic": "tick:*.SH",
        "epoch": EPOCH,
        "cause": "upstream",
        "from": None,
        "to": None,
        "from_time": 5,
        "to_time": 9,
        "by": None,
    }


def test_a_live_client_is_told_at_its_place_between_rows_of_one_flush() -> None:
    client = make_client(make_hub(), "tick:*")
    publish(client.hub, A, B)
    client.hub.announce("tick:*", 1, 2)
    publish(client.hub, A)
    client.hub.announce("tick:*.SH", 2, 3)
    client.hub.announce(f"tick:{A}", 2, 3)
    client.hub.flush()
    assert client.told() == [*live(A, 1), *live(B, 1), gap(), *live(A, 2), gap("tick:*.SH"), gap(f"tick:{A}")]


def test_a_client_with_several_strings_that_it_concerns_is_told_once() -> None:
    client = make_client(make_hub(), "tick:*", "tick:*.SH", f"tick:{A}", "tick:@two")
    client.ask("subscribe", topics=["tick:6*"], since="none", mode="latest")
    client.told()
    announce(client.hub)
    assert client.told() == [gap()]


@pytest.mark.parametrize("topics", [["tick:*"], ["tick:9*.BJ"], ["tick:000009.SZ"], ["tick:@two"]], ids=str)
@pytest.mark.parametrize("mode", ["every", "latest"])
def test_a_client_is_told_though_nothing_that_it_asked_for_has_spoken(topics: list[str], mode: str) -> None:
    client = make_client(make_hub(), *topics, mode=mode)
    announce(client.hub)
    assert client.told() == [gap()]


@pytest.mark.parametrize("mode", ["every", "latest"])
@pytest.mark.parametrize(
    ("topic", "said_of"),
    [
        (f"tick:{A}", f"tick:{B}"),
        (f"tick:{A}", "tick:*.SZ"),
        ("tick:6*", "tick:000001.SZ"),
        ("tick:*.SH", "tick:*.SZ"),
        ("tick:@two", f"tick:{A}"),
        ("tick:@two", "tick:*.SZ"),
        ("1m:*", "tick:*"),
        (f"1m:{A}", f"tick:{A}"),
    ],
)
def test_a_client_that_it_does_not_concern_is_told_nothing(topic: str, said_of: str, mode: str) -> None:
    hub = make_hub()
    speak(hub, A, B, C)
    client = make_client(hub, topic, mode=mode)
    announce(hub, said_of)
    assert client.told() == []


def test_a_client_that_unsubscribed_is_told_nothing_more() -> None:
    client = make_client(make_hub(), "tick:*", "1m:*")
    client.ask("unsubscribe", topics=["tick:*"])
    client.told()
    announce(client.hub)
    assert client.told() == []


def test_a_client_that_observes_nothing_is_told_nothing() -> None:
    client = Client(make_hub())
    announce(client.hub)
    client.pump()
    assert client.told() == []


# Lagging clients


def test_a_lagging_client_is_told_of_each_at_its_place_and_once() -> None:
    hub = make_hub()
    speak(hub, A, A)
    client = Client(hub)
    client.ask("subscribe", topics=["tick:*"], since={"time": 0})
    announce(hub, "tick:*", 2, 3)
    speak(hub, A, A)
    announce(hub, "tick:*.SZ")
    announce(hub, "tick:6*")
    speak(hub, A)
    announce(hub, f"tick:{A}")
    client.pump()
    speak(hub, A)
    story = [*replay(A, 1, 2), gap(), *live(A, 3, 4), gap("tick:*.SZ"), gap("tick:6*"), *live(A, 5), gap(f"tick:{A}")]
    assert client.told() == [("subscribed",), *story, *live(A, 6)]


@pytest.mark.parametrize("pumps", range(8))
def test_at_whatever_moment_a_client_is_told_it_is_told_once(pumps: int) -> None:
    hub = make_hub()
    speak(hub, *[A] * 7)
    client = Client(hub)
    client.ask("subscribe", topics=["tick:*"], since={"time": 0})
    for _ in range(pumps):
        client.outbox.pump(hub.history.delivered_at, 0.0)
    announce(hub)
    client.outbox.pump(hub.history.delivered_at, 0.0)
    announce(hub, "tick:6*")
    speak(hub, A)
    client.pump()
    story = client.told()[1:]
    assert [what for what in story if what[0] != "gap"] == [*replay(A, *range(1, 8)), *live(A, 8)]
    assert story[7:9] == [gap(), gap("tick:6*")]
    assert len(story) == 10


def test_a_lagging_client_is_not_told_of_what_it_no_longer_observes() -> None:
    hub = make_hub()
    speak(hub, A, B)
    client = Client(hub)
    client.ask("subscribe", topics=[f"tick:{A}", f"tick:{B}"])
    announce(hub, f"tick:{B}")
    announce(hub, f"tick:{A}")
    client.ask("unsubscribe", topics=[f"tick:{B}"])
    client.pump()
    assert [what for what in client.told() if what[0] == "gap"] == [gap(f"tick:{A}")]


def test_a_gap_is_told_ahead_of_rows_that_are_published_with_it_while_a_snapshot_waits() -> None:
    hub = make_hub()
    speak(hub, A)
    client = Client(hub)
    client.ask("subscribe", topics=["tick:*"])
    hub.announce("tick:*", 1, 2)
    publish(hub, A)
    hub.flush()
    client.pump()
    assert client.told() == [("subscribed",), ("snapshot", A, 1), gap(), *live(A, 2)]


# Never conflated


def test_of_conflated_rows_only_the_newest_come_and_every_gap() -> None:
    client = make_client(make_hub(), "tick:*", mode="latest")
    for number in range(5):
        speak(client.hub, A, A)
        announce(client.hub, "tick:*", number)
    client.pump()
    messages = client.messages()
    times = [message["from_time"] for message in messages if message["type"] == "gap"]
    assert times == list(range(5))
    assert [what for what in told(messages) if what[0] != "gap"] == live(A, 10)


def test_a_lagging_client_with_conflated_topics_is_told_every_gap() -> None:
    hub = make_hub()
    speak(hub, A, A)
    client = Client(hub)
    client.ask("subscribe", topics=["tick:*"], since={"time": 0}, mode="latest")
    for number in range(4):
        speak(hub, A)
        announce(hub, "tick:*", number)
    client.pump()
    messages = client.messages()
    assert [message["from_time"] for message in messages if message["type"] == "gap"] == list(range(4))
    assert [what for what in told(messages)[1:] if what[0] != "gap"] == [*replay(A, 1, 2), *live(A, 6)]


def test_a_client_that_changes_its_mode_while_it_lags_is_told_once() -> None:
    hub = make_hub()
    speak(hub, A, A)
    client = Client(hub)
    client.ask("subscribe", topics=["tick:*"], since={"time": 0})
    announce(hub)
    client.ask("subscribe", topics=["tick:*"], mode="latest")
    client.ask("subscribe", topics=["tick:*"], mode="every")
    client.pump()
    assert client.told().count(gap()) == 1


@pytest.mark.parametrize(
    ("since", "times"), [("none", 0), ({"epoch": EPOCH, "at": 0, "seq": {}}, 1)], ids=["live only", "resume"]
)
def test_a_gap_announced_just_before_a_lagging_client_subscribes_further_is_not_told_as_live(
    since: Any, times: int
) -> None:
    hub = make_hub()
    speak(hub, A, B)
    client = Client(hub)
    client.ask("subscribe", topics=[f"tick:{A}"], since={"time": 0})
    announce(hub, f"tick:{B}")
    client.ask("subscribe", topics=[f"tick:{B}"], since=since)
    client.pump()
    assert client.told().count(gap(f"tick:{B}")) == times
