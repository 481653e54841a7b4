"""What the feed tells all edges of itself, several times a second: its source, its clock, and how far it has published.

An edge that hears it and has less knows that something was lost on the way, also when nothing else comes; and one that
hears nothing knows that the feed is away.
"""

from contextlib import suppress
from datetime import date
from typing import Final

import msgspec

from bridge.relay.position import Position
from bridge.relay.reach import Reach
from bridge.relay.turn import NOT_FED, Fed, MalformedError

_TAG: Final = "argus.feed"
_PUBLISHED: Final = "argus.published"


class Reign(msgspec.Struct, frozen=True, array_like=True):
    """A feed went on after another one, from a position, under a token."""

    token: int
    at: int
    told: int

    @property
    def position(self) -> Position:
        """From where."""
        return Position(self.at, self.told)


class Estate(msgspec.Struct, frozen=True):
    """What a feed leaves that another one has to know to go on: see `bridge.relay.succession`.

    Attributes:
        homes: names of the histories of the servers that have the shards, as `bridge.relay.boundary.Relay.homes` has
            them: as long as they are the same, nothing of what was published is lost.
        floor: edges may have been given rows up to here, also where it tells of an earlier position.
        name, others: of the feed, and of those that it knows to follow it, and has written down.
        reigns: the feeds that went on after another one in this epoch, the newest last.
        beat: grows each time that the feed tells.
        fed: what is there up to the position that it tells.
    """

    homes: tuple[str, ...] = ()
    floor: tuple[int, int] = (0, 0)
    name: str = ""
    others: tuple[str, ...] = ()
    reigns: tuple[Reign, ...] = ()
    beat: int = 0
    fed: Fed = NOT_FED


class State(msgspec.Struct, frozen=True, tag=_TAG):
    """How a feed is.

    Attributes:
        token: its fencing token.
        epoch, at, told: what it publishes, and up to which position it has.
        shards: over how many topics are spread.
        source, simulated, channels, trading_days, markets: as `bridge.source.Source` has them.
        now_ms: the source's clock, epoch ms, and how many times faster than the wall clock it runs.
        digests: of what the relay keeps for the edges, by kind: see `bridge.relay.keeping`.
        reach: how far the shards had come there.
        status, reason: as `bridge.source.SourceStatus` has them.
        estate: for whoever goes on after it.
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
    estate: Estate = Estate()
    digests: dict[str, str] = {}
    reach: Reach = Reach()

    @property
    def position(self) -> Position:
        """How far it has published."""
        return Position(self.at, self.told)


class Published(msgspec.Struct, frozen=True, tag=_PUBLISHED, array_like=True):
    """A feed has published everything up to a position, under a token: what a state tells, for edges of few shards.

    They can't tell by a turn whether all of it is published, and nothing else may be handed to clients.
    """

    token: int
    epoch: str
    at: int
    told: int
    reach: Reach

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
_decode_published: Final = msgspec.msgpack.Decoder(Published)
decode_question: Final = msgspec.msgpack.Decoder(Question).decode


def decode(message: bytes) -> State | None:
    """Read what a feed told; None for anything else."""
    try:
        return _decode.decode(message)
    except msgspec.DecodeError:
        return None


def decode_told(message: bytes) -> State | None:
    """Read what the relay has from the feed; None where it has nothing. Raises MalformedError."""
    state = decode(message)
    if state is None and message:
        raise MalformedError("the feed speaks another version: run the same one everywhere")
    return state


def decode_heard(message: bytes) -> State | Published:
    """Read what is heard of the feed beside turns. Raises MalformedError."""
    with suppress(msgspec.DecodeError):
        return _decode_published.decode(message)
    state = decode_told(message)
    if state is None:
        raise MalformedError("an empty message")
    return state
