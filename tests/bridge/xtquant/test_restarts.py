"""Thirty restarts, of the terminal and of the feeder: nothing of the ones before is left."""

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest

from bridge.feed.isolation import ChildFeeder, child_environment, feeder_command, source_variables
from bridge.source import SourceState
from hub.settings import Settings
from tests.bridge.support.feeding import fed_hub
from tests.bridge.xtquant.support.running import running
from tests.bridge.xtquant.support.terminal import TEN_MS, a_terminal, codes_of, tick
from tests.hub.support.served_hub import until

RESTARTS = 30
CODES = codes_of(5)
SECTORS = {"沪深A股": CODES}
NEWEST = {code: tick(TEN_MS) for code in CODES}
PROGRAM = Path(__file__).parents[3] / "run_hub.py"

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="handles and children are counted in /proc")


def handles() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> set[int]:
    found = set[int]()
    for task in Path("/proc/self/task").iterdir():
        found |= set(map(int, (task / "children").read_text().split()))
    return found


@linux_only
async def test_thirty_restarts_of_the_terminal_leave_no_thread_and_no_handle(folder: Path, tmp_path: Path) -> None:
    options = {"sectors": ("沪深A股",)}
    async with a_terminal(SECTORS, ticks=NEWEST) as terminal, running(terminal, folder, tmp_path, **options) as run:
        await run.connected()
        await run.looked()
        before = handles(), threading.active_count()
        for number in range(RESTARTS):
            terminal.cut()
            await terminal.until(lambda number=number: terminal.connections == number + 2 and terminal.wholes())
            await run.connected()
        await run.looked()
        await until(lambda: (handles(), threading.active_count()) == before, 30)
        assert [status.state for status in run.sink.statuses].count(SourceState.AWAY) == RESTARTS + 1
        assert len(terminal.wholes()) == 1


@linux_only
async def test_thirty_attempts_without_a_terminal_leave_nothing_either(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=NEWEST) as terminal:
        await terminal.stop()
        async with running(terminal, folder, tmp_path, sectors=("沪深A股",)) as run:
            await run.sink.until(lambda: run.sink.figures.get("not connected", 0) >= 2)
            before = handles(), threading.active_count()
            await run.sink.until(lambda: run.sink.figures["not connected"] >= RESTARTS)
            await until(lambda: (handles(), threading.active_count()) == before, 30)


@linux_only
async def test_thirty_crashes_of_the_feeder_leave_no_process_no_thread_and_no_handle(
    folder: Path, tmp_path: Path
) -> None:
    async with a_terminal(SECTORS, ticks=NEWEST) as terminal, fed_hub() as fed:
        settings = Settings(
            source="xtquant",
            xtquant_folder=folder,
            xtquant_addresses=(terminal.address,),
            xtquant_sectors=("沪深A股",),
            xtquant_universes=(),
            data=tmp_path,
            log_level="error",
        )
        child = ChildFeeder(
            feeder_command(settings, PROGRAM, fed.url, 0.0),
            child_environment(os.environ, "") | source_variables(settings),
            pause_s=lambda _: 0.0,
        )
        task = asyncio.create_task(child.run())
        try:
            before: tuple[int, int] | None = None
            for number in range(RESTARTS):
                await terminal.until(lambda number=number: terminal.connections == number + 1 and terminal.wholes())
                await until(lambda number=number: len(fed.hellos) == number + 1, 60)
                if number == 1:
                    before = handles(), threading.active_count()
                terminal.abort_client()
            await terminal.until(lambda: terminal.connections == RESTARTS + 1 and terminal.wholes())
            await until(lambda: len(fed.hellos) == RESTARTS + 1, 60)
            assert child.starts == RESTARTS + 1
            assert child.pid is not None
            await until(lambda: children() == {child.pid}, 30)
            await until(lambda: (handles(), threading.active_count()) == before, 30)
        finally:
            task.cancel()
            await asyncio.wait({task})
        assert children() == set()
