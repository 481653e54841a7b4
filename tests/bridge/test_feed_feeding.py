"""A feeder process from start to end, in this process: its source, its hub, and in which order they end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, time
from typing import Any

import pytest

from bridge.feed.feeder import FeedEnded, Feeder
from bridge.feed.feeding import Feeding, FeedingSettings
from bridge.running import keep_running
from bridge.simulator import SimulatorSource
from bridge.simulator.timeline import CHINA
from bridge.source import Batch, Sink, SourceState, SourceStatus
from tests.bridge.support.feeding import PATIENCE_S, TEN_MS, FedHub, Keeper, fed_hub, no_task_is_left, plain_feeder
from tests.hub.support.core import tick
from tests.hub.support.served_hub import until


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> Any:
    with no_task_is_left():
        yield


@dataclass
class Scripted:
    """A source whose run is a function of the test."""

    script: Callable[[Sink], Any]
    name: str = "scripted"
    simulated: bool = False
    continues: bool = True
    channels: frozenset[str] = frozenset({"tick"})
    trading_days: frozenset[date] | None = None
    markets: dict[str, int] = field(default_factory=dict)
    wanted: list[frozenset[str]] = field(default_factory=list)

    def now_ms(self) -> int:
        return TEN_MS

    def want(self, topics: frozenset[str]) -> None:
        self.wanted.append(topics)

    async def run(self, sink: Sink) -> None:
        outcome = self.script(sink)
        if outcome is not None:
            await outcome


def batch(*codes: str, time_ms: int = TEN_MS) -> Batch:
    return Batch("tick", [tick(code, time_ms) for code in codes], 17)


def deliver(*batches: Batch) -> Callable[[Sink], Any]:
    def script(sink: Sink) -> Any:
        sink.report(SourceStatus(SourceState.CONNECTED))
        for one in batches:
            sink.deliver(one)
        return asyncio.Event().wait()

    return script


def settings_for(fed: FedHub | str, speed: float | None = None, finish_s: float = PATIENCE_S) -> FeedingSettings:
    url = fed if isinstance(fed, str) else fed.url
    return FeedingSettings(url=url, token="", buffer_bytes=1 << 24, finish_s=finish_s, speed=speed)


async def test_what_the_source_delivers_is_observed_sent_and_acknowledged_before_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    finishing: list[float] = []
    finish = Feeder.finish

    async def note(feeder: Feeder, timeout_s: float) -> None:
        finishing.append(timeout_s)
        await finish(feeder, timeout_s)

    monkeypatch.setattr(Feeder, "finish", note)
    recorded: list[Batch] = []

    class Recording:
        def observe(self, batch: Batch) -> None:
            recorded.append(batch)

    stopped = asyncio.Event()
    async with fed_hub(stores=False) as fed:
        batches = [batch("600000.SH"), batch("600001.SH", "600002.SH")]
        task = asyncio.create_task(
            Feeding(Scripted(deliver(*batches)), settings_for(fed), None, [Recording()]).run(stopped)
        )
        await fed.sink.until(lambda: fed.sink.numbers == [1, 2])
        stopped.set()
        await until(lambda: finishing)
        assert not task.done()
        fed.source.stored(2)
        await task
        await fed.sink.until(lambda: fed.sink.statuses[-1].reason == "the feeder has ended")
    assert finishing == [PATIENCE_S]
    assert recorded == batches
    assert [list(each.rows) for each in fed.sink.batches] == [list(each.rows) for each in batches]


async def test_what_is_wanted_reaches_the_source() -> None:
    source, stopped = Scripted(deliver()), asyncio.Event()
    async with fed_hub() as fed:
        task = asyncio.create_task(Feeding(source, settings_for(fed)).run(stopped))
        await until(lambda: source.wanted)
        fed.source.want(frozenset({"tick:*"}))
        await until(lambda: source.wanted[-1] == {"tick:*"})
        stopped.set()
        await task


async def test_a_live_source_runs_at_once_also_without_a_hub() -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    def script(sink: Sink) -> Any:
        started.set()
        return deliver(batch("600000.SH"))(sink)

    feeding = Feeding(Scripted(script), settings_for("ws://127.0.0.1:1/feed", finish_s=0.01))
    task = asyncio.create_task(feeding.run(stopped))
    async with asyncio.timeout(PATIENCE_S):
        await started.wait()
    stopped.set()
    await task


async def test_a_feeder_that_was_replaced_ends_with_its_source() -> None:
    async with fed_hub() as fed:
        task = asyncio.create_task(Feeding(Scripted(deliver()), settings_for(fed)).run(asyncio.Event()))
        await until(lambda: fed.source.name == "scripted")
        async with plain_feeder(fed.url) as newer:
            await newer.hello("newer")
            with pytest.raises(FeedEnded, match="newer run"):
                await task


async def test_a_source_that_has_ended_leaves_its_feeder_connected() -> None:
    stopped = asyncio.Event()
    async with fed_hub() as fed:
        source = Scripted(lambda sink: sink.deliver(batch("600000.SH")))
        task = asyncio.create_task(Feeding(source, settings_for(fed, speed=0.0)).run(stopped))
        await fed.sink.until(lambda: fed.sink.numbers == [1])
        source.markets = {"SH": 1}
        await until(lambda: fed.source.markets)  # it still tells what it knows
        assert fed.source.now_ms() == TEN_MS
        stopped.set()
        await task


def simulator(day: date, start: time) -> SimulatorSource:
    return SimulatorSource(symbols=300, speed=0, day=day, start=start)


async def test_a_simulated_market_waits_for_its_hub_and_begins_as_it_was_made_where_there_is_no_history() -> None:
    stopped = asyncio.Event()
    made: list[Any] = []
    async with fed_hub(starts=False) as fed:
        source = Scripted(deliver(batch("600000.SH")), simulated=True)
        feeding = Feeding(source, settings_for(fed, 1.0), lambda *place: made.append(place) or source)
        task = asyncio.create_task(feeding.run(stopped))
        await until(lambda: fed.server._peers)
        assert fed.sink.numbers == []
        fed.run_again()
        await fed.sink.until(lambda: fed.sink.numbers == [1])
        assert made == []
        stopped.set()
        await task


async def test_a_simulated_market_goes_on_after_the_history_and_no_instrument_goes_back_in_time() -> None:
    """The run before had its own idea of when each of the instruments changed last."""
    newest = (TEN_MS, 1_795_000_000_000_000)
    stopped = asyncio.Event()
    places: list[datetime] = []

    def make_again(day: date, start: time) -> SimulatorSource:
        places.append(datetime.combine(day, start, CHINA))
        return simulator(day, start)

    async with fed_hub(run="before", batch=9, newest=newest) as fed:
        first = simulator(date(2026, 9, 1), time(9, 30))
        task = asyncio.create_task(Feeding(first, settings_for(fed, 0.0), make_again).run(stopped))
        await fed.sink.until(lambda: len(fed.sink.numbers) > 5)
        stopped.set()
        await task
    assert [place.timestamp() * 1000 for place in places] == [TEN_MS]
    rows = [row for each in fed.sink.batches for row in each.rows]
    assert len(rows) > 300
    assert min(row[1] for row in rows) >= TEN_MS


async def test_a_source_that_can_not_be_made_again_ends_the_feeder_with_its_reason() -> None:
    def make_again(day: date, start: time) -> Any:
        raise ValueError("no such place")

    async with fed_hub(run="before", batch=9, newest=(TEN_MS, 1)) as fed:
        source = Scripted(deliver(), simulated=True)
        with pytest.raises(ValueError, match="no such place"):
            await Feeding(source, settings_for(fed, 1.0), make_again).run(asyncio.Event())


async def test_a_source_that_fails_is_away_and_run_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sleep = asyncio.sleep
    pauses: list[float] = []

    async def note(delay_s: float) -> None:
        pauses.append(delay_s)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)
    runs: list[int] = []

    def script(sink: Sink) -> None:
        runs.append(1)
        sink.report(SourceStatus(SourceState.CONNECTED))
        sink.deliver(batch("600000.SH"))
        if len(runs) < 3:
            raise RuntimeError("the terminal is gone")

    sink = Keeper()
    await keep_running(Scripted(script), sink, lambda: len(sink.batches))
    assert pauses == [1, 1], "it ran well meanwhile"
    away = "it failed (RuntimeError: the terminal is gone) and is started again"
    assert [status.reason for status in sink.statuses if status.state is SourceState.AWAY] == [away] * 2
