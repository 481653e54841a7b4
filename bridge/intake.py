"""The door between a source and everything that observes it: what can't be true is counted and kept out.

Sources normalise what their vendor gives; here only what no source may deliver is refused, so that a fault of one
adapter never reaches a client as data.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from re import compile as pattern
from typing import Final

from bridge.source import Batch, Observer, SourceStatus
from hub.schema import Row

_CODE: Final = pattern(r"[0-9A-Za-z_-]{1,24}\.[0-9A-Za-z]{1,8}")
LOGGED_ROWS: Final = 10
"""Refused rows that are logged one by one for each cause; further ones are only counted."""

_logger = logging.getLogger("argus.intake")


class Intake:
    """A `Sink` that hands good rows on.

    Args:
        observers: are given every batch, in order.
        on_status: told how the source is doing.
    """

    def __init__(self, observers: Sequence[Observer], on_status: Callable[[SourceStatus], None]) -> None:
        self.refused: Counter[str] = Counter()
        """Rows that were kept out, by cause."""
        self.batches = 0
        """Batches that were handed on."""
        self._observers = observers
        self._on_status = on_status
        self._known: set[str] = set()

    def deliver(self, batch: Batch) -> None:
        """Take one batch of a source."""
        rows = batch.rows
        if not self._are_good(rows):
            rows = [row for row in rows if self._is_good(row)]
            batch = Batch(batch.channel, rows, batch.recv_us)
        if rows:
            self.batches += 1
            for observer in self._observers:
                observer.observe(batch)

    def report(self, status: SourceStatus) -> None:
        """Take the state of a source."""
        level = logging.INFO if status.state == "connected" else logging.WARNING
        _logger.log(level, "source is %s%s", status.state, f": {status.reason}" if status.reason else "")
        self._on_status(status)

    def _are_good(self, rows: Sequence[Row]) -> bool:
        """Whether there is nothing to refuse; nearly always so, hence looked at for all rows at once."""
        try:
            return all(row[1] > 0 and row[0] in self._known for row in rows)
        except (TypeError, IndexError):
            return False

    def _is_good(self, row: Row) -> bool:
        if len(row) < 2 or not isinstance(row[0], str) or not isinstance(row[1], int):
            return self._refuse("not a row", row)
        code, time_ms = row[0], row[1]
        if time_ms <= 0:
            return self._refuse("time zero", row)
        if code not in self._known:
            if not _CODE.fullmatch(code):
                return self._refuse("malformed code", row)
            self._known.add(code)
        return True

    def _refuse(self, cause: str, row: Row) -> bool:
        self.refused[cause] += 1
        if self.refused[cause] <= LOGGED_ROWS:
            _logger.warning("row refused, %s: %s", cause, str(row)[:160])
        return False
