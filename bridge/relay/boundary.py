"""The relay as the rest sees it: few calls, which every relay keeps alike (tests/bridge/relay_conformance.py).

A *shard* is a stretch of topics that travel together. For each the relay keeps a stream of messages, capped, and the
newest row of every topic. There is one feed at a time: whoever holds the lease, with a token that is larger than all
before. What is done with an older token is refused, so that a feed that was paused and comes back changes nothing.
"""

from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from bridge.relay.newest import Newest
from bridge.relay.position import TurnId


class RelayAway(Exception):  # noqa: N818 (it reads as what happened)
    """The relay can't be reached, or doesn't answer; nobody knows whether what was asked for was done."""


class Refused(Exception):  # noqa: N818
    """The relay has a newer feed, or not what this one believes to be there: begin again with the lease."""


class Ousted(Exception):  # noqa: N818
    """Another feed leads, or may have led: what is here can't be published as it is."""


class Head(NamedTuple):
    """Where a shard stands. All is empty or 0 where it has nothing.

    ``last``: the newest turn of which it has a part. ``message``: that part; empty where the stream no longer has it.
    """

    epoch: str
    token: int
    last: str
    message: bytes


@dataclass(frozen=True, slots=True)
class Addition:
    """A message for one shard.

    Args:
        turn: which turn it is of.
        previous: the newest turn of this shard before it, as `str` of its id; empty: there is none under this epoch.
        keep_from: the oldest turn that the stream still has to hold.
        newest: all newest rows of the shard, as they are at the end of the turn or later; None: they are not written
            with this turn. The stream has to hold all turns since they were.
    """

    shard: int
    epoch: str
    turn: TurnId
    previous: str
    keep_from: TurnId
    message: bytes
    newest: Sequence[Newest] | None = None


class Incoming(Protocol):
    """What comes in live."""

    async def take(self, wait_s: float) -> Sequence[bytes]:
        """The next messages, in the order in which each shard published them. Raises RelayAway.

        Nothing where none came in that time.

        A message of a shard begins as `bridge.relay.turn.encode` does, what a feed told of itself begins otherwise.
        """


class Relay(Protocol):
    """Between feed and edges. Every call raises RelayAway."""

    shards: int

    # The feed

    async def lease(self, owner: str, lease_ms: int) -> int | None:
        """Become the feed, with a new token; None while another one is."""

    async def hold(self, owner: str, token: int, lease_ms: int, state: bytes) -> None:
        """Go on being the feed, and tell the edges how it is: kept, and given to all that listen. Raises Refused."""

    async def homes(self) -> tuple[str, ...]:
        """The names of the histories of the servers that have the shards.

        A server has another one where it may have lost the newest of what was given to it: after it was started
        again, and where a replica took its place.
        """

    async def keep(self, owner: str, token: int, kind: str, piece: bytes) -> None:
        """Keep a piece of a kind in place of the one before: see `bridge.relay.keeping`. Raises Refused."""

    async def fence(self, shard: int, token: int, epoch: str) -> Head:
        """Let no older feed write any more. Where the shard has another epoch, nothing is changed. Raises Refused."""

    async def begin(self, shard: int, token: int, epoch: str, newest: Sequence[Newest]) -> None:
        """Forget all that a shard has, and begin with the newest rows of an epoch. Raises Refused."""

    async def append(self, additions: Iterable[Addition]) -> None:
        """Add the parts of a turn: to the stream, to all that listen, and to the newest rows; each part all or nothing.

        Asked again for the same turn, it adds what is missing. Raises Refused.
        """

    async def confirm(self, published: bytes) -> bool:
        """Tell those that listen to a few shards how far everything is published. Returns whether anybody did."""

    # The edges

    def listen(self, shards: Collection[int]) -> AbstractAsyncContextManager[Incoming]:
        """Hear everything that is published in some shards once the block has begun, and how the feed is.

        Who does not listen to all of them hears what the feed confirms as well.
        """

    async def state(self) -> bytes:
        """What the feed told last; empty where it told nothing."""

    async def kept(self, kind: str, most: int) -> bytes:
        """The piece of a kind, or its first ``most`` bytes; empty where there is none."""

    async def newest(self, shard: int) -> tuple[Head, list[Newest]]:
        """The newest rows of a shard, and where it stands (without ``message``), both at one moment."""

    async def read(self, shard: int, after: str, most: int) -> list[tuple[str, bytes]]:
        """Messages of the stream after a turn, the oldest first, each with its turn; nothing at its end."""

    # Questions of the edges, which the feed answers

    async def wish(self, edge: str, topics: Sequence[str], lease_ms: int) -> None:
        """Say what the clients of an edge want. It holds for that long."""

    async def wishes(self) -> Mapping[str, Sequence[str]]:
        """What edges want now, by edge."""

    async def ask(self, question: bytes, answer_to: str, keep_ms: int) -> None:
        """Ask the feed. Question and answer are kept for that long."""

    async def asked(self, wait_s: float) -> tuple[bytes, str] | None:
        """The next question and where its answer goes to, if one comes in that time."""

    async def answer(self, answer_to: str, answer: bytes, keep_ms: int) -> None:
        """Answer a question."""

    async def answered(self, answer_to: str, wait_s: float) -> bytes | None:
        """The answer to a question, if it comes in that time."""

    def close(self) -> Awaitable[None]:
        """Let go of everything."""
