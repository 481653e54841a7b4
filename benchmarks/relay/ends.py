"""What the relay costs: a feed's history and an edge's in this process, Redis in its own.

    python benchmarks/relay.py [--rounds 40] [--single 2000]

Bursts of 5,500 ticks of 215 bytes, then single ticks one after the other, each until the edge has it. Needs
redis-server.
CPU of Redis is by its own account; that of this process is both ends together.
"""

import argparse
import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[1]))

from bridge.redis.address import Address
from bridge.redis.relay import RedisRelay
from bridge.relay.assembler import Assembler
from bridge.relay.beginning import wait_for_beginning
from bridge.relay.fedmarks import FedMarks
from bridge.relay.follower import Follower
from bridge.relay.keeping import Keeping
from bridge.relay.lease import Lease
from bridge.relay.logreader import Stretch
from bridge.relay.publisher import Publisher
from bridge.relay.record import Record
from bridge.relay.state import State
from bridge.relay.turn import Position
from hub.core import Hub, SourceInfo
from hub.followed import FollowedHistory
from hub.history import History

EPOCH: Final = "0123456789abcdef"
SYMBOLS: Final = 5500
SHARDS: Final = 16


def tick(number: int, time_ms: int) -> tuple[object, ...]:
    """A tick of about 215 bytes, packed."""
    book = [10.0 + level / 100 for level in range(5)]
    volumes = [number % 90 + 100 * level for level in range(5)]
    traded = (number * 1000.0, number, number * 100)
    values = (10.5, 10.0, 20.0, 9.0, 10.0, *traded, None, 13, None, number, book, book, volumes, volumes)
    return (f"{600000 + number}.SH", time_ms, *values)


class Ends:
    """Both ends: what the feed's hub delivers, the edge's history gets."""

    def __init__(self) -> None:
        self.feed = Hub(
            epoch=EPOCH,
            source=SourceInfo("bench", simulated=True),
            channels={"tick"},
            history=History(ring_rows=100, ring_bytes=1 << 30),
            universes={},
            on_wants=lambda _: None,
            on_refused=print,
        )
        self.edge = FollowedHistory(ring_rows=100, ring_bytes=1 << 30, at=0, topics=(), known_at=0)
        self._reached = asyncio.Event()
        self._wanted_at = 0

    def state(self, token: int, at: Position) -> State:
        """How the feed is."""
        return State(token, EPOCH, *at, SHARDS, "bench", True, ["tick"], None, {}, 0, 1.0, "connected", "")

    def take(self, stretch: Stretch) -> None:
        """Take what the edge is handed, as `bridge.receiver` does."""
        names, _, seqs, times, recvs, rows = stretch.rows
        topics = [self.edge.topic(*name.split(":")) for name in names]
        self.edge.extend(topics, seqs, times, recvs, rows)
        if self.edge.at >= self._wanted_at:
            self._reached.set()

    async def publish(self, rows: Sequence[tuple[object, ...]]) -> float:
        """Publish rows; milliseconds until the edge has the last."""
        self._wanted_at = self.feed.history.at + len(rows)
        self._reached.clear()
        started_s = time.perf_counter()
        self.feed.publish("tick", rows, time.time_ns() // 1000)
        self.feed.flush()
        await self._reached.wait()
        return (time.perf_counter() - started_s) * 1000


async def measure(port: int, rounds: int, single: int) -> None:
    """Measure and print."""
    ends = Ends()
    relays = [RedisRelay(Address.parse(f"redis://127.0.0.1:{port}"), "bench", SHARDS) for _ in range(2)]
    publisher = Publisher(
        relays[0],
        ends.feed.history,
        EPOCH,
        lease=Lease(relays[0], "bench", 5000),
        keep_rows=200_000,
        state=ends.state,
        on_wishes=lambda _: None,
        keeping=Keeping(relays[0]),
        marks=FedMarks(lambda _: None),
        record=Record(None),
    )
    ends.feed.on_delivered = publisher.wake
    tasks = [asyncio.create_task(publisher.run())]
    beginning = await wait_for_beginning(relays[1], 0, asyncio.Event())
    assert beginning is not None  # noqa: S101 - nobody stops it
    assembler = Assembler(EPOCH, beginning.position)
    follower = Follower(relays[1], assembler, beginning.state, 0, ends.take, lambda _: None)
    tasks.append(asyncio.create_task(follower.run()))
    await follower.caught_up.wait()

    async def run(name: str, rows: int, times: int, make: Callable[[int], list[tuple[object, ...]]]) -> None:
        made = [make(number) for number in range(times)]
        redis_s, own_s, started_s = await cpu_s(relays[1]), time.process_time(), time.perf_counter()
        took = sorted([await ends.publish(batch) for batch in made])
        passed_s, own_s = time.perf_counter() - started_s, time.process_time() - own_s
        redis_s = await cpu_s(relays[1]) - redis_s
        count = rows * times
        print(  # noqa: T201 - what it is for
            f"{name}: {count / passed_s:,.0f} rows/s; to the edge p50 {took[times // 2]:.2f} ms, "
            f"p99 {took[times * 99 // 100]:.2f} ms; CPU a row: Redis {redis_s / count * 1e6:.2f} µs, "
            f"both ends {own_s / count * 1e6:.2f} µs"
        )

    await run("bursts", SYMBOLS, rounds, lambda n: [tick(number, 3000 * (n + 1)) for number in range(SYMBOLS)])
    await run("single rows", 1, single, lambda n: [tick(n % SYMBOLS, 3000 * (rounds + 1) + n)])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for relay in relays:
        await relay.close()


async def cpu_s(relay: RedisRelay) -> float:
    """Seconds of CPU that Redis has used."""
    found = await relay._client.info("cpu")
    return float(found["used_cpu_user"]) + float(found["used_cpu_sys"])


def main() -> None:
    """Start a Redis, measure, end it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--single", type=int, default=2000)
    given = parser.parse_args()
    if shutil.which("redis-server") is None:
        sys.exit("redis-server is missing. On Debian and Ubuntu: sudo apt-get install redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as redis:  # noqa: S603 - fixed arguments
            try:
                asyncio.run(measure(port, given.rounds, given.single))
            finally:
                redis.terminate()


if __name__ == "__main__":
    main()
