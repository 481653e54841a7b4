"""What a hub is told of a source beside its rows, when, and what happens where the source itself doesn't know."""

import asyncio
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import pytest

import bridge.feed.teller
from bridge.feed.messages import Clock, Instruments, TradingDays
from bridge.feed.teller import Teller
from bridge.source import Batch, Sink
from tests.bridge.support.feeding import TEN_MS
from tests.hub.support.served_hub import until

BATCH = Batch("tick", [("600000.SH", TEN_MS)], 17)


@dataclass
class Known:
    """A source of which only the clock, the calendar and the markets matter."""

    clock_ms: int = TEN_MS
    trading_days: frozenset[date] | None = None
    markets: dict[str, int] = field(default_factory=dict)
    name = "known"
    simulated = True
    continues = True
    channels = frozenset({"tick"})
    fails = 0

    def now_ms(self) -> int:
        if self.fails:
            self.fails -= 1
            raise RuntimeError("the terminal is gone")
        return self.clock_ms

    def want(self, topics: frozenset[str]) -> None:
        raise AssertionError

    async def run(self, sink: Sink) -> None:
        raise AssertionError


class Desk:
    """A teller with a clock of its own, and what it said."""

    def __init__(self, pace: float | None, **known: Any) -> None:
        self.source = Known(**known)
        self.said: list[Any] = []
        self.seconds = 50.0
        self.teller = Teller(self.source, self.said.append, pace, lambda: self.seconds)

    def pass_time(self, seconds: float, market_ms: float) -> None:
        self.seconds += seconds
        self.source.clock_ms += round(market_ms)


def test_a_look_tells_the_clock_with_its_pace_and_the_rest_only_when_it_has_changed() -> None:
    days = frozenset({date(2026, 9, 2), date(2026, 9, 1)})
    desk = Desk(20.0, trading_days=days, markets={"SH": 3})
    desk.teller.look()
    desk.teller.look()
    clock = Clock(TEN_MS, 20.0)
    assert desk.said == [clock, TradingDays(sorted(days)), Instruments({"SH": 3}), clock]
    desk.said.clear()
    desk.source.markets["SZ"] = 4
    desk.source.trading_days = days | {date(2026, 9, 3)}
    desk.teller.look()
    assert desk.said[1:] == [TradingDays(sorted(desk.source.trading_days)), Instruments({"SH": 3, "SZ": 4})]


def test_the_clock_of_a_live_source_is_the_wall_clock_and_not_told() -> None:
    desk = Desk(None)
    desk.teller.look()
    desk.teller.observe(BATCH)
    assert desk.said == []


@pytest.mark.parametrize("pace", [1.0, 20.0])
def test_a_clock_that_runs_as_expected_is_not_told_with_every_batch(pace: float) -> None:
    desk = Desk(pace)
    desk.teller.observe(BATCH)
    for _ in range(10):
        desk.pass_time(0.3, 310 * pace)
        desk.teller.observe(BATCH)
    assert desk.said == [Clock(TEN_MS, pace)]


@pytest.mark.parametrize("jump_ms", [16 * 3_600_000, -30_000])
def test_a_clock_that_has_jumped_is_told_before_the_rows_behind_the_jump(jump_ms: int) -> None:
    """A market jumps over lunch and night; its hub would find the rows of the next day far ahead of their time."""
    desk = Desk(20.0)
    desk.teller.look()
    desk.pass_time(0.1, 2000 + jump_ms)
    desk.teller.observe(BATCH)
    assert desk.said[-1] == Clock(TEN_MS + 2000 + jump_ms, 20.0)


def test_a_market_without_a_pace_stands_still_between_its_words() -> None:
    desk = Desk(0.0)
    desk.teller.look()
    desk.pass_time(0.01, 60_000)
    desk.teller.observe(BATCH)
    assert desk.said == [Clock(TEN_MS, 0.0), Clock(TEN_MS + 60_000, 0.0)]


async def test_a_clock_that_fails_once_does_not_end_the_telling(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bridge.feed.teller, "LOOK_S", 0.001)
    desk = Desk(1.0)
    desk.source.fails = 2
    task = asyncio.create_task(desk.teller.run())
    await until(lambda: len(desk.said) > 2)
    task.cancel()
    await asyncio.wait({task})
    assert caplog.text.count("does not tell its clock") == 2
