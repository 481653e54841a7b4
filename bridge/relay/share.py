"""What an edge takes of what is published: all of it, or the shards in which the few topics lie that it serves."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from bridge.relay.turn import shard_of
from hub.schema import STATUS


@dataclass(frozen=True, slots=True)
class Share:
    """Some shards.

    Attributes:
        shards: their numbers.
        serves: tells by its name whether a topic in them is served.
        is_whole: whether that is everything.
    """

    shards: Collection[int]
    serves: Callable[[str], bool]
    is_whole: bool


def whole(shards: int) -> Share:
    """All of so many shards."""
    return Share(range(shards), lambda _: True, is_whole=True)


def share_of(names: Iterable[str], serves: Callable[[str], bool], shards: int) -> Share:
    """The shards, of so many, in which some topics lie, and those of the status channel. All of them: `whole`."""
    found = {shard_of(f"{STATUS}:", shards), *(shard_of(name, shards) for name in names)}
    return whole(shards) if len(found) == shards else Share(frozenset(found), serves, is_whole=False)
