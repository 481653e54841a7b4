"""Subscribing and leaving: snapshot, history and live rows join exactly, whatever else the client asks meanwhile."""

from typing import Any

import pytest

import hub.history
import hub.jobs
import hub.outbox
from tests.hub.support.core import EPOCH, MSGPACK, Client, make_hub, publish, row_of, tick

A, B, C = "600000.SH", "600001.SH", "000001.SZ"
MIDNIGHT_MS = 1_654_012_800_000
DAY_MS = 86_400_000
"""2022-06-01 00:00 in Shanghai."""


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 4)
    monkeypatch.setattr(hub.jobs, "ROWS_PER_STEP", 3)
    monkeypatch.setattr(hub.outbox, "ROWS_PER_STEP", 3)


def make_client(*codes: str, limit_bytes: int = 1 << 24, **ring: Any) -> Client:
    """A client of a hub in which each code in turn has spoken once; the time of a row is its arrival number."""
    client = Client(make_hub(**ring), limit_bytes=limit_bytes)
    speak(client, *codes)
    return client


def speak(client: Client, *codes: str) -> None:
    """Publish a row for each code in a turn of the hub of its own."""
    for code in codes:
        publish(client.hub, code, time_ms=client.hub.history.at + 1)
        client.hub.flush()


def live(code: str, *seqs: int) -> list[tuple[str, str, int]]:
    return [("live", code, seq) for seq in seqs]


def replay(code: str, *seqs: int) -> list[tuple[str, str, int]]:
    return [("replay", code, seq) for seq in seqs]


# Where a subscription begins


def test_absent_since_gives_a_snapshot_and_then_live_rows() -> None:
    client = make_client(A, B, A)
    client.ask("subscribe", topics=["tick:*"])
    speak(client, B)
    client.pump()
    speak(client, A)
    assert client.told() == [
        ("subscribed",),
        ("snapshot", A, 2),
        ("snapshot", B, 1),
        *live(B, 2),
        *live(A, 3),
    ]


def test_the_rows_of_the_snapshot_of_a_subscription_carry_its_id() -> None:
    client = make_client(A)
    client.ask("subscribe", topics=["tick:*"], id="s")
    client.pump()
    speak(client, A)
    assert [(message["type"], message.get("id")) for message in client.messages()] == [
        ("subscribed", "s"),
        ("data", "s"),
        ("data", None),
    ]


def test_since_none_gives_live_rows_only() -> None:
    client = make_client(A)
    client.ask("subscribe", topics=["tick:*"], since="none")
    speak(client, A)
    assert client.told() == [("subscribed",), *live(A, 2)]


def test_since_a_time_gives_rows_from_each_topics_first_at_or_after_it() -> None:
    client = make_client(A, B, A, B, A)
    client.ask("subscribe", topics=["tick:*"], since={"time": 3}, id=9)
    client.pump()
    speak(client, B)
    reply, *rest = client.messages()
    assert (reply["replayed"], reply["recovered"], reply["at"]) == (3, True, 5)
    assert [(m["origin"], m.get("id")) for m in rest] == [("replay", 9), ("replay", 9), ("live", None)]
    assert [(row["code"], row["seq"]) for m in rest for row in m["rows"]] == [(A, 2), (B, 2), (A, 3), (B, 3)]


def test_since_a_time_includes_later_rows_whose_own_time_is_earlier() -> None:
    client = make_client()
    client.hub.publish("tick", [tick(A, time_ms) for time_ms in (10, 30, 20)], 1)
    client.ask("subscribe", topics=[f"tick:{A}"], since={"time": 25})
    client.pump()
    assert client.told() == [("subscribed",), *replay(A, 2, 3)]


def test_since_a_time_to_come_gives_live_rows_whatever_their_time() -> None:
    client = make_client(A)
    client.ask("subscribe", topics=["tick:*"], since={"time": 10**9})
    speak(client, A)
    assert client.told() == [("subscribed",), *live(A, 2)]


@pytest.mark.parametrize("newest_ms", [MIDNIGHT_MS, MIDNIGHT_MS + 5, MIDNIGHT_MS + 2 * DAY_MS])
def test_since_open_gives_every_row_from_the_start_of_the_trading_day_on(newest_ms: int) -> None:
    client = make_client()
    client.hub.day_start_ms = lambda: MIDNIGHT_MS
    client.hub.publish("tick", [tick(A, MIDNIGHT_MS - 1), tick(A, MIDNIGHT_MS), tick(B, newest_ms)], 1)
    client.ask("subscribe", topics=["tick:*"], since="open")
    client.pump()
    assert client.told() == [("subscribed",), *replay(A, 2), *replay(B, 1)]


def test_since_open_on_a_trading_day_without_a_row_yet_gives_nothing_of_the_day_before() -> None:
    client = make_client()
    client.hub.day_start_ms = lambda: MIDNIGHT_MS
    client.hub.publish("tick", [tick(A, MIDNIGHT_MS - 1)], 1)
    client.ask("subscribe", topics=["tick:*"], since="open")
    speak(client, A)
    assert client.told() == [("subscribed",), *live(A, 2)]


def test_since_open_where_nothing_was_lost_is_recovered() -> None:
    # The status of a source comes before its first row, so the newest exchange time is not known yet.
    client = make_client()
    client.hub.publish("status", [row_of("status", "source.test", MIDNIGHT_MS)], 1)
    client.ask("subscribe", topics=["status:*"], since="open")
    client.pump()
    reply, *rest = client.messages()
    assert (reply["recovered"], reply["unrecovered"]) == (True, [])
    assert [message["type"] for message in rest] == ["data"]


# The reply


def test_the_reply_is_a_cut_of_the_hubs_history() -> None:
    client = make_client(A, B)
    publish(client.hub, A)
    assert client.answer("subscribe", topics=["tick:*", f"tick:{A}", "tick:999999.SH"], id=5) == {
        "type": "subscribed",
        "id": 5,
        "at": 3,
        "matched": 2,
        "recovered": True,
        "unrecovered": [],
        "replayed": 0,
    }


def test_a_row_that_was_published_but_not_flushed_belongs_before_the_cut() -> None:
    client = make_client(A)
    publish(client.hub, A)
    client.ask("subscribe", topics=["tick:*"], since="none")
    client.hub.flush()
    assert client.told() == [("subscribed",)]


def test_a_topic_that_never_spoke_is_accepted_and_comes_from_its_first_row_on() -> None:
    client = make_client()
    assert client.answer("subscribe", topics=[f"tick:{A}", "tick:*.SZ"])["matched"] == 0
    speak(client, A, C, B)
    assert client.told() == [*live(A, 1), *live(C, 1)]


@pytest.mark.parametrize("since", [None, "none", "open", {"time": 0}], ids=str)
def test_subscribing_again_gives_nothing_again(since: Any) -> None:
    client = make_client(A)
    client.ask("subscribe", topics=["tick:*"], since="none")
    client.ask("subscribe", topics=["tick:*", f"tick:{A}"], since=since)
    client.pump()
    assert client.told() == [("subscribed",), ("subscribed",)]
    speak(client, A)
    assert client.told() == live(A, 2)


def test_only_topics_that_were_not_observed_get_history() -> None:
    client = make_client(A, B)
    client.ask("subscribe", topics=[f"tick:{A}"], since="none")
    client.ask("subscribe", topics=["tick:*"], since={"time": 0})
    client.pump()
    assert client.told() == [("subscribed",), ("subscribed",), *replay(B, 1)]


# What history no longer holds


def test_rows_that_history_let_go_are_announced_before_the_rows_that_it_holds() -> None:
    client = make_client(*[A] * 4, ring_rows=2)
    client.ask("subscribe", topics=["tick:*"], since={"time": 1}, id=3)
    reply, gap = client.messages()
    assert (reply["recovered"], reply["unrecovered"], reply["replayed"]) == (False, [f"tick:{A}"], 2)
    assert gap == {
        "type": "gap",
        "id": 3,
        "topic": f"tick:{A}",
        "epoch": EPOCH,
        "cause": "evicted",
        "from": 1,
        "to": 2,
        "from_time": 1,
        "to_time": 2,
        "by": None,
    }
    client.pump()
    assert client.told() == replay(A, 3, 4)


def test_rows_that_were_let_go_but_are_older_than_asked_for_are_no_gap() -> None:
    client = make_client(*[A] * 4, ring_rows=2)
    client.ask("subscribe", topics=["tick:*"], since={"time": 3})
    client.pump()
    assert client.told() == [("subscribed",), *replay(A, 3, 4)]


def test_rows_let_go_while_the_client_lags_follow_on_the_gap_that_was_announced() -> None:
    client = make_client(*[A] * 4, ring_rows=2)
    client.ask("subscribe", topics=["tick:*"], since={"time": 1})
    speak(client, *[A] * 2)
    client.pump()
    told = client.told()
    assert told[:3] == [("subscribed",), ("gap", f"tick:{A}", 1, 2), ("gap", f"tick:{A}", 3, 4)]
    assert told[3:] == live(A, 5, 6)


def test_a_topic_of_which_nothing_is_held_is_unrecovered_and_goes_on_live() -> None:
    client = make_client(A, *[B] * 8, ring_bytes=1)
    client.ask("subscribe", topics=[f"tick:{A}"], since={"time": 0})
    speak(client, A)
    assert client.told() == [("subscribed",), ("gap", f"tick:{A}", 1, 1), *live(A, 2)]


def test_the_newest_row_is_a_snapshot_though_history_let_it_go() -> None:
    client = make_client(A, *[B] * 8, ring_bytes=1)
    client.ask("subscribe", topics=[f"tick:{A}"])
    client.pump()
    assert client.told() == [("subscribed",), ("snapshot", A, 1)]


# Meanwhile


def test_two_subscriptions_while_lagging_come_one_after_the_other_and_then_live() -> None:
    client = make_client(*[A] * 4, B, C)
    client.ask("subscribe", topics=[f"tick:{A}"], since={"time": 0})
    speak(client, A, B)
    client.ask("subscribe", topics=[f"tick:{B}"], since={"time": 0})
    client.ask("subscribe", topics=[f"tick:{C}"])
    speak(client, A, B, C)
    client.pump()
    assert client.told() == [
        *[("subscribed",)] * 3,
        *replay(A, 1, 2, 3, 4),
        *replay(B, 1, 2),
        ("snapshot", C, 1),
        *live(A, 5, 6),
        *live(B, 3),
        *live(C, 2),
    ]


@pytest.mark.parametrize("pumps", range(6))
def test_a_topic_dropped_in_the_midst_of_its_history_sends_nothing_after_the_reply(pumps: int) -> None:
    client = make_client(*[A, B] * 5)
    client.ask("subscribe", topics=[f"tick:{A}", f"tick:{B}"], since={"time": 0})
    for _ in range(pumps):
        client.outbox.pump(client.hub.history.delivered_at, 0.0)
    client.ask("unsubscribe", topics=[f"tick:{A}"])
    client.pump()
    speak(client, A, B)
    told = client.told()
    after = told[told.index(("unsubscribed",)) :]
    assert not any(A in event for event in after)
    assert [event[2] for event in told if B in event] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("pumps", range(6))
@pytest.mark.parametrize("since", [None, "none", {"time": 0}], ids=str)
def test_a_topic_dropped_and_subscribed_again_begins_afresh(pumps: int, since: Any) -> None:
    client = make_client(*[A, B] * 4)
    client.ask("subscribe", topics=["tick:*"], since={"time": 0})
    for _ in range(pumps):
        client.outbox.pump(client.hub.history.delivered_at, 0.0)
    client.ask("unsubscribe", topics=["tick:*"])
    speak(client, A)
    client.ask("subscribe", topics=[f"tick:{A}"], since=since)
    speak(client, A)
    client.pump()
    told = client.told()
    begun = told[told.index(("unsubscribed",)) + 1 :]
    first = {"None": [("snapshot", A, 5)], "none": []}.get(str(since), replay(A, 1, 2, 3, 4, 5))
    assert begun == [("subscribed",), *first, *live(A, 6)]


def test_a_topic_lost_in_part_then_dropped_and_subscribed_again_has_no_gap_from_before() -> None:
    client = make_client(*[A] * 12, B, ring_rows=12)
    client.ask("subscribe", topics=["tick:*"], since={"time": 0})
    speak(client, *[A] * 30)
    client.outbox.pump(client.hub.history.delivered_at, 0.0)
    client.ask("unsubscribe", topics=["tick:*"])
    client.ask("subscribe", topics=[f"tick:{A}"])
    client.told()
    client.pump()
    assert client.told() == [("snapshot", A, 42)]


def test_rows_of_patterns_that_overlap_come_once() -> None:
    client = make_client(A)
    client.ask("subscribe", topics=["tick:*", "tick:6*", f"tick:{A}", "tick:@two"])
    client.pump()
    speak(client, A, B)
    assert client.told() == [("subscribed",), ("snapshot", A, 1), *live(A, 2), *live(B, 1)]


def test_rows_still_covered_by_another_string_go_on_after_unsubscribing() -> None:
    client = make_client(A, C)
    client.ask("subscribe", topics=["tick:*", f"tick:{A}"], since="none")
    client.ask("unsubscribe", topics=["tick:*"])
    speak(client, A, C)
    assert client.told() == [("subscribed",), ("unsubscribed",), *live(A, 2)]


def test_rows_published_before_unsubscribing_come_before_its_reply() -> None:
    client = make_client(A)
    client.ask("subscribe", topics=["tick:*"], since="none")
    publish(client.hub, A)
    client.ask("unsubscribe", topics=["tick:*"])
    speak(client, A)
    assert client.told() == [("subscribed",), *live(A, 2), ("unsubscribed",)]


@pytest.mark.parametrize("mode", ["every", "latest"])
def test_changing_the_mode_of_a_topic_does_not_let_go_of_it_at_the_source(mode: str) -> None:
    wants: list[frozenset[str]] = []
    client = Client(make_hub(on_wants=lambda topics: wants.append(frozenset(topics))))
    other = {"every": "latest", "latest": "every"}[mode]
    for each in mode, other:
        client.ask("subscribe", topics=["tick:*"], since="none", mode=each)
    assert wants == [frozenset({"tick:*"})]


def test_what_one_client_does_is_not_seen_by_another() -> None:
    client = make_client(A)
    other = Client(client.hub, codec=MSGPACK)
    client.ask("subscribe", topics=["tick:*"], since="none")
    other.ask("subscribe", topics=["tick:*"], since={"time": 0})
    speak(client, A)
    assert client.told() == [("subscribed",), *live(A, 2)]
    other.session.leave()
    speak(client, A)
    assert client.told() == live(A, 3)


def test_a_client_that_is_given_up_during_a_request_takes_nobody_along() -> None:
    client = make_client(A, limit_bytes=1000)
    other = Client(client.hub)
    for one in client, other:
        one.ask("subscribe", topics=["tick:*"], since="none")
    client.outbox.writable = False
    publish(client.hub, *[A] * 20)
    client.ask("subscribe", topics=[f"tick:{A}"])
    assert (client.overflows, client.outbox.is_shut) == (1, True)
    assert other.told() == [("subscribed",), *live(A, *range(2, 22))]
