"""Telling good rows from bad ones: a bad row is counted by its cause, logged with its place, and left out.

It is never fatal, and never silent. `Sieve` puts together what a single row tells (`rowlayout.parse`) and what only its
neighbours tell (`TimeOrder`).
"""

import logging
from collections import Counter
from typing import Final

from bridge.rowfile import Chunk
from bridge.rowlayout import BadRowError, Cause, parse
from hub.schema import Row

SESSION_MS: Final = 135 * 60_000
"""The length of a session: the morning's, from the call auction at 09:15 to 11:30. Rows a little out of order are
usual (the exchanges are not in step, a start brings each instrument's last row), older ones are a fault of the file."""

WITNESSES: Final = 3
"""How many rows must contradict a row that leaps ahead. Believed, it would condemn every row behind it."""

LOGGED_PER_CAUSE: Final = 10
"""Bad rows that are logged one by one; of a file with a million of them, the summary tells the rest."""

Timed = tuple[int, int, Row]
"""The ``time`` of a row in epoch milliseconds, its place in the file, and its values."""

_logger = logging.getLogger("argus.recording")


class BadRows:
    """The count of bad rows by cause.

    Args:
        place_prefix: what stands before the place in a message, such as ``day.csv line``.
        logged_per_cause: how many of each cause are logged.
    """

    def __init__(self, place_prefix: str, logged_per_cause: int = LOGGED_PER_CAUSE) -> None:
        self.counts: Counter[Cause] = Counter()
        self.first = ""
        self._place_prefix = place_prefix
        self._logged_per_cause = logged_per_cause

    @property
    def total(self) -> int:
        """All bad rows."""
        return self.counts.total()

    def add(self, place: int, fault: BadRowError) -> None:
        """Count one bad row, and log it unless there were many of its kind."""
        message = f"{self._place_prefix} {place}: {fault}"
        self.first = self.first or message
        self.counts[fault.cause] += 1
        if self.counts[fault.cause] <= self._logged_per_cause:
            last = "; no more of these are logged" if self.counts[fault.cause] == self._logged_per_cause else ""
            _logger.warning("%s; the row is skipped (%s%s)", message, fault.cause, last)

    def __str__(self) -> str:
        return ", ".join(f"{cause}: {count}" for cause, count in self.counts.most_common())


class TimeOrder:
    """Leaves out rows whose ``time`` can't be where it is.

    That is a row more than a session before the newest time so far; and a row more than a session ahead of it, if
    each of the next `WITNESSES` rows lies more than a session before that row. So rows come out `WITNESSES` rows late.
    """

    def __init__(self, bad: BadRows) -> None:
        self._bad = bad
        self._newest_ms: int | None = None
        self._waiting: list[Timed] = []

    def place(self, rows: list[Timed], *, final: bool) -> list[Timed]:
        """Take the next rows of the file and return those that are settled, all that are left if ``final``."""
        waiting = self._waiting + rows
        settled = len(waiting) if final else max(0, len(waiting) - WITNESSES)
        good: list[Timed] = []
        for i in range(settled):
            time_ms, place, _ = timed = waiting[i]
            newest_ms = self._newest_ms
            if newest_ms is not None and newest_ms - SESSION_MS <= time_ms <= newest_ms + SESSION_MS:
                self._newest_ms = max(newest_ms, time_ms)
                good.append(timed)
            elif newest_ms is not None and time_ms < newest_ms:
                self._bad.add(
                    place, BadRowError(Cause.TIME, f"time {time_ms} is more than a session before {newest_ms}")
                )
            elif _is_refuted(time_ms, waiting[i + 1 : i + 1 + WITNESSES]):
                self._bad.add(
                    place, BadRowError(Cause.TIME, f"time {time_ms} is more than a session ahead of what follows")
                )
            else:
                self._newest_ms = time_ms
                good.append(timed)
        self._waiting = waiting[settled:]
        return good


class Sieve:
    """Turns chunks of raw cells into good rows, in the order of the file."""

    def __init__(self, bad: BadRows) -> None:
        self._bad = bad
        self._order = TimeOrder(bad)

    def sift(self, chunk: Chunk, *, final: bool = False) -> list[Row]:
        """Take the next chunk and return the rows that are settled; ``final`` also gives those that still waited."""
        timed: list[Timed] = []
        for place, cells in chunk:
            try:
                row = parse(cells)
            except BadRowError as fault:
                self._bad.add(place, fault)
            else:
                timed.append((row[1], place, row))
        return [row for _, _, row in self._order.place(timed, final=final)]


def _is_refuted(time_ms: int, following: list[Timed]) -> bool:
    return len(following) == WITNESSES and all(other_ms < time_ms - SESSION_MS for other_ms, _, _ in following)
