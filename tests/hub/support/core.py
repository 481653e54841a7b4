"""A small hub without sockets, and clients that keep what they were sent, for the tests of the core's parts."""

import json
from collections.abc import Callable, Sequence, Set
from typing import Any

import msgpack

from hub.auth import Token
from hub.core import Hub, SourceInfo
from hub.history import History
from hub.limits import Limits
from hub.outbox import Outbox
from hub.rows import Rows, pack_rows
from hub.schema import CHANNELS, Row
from hub.session import Session
from hub.wire import CODECS, SUBPROTOCOLS, split_frames

EPOCH = "0123456789abcdef"
MSGPACK, JSON = (CODECS[subprotocol] for subprotocol in SUBPROTOCOLS)
_ORIGINS = ("live", "snapshot", "replay", "backfill")


def row_of(channel: str, code: str, time_ms: int = 1, *values: Any) -> Row:
    """A row as a source gives it; the values that are not told are null."""
    width = len(CHANNELS[channel].source_names)
    return (code, time_ms, *values, *[None] * (width - 2 - len(values)))


def tick(code: str, time_ms: int = 1, *values: Any) -> Row:
    """A row of the tick channel as a source gives it."""
    return row_of("tick", code, time_ms, *values)


def packed(*rows: Row, channel: str = "tick") -> Rows:
    """Rows as they travel to their numbers."""
    found, refused = pack_rows(channel, rows)
    assert not refused
    return found


def read_frames(frames: bytes) -> list[dict[str, Any]]:
    """Decode frames of either encoding with other libraries than the hub's, into the shape of the JSON messages."""
    messages = []
    for opcode, payload in split_frames(frames):
        message = msgpack.unpackb(payload) if opcode == 2 else json.loads(payload)
        if isinstance(message, list):
            channel, origin, rows, *request_id = message
            named = [dict(zip(CHANNELS[channel].names, row, strict=True)) for row in rows]
            message = {"type": "data", "channel": channel, "origin": _ORIGINS[origin], "rows": named}
            message |= {"id": request_id[0]} if request_id else {}
        messages.append(message)
    return messages


def told(messages: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Messages in short: a tuple for each row, gap, error, or other message."""
    story: list[tuple[Any, ...]] = []
    for message in messages:
        if message["type"] == "data":
            story += [(message["origin"], row["code"], row["seq"]) for row in message["rows"]]
        elif message["type"] == "gap":
            story.append(("gap", message["topic"], message["from"], message["to"]))
        elif message["type"] == "error":
            story.append(("error", message["code"]))
        else:
            story.append((message["type"],))
    return story


def _ignore(_: object) -> None:
    """Where nobody listens."""


def make_hub(
    ring_rows: int = 1000,
    ring_bytes: int = 1 << 24,
    channels: Sequence[str] = ("tick", "1m"),
    on_wants: Callable[[Set[str]], None] = _ignore,
) -> Hub:
    """A hub with a few universes whose source gives ticks and bars of one minute."""
    return Hub(
        epoch=EPOCH,
        source=SourceInfo("test", simulated=True),
        channels=set(channels),
        history=History(ring_rows=ring_rows, ring_bytes=ring_bytes),
        universes={"two": ["600001.SH", "688*.SH"]},
        on_wants=on_wants,
        on_refused=_ignore,
        day_start_ms=lambda: 0,
    )


def publish(hub: Hub, *codes: str, time_ms: int = 1, is_state: bool = False) -> None:
    """Publish one tick for each code, in order, as one batch."""
    hub.publish("tick", [tick(code, time_ms) for code in codes], 1, is_state=is_state)


class Client:
    """A client of a hub: its session and outbox, and the wire that they write to."""

    def __init__(
        self,
        hub: Hub,
        *,
        codec: Any = JSON,
        topics: int = 100,
        requests_per_s: float = 1e9,
        limit_bytes: int = 1 << 24,
        token: Token | None = None,
        authorized: bool = False,
    ) -> None:
        self.hub = hub
        self.closed: list[int] = []
        self.overflows = 0
        self._wire: list[bytes] = []
        self.outbox = Outbox(codec, hub.epoch, self._wire.append, limit_bytes, self._overflow, hub.counts)
        self.session = Session(
            "s-1",
            hub,
            self.outbox,
            Limits(1 << 16, topics, requests_per_s, limit_bytes),
            token=token,
            authorized=authorized,
            close=lambda code, _: self.closed.append(code),
            now_s=0.0,
        )

    def _overflow(self) -> None:
        self.overflows += 1

    def ask(self, op: str, *, now_s: float = 0.0, time_ms: int = 0, **fields: Any) -> None:
        """Send one request."""
        self.session.receive(json.dumps({"op": op, **fields}), now_s, time_ms)

    def pump(self) -> None:
        """Take everything that the outbox has to give now."""
        for _ in range(10_000):
            if not self.outbox.pump(self.hub.history.delivered_at, 0.0):
                return
        raise AssertionError("the outbox doesn't get on")

    def messages(self) -> list[dict[str, Any]]:
        """What was written since the last call."""
        frames = b"".join(self._wire)
        self._wire.clear()
        return read_frames(frames)

    def answer(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send one request, and return the one message that comes at once."""
        assert self.messages() == []
        self.ask(op, **fields)
        (message,) = self.messages()
        return message

    def told(self) -> list[tuple[Any, ...]]:
        """What was written since the last call, in short."""
        return told(self.messages())
