import asyncio
import time as wall
from collections.abc import Callable, Sequence
from datetime import date, datetime, time
from itertools import chain, pairwise
from typing import Any

import pytest

from bridge.simulator import Fault, SimulatorSource, SourceCrashed
from bridge.simulator.timeline import CHINA
from bridge.source import Batch, Source, SourceState, SourceStatus
from hub.schema import Row

DAY = date(2026, 9, 1)


class FakeTime:
    """A clock that only sleeping moves, so that a market at speed 1 is made without waiting."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept_s: list[float] = []

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds
        await asyncio.sleep(0)


class Enough(Exception):  # noqa: N818
    """The sink has what the test needs."""


class Collector:
    """Takes ``count`` batches, then ends the run."""

    def __init__(self, count: int, watch: Callable[[Batch], None] = lambda _batch: None) -> None:
        self.batches: list[Batch] = []
        self.statuses: list[SourceStatus] = []
        self.told: list[Any] = []
        self._count = count
        self._watch = watch

    def deliver(self, batch: Batch) -> None:
        self.batches.append(batch)
        self._watch(batch)
        if len(self.batches) == self._count:
            raise Enough

    def report(self, status: SourceStatus) -> None:
        self.statuses.append(status)

    def tell(self, told: Any) -> None:
        self.told.append(told)

    @property
    def rows(self) -> list[list[Row]]:
        return [list(batch.rows) for batch in self.batches]


def simulator(**settings: Any) -> SimulatorSource:
    usual: dict[str, Any] = {"symbols": 30, "speed": 0.0, "start": time(10, 0)}
    return SimulatorSource(**usual | settings)


async def collect(source: Source, count: int, watch: Callable[[Batch], None] = lambda _batch: None) -> Collector:
    sink = Collector(count, watch)
    with pytest.raises(Enough):
        await source.run(sink)
    return sink


def market_ms(clock: str, day: date = DAY) -> int:
    return int(datetime.combine(day, time.fromisoformat(clock), CHINA).timestamp()) * 1000


def test_it_says_what_it_is() -> None:
    source: Source = simulator()
    assert source.name == "simulator"
    assert source.simulated
    assert source.channels == {"tick"}
    assert source.now_ms() == market_ms("10:00:00")


def test_it_starts_at_half_past_nine_on_a_fixed_day_unless_told_otherwise() -> None:
    assert SimulatorSource(symbols=5).now_ms() == market_ms("09:30:00")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"symbols": 0}, "the simulator has 1 to 60000 symbols, not 0"),
        ({"interval_s": 0.0}, "interval must be 0.1 to 600 seconds, not 0"),
        ({"interval_s": float("nan")}, "interval must be 0.1 to 600 seconds, not nan"),
        ({"speed": -1.0}, r"speed must be 0 \(as fast as it goes\) or more, not -1"),
        ({"start": time(9)}, "the simulated day starts between 09:15 and 15:00, not 09:00:00"),
        ({"start": time(15)}, "the simulated day starts between 09:15 and 15:00, not 15:00:00"),
        ({"day": date(2026, 10, 1)}, "2026-10-01 is not a trading day"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        simulator(**settings)


async def test_the_first_batch_is_a_snapshot_of_every_instrument_and_then_come_changes() -> None:
    source = simulator(symbols=150, start=time(13, 30))
    sink = await collect(source, 5)
    snapshot, *changes = sink.rows
    codes = [row[0] for row in snapshot]
    assert codes == [instrument.code for instrument in source.instruments]
    assert all(row[1] < market_ms("13:30:00") for row in snapshot)
    for rows in changes:
        assert 0.4 * len(codes) < len(rows) < len(codes)
        assert len({row[0] for row in rows}) == len(rows)
    assert {batch.channel for batch in sink.batches} == {"tick"}
    assert sink.statuses == [SourceStatus(SourceState.CONNECTED)]


async def test_batches_are_received_by_the_wall_clock() -> None:
    before_us = wall.time_ns() // 1000
    sink = await collect(simulator(), 3)
    after_us = wall.time_ns() // 1000
    received = [batch.recv_us for batch in sink.batches]
    assert before_us <= received[0] <= received[1] <= received[2] <= after_us


async def test_the_same_settings_give_the_same_batches_at_any_speed() -> None:
    fake = FakeTime()
    fast = await collect(simulator(speed=0.0), 60)
    slow = await collect(simulator(speed=1.0, clock=fake.clock, sleep=fake.sleep), 60)
    other = await collect(simulator(seed=2), 60)
    assert fast.rows == slow.rows
    assert fast.rows != other.rows


async def test_at_speed_one_a_batch_is_delivered_per_interval_when_its_market_time_is_over() -> None:
    fake = FakeTime()
    delivered_s: list[float] = []
    source = simulator(speed=1.0, symbols=200, clock=fake.clock, sleep=fake.sleep)
    sink = await collect(source, 6, lambda _batch: delivered_s.append(fake.now_s))
    assert delivered_s == pytest.approx([0, 3, 6, 9, 12, 15])
    for number, rows in enumerate(sink.rows[1:]):
        start_ms = market_ms("10:00:00") + 3000 * number
        assert all(start_ms <= row[1] < start_ms + 3000 for row in rows)


async def test_the_work_of_a_batch_is_spread_over_its_interval_and_lets_the_loop_run() -> None:
    fake = FakeTime()
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turns_at_delivery: list[int] = []
    source = simulator(speed=1.0, symbols=640, clock=fake.clock, sleep=fake.sleep)
    counter = asyncio.create_task(count_turns())
    await collect(source, 4, lambda _batch: turns_at_delivery.append(turns))
    counter.cancel()
    assert all(after - before >= 10 for before, after in pairwise(turns_at_delivery)), "ten chunks of 64"
    assert max(fake.slept_s) < 0.3 + 1e-6, "no more than a tenth of the interval at once"


async def test_after_a_stall_it_catches_up_without_skipping_a_row() -> None:
    steady = await collect(simulator(), 40)
    fake = FakeTime()
    delivered_s: list[float] = []

    def stall_once(batch: Batch) -> None:
        delivered_s.append(fake.now_s)
        if len(delivered_s) == 10:
            fake.now_s += 30

    stalled = await collect(simulator(speed=1.0, clock=fake.clock, sleep=fake.sleep), 40, stall_once)
    assert stalled.rows == steady.rows
    assert delivered_s[9] == pytest.approx(27)
    assert delivered_s[10:19] == pytest.approx([57] * 9), "ten intervals late, so nine at once"
    assert delivered_s[20:] == pytest.approx([60 + 3 * number for number in range(20)])


async def test_the_clock_never_goes_back_nor_lags_behind_a_delivered_row() -> None:
    for speed in (0.0, 1.0):
        fake = FakeTime()
        source = simulator(speed=speed, start=time(11, 29, 51), clock=fake.clock, sleep=fake.sleep)
        seen: list[int] = [source.now_ms()]

        def look(batch: Batch, source: SimulatorSource = source, seen: list[int] = seen) -> None:
            seen.append(source.now_ms())
            assert all(row[1] < source.now_ms() for row in batch.rows)

        await collect(source, 8, look)
        assert seen == sorted(seen)
        assert seen[-1] > market_ms("13:00:00"), "lunch is skipped"


async def test_between_batches_the_clock_follows_its_pace_but_not_beyond_the_batch_being_made() -> None:
    fake = FakeTime()
    source = simulator(speed=2.0, clock=fake.clock, sleep=fake.sleep)
    fake.now_s += 100
    assert source.now_ms() == market_ms("10:00:00"), "not running yet"

    def look(batch: Batch) -> None:
        now_ms = source.now_ms()
        fake.now_s += 0.5
        assert source.now_ms() == now_ms + (1000 if len(sink.batches) == 1 else 0)
        fake.now_s += 100
        assert source.now_ms() == min(now_ms + 3000, market_ms("10:00:03"))

    sink = Collector(2, look)
    with pytest.raises(Enough):
        await source.run(sink)


async def test_it_goes_on_with_the_next_trading_day_after_the_close() -> None:
    source = simulator(day=date(2026, 9, 4), start=time(14, 59, 54))
    sink = await collect(source, 5)
    assert DAY not in source.trading_days
    assert {date(2026, 9, 4), date(2026, 9, 7)} <= source.trading_days
    assert date(2026, 9, 5) not in source.trading_days
    snapshot = sink.rows[0]
    close, morning = next(pair for pair in pairwise(sink.rows) if pair[0][0][11] == 15)
    assert {row[11] for row in close} == {15}
    assert len(morning) == len(snapshot)
    assert {row[1] // 1000 for row in morning} <= {
        market_ms("09:15:00", date(2026, 9, 7)) // 1000 + s for s in range(3)
    }
    assert all(row[8] == row[9] == row[13] == 0 for row in morning)
    newest = {row[0]: row for row in chain(snapshot, close)}
    assert len(close) >= 0.9 * len(snapshot)
    assert all(row[6] == (newest[row[0]][2] or newest[row[0]][6]) for row in morning)


async def test_a_cancelled_run_goes_on_where_it_stood() -> None:
    whole = await collect(simulator(symbols=200), 6)
    source = simulator(symbols=200)
    delivered = asyncio.Event()
    sink = Collector(1_000_000, lambda _batch: delivered.set() if len(sink.batches) == 2 else None)
    task = asyncio.create_task(source.run(sink))
    await delivered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    first = len(sink.batches)
    again = await collect(source, 6 - first + 1)
    assert sink.rows + again.rows[1:] == whole.rows
    assert len(again.rows[0]) == 200, "a run begins with a snapshot"


def faulty(*texts: str, **settings: Any) -> SimulatorSource:
    return simulator(faults=[Fault.parse(text) for text in texts], **settings)


async def clean_rows(count: int, **settings: Any) -> list[list[Row]]:
    return (await collect(simulator(**settings), count)).rows


async def test_silence_keeps_rows_back_without_a_word_while_the_clock_goes_on() -> None:
    clean = await clean_rows(20)
    source = faulty("silence@9+15")
    clocks: list[int] = []
    sink = await collect(source, 15, lambda _batch: clocks.append(source.now_ms()))
    assert sink.rows == clean[:3] + clean[8:]
    assert clocks[3] - clocks[2] == 18_000
    assert sink.statuses == [SourceStatus(SourceState.CONNECTED)]


async def test_a_disconnect_is_reported_and_its_rows_are_not_delivered() -> None:
    clean = await clean_rows(12)
    order: list[str] = []
    sink = Collector(8, lambda _batch: order.append("batch"))
    report = sink.report

    def note(status: SourceStatus) -> None:
        order.append(status.state)
        report(status)

    sink.report = note  # type: ignore[method-assign]
    with pytest.raises(Enough):
        await faulty("disconnect@6+12").run(sink)
    assert sink.rows == clean[:2] + clean[6:]
    assert order == ["connected", "batch", "batch", "away", "connected", *["batch"] * 6]
    assert [status.reason for status in sink.statuses] == ["", "simulated disconnect for 12 s", ""]


@pytest.mark.parametrize("fault", ["silence@0+6", "disconnect@0+6"])
async def test_a_snapshot_that_a_fault_kept_back_comes_when_it_is_over(fault: str) -> None:
    clean = await clean_rows(5)
    sink = await collect(faulty(fault), 3)
    snapshot = {row[0]: row for row in chain.from_iterable(clean[:3])}
    assert sink.rows == [[snapshot[row[0]] for row in clean[0]], *clean[3:]]


async def test_after_a_crash_a_further_run_continues_the_same_market() -> None:
    clean = await clean_rows(12)
    source = faulty("crash@9")
    first = Collector(100)
    with pytest.raises(SourceCrashed):
        await source.run(first)
    assert first.rows == clean[:3]
    stood_ms = source.now_ms()
    second = await collect(source, 9)
    snapshot = {row[0]: row for row in chain.from_iterable(clean[:4])}
    assert second.rows[0] == list(snapshot.values()), "with what the crash lost"
    assert second.rows[1:] == clean[4:]
    assert second.statuses == [SourceStatus(SourceState.CONNECTED)]
    assert stood_ms == market_ms("10:00:09")


async def test_duplicates_are_equal_rows_in_the_stretch_that_was_asked_for() -> None:
    clean = await clean_rows(8)
    sink = await collect(faulty("duplicate@6+6"), 8)
    doubled = [[row for row in rows if rows.count(row) > 1] for rows in sink.rows]
    assert [bool(rows) for rows in doubled] == [False, False, True, True, False, False, False, False]
    assert [dedupe(rows) for rows in sink.rows] == clean


def dedupe(rows: Sequence[Row]) -> list[Row]:
    return [row for index, row in enumerate(rows) if row not in rows[:index]]


async def test_rows_out_of_order_go_back_in_time_for_their_instrument() -> None:
    sink = await collect(faulty("out_of_order@3+9"), 30)
    newest: dict[str, int] = {}
    went_back = 0
    for row in chain.from_iterable(sink.rows):
        went_back += row[1] < newest.get(row[0], 0)
        newest[row[0]] = max(newest.get(row[0], 0), row[1])
    assert went_back >= 3


async def test_zero_time_rows_appear_in_the_stretch_that_was_asked_for() -> None:
    clean = await clean_rows(6)
    sink = await collect(faulty("zero_time@6+3"), 6)
    assert [any(row[1] == 0 for row in rows) for rows in sink.rows] == [False, False, True, False, False, False]
    assert [[(row[0], *row[2:]) for row in rows] for rows in sink.rows] == [
        [(row[0], *row[2:]) for row in rows] for rows in clean
    ]


async def test_wanting_topics_changes_nothing() -> None:
    clean = await clean_rows(4)
    source = simulator()
    source.want(frozenset({"tick:600000.SH"}))
    assert (await collect(source, 4)).rows == clean


def test_it_tells_how_many_instruments_each_market_has() -> None:
    source = simulator(symbols=150)
    codes = [instrument.code for instrument in source.instruments]
    assert source.markets == {
        market: sum(code.endswith(f".{market}") for code in codes) for market in ("SH", "SZ", "BJ")
    }
    assert sum(source.markets.values()) == 150
    assert simulator(symbols=1).markets == {"SH": 1}
