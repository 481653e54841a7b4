"""Topic grammar: ``<channel>:<instrument>``, where the instrument may be exact, a pattern with ``*``, or ``@universe``.

Everything that a client may name is parsed here, once, into a `Selector`. Matching is linear in the length of
the code whatever the pattern, so that no pattern can be made to be slow.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hub.schema import CHANNELS, STATUS

MAX_TOPIC_CHARS: Final = 96
"""Longest topic string that is accepted. The longest code of the exchanges has 11 characters."""

_CODE: Final = re.compile(r"[0-9A-Za-z_-]+\.[0-9A-Za-z]+")
_STATUS_CODE: Final = re.compile(r"[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)?")
_PATTERN: Final = re.compile(r"[0-9A-Za-z_.*-]+")


class TopicError(ValueError):
    """A topic string that can't be used. ``code`` is the error code of the contract."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Selector:
    """What one topic string selects: one code of a channel (``exact``), or all codes that ``matches`` accepts.

    ``patterns``: the same as a list of codes and patterns.
    """

    text: str
    channel: str
    exact: str | None
    matches: Callable[[str], bool]
    patterns: Sequence[str]


def glob(pattern: str) -> Callable[[str], bool]:
    """Return a matcher for a pattern in which ``*`` stands for any run of characters, also an empty one."""
    head, *rest = pattern.split("*")
    if not rest:
        return pattern.__eq__
    *middle, tail = rest
    shortest = len(head) + len(tail)

    def matches(code: str) -> bool:
        if len(code) < shortest or not code.startswith(head) or not code.endswith(tail):
            return False
        start, end = len(head), len(code) - len(tail)
        for part in middle:  # the leftmost place for each part leaves the most room for the next: no backtracking
            start = code.find(part, start, end)
            if start < 0:
                return False
            start += len(part)
        return True

    return matches


def any_of(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a matcher for a universe: a list of codes and patterns."""
    codes = frozenset(pattern for pattern in patterns if "*" not in pattern)
    globs = [glob(pattern) for pattern in patterns if "*" in pattern]

    def matches(code: str) -> bool:
        return code in codes or any(match(code) for match in globs)

    return matches


def parse(text: str, universes: Mapping[str, Sequence[str]]) -> Selector:
    """Parse a topic string of a client.

    ``universes`` are the named lists of codes and patterns that ``@NAME`` may refer to.

    Raises:
        TopicError: ``bad_topic`` or ``unknown_channel``, with a message for the client.
    """
    shown = text if len(text) <= MAX_TOPIC_CHARS else text[:MAX_TOPIC_CHARS] + "…"
    channel, colon, instrument = text.partition(":")
    if len(text) > MAX_TOPIC_CHARS or not colon or not instrument:
        raise TopicError("bad_topic", f"{shown!r} is not a topic: it must look like tick:600000.SH")
    if channel not in CHANNELS:
        raise TopicError("unknown_channel", f"{shown!r}: there is no channel {channel!r}")
    if instrument.startswith("@"):
        universe = universes.get(instrument[1:])
        if universe is None:
            raise TopicError("bad_topic", f"{shown!r}: there is no universe {instrument!r}")
        return Selector(text, channel, None, any_of(universe), universe)
    if "*" in instrument:
        if not _PATTERN.fullmatch(instrument):
            raise TopicError("bad_topic", f"{shown!r}: a pattern holds letters, digits, '.', '_', '-' and '*'")
        return Selector(text, channel, None, glob(instrument), (instrument,))
    if not (_STATUS_CODE if channel == STATUS else _CODE).fullmatch(instrument):
        raise TopicError("bad_topic", f"{shown!r}: an instrument is a code with its exchange, such as 600000.SH")
    return Selector(text, channel, instrument, instrument.__eq__, (instrument,))


def meet(one: Selector, other: Selector) -> bool:
    """Whether there can be an instrument that both select."""
    return one.channel == other.channel and any(
        _globs_meet(pattern, against) for pattern in one.patterns for against in other.patterns
    )


def _globs_meet(one: str, other: str) -> bool:
    """Whether some text fits both patterns."""
    if "*" not in one or "*" not in other:
        return glob(one)(other) if "*" not in other else glob(other)(one)
    # Only what stands before the first star and after the last can be in the way: between them, each has room for all
    # that the other asks for.
    head, against_head = one.partition("*")[0], other.partition("*")[0]
    tail, against_tail = one.rpartition("*")[2], other.rpartition("*")[2]
    heads = head.startswith(against_head) or against_head.startswith(head)
    return heads and (tail.endswith(against_tail) or against_tail.endswith(tail))


def concerns(topic: str, selectors: Iterable[Selector]) -> bool:
    """Whether what is said of a topic, or of a pattern, concerns somebody who selected these."""
    said_of = parse(topic, {})
    return any(meet(said_of, selector) for selector in selectors)
