"""Where a simulated market goes on after it was restarted: never before what its hub has seen already."""

from collections.abc import Callable
from datetime import date, datetime, time
from typing import Final

from bridge.feed.messages import Newest
from bridge.simulator.timeline import CHINA, FIRST_START, LAST_START
from bridge.simulator.trading_days import is_trading_day, next_trading_day
from bridge.source import Batch, Interruption, Sink, SourceStatus, Told

_LONGEST_MS: Final = 366 * 86_400_000
"""Market time that may have passed, so that a fast market which was away for long stays within the calendar."""


def place_after(newest: Newest, now_us: int, speed: float) -> tuple[date, time]:
    """The trading day and the time of day at which a market stands that has gone on at ``speed`` since ``newest``.

    A time after the close or on a day without trading is 09:15 of the next trading day.
    """
    passed_ms = min(max(0, now_us - newest.recv) / 1000 * speed, _LONGEST_MS)
    seconds, milliseconds = divmod(newest.time + int(passed_ms), 1000)
    moment = datetime.fromtimestamp(seconds, CHINA).replace(microsecond=milliseconds * 1000)
    day, clock = moment.date(), moment.time()
    if clock >= LAST_START or not is_trading_day(day):
        return next_trading_day(day), FIRST_START
    return day, max(clock, FIRST_START)


class RowsSince:
    """A `bridge.source.Sink` before another one, which has all rows from before ``since_ms`` (epoch ms).

    A market that goes on begins with the newest row of every instrument; those that have not changed since are known,
    perhaps in a newer version of the run before.
    """

    def __init__(self, sink: Sink, since_ms: int) -> None:
        self.report: Callable[[SourceStatus], None] = sink.report
        self.interrupt: Callable[[Interruption], None] = sink.interrupt
        self.begin_run: Callable[[str], None] = sink.begin_run
        self.tell: Callable[[Told], None] = sink.tell
        self._deliver = sink.deliver
        self._since_ms = since_ms

    def deliver(self, batch: Batch) -> None:
        """Hand on what is new."""
        rows = [row for row in batch.rows if row[1] >= self._since_ms]
        self._deliver(Batch(batch.channel, rows, batch.recv_us, is_state=batch.is_state))
