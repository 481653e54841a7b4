"""Who may go on in an epoch, and from where: the rules by which no row gets two numbers, and no number two rows.

A feed may go on after another one only where it is proven that it has exactly what was published: all of it, since
edges have it, and nothing more, since that may be numbered otherwise by now. Where that can't be proven, a new epoch
begins. All of it is judged from what the relay says and what feeds remember. No input or output here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from bridge.relay.boundary import Head
from bridge.relay.position import Position, TurnId
from bridge.relay.record import MOST_REIGNS, Kept
from bridge.relay.state import State
from bridge.relay.turn import MalformedError, decode

_PREFIX: Final = "feed "


class Unproven(Exception):  # noqa: N818 (it reads as what happened)
    """It can't be proven that the epoch can be gone on with. The text says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """What the relay says to a feed that has just got the lease.

    Attributes:
        told: what the feed before told last.
        heads: of all shards, as they were before this feed changed anything.
        homes: as they were before and after the heads were asked for; none where those differ.
        alone: no other feed can have led since this one did: none stood by, or each of them says so.
    """

    told: State | None
    heads: Sequence[Head]
    homes: tuple[str, ...]
    alone: bool


class Verdict(NamedTuple):
    """How to go on.

    Attributes:
        end: up to where everything is published; None: that is not known.
        fill: whether the relay has to be filled anew, because it lacks something, or has what does not belong there.
        succeeds: whether another feed led before: up to ``end`` its rows have to be here, and no others.
        half: where a turn would end that is half published, where this feed goes on after itself.
    """

    end: Position | None
    fill: bool
    succeeds: bool
    half: Position = Position(0, 0)


def judge(epoch: str, is_empty: bool, kept: Kept, found: Found) -> Verdict:
    """How a feed that has a history of an epoch goes on with it. Raises Unproven.

    Args:
        is_empty: it has no row and no notice yet.
        kept: what it remembers.
    """
    told = found.told
    is_ours = kept.epoch != epoch or kept.led  # of an epoch that nothing is remembered of nobody else knew
    is_alone = is_ours and (found.alone or (is_empty and kept.epoch != epoch))
    if told is None or told.epoch != epoch:
        if is_alone:
            return Verdict(None, fill=True, succeeds=False)
        what = "nothing" if told is None else "another history"
        raise Unproven(f"the relay has {what}, and another feed may have gone on meanwhile")
    is_truthful = bool(found.homes) and found.homes == told.estate.homes
    if is_ours and (kept.epoch != epoch or told.token == kept.token):
        if not (is_truthful or is_alone):
            raise Unproven("Redis may have lost what another feed has published meanwhile")
        end = published_end(found.heads, told)
        return Verdict(None, True, False) if end is None else Verdict(end.position, end.is_foreign, False, end.half)
    if not is_truthful:
        raise Unproven("Redis may have lost the newest of what was published")
    if kept.name not in told.estate.others:
        raise Unproven("the feed that led before did not know yet that this one follows")
    end = published_end(found.heads, told)
    if end is None:
        raise Unproven("the relay does not have all that was published")
    return Verdict(end.position, not end.is_whole, succeeds=True)


class End(NamedTuple):
    """Up to where everything is published, and whether there is nothing behind it: else half a turn, up to ``half``.

    ``is_foreign``: that half turn may be of another feed than the one that told its state last.
    """

    position: Position
    is_whole: bool
    half: Position = Position(0, 0)
    is_foreign: bool = False


def published_end(heads: Sequence[Head], told: State) -> End | None:
    """Where the relay ends, by its own account; None where that can't be told from it."""
    if any(head.epoch != told.epoch for head in heads):
        return None
    newest = max(heads, key=lambda head: TurnId.parse(head.last))
    if not newest.last:  # filled anew, and nothing added since
        is_known = all(head.token <= told.token for head in heads)
        end = End(told.position, True)
        return end if is_known and end.position >= told.estate.floor else None
    if not newest.message or TurnId.parse(newest.last).token > told.token:
        return None
    try:
        part = decode(newest.message)
    except MalformedError:  # of another version
        return None
    is_whole = all(head.last == newest.last for shard, head in enumerate(heads) if part.shards >> shard & 1)
    end = End(part.end, True) if is_whole else End(part.begin, False, part.end, part.turn.token != told.token)
    return end if end.position >= told.estate.floor else None


def divergence(kept: Kept, told: State) -> Position | None:
    """From where on other feeds numbered otherwise than what a feed's own journal may have; None: nowhere.

    Raises Unproven where that can't be told any more.
    """
    token = kept.token if kept.epoch == told.epoch else 0
    later = [reign for reign in told.estate.reigns if reign.token > token]
    if len(later) == MOST_REIGNS:
        raise Unproven("too many other feeds have led since this one did")
    return later[0].position if later else None


def announce(kept: Kept) -> tuple[str, list[str]]:
    """How a feed that does not lead makes itself known: in the place of an edge's name and wishes."""
    return _PREFIX + kept.name, [f"{kept.epoch} {kept.token}"]


def is_feed(name: str) -> bool:
    """Whether it is a feed that makes itself known, and not an edge that wishes."""
    return name.startswith(_PREFIX)


def announced(wishes: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, int]]:
    """By name, the feeds that make themselves known: the epoch that each has, and the newest token that it knows."""
    found = {}
    for name, words in wishes.items():
        if is_feed(name) and len(words) == 1:
            epoch, _, token = words[0].partition(" ")
            found[name.removeprefix(_PREFIX)] = epoch, int(token)
    return found


def follows_on(kept: Kept, feeds: Mapping[str, tuple[str, int]]) -> bool:
    """Whether a feed that is there knows of a later reign in this one's epoch, and so may have what this one lacks."""
    return any(epoch == kept.epoch and token > kept.token for epoch, token in feeds.values())


def are_alone(kept: Kept, feeds: Mapping[str, tuple[str, int]]) -> bool:
    """Whether all others that ever followed say that they know of no feed after this one."""
    known = {name: token for name, (epoch, token) in feeds.items() if epoch == kept.epoch}
    return all(name in known and known[name] <= kept.token for name in kept.others)
