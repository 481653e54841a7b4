"""What the feed tells all edges of itself, several times a second: its source, its clock, and how far it has published.

An edge that hears it and has less knows that something was lost on the way, also when nothing else comes; and one that
hears nothing knows that the feed is away.
"""

from datetime import date
from typing import Final

import msgspec

from bridge.relay.turn import Position

_TAG: Final = "argus.feed"


class State(msgspec.Struct, frozen=True, tag=_TAG):
    """How a feed is.

    Attributes:
        token: its fencing token.
        epoch, at, told: what it publishes, and up to which position it has.
        shards: over how many topics are spread.
        source, simulated, channels, trading_days, markets: as `bridge.source.Source` has them.
        now_ms: the source's clock, epoch ms, and how many times faster than the wall clock it runs.
        digests: of what the relay keeps for the edges, by kind: see `bridge.relay.keeping`.
        status, reason: as `bridge.source.SourceStatus` has them.
    """

    token: int
    epoch: str
    at: int
    told: int
    shards: int
    source: str
    simulated: bool
    channels: list[str]
    trading_days: list[date] | None
    markets: dict[str, int]
    now_ms: int
    pace: float
    status: str
    reason: str
    digests: dict[str, str] = {}

    @property
    def position(self) -> Position:
        """How far it has published."""
        return Position(self.at, self.told)


class Question(msgspec.Struct, frozen=True, array_like=True):
    """An edge asks for what follows a position of an epoch, up to about ``most`` rows."""

    epoch: str
    at: int
    told: int
    most: int


encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(State)
decode_question: Final = msgspec.msgpack.Decoder(Question).decode


def decode(message: bytes) -> State | None:
    """Read what a feed told; None for anything else."""
    try:
        return _decode.decode(message)
    except msgspec.DecodeError:
        return None
