"""Gaps of the source in what a client asks for of the past: history of a subscribe, resume, replay."""

from typing import Any

import pytest

import hub.history
import hub.jobs
import hub.outbox
import hub.replay
from hub.core import Hub
from tests.hub.support.core import EPOCH, Client, make_hub, tick, told
from tests.hub.support.notices import Story, announce, ask, gap, live, make_client, replay, speak

A, B, C = "600000.SH", "600001.SH", "000001.SZ"


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 4)
    for module in hub.jobs, hub.outbox, hub.replay:
        monkeypatch.setattr(module, "ROWS_PER_STEP", 3)


# The history of a subscription


def market(**ring: int) -> Hub:
    """A hub with rows at the times 1 to 8, and gaps after the second, the fourth and the last."""
    hub = make_hub(**ring)
    speak(hub, A, B)
    announce(hub, "tick:*", 2, 3)
    speak(hub, A, B)
    announce(hub, f"tick:{B}", 4, 5)
    speak(hub, A, B, A, B)
    announce(hub, "tick:*.SH", 8, None)
    return hub


def test_history_has_the_gaps_at_their_places_with_the_id_of_the_request() -> None:
    client = Client(market())
    client.ask("subscribe", topics=["tick:*"], since={"time": 0}, id=7)
    client.pump()
    messages = client.messages()[1:]
    assert {message["id"] for message in messages} == {7}
    assert told(messages) == [
        *replay(A, 1),
        *replay(B, 1),
        gap(),
        *replay(A, 2),
        *replay(B, 2),
        gap(f"tick:{B}"),
        *replay(A, 3),
        *replay(B, 3),
        *replay(A, 4),
        *replay(B, 4),
        gap("tick:*.SH"),
    ]


@pytest.mark.parametrize(
    ("time_ms", "topics"),
    [
        (0, ["tick:*", "tick:*.SH"]),
        (3, ["tick:*", "tick:*.SH"]),
        (4, ["tick:*.SH"]),
        (7, ["tick:*.SH"]),
    ],
)
def test_since_a_time_a_gap_that_ended_before_it_is_not_told(time_ms: int, topics: list[str]) -> None:
    story = ask(Client(market()), "subscribe", f"tick:{A}", since={"time": time_ms})
    assert [what for what in story if what[0] == "gap"] == [gap(topic) for topic in topics]


def test_since_open_the_gaps_of_the_day_are_told() -> None:
    story = ask(Client(market()), "subscribe", f"tick:{B}", since="open")
    assert [what for what in story if what[0] == "gap"] == [gap(), gap(f"tick:{B}"), gap("tick:*.SH")]


@pytest.mark.parametrize("since", [None, "none"])
def test_a_client_that_asks_for_no_history_is_told_of_no_gap_from_before(since: Any) -> None:
    client = make_client(market(), "tick:*", since=since)
    speak(client.hub, A)
    assert client.told() == live(A, 5)


def test_a_gap_right_after_a_history_that_comes_while_it_waits_is_told_once_and_as_live() -> None:
    hub = make_hub()
    speak(hub, A)
    announce(hub, "tick:6*")
    client = Client(hub)
    client.ask("subscribe", topics=["tick:*"], since={"time": 0}, id=7)
    announce(hub)
    client.pump()
    messages = client.messages()[1:]
    assert told(messages) == [*replay(A, 1), gap("tick:6*"), gap()]
    assert [message.get("id") for message in messages] == [7, 7, None]


# Resume


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (1, [*replay(B, 1), gap(), *replay(A, 2)]),
        (2, [gap(), *replay(A, 2)]),
        (3, [*replay(B, 2), gap(f"tick:{B}"), *replay(A, 3)]),
        (5, [*replay(B, 3), *replay(A, 4), *replay(B, 4)]),
        (7, [*replay(B, 4), gap("tick:*.SH")]),
        (8, [gap("tick:*.SH")]),
    ],
)
def test_a_resume_has_the_gaps_after_its_arrival_number_also_where_no_row_follows(at: int, expected: Story) -> None:
    seqs = {f"tick:{A}": (at + 1) // 2, f"tick:{B}": at // 2}
    for named in {}, seqs, {f"tick:{A}": (at + 1) // 2}:
        story = ask(Client(market()), "subscribe", "tick:*", since={"epoch": EPOCH, "at": at, "seq": named})
        assert story[: len(expected)] == expected
        assert story.count(gap("tick:*.SH")) == 1


def test_a_resume_of_topics_that_never_spoke_has_the_gaps_that_concern_them() -> None:
    hub = market()
    position = {"epoch": EPOCH, "at": 2, "seq": {}}
    assert ask(Client(hub), "subscribe", "tick:9*.BJ", since=position) == [gap()]
    assert ask(Client(hub), "subscribe", "tick:9*.SH", since=position) == [gap(), gap("tick:*.SH")]
    assert ask(Client(hub), "subscribe", "1m:*", since=position) == []


def test_a_resume_tells_nothing_of_other_topics() -> None:
    story = ask(Client(market()), "subscribe", f"tick:{A}", since={"epoch": EPOCH, "at": 3, "seq": {}})
    assert story == [*replay(A, 3, 4), gap("tick:*.SH")]


@pytest.mark.parametrize("position", [{"epoch": "", "at": 0}, {"epoch": EPOCH, "at": 99}], ids=["epoch", "at"])
def test_a_position_that_is_not_known_brings_a_snapshot_and_no_gap_of_the_source(position: dict[str, Any]) -> None:
    story = ask(Client(market()), "subscribe", f"tick:{A}", since=position | {"seq": {}})
    assert story == [("gap", f"tick:{A}", None, None), ("snapshot", A, 4)]
    client = Client(market())
    client.ask("subscribe", topics=[f"tick:{A}"], since=position | {"seq": {}})
    client.pump()
    assert [message["cause"] for message in client.messages() if message["type"] == "gap"] == ["epoch"]


# Resume without an arrival number


def position(**seqs: int) -> dict[str, Any]:
    """A position that names topics only: A, B and C by these letters."""
    names = {"a": A, "b": B, "c": C}
    return {"epoch": EPOCH, "seq": {f"tick:{names[letter]}": seq for letter, seq in seqs.items()}}


@pytest.mark.parametrize(
    ("seqs", "expected"),
    [
        ({"a": 1}, [gap(), *replay(A, 2, 3, 4), gap("tick:*.SH")]),
        ({"a": 2}, [*replay(A, 3, 4), gap("tick:*.SH")]),
        ({"a": 4}, [gap("tick:*.SH")]),
        ({"b": 4}, [gap("tick:*.SH")]),
        ({"b": 1}, [gap(), *replay(B, 2), gap(f"tick:{B}"), *replay(B, 3, 4), gap("tick:*.SH")]),
        ({"b": 2}, [gap(f"tick:{B}"), *replay(B, 3, 4), gap("tick:*.SH")]),
        ({"b": 3}, [*replay(B, 4), gap("tick:*.SH")]),
        ({"a": 0}, [*replay(A, 1), gap(), *replay(A, 2, 3, 4), gap("tick:*.SH")]),
        ({"a": 4, "b": 2}, [gap(f"tick:{B}"), *replay(B, 3, 4), gap("tick:*.SH")]),
        ({"a": 1, "b": 4}, [gap(), *replay(A, 2, 3, 4), gap("tick:*.SH")]),
    ],
)
@pytest.mark.parametrize("is_quiet", [False, True])
def test_a_resume_by_numbers_has_the_gaps_after_the_last_row_of_each_topic(
    seqs: dict[str, int], expected: Story, is_quiet: bool
) -> None:
    hub = market()
    if not is_quiet:  # what others say changes nothing
        speak(hub, C)
    topics = [f"tick:{code}" for letter, code in (("a", A), ("b", B)) if letter in seqs]
    assert ask(Client(hub), "subscribe", *topics, since=position(**seqs)) == expected


def test_a_gap_long_before_the_first_new_row_is_told_to_who_resumes_by_numbers() -> None:
    hub = make_hub()
    speak(hub, A, B)
    announce(hub, "tick:*")
    announce(hub, f"tick:{B}")
    speak(hub, *[B] * 9, A)
    assert ask(Client(hub), "subscribe", f"tick:{A}", since=position(a=1)) == [gap(), *replay(A, 2)]
    assert ask(Client(hub), "subscribe", f"tick:{A}", since=position(a=2)) == []


def test_a_resume_by_numbers_tells_nothing_of_topics_that_get_a_snapshot() -> None:
    hub = market()
    announce(hub, "tick:*.SZ")
    story = ask(Client(hub), "subscribe", "tick:*", since=position(b=4))
    assert story == [gap("tick:*.SH"), ("snapshot", A, 4)]
    assert ask(Client(hub), "subscribe", "tick:*", since={"epoch": EPOCH, "seq": {}}) == [
        ("snapshot", A, 4),
        ("snapshot", B, 4),
    ]


def test_who_resumes_by_numbers_that_memory_has_let_go_is_told_of_all_that_is_known() -> None:
    hub = make_hub(ring_bytes=1)
    speak(hub, A, *[B] * 12)
    announce(hub)
    speak(hub, *[A] * 2)
    story = ask(Client(hub), "subscribe", f"tick:{A}", since=position(a=0))
    assert story == [("gap", f"tick:{A}", 1, 1), gap(), *replay(A, 2, 3)]


# Replay


@pytest.mark.parametrize(
    ("begin", "end", "topics"),
    [
        (None, None, ["tick:*", f"tick:{B}", "tick:*.SH"]),
        (3, None, ["tick:*", f"tick:{B}", "tick:*.SH"]),
        (4, None, [f"tick:{B}", "tick:*.SH"]),
        (None, 4, ["tick:*"]),
        (None, 5, ["tick:*", f"tick:{B}"]),
        (4, 5, [f"tick:{B}"]),
        (6, 8, []),
        (6, 9, ["tick:*.SH"]),
    ],
)
def test_a_replay_by_time_has_the_gaps_that_lie_in_its_range(
    begin: int | None, end: int | None, topics: list[str]
) -> None:
    bounds = {name: bound for name, bound in (("from", begin), ("to", end)) if bound is not None}
    story = ask(Client(market()), "replay", "tick:*", **bounds)
    assert [what for what in story if what[0] == "gap"] == [gap(topic) for topic in topics]


def test_a_replay_has_the_gaps_at_their_places_and_is_complete() -> None:
    client = Client(market())
    client.ask("replay", topics=[f"tick:{A}"], id="r")
    client.pump()
    messages = client.messages()
    assert told(messages) == [*replay(A, 1), gap(), *replay(A, 2, 3, 4), gap("tick:*.SH"), ("replay_done",)]
    assert {message["id"] for message in messages} == {"r"}
    assert (messages[-1]["count"], messages[-1]["complete"]) == (4, True)


def test_a_replay_by_seq_has_the_gaps_between_its_rows() -> None:
    story = ask(Client(market()), "replay", f"tick:{B}", **{"from": {"seq": 1}, "to": {"seq": 4}})
    assert story == [*replay(B, 1), gap(), *replay(B, 2), gap(f"tick:{B}"), *replay(B, 3)]


@pytest.mark.parametrize("wakes", [1, 2, 7])
def test_a_paced_replay_that_is_woken_often_at_one_place_tells_once(wakes: int) -> None:
    hub = make_hub()
    client = Client(hub)
    hub.publish("tick", [tick(A, 1)], 0)
    hub.flush()
    announce(hub)
    announce(hub, "tick:6*")
    for seconds in 10, 20:
        hub.publish("tick", [tick(A, 1)], seconds * 1_000_000)
        hub.flush()
    announce(hub, "tick:60*")
    client.ask("replay", topics=["tick:*"], speed=1)
    (running,) = client.outbox._replays
    story: Story = []
    for now_s in 0, 5, 10, 15, 20:
        for _ in range(wakes):
            running.due_s = 0.0  # somebody wakes it, though nothing is due
            for _ in range(20):
                if not client.outbox.pump(hub.history.delivered_at, now_s):
                    break
        story.append((now_s, *client.told()))
    assert story == [
        (0, *replay(A, 1), gap(), gap("tick:6*")),
        (5,),
        (10, *replay(A, 2)),
        (15,),
        (20, *replay(A, 3), gap("tick:60*"), ("replay_done",)),
    ]


def test_a_gap_in_the_midst_of_rows_that_are_due_together_is_told_between_them() -> None:
    hub = make_hub()
    client = Client(hub)
    for number in range(6):
        hub.publish("tick", [tick(A, 1)], number)
        hub.flush()
        announce(hub, "tick:*", number)
    client.ask("replay", topics=["tick:*"], speed=1)
    for now_s in range(20):  # all of it is due from the second time on
        client.outbox.pump(hub.history.delivered_at, float(now_s))
    messages = client.messages()
    assert [message["from_time"] for message in messages if message["type"] == "gap"] == list(range(6))
    assert told(messages)[:4] == [*replay(A, 1), gap(), *replay(A, 2), gap()]
