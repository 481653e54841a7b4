"""Hubs killed and started again on the same port and data: what goes on, what begins anew, and what is told."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.support.child import PATIENCE_S, Child
from tests.e2e.support.plain_client import Control, Data, Encoding, PlainClient, Row, plain_client

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither SIGKILL nor /proc")

SYMBOLS: Final = 50
MARKET: Final = ("--symbols", str(SYMBOLS), "--interval", "0.5", "--speed", "10")
LISTENING: Final = r"Argus Hub is listening on http://127\.0\.0\.1:(\d+)/ \(.*\)"


@dataclass
class Hub:
    """A hub that may be killed and started again: always on the same port and data."""

    folder: Path
    options: tuple[str, ...]
    port: int = 0
    child: Child | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def process(self) -> Child:
        assert self.child is not None
        return self.child

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        where = ("--port", str(self.port), "--data", str(self.folder / "data"))
        self.child = await Child.start("run_hub.py", *where, *self.options, log_file=self.folder / "hub.log")
        self.port = int((await self.child.line(LISTENING))[1])

    async def killed(self) -> None:
        """End it with SIGKILL."""
        await self.process.kill()


@asynccontextmanager
async def running_hub(folder: Path, *options: str) -> AsyncIterator[Hub]:
    """A hub that listens. At the end it is stopped as a user stops it, if it still runs."""
    hub = Hub(folder, options)
    try:
        await hub.start()
        yield hub
        if not hub.process.has_ended:
            await hub.process.stop()
    finally:
        if hub.child is not None and not hub.child.has_ended:
            await hub.child.kill()


@asynccontextmanager
async def running_feeder(hub: Hub) -> AsyncIterator[Child]:
    """A feeder with a simulated market. It must not have ended by itself."""
    to = f"ws://127.0.0.1:{hub.port}/feed"
    feeder = await Child.start(
        *("run_hub.py", "--role", "feeder", "--source", "sim", *MARKET, "--to", to), log_file=hub.folder / "feeder.log"
    )
    try:
        yield feeder
        assert not feeder.has_ended, feeder.log()
    finally:
        await feeder.kill()


@dataclass
class Reader:
    """A client over several connections: every row and gap that it was given, and how it resumes."""

    encoding: Encoding = "json"
    rows: dict[str, list[Row]] = field(default_factory=dict)
    gaps: list[Control] = field(default_factory=list)
    origins: set[str] = field(default_factory=set)
    epoch: str = ""
    at: int = 0
    reply: Control = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(map(len, self.rows.values()))

    @property
    def position(self) -> dict[str, Any]:
        """Where to resume."""
        seqs = {f"tick:{code}": rows[-1][1] for code, rows in self.rows.items()}
        return {"epoch": self.epoch, "at": self.at, "seq": seqs}

    @asynccontextmanager
    async def connected(self, hub: Hub) -> AsyncIterator[PlainClient]:
        """Connect, and subscribe: everything from the start at first, later what came since."""
        async with plain_client(hub.url, self.encoding) as client:
            since = self.position if self.epoch else {"time": 0}
            await client.send("subscribe", id=1, topics=["tick:*"], since=since)
            before, self.epoch = self.epoch, client.welcome["epoch"]
            self.reply = await client.control("subscribed", 1)
            if self.epoch != before:
                self.at = self.reply["at"] if before else 0
            yield client

    async def read(self, client: PlainClient, enough: Callable[[], bool]) -> None:
        """Take what comes until that is enough."""
        async with asyncio.timeout(PATIENCE_S):
            while not enough():
                self._take(await client.receive())

    async def read_on(self, client: PlainClient, rounds: int = 2) -> None:
        """Take what comes until every instrument has had so many further rows."""
        goal = {code: len(rows) + rounds for code, rows in self.rows.items()}

        def enough() -> bool:
            spoken = len(self.rows) == SYMBOLS
            return spoken and all(len(rows) >= goal.get(code, rounds) for code, rows in self.rows.items())

        await self.read(client, enough)

    async def read_to_the_end(self, client: PlainClient) -> int:
        """Take what comes until the connection ends; the close code."""
        with suppress(Exception):
            while True:
                self._take(await client.receive())
        return (await client.closed())[0]

    def _take(self, message: Any) -> None:
        if isinstance(message, Data):
            self.origins.add(message.origin)
            for row in message.rows:
                self.rows.setdefault(row[0], []).append(row)
        elif message["type"] == "gap":
            self.gaps.append(message)
        else:
            assert message["type"] in ("heartbeat", "draining", "slow"), message

    def has_no_hole(self) -> None:
        """Nobody told of a gap, and the rows are one unbroken stream."""
        assert self.gaps == []
        self.is_contiguous()

    def is_contiguous(self) -> None:
        """Of every instrument the numbers are 1, 2, 3, ...; its rows never go back in time, and none came twice."""
        for code, rows in self.rows.items():
            assert [row[1] for row in rows] == list(range(1, len(rows) + 1)), code
            times = [row[2] for row in rows]
            assert times == sorted(times), code
            assert len({str((row[2], *row[4:])) for row in rows}) == len(rows), code


async def everything(hub: Hub, rows: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """The rows as somebody sees them who comes now, as far as ``rows`` go."""
    reader = Reader()
    async with reader.connected(hub) as client:
        await reader.read(client, lambda: all(len(reader.rows.get(code, ())) >= len(rows[code]) for code in rows))
    return {code: reader.rows[code][: len(rows[code])] for code in rows}


def plain(rows: dict[str, list[Row]]) -> dict[str, list[list[Any]]]:
    """Rows of either encoding in a shape that can be compared."""
    return {code: [list(row) for row in rows[code]] for code in rows}


async def test_a_killed_hub_goes_on_in_its_epoch_and_clients_resume_without_a_hole(tmp_path: Path) -> None:
    readers = [Reader("json"), Reader("msgpack")]
    async with running_hub(tmp_path, "--source", "feed") as hub, running_feeder(hub):
        for life in range(3):
            if life:
                await hub.start()
            async with AsyncExitStack() as stack:
                clients = [await stack.enter_async_context(reader.connected(hub)) for reader in readers]
                for reader, client in zip(readers, clients, strict=True):
                    assert reader.reply["recovered"]
                    await reader.read_on(client)
                await hub.killed()
                for reader, client in zip(readers, clients, strict=True):
                    assert await reader.read_to_the_end(client) == 1006
        assert len({reader.epoch for reader in readers}) == 1
        for reader in readers:
            reader.has_no_hole()
            assert reader.origins <= {"live", "replay"}
        await hub.start()
        for reader in readers:
            assert plain(await everything(hub, reader.rows)) == plain(reader.rows), "what was seen is what is kept"


async def test_a_hub_that_was_stopped_in_order_goes_on_too(tmp_path: Path) -> None:
    reader = Reader()
    async with running_hub(tmp_path, "--source", "feed", "--drain-s", "2") as hub, running_feeder(hub):
        async with reader.connected(hub) as client:
            await reader.read_on(client)
            ending = asyncio.create_task(hub.process.stop())
            assert await reader.read_to_the_end(client) == 1012
            await ending
        epoch = reader.epoch
        await hub.start()
        async with reader.connected(hub) as client:
            assert (client.welcome["epoch"], client.welcome["source"]) == (
                epoch,
                {"name": "simulator", "simulated": True},
            )
            await reader.read_on(client)
        reader.has_no_hole()


async def test_who_was_away_over_a_restart_gets_what_was_delivered_before_and_after_it(tmp_path: Path) -> None:
    away = Reader()
    async with running_hub(tmp_path, "--source", "feed") as hub, running_feeder(hub):
        async with away.connected(hub) as client:
            await away.read_on(client)
        other = Reader()
        async with other.connected(hub) as client:
            await other.read_on(client, 4)
            await hub.killed()
        await hub.start()
        async with away.connected(hub) as client:
            assert away.reply["recovered"]
            await away.read(
                client, lambda: all(len(away.rows.get(code, ())) > len(other.rows[code]) for code in other.rows)
            )
        away.has_no_hole()
        for code, rows in other.rows.items():
            assert away.rows[code][: len(rows)] == rows


@pytest.mark.parametrize("way", ["killed", "stopped"])
async def test_a_simulated_day_that_begins_anew_is_a_new_epoch_a_gap_and_a_snapshot(tmp_path: Path, way: str) -> None:
    reader = Reader()
    async with running_hub(tmp_path, *MARKET, "--drain-s", "1") as hub:
        async with reader.connected(hub) as client:
            await reader.read_on(client, 3)
        old, seen = reader.epoch, set(reader.rows)
        await (hub.killed() if way == "killed" else hub.process.stop())
        await hub.start()
        reader.rows.clear()
        again = Reader("json", epoch=old, at=reader.at)
        again.rows = {code: [(code, 3)] for code in seen}
        async with again.connected(hub) as client:
            again.rows.clear()
            assert again.epoch != old
            assert not again.reply["recovered"]
            await again.read_on(client)
        assert {(gap["cause"], gap["epoch"], gap["to"]) for gap in again.gaps} == {("epoch", old, None)}
        for code, rows in again.rows.items():
            assert [row[1] for row in rows] == list(range(rows[0][1], rows[0][1] + len(rows))), code


# The source in a process of its own


def children_of(pid: int) -> list[int]:
    """The processes that a process has started and that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.append(int(path.parent.name))
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended may still be listed until somebody asks for its exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(happened: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not happened():  # noqa: ASYNC110 - of another process nothing else tells
            await asyncio.sleep(0.02)


async def child_of(hub: Hub) -> int:
    """The process of the isolated source."""
    await until(lambda: children_of(hub.process.pid))
    (child,) = children_of(hub.process.pid)
    return child


on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")


@on_linux
async def test_an_isolated_source_that_is_killed_is_an_upstream_gap_and_comes_back(tmp_path: Path) -> None:
    reader = Reader()
    async with running_hub(tmp_path, *MARKET, "--isolate-source") as hub, reader.connected(hub) as client:
        await reader.read_on(client)
        child = await child_of(hub)
        os.kill(child, signal.SIGKILL)
        await reader.read(client, lambda: reader.gaps)
        await reader.read_on(client)
        assert await child_of(hub) != child
        (gap,) = reader.gaps
        assert (gap["cause"], gap["topic"], gap["from"], gap["to"]) == ("upstream", "tick:*", None, None)
        assert gap["from_time"] < gap["to_time"]
        reader.is_contiguous()
        async with plain_client(hub.url) as late:
            assert late.welcome["source"] == {"name": "simulator", "simulated": True}


@on_linux
async def test_ending_the_hub_ends_its_isolated_source_in_order(tmp_path: Path) -> None:
    reader = Reader()
    async with running_hub(tmp_path, *MARKET, "--isolate-source", "--drain-s", "1") as hub:
        async with reader.connected(hub) as client:
            await reader.read_on(client)
            child = await child_of(hub)
            ending = asyncio.create_task(hub.process.stop())
            await reader.read_to_the_end(client)
            await ending
        assert not is_alive(child)
    log = hub.process.log()
    assert "is killed" not in log, log
    assert "were not acknowledged" not in log, log


@on_linux
async def test_an_isolated_source_ends_by_itself_when_its_hub_is_killed_and_the_next_goes_on(tmp_path: Path) -> None:
    reader = Reader()
    async with running_hub(tmp_path, *MARKET, "--isolate-source") as hub:
        async with reader.connected(hub) as client:
            await reader.read_on(client)
            child = await child_of(hub)
            await hub.killed()
            await reader.read_to_the_end(client)
        await until(lambda: not is_alive(child))
        epoch = reader.epoch
        await hub.start()
        async with reader.connected(hub) as client:
            assert (reader.epoch, reader.reply["recovered"]) == (epoch, True)
            await reader.read_on(client)
        (gap,) = reader.gaps
        assert gap["cause"] == "upstream"
        reader.is_contiguous()
