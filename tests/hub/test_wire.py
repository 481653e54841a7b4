"""Rows and messages as bytes: read back with the libraries that clients use, and frames with a client's own parser."""

import json
from collections.abc import Generator
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.streams import StreamReader

from hub.messages import Pong
from hub.schema import CHANNELS
from hub.wire import (
    CODECS,
    MAX_ROWS_PER_MESSAGE,
    SUBPROTOCOLS,
    Codec,
    JsonCodec,
    MsgpackCodec,
    Origin,
    RequestId,
    as_given,
    frame,
    pack,
    split_frames,
)
from tests.hub.support.core import JSON, MSGPACK, read_frames

TICK_WIDTH = len(CHANNELS["tick"].names)
ORDER_WIDTH = len(CHANNELS["l2order"].names)

numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values = st.none() | numbers | st.text() | st.lists(numbers, max_size=5)
rows_of_orders = st.lists(st.lists(values, min_size=ORDER_WIDTH, max_size=ORDER_WIDTH), min_size=1, max_size=3)
request_ids = st.none() | st.integers(-(2**53), 2**53) | st.text(max_size=128)


def tick_rows(count: int) -> list[bytes]:
    """Encoded ticks, numbered from 1."""
    return [pack(("600000.SH", seq, 1, 1, *[None] * (TICK_WIDTH - 4))) for seq in range(1, count + 1)]


def seqs(message: dict[str, Any]) -> list[int]:
    return [row["seq"] for row in message["rows"]]


def parse_as_a_client(data: bytes) -> list[tuple[int, bytes]]:
    """Parse frames as the websockets library does it in a client."""
    reader = StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    frames = []
    while not _finish(reader.at_eof()):
        parsed = _finish(Frame.parse(reader.read_exact, mask=False))
        assert parsed.fin
        frames.append((int(parsed.opcode), bytes(parsed.data)))
    return frames


def _finish(parser: Generator[None, None, Any]) -> Any:
    try:
        next(parser)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("the parser wants more than there is")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65535, 65536, 70000])
@pytest.mark.parametrize("opcode", [1, 2])
def test_a_frame_of_any_size_is_one_whole_message_to_a_client(opcode: int, size: int) -> None:
    payload = bytes(number % 251 for number in range(size))
    assert parse_as_a_client(frame(opcode, payload)) == [(opcode, payload)]


@pytest.mark.parametrize(("size", "header"), [(125, 2), (126, 4), (65535, 4), (65536, 10)])
def test_a_frame_has_the_shortest_header_that_can_tell_its_size(size: int, header: int) -> None:
    assert len(frame(2, bytes(size))) == header + size


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.sampled_from([0, 1, 125, 126, 65535, 65536])), max_size=4))
def test_frames_back_to_back_are_split_as_they_were_put_together(parts: list[tuple[int, int]]) -> None:
    messages = [(opcode, bytes([number]) * size) for number, (opcode, size) in enumerate(parts)]
    assert list(split_frames(b"".join(frame(*message) for message in messages))) == messages


def test_the_codecs_are_found_by_subprotocol() -> None:
    assert SUBPROTOCOLS == ("argus.v1.msgpack", "argus.v1.json")
    assert {name: (codec.name, codec.subprotocol) for name, codec in CODECS.items()} == {
        "argus.v1.msgpack": ("msgpack", "argus.v1.msgpack"),
        "argus.v1.json": ("json", "argus.v1.json"),
    }


def test_a_control_message_is_a_map_in_a_binary_frame() -> None:
    ((opcode, payload),) = split_frames(MSGPACK.message(Pong(id="a", time=7)))
    assert opcode == 2
    assert msgpack.unpackb(payload) == {"type": "pong", "id": "a", "time": 7}


def test_a_control_message_is_an_object_in_a_text_frame() -> None:
    ((opcode, payload),) = split_frames(JSON.message(Pong(id="a", time=7)))
    assert opcode == 1
    assert json.loads(payload) == {"type": "pong", "id": "a", "time": 7}


@pytest.mark.parametrize("origin", Origin)
@pytest.mark.parametrize("channel", CHANNELS)
def test_rows_are_an_array_of_arrays_in_msgpack(channel: str, origin: Origin) -> None:
    row = ["600000.SH", *range(len(CHANNELS[channel].names) - 1)]
    ((opcode, payload),) = split_frames(MSGPACK.data(channel, origin, [pack(tuple(row))]))
    assert opcode == 2
    assert msgpack.unpackb(payload) == [channel, int(origin), [row]]


@pytest.mark.parametrize(("origin", "word"), [*zip(Origin, ["live", "snapshot", "replay", "backfill"], strict=True)])
@pytest.mark.parametrize("channel", CHANNELS)
def test_rows_are_objects_with_the_names_of_the_schema_in_json(channel: str, origin: Origin, word: str) -> None:
    names = CHANNELS[channel].names
    row = ["600000.SH", *range(len(names) - 1)]
    ((opcode, payload),) = split_frames(JsonCodec().data(channel, origin, [pack(tuple(row))]))
    assert opcode == 1
    expected = {"type": "data", "channel": channel, "origin": word, "rows": [dict(zip(names, row, strict=True))]}
    assert json.loads(payload) == expected


@given(rows_of_orders, request_ids)
def test_both_encodings_show_the_values_that_were_put_in(rows: list[list[Any]], request_id: RequestId) -> None:
    packed = [pack(tuple(row)) for row in rows]
    for codec in MsgpackCodec(), JsonCodec():
        (message,) = read_frames(codec.data("l2order", Origin.REPLAY, packed, request_id))
        assert [list(row.values()) for row in message["rows"]] == rows
        assert message.get("id") == request_id
        assert ("id" in message) is (request_id is not None)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("request_id", [0, "", -1, 2**53, "a" * 128, '"\\\n', "行情"])
def test_any_id_comes_back_as_it_was(codec: Codec, request_id: RequestId) -> None:
    (message,) = read_frames(codec.data("tick", Origin.SNAPSHOT, tick_rows(1), request_id))
    assert message["id"] == request_id


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("count", [1, 15, 16, 17, MAX_ROWS_PER_MESSAGE - 1, MAX_ROWS_PER_MESSAGE])
def test_rows_up_to_the_limit_travel_in_one_message(codec: Codec, count: int) -> None:
    (message,) = read_frames(codec.data("tick", Origin.LIVE, tick_rows(count)))
    assert seqs(message) == list(range(1, count + 1))


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("parts", [[500, 1], [500, 500], [500, 500, 1]], ids=str)
def test_more_rows_are_cut_in_order_and_every_part_says_whose_answer_it_is(codec: Codec, parts: list[int]) -> None:
    count = sum(parts)
    messages = read_frames(codec.data("tick", Origin.REPLAY, tick_rows(count), 9))
    assert [len(message["rows"]) for message in messages] == parts
    assert [seq for message in messages for seq in seqs(message)] == list(range(1, count + 1))
    assert {(message["origin"], message["id"]) for message in messages} == {("replay", 9)}


@pytest.mark.parametrize("codec", [MsgpackCodec(), JsonCodec()], ids=["msgpack", "json"])
def test_the_same_rows_give_the_same_bytes_whether_they_were_encoded_before_or_not(codec: Codec) -> None:
    first = codec.data("tick", Origin.LIVE, tick_rows(2))
    encoded: dict[bytes, bytes] = {}
    assert codec.data("tick", Origin.LIVE, tick_rows(2), encoded=encoded) == first
    assert codec.data("tick", Origin.LIVE, tick_rows(2), encoded=encoded) == first


def test_a_value_that_json_has_no_form_for_does_not_keep_the_row_from_a_client() -> None:
    row = pack(("600000.SH", 1, 2, 3, b"bytes", {1: 2}, *[None] * 14))
    (message,) = read_frames(JsonCodec().data("tick", Origin.LIVE, [row]))
    assert message["rows"][0]["code"] == "600000.SH"


def test_equal_rows_of_two_channels_have_each_the_names_of_its_own_channel() -> None:
    codec = JsonCodec()
    channels = ("l2quoteaux", "l2transaction")
    packed = pack(("600000.SH", 1, 1, 1, *[0] * 8))
    for channel in channels:
        (message,) = read_frames(codec.data(channel, Origin.LIVE, [packed]))
        assert tuple(message["rows"][0]) == CHANNELS[channel].names


@pytest.mark.parametrize("value", [object(), 2**64, -(2**63) - 1])
def test_a_value_that_msgpack_cannot_hold_is_an_error(value: Any) -> None:
    with pytest.raises((TypeError, OverflowError)):
        pack(("600000.SH", value))


@pytest.mark.parametrize("seq", [1, 200, 70_000, 2**33])
@pytest.mark.parametrize("code", ["600000.SH", "x" * 40 + ".SH"])
@pytest.mark.parametrize("time_ms", [5, 1_788_228_000_000])
def test_a_row_without_what_the_hub_put_in_is_what_its_source_gave(code: str, seq: int, time_ms: int) -> None:
    values = (1.5, *[None] * (TICK_WIDTH - 5))
    assert as_given("tick", pack((code, seq, time_ms, 17, *values))) == pack((code, time_ms, *values))
