"""One client's conversation: every op, every error with its code and id, and what a refusal must not change."""

import json
import logging
import tracemalloc
from typing import Any

import msgpack
import pytest

from hub import session as session_module
from hub.auth import Token
from hub.limits import BURST_S
from hub.schema import CHANNELS
from tests.hub.support.core import EPOCH, JSON, MSGPACK, Client, make_hub, publish

A, B, C = "600000.SH", "600001.SH", "000001.SZ"
TOKEN = Token("s3cret")
OPS: list[dict[str, Any]] = [
    {"op": "subscribe", "topics": ["tick:*"]},
    {"op": "unsubscribe", "topics": ["tick:*"]},
    {"op": "snapshot", "topics": ["tick:*"]},
    {"op": "topics", "pattern": "tick:*"},
    {"op": "ping"},
]
NOT_YET: list[dict[str, Any]] = [
    {"op": "replay", "topics": ["tick:*"]},
    {"op": "cancel", "replay": 1},
    {"op": "instruments", "pattern": "tick:*"},
]


@pytest.fixture
def client() -> Client:
    """A client of a hub in which two topics have spoken."""
    hub = make_hub()
    publish(hub, A, B, A)
    hub.flush()
    return Client(hub)


# What the hub says by itself


@pytest.mark.parametrize("codec", [MSGPACK, JSON], ids=["msgpack", "json"])
def test_the_welcome_says_who_is_here_and_what_the_rows_look_like(codec: Any) -> None:
    hub = make_hub(channels=["tick"])
    publish(hub, A)
    hub.flush()
    publish(hub, A)  # not written yet: a hub killed now would give this number to another row
    client = Client(hub, codec=codec, topics=3, requests_per_s=50.0, limit_bytes=2000)
    client.session.welcome("argus-hub/1", 5.0, 1234)
    assert client.messages() == [
        {
            "type": "welcome",
            "protocol": "argus.v1",
            "server": "argus-hub/1",
            "session": "s-1",
            "epoch": EPOCH,
            "at": 1,
            "source": {"name": "test", "simulated": True},
            "schemas": {name: list(CHANNELS[name].names) for name in ("tick", "status")},
            "limits": {
                "message_bytes": 1 << 16,
                "topics": 3,
                "requests_per_s": 50.0,
                "pending_bytes": 2000,
                "replay_rows": None,
            },
            "heartbeat_s": 5.0,
            "time": 1234,
        }
    ]


def test_a_heartbeat_says_how_far_the_client_is_and_how_the_markets_are(client: Client) -> None:
    publish(client.hub, A)
    client.session.heartbeat(1234, {"SH": {"state": "live"}})
    assert client.messages() == [
        {"type": "heartbeat", "time": 1234, "at": 3, "conflated": 0, "markets": {"SH": {"state": "live"}}}
    ]


def test_a_heartbeat_of_a_lagging_client_does_not_run_ahead_of_its_rows(client: Client) -> None:
    client.ask("subscribe", topics=["tick:*"], since={"time": 0})
    client.session.heartbeat(1234, {})
    assert client.messages()[-1]["at"] == 0
    client.pump()
    client.session.heartbeat(1234, {})
    assert client.messages()[-1]["at"] == 3


def test_draining_says_why_and_when(client: Client) -> None:
    client.session.draining("restart", 500)
    assert client.messages() == [{"type": "draining", "reason": "restart", "close_in_ms": 500}]


# Requests


def test_a_ping_is_answered_with_the_hubs_time(client: Client) -> None:
    client.ask("ping", id="p", time_ms=1234)
    assert client.messages() == [{"type": "pong", "id": "p", "time": 1234}]


def test_text_is_read_as_json_and_bytes_as_msgpack_whatever_the_client_reads(client: Client) -> None:
    client.session.receive(msgpack.packb({"op": "ping", "id": 1}), 0.0, 5)
    client.session.receive(json.dumps({"op": "ping", "id": 2}), 0.0, 5)
    assert [message["id"] for message in client.messages()] == [1, 2]


@pytest.mark.parametrize("request_id", [0, -1, 2**53, "", "行情", None])
@pytest.mark.parametrize("fields", [*OPS, *NOT_YET, {"op": "no"}, {"op": "ping", "x": 1}], ids=json.dumps)
def test_every_reply_repeats_the_id_of_its_request(client: Client, fields: dict[str, Any], request_id: Any) -> None:
    client.ask(**fields, id=request_id)
    client.pump()
    messages = client.messages()
    assert messages
    assert all(message.get("id") == request_id for message in messages)
    assert all(("id" in message) is (request_id is not None) for message in messages)


def test_topics_are_listed_with_their_newest_number_and_time(client: Client) -> None:
    publish(client.hub, A, time_ms=77)
    assert client.answer("topics", pattern="tick:*", id=1) == {
        "type": "topics",
        "id": 1,
        "topics": [{"topic": f"tick:{A}", "seq": 3, "time": 77}, {"topic": f"tick:{B}", "seq": 1, "time": 1}],
    }


def test_no_topics_are_an_empty_list(client: Client) -> None:
    assert client.answer("topics", pattern="tick:*.BJ") == {"type": "topics", "topics": []}


# Snapshots


def test_a_snapshot_is_the_newest_row_of_each_topic_once_and_then_done(client: Client) -> None:
    client.ask("snapshot", topics=["tick:*", f"tick:{A}", "tick:999999.SH"], id="s")
    client.pump()
    data, done = client.messages()
    assert (data["origin"], data["id"]) == ("snapshot", "s")
    assert [(row["code"], row["seq"]) for row in data["rows"]] == [(A, 2), (B, 1)]
    assert done == {"type": "snapshot_done", "id": "s", "count": 2}


def test_a_snapshot_subscribes_nothing(client: Client) -> None:
    client.ask("snapshot", topics=["tick:*"])
    client.pump()
    client.messages()
    publish(client.hub, A)
    client.hub.flush()
    assert client.told() == []


def test_a_snapshot_of_nothing_is_done_with_a_count_of_zero(client: Client) -> None:
    client.ask("snapshot", topics=["tick:*.BJ"], id=1)
    client.pump()
    assert client.messages() == [{"type": "snapshot_done", "id": 1, "count": 0}]


def test_a_snapshot_has_rows_that_were_published_but_not_flushed_and_they_do_not_come_again_as_older(
    client: Client,
) -> None:
    client.ask("subscribe", topics=["tick:*"], since="none")
    client.told()
    publish(client.hub, A)
    client.ask("snapshot", topics=[f"tick:{A}"])
    client.pump()
    client.hub.flush()
    assert client.told() == [("live", A, 3), ("snapshot", A, 3), ("snapshot_done",)]


def test_the_count_of_a_snapshot_is_that_of_the_rows_that_came(client: Client) -> None:
    client.ask("subscribe", topics=["tick:*"], since="none")
    client.ask("snapshot", topics=["tick:*"])
    client.ask("unsubscribe", topics=["tick:*"])
    client.pump()
    messages = client.messages()
    rows = sum(len(message["rows"]) for message in messages if message["type"] == "data")
    assert messages[-1] == {"type": "snapshot_done", "count": rows}


# Refusals


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"op": "subscribe", "topics": ["tick"]}, "bad_topic"),
        ({"op": "subscribe", "topics": ["tick:@nobody"]}, "bad_topic"),
        ({"op": "subscribe", "topics": ["trade:*"]}, "unknown_channel"),
        ({"op": "subscribe", "topics": ["l2order:*"]}, "unavailable"),
        ({"op": "subscribe", "topics": ["tick:*"], "interval_ms": 5}, "bad_message"),
        ({"op": "subscribe", "topics": ["tick:*"], "since": {"time": 1, "at": 1}}, "bad_message"),
        ({"op": "subscribe", "topics": ["tick:*"], "since": {"time": 1, "epoch": EPOCH}}, "bad_message"),
        ({"op": "subscribe", "topics": ["tick:*"], "since": {"time": 1, "seq": {}}}, "bad_message"),
        ({"op": "subscribe", "topics": [f"tick:{n}.SH" for n in range(101)]}, "too_many_topics"),
        ({"op": "unsubscribe", "topics": ["tick:*"]}, "bad_topic"),
        ({"op": "snapshot", "topics": ["tick"]}, "bad_topic"),
        ({"op": "snapshot", "topics": ["trade:*"]}, "unknown_channel"),
        ({"op": "snapshot", "topics": ["1d:*"]}, "unavailable"),
        ({"op": "topics", "pattern": ""}, "bad_topic"),
        ({"op": "topics", "pattern": "trade:*"}, "unknown_channel"),
        ({"op": "topics", "pattern": "1d:*"}, "unavailable"),
        ({"op": "replay", "topics": ["tick:*"], "from": {"seq": 1}}, "bad_message"),
        ({"op": "replay", "topics": ["tick:1.SH"], "from": {"seq": 1}, "to": 5}, "bad_message"),
        ({"op": "cancel", "replay": 1}, "bad_message"),
        ({"op": "instruments", "pattern": "tick:*"}, "unavailable"),
        ({"op": "tell"}, "unknown_op"),
        ({"op": "subscribe"}, "bad_message"),
    ],
    ids=lambda value: json.dumps(value)[:80] if isinstance(value, dict) else value,
)
def test_a_request_that_cannot_be_carried_out_is_refused_with_its_code(
    client: Client, fields: dict[str, Any], code: str
) -> None:
    error = client.answer(**fields, id=7)
    assert (error["type"], error["id"], error["code"]) == ("error", 7, code)
    assert (error["retryable"], error["retry_in_ms"]) == (False, None)
    assert 0 < len(error["message"]) < 300
    assert client.closed == []


def test_what_is_no_message_at_all_is_refused_without_an_id(client: Client) -> None:
    client.session.receive(b"\xc1", 0.0, 0)
    (error,) = client.messages()
    assert (error["code"], "id" in error) == ("bad_message", False)


@pytest.mark.parametrize(
    "fields",
    [
        {"op": "subscribe", "topics": [f"tick:{B}", "tick"]},
        {"op": "subscribe", "topics": [f"tick:{B}", "l2order:*"]},
        {"op": "subscribe", "topics": [f"tick:{B}"], "since": {"at": 1}},
        {"op": "subscribe", "topics": [f"tick:{n}.SH" for n in range(100)]},
        {"op": "unsubscribe", "topics": [f"tick:{A}", f"tick:{B}"]},
    ],
    ids=lambda fields: json.dumps(fields)[:80],
)
def test_a_request_that_is_refused_changes_nothing(client: Client, fields: dict[str, Any]) -> None:
    client.ask("subscribe", topics=[f"tick:{A}"], since="none")
    client.told()
    assert client.answer(**fields)["type"] == "error"
    publish(client.hub, A, B, C)
    client.hub.flush()
    assert client.told() == [("live", A, 3)]
    assert [set(audience.names) for audience in client.hub.router.audiences] == [{f"tick:{A}"}]


def test_a_client_may_hold_as_many_topic_strings_as_the_limit(client: Client) -> None:
    names = [f"tick:{number}.SH" for number in range(100)]
    assert client.answer("subscribe", topics=names)["type"] == "subscribed"
    assert client.answer("subscribe", topics=names)["type"] == "subscribed"
    assert client.answer("subscribe", topics=["tick:*"])["code"] == "too_many_topics"


def test_a_failure_of_the_hub_is_logged_and_told_and_ends_nothing(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("a defect")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(client.hub.router, "select", fail)
        error = client.answer("topics", pattern="tick:*", id=7)
    assert (error["id"], error["code"], error["retryable"]) == (7, "internal", True)
    assert "a defect" not in error["message"]
    assert "a defect" in caplog.text
    assert client.answer("ping")["type"] == "pong"


# Authentication


def show(client: Client, token: str) -> dict[str, Any]:
    """Answer of the hub to a client that shows a token."""
    return client.answer("auth", token=token, id=1)


def test_where_no_token_is_needed_auth_is_answered_all_the_same(client: Client) -> None:
    assert show(client, "anything") == {"type": "authenticated", "id": 1}
    assert client.closed == []


@pytest.mark.parametrize("fields", [*OPS, *NOT_YET], ids=json.dumps)
def test_until_the_token_was_shown_every_other_op_is_unauthorized(fields: dict[str, Any]) -> None:
    client = Client(make_hub(), token=TOKEN)
    error = client.answer(**fields, id=7)
    assert (error["id"], error["code"]) == (7, "unauthorized")
    assert client.closed == []


def test_with_the_token_a_client_may_go_on() -> None:
    client = Client(make_hub(), token=TOKEN)
    assert show(client, "s3cret") == {"type": "authenticated", "id": 1}
    assert client.session.authorized
    assert client.answer("ping")["type"] == "pong"


def test_a_wrong_token_is_an_error_and_closes() -> None:
    client = Client(make_hub(), token=TOKEN)
    error = show(client, "S3cret")
    assert (error["id"], error["code"]) == (1, "unauthorized")
    assert client.closed == [4401]
    assert not client.session.authorized


def test_a_token_that_the_handshake_showed_need_not_be_shown_again() -> None:
    client = Client(make_hub(), token=TOKEN, authorized=True)
    assert client.answer("ping")["type"] == "pong"


# Too many requests


def test_a_burst_is_answered_then_requests_are_refused_with_a_time_to_wait() -> None:
    client = Client(make_hub(), requests_per_s=2.0)
    for _ in range(int(2 * BURST_S)):
        assert client.answer("ping")["type"] == "pong"
    error = client.answer("ping", id=7)
    assert (error["id"], error["code"], error["retryable"], error["retry_in_ms"]) == (7, "rate_limited", True, 1000)
    assert client.answer("ping", now_s=1.0)["type"] == "pong"
    assert client.closed == []


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ('{"op": "ping", "id": "x"}', {"id": "x"}),
        ('{"id": 3}', {"id": 3}),
        (msgpack.packb({"id": 5, "op": "ping"}), {"id": 5}),
        ('{"op": "ping"}', {}),
        ('{"op": "ping", "id": [1]}', {}),
        ('{"op": "ping", "id": 1', {}),
        (b"\xc1", {}),
    ],
    ids=str,
)
def test_a_request_too_many_is_refused_by_its_id_where_that_can_be_read(message: Any, told: dict[str, Any]) -> None:
    client = Client(make_hub(), requests_per_s=0.1)
    client.answer("ping")
    client.session.receive(message, 0.0, 0)
    (error,) = client.messages()
    assert error["code"] == "rate_limited"
    assert {key: value for key, value in error.items() if key == "id"} == told


def test_bad_requests_count_too_and_a_flood_of_them_closes() -> None:
    client = Client(make_hub(), requests_per_s=2.0)
    for _ in range(4 * int(2 * BURST_S)):
        client.ask("nonsense")
        if client.closed:
            break
    assert client.closed == [4429]
    assert {message["code"] for message in client.messages()} == {"unknown_op", "rate_limited"}


# What waits for a client that does not read


@pytest.mark.parametrize("since", [None, {"time": 0}, {"epoch": EPOCH, "at": 0}], ids=str)
@pytest.mark.parametrize("op", ["snapshot", "subscribe"])
def test_what_is_asked_for_and_not_read_takes_a_bounded_number_of_bytes(op: str, since: Any) -> None:
    hub = make_hub()
    publish(hub, *(f"{number:06}.SH" for number in range(100)))
    hub.flush()
    client = Client(hub, limit_bytes=100_000)
    client.outbox.writable = False
    fields = {"since": since} if op == "subscribe" else {}
    tracemalloc.start()
    try:
        for number in range(200):
            client.ask(op, id=number, topics=["tick:*"], **fields)
            if op == "subscribe":
                client.ask("unsubscribe", topics=["tick:*"])
        held_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held_bytes < 300_000
    client.outbox.writable = True
    client.pump()
    messages = client.messages()
    refused = [message for message in messages if message.get("code") == "rate_limited"]
    assert refused[-1]["id"] == 199
    assert refused[-1]["retryable"]
    done = {"snapshot": "snapshot_done", "subscribe": "subscribed"}[op]
    assert len(refused) + sum(message["type"] == done for message in messages) == 200
    assert client.overflows == 0


def test_whoever_reads_what_it_asked_for_may_ask_again(client: Client) -> None:
    small = Client(client.hub, limit_bytes=2000)
    for _ in range(50):
        small.ask("snapshot", topics=["tick:*"])
        small.pump()
        assert small.told() == [("snapshot", A, 2), ("snapshot", B, 1), ("snapshot_done",)]
    small.ask("snapshot", topics=["tick:*"])
    assert small.answer("snapshot", topics=["tick:*"])["code"] == "rate_limited"
    small.pump()
    small.told()
    small.ask("subscribe", topics=["tick:*"])
    small.pump()
    assert small.told() == [("subscribed",), ("snapshot", A, 2), ("snapshot", B, 1)]


@pytest.mark.parametrize("fields", [{}, {"since": "open"}, {"mode": "latest"}], ids=str)
def test_a_thousand_subscriptions_in_a_row_are_not_too_much(fields: dict[str, Any]) -> None:
    hub = make_hub()
    codes = [f"{number:06}.SH" for number in range(1000)]
    publish(hub, *codes)
    hub.flush()
    client = Client(hub, topics=1000)
    for code in codes:
        client.ask("subscribe", topics=[f"tick:{code}"], **fields)
    assert client.told() == [("subscribed",)] * 1000
    client.pump()
    assert [code for _, code, _ in client.told()] == codes


# The end


def test_who_left_observes_nothing(client: Client) -> None:
    client.ask("subscribe", topics=["tick:*"], since="none")
    client.told()
    client.session.leave()
    publish(client.hub, A)
    client.hub.flush()
    client.ask("ping")
    assert client.told() == []
    assert list(client.hub.router.audiences) == []


def test_requests_after_the_end_are_not_carried_out(client: Client) -> None:
    client.outbox.shut()
    client.ask("subscribe", topics=["tick:*"])
    assert client.told() == []
    assert list(client.hub.router.audiences) == []


def test_a_client_may_hold_so_many_patterns_and_exact_names_besides(client: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(session_module, "MAX_PATTERNS", 2)
    assert client.answer("subscribe", topics=["tick:1*", "tick:2*"])["type"] == "subscribed"
    assert client.answer("subscribe", topics=["tick:3*"])["code"] == "too_many_topics"
    assert client.answer("subscribe", topics=[f"tick:{A}"], since="none")["type"] == "subscribed"


def test_a_client_may_run_so_many_replays_at_once(client: Client, monkeypatch: Any) -> None:
    monkeypatch.setattr(session_module, "MAX_REPLAYS", 1)
    publish(client.hub, A)
    client.ask("replay", id=1, topics=["tick:*"])
    error = client.answer("replay", id=2, topics=["tick:*"])
    assert (error["code"], error["retryable"]) == ("rate_limited", True)


def test_a_heartbeat_is_made_once_for_all_clients_that_are_told_the_same() -> None:
    hub = make_hub()
    made: dict[Any, bytes] = {}
    live, other, lagging, packing = (Client(hub, codec=codec) for codec in (JSON, JSON, JSON, MSGPACK))
    publish(hub, A)
    hub.flush()
    lagging.ask("subscribe", topics=[f"tick:{A}"], since="open")
    clients = [live, other, lagging, packing]
    for client in clients:
        client.messages()
        client.session.heartbeat(7, {}, made)
    assert [client.messages()[-1]["at"] for client in clients] == [1, 1, 0, 1]
    assert len(made) == 3
