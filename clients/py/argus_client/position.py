"""What a program keeps over its own restart: how far its handlers are in the hub's stream.

A position is plain data, so that it can be written as JSON and read again.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Required, TypedDict, TypeGuard

from argus_client.ledger import FromPosition, Since
from argus_client.messages import Gap

_BYTES_PER_TOPIC: Final = 24
"""Quotes, colon, comma, blanks and a number of up to 16 digits, in JSON."""


class Position(TypedDict, total=False):
    """A place in one history of the hub, ``epoch``.

    ``seq`` is the number of the last row that was handled, by topic; of topics that it does not name, all up to the
    arrival number ``at`` is handled. ``unfinished`` are topics as they were subscribed whose snapshot or history had
    not come whole: what is missing of it is asked for again. ``at`` is None where no subscription has got further.
    ``partial`` has topics as they were subscribed whose history had come up to an arrival number of its own, and
    ``notices`` gaps without numbers that were told and that the hub would show again; either is left out where there
    is none.
    """

    epoch: Required[str]
    at: int | None
    seq: Mapping[str, int]
    unfinished: Sequence[str]
    partial: Mapping[str, int]
    notices: Sequence["Note"]


Note = Sequence[str | int | None]
"""A gap notice as data: ``topic``, ``cause``, ``from``, ``to``, ``from_time``, ``to_time``, ``by``."""


class Mark(NamedTuple):
    """The place of one subscription. ``is_partial``: its first history had come up to ``at`` and not whole."""

    at: int | None
    seqs: Mapping[str, int]
    is_partial: bool = False
    notices: Sequence[Note] = ()


def note_of(gap: Gap) -> Note:
    """Return what makes a notice the same as another one of its epoch."""
    return [gap.topic, gap.cause, gap.from_seq, gap.to_seq, gap.from_time, gap.to_time, gap.by]


def notice_in(epoch: str, note: Note) -> Gap:
    """Return the notice of an epoch that was kept as data."""
    topic, cause, from_seq, to_seq, from_time, to_time, by = note
    return Gap(topic, epoch, from_seq, to_seq, from_time, to_time, cause, by)  # type: ignore[arg-type]


def check_position(position: object) -> Position:
    """Return a position that was kept. Raises ValueError for what is none."""
    if not isinstance(position, dict) or not isinstance(position.get("epoch"), str) or not position["epoch"]:
        raise ValueError("a position is what position() returned: an object with epoch, at and seq")
    seqs, unfinished = position.get("seq", {}), position.get("unfinished", [])
    partial, notices = position.get("partial", {}), position.get("notices", [])
    if not _has_numbers(seqs):
        raise ValueError("seq of a position must give a row number for each topic")
    if position.get("at") is not None and not _is_number(position["at"]):
        raise ValueError("at of a position must be an arrival number")
    if not isinstance(unfinished, list) or not all(isinstance(text, str) for text in unfinished):
        raise ValueError("unfinished of a position must be a list of topics")
    if not _has_numbers(partial):
        raise ValueError("partial of a position must give an arrival number for each of its topics")
    if not isinstance(notices, list) or not all(map(_is_note, notices)):
        raise ValueError("notices of a position must be a list of gaps")
    checked = Position(epoch=position["epoch"], at=position.get("at"), seq=dict(seqs), unfinished=list(unfinished))
    return _with_optional(checked, partial, notices)


def merge(epoch: str, marks: Iterable[tuple[Sequence[str], Mark]]) -> Position:
    """Make one position of the marks of several subscriptions, each with its topics. The lowest numbers count.

    So a row may come again to one subscription, but none is missed by any.
    """
    ats: list[int] = []
    lowest: dict[str, int] = {}
    unfinished: dict[str, None] = {}
    partial: dict[str, int] = {}
    notices: dict[tuple[str | int | None, ...], Note] = {}
    for texts, mark in marks:
        if mark.at is None:
            unfinished |= dict.fromkeys(texts)
        elif mark.is_partial:  # of its own, or others would be given what they never asked for
            partial |= {text: min(mark.at, partial.get(text, mark.at)) for text in texts}
        else:
            ats.append(mark.at)
        for topic, seq in mark.seqs.items():
            lowest[topic] = min(seq, lowest.get(topic, seq))
        notices |= {tuple(note): note for note in mark.notices}
    merged = Position(epoch=epoch, at=min(ats, default=None), seq=lowest, unfinished=list(unfinished))
    return _with_optional(merged, partial, list(notices.values()))


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


def _with_optional(position: Position, partial: Mapping[str, int], notices: Sequence[Note]) -> Position:
    if partial:
        position["partial"] = dict(partial)
    if notices:
        position["notices"] = list(notices)
    return position


def _has_numbers(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(name, str) and _is_number(value[name]) for name in value)


def _is_note(value: object) -> bool:
    if not isinstance(value, list) or len(value) != 7 or not all(isinstance(text, str) for text in value[:2]):
        return False
    return all(one is None or _is_number(one) for one in value[2:6]) and isinstance(value[6], str | None)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
