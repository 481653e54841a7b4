"""A source that plays a recorded day from a file, at its original pace, faster, or as fast as it goes.

The clock of the market is the recording's. The file is read while it is played, so its size doesn't matter.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import aclosing, closing, suppress
from datetime import date, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

from bridge.rowfile import Chunk, RecordingError, RowFile, open_rows
from bridge.rowlayout import BadRowError, parse_time
from bridge.rowsieve import BadRows, Sieve, Timed, TimeOrder
from bridge.source import Batch, Sink, SourceState, SourceStatus
from hub.schema import Row

MAX_BATCH_ROWS: Final = 8_192
"""A whole market in one second is smaller. Bounds the memory for a file whose rows all have one time."""

_SHANGHAI: Final = ZoneInfo("Asia/Shanghai")
_HOUR_MS: Final = 3_600_000

_logger = logging.getLogger("argus.recording")


class RecordingSource:
    """Plays the ticks of one file, each good row exactly once and in the order of the file.

    Batches: rows that follow each other in the file and whose ``time`` lies in the same second form one batch, as one
    whole-market callback brings them, cut after `MAX_BATCH_ROWS`. A batch is due at its newest ``time``. A host that
    stalls makes batches late; they then follow without a pause until the pace is reached again. None is left out.

    Making the source checks the file and reads through its times once, for the trading days (about half a million rows
    a second), so that what is wrong with the file as a whole is known before anything has started.

    Args:
        path: CSV, plain or gzip, or Parquet; see `rowlayout.COLUMNS`.
        speed: 1 is the original pace, by the rows' ``time``, pauses included; n is n times as fast; 0 is as fast as
            it goes.
        monotonic: wall clock in seconds, for the pace.
        sleep: how to wait for a number of seconds of that clock.

    Raises:
        RecordingError: if the file can't be played, in one line that says why.
    """

    name = "recording"
    simulated = False
    continues = False  # it would play the same rows again
    channels = frozenset({"tick"})
    markets: Mapping[str, int] = MappingProxyType({})  # not known before the file has been played

    def __init__(
        self,
        path: str | Path,
        speed: float = 1.0,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not 0 <= speed < math.inf:
            raise RecordingError(f"speed {speed} makes no sense: 1 is the original pace, 0 as fast as it goes")
        self._path = Path(path)
        self._speed = speed
        self._monotonic = monotonic
        self._sleep = sleep
        self._file = open_rows(self._path)
        self._first_ms = self._find_first_ms()
        self._trading_days = _days(self._file)
        self._bad = self._new_tally()
        self._reached_ms = self._first_ms  # the newest time of what was delivered
        self._next_ms = self._first_ms  # the time of the batch that is waited for
        self._started_s: float | None = None  # on the wall clock, while it plays at a pace

    @property
    def trading_days(self) -> frozenset[date]:
        """The days that the file has rows of, in Shanghai."""
        return self._trading_days

    @property
    def bad_rows(self) -> Mapping[str, int]:
        """Rows that were skipped so far, by cause in words."""
        return {str(cause): count for cause, count in self._bad.counts.items()}

    def now_ms(self) -> int:
        """The recording's time in epoch milliseconds.

        It runs between the batches and never past the next one; it stands still before the start and after the end.
        """
        if self._started_s is None:
            return self._reached_ms
        played_ms = (self._monotonic() - self._started_s) * 1000 * self._speed
        return max(self._reached_ms, min(self._next_ms, self._first_ms + int(played_ms)))

    def want(self, topics: frozenset[str]) -> None:
        """A recording is played whole, whatever is wanted."""

    async def run(self, sink: Sink) -> None:
        """Play the file from its start and return at its end, still connected: nothing is missing.

        Where the file turns out to be damaged, what comes before is played, and the source is away from then on.
        """
        sink.report(SourceStatus(SourceState.CONNECTED))
        self._bad = self._new_tally()
        self._reached_ms = self._next_ms = self._first_ms
        self._started_s = self._monotonic() if self._speed else None
        played = 0
        try:
            async with aclosing(self._batches()) as batches:
                async for rows in batches:
                    newest_ms = max(self._reached_ms, *(row[1] for row in rows))
                    await self._until(newest_ms)
                    self._reached_ms = newest_ms  # before they are delivered: no row is ahead of the clock
                    sink.deliver(Batch("tick", rows, time.time_ns() // 1000))
                    played += len(rows)
                    await asyncio.sleep(0)  # also when nothing was waited for: clients are to be served meanwhile
        except RecordingError as error:
            _logger.error("%s; played %d rows up to there", error, played)
            sink.report(SourceStatus(SourceState.AWAY, str(error)))
        else:
            skipped = f", skipped {self._bad.total} ({self._bad})" if self._bad.total else ""
            _logger.log(
                logging.WARNING if skipped else logging.INFO,
                "the recording %s has ended: played %d rows%s",
                self._path,
                played,
                skipped,
            )
            sink.report(SourceStatus(SourceState.CONNECTED, "the recording has ended"))
        finally:
            self._started_s = None

    async def _until(self, due_ms: int) -> None:
        self._next_ms = due_ms
        if self._started_s is not None:
            # from the start on, not from the batch before: so a delay is caught up, and small errors don't add up
            due_s = self._started_s + (due_ms - self._first_ms) / 1000 / self._speed
            wait_s = due_s - self._monotonic()
            if wait_s > 0:
                await self._sleep(wait_s)

    async def _batches(self) -> AsyncGenerator[list[Row], None]:
        batch: list[Row] = []
        second = -1
        with closing(self._sifted(self._bad)) as chunks:
            try:
                for rows in chunks:
                    for row in rows:
                        if batch and (row[1] // 1000 != second or len(batch) == MAX_BATCH_ROWS):
                            yield batch
                            batch = []
                        second = row[1] // 1000
                        batch.append(row)
                    await asyncio.sleep(0)  # a chunk is what may be parsed in one turn of the event loop
            except RecordingError:
                if batch:
                    yield batch
                raise
        if batch:
            yield batch

    def _sifted(self, bad: BadRows) -> Generator[list[Row], None, None]:
        """The good rows chunk by chunk; where the file can't be read on, all that came before, then the error."""
        sieve = Sieve(bad)
        with closing(self._file.chunks()) as chunks:
            try:
                for chunk in chunks:
                    yield sieve.sift(chunk)
            except RecordingError:
                yield sieve.sift([], final=True)
                raise
        yield sieve.sift([], final=True)

    def _find_first_ms(self) -> int:
        bad = BadRows(self._file.unit, logged_per_cause=0)  # playing logs them
        with closing(self._sifted(bad)) as chunks:
            for rows in chunks:
                if rows:
                    return int(rows[0][1])
        if bad.total:
            raise RecordingError(f"{self._path}: none of its {bad.total} rows can be used; {bad.first}")
        raise RecordingError(f"{self._path} has a header, but no rows")

    def _new_tally(self) -> BadRows:
        return BadRows(f"{self._path} {self._file.unit}")


def _days(file: RowFile) -> frozenset[date]:
    """Read through the times alone and judge them as playing will, as far as the file can be read."""
    order = TimeOrder(BadRows(file.unit, logged_per_cause=0))
    hours: set[int] = set()
    with closing(file.chunks(columns=2)) as chunks, suppress(RecordingError):  # playing reports where it is damaged
        for chunk in chunks:
            hours.update(time_ms // _HOUR_MS for time_ms, _, _ in order.place(_times(chunk), final=False))
    hours.update(time_ms // _HOUR_MS for time_ms, _, _ in order.place([], final=True))
    return frozenset(datetime.fromtimestamp(hour * _HOUR_MS / 1000, _SHANGHAI).date() for hour in hours)


def _times(chunk: Chunk) -> list[Timed]:
    timed: list[Timed] = []
    for place, cells in chunk:
        if len(cells) > 1:
            try:
                timed.append((parse_time(cells[1]), place, ()))
            except BadRowError:
                continue
    return timed
