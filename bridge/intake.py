"""The door between a source and everything that observes it: what can't be true or came before is kept out.

Sources normalise what their vendor gives. Here only what no source may deliver is refused and counted, so that a fault
of one adapter never reaches a client as data; and where rows are missing or not in order, that is announced.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from re import compile as pattern
from typing import Final

from bridge.continuity import Late, Notice, Outage, Silence, market_of, notices_of_late, rows_before
from bridge.repeats import Delivered, Past, Unpublished
from bridge.source import Batch, Interruption, Observer, Publisher, SourceState, SourceStatus, Told
from hub.rows import Rows, pack_rows
from hub.schema import Row

_CODE: Final = pattern(r"[0-9A-Za-z_-]{1,24}\.[0-9A-Za-z]{1,8}")
LOGGED_ROWS: Final = 10
"""Refused rows that are logged one by one for each cause; further ones are only counted."""

AHEAD_MS: Final = 86_400_000
"""How far a row may be ahead of the source's clock. Believed, a wrong one would make all rows behind it late; so it is
refused, but only where no machine that trades could be that wrong about the day."""

_logger = logging.getLogger("argus.intake")


class Intake:
    """A `Sink` that hands good rows on, each once.

    Args:
        publisher: is given everything, in order.
        observers: are given every batch that has good rows, in order, after the publisher.
        on_status: told how the source is doing.
        on_told: given what the source says beside its rows.
        past: what the publisher has.
        was_mute: whether rows of a market were overdue at some time; see `Silence` and `hub.health.Health.was_mute`.
        away: the source was not there before: what it had after the newest row of the past is missing.
        now_ms: the source's clock. It must have reached the time of a batch, but for a day, when that is delivered.
    """

    def __init__(
        self,
        publisher: Publisher,
        observers: Sequence[Observer],
        on_status: Callable[[SourceStatus], None],
        *,
        past: Past,
        was_mute: Callable[[str, int], bool],
        away: bool,
        now_ms: Callable[[], int],
        on_told: Callable[[Told], None] = lambda _: None,
    ) -> None:
        self.refused: Counter[str] = Counter()
        """Rows that were kept out, by cause."""
        self.batches = 0
        """Batches that were handed on."""
        self._publisher = publisher
        self._observers = observers
        self._on_status = on_status
        self.tell: Callable[[Told], None] = on_told
        self._past = past
        self._now_ms = now_ms
        self._channels: dict[str, Delivered] = {}
        self._outage = Outage()
        self._silence = Silence(was_mute)
        self._run = past.run
        for topic in past.topics():
            self._delivered(topic.channel).restore(topic)
            self._silence.know(market_of(topic.code))
        if away:
            self._lose()

    def deliver(self, batch: Batch) -> None:
        """Take one batch of a source."""
        rows = batch.rows if isinstance(batch.rows, Rows) else self._pack(batch)
        delivered = self._delivered(batch.channel)
        now_ms = self._now_ms()
        may_jump = batch.channel == "tick" and self._silence.is_any(now_ms)
        before = rows_before(delivered, rows) if may_jump else None
        late: list[Late] = []
        taken = delivered.take_newer(rows, now_ms + AHEAD_MS)
        if taken < len(rows):
            kept, late = self._sift(delivered, rows, taken, now_ms)
            if len(kept) < len(rows):
                rows = rows.pick(kept)
        if rows is not batch.rows:
            batch = replace(batch, rows=rows)
        if not rows:
            if batch.number:
                self._publisher.publish(batch)
            return
        notices = self._outage.end(rows)
        if before is not None and not notices:
            notices = self._silence.end(before, rows)
        for _, lost in notices:
            _logger.warning("rows of %s are missing between the times %s and %s", lost.topic, lost.from_ms, lost.to_ms)
        self._publish(batch, [*notices, *notices_of_late(batch.channel, late)])
        self.batches += 1
        for observer in self._observers:
            observer.observe(batch)

    def report(self, status: SourceStatus) -> None:
        """Take the state of a source."""
        level = logging.INFO if status.state == "connected" else logging.WARNING
        _logger.log(level, "source is %s%s", status.state, f": {status.reason}" if status.reason else "")
        if status.state is SourceState.AWAY and not status.keeps:
            self._lose()
        self._on_status(status)

    def interrupt(self, interruption: Interruption) -> None:
        """Take notice of rows that the source lost."""
        self._silence.told(interruption.topic, interruption.to_ms)
        self._publisher.announce(interruption)

    def begin_run(self, run: str) -> None:
        """Take notice of the run that the next batches belong to. It may be the same as before."""
        if run != self._run:
            self._lose()
        self._run = run
        self._publisher.begin_run(run)

    def _lose(self) -> None:
        """Take it that rows are missing from the newest ones on, until newer ones come."""
        newest = {channel: delivered.newest_ms for channel, delivered in self._channels.items()}
        self._outage.begin({channel: time_ms for channel, time_ms in newest.items() if time_ms is not None})

    def _delivered(self, channel: str) -> Delivered:
        delivered = self._channels.get(channel)
        if delivered is None:
            delivered = self._channels[channel] = Delivered(channel, self._past)
        return delivered

    def _publish(self, batch: Batch, notices: list[Notice]) -> None:
        """Publish a batch with the notices at their places.

        Only its last part has its number: when the hub dies between two, the feeder sends all of it again, and what
        was published comes as a repeat.
        """
        start = 0
        for place, interruption in sorted(notices, key=lambda notice: notice.place):
            if place > start:
                self._publisher.publish(replace(batch, rows=batch.rows[start:place], number=0))
                start = place
            self._publisher.announce(interruption)
        self._publisher.publish(replace(batch, rows=batch.rows[start:]) if start else batch)

    def _pack(self, batch: Batch) -> Rows:
        """Pack the rows of a source in this process."""
        given = [row for row in batch.rows if _is_row(row) or self._refuse("not a row", row)]
        rows, refused = pack_rows(batch.channel, given)
        for reason in refused:
            self._refuse("not encodable", reason)
        return rows

    def _sift(self, delivered: Delivered, rows: Rows, taken: int, now_ms: int) -> tuple[list[int], list[Late]]:
        """Take the rows of a batch that need a closer look. Returns the places of all good ones, and which are late."""
        kept = list(range(taken))
        late: list[Late] = []
        unpublished = Unpublished(rows, kept)
        rest = rows[taken:]
        for place, code, time_ms, packed in zip(count(taken), rest.codes, rest.times, rest.packed, strict=False):
            fault = self._fault(code, time_ms, delivered, now_ms)
            if not fault and delivered.is_repeat(code, time_ms, packed, unpublished):
                fault = "repeat"
            if fault:
                self._refuse(fault, rows[place])
                continue
            newest_ms = delivered.take(code, time_ms, packed, unpublished)
            if newest_ms is not None:
                late.append(Late(len(kept), code, time_ms, newest_ms))
            kept.append(place)
        return kept, late

    def _fault(self, code: str, time_ms: int, delivered: Delivered, now_ms: int) -> str:
        """What is wrong with a row; empty where nothing is."""
        if time_ms <= 0:
            return "time zero"
        if time_ms >= now_ms + AHEAD_MS:
            return "time ahead"
        if code not in delivered.newest:
            if not _CODE.fullmatch(code):
                return "malformed code"
            self._silence.know(market_of(code))
        return ""

    def _refuse(self, cause: str, what: Row | str) -> bool:
        self.refused[cause] += 1
        if self.refused[cause] <= LOGGED_ROWS:
            _logger.warning("row refused, %s: %s", cause, str(what)[:160])
        return False


def _is_row(row: object) -> bool:
    """Whether it has a code and a time."""
    return isinstance(row, tuple | list) and len(row) >= 2 and isinstance(row[0], str) and isinstance(row[1], int)
