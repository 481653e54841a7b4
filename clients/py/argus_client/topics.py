"""Topic grammar, as far as a client needs it: which subscription does a row belong to?

The hub sends a row once per connection, whatever number of subscriptions cover it. The hub judges whether a
topic is allowed; here only its shape is read.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from argus_client.errors import TopicError


@dataclass(frozen=True, slots=True)
class Pattern:
    """A topic that covers many codes: ``tick:688*.SH``, or a universe ``tick:@NAME``.

    Only the hub knows the members of a universe, so that here it matches every code of its channel; see
    `argus_client.ledger` for why that is never wrong.
    """

    channel: str
    codes: re.Pattern[str]

    @classmethod
    def of(cls, channel: str, instrument: str) -> "Pattern":
        """Read a pattern or universe."""
        glob = "*" if instrument.startswith("@") else instrument
        return cls(channel, re.compile(".*".join(map(re.escape, glob.split("*")))))

    def covers(self, channel: str, code: str) -> bool:
        """Tell whether a row of this channel and code belongs to it."""
        return channel == self.channel and self.codes.fullmatch(code) is not None


@dataclass(frozen=True, slots=True)
class TopicSet:
    """The topics of one subscription. ``universes`` are its universe topics by channel."""

    texts: tuple[str, ...]
    channels: frozenset[str]
    universes: Mapping[str, str]
    _exact: frozenset[tuple[str, str]]
    _patterns: tuple[Pattern, ...]

    @classmethod
    def of(cls, texts: Iterable[str]) -> "TopicSet":
        """Read topic strings; one named twice counts once. Raises TopicError if one is malformed, or there is none."""
        once = tuple(dict.fromkeys(texts))
        if not once:
            raise TopicError("name at least one topic, such as tick:600000.SH")
        exact, patterns, universes, channels = set(), [], {}, set()
        for text in once:
            channel, _, instrument = text.partition(":")
            if not channel or not instrument:
                raise TopicError(f"{text!r} is not a topic: it must look like tick:600000.SH")
            channels.add(channel)
            if instrument.startswith("@"):
                universes[channel] = text
            if instrument.startswith("@") or "*" in instrument:
                patterns.append(Pattern.of(channel, instrument))
            else:
                exact.add((channel, instrument))
        return cls(once, frozenset(channels), MappingProxyType(universes), frozenset(exact), tuple(patterns))

    def covers(self, channel: str, code: str) -> bool:
        """Tell whether a row of this channel and code belongs to one of the topics."""
        return (channel, code) in self._exact or any(pattern.covers(channel, code) for pattern in self._patterns)

    def may_overlap(self, other: "TopicSet") -> bool:
        """Tell whether a code may belong to both sets; for two patterns of one channel the answer is always yes."""
        return (
            any(other.covers(*key) for key in self._exact)
            or any(self.covers(*key) for key in other._exact)
            or any(mine.channel == theirs.channel for mine in self._patterns for theirs in other._patterns)
        )
