import json
from typing import Any

import msgpack
import pytest
from fake_hub import BAR_FIELDS, WELCOME, tick

from argus_client import Gap, HubError, ProtocolError
from argus_client.codec import CODECS, Codec, Encoding
from argus_client.messages import (
    Data,
    Draining,
    Heartbeat,
    Pong,
    Reply,
    Slow,
    SnapshotDone,
    Subscribed,
    TopicInfo,
    TopicList,
    Unknown,
    Unsubscribed,
    Welcome,
)


def wire(encoding: Encoding, message: object) -> str | bytes:
    return msgpack.packb(message) if encoding == "msgpack" else json.dumps(message)


def data(encoding: Encoding, channel: str, origin: int, rows: list[dict[str, Any]], *request: object) -> str | bytes:
    if encoding == "msgpack":
        return wire(encoding, [channel, origin, [list(row.values()) for row in rows], *request])
    word = ("live", "snapshot", "replay", "backfill")[origin]
    own = {"id": request[0]} if request else {}
    return wire(encoding, {"type": "data", "channel": channel, "origin": word, "rows": rows, **own})


@pytest.fixture(params=["msgpack", "json"])
def encoding(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def codec(encoding: Encoding) -> Codec:
    codec = CODECS[encoding]()
    codec.decode(wire(encoding, {"type": "welcome", **WELCOME}))
    return codec


def test_the_welcome_is_read(encoding: Encoding) -> None:
    welcome = CODECS[encoding]().decode(wire(encoding, {"type": "welcome", **WELCOME, "later_field": 1}))
    assert isinstance(welcome, Welcome)
    assert (welcome.epoch, welcome.at, welcome.server) == ("00000000000000ab", 100, "fake-hub 0")
    assert (welcome.source.name, welcome.source.simulated) == ("simulator", True)
    assert welcome.schemas["1m"] == tuple(BAR_FIELDS)
    assert welcome.limits["topics"] == 300


def test_rows_are_read_with_the_names_of_the_welcome(codec: Codec, encoding: Encoding) -> None:
    sent = [tick(seq=1, stockStatus=None), tick("000001.SZ", seq=9, amount=862127800.0)]
    message = codec.decode(data(encoding, "tick", 0, sent))
    assert isinstance(message, Data)
    assert [row.as_dict() for row in message.rows] == sent
    assert message.origin == "live"
    assert message.request_id is None


@pytest.mark.parametrize(("number", "word"), list(enumerate(["live", "snapshot", "replay", "backfill"])))
def test_rows_know_their_origin_and_the_request_they_answer(
    codec: Codec, encoding: Encoding, number: int, word: str
) -> None:
    message = codec.decode(data(encoding, "tick", number, [tick()], 17))
    assert isinstance(message, Data)
    assert (message.origin, message.rows[0].origin, message.request_id) == (word, word, 17)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            {
                "type": "subscribed", "id": 1, "at": 7, "matched": 2,
                "recovered": False, "unrecovered": ["a"], "replayed": 3,
            },
            Reply(1, Subscribed(at=7, matched=2, recovered=False, unrecovered=("a",), replayed=3)),
        ),
        ({"type": "unsubscribed", "id": 2}, Reply(2, Unsubscribed())),
        ({"type": "snapshot_done", "id": 3, "count": 5}, Reply(3, SnapshotDone(5))),
        (
            {"type": "topics", "id": 4, "topics": [{"topic": "tick:A.SH", "seq": 1, "time": 2, "later": 0}]},
            Reply(4, TopicList([TopicInfo("tick:A.SH", 1, 2)])),
        ),
        ({"type": "pong", "id": 5, "time": 6}, Reply(5, Pong(6))),
        ({"type": "slow", "pending_bytes": 5, "limit_bytes": 10}, Slow(5, 10)),
        ({"type": "draining", "reason": "update", "close_in_ms": 500}, Draining("update", 500)),
        (
            {
                "type": "gap", "topic": "tick:A.SH", "epoch": "e", "from": 4, "to": 6,
                "from_time": None, "to_time": 9, "cause": "evicted", "by": None,
            },
            Gap("tick:A.SH", "e", 4, 6, None, 9, "evicted", None),
        ),
        ({"type": "tea_time"}, Unknown("tea_time")),
    ],
)  # fmt: skip
def test_every_message_is_read(codec: Codec, encoding: Encoding, message: object, expected: object) -> None:
    assert codec.decode(wire(encoding, message)) == expected


def test_a_heartbeat_tells_how_the_markets_are(codec: Codec, encoding: Encoding) -> None:
    markets = {"SH": {"state": "stale", "phase": "continuous", "age_ms": 15000}}
    beat = codec.decode(wire(encoding, {"type": "heartbeat", "time": 1, "at": 2, "conflated": 3, "markets": markets}))
    assert isinstance(beat, Heartbeat)
    assert (beat.time, beat.at, beat.conflated) == (1, 2, 3)
    assert (beat.markets["SH"].state, beat.markets["SH"].age_ms) == ("stale", 15000)


def test_an_error_reply_carries_code_words_and_advice(codec: Codec, encoding: Encoding) -> None:
    fields = {"code": "rate_limited", "message": "too fast", "retryable": True, "retry_in_ms": 250}
    reply = codec.decode(wire(encoding, {"type": "error", "id": 8, **fields}))
    assert isinstance(reply, Reply)
    assert isinstance(reply.result, HubError)
    assert str(reply.result) == "rate_limited: too fast"
    assert (reply.result.code, reply.result.retryable, reply.result.retry_in_ms) == ("rate_limited", True, 250)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "pong", "id": 1},
        {"type": "pong", "id": 1, "time": "noon"},
        {"type": "pong", "id": [], "time": 1},
        {"type": "topics", "id": 1, "topics": ["tick:A.SH"]},
        {"type": "welcome", **WELCOME, "schemas": {"tick": ["code"]}},
        {"type": 5},
        {"no": "type"},
        5,
        None,
        "text",
        ["tick"],
        ["tick", 0],
        ["tick", 4, []],
        ["tick", -1, []],
        ["tick", [], []],
        ["tick", 0, [1, 2]],
        ["tick", 0, [["600000.SH"]]],
        ["nothing", 0, []],
        {"type": "data", "channel": "tick", "origin": "dead", "rows": []},
        {"type": "data", "channel": "tick", "origin": "live", "rows": [{"code": "600000.SH"}]},
        {"type": "data", "channel": "tick", "origin": "live", "rows": [5]},
        {"type": "data", "channel": [], "origin": "live", "rows": []},
    ],
)
def test_what_cannot_be_read_is_an_error_of_one_line(codec: Codec, encoding: Encoding, message: object) -> None:
    with pytest.raises(ProtocolError) as caught:
        codec.decode(wire(encoding, message))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("frame", [b"", b"\xc1", b"\x81\xa1", b"\x93\x01", "", "{", "[" * 100_000, "\x00"])
def test_bytes_that_are_no_message_are_an_error(codec: Codec, frame: str | bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed message"):
        codec.decode(frame)


def test_requests_are_written_so_that_any_decoder_reads_them(codec: Codec, encoding: Encoding) -> None:
    request = {"op": "subscribe", "id": 1, "topics": ["tick:@沪深A股"], "since": {"time": 5}}
    frame = codec.encode(request)
    assert (json.loads if encoding == "json" else msgpack.unpackb)(frame) == request
    assert isinstance(frame, bytes) == (encoding == "msgpack")
