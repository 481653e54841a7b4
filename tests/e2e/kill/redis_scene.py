"""The kill test across processes: two feeds, edges and Redis between them, and somebody who kills, pauses and cuts."""

import asyncio
import random
import signal
import socket
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from bridge.redis.address import Address
from bridge.redis.relay import RedisRelay
from tests.bridge.support.redis_servers import RedisServer
from tests.e2e.kill.batches import Batches
from tests.e2e.kill.market import write_codes
from tests.e2e.kill.redis_plan import Event, Fault, RedisSize, events
from tests.e2e.support.child import PATIENCE_S, Child
from tests.e2e.support.fed_hub import Line

LISTENING: Final = r"Argus Hub is listening on .*"
LEASE_S: Final = 2
LOOK_S: Final = 0.1
FEEDS: Final = 2
SHARDS: Final = 16
FEW_TOPICS: Final = 3
SMALL_BUFFER: Final = "--client-output-buffer-limit", "pubsub 2mb 1mb 5"
"""So that Redis cuts off who doesn't keep up while the test still runs."""
THROTTLED_BYTES_PER_S: Final = 2_000


@dataclass
class Outcome:
    """What is left to judge: record, diaries, what was done and when (epoch s), and what feeds and edges logged."""

    record: Path
    diaries: list[Path] = field(default_factory=list)
    done: list[tuple[Fault, float]] = field(default_factory=list)
    logs: str = ""


class RedisScene:
    """Processes and files of one test. Everything lies in ``folder``."""

    def __init__(self, size: RedisSize, folder: Path) -> None:
        self._size = size
        self._folder = folder
        self._chance = random.Random(size.seed)
        self._redis = RedisServer(folder / "redis", "--save", "", "--appendonly", "no", *SMALL_BUFFER)
        self._ports = [_free_port() for _ in range(size.edges + 1 + FEEDS)]  # the edges', then the feeds'
        self._codes_file = write_codes(folder, size.symbols)
        self._few_file = _write_few(self._codes_file)
        self._lines: list[Line] = []
        self._hubs: list[Child] = []
        self._feeder: Child | None = None
        self._clients: list[Child] = []
        self._batches = Batches()

    async def play(self) -> Outcome:
        """Do everything, in order. Every process has ended when it returns."""
        outcome = Outcome(self._folder / "record")
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._clear)
            await self._redis.start()
            for _ in self._ports:
                line = Line("127.0.0.1", self._redis.port, "/0")
                self._lines.append(await stack.enter_async_context(line.serve()))
            self._hubs = [await self._start(number) for number in range(len(self._ports))]
            for hub in reversed(self._hubs):
                await hub.line(LISTENING)
            await self._are_well()
            await self._start_clients()
            await self._start_feeder()
            for event in events(self._size, self._chance):
                await asyncio.sleep(event.well_s)
                if event.after_batch:
                    await self._batches.next()
                began_s = time.time()
                await self._befall(event)
                outcome.done.append((event.fault, began_s))
                await self._are_well()
            await self._batches.next()
            await self._end_in_order()
        outcome.diaries = sorted(self._folder.rglob("*.diary"))
        outcome.logs = "".join(path.read_text(encoding="utf-8") for path in sorted(self._folder.glob("hub-*.log")))
        return outcome

    @property
    def _feeds(self) -> range:
        return range(self._size.edges + 1, len(self._ports))

    async def _leading(self) -> int | None:
        """The feed that leads, when one does."""
        for number in self._feeds:
            if "argus_relay_on 1.0" in await self._page(number, "/metrics"):
                return number
        return None

    async def _are_well(self) -> None:
        """Return when a feed leads and the other one follows it: what befalls both at once is another matter.

        For a quarter of a lease: so long it may take until either of them has found out what has happened.
        """
        looks = 0
        async with asyncio.timeout(PATIENCE_S):
            while looks * LOOK_S <= LEASE_S / 4:
                leading = await self._leading()
                others = [await self._page(number, "/readyz") for number in self._feeds if number != leading]
                is_well = leading is not None and all("following it up to row" in page for page in others)
                looks = looks + 1 if is_well else 0
                await asyncio.sleep(LOOK_S)

    async def _page(self, number: int, path: str) -> str:
        """A page of a process; nothing where it does not answer now."""
        url = f"http://127.0.0.1:{self._ports[number]}{path}"

        def get() -> str:
            try:
                with urlopen(url, timeout=PATIENCE_S) as page:
                    return str(page.read().decode())
            except HTTPError as error:
                return str(error.read().decode())
            except OSError:
                return ""

        return await asyncio.to_thread(get)

    async def _start(self, number: int) -> Child:
        """Start an edge, or a feed."""
        redis = f"redis://127.0.0.1:{urlsplit(self._lines[number].url).port}/0"
        options = ["--port", str(self._ports[number]), "--redis", redis, "--heartbeat-s", "1"]
        # Slow clients are not what this is about, and all of these share one process.
        options += ["--stall-s", str(PATIENCE_S), "--ring-rows", "100000", "--drain-s", "1"]
        if number in self._feeds:
            options += ["--role", "feed", "--source", "feed", "--data", str(self._folder / f"data-{number}")]
            options += ["--relay-rows", str(self._size.relay_rows), "--relay-lease-s", str(LEASE_S)]
        else:
            options += ["--role", "edge", "--warm-rows", "100000000"]
        if number == self._size.edges:  # the last one serves a few topics
            codes = self._few_file.read_text(encoding="utf-8").split()
            options += [option for code in codes for option in ("--edge-topics", f"tick:{code}")]
        return await Child.start("run_hub.py", *options, log_file=self._folder / f"hub-{number}.log")

    async def _start_clients(self) -> None:
        """Start those of the edges that serve everything, then those of the edge that serves a few topics."""
        size, few = self._size, self._folder / "few"
        few.mkdir()
        urls = [f"ws://127.0.0.1:{port}/ws" for port in self._ports[: size.edges + 1]]
        for folder, at, count, codes_file, every in (
            (self._folder, ",".join(urls[:-1]), size.clients, self._codes_file, size.every),
            (few, urls[-1], size.few, self._few_file, 0),
        ):
            what = (str(count), str(size.phase_s), str(size.seed), str(codes_file), str(every))
            program = ("-m", "tests.e2e.kill.clients", at, str(folder), *what)
            clients = await Child.start(*program, log_file=folder / "clients.log")
            self._clients.append(clients)
            await clients.line("ready")

    async def _start_feeder(self) -> None:
        """Start it, and return when its first batch is written down."""
        size, now = self._size, str(time.time())
        url = ",".join(f"ws://127.0.0.1:{self._ports[number]}/feed" for number in self._feeds)
        what = (str(size.symbols), str(size.interval_s), str(size.speed), now, now)
        program = ("-m", "tests.e2e.kill.feeder", url, str(self._folder / "record"), *what)
        self._feeder = await Child.start(*program, log_file=self._folder / "feeder.log")
        self._batches.follow(self._feeder)
        await self._batches.next()

    # What befalls them. The pauses are the moments.

    async def _befall(self, event: Event) -> None:
        line = self._lines[event.edge]
        match event.fault:
            case Fault.KILL_EDGE:
                await self._kill_and_start(event.edge)
            case Fault.PAUSE_EDGE:
                await self._pause(self._hubs[event.edge], event.lasts_s)
            case Fault.KILL_FEED:
                await self._kill_and_start(await self._the_leading())
            case Fault.PAUSE_FEED:
                await self._pause(self._hubs[await self._the_leading()], 2 * LEASE_S + event.lasts_s)
            case Fault.KILL_STANDBY:
                await self._kill_and_start(self._other(await self._the_leading()))
            case Fault.PAUSE_STANDBY:
                await self._pause(self._hubs[self._other(await self._the_leading())], LEASE_S + event.lasts_s)
            case Fault.KILL_REDIS:
                await self._redis.kill()
                await asyncio.sleep(event.lasts_s)
                await self._redis.start()
            case Fault.PAUSE_REDIS:
                await self._redis.do("DEBUG", "SLEEP", event.lasts_s)
            case Fault.FLUSH_REDIS:
                await self._redis.do("FLUSHALL")
            case Fault.CUT_LISTENERS:
                await self._redis.do("CLIENT", "KILL", "TYPE", "pubsub")
            case Fault.CUT_ALL:
                for kind in ("pubsub", "normal"):
                    await self._redis.do("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            case Fault.CUT_EDGE:
                line.cut_after(self._chance.randrange(1, 20_000))
                await asyncio.sleep(event.lasts_s)
                line.cut()
            case Fault.SILENCE_EDGE:
                line.flowing.clear()
                await asyncio.sleep(event.lasts_s)
                line.flowing.set()
            case Fault.THROTTLE_EDGE:
                line.bytes_per_s = THROTTLED_BYTES_PER_S
                await asyncio.sleep(event.lasts_s)
                line.bytes_per_s = None
                line.cut()  # what it still holds would take its time

    async def _the_leading(self) -> int:
        leading = await self._leading()
        assert leading is not None, "no feed leads, although all was well"
        return leading

    def _other(self, feed: int) -> int:
        return next(number for number in self._feeds if number != feed)

    async def _kill_and_start(self, number: int) -> None:
        await self._hubs[number].kill()
        self._hubs[number] = await self._start(number)
        await self._hubs[number].line(LISTENING)

    @staticmethod
    async def _pause(hub: Child, lasts_s: float) -> None:
        hub.signal(signal.SIGSTOP)
        await asyncio.sleep(lasts_s)
        hub.signal(signal.SIGCONT)

    async def _end_in_order(self) -> None:
        """Let the feeder hand over what it has, and every client take it; then the hubs may go."""
        assert self._feeder
        self._batches.leave()
        await self._feeder.stop()
        published_at = await self._published_at()
        for clients in self._clients:
            await clients.tell(f"finish {published_at}")
        for clients in self._clients:
            await clients.line("done")
            await clients.ended()
        for hub in self._hubs:
            await hub.stop()

    async def _published_at(self) -> int:
        """The arrival number of the newest row that was published: what a feeder was acknowledged is."""
        relay = RedisRelay(Address.parse(self._redis.url), "argus", SHARDS)
        try:
            found = [await relay.newest(shard) for shard in range(SHARDS)]
            return max(row.at for _, rows in found for row in rows)
        finally:
            await relay.close()

    async def _clear(self) -> None:
        """End what is left."""
        await self._batches.end()
        for child in (self._feeder, *self._clients, *self._hubs):
            if child is not None and not child.has_ended:
                sys.stderr.write(child.log()[-4000:])
                await child.kill()
        await self._redis.stop()


def _write_few(codes_file: Path) -> Path:
    """Write down a few instruments from all over the market. Returns the file."""
    codes = codes_file.read_text(encoding="utf-8").split()
    file = codes_file.with_name("few-codes")
    file.write_text("\n".join(codes[:: len(codes) // FEW_TOPICS][:FEW_TOPICS]), encoding="utf-8")
    return file


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
