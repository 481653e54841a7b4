"""An observer that writes the ticks it sees into a file which the recording source can play.

Formatting and writing happen in a thread of its own. A disk that fails or can't keep up ends the recording, loudly;
the hub goes on.
"""

import logging
import queue
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bridge.rowlayout import BadRowError, to_cells
from bridge.rowsieve import BadRows
from bridge.rowwriter import create_rows
from bridge.source import Batch
from hub.schema import Row

FLUSH_S: Final = 1.0
"""What was taken reaches the system after this time at the latest; a killed hub loses no more."""

FLUSH_ROWS: Final = 5_000
"""... and after this many rows at the latest."""

WAITING_ROWS: Final = 200_000
"""Rows that may wait for the disk: half a minute of the busiest market, and some 250 MB."""

GIVE_WAY_ROWS: Final = 20
"""Rows that are formatted in one go (a third of a millisecond) before the event loop may run."""

BACKLOG_ROWS: Final = 20_000
"""With more rows waiting than these, to keep up comes before giving way."""

_logger = logging.getLogger("argus.recorder")


class Recorder:
    """Writes every tick row that it is given, in order, to a new file; other channels are passed over.

    A row is kept as `rowlayout.to_cells` says: without ``stockStatus`` and ``lastSettlementPrice``, with five levels;
    one that doesn't fit is counted, logged and left out. What only the player minds, such as an unknown exchange or a
    time out of place, is written all the same.

    If the hub is killed, CSV and gzip can be played up to the last flush; Parquet can't be read before it is closed.

    Args:
        path: the file to create; its suffix (``.csv``, ``.csv.gz``, ``.parquet``) chooses the format.

    Raises:
        RecordingError: if the file exists or can't be created, or its suffix says no format.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._writer = create_rows(self._path)
        self._queue: queue.SimpleQueue[Sequence[Row] | None] = queue.SimpleQueue()
        self._unfit = BadRows(f"recording to {self._path}, row")
        # Each of these is written by one thread only: first three by the event loop's, then two by the recorder's.
        self._given_rows = 0
        self._turned_away_rows = 0
        self._is_ending = False
        self._taken_rows = 0
        self._has_failed = False
        self._thread = threading.Thread(target=self._work, name="argus-recorder", daemon=True)
        self._thread.start()

    @property
    def rows_written(self) -> int:
        """Rows that can be played if the hub is killed now."""
        return self._writer.safe_rows

    @property
    def rows_lost(self) -> int:
        """Rows that were observed and will not be in the file."""
        missing = self._given_rows - self._writer.safe_rows if self._has_failed else self._unfit.total
        return missing + self._turned_away_rows

    def observe(self, batch: Batch) -> None:
        """Take the rows of a tick batch. Only queues them; never blocks and never raises."""
        if batch.channel != "tick":
            return
        if self._has_failed or self._is_ending:
            self._turned_away_rows += len(batch.rows)
            return
        if self._given_rows - self._taken_rows > WAITING_ROWS:
            _logger.error("recording to %s stops here: the disk can't keep up; the hub goes on without it", self._path)
            self._turned_away_rows += len(batch.rows)
            self._end()
            return
        self._given_rows += len(batch.rows)
        self._queue.put(batch.rows)

    def close(self) -> None:
        """Write what waits and complete the file. Blocks until that is done; may be called again."""
        if not self._is_ending:
            self._end()
        self._thread.join()

    def _end(self) -> None:
        self._is_ending = True
        self._queue.put(None)

    def _work(self) -> None:
        try:
            self._write_until_end()
        except Exception as error:  # whatever it is, a thread must not die of it unnoticed
            self._has_failed = True
            self._writer.abandon()
            _logger.error(
                "recording to %s stops after %d rows: %s; the hub goes on without it",
                self._path,
                self._writer.safe_rows,
                error.strerror if isinstance(error, OSError) and error.strerror else error,
                exc_info=not isinstance(error, OSError),
            )
        else:
            left_out = f", left out {self._unfit.total} ({self._unfit})" if self._unfit.total else ""
            _logger.info("recorded %d rows to %s%s", self._writer.safe_rows, self._path, left_out)

    def _write_until_end(self) -> None:
        unflushed = 0
        flush_due_s = 0.0
        while True:
            try:
                rows = self._queue.get(timeout=max(0.0, flush_due_s - time.monotonic()) if unflushed else None)
            except queue.Empty:
                rows = ()
            if rows is None:
                self._writer.close()
                return
            if rows and not unflushed:
                flush_due_s = time.monotonic() + FLUSH_S
            for row in rows:
                self._write(row)
                if self._taken_rows % GIVE_WAY_ROWS == 0 and self._given_rows - self._taken_rows < BACKLOG_ROWS:
                    time.sleep(0)  # lets go of the interpreter, which the event loop otherwise waits for up to 5 ms
            unflushed += len(rows)
            if unflushed >= FLUSH_ROWS or (unflushed and time.monotonic() >= flush_due_s):
                self._writer.flush()
                unflushed = 0

    def _write(self, row: Row) -> None:
        self._taken_rows += 1
        try:
            self._writer.write(to_cells(row))
        except BadRowError as fault:
            self._unfit.add(self._taken_rows, fault)
