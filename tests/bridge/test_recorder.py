"""Recording: what is observed can be played again unchanged, whatever happens to the disk or to the hub."""

import asyncio
import logging
import signal
import sys
import threading
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge import recorder as recorder_module
from bridge.recorder import Recorder
from bridge.recording import RecordingSource
from bridge.rowfile import RecordingError
from bridge.rowlayout import parse
from bridge.rowwriter import Cells, RowWriter, create_rows
from bridge.source import Batch, Observer
from hub.schema import Row
from tests.bridge.support.recordings import (
    OPEN_MS,
    SHANGHAI,
    SHENZHEN,
    Collector,
    after_ms,
    cells,
    play,
    real_day,
    rows_of_file,
)

REPOSITORY = Path(__file__).parents[2]
FORMATS = ["day.csv", "day.csv.gz", "day.parquet"]


def ticks(count: int, first: int = 0) -> list[Row]:
    return [
        parse(cells(time=str(OPEN_MS + number), volume=str(number * number))) for number in range(first, first + count)
    ]


def batch_of(*rows: Row, channel: str = "tick") -> Batch:
    return Batch(channel, rows, 0)


@pytest.mark.parametrize(
    ("day", "name"),
    [(SHENZHEN, "day.csv.gz"), (SHANGHAI, "day.csv.gz"), (SHANGHAI, "day.csv"), (SHENZHEN, "day.parquet")],
)
async def test_a_recorded_day_plays_like_the_day_itself(tmp_path: Path, day: str, name: str) -> None:
    recorder: Observer = Recorder(tmp_path / name)
    await RecordingSource(real_day(day), speed=0).run(Collector(recorder.observe))
    assert isinstance(recorder, Recorder)
    recorder.close()
    expected = rows_of_file(real_day(day))
    assert (recorder.rows_written, recorder.rows_lost) == (len(expected), 0)
    assert await play(tmp_path / name) == expected


@pytest.mark.parametrize("name", FORMATS)
async def test_nulls_and_awkward_numbers_are_kept_exactly(tmp_path: Path, name: str) -> None:
    rows: list[Row] = []
    for change in ({2: 0.1 + 0.2}, {7: 1e15 + 0.125}, {9: 2**63 - 1}, {3: None, 8: None, 14: None}, {4: 5e-324}):
        values: list[Any] = list(parse(cells()))
        for place, value in change.items():
            values[place] = value
        rows.append(tuple(values))
    recorder = Recorder(tmp_path / name)
    recorder.observe(batch_of(*rows))
    recorder.close()
    assert await play(tmp_path / name) == rows


async def test_other_channels_are_passed_over(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "day.csv")
    recorder.observe(batch_of(("600000.SH", OPEN_MS, 8.0, 8.0, 8.0, 8.0, 1, 1.0, None), channel="1m"))
    recorder.observe(batch_of(*ticks(1)))
    recorder.close()
    assert await play(tmp_path / "day.csv") == ticks(1)
    assert recorder.rows_lost == 0


async def test_a_row_that_does_not_fit_is_counted_and_logged_and_the_others_are_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = ticks(2)
    recorder = Recorder(tmp_path / "day.csv")
    recorder.observe(batch_of(first, first[:-1], second))
    recorder.close()
    assert await play(tmp_path / "day.csv") == [first, second]
    assert (recorder.rows_written, recorder.rows_lost) == (2, 1)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert f"recording to {tmp_path / 'day.csv'}, row 2: 17 values instead of 18" in record.getMessage()


async def test_rows_reach_the_file_while_the_recording_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = threading.Semaphore(0)

    class AnnouncingWriter:
        def __init__(self, path: Path) -> None:
            self._writer = create_rows(path)
            self.write, self.close, self.abandon = self._writer.write, self._writer.close, self._writer.abandon

        @property
        def safe_rows(self) -> int:
            return self._writer.safe_rows

        def flush(self) -> None:
            self._writer.flush()
            flushed.release()

    monkeypatch.setattr(recorder_module, "create_rows", AnnouncingWriter)
    monkeypatch.setattr(recorder_module, "FLUSH_S", 0.01)
    recorder = Recorder(tmp_path / "day.csv")
    for first in (0, 3):
        recorder.observe(batch_of(*ticks(3, first)))
        assert flushed.acquire(timeout=30)
        assert recorder.rows_written == first + 3
        assert await play(tmp_path / "day.csv") == ticks(first + 3)
    recorder.close()


def test_an_existing_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "day.csv").touch()
    with pytest.raises(RecordingError, match="exists already"):
        Recorder(tmp_path / "day.csv")


def test_closing_twice_is_closing_once_and_later_rows_are_counted_as_lost(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "day.csv")
    recorder.close()
    recorder.close()
    recorder.observe(batch_of(*ticks(2)))
    assert recorder.rows_lost == 2


class HeldWriter:
    """A disk that does nothing until it is let go, and then fails if it has an error to raise."""

    def __init__(self, error: Exception | None = None) -> None:
        self.safe_rows = 0
        self.rows: list[Cells] = []
        self.writes = threading.Event()
        self.go_on = threading.Event()
        self.is_closed = False
        self._error = error

    def write(self, cells: Cells) -> None:
        self.writes.set()
        assert self.go_on.wait(30)
        self.rows.append(cells)

    def flush(self) -> None:
        if self._error is not None:
            raise self._error
        self.safe_rows = len(self.rows)

    def close(self) -> None:
        self.flush()
        self.is_closed = True

    def abandon(self) -> None:
        self.is_closed = True


@pytest.fixture
def held_writer(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldWriter]:
    writer = HeldWriter()

    def create(path: Path) -> RowWriter:
        return writer

    monkeypatch.setattr(recorder_module, "create_rows", create)
    yield writer
    writer.go_on.set()


def test_observing_does_not_wait_for_the_disk(held_writer: HeldWriter) -> None:
    recorder = Recorder("day.csv")
    recorder.observe(batch_of(*ticks(2)))
    assert held_writer.writes.wait(30)
    recorder.observe(batch_of(*ticks(2)))
    assert held_writer.rows == []
    held_writer.go_on.set()
    recorder.close()
    assert len(held_writer.rows) == 4


def test_a_disk_that_cannot_keep_up_ends_the_recording_loudly_and_what_was_taken_is_written(
    held_writer: HeldWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorder_module, "WAITING_ROWS", 10)
    recorder = Recorder("day.csv")
    for first in range(0, 40, 4):
        recorder.observe(batch_of(*ticks(4, first)))
    held_writer.go_on.set()
    recorder.close()
    assert [row[8] for row in held_writer.rows] == [number * number for number in range(12)]
    assert (recorder.rows_written, recorder.rows_lost) == (12, 28)
    assert held_writer.is_closed
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "can't keep up" in record.getMessage()


@pytest.mark.parametrize(
    ("error", "shows_traceback"), [(OSError(28, "No space left on device"), False), (RuntimeError("a bug"), True)]
)
def test_a_writer_that_fails_ends_the_recording_loudly_once(
    held_writer: HeldWriter, caplog: pytest.LogCaptureFixture, error: Exception, shows_traceback: bool
) -> None:
    held_writer.__init__(error)  # type: ignore[misc]
    held_writer.go_on.set()
    recorder = Recorder("day.csv")
    recorder.observe(batch_of(*ticks(3)))
    recorder.close()
    recorder.observe(batch_of(*ticks(2)))
    assert (recorder.rows_written, recorder.rows_lost) == (0, 5)
    assert held_writer.is_closed
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert str(error.args[-1]) in record.getMessage()
    assert bool(record.exc_info) is shows_traceback


SMALL_DISK = """
import random, resource, sys
from bridge.recorder import Recorder
from bridge.rowlayout import parse
from bridge.source import Batch
from tests.bridge.support.recordings import OPEN_MS, cells
limit_bytes = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
rows = [parse(cells(time=str(OPEN_MS + n), amount=repr(random.random()), bidVol5="123456789")) for n in range(20_000)]
recorder = Recorder(sys.argv[1])
for n in range(0, len(rows), 1000):
    recorder.observe(Batch("tick", rows[n:n + 1000], 0))
recorder.close()
print(recorder.rows_written, recorder.rows_lost)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of a file")
@pytest.mark.parametrize(
    ("name", "limit_bytes"), [("day.csv", 1_000_000), ("day.csv.gz", 150_000), ("day.parquet", 150_000)]
)
async def test_a_full_disk_leaves_whole_rows_and_says_how_many(tmp_path: Path, name: str, limit_bytes: int) -> None:
    path = tmp_path / name
    async with asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SMALL_DISK, str(path), str(limit_bytes)), cwd=REPOSITORY, stdout=PIPE, stderr=PIPE
        )
        output, errors = await process.communicate()
    written, lost = map(int, output.split())
    assert written + lost == 20_000
    assert b"File too large" in errors
    assert errors.count(b"\n") == 1
    if name == "day.parquet":
        assert written == 0
    else:
        assert 0 < written < 20_000
        played = await play(path)
        assert after_ms(played) == list(range(written))
        assert {row[17][4] for row in played} == {123456789}


ENDLESS_RECORDING = """
import sys, time
from bridge.recorder import Recorder
from bridge.rowlayout import parse
from bridge.source import Batch
from tests.bridge.support.recordings import OPEN_MS, cells
recorder = Recorder(sys.argv[1])
n = 0
while True:
    recorder.observe(Batch("tick", [parse(cells(time=str(OPEN_MS + n + i))) for i in range(500)], 0))
    n += 500
    if recorder.rows_written >= 5000:
        print(recorder.rows_written, flush=True)
    time.sleep(0.001)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="Windows has no SIGKILL")
@pytest.mark.parametrize("name", ["day.csv", "day.csv.gz"])
async def test_after_a_kill_everything_up_to_the_last_flush_can_be_played(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ENDLESS_RECORDING, str(path)), cwd=REPOSITORY, stdout=PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            written = int(await process.stdout.readline())
    finally:
        process.kill()
        await process.communicate()
    played = after_ms(await play(path))
    assert len(played) >= written >= 5000
    assert played == list(range(len(played)))
