"""What clients may send, strictly: what is read from it, and what is refused with which code and id."""

import json
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from hub import messages
from hub.messages import (
    MAX_ID_CHARS,
    Auth,
    Ping,
    Request,
    RequestError,
    Since,
    Snapshot,
    Subscribe,
    Topics,
    Unsubscribe,
    read_envelope,
    read_request,
)

SHOWN = "t"
GOOD: list[tuple[dict[str, Any], Request]] = [
    ({"op": "auth", "token": SHOWN}, Auth(token=SHOWN)),
    ({"op": "ping"}, Ping()),
    ({"op": "ping", "id": 0}, Ping(id=0)),
    ({"op": "ping", "id": None}, Ping()),
    ({"op": "ping", "id": "行情"}, Ping(id="行情")),
    ({"op": "ping", "id": -(2**53)}, Ping(id=-(2**53))),
    ({"op": "ping", "id": 2**53}, Ping(id=2**53)),
    ({"op": "ping", "id": "x" * MAX_ID_CHARS}, Ping(id="x" * MAX_ID_CHARS)),
    ({"op": "topics", "pattern": "tick:*"}, Topics(pattern="tick:*")),
    ({"op": "snapshot", "topics": ["a", "b"]}, Snapshot(topics=["a", "b"])),
    ({"op": "unsubscribe", "topics": ["a"]}, Unsubscribe(topics=["a"])),
    ({"op": "subscribe", "topics": ["a"]}, Subscribe(topics=["a"])),
    ({"op": "subscribe", "topics": ["a"], "since": None}, Subscribe(topics=["a"])),
    ({"op": "subscribe", "topics": ["a"], "since": "none"}, Subscribe(topics=["a"], since="none")),
    ({"op": "subscribe", "topics": ["a"], "since": "open"}, Subscribe(topics=["a"], since="open")),
    ({"op": "subscribe", "topics": ["a"], "since": {"time": 0}}, Subscribe(topics=["a"], since=Since(time=0))),
    (
        {"op": "subscribe", "topics": ["a"], "since": {"epoch": "e", "at": 1, "seq": {"a": 2}}},
        Subscribe(topics=["a"], since=Since(epoch="e", at=1, seq={"a": 2})),
    ),
    (
        {"op": "subscribe", "topics": ["a"], "mode": "latest", "interval_ms": 500},
        Subscribe(topics=["a"], mode="latest", interval_ms=500),
    ),
]

BAD: list[dict[str, Any]] = [
    {"op": "ping", "extra": 1},
    {"op": "auth"},
    {"op": "auth", "token": 5},
    {"op": "topics"},
    {"op": "topics", "pattern": ["tick:*"]},
    {"op": "snapshot"},
    {"op": "snapshot", "topics": []},
    {"op": "snapshot", "topics": "tick:*"},
    {"op": "unsubscribe", "topics": [None]},
    {"op": "subscribe"},
    {"op": "subscribe", "topics": {"tick:*": 1}},
    {"op": "subscribe", "topics": ["a", 1]},
    {"op": "subscribe", "topics": ["a"], "sinse": "open"},
    {"op": "subscribe", "topics": ["a"], "since": "today"},
    {"op": "subscribe", "topics": ["a"], "since": 5},
    {"op": "subscribe", "topics": ["a"], "since": {"time": -1}},
    {"op": "subscribe", "topics": ["a"], "since": {"time": 1.5}},
    {"op": "subscribe", "topics": ["a"], "since": {"time": 2**60}},
    {"op": "subscribe", "topics": ["a"], "since": {"times": 1}},
    {"op": "subscribe", "topics": ["a"], "since": {"epoch": "e", "seq": {"a": "1"}}},
    {"op": "subscribe", "topics": ["a"], "mode": "newest"},
    {"op": "subscribe", "topics": ["a"], "interval_ms": -1},
    {"op": "subscribe", "topics": ["a"], "interval_ms": 3_600_001},
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
near_requests = st.dictionaries(
    st.sampled_from(["op", "id", "topics", "since", "mode", "interval_ms", "pattern", "token", "x"]),
    json_values | st.sampled_from(["subscribe", "ping", "replay", "open", "every"]) | st.just(["tick:*"]),
)


def read(message: str | bytes) -> Request:
    """Read a request as a session does: the envelope first."""
    return read_request(message, read_envelope(message))


def refusal(message: str | bytes) -> RequestError:
    """The error that a message gives."""
    with pytest.raises(RequestError) as caught:
        read(message)
    return caught.value


def is_read_or_refused(message: str | bytes) -> None:
    """Fail where a message gives anything but a request or an error of the contract."""
    try:
        request = read(message)
    except RequestError as error:
        code, words = error.code, str(error)
    else:
        assert isinstance(request, Request)
        return
    assert code in ("bad_message", "unknown_op")
    assert 0 < len(words) < 300


@pytest.mark.parametrize(("message", "request_"), GOOD, ids=[json.dumps(message)[:60] for message, _ in GOOD])
def test_a_request_is_read_alike_from_text_and_from_msgpack(message: dict[str, Any], request_: Request) -> None:
    assert read(json.dumps(message)) == request_
    assert read(msgpack.packb(message)) == request_


def test_what_since_does_not_tell_is_unset() -> None:
    request = read('{"op":"subscribe","topics":["a"],"since":{"time":5}}')
    assert isinstance(request, Subscribe)
    assert isinstance(request.since, Since)
    assert (request.since.epoch, request.since.at, request.since.seq) == (UNSET, UNSET, UNSET)


@pytest.mark.parametrize("fields", BAD, ids=json.dumps)
def test_a_wrong_field_is_refused_by_the_id_of_its_request(fields: dict[str, Any]) -> None:
    for message in json.dumps({**fields, "id": 7}), msgpack.packb({**fields, "id": 7}):
        error = refusal(message)
        assert (error.code, error.request_id) == ("bad_message", 7)


@pytest.mark.parametrize("op", ["", "Ping", "pong", "subscribe ", "x" * 50_000])
def test_an_op_that_nobody_knows_is_refused_by_its_id_in_few_words(op: str) -> None:
    error = refusal(json.dumps({"op": op, "id": 0}))
    assert (error.code, error.request_id) == ("unknown_op", 0)
    assert len(str(error)) < 100


@pytest.mark.parametrize("request_id", [1.5, True, [], {}, 2**53 + 1, -(2**53) - 1, 10**40, "x" * (MAX_ID_CHARS + 1)])
def test_an_id_that_could_not_come_back_as_it_was_sent_is_refused(request_id: Any) -> None:
    error = refusal(json.dumps({"op": "ping", "id": request_id}))
    assert (error.code, error.request_id) == ("bad_message", None)


@pytest.mark.parametrize("fields", [{}, {"op": None}, {"op": 5}, {"op": ["ping"]}], ids=json.dumps)
def test_a_request_without_a_proper_op_is_refused_by_its_id(fields: dict[str, Any]) -> None:
    error = refusal(json.dumps({**fields, "id": 7}))
    assert (error.code, error.request_id) == ("bad_message", 7)


@pytest.mark.parametrize(
    "message",
    [
        "",
        " ",
        "ping",
        "null",
        "5",
        "[]",
        '"ping"',
        '{"op":"ping"',
        '{"op":"ping"} {}',
        "{'op':'ping'}",
        '{"op":"ping","id":NaN}',
        '{"op":"ping","id":"\\ud800"}',
        '{"op":"ping","id":"\ud800"}',
        '{"op":"ping","x":' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"a":' * 100_000,
    ],
    ids=lambda message: ascii(message[:30]),
)
def test_text_that_is_no_request_is_a_bad_message(message: str) -> None:
    assert refusal(message).code == "bad_message"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xc0",
        b"\xc1",
        b"\x93tick",
        b'{"op":"ping"}',
        msgpack.packb({"op": "ping"}) + b"\x00",
        msgpack.packb({b"op": b"ping"}),
        msgpack.packb({"op": "ping", "id": msgpack.ExtType(5, b"x")}),
        msgpack.packb({1: 2}),
        b"\x81\xa2op\xa4\xff\xfe\xfd\xfc",
        b"\x82\xa2op\xa4ping\xa1x" + b"\x91" * 100_000 + b"\xc0",
        b"\x82\xa2op\xa9subscribe\xa6topics\xdd\xff\xff\xff\xff",
        b"\x82\xa2op\xa4ping\xa2id\xdb\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
    ],
    ids=lambda message: message[:16].hex(),
)
def test_bytes_that_are_no_request_are_a_bad_message(message: bytes) -> None:
    assert refusal(message).code == "bad_message"


@pytest.mark.parametrize(("message", "_"), GOOD, ids=[json.dumps(message)[:60] for message, _ in GOOD])
def test_a_request_that_was_cut_off_anywhere_is_a_bad_message(message: dict[str, Any], _: Request) -> None:
    text, packed = json.dumps(message), msgpack.packb(message)
    assert {refusal(text[:end]).code for end in range(len(text))} == {"bad_message"}
    assert {refusal(packed[:end]).code for end in range(len(packed))} == {"bad_message"}


def test_a_giant_mistake_gives_a_short_message() -> None:
    assert len(str(refusal(json.dumps({"op": "ping", "x" * 50_000: 1})))) < 300


def test_deep_nesting_is_explained() -> None:
    assert str(refusal('{"op":"ping","x":' + "[" * 100_000)) == "the message is nested too deeply"


@given(st.binary(max_size=40) | st.text(st.characters(), max_size=40))
def test_noise_is_read_or_refused(message: str | bytes) -> None:
    is_read_or_refused(message)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a loaded machine making them takes long
@given(near_requests)
def test_what_looks_like_a_request_is_read_or_refused(fields: dict[str, Any]) -> None:
    is_read_or_refused(json.dumps(fields))


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (messages.Unsubscribed(), {"type": "unsubscribed"}),
        (messages.Authenticated(id=0), {"type": "authenticated", "id": 0}),
        (messages.SnapshotDone(id="a", count=0), {"type": "snapshot_done", "id": "a", "count": 0}),
        (messages.TopicList(topics=[]), {"type": "topics", "topics": []}),
        (messages.Pong(time=1), {"type": "pong", "time": 1}),
        (messages.Slow(pending_bytes=1, limit_bytes=2), {"type": "slow", "pending_bytes": 1, "limit_bytes": 2}),
        (messages.Draining(reason="r", close_in_ms=1), {"type": "draining", "reason": "r", "close_in_ms": 1}),
        (
            messages.Heartbeat(time=1, at=2, conflated=0, markets={}),
            {"type": "heartbeat", "time": 1, "at": 2, "conflated": 0, "markets": {}},
        ),
        (
            messages.Subscribed(id=1, at=0, matched=0, recovered=True, unrecovered=[], replayed=0),
            {
                "type": "subscribed",
                "id": 1,
                "at": 0,
                "matched": 0,
                "recovered": True,
                "unrecovered": [],
                "replayed": 0,
            },
        ),
        (
            messages.Gap(topic="t", epoch="e", cause="evicted", from_=1, to=None, from_time=None, to_time=2, by=None),
            {
                "type": "gap",
                "topic": "t",
                "epoch": "e",
                "cause": "evicted",
                "from": 1,
                "to": None,
                "from_time": None,
                "to_time": 2,
                "by": None,
            },
        ),
        (
            messages.Error(code="c", message="m", retryable=False, retry_in_ms=None),
            {"type": "error", "code": "c", "message": "m", "retryable": False, "retry_in_ms": None},
        ),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_a_message_of_the_hub_has_its_type_and_all_fields_of_the_contract(
    message: messages.Message, shown: dict[str, Any]
) -> None:
    assert json.loads(msgspec.json.encode(message)) == shown
    assert msgpack.unpackb(msgspec.msgpack.encode(message)) == shown
