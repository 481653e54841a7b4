"""What a program keeps over its own restart: how far its handlers are in the hub's stream.

A position is plain data, so that it can be written as JSON and read again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Required, TypedDict, TypeGuard

from argus_client.ledger import FromPosition, Since

_BYTES_PER_TOPIC: Final = 24
"""Quotes, colon, comma, blanks and a number of up to 16 digits, in JSON."""


class Position(TypedDict, total=False):
    """A place in one history of the hub, ``epoch``.

    ``seq`` is the number of the last row that was handled, by topic; of topics that it does not name, all up to the
    arrival number ``at`` is handled. ``unfinished`` are topics as they were subscribed whose snapshot or history had
    not come whole: what is missing of it is asked for again. ``at`` is None where no subscription has got further.
    """

    epoch: Required[str]
    at: int | None
    seq: Mapping[str, int]
    unfinished: Sequence[str]


Mark = tuple[int | None, Mapping[str, int]]
"""``at`` and ``seq`` of one subscription."""


def check_position(position: object) -> Position:
    """Return a position that was kept. Raises ValueError for what is none."""
    if not isinstance(position, dict) or not isinstance(position.get("epoch"), str) or not position["epoch"]:
        raise ValueError("a position is what position() returned: an object with epoch, at and seq")
    seqs, unfinished = position.get("seq", {}), position.get("unfinished", [])
    if not isinstance(seqs, dict) or not all(isinstance(topic, str) and _is_number(seqs[topic]) for topic in seqs):
        raise ValueError("seq of a position must give a row number for each topic")
    if position.get("at") is not None and not _is_number(position["at"]):
        raise ValueError("at of a position must be an arrival number")
    if not isinstance(unfinished, list) or not all(isinstance(text, str) for text in unfinished):
        raise ValueError("unfinished of a position must be a list of topics")
    return Position(epoch=position["epoch"], at=position.get("at"), seq=dict(seqs), unfinished=list(unfinished))


def merge(epoch: str, marks: Iterable[tuple[Sequence[str], Mark]]) -> Position:
    """Make one position of the marks of several subscriptions, each with its topics. The lowest numbers count.

    So a row may come again to one subscription, but none is missed by any.
    """
    ats: list[int] = []
    lowest: dict[str, int] = {}
    unfinished: dict[str, None] = {}
    for texts, (at, seqs) in marks:
        if at is None:
            unfinished |= dict.fromkeys(texts)
        else:
            ats.append(at)
        for topic, seq in seqs.items():
            lowest[topic] = min(seq, lowest.get(topic, seq))
    return Position(epoch=epoch, at=min(ats, default=None), seq=lowest, unfinished=list(unfinished))


def is_position(since: Since) -> TypeGuard[FromPosition]:
    """Tell whether a subscription begins after a position."""
    return isinstance(since, Mapping) and "epoch" in since


def fitting(position: FromPosition, limit_bytes: int) -> FromPosition:
    """Leave out topics from ``seq`` until a request with the position fits into so many bytes.

    Where ``at`` is known that costs only rows that are sent in vain: they are known by their numbers.
    """
    seqs: dict[str, int] = {}
    room = limit_bytes
    for topic, seq in position.get("seq", {}).items():
        room -= len(topic.encode()) + _BYTES_PER_TOPIC
        if room < 0:
            break
        seqs[topic] = seq
    return {**position, "seq": seqs}


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
