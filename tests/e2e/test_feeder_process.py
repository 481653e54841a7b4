"""The feeder as a process of its own, started as a user starts it, against a hub's endpoint in the test."""

import asyncio
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from bridge.source import Batch
from tests.bridge.support.feeding import FedHub, fed_hub, plain_feeder
from tests.bridge.support.recordings import line, play, write_csv
from tests.e2e.support.hub_process import NO_VARIABLES, REPOSITORY, environment, run_to_its_end

START_S = 60.0
SECRET = "correct-horse-battery"  # noqa: S105 - of the hub under test


@dataclass
class FeederProcess:
    """A running feeder. ``said`` is its first line on standard output."""

    process: asyncio.subprocess.Process
    said: str
    log_file: Path

    async def ended(self) -> int:
        async with asyncio.timeout(START_S):
            return await self.process.wait()

    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")


@asynccontextmanager
async def feeder_process(
    url: str,
    tmp_path: Path,
    *options: str,
    variables: Mapping[str, str] = NO_VARIABLES,
    stdin: int = asyncio.subprocess.DEVNULL,
) -> AsyncIterator[FeederProcess]:
    log_file = tmp_path / f"feeder-{secrets.token_hex(4)}.log"
    with log_file.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "run_hub.py", "--role", "feeder", "--to", url, *options),
            cwd=REPOSITORY,
            env=environment(variables),
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            said = (await process.stdout.readline()).decode().rstrip()
        yield FeederProcess(process, said, log_file)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(fed: FedHub, happened: Callable[[], object]) -> None:
    async with asyncio.timeout(START_S):
        while not happened():
            fed.sink.changed.clear()
            await fed.sink.changed.wait()


def rows_of(batches: list[Batch]) -> list[tuple[object, ...]]:
    return [row for batch in batches for row in batch.rows]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows can't send these signals to a process")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_recording_is_fed_whole_and_recorded_and_a_signal_ends_it_with_0(
    tmp_path: Path, number: signal.Signals
) -> None:
    day = write_csv(tmp_path / "day.csv", line(), line(time="1654047003000"), line(code="000001.SZ"))
    expected = await play(day)
    copy = tmp_path / "copy.csv"
    options = ("--source", "recording", "--recording", str(day), "--speed", "0", "--record", str(copy))
    async with fed_hub() as fed, feeder_process(fed.url, tmp_path, *options) as feeder:
        assert feeder.said == f"Argus feeder sends to {fed.url}"
        await until(fed, lambda: len(rows_of(fed.sink.batches)) == len(expected))
        assert [row[:3] for row in rows_of(fed.sink.batches)] == [row[:3] for row in expected]
        (hello,) = fed.hellos
        assert (hello.source, hello.simulated, hello.continues) == ("recording", False, False)
        feeder.process.send_signal(number)
        assert await feeder.ended() == 0, feeder.log()
        await until(fed, lambda: fed.sink.statuses[-1].reason == "the feeder has ended")
    assert await play(copy) == expected


async def test_with_its_standard_input_a_feeder_ends_in_order(tmp_path: Path) -> None:
    options = ("--symbols", "20", "--speed", "20", "--end-with-stdin")
    async with (
        fed_hub() as fed,
        feeder_process(fed.url, tmp_path, *options, stdin=asyncio.subprocess.PIPE) as feeder,
    ):
        await until(fed, lambda: len(fed.sink.numbers) > 2)
        assert feeder.process.stdin is not None
        feeder.process.stdin.close()
        assert await feeder.ended() == 0, feeder.log()
        await until(fed, lambda: fed.sink.statuses[-1].reason == "the feeder has ended")


async def test_a_killed_hub_comes_back_and_misses_nothing_of_the_market(tmp_path: Path) -> None:
    """Two hubs, one after the other, on one port: the second knows what the first has stored."""
    options = ("--symbols", "50", "--speed", "20")
    async with AsyncExitStack() as stack:
        async with fed_hub(stores=False) as first:
            feeder = await stack.enter_async_context(feeder_process(first.url, tmp_path, *options))
            await until(first, lambda: len(first.sink.numbers) > 5)
            first.source.stored(3)
            run, port = first.hellos[0].run, first.port
            seen = first.sink.batches[:3]
        async with fed_hub(run=run, batch=3, newest=(1, 1), port=port) as second:
            await until(second, lambda: len(second.sink.numbers) > 5)
            assert [hello.run for hello in second.hellos] == [run]
            both = [*seen, *second.sink.batches]
            assert [batch.number for batch in both] == list(range(1, len(both) + 1))
            assert second.sink.batches[0].rows == first.sink.batches[3].rows, "the very batch, sent again"
            assert [type(what) for what in second.sink.stream] == [Batch] * len(second.sink.stream)
        assert feeder.process.returncode is None


async def test_a_killed_simulator_goes_on_and_no_instrument_goes_back_in_time(tmp_path: Path) -> None:
    options = ("--symbols", "300", "--speed", "20", "--sim-start", "10:00")
    async with fed_hub() as fed:
        newest: dict[str, int] = {}
        fed.source._newest = lambda: (max(newest.values()), fed.sink.batches[-1].recv_us) if newest else None
        backward: list[object] = []
        store = fed.sink.on_deliver

        def note(batch: Batch) -> None:
            for row in batch.rows:
                if row[1] < newest.get(row[0], 0):
                    backward.append(row[:2])
                newest[row[0]] = row[1]
            store(batch)

        fed.sink.on_deliver = note
        for _ in range(2):
            before = len(fed.sink.numbers)
            async with feeder_process(fed.url, tmp_path, *options) as feeder:
                await until(fed, lambda before=before: len(fed.sink.numbers) > before + 5)
                feeder.process.kill()
                assert await feeder.ended() != 0
        assert len([what for what in fed.sink.stream if isinstance(what, str)]) == 2
    assert backward == []


async def test_a_feeder_that_is_replaced_ends_with_1_and_one_line(tmp_path: Path) -> None:
    async with fed_hub() as fed, feeder_process(fed.url, tmp_path, "--symbols", "5", "--log-level", "error") as feeder:
        await until(fed, lambda: fed.sink.numbers)
        async with plain_feeder(fed.url) as newer:
            await newer.hello("newer", source="simulator", simulated=True)
            assert await feeder.ended() == 1
    assert feeder.log().splitlines()[-1].startswith("run_hub.py: the hub at ws://")
    assert "newer run" in feeder.log()


async def test_the_token_comes_from_environment_or_file_and_a_wrong_one_ends_it_with_1(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    few = ("--symbols", "5", "--log-level", "error")
    async with fed_hub(secret=SECRET) as fed:
        async with feeder_process(fed.url, tmp_path, *few, variables={"ARGUS_TOKEN": SECRET}):
            await until(fed, lambda: fed.sink.numbers)
        async with feeder_process(fed.url, tmp_path, *few, "--token-file", str(file)):
            await until(fed, lambda: len(fed.hellos) == 2)
        async with feeder_process(fed.url, tmp_path, *few, variables={"ARGUS_TOKEN": SECRET + "x"}) as feeder:
            assert await feeder.ended() == 1
    (told,) = feeder.log().splitlines()
    assert "401" in told
    assert SECRET not in told


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--role", "feeder"], "--to"),
        (["--role", "feeder", "--to", "hub:8765"], "--to"),
        (["--role", "feeder", "--to", "http://hub:8765/feed"], "--to"),
        (["--role", "feeder", "--to", "ws://hub:8765/feed", "--source", "feed"], "source feed"),
        (["--role", "feeder", "--to", "ws://hub:8765/feed", "--isolate-source"], "isolate_source"),
        (["--to", "ws://hub:8765/feed"], "role is all"),
        (["--source", "feed", "--isolate-source"], "isolate"),
        (["--role", "feeder", "--to", "ws://hub:8765/feed", "--sim-start", "03:00"], "simulated day"),
        (["--role", "feeder", "--to", "ws://hub:8765/feed", "--record", "nowhere/day.csv"], "day.csv"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_in_one_line(options: list[str], names: str) -> None:
    ended = run_to_its_end(*options)
    assert (ended.returncode, ended.stdout) == (2, "")
    (told,) = ended.stderr.splitlines()
    assert names in told
