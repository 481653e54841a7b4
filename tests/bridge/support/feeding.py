"""A hub that is fed: the real server with its feeding endpoint, a sink that keeps everything, and a scripted feeder."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from bridge.feed.endpoint import PATH, FeedEndpoint
from bridge.feed.messages import Hello
from bridge.feed.right import FeedRight
from bridge.feed.source import FeedSource
from bridge.source import Batch, Interruption, SourceStatus
from hub.delivery import Delivery
from hub.schema import Row
from hub.server import HubServer, ServerSettings
from tests.hub.support.core import make_hub, tick
from tests.hub.support.served_hub import QUIET_SETTINGS, one_page

PATIENCE_S: Final = 20.0
TEN_MS: Final = 1_788_228_000_000
"""2026-09-01 10:00:00 in Shanghai: a Tuesday, continuous trading."""


def rows_of(number: int, count: int = 2) -> list[Row]:
    """Rows of a batch that can be told from those of any other."""
    return [tick(f"{600000 + at}.SH", TEN_MS + number, number) for at in range(count)]


@dataclass
class Keeper:
    """A sink that keeps everything in order, and acknowledges by hand."""

    said: list[Any] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    on_deliver: Callable[[Batch], None] = lambda _: None

    def deliver(self, batch: Batch) -> None:
        self.on_deliver(batch)
        self._keep(replace(batch, rows=list(batch.rows)))

    def report(self, status: SourceStatus) -> None:
        self._keep(status)

    def interrupt(self, interruption: Interruption) -> None:
        self._keep(interruption)

    def begin_run(self, run: str) -> None:
        self._keep(run)

    def tell(self, told: Any) -> None:
        self.told.append(told)
        self.changed.set()

    def _keep(self, what: Any) -> None:
        self.said.append(what)
        self.changed.set()

    @property
    def batches(self) -> list[Batch]:
        return [what for what in self.said if isinstance(what, Batch)]

    @property
    def numbers(self) -> list[int]:
        return [batch.number for batch in self.batches]

    @property
    def statuses(self) -> list[SourceStatus]:
        return [what for what in self.said if isinstance(what, SourceStatus)]

    @property
    def stream(self) -> list[Any]:
        """Everything but the reports."""
        return [what for what in self.said if not isinstance(what, SourceStatus)]

    async def until(self, happened: Callable[[], object]) -> None:
        """Wait for something that is brought here."""
        async with asyncio.timeout(PATIENCE_S):
            while not happened():
                self.changed.clear()
                await self.changed.wait()


@dataclass
class FedHub:
    """A hub whose source is a feeder. ``hellos`` are those that asked to be let in; ``admits`` decides."""

    source: FeedSource
    sink: Keeper
    server: HubServer
    port: int
    hellos: list[Hello]
    running: "asyncio.Task[None]"

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}{PATH}"

    async def stop_running(self) -> None:
        """End the run of the source, as a hub does that stops."""
        self.running.cancel()
        await asyncio.wait({self.running})

    def run_again(self) -> None:
        """Run the source, which doesn't run."""
        self.running = asyncio.create_task(self.source.run(self.sink))


@asynccontextmanager
async def fed_hub(
    *,
    run: str = "",
    batch: int = 0,
    newest: tuple[int, int] | None = None,
    admits: Callable[[Hello], bool] = lambda _: True,
    secret: str = "",
    hello_timeout_s: float = PATIENCE_S,
    stores: bool = True,
    starts: bool = True,
    port: int = 0,
    settings: ServerSettings = QUIET_SETTINGS,
) -> AsyncIterator[FedHub]:
    """Serve an endpoint for feeders. With ``stores`` every batch is stored at once; else the test says when."""
    hellos: list[Hello] = []

    def on_hello(hello: Hello) -> bool:
        hellos.append(hello)
        return admits(hello)

    source = FeedSource(run=run, batch=batch, newest=lambda: newest, on_hello=on_hello)
    sink = Keeper()
    if stores:
        loop = asyncio.get_running_loop()
        sink.on_deliver = lambda batch: void(loop.call_soon(source.stored, batch.number))
    hub = make_hub()
    endpoint = FeedEndpoint(source, FeedRight(secret), hello_timeout_s)
    delivery = Delivery(hub, asyncio.get_running_loop(), lambda _: None)
    server = HubServer(hub, delivery, settings, one_page, dict, {PATH: endpoint})
    ((_, port),) = await server.start("127.0.0.1", port)
    never = asyncio.create_task(asyncio.sleep(0))
    fed = FedHub(source, sink, server, port, hellos, never)
    if starts:
        fed.run_again()
    try:
        yield fed
    finally:
        await fed.stop_running()
        if not server.draining:
            await server.drain("the test is over", 0)


def void(_: object) -> None:
    """Say that a result is not of interest."""


class PlainFeeder:
    """A feeder that does nothing by itself, and knows nothing of the code under test but the bytes."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, op: str, **fields: Any) -> None:
        await self.send({"op": op, **fields})

    async def hello(self, run: str = "run-a", **fields: Any) -> dict[str, Any]:
        """Introduce itself and give the hub's welcome."""
        known: dict[str, Any] = {"source": "scripted", "run": run, "simulated": False, "channels": ["tick"]}
        await self.say("hello", **known | fields)
        return await self.hear("welcome")

    async def batch(self, number: int, channel: str = "tick", rows: Any = None) -> None:
        await self.send([number, channel, rows_of(number) if rows is None else rows, 17])

    async def send(self, message: Any) -> None:
        await self.socket.send(msgspec.msgpack.encode(message))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            data = await self.socket.recv()
        message = msgspec.msgpack.decode(data)
        assert isinstance(message, dict)
        return message

    async def hear(self, kind: str) -> dict[str, Any]:
        """The next message, which must be of this type."""
        message = await self.receive()
        assert message["type"] == kind, message
        return message

    async def acknowledged(self, batch: int) -> None:
        """Wait until this batch is acknowledged."""
        while (await self.hear("ack"))["batch"] < batch:
            pass

    async def closed(self) -> tuple[int | None, str | None]:
        """Read to the end of the connection; its code and reason."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed:
                return self.socket.close_code, self.socket.close_reason


@asynccontextmanager
async def plain_feeder(url: str, token: str = "", **options: Any) -> AsyncIterator[PlainFeeder]:
    """Connect a scripted feeder, which has not introduced itself."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    subprotocols = [Subprotocol("argus.feed.v1")]
    async with connect(url, subprotocols=subprotocols, additional_headers=headers, proxy=None, **options) as socket:
        yield PlainFeeder(socket)


@contextmanager
def no_task_is_left() -> Iterator[None]:
    """Check that what runs at the end ran at the beginning."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, left
