"""The kill test itself: a hub, a feeder and a crowd of clients as processes, and somebody who kills."""

import asyncio
import random
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.e2e.kill.batches import Batches
from tests.e2e.kill.market import write_codes
from tests.e2e.kill.plan import Kill, Moment, Size, hub_kills
from tests.e2e.support.child import PATIENCE_S, Child
from tests.e2e.support.plain_client import plain_client

LISTENING: Final = r"Argus Hub is listening on .*"
OUTAGE_BATCHES: Final = 3
"""How many batches a feeder that was killed misses at most before it is started again."""

SURELY_NOTED_BATCHES: Final = 10
"""How long before a kill, in batches, whatever was due had surely been noted, also on a machine that is late."""


@dataclass
class Outcome:
    """What is left to judge: record, diaries, and when the hub was killed and listened again (epoch seconds)."""

    record: Path
    diaries: list[Path] = field(default_factory=list)
    kills: list[tuple[float, float]] = field(default_factory=list)


class Scene:
    """Processes and files of one kill test. Everything lies in ``folder``."""

    def __init__(self, size: Size, folder: Path) -> None:
        self._size = size
        self._folder = folder
        self._chance = random.Random(size.seed)
        self._port = _free_port()
        self._hub: Child | None = None
        self._feeder: Child | None = None
        self._clients: Child | None = None
        self._opened_s = 0.0
        self._batches = Batches()
        self._start_s = 1.0

    async def play(self) -> Outcome:
        """Do everything, in order. Every process has ended when it returns."""
        outcome = Outcome(self._folder / "record")
        try:
            begun_s = time.monotonic()
            hub = await self._listening_hub()
            self._start_s = time.monotonic() - begun_s
            clients = await self._start_clients()
            await clients.line("ready")
            self._opened_s = time.time()
            await self._start_feeder(self._opened_s)
            for kill in hub_kills(self._size, self._chance):
                hub = await self._kill_hub(hub, kill, outcome)
            await self._batches.next()
            for _ in range(self._size.feeder_kills):
                await self._kill_feeder()
            await self._end_in_order(hub, clients)
        finally:
            await self._clear()
        outcome.diaries = sorted(self._folder.glob("*.diary"))
        return outcome

    async def _start_hub(self) -> Child:
        options = ["--port", str(self._port), "--source", "feed", "--data", str(self._folder / "data")]
        # Slow clients are not what this is about, and all of these share one process.
        options += ["--heartbeat-s", "1", "--stall-s", str(PATIENCE_S)]
        self._hub = await Child.start("run_hub.py", *options, log_file=self._folder / "hub.log")
        return self._hub

    async def _listening_hub(self) -> Child:
        hub = await self._start_hub()
        await hub.line(LISTENING)
        return hub

    async def _start_clients(self) -> Child:
        size = self._size
        codes_file = write_codes(self._folder, size.symbols)
        url = f"ws://127.0.0.1:{self._port}/ws"
        what = (str(size.clients), str(size.hub_phase_s), str(size.seed), str(codes_file))
        program = ("-m", "tests.e2e.kill.clients", url, str(self._folder), *what)
        self._clients = await Child.start(*program, log_file=self._folder / "clients.log")
        return self._clients

    async def _start_feeder(self, away_s: float) -> None:
        """Start it, and return when its first batch is written down. ``away_s``: since when there was none."""
        size = self._size
        url = f"ws://127.0.0.1:{self._port}/feed"
        what = (str(size.symbols), str(size.interval_s), str(size.speed), str(self._opened_s), str(away_s))
        program = ("-m", "tests.e2e.kill.feeder", url, str(self._folder / "record"), *what)
        self._feeder = await Child.start(*program, log_file=self._folder / "feeder.log")
        self._batches.follow(self._feeder)
        await self._batches.next()

    async def _kill_hub(self, hub: Child, kill: Kill, outcome: Outcome) -> Child:
        """Kill the hub at a moment, and start it again on the same port and folder. The pauses are the moments."""
        await asyncio.sleep(kill.life_s)
        killed_s = None
        match kill.moment:
            case Moment.AFTER_BATCH:
                await self._batches.next()
                await asyncio.sleep(kill.wait_s)
            case Moment.STARTING:
                killed_s = time.time()
                await hub.kill()
                hub = await self._start_hub()
                await asyncio.sleep(kill.wait_s * self._start_s)
        killed_s = killed_s or time.time()
        await hub.kill()
        hub = await self._listening_hub()
        outcome.kills.append((killed_s, time.time()))
        return hub

    async def _kill_feeder(self) -> None:
        """Kill the feeder at any moment, and start it again after a while."""
        size = self._size
        assert self._feeder
        for _ in range(2):  # so that the hub has something of this run
            await self._batches.next()
        await asyncio.sleep(self._chance.uniform(0, size.longest_s))
        self._batches.leave()
        batch_s = size.interval_s / size.speed
        away_s = time.time() - SURELY_NOTED_BATCHES * batch_s
        await self._feeder.kill()
        await asyncio.sleep(self._chance.uniform(0, OUTAGE_BATCHES * batch_s))
        await self._start_feeder(away_s)

    async def _end_in_order(self, hub: Child, clients: Child) -> None:
        """Let the feeder hand over what it has, and every client take it; then the hub may go."""
        assert self._feeder
        self._batches.leave()
        await self._feeder.stop()
        async with plain_client(f"ws://127.0.0.1:{self._port}/ws") as last:
            await clients.tell(f"finish {last.welcome['at']}")
        await clients.line("done")
        await clients.ended()
        await hub.stop()

    async def _clear(self) -> None:
        """End what is left, when something has failed."""
        await self._batches.end()
        for child in (self._feeder, self._clients, self._hub):
            if child is not None and not child.has_ended:
                sys.stderr.write(child.log()[-4000:])
                await child.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
