"""Where a subscription goes on after a position, and what the client is told is lost."""

from typing import Any

import pytest

import hub.history
import hub.outbox
from tests.hub.support.core import EPOCH, Client, make_hub, publish, told

A, B, C = "600000.SH", "600001.SH", "000001.SZ"
Story = list[tuple[Any, ...]]


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 4)
    monkeypatch.setattr(hub.outbox, "ROWS_PER_STEP", 3)


def make_client(*codes: str, **ring: Any) -> Client:
    """A client of a hub in which each code in turn has spoken once; the time of a row is its arrival number."""
    client = Client(make_hub(**ring))
    speak(client, *codes)
    return client


def speak(client: Client, *codes: str) -> None:
    """Publish a row for each code in a turn of the hub of its own."""
    for code in codes:
        publish(client.hub, code, time_ms=client.hub.history.at + 1)
        client.hub.flush()


def resume(client: Client, *topics: str, **position: Any) -> tuple[dict[str, Any], Story]:
    """Subscribe after a position, and return the reply and what follows until the client is live."""
    client.ask("subscribe", topics=topics, since={"epoch": EPOCH} | position)
    reply, *gaps = client.messages()
    client.pump()
    assert not client.outbox.lagging
    return reply, told(gaps) + client.told()


def is_recovered(reply: dict[str, Any]) -> bool:
    assert reply["recovered"] is (reply["unrecovered"] == [])
    return bool(reply["recovered"])


def live(code: str, *seqs: int) -> Story:
    return [("live", code, seq) for seq in seqs]


def replay(code: str, *seqs: int) -> Story:
    return [("replay", code, seq) for seq in seqs]


# Going on after a position


def test_a_named_topic_goes_on_after_its_number_and_then_live() -> None:
    client = make_client(A, A, A)
    reply, story = resume(client, f"tick:{A}", at=3, seq={f"tick:{A}": 1})
    assert (is_recovered(reply), reply["replayed"]) == (True, 2)
    speak(client, A)
    assert story + client.told() == [*replay(A, 2, 3), *live(A, 4)]


def test_a_topic_that_is_not_named_goes_on_after_the_arrival_number() -> None:
    client = make_client(A, A, B, A)
    reply, story = resume(client, "tick:*", at=2, seq={})
    assert (is_recovered(reply), reply["replayed"], story) == (True, 2, [*replay(B, 1), *replay(A, 3)])


def test_a_position_without_numbers_goes_on_after_the_arrival_number() -> None:
    client = make_client(A, A)
    assert resume(client, "tick:*", at=1)[1] == replay(A, 2)


def test_an_instrument_that_first_spoke_while_the_client_was_away_comes_from_its_first_row() -> None:
    client = make_client(A, B, B, A)
    reply, story = resume(client, "tick:*", at=1, seq={f"tick:{A}": 1})
    assert (is_recovered(reply), story) == (True, [*replay(B, 1, 2), *replay(A, 2)])


def test_the_number_of_a_named_topic_counts_and_not_the_arrival_number() -> None:
    client = make_client(A, A, B, B)
    _, story = resume(client, "tick:*", at=2, seq={f"tick:{A}": 1, f"tick:{B}": 2})
    assert story == replay(A, 2)


def test_the_number_zero_means_from_the_first_row() -> None:
    client = make_client(A, A)
    reply, story = resume(client, f"tick:{A}", at=2, seq={f"tick:{A}": 0})
    assert (is_recovered(reply), story) == (True, replay(A, 1, 2))


def test_history_of_several_topics_comes_in_order_of_arrival() -> None:
    codes = [A, B, C, C, A, B, B, A, C]
    client = make_client(*codes)
    _, story = resume(client, f"tick:{C}", f"tick:{B}", f"tick:{A}", at=0, seq={f"tick:{B}": 1, f"tick:{C}": 0})
    assert story == [
        *replay(A, 1),
        *replay(C, 1, 2),
        *replay(A, 2),
        *replay(B, 2, 3),
        *replay(A, 3),
        *replay(C, 3),
    ]


@pytest.mark.parametrize("at", [3, 2], ids=["newest", "newest of its topics"])
def test_a_client_that_missed_nothing_gets_nothing(at: int) -> None:
    client = make_client(A, A, C)
    reply, story = resume(client, "tick:*.SH", at=at, seq={f"tick:{A}": 2} if at == 3 else {})
    assert (is_recovered(reply), reply["replayed"], story) == (True, 0, [])


def test_numbers_of_topics_that_are_not_asked_for_are_of_no_account() -> None:
    client = make_client(A, B)
    seqs = {f"tick:{B}": 9, f"tick:{C}": 9, f"1m:{A}": 9, "nonsense": 9, "x:y": 9}
    reply, story = resume(client, f"tick:{A}", at=0, seq=seqs)
    assert (is_recovered(reply), story) == (True, replay(A, 1))


def test_without_an_arrival_number_topics_that_are_not_named_get_a_snapshot() -> None:
    client = make_client(A, B, B, A)
    reply, story = resume(client, "tick:*", seq={f"tick:{A}": 1})
    assert (is_recovered(reply), reply["replayed"]) == (True, 1)
    assert story == [("snapshot", B, 2), *replay(A, 2)]


def test_a_pattern_with_nothing_yet_is_recovered_in_the_same_epoch() -> None:
    client = make_client(A)
    positions: list[dict[str, Any]] = [{"at": 1, "seq": {f"tick:{B}": 0}}, {"at": 1}, {}]
    for position in positions:
        back = Client(client.hub)
        reply, story = resume(back, "tick:*.SZ", f"tick:{B}", **position)
        assert (is_recovered(reply), reply["matched"], story) == (True, 0, [])
    speak(client, C, B)
    assert back.told() == [*live(C, 1), *live(B, 1)]


@pytest.mark.parametrize("at", range(10))
def test_wherever_the_connection_was_lost_the_rest_comes_once_and_in_order(at: int) -> None:
    codes = [A, B, A, C, A, B, C, C, A]
    client = make_client(*codes)
    stream = [(code, codes[: number + 1].count(code)) for number, code in enumerate(codes)]
    seqs = {f"tick:{code}": seq for code, seq in stream[:at]}
    for known in seqs, {}, dict(list(seqs.items())[:1]):
        back = Client(client.hub)
        reply, story = resume(back, "tick:*", at=at, seq=known)
        assert (is_recovered(reply), reply["replayed"], reply["at"]) == (True, 9 - at, 9)
        assert story == [("replay", *row) for row in stream[at:]]


@pytest.mark.parametrize("pumps", range(5))
def test_rows_that_arrive_while_history_is_read_follow_it_once(pumps: int) -> None:
    client = make_client(*[A, B] * 4)
    client.ask("subscribe", topics=["tick:*"], since={"epoch": EPOCH, "at": 2, "seq": {f"tick:{B}": 2}})
    for _ in range(pumps):
        client.outbox.pump(client.hub.history.delivered_at, 0.0)
    speak(client, C, A)
    client.pump()
    speak(client, B)
    story = client.told()
    assert story[0] == ("subscribed",)
    rows = [*replay(A, 2), *replay(A, 3), *replay(B, 3), *replay(A, 4), *replay(B, 4)]
    assert story[1:] == [*rows, *live(C, 1), *live(A, 5), *live(B, 5)]


def test_the_position_stays_behind_the_history_that_is_still_to_come() -> None:
    client = make_client(A, A, A, B, A)
    client.ask("subscribe", topics=["tick:*"], since={"epoch": EPOCH, "at": 1, "seq": {}})
    client.session.heartbeat(0, {})
    client.pump()
    client.session.heartbeat(0, {})
    assert [message["at"] for message in client.messages() if message["type"] == "heartbeat"] == [1, 5]


def test_the_history_of_a_resume_carries_the_id_of_its_request_and_live_rows_do_not() -> None:
    client = make_client(A)
    client.ask("subscribe", topics=["tick:*"], since={"epoch": EPOCH, "at": 0, "seq": {}}, id="r")
    client.pump()
    speak(client, A)
    assert [message.get("id") for message in client.messages()] == ["r", "r", None]


# Positions that can't be held against this history


@pytest.mark.parametrize("epoch", ["", "f" * 16, EPOCH[:-1], EPOCH.upper()])
def test_a_position_of_an_epoch_that_is_not_known_is_an_epoch_gap_and_a_snapshot(epoch: str) -> None:
    client = make_client(A, A, B)
    client.ask("subscribe", topics=["tick:*"], since={"epoch": epoch, "at": 1, "seq": {f"tick:{A}": 1}}, id=7)
    reply, *gaps = client.messages()
    assert (reply["recovered"], reply["unrecovered"], reply["replayed"]) == (False, [f"tick:{A}", f"tick:{B}"], 0)
    unknown = {"to": None, "from_time": None, "to_time": None, "by": None}
    of_all = {"type": "gap", "id": 7, "epoch": epoch, "cause": "epoch", **unknown}
    assert gaps == [of_all | {"topic": f"tick:{A}", "from": 2}, of_all | {"topic": f"tick:{B}", "from": None}]
    client.pump()
    speak(client, A)
    assert client.told() == [("snapshot", A, 2), ("snapshot", B, 1), *live(A, 3)]


def test_without_an_arrival_number_an_unknown_epoch_is_unrecovered_all_the_same() -> None:
    client = make_client(A)
    reply, story = resume(client, "tick:*", epoch="")
    assert reply["unrecovered"] == [f"tick:{A}"]
    assert story == [("gap", f"tick:{A}", None, None), ("snapshot", A, 1)]


def test_a_number_above_the_newest_is_unrecovered_and_the_other_topics_go_on() -> None:
    client = make_client(A, B, B)
    reply, story = resume(client, "tick:*", at=2, seq={f"tick:{A}": 2})
    assert reply["unrecovered"] == [f"tick:{A}"]
    assert story == [("gap", f"tick:{A}", 3, None), ("snapshot", A, 1), *replay(B, 2)]


def test_a_gap_for_a_number_above_the_newest_has_the_epoch_of_the_position() -> None:
    client = make_client(A)
    client.ask("subscribe", topics=[f"tick:{A}"], since={"epoch": EPOCH, "at": 1, "seq": {f"tick:{A}": 2}})
    gap = client.messages()[1]
    assert (gap["cause"], gap["epoch"]) == ("epoch", EPOCH)


@pytest.mark.parametrize("epoch", [EPOCH, "another"])
@pytest.mark.parametrize("topic", [f"tick:{B}", "tick:*", "tick:@two"])
def test_a_number_of_a_topic_that_never_spoke_is_unrecovered_and_the_topic_comes_live(epoch: str, topic: str) -> None:
    client = make_client()
    reply, story = resume(client, topic, epoch=epoch, at=0, seq={f"tick:{B}": 5})
    speak(client, B)
    assert reply["unrecovered"][0] == f"tick:{B}"
    assert story[0] == ("gap", f"tick:{B}", 6, None)
    assert client.told() == live(B, 1)


def test_beyond_the_newest_arrival_number_only_named_topics_are_recovered() -> None:
    client = make_client(A, A, B)
    reply, story = resume(client, "tick:*", "tick:*.SZ", at=4, seq={f"tick:{A}": 1})
    assert reply["unrecovered"] == ["tick:*.SZ", f"tick:{B}"]
    assert story == [
        ("gap", "tick:*.SZ", None, None),
        ("gap", f"tick:{B}", None, None),
        ("snapshot", B, 1),
        *replay(A, 2),
    ]


@pytest.mark.parametrize("topic", ["tick:*", f"tick:{C}", "tick:@two"])
def test_of_an_unknown_epoch_a_string_with_nothing_yet_is_unrecovered_itself(topic: str) -> None:
    client = make_client()
    reply, story = resume(client, topic, epoch="another", at=3, seq={})
    assert (reply["unrecovered"], story) == ([topic], [("gap", topic, None, None)])


def test_of_an_unknown_epoch_a_topic_that_never_spoke_is_unrecovered_though_the_client_had_no_row() -> None:
    client = make_client()
    reply, story = resume(client, f"tick:{A}", epoch="another", at=3, seq={f"tick:{A}": 0})
    assert (is_recovered(reply), story) == (False, [("gap", f"tick:{A}", 1, None)])


@pytest.mark.parametrize("spoken", [[A], []], ids=["spoken", "nothing yet"])
@pytest.mark.parametrize("topic", [f"tick:{A}", "tick:*"])
def test_a_position_says_nothing_of_topics_that_the_client_observes_already(spoken: list[str], topic: str) -> None:
    client = make_client(*spoken)
    client.ask("subscribe", topics=[topic], since="none")
    client.told()
    reply, story = resume(client, topic, epoch="another", at=1, seq={f"tick:{A}": 1})
    assert (is_recovered(reply), story) == (True, [])


@pytest.mark.parametrize("seqs", [{}, {f"tick:{A}": 1}], ids=str)
def test_a_position_says_nothing_of_a_topic_that_a_pattern_of_the_client_covers_already(seqs: dict[str, int]) -> None:
    client = make_client()
    client.ask("subscribe", topics=["tick:*"], since="none")
    client.told()
    reply, story = resume(client, f"tick:{A}", epoch="another", at=1, seq=seqs)
    assert (is_recovered(reply), story) == (True, [])


# What history no longer holds


def test_rows_after_the_number_that_were_let_go_are_announced_and_then_come_those_that_are_held() -> None:
    client = make_client(*[A] * 6, ring_rows=2)
    client.ask("subscribe", topics=["tick:*"], since={"epoch": EPOCH, "at": 1, "seq": {f"tick:{A}": 1}}, id=3)
    reply, gap = client.messages()
    assert (reply["recovered"], reply["unrecovered"], reply["replayed"]) == (False, [f"tick:{A}"], 2)
    assert gap == {
        "type": "gap",
        "id": 3,
        "topic": f"tick:{A}",
        "epoch": EPOCH,
        "cause": "evicted",
        "from": 2,
        "to": 4,
        "from_time": None,
        "to_time": 4,
        "by": None,
    }
    client.pump()
    assert client.told() == replay(A, 5, 6)


@pytest.mark.parametrize("last", [4, 5, 6])
def test_rows_that_were_let_go_and_that_the_client_has_are_no_gap(last: int) -> None:
    client = make_client(*[A] * 6, ring_rows=2)
    for position in {"at": 6, "seq": {f"tick:{A}": last}}, {"at": last, "seq": {}}:
        back = Client(client.hub)
        reply, story = resume(back, "tick:*", **position)
        assert (is_recovered(reply), story) == (True, replay(A, *range(last + 1, 7)))


def test_rows_of_a_topic_that_is_not_named_are_announced_where_some_after_the_arrival_number_were_let_go() -> None:
    client = make_client(A, *[B] * 6, ring_rows=2)
    reply, story = resume(client, "tick:*", at=1, seq={f"tick:{A}": 1})
    assert reply["unrecovered"] == [f"tick:{B}"]
    assert story == [("gap", f"tick:{B}", 1, 4), *replay(B, 5, 6)]


def test_rows_that_were_announced_as_let_go_are_not_announced_again_on_the_way() -> None:
    client = make_client(B, *[A] * 6, ring_rows=2)
    _, story = resume(client, "tick:*", at=0, seq={})
    assert story == [("gap", f"tick:{A}", 1, 4), *replay(B, 1), *replay(A, 5, 6)]


@pytest.mark.parametrize(("time_ms", "gaps"), [(4, [("gap", f"tick:{A}", 1, 4)]), (5, [])])
def test_since_a_time_that_a_row_let_go_may_have_had_there_is_a_gap(time_ms: int, gaps: Story) -> None:
    client = make_client(*[A] * 6, ring_rows=2)
    client.ask("subscribe", topics=["tick:*"], since={"time": time_ms})
    client.pump()
    assert client.told() == [("subscribed",), *gaps, *replay(A, 5, 6)]


@pytest.mark.parametrize("position", [{"at": 0, "seq": {}}, {"at": 9, "seq": {f"tick:{A}": 0}}], ids=str)
def test_a_topic_of_which_nothing_is_held_is_announced_whole_and_goes_on_live(position: dict[str, Any]) -> None:
    client = make_client(A, *[B] * 8, ring_bytes=1)
    reply, story = resume(client, f"tick:{A}", **position)
    speak(client, A)
    assert (reply["unrecovered"], reply["replayed"]) == ([f"tick:{A}"], 0)
    assert story + client.told() == [("gap", f"tick:{A}", 1, 1), *live(A, 2)]


def test_the_snapshot_after_an_epoch_gap_is_there_though_history_let_the_row_go() -> None:
    client = make_client(A, *[B] * 8, ring_bytes=1)
    _, story = resume(client, f"tick:{A}", epoch="another", at=0, seq={})
    assert story == [("gap", f"tick:{A}", None, None), ("snapshot", A, 1)]


def test_rows_let_go_while_history_is_read_are_announced_where_the_first_gap_ends() -> None:
    client = make_client(*[A] * 6, ring_rows=2)
    client.ask("subscribe", topics=["tick:*"], since={"epoch": EPOCH, "at": 1, "seq": {f"tick:{A}": 1}})
    speak(client, A, A)
    client.pump()
    assert client.told() == [
        ("subscribed",),
        ("gap", f"tick:{A}", 2, 4),
        ("gap", f"tick:{A}", 5, 6),
        *live(A, 7, 8),
    ]
