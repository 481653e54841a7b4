"""Messages that no hub should carry out, generated from a seed, each kind as often as every other.

A case says which replies the contract allows: an ``error`` with one of some codes, or a close with one of some codes.
"""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from tests.e2e.support.plain_client import Control, encode

_BAD_MESSAGE: Final = frozenset({"bad_message"})
_NOTHING: Final[frozenset[int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Case:
    """One frame and what may answer it. ``text`` is the frame's type, whatever its bytes are.

    ``request_id`` is what the error must repeat; None where the frame has no id that could be read.
    """

    kind: str
    payload: bytes
    text: bool
    errors: frozenset[str] = _BAD_MESSAGE
    closes: frozenset[int] = _NOTHING
    request_id: str | None = None


def malformed(count: int, seed: int, limits: Control) -> Iterator[Case]:
    """``count`` cases, going round all kinds. ``limits`` are those of the hub's ``welcome``."""
    chance = random.Random(seed)
    makers: tuple[Callable[[random.Random], Case], ...] = (
        _truncated_msgpack,
        _truncated_json,
        _trailing_bytes,
        _wrong_type,
        _wrong_type_of_op,
        _huge_id,
        _deep_json,
        _deep_msgpack,
        _invalid_utf8_frame,
        _invalid_utf8_in_msgpack,
        _lone_surrogate,
        _unknown_op,
        lambda chance: _giant_topic_list(chance, limits["topics"]),
        _slow_pattern,
        lambda chance: _oversize(chance, limits["message_bytes"]),
        _empty_frame,
        _binary_garbage,
        _text_garbage,
        _not_json,
        _not_a_map,
        _unknown_field,
        _missing_field,
        _unknown_channel,
        _bad_topic,
        _bad_since,
        _never_subscribed,
    )
    for number in range(count):
        yield makers[number % len(makers)](chance)


def _request(kind: str, chance: random.Random, request: Control, *errors: str) -> Case:
    """A request that is encoded as it should be, in either encoding, and can't be carried out. Its id comes back."""
    request_id = f"case {chance.getrandbits(40)}"
    frame = encode({**request, "id": request_id}, chance.choice(("json", "msgpack")))
    allowed = frozenset(errors) or _BAD_MESSAGE
    if isinstance(frame, str):
        return Case(kind, frame.encode(), True, allowed, request_id=request_id)
    return Case(kind, frame, False, allowed, request_id=request_id)


def _valid(chance: random.Random) -> Control:
    return dict(
        chance.choice(
            (
                {"op": "subscribe", "topics": ["tick:600000.SH", "tick:*.SZ"], "since": {"time": 0}},
                {"op": "subscribe", "topics": ["tick:*"], "since": "none", "mode": "every"},
                {"op": "unsubscribe", "topics": ["tick:*"]},
                {"op": "snapshot", "topics": ["tick:*"]},
                {"op": "topics", "pattern": "tick:*"},
                {"op": "auth", "token": "of no meaning"},
            )
        )
    )


def _truncated_msgpack(chance: random.Random) -> Case:
    whole = msgpack.packb(_valid(chance))
    return Case("truncated msgpack", whole[: chance.randint(1, len(whole) - 1)], text=False)


def _truncated_json(chance: random.Random) -> Case:
    whole = json.dumps(_valid(chance)).encode()
    return Case("truncated JSON", whole[: chance.randint(1, len(whole) - 1)], text=True)


def _trailing_bytes(chance: random.Random) -> Case:
    if chance.random() < 0.5:
        return Case("trailing text", json.dumps(_valid(chance)).encode() + b' {"op":"ping"}', text=True)
    return Case("trailing bytes", msgpack.packb(_valid(chance)) + chance.randbytes(chance.randint(1, 9)), text=False)


_VALUES: Final[tuple[Any, ...]] = (7, -1.5, True, "x" * 5_000, [], [[]], [None], [7, "tick:*"], {}, {"a": [1]})


def _wrong_type(chance: random.Random) -> Case:
    request = _valid(chance)
    name = chance.choice([name for name in request if name != "op"])
    wrong = [value for value in _VALUES if not isinstance(value, (type(request[name]), dict))]
    # A list in place of a list of topics, or a word in place of `since`, is wrong as well, but that is another kind.
    request[name] = chance.choice([None, *wrong] if name != "since" else [*wrong, {"time": "now"}, {"time": [0]}])
    return _request(f"wrong type of {name}", chance, request)


def _wrong_type_of_op(chance: random.Random) -> Case:
    op = chance.choice([value for value in (None, *_VALUES) if not isinstance(value, str)])
    return _request("wrong type of op", chance, {"op": op, "topics": ["tick:*"]})


def _huge_id(chance: random.Random) -> Case:
    in_json = (10 ** chance.randint(20, 4_000), -(2**200), 2**64, 1e300, "9" * chance.randint(1_000, 90_000), [1] * 999)
    in_msgpack = (2**64 - 1, -(2**63), 1e300, b"\xff" * 3_000, "x" * chance.randint(1_000, 90_000), {"id": {"id": 1}})
    text = chance.random() < 0.5
    request = _valid(chance) | {"id": chance.choice(in_json if text else in_msgpack)}
    return Case("huge id", encode_any(request, text), text)


def _deep_json(chance: random.Random) -> Case:
    depth = chance.randint(1_000, 60_000)
    opening, closing = chance.choice((("[", "]"), ('{"op":', "}"), ('{"op":"ping","id":', "}"), ('[{"a":', "}]")))
    depth //= len(opening)
    return Case("deep nesting in JSON", (opening * depth + "1" + closing * depth).encode(), text=True)


def _deep_msgpack(chance: random.Random) -> Case:
    depth = chance.randint(1_000, 60_000)
    opening = chance.choice((b"\x91", b"\x81\xa2op", b"\x82\xa2op\xa4ping\xa2id"))
    return Case("deep nesting in msgpack", opening * (depth // len(opening)) + b"\x01", text=False)


def _invalid_utf8_frame(chance: random.Random) -> Case:
    whole = json.dumps(_valid(chance)).encode()
    place = chance.randrange(len(whole))
    broken = whole[:place] + chance.choice((b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf5\x80\x80\x80")) + whole[place:]
    return Case("invalid UTF-8 in a text frame", broken, text=True, errors=frozenset(), closes=frozenset({1007}))


def _invalid_utf8_in_msgpack(chance: random.Random) -> Case:
    whole = msgpack.packb({"op": "topics", "pattern": "tick:XXXX"})
    place = whole.index(b"XXXX")
    broken = (
        whole[:place] + chance.choice((b"\xff\xfe\xfd\xfc", b"\xc0\xaf\xc0\xaf", b"\xed\xa0\x80A")) + whole[place + 4 :]
    )
    return Case("invalid UTF-8 in msgpack", broken, text=False)


def _lone_surrogate(chance: random.Random) -> Case:
    topic = chance.choice(("tick:\\ud800", "tick:\\udfff*", "\\ud83d:*"))
    errors = frozenset({"bad_message", "bad_topic", "unknown_channel"})
    return Case("lone surrogate in JSON", f'{{"op":"topics","pattern":"{topic}"}}'.encode(), text=True, errors=errors)


def _unknown_op(chance: random.Random) -> Case:
    op = chance.choice(("Subscribe", "SUBSCRIBE", "", " ping", "ping\0", "关闭", "shutdown", "__init__", "x" * 100_000))
    return _request("unknown op", chance, {"op": op + "!" * chance.randint(0, 3), "topics": ["tick:*"]}, "unknown_op")


def _giant_topic_list(chance: random.Random, limit: int) -> Case:
    topics = [f"tick:{number:06}.SZ" for number in range(limit + chance.randint(1, 50))]
    if chance.random() < 0.5:
        chance.shuffle(topics)
    return _request("giant topic list", chance, {"op": "subscribe", "topics": topics}, "too_many_topics")


def _slow_pattern(chance: random.Random) -> Case:
    pattern = "tick:" + chance.choice(("*a", "*0*0", "*0**", "*(a+)+", "*?*")) * chance.randint(100, 10_000) + "!"
    field = chance.choice(({"op": "subscribe", "topics": [pattern]}, {"op": "topics", "pattern": pattern}))
    return _request("pattern made to be slow", chance, field, "bad_topic")


def _oversize(chance: random.Random, limit_bytes: int) -> Case:
    topics = json.dumps({"op": "ping", "id": "x" * (limit_bytes + chance.randint(0, limit_bytes))}).encode()
    closes = frozenset({1009})
    return Case("oversize message", topics, text=chance.random() < 0.5, errors=frozenset(), closes=closes)


def _empty_frame(chance: random.Random) -> Case:
    return Case("empty frame", b"", text=chance.random() < 0.5)


def _binary_garbage(chance: random.Random) -> Case:
    return Case("binary garbage", chance.randbytes(chance.randint(1, 3_000)), text=False)


def _text_garbage(chance: random.Random) -> Case:
    letters = [chr(chance.choice((chance.randint(0, 127), chance.randint(0x4E00, 0x9FFF)))) for _ in range(300)]
    return Case("text garbage", "".join(letters).encode(), text=True)


def _not_json(chance: random.Random) -> Case:
    broken = (
        "{'op': 'ping'}",
        '{"op": "ping",}',
        '{op: "ping"}',
        '{"op": "ping", "id": NaN}',
        '{"op": "ping", "id": Infinity}',
        '{"op": "ping", "id": 1e999}',
        '{"op": "ping", "id": 01}',
        '\ufeff{"op": "ping"}',
        '{"op": "pi\nng"}',
        '"{\\"op\\": \\"ping\\"}"',
    )
    return Case("not quite JSON", chance.choice(broken).encode(), text=True)


def _not_a_map(chance: random.Random) -> Case:
    values: tuple[Any, ...] = (
        None,
        True,
        0,
        -1,
        1.5,
        "ping",
        [],
        ["ping"],
        ["tick", 0, []],
        [{"op": "ping"}],
        {},
        {"a": 1},
        {"type": 1},
    )
    text = chance.random() < 0.5
    return Case("not a request", encode_any(chance.choice(values), text), text)


def _unknown_field(chance: random.Random) -> Case:
    name = chance.choice(("topic", "Topics", "sinse", "OP", "interval", "token ", "__class__", "x" * 1_000))
    return _request("unknown field", chance, _valid(chance) | {name: chance.choice(_VALUES)})


def _missing_field(chance: random.Random) -> Case:
    return _request("missing field", chance, chance.choice(({"op": _valid(chance)["op"]}, {"topics": ["tick:*"]})))


def _unknown_channel(chance: random.Random) -> Case:
    channel = chance.choice(("tock", "TICK", "", " tick", "tick ", "2m", "tick*", "*", "l3quote", "行情"))
    request = chance.choice(
        ({"op": "snapshot", "topics": ["tick:*", f"{channel}:*"]}, {"op": "topics", "pattern": f"{channel}:*"})
    )
    return _request("unknown channel", chance, request, "unknown_channel", "bad_topic")


_BAD_TOPICS: Final = (
    "",
    ":",
    "tick",
    "tick:",
    "600000.SH",
    "tick:600000",
    "tick:600000.",
    "tick:.SH",
    "tick: 600000.SH",
    "tick:600000.SH ",
    "tick:600000.SH\n",
    "tick:600000\0.SH",
    "tick:600000.SH,600001.SH",
    "tick:tick:600000.SH",
    "tick:６００000.SH",
    "tick:@",
    "tick:@no such universe",
    "tick:60?000.SH",
    "tick:[*",
    "tick:" + "6" * 100_000 + ".SH",
)


def _bad_topic(chance: random.Random) -> Case:
    topic = chance.choice(_BAD_TOPICS)
    request = chance.choice(
        (
            {"op": "subscribe", "topics": ["tick:600000.SH", topic]},
            {"op": "snapshot", "topics": [topic]},
            {"op": "topics", "pattern": topic},
        )
    )
    return _request("bad topic", chance, request, "bad_topic", "unknown_channel")


_BAD_SINCE: Final[tuple[Any, ...]] = (
    "",
    "None",
    "OPEN",
    "now",
    {},
    {"time": -1},
    {"time": 0.5},
    {"time": 2**63},
    {"time": None},
    {"Time": 0},
    {"time": 0, "epoch": "0" * 16},
    {"time": 0, "at": 1},
    {"time": 0, "x": 1},
    {"seq": {"tick:1.SH": -1}},
)


def _bad_since(chance: random.Random) -> Case:
    request = {"op": "subscribe", "topics": ["tick:*"], "since": chance.choice(_BAD_SINCE)}
    return _request("bad since", chance, request, "bad_message", "unavailable")


def _never_subscribed(chance: random.Random) -> Case:
    topics = [f"tick:{chance.randrange(10**6):06}.SH" for _ in range(chance.randint(1, 2_000))]
    return _request(
        "unsubscribe of what was never subscribed", chance, {"op": "unsubscribe", "topics": topics}, "bad_topic"
    )


def encode_any(value: object, text: bool) -> bytes:
    """A value of any type as JSON or msgpack."""
    frame = encode(value, "json" if text else "msgpack")
    return frame.encode() if isinstance(frame, str) else frame
