"""The topics that a hub serves, where those are few: an edge that has the rows of these only.

Whatever else a client names is refused: rows that are not here must not be missing silently.
"""

from collections.abc import Collection, Mapping, Sequence

from hub.schema import STATUS
from hub.topics import Selector, parse


class Serving:
    """Some topics, each by its name, and the status channel.

    Args:
        topics: topics such as ``tick:600000.SH``, and universes of codes such as ``tick:@banks``.
        universes: those of the hub's operator. Others may change while clients observe them.

    Raises:
        ValueError: one of them is neither.
    """

    def __init__(self, topics: Collection[str], universes: Mapping[str, Sequence[str]]) -> None:
        self._universes = universes
        self.names = frozenset(name for text in topics for name in _names(parse(text, universes)))
        if topics and not self.names:
            raise ValueError(f"there is no topic in {', '.join(map(repr, topics))}")

    def has(self, name: str) -> bool:
        """Whether a topic is served."""
        return name in self.names or name.startswith(f"{STATUS}:")

    def covers(self, selector: Selector) -> bool:
        """Whether everything that a topic string of a client selects is served."""
        _, _, instrument = selector.text.partition(":")
        is_fixed = selector.exact is not None or instrument.removeprefix("@") in self._universes
        members = (f"{selector.channel}:{member}" for member in selector.patterns)
        return selector.channel == STATUS or (is_fixed and all(map(self.names.__contains__, members)))


def _names(selector: Selector) -> list[str]:
    for member in selector.patterns:
        if "*" in member:
            raise ValueError(f"{selector.text!r} selects by the pattern {member!r}: every topic has to be named")
    return [f"{selector.channel}:{member}" for member in selector.patterns]
