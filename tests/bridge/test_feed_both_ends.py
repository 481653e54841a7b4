"""Feeder and hub together over a line that fails: every batch comes through exactly once and in order."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from bridge.feed.endpoint import PATH
from bridge.feed.feeder import FeedEnded, Feeder
from bridge.feed.messages import Hello
from bridge.source import Batch, Interruption
from tests.bridge.support.feeding import FedHub, Keeper, fed_hub, rows_of
from tests.e2e.support.fault_proxy import FaultProxy
from tests.hub.support.served_hub import until


@asynccontextmanager
async def feeder_to(url: str, run: str = "run-a", buffer_bytes: int = 1 << 24) -> AsyncIterator[Feeder]:
    hello = Hello("scripted", run, simulated=False, channels=["tick"])
    feeder = Feeder(url, "", hello, buffer_bytes=buffer_bytes, on_want=lambda _: None, pause_s=lambda _: 0.001)
    task = asyncio.create_task(feeder.run())
    try:
        yield feeder
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, FeedEnded):
            await task


def check_stream(sink: Keeper, count: int) -> None:
    """Each batch once, in order, whole, and no word of anything missing."""
    assert sink.stream[0] == "run-a"
    assert [batch.number for batch in sink.stream[1:]] == list(range(1, count + 1))
    assert all(list(batch.rows) == rows_of(batch.number, 50) for batch in sink.batches)


def cuts(line: FaultProxy, rng: random.Random) -> Callable[[], None]:
    """One of the ways in which a line may end."""
    return rng.choice([line.cut, lambda: line.cut_after(rng.randint(1, 30))])


@pytest.mark.parametrize("seed", range(4))
async def test_over_a_line_that_is_cut_at_random_every_batch_comes_once_and_in_order(seed: int) -> None:
    rng = random.Random(seed)
    count = 300
    async with fed_hub(stores=False) as fed, FaultProxy.before(fed.url).serve() as line, feeder_to(line.url) as feeder:
        for number in range(1, count + 1):
            feeder.deliver(Batch("tick", rows_of(number, 50), 17))
            if rng.random() < 0.3:
                await asyncio.sleep(rng.random() * 0.003)
            if fed.sink.numbers and rng.random() < 0.3:  # stored in jumps, as flushes come
                fed.source.stored(rng.randint(1, fed.sink.numbers[-1]))
            if rng.random() < 0.06:
                cuts(line, rng)()
        await fed.sink.until(lambda: fed.sink.numbers and fed.sink.numbers[-1] == count)
        fed.source.stored(count)
        await until(lambda: not feeder.waiting)
        check_stream(fed.sink, count)
        assert line.opened > 3, "the line was not cut while it mattered"


@pytest.mark.parametrize("seed", range(3))
async def test_hubs_that_are_killed_and_come_back_with_what_they_stored_get_the_rest(seed: int) -> None:
    """The history of each hub is what the one before had stored: together they have every batch once."""
    rng = random.Random(seed)
    history: list[int] = []
    count, made, port = 200, 0, 0
    run = ""
    feeder: Feeder | None = None
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        while len(history) < count:
            async with fed_hub(run=run, batch=len(history), stores=False, port=port) as fed:
                port = fed.port
                feeder = feeder or await stack.enter_async_context(feeder_to(fed.url))
                target = min(count, len(history) + rng.randint(5, 60))
                while len(history) < target:
                    if made < count:
                        made += 1
                        feeder.deliver(Batch("tick", rows_of(made, 50), 17))
                    await asyncio.sleep(0)
                    for batch in fed.sink.batches[len(history) - fed_from(fed) :]:
                        if rng.random() < 0.5:
                            break
                        history.append(batch.number)
                        fed.source.stored(batch.number)
                run = "run-a"
                assert not [what for what in fed.sink.stream if isinstance(what, Interruption)]
    assert history == list(range(1, count + 1))


def fed_from(fed: FedHub) -> int:
    """How many batches were stored before this hub."""
    return fed.sink.numbers[0] - 1 if fed.sink.numbers else 0


async def test_a_feeder_with_too_small_a_buffer_gets_the_rest_through_and_the_hub_knows_what_is_missing() -> None:
    count = 400
    async with (
        fed_hub(stores=False) as fed,
        FaultProxy.before(fed.url).serve() as line,
        feeder_to(line.url, buffer_bytes=20_000) as feeder,
    ):
        rng = random.Random(5)
        for number in range(1, count + 1):
            feeder.deliver(Batch("tick", rows_of(number, 50), 17))
            if number % 7 == 0:
                await asyncio.sleep(0.002)
            if rng.random() < 0.05:
                line.cut()
            if fed.sink.numbers and rng.random() < 0.2:
                fed.source.stored(fed.sink.numbers[-1])
        await fed.sink.until(lambda: fed.sink.numbers and fed.sink.numbers[-1] == count)
        covered = 0
        gap = None
        for what in fed.sink.stream[1:]:
            if isinstance(what, Interruption):
                gap = what
            elif what.rows:
                assert what.number == covered + 1, "a batch came twice, or is missing without a word"
                assert list(what.rows) == rows_of(what.number, 50)
                covered = what.number
            else:
                assert gap is not None, "batches were passed over without a word"
                assert what.number > covered
                covered, gap = what.number, None
        assert covered == count
        assert feeder.dropped > 0


async def test_a_newer_feeder_takes_over_and_the_older_ends() -> None:
    async with fed_hub() as fed:
        hello = Hello("scripted", "old", simulated=False, channels=["tick"])
        old = Feeder(fed.url, "", hello, buffer_bytes=1 << 20, on_want=lambda _: None)
        ended = asyncio.create_task(old.run())
        await asyncio.shield(old.welcome)
        async with feeder_to(fed.url, "new") as new:
            new.deliver(Batch("tick", rows_of(1), 17))
            with pytest.raises(FeedEnded, match="newer run"):
                await ended
            await until(lambda: not new.waiting)
    assert [what for what in fed.sink.stream if isinstance(what, str)] == ["old", "new"]


async def test_what_clients_want_reaches_the_source_at_the_other_end() -> None:
    async with fed_hub() as fed:
        assert fed.url.endswith(PATH)
        wanted: list[frozenset[str]] = []
        hello = Hello("scripted", "run-a", simulated=False, channels=["tick"])
        feeder = Feeder(fed.url, "", hello, buffer_bytes=1 << 20, on_want=wanted.append)
        task = asyncio.create_task(feeder.run())
        await asyncio.shield(feeder.welcome)
        fed.source.want(frozenset({"tick:688*.SH"}))
        await until(lambda: wanted and wanted[-1] == {"tick:688*.SH"})
        task.cancel()
        await asyncio.wait({task})
