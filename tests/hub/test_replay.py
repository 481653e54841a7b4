"""Rows of the past on request: which, at what pace, and what the end of a replay tells."""

import math
from typing import Any

import pytest

import hub.history
import hub.outbox
import hub.replay
from tests.hub.support.core import EPOCH, MSGPACK, Client, make_hub, publish, row_of, tick, told

A, B, C = "600000.SH", "600001.SH", "000001.SZ"
Story = list[tuple[Any, ...]]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 4)
    for module in hub.outbox, hub.replay:
        monkeypatch.setattr(module, "ROWS_PER_STEP", 3)


def make_client(*codes: str, codec: Any = None, **ring: Any) -> Client:
    """A client of a hub in which each code in turn has spoken once; the time of a row is its arrival number."""
    hub = make_hub(**ring)
    client = Client(hub) if codec is None else Client(hub, codec=codec)
    speak(client, *codes)
    return client


def speak(client: Client, *codes: str) -> None:
    """Publish a row for each code in a turn of the hub of its own."""
    for code in codes:
        publish(client.hub, code, time_ms=client.hub.history.at + 1)
        client.hub.flush()


def make_client_of_times(*recvs_us: int) -> Client:
    """A client of a hub in which A spoke once at each of these times of receipt."""
    client = make_client()
    for recv_us in recvs_us:
        client.hub.publish("tick", [tick(A)], recv_us)
    return client


def rerun(client: Client, *topics: str, **fields: Any) -> tuple[Story, dict[str, Any]]:
    """Ask for a replay, and return what came of it, and its end."""
    client.ask("replay", topics=topics, **fields)
    client.pump()
    *rows, done = client.messages()
    assert done["type"] == "replay_done", done
    return told(rows), done


def at_time(client: Client, now_s: float) -> Story:
    """What comes when the client is served at a time of the hub's clock."""
    for _ in range(100):
        if not client.outbox.pump(client.hub.history.delivered_at, now_s):
            return client.told()
    raise AssertionError("the outbox doesn't get on")


def replay(code: str, *seqs: int) -> Story:
    return [("replay", code, seq) for seq in seqs]


def live(code: str, *seqs: int) -> Story:
    return [("live", code, seq) for seq in seqs]


# Which rows


def test_without_bounds_everything_that_there_is_comes_in_order_of_arrival() -> None:
    client = make_client(A, B, B, C, A, B)
    story, done = rerun(client, "tick:*.SH")
    assert story == [*replay(A, 1), *replay(B, 1, 2), *replay(A, 2), *replay(B, 3)]
    assert done == {
        "type": "replay_done",
        "count": 5,
        "complete": True,
        "topics": {f"tick:{A}": {"first": 1, "last": 2}, f"tick:{B}": {"first": 1, "last": 3}},
    }


@pytest.mark.parametrize("codec", [None, MSGPACK], ids=["json", "msgpack"])
def test_rows_and_end_of_a_replay_carry_its_id(codec: Any) -> None:
    client = make_client(A, A, codec=codec)
    client.ask("replay", topics=[f"tick:{A}"], id="r")
    client.pump()
    assert [(message["type"], message["id"]) for message in client.messages()] == [("data", "r"), ("replay_done", "r")]


@pytest.mark.parametrize(
    ("bounds", "seqs"),
    [
        ({"from": 2}, [2, 3, 4, 5]),
        ({"to": 4}, [1, 2, 3]),
        ({"from": 2, "to": 4}, [2, 3]),
        ({"from": 0, "to": 99}, [1, 2, 3, 4, 5]),
        ({"from": 3, "to": 4}, [3]),
        ({"from": 3, "to": 3}, []),
        ({"from": 4, "to": 2}, []),
        ({"from": 6}, []),
        ({"to": 1}, []),
    ],
    ids=str,
)
@pytest.mark.parametrize("by", ["time", "seq"])
def test_from_is_inclusive_and_to_is_exclusive(by: str, bounds: dict[str, int], seqs: list[int]) -> None:
    client = make_client(*[A] * 5)  # time and seq are the same here
    places = {name: {"seq": max(1, place)} for name, place in bounds.items()} if by == "seq" else bounds
    story, done = rerun(client, f"tick:{A}", **places)
    assert story == replay(A, *seqs)
    assert (done["count"], done["complete"]) == (len(seqs), True)
    assert done["topics"] == ({f"tick:{A}": {"first": seqs[0], "last": seqs[-1]}} if seqs else {})


def test_each_row_is_held_against_a_range_of_time_by_its_own_time() -> None:
    client = make_client()
    client.hub.publish("tick", [tick(A, time_ms) for time_ms in (10, 30, 20, 40, 25)], 1)
    story, done = rerun(client, f"tick:{A}", **{"from": 20, "to": 30})
    assert story == replay(A, 3, 5)
    assert (done["count"], done["topics"]) == (2, {f"tick:{A}": {"first": 3, "last": 5}})


def test_a_range_of_time_holds_for_each_of_several_topics() -> None:
    client = make_client(A, B, C, A, B, A)
    story, _ = rerun(client, "tick:*.SH", f"tick:{C}", **{"from": 3, "to": 6})
    assert story == [*replay(C, 1), *replay(A, 2), *replay(B, 2)]


def test_a_range_by_seq_is_of_the_rows_of_its_topic_among_others() -> None:
    client = make_client(B, A, B, A, B, A, B, A, A, B)
    story, _ = rerun(client, f"tick:{A}", **{"from": {"seq": 2}, "to": {"seq": 5}})
    assert story == replay(A, 2, 3, 4)


def test_a_pattern_that_is_one_topic_may_be_replayed_by_seq() -> None:
    client = make_client(A, C, C)
    assert rerun(client, "tick:*.SZ", **{"from": {"seq": 2}})[0] == replay(C, 2)


@pytest.mark.parametrize(
    "fields",
    [
        {"topics": ["tick:*"], "from": {"seq": 1}},
        {"topics": ["tick:*"], "to": {"seq": 1}},
        {"topics": [f"tick:{A}", f"tick:{C}"], "from": {"seq": 1}},
        {"topics": [f"tick:{A}"], "from": {"seq": 1}, "to": 5},
        {"topics": [f"tick:{A}"], "from": 1, "to": {"seq": 5}},
        {"topics": [f"tick:{A}"], "from": {"seq": 0}},
        {"topics": [f"tick:{A}"], "from": -1},
        {"topics": [f"tick:{A}"], "speed": -1},
        {"topics": []},
    ],
    ids=str,
)
def test_a_range_that_makes_no_sense_is_refused_and_nothing_runs(fields: dict[str, Any]) -> None:
    client = make_client(A, B)
    reply = client.answer("replay", id=4, **fields)
    assert (reply["type"], reply["id"], reply["code"], client.outbox.replays) == ("error", 4, "bad_message", [])
    client.pump()
    assert client.told() == []


@pytest.mark.parametrize("topic", ["tick:*.SZ", f"tick:{C}", "1m:*"])
@pytest.mark.parametrize("bounds", [{}, {"from": 1}, {"from": {"seq": 1}, "to": {"seq": 9}}], ids=str)
def test_where_nothing_matches_the_replay_is_done_at_once(topic: str, bounds: dict[str, Any]) -> None:
    client = make_client(A, A)
    story, done = rerun(client, topic, **bounds)
    assert (story, done["count"], done["complete"], done["topics"]) == ([], 0, True, {})


def test_topics_of_several_channels_come_together_in_order_of_arrival() -> None:
    client = make_client(A)
    client.hub.publish("1m", [row_of("1m", A)], 1)
    speak(client, A)
    client.ask("replay", topics=["tick:*", "1m:*"])
    client.pump()
    *data, done = client.messages()
    assert [(message["channel"], len(message["rows"])) for message in data] == [("tick", 1), ("1m", 1), ("tick", 1)]
    assert list(done["topics"]) == [f"tick:{A}", f"1m:{A}"]


def test_rows_that_were_published_but_not_flushed_belong_to_the_replay_and_later_ones_do_not() -> None:
    client = make_client(A)
    publish(client.hub, A)
    client.ask("replay", topics=["tick:*"])
    speak(client, A, B)
    client.pump()
    assert client.told() == [*replay(A, 1, 2), ("replay_done",)]


# Beside other things


def test_a_replay_goes_on_beside_live_rows_whose_stream_is_unchanged() -> None:
    client = make_client(*[A] * 7)
    client.ask("subscribe", topics=["tick:*"], since="none")
    client.ask("replay", topics=["tick:*"], id=1)
    story = client.told()
    while client.outbox.pump(client.hub.history.delivered_at, 0.0):
        speak(client, A)
        story += client.told()
    story += client.told()
    assert [event for event in story if event[0] == "live"] == live(A, 8, 9)
    assert [event for event in story if event[0] == "replay"] == replay(A, *range(1, 8))
    assert story.index(("live", A, 8)) < story.index(("replay", A, 7))


def test_a_replay_goes_on_when_its_topics_are_unsubscribed() -> None:
    client = make_client(*[A] * 5)
    client.ask("subscribe", topics=["tick:*"], since="none")
    client.ask("replay", topics=["tick:*"])
    client.ask("unsubscribe", topics=["tick:*"])
    client.pump()
    assert client.told() == [("subscribed",), ("unsubscribed",), *replay(A, *range(1, 6)), ("replay_done",)]


def test_the_position_does_not_go_back_for_a_replay() -> None:
    client = make_client(*[A] * 5)
    client.ask("subscribe", topics=["tick:*"], since="none")
    client.ask("replay", topics=["tick:*"])
    client.session.heartbeat(0, {})
    assert client.messages()[-1]["at"] == 5


def test_a_client_gets_the_history_of_its_subscription_before_it_goes_on_with_a_replay() -> None:
    client = make_client(*[A] * 4)
    client.ask("replay", topics=["tick:*"], id="r")
    client.ask("subscribe", topics=["tick:*"], since={"time": 0}, id="s")
    client.pump()
    ids = [message["id"] for message in client.messages()]
    assert ids == sorted(ids, reverse=True)
    assert {"r", "s"} == set(ids)


def test_several_replays_take_turns() -> None:
    client = make_client(*[A] * 8)
    for request_id in "a", "b", "c":
        client.ask("replay", topics=["tick:*"], id=request_id)
    client.pump()
    messages = client.messages()
    assert [message["id"] for message in messages if message["type"] == "data"] == ["a", "b", "c"] * 4
    for request_id in "a", "b", "c":
        own = [message for message in messages if message["id"] == request_id]
        assert told(own) == [*replay(A, *range(1, 9)), ("replay_done",)]


def test_a_replay_that_waits_for_its_time_does_not_hold_up_another() -> None:
    client = make_client_of_times(0, 9_000_000)
    client.ask("replay", topics=["tick:*"], id="slow", speed=1)
    client.ask("replay", topics=["tick:*"], id="fast")
    assert at_time(client, 0.0) == [*replay(A, 1), *replay(A, 1, 2), ("replay_done",)]
    assert client.outbox.replays == ["slow"]


def test_nothing_is_encoded_while_the_socket_takes_nothing() -> None:
    client = make_client(*[A] * 9)
    client.ask("replay", topics=["tick:*"])
    client.outbox.writable = False
    assert client.outbox.pump(client.hub.history.delivered_at, 0.0) is False
    assert (client.told(), client.outbox.queued_bytes) == ([], 0)
    client.outbox.writable = True
    client.pump()
    assert client.told() == [*replay(A, *range(1, 10)), ("replay_done",)]


# Cancel


@pytest.mark.parametrize("request_id", [5, "r", None])
def test_no_row_of_a_replay_follows_the_reply_to_its_cancel(request_id: Any) -> None:
    client = make_client(*[A] * 9)
    client.ask("replay", topics=["tick:*"], id=request_id)
    client.outbox.pump(client.hub.history.delivered_at, 0.0)
    client.ask("cancel", replay=request_id, id="c")
    client.pump()
    assert client.told() == [*replay(A, 1, 2, 3), ("cancelled",)]
    assert client.outbox.due_s() == math.inf


def test_other_replays_go_on_when_one_is_cancelled() -> None:
    client = make_client(*[A, B] * 4)
    client.ask("replay", topics=[f"tick:{A}"], id="a")
    client.ask("replay", topics=[f"tick:{B}"], id="b")
    client.ask("cancel", replay="a")
    client.pump()
    assert client.told() == [("cancelled",), *replay(B, 1, 2, 3, 4), ("replay_done",)]


@pytest.mark.parametrize("other", ["1", 2, None])
def test_only_a_replay_that_runs_can_be_cancelled(other: Any) -> None:
    client = make_client(A)
    client.ask("replay", topics=["tick:*"], id=1)
    reply = client.answer("cancel", replay=other, id=9)
    assert (reply["id"], reply["code"], client.outbox.replays) == (9, "bad_message", [1])
    client.pump()
    client.told()
    assert client.answer("cancel", replay=1)["code"] == "bad_message"


# Pace


def test_at_original_pace_each_row_comes_as_long_after_the_first_as_it_was_received() -> None:
    client = make_client_of_times(1_000_000, 1_500_000, 1_500_000, 4_000_000)
    client.ask("replay", topics=["tick:*"], speed=1)
    assert at_time(client, 100.0) == replay(A, 1)
    assert client.outbox.due_s() == 100.5
    assert at_time(client, 100.25) == []
    assert at_time(client, 100.5) == replay(A, 2, 3)
    assert client.outbox.due_s() == 103.0
    assert at_time(client, 102.75) == []
    assert at_time(client, 103.0) == [*replay(A, 4), ("replay_done",)]
    assert client.outbox.due_s() == math.inf


@pytest.mark.parametrize(("speed", "due_s"), [(2, 4.0), (8, 1.0), (0.5, 16.0)])
def test_a_multiple_of_the_pace_shortens_the_time_between_rows(speed: float, due_s: float) -> None:
    client = make_client_of_times(0, 8_000_000)
    client.ask("replay", topics=["tick:*"], speed=speed)
    assert at_time(client, 0.0) == replay(A, 1)
    assert client.outbox.due_s() == due_s
    assert at_time(client, due_s - 0.125) == []
    assert at_time(client, due_s) == [*replay(A, 2), ("replay_done",)]


def test_rows_that_became_due_while_the_client_read_nothing_come_together() -> None:
    client = make_client_of_times(*range(0, 9_000_000, 1_000_000))
    client.ask("replay", topics=["tick:*"], speed=1)
    at_time(client, 0.0)
    client.outbox.writable = False
    assert at_time(client, 6.0) == []
    client.outbox.writable = True
    assert at_time(client, 6.5) == replay(A, *range(2, 8))
    assert at_time(client, 7.0) == replay(A, 8)


def test_the_pace_begins_with_the_first_row_that_is_meant() -> None:
    client = make_client()
    for time_ms, code in enumerate([B, A, B, A, A]):
        client.hub.publish("tick", [tick(code, time_ms)], time_ms * 1_000_000)
    client.ask("replay", topics=[f"tick:{A}"], **{"from": 2}, speed=1)
    assert at_time(client, 10.0) == replay(A, 2)
    assert at_time(client, 11.0) == [*replay(A, 3), ("replay_done",)]


def test_a_paced_replay_of_many_rows_gives_every_row_once_and_in_order() -> None:
    client = make_client()
    for number in range(20):
        client.hub.publish("tick", [tick(code) for code in (A, B, A)], number * 1_000_000)
    client.ask("replay", topics=[f"tick:{A}"], speed=1)
    turns = [at_time(client, float(now_s)) for now_s in range(20)]
    assert turns[:-1] == [replay(A, 2 * number + 1, 2 * number + 2) for number in range(19)]
    assert turns[-1] == [*replay(A, 39, 40), ("replay_done",)]


def test_live_rows_pass_a_replay_that_waits_for_its_time() -> None:
    client = make_client_of_times(0, 5_000_000)
    client.ask("subscribe", topics=["tick:*"], since="none")
    client.ask("replay", topics=["tick:*"], speed=1)
    at_time(client, 0.0)
    speak(client, A)
    assert at_time(client, 1.0) == live(A, 3)
    assert at_time(client, 5.0) == [*replay(A, 2), ("replay_done",)]


# What history no longer holds


@pytest.mark.parametrize(
    ("bounds", "last_lost", "seqs"),
    [
        ({}, 4, [5, 6]),
        ({"from": {"seq": 1}}, 4, [5, 6]),
        ({"from": {"seq": 1}, "to": {"seq": 6}}, 4, [5]),
        ({"from": {"seq": 1}, "to": {"seq": 3}}, 2, []),
        ({"from": 1}, 4, [5, 6]),
        ({"from": 4}, 4, [5, 6]),
    ],
    ids=str,
)
def test_rows_that_were_let_go_are_a_gap_and_the_replay_is_not_complete(
    bounds: dict[str, Any], last_lost: int, seqs: list[int]
) -> None:
    client = make_client(*[A] * 6, ring_rows=2)
    story, done = rerun(client, f"tick:{A}", **bounds)
    assert story == [("gap", f"tick:{A}", 1, last_lost), *replay(A, *seqs)]
    assert (done["count"], done["complete"]) == (len(seqs), False)
    assert done["topics"] == ({f"tick:{A}": {"first": seqs[0], "last": seqs[-1]}} if seqs else {})


def test_the_gap_of_a_replay_says_where_it_belongs() -> None:
    client = make_client(*[A] * 6, ring_rows=2)
    client.ask("replay", topics=["tick:*"], id="r")
    client.pump()
    gap = client.messages()[0]
    assert {name: gap[name] for name in ("type", "id", "topic", "epoch", "cause", "from", "to")} == {
        "type": "gap",
        "id": "r",
        "topic": f"tick:{A}",
        "epoch": EPOCH,
        "cause": "evicted",
        "from": 1,
        "to": 4,
    }


@pytest.mark.parametrize("bounds", [{"from": {"seq": 5}}, {"from": 5}, {"from": {"seq": 9}}, {"from": 9}], ids=str)
def test_rows_that_were_let_go_but_are_older_than_asked_for_are_no_gap(bounds: dict[str, Any]) -> None:
    client = make_client(*[A] * 6, ring_rows=2)
    story, done = rerun(client, f"tick:{A}", **bounds)
    held = replay(A, 5, 6) if bounds["from"] in ({"seq": 5}, 5) else []
    assert (story, done["complete"]) == (held, True)


@pytest.mark.parametrize("bounds", [{"from": {"seq": 3}, "to": {"seq": 3}}, {"from": 3, "to": 3}], ids=str)
def test_an_empty_range_is_complete_whatever_was_let_go(bounds: dict[str, Any]) -> None:
    client = make_client(*[A] * 6, ring_rows=2)
    story, done = rerun(client, f"tick:{A}", **bounds)
    assert (story, done["count"], done["complete"]) == ([], 0, True)


def test_a_topic_of_which_nothing_is_held_is_a_gap_beside_the_rows_of_others() -> None:
    client = make_client(A, *[B] * 8, ring_bytes=1)
    story, done = rerun(client, "tick:*", **{"from": 0})
    assert story == [("gap", f"tick:{A}", 1, 1), ("gap", f"tick:{B}", 1, 3), *replay(B, *range(4, 9))]
    assert (done["count"], done["complete"], done["topics"]) == (5, False, {f"tick:{B}": {"first": 4, "last": 8}})


def test_rows_that_were_announced_as_let_go_are_not_announced_again_on_the_way() -> None:
    client = make_client(B, *[A] * 6, ring_rows=2)
    assert rerun(client, "tick:*")[0] == [("gap", f"tick:{A}", 1, 4), *replay(B, 1), *replay(A, 5, 6)]


def test_rows_let_go_while_the_replay_runs_are_a_gap_ahead_of_the_next_row() -> None:
    client = make_client(*[A] * 8, ring_rows=8)
    client.ask("replay", topics=["tick:*"], id=1)
    client.outbox.pump(client.hub.history.delivered_at, 0.0)
    speak(client, *[A] * 4)
    client.pump()
    *rows, done = client.messages()
    story = told(rows)
    first_held = client.hub.history.channels["tick"][A].first_seq
    assert 4 < first_held <= 8
    gap = ("gap", f"tick:{A}", 4, first_held - 1)
    assert story == [*replay(A, 1, 2, 3), gap, *replay(A, *range(first_held, 9))]
    assert {message["id"] for message in rows} == {1}
    assert (done["count"], done["complete"]) == (client.hub.counts.rows_out, False) == (3 + 9 - first_held, False)
    assert done["topics"] == {f"tick:{A}": {"first": 1, "last": 8}}


def test_rows_let_go_at_the_end_of_a_replay_are_a_gap_before_it_is_done() -> None:
    client = make_client(*[A] * 8, ring_rows=8)
    client.ask("replay", topics=["tick:*"])
    client.outbox.pump(client.hub.history.delivered_at, 0.0)
    speak(client, *[A] * 16)
    client.pump()
    *rows, done = client.messages()
    assert told(rows) == [*replay(A, 1, 2, 3), ("gap", f"tick:{A}", 4, 8)]
    assert (done["count"], done["complete"], done["topics"]) == (3, False, {f"tick:{A}": {"first": 1, "last": 3}})


def test_rows_let_go_while_the_replay_runs_and_not_asked_for_are_no_gap() -> None:
    client = make_client(*[A, B] * 4, ring_rows=4)
    client.ask("replay", topics=["tick:*"], **{"from": 1, "to": 4})
    client.outbox.pump(client.hub.history.delivered_at, 0.0)
    speak(client, *[A, B] * 8)
    client.pump()
    *rows, done = client.messages()
    assert told(rows) == [*replay(A, 1), *replay(B, 1), *replay(A, 2)]
    assert done["complete"] is True


def test_a_gap_in_a_paced_replay_comes_when_the_row_after_it_is_due() -> None:
    client = make_client(ring_rows=8)
    for number in range(8):
        client.hub.publish("tick", [tick(A)], number * 1_000_000)
    client.ask("replay", topics=["tick:*"], speed=1)
    assert at_time(client, 0.0) == replay(A, 1)
    speak(client, *[A] * 4)
    first_held = client.hub.history.channels["tick"][A].first_seq
    assert 2 < first_held <= 8
    assert at_time(client, first_held - 1.5) == []
    assert at_time(client, first_held - 1.0) == [("gap", f"tick:{A}", 2, first_held - 1), *replay(A, first_held)]
