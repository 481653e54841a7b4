"""A source is kept running: run again after a failure with growing pauses, and left ended where it ends by itself."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest

from bridge.running import keep_running
from bridge.source import Batch, Sink, SourceState, SourceStatus
from tests.bridge.support.feeding import Keeper
from tests.bridge.support.running_app import TEN_MS, Scripted
from tests.hub.support.core import tick


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between two runs, which pass at once."""
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def note(delay_s: float) -> None:
        pauses.append(delay_s)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", note)
    return pauses


def fail(_: Sink) -> None:
    raise RuntimeError("the terminal is gone")


async def run(source: Scripted) -> Keeper:
    """Keep a source running up to its end, and give what it said."""
    sink = Keeper()
    await keep_running(source, sink, lambda: len(sink.batches))
    return sink


async def test_a_source_that_fails_is_away_and_started_again_with_growing_pauses(
    pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    connected = SourceStatus(SourceState.CONNECTED)
    source = Scripted([fail] * 8 + [lambda sink: sink.report(connected)])
    sink = await run(source)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert source.started == 9
    away = SourceStatus(SourceState.AWAY, "it failed (RuntimeError: the terminal is gone) and is started again")
    assert sink.statuses == [away] * 8 + [connected]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors][:2] == [
        "the source failed; it is started again in 1 s",
        "the source failed; it is started again in 2 s",
    ]
    assert all(record.exc_info for record in errors)


async def test_after_a_source_has_run_well_the_pauses_begin_anew(pauses: list[float]) -> None:
    """What failed in the morning must not make the afternoon's first mishap cost half a minute."""

    def run_well_and_fail(sink: Sink) -> None:
        sink.deliver(Batch("tick", [tick("600000.SH", TEN_MS)], 1))
        raise RuntimeError("the terminal is gone")

    await run(Scripted([fail, fail, fail, run_well_and_fail, fail, lambda _: None]))
    assert pauses == [1, 2, 4, 1, 2]


async def test_a_source_that_ends_is_not_started_again(pauses: list[float]) -> None:
    source = Scripted([lambda _: None])
    sink = await run(source)
    assert (source.started, pauses, sink.said) == (1, [], [])


async def test_a_source_that_would_begin_anew_is_left_ended(pauses: list[float]) -> None:
    """A recording that is played again would give its rows a second time in the same epoch."""
    source = Scripted([fail])
    source.continues = False
    sink = await run(source)
    assert (source.started, pauses) == (1, [])
    (status,) = sink.statuses
    assert status == SourceStatus(
        SourceState.AWAY, "it failed (RuntimeError: the terminal is gone) and can't go on", keeps=False
    )


@pytest.mark.parametrize("when", ["running", "pausing"])
async def test_a_source_that_is_cancelled_is_not_started_again(when: str) -> None:
    started = asyncio.Event()

    def begin(_: Sink) -> Any:
        started.set()
        if when == "pausing":
            raise RuntimeError("the terminal is gone")
        return asyncio.Event().wait()

    source, sink = Scripted([begin]), Keeper()
    nothing: Callable[[], int] = lambda: 0  # noqa: E731
    keeping = asyncio.create_task(keep_running(source, sink, nothing))
    await started.wait()
    await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.wait({keeping})
    assert keeping.cancelled()
    assert source.started == 1
