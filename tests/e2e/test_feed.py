"""Feeders and hubs as processes: what the source gave is what clients get, whoever of the two is killed."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.bridge.support.recordings import line, play, write_csv
from tests.e2e.conftest import StartHub
from tests.e2e.support.hub_process import HubProcess, running_hub
from tests.e2e.support.plain_client import Control, Data, PlainClient, Row, plain_client
from tests.e2e.test_feeder_process import START_S, FeederProcess, feeder_process
from tests.hub.support.served_hub import until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither SIGKILL nor SIGTERM to send")

FIRST_TIME_MS = 10**12
"""No ``seq`` is so large, no ``time`` so small."""

MARKET = ("--symbols", "200", "--speed", "20")


def essence(row: Row) -> tuple[Any, ...]:
    """What identifies a row of a client or of a recording: code, time, price, amount, volume."""
    code, time_ms, *values = (row[0], row[2], *row[4:]) if row[1] < FIRST_TIME_MS else row
    return (code, time_ms, values[0], values[5], values[6])


@dataclass
class Story:
    """What a client received, in order, across all of its connections."""

    rows: list[Row] = field(default_factory=list)
    gaps: list[Control] = field(default_factory=list)
    epochs: list[str] = field(default_factory=list)

    def check_numbers(self) -> None:
        """No row is missing, none came twice."""
        newest: dict[str, int] = {}
        for row in self.rows:
            assert row[1] == newest.get(row[0], 0) + 1, (row[:4], newest.get(row[0]))
            newest[row[0]] = row[1]


async def listen(client: PlainClient, story: Story, rows: int) -> None:
    """Take everything of the day up to at least so many rows in all."""
    story.epochs.append(client.welcome["epoch"])
    await client.send("subscribe", topics=["tick:*"], since={"time": 0})
    while len(story.rows) < rows:
        take(await client.receive(), story)


def take(message: Any, story: Story) -> None:
    if isinstance(message, Data):
        story.rows += message.rows
    elif message["type"] == "gap":
        story.gaps.append(message)


def check_one_outage(story: Story) -> None:
    """All was missing once. A machine that stalls may make single markets look mute besides, at 20 times the pace."""
    assert {gap["cause"] for gap in story.gaps} == {"upstream"}
    assert [gap["topic"] for gap in story.gaps].count("tick:*") == 1


@contextmanager
def killable_hub(tmp_path: Path, *options: str) -> Iterator[HubProcess]:
    """A hub that is killed at the end of the block, instead of being stopped."""
    hub = HubProcess(*options, "--data", str(tmp_path / "data"), log_file=tmp_path / "killed.log")
    try:
        yield hub
    finally:
        hub.signal(signal.SIGKILL)
        hub.wait()


def feed_of(hub: HubProcess) -> str:
    return f"ws://127.0.0.1:{hub.port}/feed"


async def rows_at(hub: HubProcess, count: int) -> None:
    """Wait until a hub has taken so many rows since its start."""
    async with asyncio.timeout(START_S):
        while await asyncio.to_thread(hub.figure, "argus_rows_in_total") < count:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)


async def test_a_recording_comes_through_a_feeder_row_by_row(start_hub: StartHub, tmp_path: Path) -> None:
    day = write_csv(tmp_path / "day.csv", line(), line(after_ms=3000), line(code="000001.SZ", after_ms=3000))
    options = ("--source", "recording", "--recording", str(day), "--speed", "0")
    hub, story = start_hub("--source", "feed"), Story()
    async with feeder_process(feed_of(hub), tmp_path, *options):
        await rows_at(hub, 3)
        async with plain_client(hub.ws_url) as client:
            await listen(client, story, 3)
            assert client.welcome["source"] == {"name": "recording", "simulated": False}
    assert [essence(row) for row in story.rows] == [essence(row) for row in await play(day)]
    assert story.gaps == []


async def test_a_hub_that_is_killed_again_and_again_loses_nothing_that_its_feeder_holds(tmp_path: Path) -> None:
    record = tmp_path / "record.csv"
    story = Story()
    port, data = "0", str(tmp_path / "data")
    async with AsyncExitStack() as stack:
        feeder: FeederProcess | None = None
        for _ in range(3):
            with killable_hub(tmp_path, "--source", "feed", "--port", port) as hub:
                port = str(hub.port)
                if feeder is None:
                    options = (*MARKET, "--record", str(record))
                    feeder = await stack.enter_async_context(feeder_process(feed_of(hub), tmp_path, *options))
                await rows_at(hub, 1000)
        assert feeder is not None
        log_file = tmp_path / "last.log"
        with running_hub("--source", "feed", "--port", port, "--data", data, log_file=log_file) as hub:
            await rows_at(hub, 1000)
            feeder.process.terminate()
            assert await feeder.ended() == 0, feeder.log()
            recorded = await play(record)
            async with plain_client(hub.ws_url) as client:
                await listen(client, story, len(recorded))
    story.check_numbers()
    assert story.gaps == []
    assert [essence(row) for row in story.rows] == [essence(row) for row in recorded]


async def test_a_killed_feeder_is_an_upstream_gap_and_the_market_goes_on_in_the_same_history(
    start_hub: StartHub, tmp_path: Path
) -> None:
    hub, story = start_hub("--source", "feed"), Story()
    async with plain_client(hub.ws_url) as early:
        for _ in range(2):
            async with feeder_process(feed_of(hub), tmp_path, *MARKET) as feeder:
                await rows_at(hub, hub.figure("argus_rows_in_total") + 1000)
                feeder.process.kill()
                await feeder.ended()
        await early.request("pong", "ping", id=1)
    async with plain_client(hub.ws_url) as client:
        topics = (await client.request("topics", "topics", id=1, pattern="tick:*"))["topics"]
        await listen(client, story, sum(topic["seq"] for topic in topics))
    story.check_numbers()
    check_one_outage(story)
    newest: dict[str, int] = {}
    for row in story.rows:
        assert row[2] >= newest.get(row[0], 0), "the market went back"
        newest[row[0]] = row[2]


async def test_a_recording_that_is_played_again_begins_another_history(start_hub: StartHub, tmp_path: Path) -> None:
    day = write_csv(tmp_path / "day.csv", line(), line(after_ms=3000))
    options = ("--source", "recording", "--recording", str(day), "--speed", "0")
    hub, epochs = start_hub("--source", "feed"), []
    for _ in range(2):
        async with feeder_process(feed_of(hub), tmp_path, *options):
            async with asyncio.timeout(START_S):
                story = Story()
                while len(story.rows) != 2:
                    await asyncio.sleep(0.1)
                    story = await day_of(hub)
            story.check_numbers()
            epochs += story.epochs
    assert len(set(epochs)) == 2


async def day_of(hub: HubProcess) -> Story:
    """All that a hub has of the day, where it serves at all."""
    story = Story()
    try:
        async with plain_client(hub.ws_url) as client:
            story.epochs.append(client.welcome["epoch"])
            await client.send("subscribe", topics=["tick:*"], since={"time": 0}, id=1)
            await client.send("ping", id=2)
            while True:
                message = await client.receive()
                if isinstance(message, dict) and message["type"] == "pong":
                    return story
                take(message, story)
    except (OSError, ConnectionClosed, InvalidStatus):  # it is renewing itself
        return Story()


ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")


@ON_LINUX
async def test_an_isolated_source_feeds_its_hub_and_is_started_again_when_it_dies(start_hub: StartHub) -> None:
    hub, story = start_hub(*MARKET, "--isolate-source"), Story()
    await rows_at(hub, 1000)
    (child,) = children_of(hub.pid)
    os.kill(child, signal.SIGKILL)
    await rows_at(hub, hub.figure("argus_rows_in_total") + 1000)
    (another,) = children_of(hub.pid)
    assert another != child
    async with plain_client(hub.ws_url) as client:
        assert client.welcome["source"] == {"name": "simulator", "simulated": True}
        await listen(client, story, 2000)
    story.check_numbers()
    check_one_outage(story)


@ON_LINUX
async def test_an_isolated_source_ends_with_its_hub_however_that_ends(tmp_path: Path) -> None:
    with killable_hub(tmp_path, *MARKET, "--isolate-source") as hub:
        await rows_at(hub, 100)
        (child,) = children_of(hub.pid)
        assert is_alive(child)
    await until(lambda: not is_alive(child), START_S)
    with running_hub(*MARKET, "--isolate-source", log_file=tmp_path / "stopped.log") as hub:
        await rows_at(hub, 100)
        (child,) = children_of(hub.pid)
    assert not is_alive(child)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that run."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    return [int(part) for part in text.split()]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_only_whoever_has_the_feed_token_feeds(start_hub: StartHub, tmp_path: Path) -> None:
    hub = start_hub("--source", "feed", variables={"ARGUS_FEED_TOKEN": "for-feeders-only"})
    few = ("--symbols", "5", "--log-level", "error")
    async with feeder_process(feed_of(hub), tmp_path, *few) as feeder:
        assert await feeder.ended() == 1
        assert "401" in feeder.log()
    async with feeder_process(feed_of(hub), tmp_path, *few, variables={"ARGUS_TOKEN": "for-feeders-only"}):
        await rows_at(hub, 1)
    async with plain_client(hub.ws_url) as client:
        await client.request("pong", "ping", id=1)
