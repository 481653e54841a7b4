"""A feeder that does nothing by itself: ``/feed`` by the words of the protocol, with ``websockets`` and ``msgpack``.

What it feeds is written down in `Given`, the whole stream as every client must receive it. So a test knows every row.
"""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.e2e.support.plain_client import PATIENCE_S, Row

TEN_MS: Final = 1_788_228_000_000
"""2026-09-01 10:00:00 in Shanghai: a Tuesday, continuous trading."""
DAY_MS: Final = TEN_MS - 10 * 3_600_000
"""The midnight before."""
TICK_MS: Final = 3_000
RUN: Final = "run-a"


class Missing(NamedTuple):
    """An ``upstream`` gap: rows of a topic or pattern that the source never gave, between two exchange times."""

    topic: str
    from_time: int | None
    to_time: int | None


Event = Row | Missing
"""A row as clients see it, with ``seq`` and ``recv``, or a gap at its place among the rows."""


class Given:
    """Everything that was fed, in order of arrival."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.seqs: Counter[str] = Counter()
        """By code, how many rows it has."""
        self.gaps = 0
        self.batches: dict[str, list[list[Any]]] = {}
        """By run, all that was sent in batches, as a feeder keeps it."""
        self._places: dict[tuple[str, int], int] = {}

    @property
    def row_count(self) -> int:
        return len(self.events) - self.gaps

    @property
    def rows(self) -> list[Row]:
        return [event for event in self.events if not isinstance(event, Missing)]

    def of(self, code: str) -> list[Row]:
        """The rows of one instrument."""
        return [row for row in self.rows if row[0] == code]

    def add(self, row: Row, recv_us: int) -> None:
        """A row that the hub has to publish."""
        code, time_ms, *values = row
        self.seqs[code] += 1
        self._places[code, self.seqs[code]] = len(self.events)
        self.events.append((code, self.seqs[code], time_ms, recv_us, *values))

    def add_gap(self, topic: str, from_time: int | None, to_time: int | None) -> None:
        """A gap that the hub has to announce, right here."""
        self.gaps += 1
        self.events.append(Missing(topic, from_time, to_time))

    def row(self, code: str, seq: int) -> Row:
        place = self._places.get((code, seq))
        assert place is not None, f"nobody ever gave the row {seq} of {code}"
        row = self.events[place]
        assert not isinstance(row, Missing)
        return row

    def since(self, time_ms: int, code: str) -> list[Row]:
        """The rows of an instrument whose times grow, from a time on."""
        rows = self.of(code)
        return rows[bisect_left(rows, time_ms, key=lambda row: row[2]) :]


def tick(code: str, time_ms: int, number: int) -> Row:
    """A tick as sources give it. Ticks with different numbers differ, and what was traded grows with the number."""
    price = 10 + number % 1000 / 100
    asks, bids = ([round(price + side * level / 100, 2) for level in range(1, 6)] for side in (1, -1))
    volumes = [number % 90 + level for level in range(1, 6)]
    traded = (number * 1000.0, number, number * 100)
    return (code, time_ms, price, 10.0, 20.0, 9.0, 10.0, *traded, None, 13, None, number, asks, bids, volumes, volumes)


class ScriptedFeeder:
    """One connection to ``/feed``."""

    def __init__(self, socket: ClientConnection, given: Given) -> None:
        self.socket = socket
        self.given = given
        self.welcome: dict[str, Any] = {}
        self.number = 0
        """Of the newest batch that was sent."""
        self._kept: list[list[Any]] = []

    async def say(self, op: str, **fields: Any) -> None:
        await self.send({"op": op, **fields})

    async def send(self, message: Any) -> None:
        await self.socket.send(msgpack.packb(message))

    async def hello(self, run: str = RUN, **fields: Any) -> None:
        """Introduce itself, and tell a clock that stands still: no row is late or early but by a test's own doing."""
        known: dict[str, Any] = {"source": "scripted", "run": run, "simulated": False, "channels": ["tick"]}
        await self.say("hello", **known | fields)
        self.welcome = await self.hear("welcome")
        self.number = self.welcome["batch"]
        self._kept = self.given.batches.setdefault(run, [])
        await self.say("clock", time=TEN_MS, pace=0)

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next message of a type, past all others."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = msgpack.unpackb(await self.socket.recv())
                assert isinstance(message, dict)
                assert message["type"] != "error", message
                if message["type"] == kind:
                    return message

    async def acknowledged(self) -> None:
        """Wait until the hub has all that was sent in its journal."""
        while (await self.hear("ack"))["batch"] < self.number:
            pass

    async def put(
        self, rows: Iterable[Row], recv_us: int | None = None, *, counted: bool = True, is_state: bool = False
    ) -> None:
        """Send the next batch. ``counted``: its rows are new, so that clients must get them."""
        self.number += 1
        recv_us = TEN_MS * 1000 + self.number if recv_us is None else recv_us
        rows = list(rows)
        if counted:
            for row in rows:
                self.given.add(row, recv_us)
        batch = [self.number, "tick", rows, recv_us, *([True] if is_state else [])]
        self._kept.append(batch)
        await self.send(batch)

    async def send_again(self, back: int = 0) -> None:
        """Send what was sent before and the hub does not have; with ``back``, also so many batches that it does."""
        has = self.welcome["batch"]
        again = [batch for batch in self._kept if batch[0] > has - back]
        for batch in again:
            await self.send(batch)
            self.number = batch[0]
        if again:
            await self.acknowledged()

    async def feed(self, rows: Iterable[Row], recv_us: int | None = None) -> None:
        """Send the next batch and wait until it is acknowledged."""
        await self.put(rows, recv_us)
        await self.acknowledged()

    async def feed_ticks(self, codes: Iterable[str], rounds: int = 1) -> None:
        """Feed a batch with a tick of each instrument, so many times; each 3 s after the one before."""
        codes = list(codes)
        for _ in range(rounds):
            start = len(self.given.events)
            await self.put(tick(code, TEN_MS + start * 3, start + place) for place, code in enumerate(codes, 1))
        await self.acknowledged()

    async def closed(self) -> int | None:
        """Read to the end of the connection; its close code."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed:
                return self.socket.close_code


@asynccontextmanager
async def scripted_feeder(url: str, given: Given, run: str = RUN, **fields: Any) -> AsyncIterator[ScriptedFeeder]:
    """Connect, introduce a feeder, and feed what follows; leaving cuts the line, as when a feeder is killed."""
    async with connect(
        url,
        subprotocols=[Subprotocol("argus.feed.v1")],
        compression=None,
        max_size=None,
        ping_interval=None,
        open_timeout=PATIENCE_S,
        proxy=None,
    ) as socket:
        feeder = ScriptedFeeder(socket, given)
        try:
            await feeder.hello(run, **fields)
            yield feeder
        finally:
            socket.transport.abort()
