"""Whole days and every fault of the simulator through the intake: nothing is lost that a fault did not take, and
what it took is announced or counted."""

from collections import Counter
from collections.abc import Sequence
from datetime import time
from typing import Any

import pytest

from bridge.continuity import market_of
from bridge.intake import Intake
from bridge.recording import RecordingSource
from bridge.simulator import Fault, SimulatorSource, SourceCrashed
from bridge.source import Batch, Interruption, Source, SourceState, SourceStatus
from hub.calendar import Calendar
from hub.health import Health
from hub.schema import Row
from tests.bridge.support.intake import Door, Stream
from tests.bridge.support.recordings import SHANGHAI, SHENZHEN, real_day, rows_of_file


class Enough(Exception):  # noqa: N818
    """The test has what it needs."""


class Line:
    """A source, the intake and the hub's health, as one process has them. Counts what the source delivered."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.stream = Stream()
        self.health = Health(Calendar(source.trading_days))
        self.delivered: list[Row] = []
        self.ahead_ms: list[int] = []
        self.intake = Intake(
            self.stream,
            [self],
            lambda _: None,
            past=self.stream,
            was_mute=self.health.was_mute,
            away=False,
            now_ms=source.now_ms,
        )

    def observe(self, batch: Batch) -> None:
        now_ms = self.source.now_ms()
        for market in {market_of(row[0]) for row in batch.rows}:
            own = [row for row in batch.rows if market_of(row[0]) == market]
            self.health.note(market, len({row[0] for row in own}), max(row[1] for row in own), now_ms)

    def deliver(self, batch: Batch) -> None:
        self.delivered += batch.rows
        self.ahead_ms.append(max(row[1] for row in batch.rows) - self.source.now_ms())
        self.intake.deliver(batch)

    def report(self, status: SourceStatus) -> None:
        self.intake.report(status)

    def interrupt(self, interruption: Interruption) -> None:
        self.intake.interrupt(interruption)

    def begin_run(self, run: str) -> None:
        self.intake.begin_run(run)

    def tell(self, told: Any) -> None:
        self.intake.tell(told)


class SimulatedLine(Line):
    """One that ends at a moment of the market, whatever was delivered until then."""

    def __init__(self, *faults: str, minutes: int = 10, **settings: Any) -> None:
        usual: dict[str, Any] = {"symbols": 150, "speed": 0, "start": time(10), "seed": 3}
        simulator = SimulatorSource(faults=[Fault.parse(text) for text in faults], **usual | settings)
        super().__init__(simulator)
        self.start_ms = simulator.now_ms()
        self._end_ms = self.start_ms + minutes * 60_000
        for market, instruments in simulator.markets.items():
            self.health.watch(market, instruments, self.start_ms)

    def deliver(self, batch: Batch) -> None:
        if self.source.now_ms() >= self._end_ms:
            raise Enough
        super().deliver(batch)

    async def play(self) -> Stream:
        """Play so many minutes; a source that crashes is started again."""
        while True:
            try:
                await self.source.run(self)
            except Enough:
                return self.stream
            except SourceCrashed:
                self.report(SourceStatus(SourceState.AWAY, "it crashed"))


async def faultless() -> list[Row]:
    """Every row of the market, in order."""
    stream = await SimulatedLine().play()
    assert len(stream.rows) > 10_000
    return stream.rows


def count(rows: Sequence[Row]) -> Counter[str]:
    """Rows with their numbers; they hold lists, and can't be counted themselves."""
    return Counter(map(repr, rows))


def covers(interruption: Interruption, row: Row) -> bool:
    assert interruption.from_ms is not None
    assert interruption.to_ms is not None
    market = interruption.topic.removeprefix("tick:*")
    return row[0].endswith(market) and interruption.from_ms < row[1] < interruption.to_ms


@pytest.mark.parametrize("name", [SHENZHEN, SHANGHAI])
async def test_a_recorded_day_passes_without_a_row_dropped_or_anything_announced(name: str) -> None:
    path = real_day(name)
    line = Line(RecordingSource(path, speed=0))
    await line.source.run(line)
    assert line.stream.rows == rows_of_file(path)
    assert line.stream.interruptions == []
    assert not line.intake.refused


@pytest.mark.parametrize("name", [SHENZHEN, SHANGHAI])
def test_recorded_rows_that_come_twice_are_delivered_once(name: str) -> None:
    """Different rows of one instrument and time are told apart from each other, too."""
    rows = rows_of_file(real_day(name))[:3_000]
    door = Door()
    door.now_ms = rows[-1][1]
    for start in range(0, len(rows), 500):
        for _ in range(2):
            door.deliver(*rows[start : start + 500])
    assert door.stream.rows == rows
    assert door.stream.interruptions == []
    assert door.refused == {"repeat": len(rows)}
    assert name == SHENZHEN or len({row[:2] for row in rows}) < len(rows)


@pytest.mark.parametrize("symbols", [1, 7, 150])
async def test_the_simulator_without_faults_passes_without_a_row_dropped_or_anything_announced(symbols: int) -> None:
    """From 11:27 over lunch to 13:07, illiquid stocks included; its clock is never behind its rows."""
    line = SimulatedLine(symbols=symbols, start=time(11, 27), minutes=100)
    stream = await line.play()
    assert {(row[1] // 60_000 + 480) % 1440 // 60 for row in stream.rows} >= {11, 13}
    assert stream.rows == line.delivered
    assert stream.interruptions == []
    assert not line.intake.refused
    assert max(line.ahead_ms) <= 0


async def test_duplicates_are_dropped_and_counted() -> None:
    line = SimulatedLine("duplicate@60+120")
    stream = await line.play()
    assert stream.rows == await faultless()
    assert stream.interruptions == []
    assert line.intake.refused == {"repeat": len(line.delivered) - len(stream.rows)}
    assert line.intake.refused["repeat"] > 40


async def test_rows_out_of_order_are_all_delivered_and_the_disorder_is_announced_before_it() -> None:
    line = SimulatedLine("out_of_order@60+120")
    stream = await line.play()
    assert count(stream.rows) == count(await faultless())
    assert not line.intake.refused
    newest: dict[str, int] = {}
    open_ranges: dict[str, Interruption] = {}
    late = 0
    for event in stream.story:
        if isinstance(event, Interruption):
            open_ranges[event.topic] = event
            continue
        assert not isinstance(event, str)
        code, time_ms = event[0], event[1]
        if time_ms < newest.get(code, 0):
            late += 1
            assert open_ranges[f"tick:{code}"] == Interruption(f"tick:{code}", time_ms, newest[code])
        newest[code] = max(time_ms, newest.get(code, 0))
    assert late == len(stream.interruptions) > 40


async def test_rows_without_a_time_are_refused_and_counted_and_all_others_pass() -> None:
    line = SimulatedLine("zero_time@60+120")
    stream = await line.play()
    lost = count(await faultless()) - count(stream.rows)
    assert count(stream.rows) <= count(await faultless())
    assert line.intake.refused == {"time zero": lost.total()}
    assert lost.total() > 40
    assert stream.interruptions == []


async def test_a_disconnect_is_announced_once_with_a_range_that_has_every_missing_row_and_no_other() -> None:
    line = SimulatedLine("disconnect@60+120")
    stream = await line.play()
    (told,) = stream.interruptions
    assert not line.intake.refused
    assert told.topic == "tick:*"
    assert [row for row in await faultless() if not covers(told, row)] == stream.rows
    assert told.from_ms is not None
    assert told.to_ms is not None
    assert line.start_ms + 54_000 <= told.from_ms < line.start_ms + 60_000
    assert told.to_ms <= line.start_ms + 180_000


async def test_after_an_outage_that_ends_with_a_snapshot_every_missing_row_lies_in_the_announced_range() -> None:
    """A source that begins anew brings every instrument's last row, also of those that spoke early in the outage."""
    line = SimulatedLine("disconnect@60+120", "crash@90")
    stream = await line.play()
    missing = count(await faultless()) - count(stream.rows)
    (told,) = stream.interruptions
    assert missing.total() > 1_000
    assert all(covers(told, row) for row in await faultless() if repr(row) in missing)
    assert line.intake.refused["repeat"] > 0


async def test_after_a_crash_what_the_snapshot_brings_again_is_dropped_and_the_rest_of_it_delivered() -> None:
    line = SimulatedLine("crash@60")
    stream = await line.play()
    assert count(stream.rows) == count(await faultless())
    assert line.intake.refused == {"repeat": len(line.delivered) - len(stream.rows)}
    assert line.intake.refused["repeat"] > 10
    (told,) = stream.interruptions
    assert told.from_ms is not None
    assert told.to_ms is not None
    assert line.start_ms + 54_000 <= told.from_ms < told.to_ms <= line.start_ms + 60_000


async def test_a_silence_is_announced_for_each_market_with_a_range_that_has_every_missing_row_and_no_other() -> None:
    line = SimulatedLine("silence@60+240")
    stream = await line.play()
    assert not line.intake.refused
    assert {told.topic for told in stream.interruptions} == {"tick:*.SH", "tick:*.SZ", "tick:*.BJ"}
    assert len(stream.interruptions) == 3
    kept = [row for row in await faultless() if not any(covers(told, row) for told in stream.interruptions)]
    assert kept == stream.rows


async def test_a_silence_too_short_to_be_one_is_not_announced() -> None:
    """Stocks are silent for so long without a fault; markets of few stocks for longer."""
    stream = await SimulatedLine("silence@60+9").play()
    assert stream.interruptions == []
