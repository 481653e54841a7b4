"""``mode: latest``: the newest row of each topic, at most so often, and what is left out is counted."""

import itertools
import math
from typing import Any

import pytest

import hub.history
import hub.outbox
from tests.hub.support.core import EPOCH, MSGPACK, Client, make_hub, publish, row_of

A, B, C = "600000.SH", "600001.SH", "000001.SZ"
Story = list[tuple[Any, ...]]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 4)
    monkeypatch.setattr(hub.outbox, "ROWS_PER_STEP", 3)


def make_client(*codes: str, **hub: Any) -> Client:
    """A client of a hub in which each code in turn has spoken once."""
    client = Client(make_hub(**hub))
    speak(client, *codes)
    return client


def speak(client: Client, *codes: str) -> None:
    """Publish a row for each code in a turn of the hub of its own."""
    for code in codes:
        publish(client.hub, code)
        client.hub.flush()


def observe(client: Client, *topics: str, since: Any = "none", **fields: Any) -> None:
    """Subscribe, and be done with the reply."""
    client.ask("subscribe", topics=topics, since=since, **fields)
    (reply,) = client.messages()
    assert reply["type"] == "subscribed"


def latest(client: Client, *topics: str, **fields: Any) -> None:
    observe(client, *topics, mode="latest", **fields)


def at_time(client: Client, now_s: float) -> Story:
    """What comes when the client is served at a time of the hub's clock."""
    for _ in range(100):
        if not client.outbox.pump(client.hub.history.delivered_at, now_s):
            return client.told()
    raise AssertionError("the outbox doesn't get on")


def heartbeat(client: Client) -> tuple[int, int]:
    """Position and count of left-out rows, as the client is told."""
    client.session.heartbeat(0, {})
    message = client.messages()[-1]
    return message["at"], message["conflated"]


def live(code: str, *seqs: int) -> Story:
    return [("live", code, seq) for seq in seqs]


# The newest of each topic


def test_rows_are_sent_when_the_client_is_served_and_not_as_they_come() -> None:
    client = make_client()
    latest(client, "tick:*")
    speak(client, A)
    assert client.told() == []
    assert client.outbox.due_s() == 0.0
    assert at_time(client, 0.0) == live(A, 1)
    assert client.outbox.due_s() == math.inf
    assert at_time(client, 1.0) == []


def test_only_the_newest_row_of_each_topic_is_sent() -> None:
    client = make_client()
    latest(client, "tick:*")
    speak(client, A, B, A, B, A)
    assert at_time(client, 0.0) == [*live(B, 2), *live(A, 3)]


def test_rows_come_in_order_of_the_arrival_of_the_newest() -> None:
    for codes in itertools.permutations([A, B, C]):
        client = make_client(A, B, C)
        latest(client, "tick:*")
        speak(client, C, B, A, *codes)
        assert at_time(client, 0.0) == [("live", code, 3) for code in codes]


def test_a_row_replaces_none_of_the_same_instrument_on_another_channel() -> None:
    client = make_client()
    latest(client, "tick:*", "1m:*")
    for channel in "tick", "1m", "tick":
        client.hub.publish(channel, [row_of(channel, A)], 1)
    publish(client.hub, B)
    client.hub.flush()
    client.pump()
    data = client.messages()
    sent = [(message["channel"], message["origin"], [row["seq"] for row in message["rows"]]) for message in data]
    assert sent == [("1m", "live", [1]), ("tick", "live", [2, 1])]


def test_clients_are_conflated_each_by_itself_in_either_encoding() -> None:
    client = make_client()
    other = Client(client.hub, codec=MSGPACK)
    every = Client(client.hub)
    for one in client, other:
        latest(one, "tick:*")
    observe(every, "tick:*")
    speak(client, A)
    assert at_time(client, 0.0) == live(A, 1)
    speak(client, A)
    assert (at_time(client, 0.0), at_time(other, 0.0), every.told()) == (live(A, 2), live(A, 2), live(A, 1, 2))
    assert (client.outbox.conflated, other.outbox.conflated, every.outbox.conflated) == (0, 1, 0)


# Interval


def test_rows_of_a_topic_are_at_least_the_interval_apart() -> None:
    client = make_client()
    latest(client, "tick:*", interval_ms=500)
    story = {}
    for quarter in range(10):
        speak(client, A)
        story[quarter / 4] = at_time(client, quarter / 4)
    assert {now_s: seqs for now_s, seqs in story.items() if seqs} == {
        0.0: live(A, 1),
        0.5: live(A, 3),
        1.0: live(A, 5),
        1.5: live(A, 7),
        2.0: live(A, 9),
    }


def test_a_row_that_waits_for_the_interval_is_due_at_its_end() -> None:
    client = make_client()
    latest(client, "tick:*", interval_ms=500)
    speak(client, A)
    at_time(client, 7.0)
    assert client.outbox.due_s() == math.inf
    speak(client, A)
    assert client.outbox.due_s() == 7.5
    assert at_time(client, 7.25) == []
    assert at_time(client, 7.5) == live(A, 2)


def test_the_interval_is_of_each_topic_and_holds_up_no_other() -> None:
    client = make_client()
    latest(client, "tick:*", interval_ms=500)
    speak(client, A)
    at_time(client, 0.0)
    speak(client, A, B)
    assert at_time(client, 0.25) == live(B, 1)
    speak(client, B)
    assert client.outbox.due_s() == 0.5
    assert at_time(client, 0.5) == live(A, 2)
    assert client.outbox.due_s() == 0.75
    assert at_time(client, 0.75) == live(B, 2)


@pytest.mark.parametrize("fields", [{}, {"interval_ms": 0}, {"interval_ms": None}], ids=str)
def test_without_an_interval_there_is_no_pause_between_rows(fields: dict[str, Any]) -> None:
    client = make_client()
    latest(client, "tick:*", **fields)
    for seq in 1, 2:
        speak(client, A)
        assert at_time(client, 3.0) == live(A, seq)


@pytest.mark.parametrize("spoken", [[A], []], ids=["spoken", "first speaks later"])
@pytest.mark.parametrize("order", [1, -1])
def test_where_two_strings_cover_a_topic_the_shorter_interval_holds(spoken: list[str], order: int) -> None:
    client = make_client(*spoken)
    for topic, interval_ms in [("tick:*", 2000), (f"tick:{A}", 500)][::order]:
        latest(client, topic, interval_ms=interval_ms)
    speak(client, A, B)
    at_time(client, 0.0)
    speak(client, A, B)
    assert at_time(client, 0.5) == live(A, len(spoken) + 2)
    assert at_time(client, 2.0) == live(B, 2)


def test_the_longer_interval_holds_again_when_the_shorter_is_unsubscribed() -> None:
    client = make_client(A)
    latest(client, "tick:*", interval_ms=2000)
    latest(client, f"tick:{A}", interval_ms=500)
    client.ask("unsubscribe", topics=[f"tick:{A}"])
    client.told()
    speak(client, A)
    at_time(client, 0.0)
    speak(client, A)
    assert client.outbox.due_s() == 2.0


@pytest.mark.parametrize("shorter_ms", [0, 500])
@pytest.mark.parametrize("topic", ["tick:*", f"tick:{A}"], ids=["same string", "further string"])
def test_an_interval_that_becomes_shorter_holds_from_then_on(shorter_ms: int, topic: str) -> None:
    client = make_client(A)
    latest(client, "tick:*", interval_ms=60_000)
    speak(client, A)
    at_time(client, 0.0)
    latest(client, topic, interval_ms=shorter_ms)
    speak(client, A)
    assert client.outbox.due_s() <= 0.5
    assert at_time(client, 0.5) == live(A, 3)


# Back-pressure and lagging clients


def test_while_the_socket_takes_nothing_rows_wait_unencoded_and_the_newest_is_sent_after_it() -> None:
    client = make_client()
    latest(client, "tick:*")
    client.outbox.writable = False
    speak(client, *[A, B] * 50)
    assert at_time(client, 0.0) == []
    assert client.outbox.queued_bytes == 0
    client.outbox.writable = True
    assert at_time(client, 0.0) == [*live(A, 50), *live(B, 50)]
    assert client.outbox.conflated == 98


def test_nothing_is_due_for_a_client_that_is_gone() -> None:
    client = make_client()
    latest(client, "tick:*")
    speak(client, A)
    client.session.leave()
    speak(client, A)
    assert (at_time(client, 0.0), client.outbox.due_s()) == ([], math.inf)


def test_a_lagging_client_gets_its_whole_history_and_then_the_newest_row() -> None:
    client = make_client(*[A, B] * 4)
    latest(client, "tick:*", since={"time": 0})
    speak(client, A, B, B, A)
    story = at_time(client, 0.0)
    rows = [("replay", code, seq) for seq in range(1, 5) for code in (A, B)]
    assert story == [*rows, *live(B, 6), *live(A, 6)]
    assert client.outbox.conflated == 2


def test_a_snapshot_comes_before_the_rows_that_are_newer() -> None:
    client = make_client(A, B)
    latest(client, "tick:*", since=None)
    speak(client, A, A)
    assert at_time(client, 0.0) == [("snapshot", A, 1), ("snapshot", B, 1), *live(A, 3)]


def test_a_gap_is_told_whole_also_of_a_conflated_topic() -> None:
    client = make_client(*[A] * 6, ring_rows=2)
    client.ask("subscribe", topics=["tick:*"], since={"epoch": EPOCH, "at": 1, "seq": {}}, mode="latest")
    speak(client, A)
    client.pump()
    story = [("gap", f"tick:{A}", 1, 4), ("replay", A, 5), ("replay", A, 6)]
    assert client.told() == [("subscribed",), *story, *live(A, 7)]


# Every and latest


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("spoken", [[A, B], []], ids=["spoken", "first speaks later"])
def test_every_wins_where_two_strings_cover_a_topic(order: int, spoken: list[str]) -> None:
    client = make_client(*spoken)
    first = len(spoken) // 2 + 1
    for topic, mode in [("tick:*", "latest"), (f"tick:{A}", "every")][::order]:
        observe(client, topic, mode=mode)
    speak(client, A, B, A, B)
    assert client.told() == live(A, first, first + 1)
    assert at_time(client, 0.0) == live(B, first + 1)
    assert client.outbox.conflated == 1


def test_a_topic_is_conflated_again_when_the_string_with_every_is_unsubscribed() -> None:
    client = make_client(A)
    latest(client, "tick:*")
    observe(client, f"tick:{A}")
    client.ask("unsubscribe", topics=[f"tick:{A}"])
    client.told()
    speak(client, A, A)
    assert at_time(client, 0.0) == live(A, 3)


def test_a_topic_goes_on_with_every_when_the_string_with_latest_is_unsubscribed() -> None:
    client = make_client(A)
    latest(client, "tick:*")
    observe(client, f"tick:{A}")
    client.ask("unsubscribe", topics=["tick:*"])
    client.told()
    speak(client, A, B, A)
    assert (client.told(), at_time(client, 0.0)) == (live(A, 2, 3), [])


def test_from_latest_to_every_the_row_that_waits_is_sent_and_then_each() -> None:
    client = make_client()
    latest(client, "tick:*")
    speak(client, A, A)
    observe(client, "tick:*")
    speak(client, A, A)
    assert at_time(client, 0.0) == live(A, 2, 3, 4)
    speak(client, A)
    assert client.told() == live(A, 5)
    assert client.outbox.conflated == 1


def test_the_new_mode_begins_with_what_was_not_sent_and_gives_no_snapshot() -> None:
    client = make_client(A)
    latest(client, "tick:*")
    for mode in "every", "latest":
        observe(client, "tick:*", since=None, mode=mode)
        assert not client.outbox.lagging
        assert at_time(client, 0.0) == []


def test_from_every_to_latest_rows_that_were_sent_do_not_come_again() -> None:
    client = make_client()
    observe(client, "tick:*")
    speak(client, A)
    assert client.told() == live(A, 1)
    latest(client, "tick:*")
    speak(client, A, A)
    assert at_time(client, 0.0) == live(A, 3)


@pytest.mark.parametrize("pumps", range(5))
def test_from_every_to_latest_a_lagging_client_gets_its_history_and_the_newest_of_the_rest(pumps: int) -> None:
    client = make_client(*[A] * 5)
    observe(client, "tick:*", since={"time": 0})
    speak(client, A, A, A)
    for _ in range(pumps):
        client.outbox.pump(client.hub.history.delivered_at, 0.0)
    client.ask("subscribe", topics=["tick:*"], mode="latest")
    speak(client, A, A)
    story = [event for event in at_time(client, 0.0) if event != ("subscribed",)]
    history, rest = story[:5], story[5:]
    assert history == [("replay", A, seq) for seq in range(1, 6)]
    seqs = [seq for _, _, seq in rest]
    assert rest == live(A, *seqs)
    assert seqs == [*range(6, 6 + len(seqs) - 1), 10]


def test_from_every_to_latest_the_rows_that_a_lagging_client_did_not_read_come_in_order_of_arrival() -> None:
    client = make_client(A, B)
    observe(client, "tick:*", since={"time": 0})
    speak(client, B, A, A, B, A)
    latest(client, "tick:*")
    assert at_time(client, 0.0) == [("replay", A, 1), ("replay", B, 1), *live(B, 3), *live(A, 4)]


def test_rows_that_were_not_read_come_in_order_of_arrival_with_those_that_wait() -> None:
    client = make_client(C)
    latest(client, f"tick:{A}")
    observe(client, f"tick:{B}", f"tick:{C}", since={"time": 0})
    speak(client, B, A, B)
    latest(client, f"tick:{B}")
    assert at_time(client, 0.0) == [("replay", C, 1), *live(A, 1), *live(B, 2)]


def test_from_latest_to_every_and_back_while_lagging_no_row_comes_twice_or_too_late() -> None:
    client = make_client(*[A] * 4)
    latest(client, "tick:*", since={"time": 0})
    speak(client, A)
    observe(client, "tick:*")
    speak(client, A, A)
    latest(client, "tick:*")
    speak(client, A)
    assert at_time(client, 0.0) == [*[("replay", A, seq) for seq in range(1, 5)], *live(A, 5, 8)]


@pytest.mark.parametrize("topics", [["tick:*"], [f"tick:{A}"]], ids=str)
def test_a_row_that_waits_is_not_sent_after_its_topic_is_unsubscribed(topics: list[str]) -> None:
    client = make_client()
    latest(client, *topics)
    speak(client, A, A)
    client.ask("unsubscribe", topics=topics)
    speak(client, A)
    assert at_time(client, 0.0) == [("unsubscribed",)]
    assert client.outbox.due_s() == math.inf


# States: rows that were not observed as they came about


def tell_state(client: Client, *codes: str) -> None:
    """Publish a state of each code in a turn of the hub of its own."""
    for code in codes:
        publish(client.hub, code, is_state=True)
        client.hub.flush()


def test_from_latest_to_every_states_that_wait_are_no_live_rows() -> None:
    client = make_client(A)
    latest(client, "tick:*")
    speak(client, A)
    tell_state(client, B)
    speak(client, C)
    observe(client, "tick:*")
    assert at_time(client, 0.0) == [*live(A, 2), ("snapshot", B, 1), *live(C, 1)]


def test_from_every_to_latest_states_that_a_lagging_client_did_not_read_are_no_live_rows() -> None:
    client = make_client(A)
    observe(client, "tick:*", since={"time": 0})
    speak(client, A)
    tell_state(client, A, B, C)
    speak(client, C)
    latest(client, "tick:*")
    assert at_time(client, 0.0) == [("replay", A, 1), ("snapshot", A, 3), ("snapshot", B, 1), *live(C, 2)]


# What is left out is counted


def test_rows_that_were_replaced_are_counted_for_the_client_and_for_the_hub() -> None:
    client = make_client()
    other = Client(client.hub)
    latest(client, "tick:*")
    latest(other, f"tick:{A}")
    speak(client, A, A, B, A)
    assert (heartbeat(client)[1], heartbeat(other)[1], client.hub.counts.rows_conflated) == (2, 2, 4)
    assert client.hub.counts.rows_out == 0
    at_time(client, 0.0)
    speak(client, A, A)
    assert (heartbeat(client)[1], heartbeat(other)[1], client.hub.counts.rows_conflated) == (3, 4, 7)
    at_time(client, 0.0)
    at_time(other, 0.0)
    assert client.hub.counts.rows_out == 4


def test_sent_and_left_out_rows_together_are_all_rows() -> None:
    client = make_client()
    latest(client, "tick:*", interval_ms=300)
    story = []
    for turn in range(40):
        speak(client, *([A, B, A, C][: turn % 5]))
        client.outbox.writable = turn % 7 != 0
        story += at_time(client, turn / 8)
    client.outbox.writable = True
    story += at_time(client, 99.0)
    assert len(story) + heartbeat(client)[1] == client.hub.history.at
    newest = {code: seq for _, code, seq in story}
    assert newest == {code: topic.seq for code, topic in client.hub.history.channels["tick"].items()}


def test_rows_that_a_lagging_client_did_not_read_before_it_was_conflated_are_counted() -> None:
    client = make_client(A)
    observe(client, "tick:*", since=None)
    speak(client, A, A, A)
    latest(client, "tick:*")
    assert at_time(client, 0.0) == [("snapshot", A, 1), *live(A, 4)]
    assert (heartbeat(client)[1], client.hub.counts.rows_conflated) == (2, 2)


def test_the_count_does_not_go_back_for_a_row_that_history_let_go_before_it_was_read() -> None:
    client = make_client(A, ring_bytes=1)
    observe(client, f"tick:{A}", since=None)
    speak(client, A, *[B] * 8)
    assert client.hub.history.channels["tick"][A].first_seq == 3
    latest(client, f"tick:{A}")
    assert at_time(client, 0.0) == [("snapshot", A, 1), *live(A, 2)]
    assert (heartbeat(client)[1], client.hub.counts.rows_conflated) == (0, 0)


# Position


def test_the_position_stays_before_the_oldest_row_that_waits() -> None:
    client = make_client(A, B)
    latest(client, "tick:*")
    assert heartbeat(client)[0] == 2
    speak(client, A, B)
    assert heartbeat(client)[0] == 2
    speak(client, A)  # now the row of B is the oldest that waits
    assert heartbeat(client)[0] == 3
    at_time(client, 0.0)
    assert heartbeat(client)[0] == 5


def test_the_position_stays_before_the_rows_of_a_turn_that_brought_several() -> None:
    client = make_client(A)
    latest(client, "tick:*")
    publish(client.hub, A, B, A)
    client.hub.flush()
    assert heartbeat(client)[0] == 1
    assert at_time(client, 0.0) == [*live(B, 1), *live(A, 3)]


def test_the_position_stays_before_rows_that_were_conflated_while_the_client_lagged() -> None:
    client = make_client(A)
    latest(client, f"tick:{A}")
    observe(client, f"tick:{B}", f"tick:{C}")
    client.ask("snapshot", topics=["tick:*"])  # makes the client lag
    speak(client, B, A)  # the row of A waits, that of B is in the log
    latest(client, f"tick:{B}")
    while client.outbox.lagging:
        client.outbox.pump(client.hub.history.delivered_at, 0.0)
    client.told()
    assert heartbeat(client)[0] <= 1
    assert sorted(at_time(client, 0.0)) == [*live(A, 2), *live(B, 1)]
    assert heartbeat(client)[0] == 3


@pytest.mark.parametrize("pumps", range(4))
def test_a_client_that_goes_on_from_its_position_misses_the_newest_row_of_no_topic(pumps: int) -> None:
    client = make_client(A, B)
    latest(client, "tick:*", interval_ms=500)
    newest: dict[str, int] = {A: 1, B: 1}
    speak(client, A, B, A, C)
    for number in range(pumps):
        newest |= {code: seq for _, code, seq in at_time(client, number / 4)}
        speak(client, C, A)
    at = heartbeat(client)[0]
    client.session.leave()
    back = Client(client.hub)
    back.ask("subscribe", topics=["tick:*"], since={"epoch": EPOCH, "at": at})
    back.pump()
    newest |= {event[1]: event[2] for event in back.told() if event[0] == "replay"}
    assert newest == {code: topic.seq for code, topic in client.hub.history.channels["tick"].items()}
