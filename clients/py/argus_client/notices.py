"""Gaps without row numbers: which were told already, so that none is told twice.

A resumed history shows the notices of the source that have their place at or behind the position, also those that the
client was told of. Nothing numbers them; what they say is their identity.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from argus_client.messages import Gap

REMEMBERED_NOTICES: Final = 1024
"""A bad day has some dozens. Beyond this, the oldest are forgotten, and would be told again."""


def is_notice(gap: Gap) -> bool:
    """Tell whether a gap is known by what it says, and not by the numbers that it skips."""
    return gap.cause == "backfilled" or (gap.cause != "epoch" and (gap.from_seq is None or gap.to_seq is None))


class Notices:
    """The newest notices that were told."""

    def __init__(self, told: Iterable[Gap] = ()) -> None:
        self._told = dict.fromkeys(told)

    def is_news(self, gap: Gap) -> bool:
        """Tell whether a notice was not told yet, and note that it is now.

        A live one that gives no times can't be told from another outage of its topic, and counts as news: better told
        twice than swallowed.
        """
        is_nameless = gap.from_time is None and gap.to_time is None
        if gap in self._told and not (is_nameless and gap.request_id is None):
            return False
        self._told[gap] = None
        if len(self._told) > REMEMBERED_NOTICES:
            del self._told[next(iter(self._told))]
        return True


class Recent:
    """The notices that a resume after the newest place might show again, oldest first.

    Those that came before the place last moved on are among them, since their own may be that very place; older ones
    lie before it and are not shown.
    """

    def __init__(self, told: Iterable[Gap] = ()) -> None:
        self._at_place: deque[Gap] = deque(told, REMEMBERED_NOTICES)
        self._since: deque[Gap] = deque(maxlen=REMEMBERED_NOTICES)

    def __iter__(self) -> Iterator[Gap]:
        return chain(self._at_place, self._since)

    def add(self, gap: Gap) -> None:
        """Note a notice that was told."""
        self._since.append(gap)

    def move_on(self) -> None:
        """Note that the place has moved on."""
        self._at_place, self._since = self._since, deque(maxlen=REMEMBERED_NOTICES)
