"""Playing recordings: the batches, the pace, the clock, the days, and what happens to bad rows and damaged files."""

import asyncio
import logging
import tracemalloc
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from bridge.recording import MAX_BATCH_ROWS, RecordingSource
from bridge.rowfile import CHUNK_ROWS, RecordingError
from bridge.source import Batch, Source, SourceState
from tests.bridge.support.recordings import (
    HEADER,
    OPEN_MS,
    SHANGHAI,
    SHENZHEN,
    Collector,
    StepClock,
    after_ms,
    line,
    play,
    real_day,
    rows_of_file,
    write_csv,
)

DAY_MS = 86_400_000
LUNCH_MS = 5_400_000


def at_pace(path: Path, clock: StepClock, speed: float = 1.0) -> RecordingSource:
    return RecordingSource(path, speed, monotonic=clock.monotonic, sleep=clock.sleep)


def lines_at(*times_ms: int) -> Sequence[str]:
    return [line(time_ms) for time_ms in times_ms]


@pytest.mark.parametrize(("name", "count"), [(SHENZHEN, 20_980), (SHANGHAI, 22_430)])
async def test_every_row_of_a_real_day_comes_out_once_in_order_with_its_values(name: str, count: int) -> None:
    expected = rows_of_file(real_day(name))
    assert len(expected) == count
    sink = Collector()
    source = RecordingSource(real_day(name), speed=0)
    await source.run(sink)
    assert sink.rows == expected
    assert {tuple(map(type, row)) for row in sink.rows} == {tuple(map(type, row)) for row in expected}
    assert source.bad_rows == {}


@pytest.mark.parametrize(("name", "day"), [(SHENZHEN, date(2022, 6, 1)), (SHANGHAI, date(2021, 12, 1))])
def test_the_day_of_a_real_file_is_known_before_it_plays(name: str, day: date) -> None:
    assert RecordingSource(real_day(name)).trading_days == {day}


def test_it_is_a_source_that_is_not_simulated(tmp_path: Path) -> None:
    source: Source = RecordingSource(write_csv(tmp_path / "day.csv", line()))
    assert (source.name, source.simulated, source.channels) == ("recording", False, frozenset({"tick"}))
    assert source.markets == {}  # not known


async def test_rows_of_one_second_that_follow_each_other_are_one_batch(tmp_path: Path) -> None:
    sink = Collector()
    path = write_csv(tmp_path / "day.csv", *lines_at(0, 0, 130, 999, 1000, 4000, 4000, 1000))
    await RecordingSource(path, speed=0).run(sink)
    assert [after_ms(batch.rows) for batch in sink.batches] == [[0, 0, 130, 999], [1000], [4000, 4000], [1000]]


async def test_a_batch_spans_the_chunks_in_which_the_file_is_read(tmp_path: Path) -> None:
    sink = Collector()
    path = write_csv(tmp_path / "day.csv", *lines_at(0, *[3000] * (3 * CHUNK_ROWS), 6000))
    await RecordingSource(path, speed=0).run(sink)
    assert [len(batch.rows) for batch in sink.batches] == [1, 3 * CHUNK_ROWS, 1]


async def test_a_batch_is_bounded(tmp_path: Path) -> None:
    sink = Collector()
    path = write_csv(tmp_path / "day.csv", *lines_at(*[0] * (MAX_BATCH_ROWS + 1)))
    await RecordingSource(path, speed=0).run(sink)
    assert [len(batch.rows) for batch in sink.batches] == [MAX_BATCH_ROWS, 1]


async def test_batches_are_ticks_received_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_123_456_789)
    sink = Collector()
    await RecordingSource(write_csv(tmp_path / "day.csv", line()), speed=0).run(sink)
    assert [(batch.channel, batch.recv_us) for batch in sink.batches] == [("tick", 1_700_000_000_123_456)]


@pytest.mark.parametrize("speed", [1.0, 20.0, 0.5])
async def test_batches_come_at_the_files_pace_times_the_speed(tmp_path: Path, speed: float) -> None:
    clock = StepClock()
    delivered_s: list[float] = []
    path = write_csv(tmp_path / "day.csv", *lines_at(0, 3000, 6000, 6000 + LUNCH_MS))
    start_s = clock.now_s
    source = at_pace(path, clock, speed)
    await source.run(Collector(lambda batch: delivered_s.append(clock.now_s - start_s)))
    assert delivered_s == pytest.approx([0, 3 / speed, 6 / speed, (6 + LUNCH_MS / 1000) / speed])


async def test_a_batch_is_due_at_its_newest_time(tmp_path: Path) -> None:
    clock = StepClock()
    start_s = clock.now_s
    delivered_s: list[float] = []
    path = write_csv(tmp_path / "day.csv", *lines_at(0, 3000, 3700, 3200))
    await at_pace(path, clock).run(Collector(lambda batch: delivered_s.append(clock.now_s - start_s)))
    assert delivered_s == pytest.approx([0, 3.7])


async def test_as_fast_as_it_goes_waits_for_nothing(tmp_path: Path) -> None:
    async def never(seconds: float) -> None:
        raise AssertionError(f"waited for {seconds} s")

    path = write_csv(tmp_path / "day.csv", *lines_at(0, 3000, LUNCH_MS, DAY_MS))
    sink = Collector()
    await RecordingSource(path, speed=0, sleep=never).run(sink)
    assert after_ms(sink.rows) == [0, 3000, LUNCH_MS, DAY_MS]


async def test_others_are_served_after_every_batch_when_it_goes_as_fast_as_it_can(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "day.csv", *lines_at(*range(0, 300_000, 3000)))
    sink = Collector()
    seen: list[int] = []

    async def look_on() -> None:
        while len(sink.batches) < 100:
            seen.append(len(sink.batches))
            await asyncio.sleep(0)

    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        tasks.create_task(look_on())
        tasks.create_task(RecordingSource(path, speed=0).run(sink))
    assert set(seen) == set(range(100))


async def test_others_are_served_while_a_run_of_bad_rows_is_read(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "day.csv", line(), *["bad"] * (20 * CHUNK_ROWS), line())
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    await RecordingSource(path, speed=0).run(Collector())
    counting.cancel()
    assert turns > 20


async def test_after_a_stall_it_catches_up_and_leaves_nothing_out(tmp_path: Path) -> None:
    clock = StepClock()
    start_s = clock.now_s
    delivered: list[tuple[int, float]] = []

    def on_batch(batch: Batch) -> None:
        if len(delivered) == 1:
            clock.now_s += 10  # the host stalls
        delivered.append((batch.rows[0][1] - OPEN_MS, clock.now_s - start_s))

    path = write_csv(tmp_path / "day.csv", *lines_at(0, 3000, 6000, 9000, 12000, 15000))
    await at_pace(path, clock).run(Collector(on_batch))
    assert [time_ms for time_ms, _ in delivered] == [0, 3000, 6000, 9000, 12000, 15000]
    assert [late_s for _, late_s in delivered] == pytest.approx([0, 13, 13, 13, 13, 15])


async def test_the_clock_stands_at_the_first_row_before_the_start_and_at_the_last_after_the_end(tmp_path: Path) -> None:
    clock = StepClock()
    source = at_pace(write_csv(tmp_path / "day.csv", *lines_at(0, 3000)), clock)
    clock.now_s += 100
    assert source.now_ms() == OPEN_MS
    await source.run(Collector())
    clock.now_s += 100
    assert source.now_ms() == OPEN_MS + 3000


async def test_the_clock_runs_between_batches_and_never_past_the_next(tmp_path: Path) -> None:
    clock = StepClock()
    seen: list[int] = []

    async def sleep(seconds: float) -> None:
        for step in (0.25, 0.75, 10):
            clock.now_s += step * seconds
            seen.append(source.now_ms() - OPEN_MS)

    path = write_csv(tmp_path / "day.csv", *lines_at(0, 8000))
    source = RecordingSource(path, 4, monotonic=clock.monotonic, sleep=sleep)
    await source.run(Collector(lambda batch: seen.append(source.now_ms() - OPEN_MS)))
    assert seen == [0, 2000, 8000, 8000, 8000]


async def test_the_clock_never_goes_back(tmp_path: Path) -> None:
    clock = StepClock()
    seen: list[int] = []
    path = write_csv(tmp_path / "day.csv", *lines_at(0, 9000, 3000, 6000, 12000))
    source = at_pace(path, clock)
    await source.run(Collector(lambda batch: seen.append(source.now_ms() - OPEN_MS)))
    assert seen == [0, 9000, 9000, 9000, 12000]


async def test_a_sleep_that_ends_early_leaves_the_clock_at_the_row_that_was_delivered(tmp_path: Path) -> None:
    clock = StepClock()

    async def sleep(seconds: float) -> None:
        clock.now_s += 0.9 * seconds

    seen: list[int] = []
    path = write_csv(tmp_path / "day.csv", *lines_at(0, 10_000))
    source = RecordingSource(path, monotonic=clock.monotonic, sleep=sleep)
    await source.run(Collector(lambda batch: seen.append(source.now_ms() - OPEN_MS)))
    assert seen == [0, 10_000]


async def test_as_fast_as_it_goes_the_clock_is_the_newest_row_s(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "day.csv", *lines_at(0, 3000, 6000))
    source = RecordingSource(path, speed=0)
    seen: list[int] = []
    await source.run(Collector(lambda batch: seen.append(source.now_ms() - OPEN_MS)))
    assert seen == [0, 3000, 6000]
    assert source.now_ms() == OPEN_MS + 6000


async def test_it_reports_connected_and_at_its_end_that_it_has_ended(tmp_path: Path) -> None:
    sink = Collector()
    await RecordingSource(write_csv(tmp_path / "day.csv", line()), speed=0).run(sink)
    assert [(status.state, status.reason) for status in sink.statuses] == [
        (SourceState.CONNECTED, ""),
        (SourceState.CONNECTED, "the recording has ended"),
    ]


async def test_each_run_plays_the_whole_file(tmp_path: Path) -> None:
    source = RecordingSource(write_csv(tmp_path / "day.csv", *lines_at(0, 3000), "bad"), speed=0)
    first, second = Collector(), Collector()
    await source.run(first)
    await source.run(second)
    assert first.rows == second.rows
    assert source.bad_rows == {"wrong column count": 1}


async def test_a_cancelled_run_leaves_the_clock_standing(tmp_path: Path) -> None:
    clock = StepClock()
    waits = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waits.set()
        await asyncio.Event().wait()

    path = write_csv(tmp_path / "day.csv", *lines_at(0, 3000))
    source = RecordingSource(path, monotonic=clock.monotonic, sleep=sleep)
    run = asyncio.create_task(source.run(Collector()))
    await waits.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    clock.now_s += 100
    assert source.now_ms() == OPEN_MS


def test_trading_days_are_the_days_in_shanghai(tmp_path: Path) -> None:
    midnight_ms = -(9 * 3600 + 1800) * 1000
    path = write_csv(tmp_path / "day.csv", *lines_at(midnight_ms, 0, DAY_MS + midnight_ms - 1, 5 * DAY_MS))
    assert RecordingSource(path).trading_days == {date(2022, 6, 1), date(2022, 6, 6)}


def test_a_day_that_only_rows_out_of_place_have_is_no_trading_day(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "day.csv", *lines_at(0, 400 * DAY_MS, 3000, -DAY_MS, 6000, 9000), line(time="0"), "x")
    assert RecordingSource(path).trading_days == {date(2022, 6, 1)}


BAD_LINES = {
    "wrong column count": "600000.SH,1654047000000,8.01",
    "not a number": line(lastPrice="abc"),
    "number out of range": line(volume="-1"),
    "malformed code": line(code="PINGAN"),
    "unknown exchange": line(code="600000.HK"),
    "time out of place": line(-DAY_MS),
}


@pytest.mark.parametrize("cause", BAD_LINES)
async def test_a_bad_row_is_skipped_counted_and_logged_with_file_and_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cause: str
) -> None:
    path = write_csv(tmp_path / "day.csv", line(), BAD_LINES[cause], line(3000))
    source = RecordingSource(path, speed=0)
    assert caplog.records == []
    sink = Collector()
    await source.run(sink)
    assert after_ms(sink.rows) == [0, 3000]
    assert source.bad_rows == {cause: 1}
    first, summary = (record.getMessage() for record in caplog.records if record.levelno == logging.WARNING)
    assert first.startswith(f"{path} line 3: ")
    assert summary == f"the recording {path} has ended: played 2 rows, skipped 1 ({cause}: 1)"


@pytest.mark.parametrize("name", ["day.csv", "day.csv.gz"])
def test_a_file_whose_rows_are_all_bad_is_refused_with_its_first_fault(tmp_path: Path, name: str) -> None:
    path = write_csv(tmp_path / name, BAD_LINES["not a number"], *["x"] * 1000)
    with pytest.raises(RecordingError) as caught:
        RecordingSource(path)
    assert str(caught.value) == (f"{path}: none of its 1001 rows can be used; line 2: lastPrice is 'abc', not a number")


@pytest.mark.parametrize("content", [HEADER, HEADER + "\n", HEADER + "\n\n \n"])
def test_a_file_without_rows_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "day.csv").write_text(content)
    with pytest.raises(RecordingError, match="has a header, but no rows"):
        RecordingSource(tmp_path / "day.csv")


def test_a_missing_file_is_refused_when_the_source_is_made(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="there is no recording"):
        RecordingSource(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
def test_a_speed_that_makes_no_sense_is_refused(tmp_path: Path, speed: float) -> None:
    with pytest.raises(RecordingError, match="speed"):
        RecordingSource(write_csv(tmp_path / "day.csv", line()), speed)


async def test_a_file_cut_off_is_played_up_to_the_cut_and_then_the_source_is_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = [line(3 * number, volume=str(number * number)) for number in range(5_000)]
    path = write_csv(tmp_path / "day.csv.gz", *lines)
    path.write_bytes(path.read_bytes()[:-2_000])
    source = RecordingSource(path, speed=0)
    sink = Collector()
    await source.run(sink)
    assert len(sink.rows) > 1_000
    assert after_ms(sink.rows) == list(range(0, 3 * len(sink.rows), 3))
    assert source.now_ms() == sink.rows[-1][1]
    assert [status.state for status in sink.statuses] == [SourceState.CONNECTED, SourceState.AWAY]
    assert "is cut off" in sink.statuses[-1].reason
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert f"played {len(sink.rows)} rows up to there" in record.getMessage()
    assert record.exc_info is None


async def test_even_two_rows_before_a_cut_are_played(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "day.csv.gz", *lines_at(0, 3000))
    path.write_bytes(path.read_bytes()[:-8])  # all the data, without the checksum
    assert after_ms(await play(path)) == [0, 3000]


async def test_a_file_that_goes_missing_before_the_run_puts_the_source_away(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "day.csv", line())
    source = RecordingSource(path, speed=0)
    path.unlink()
    sink = Collector()
    await source.run(sink)
    assert sink.statuses[-1].state == SourceState.AWAY


async def test_a_parquet_file_plays_like_the_csv_it_was_made_of(tmp_path: Path) -> None:
    pyarrow_csv = pytest.importorskip("pyarrow.csv", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    lines = [line(number, lastPrice=f"{8 + number / 100:.2f}", low=f"{number}.5") for number in range(2_000)]
    path = write_csv(tmp_path / "day.csv", *lines)
    table: Any = pyarrow_csv.read_csv(path)
    parquet.write_table(table, tmp_path / "day.parquet", row_group_size=300)
    assert await play(tmp_path / "day.parquet") == await play(path)


async def test_a_bad_row_of_a_parquet_file_is_skipped_and_counted(tmp_path: Path) -> None:
    pyarrow_csv = pytest.importorskip("pyarrow.csv", reason="pyarrow is not installed")
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    bad = [line(low="inf"), line(volume="-5"), line(code="X"), line(lastPrice="")]
    table: Any = pyarrow_csv.read_csv(write_csv(tmp_path / "day.csv", line(), *bad, line(3000, open="")))
    parquet.write_table(table, tmp_path / "day.parquet")
    source = RecordingSource(tmp_path / "day.parquet", speed=0)
    sink = Collector()
    await source.run(sink)
    assert [(row[1] - OPEN_MS, row[3]) for row in sink.rows] == [(0, 8.0), (3000, None)]
    assert source.bad_rows == {"not a number": 2, "number out of range": 1, "malformed code": 1}


async def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    class Forgetful(Collector):
        def deliver(self, batch: Batch) -> None:
            pass

    async def peak_bytes(rows: int) -> int:
        path = write_csv(tmp_path / f"{rows}.csv", *lines_at(*range(0, 100 * rows, 100)))
        source = RecordingSource(path, speed=0)
        tracemalloc.start()
        await source.run(Forgetful())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    small = await peak_bytes(4 * CHUNK_ROWS)
    assert await peak_bytes(20 * CHUNK_ROWS) < 1.5 * small
