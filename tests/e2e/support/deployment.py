"""A feed, edges and Redis between them, each a process of its own; the feed is fed by script."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from tests.bridge.support.redis_servers import RedisServer, redis_server
from tests.e2e.support.fed_hub import HEARTBEAT_S, Line
from tests.e2e.support.hub_process import ALIVE, HubProcess
from tests.e2e.support.scripted_feeder import Given, ScriptedFeeder, scripted_feeder

UPGRADE: Final = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}


class Deployment:
    """The processes of now. ``line`` is that of the edges to Redis."""

    def __init__(self, folder: Path, redis: RedisServer, line: Line, stack: AsyncExitStack) -> None:
        self.redis = redis
        self.line = line
        self.given = Given()
        self.feed: HubProcess
        self._folder = folder
        self._stack = stack
        self._starts = 0
        self._hubs: list[HubProcess] = []

    async def start_feed(self, *options: str) -> HubProcess:
        """Start the feed on the journal that is there, and return when it leads."""
        self.feed = await self.start_second_feed(*options, data="data")
        await self.leads(self.feed)
        return self.feed

    async def start_second_feed(self, *options: str, data: str = "data-2") -> HubProcess:
        """Start a feed with a journal of its own, whether it will lead or not."""
        fixed = ("--role", "feed", "--redis", self.redis.url, "--data", str(self._folder / data))
        return await self._start(*fixed, *options)

    async def closed_to_clients(self, hub: HubProcess) -> None:
        """Return when a feed lets no clients in, because another one stands by."""
        async with asyncio.timeout(60):
            while True:
                with suppress(OSError):
                    if "served by the edges" in (await asyncio.to_thread(hub.get, "/ws", UPGRADE)).body:
                        return
                await asyncio.sleep(0.05)

    async def listens(self, hub: HubProcess) -> None:
        """Return when a process answers."""
        async with asyncio.timeout(60):
            while True:
                with suppress(OSError):
                    if (await asyncio.to_thread(hub.get, "/healthz")).status == 200:
                        return
                await asyncio.sleep(0.05)

    async def leads(self, hub: HubProcess) -> None:
        """Return when a feed publishes."""
        async with asyncio.timeout(60):
            while True:
                with suppress(OSError):  # it listens anew when it begins to lead
                    if "argus_relay_on 1.0" in (await asyncio.to_thread(hub.get, "/metrics")).body:
                        return
                await asyncio.sleep(0.05)

    async def start_edge(self, *options: str) -> HubProcess:
        """Start an edge; it listens when it has what the feed has."""
        port = urlsplit(self.line.url).port
        return await self._start("--role", "edge", "--redis", f"redis://127.0.0.1:{port}/0", *options)

    async def feeder(self, run: str = "run-a") -> ScriptedFeeder:
        """Connect a feeder to the feed, for as long as the deployment runs."""
        url = f"ws://127.0.0.1:{self.feed.port}/feed"
        return await self._stack.enter_async_context(scripted_feeder(url, self.given, run))

    async def kill(self, hub: HubProcess) -> None:
        """Kill a process with SIGKILL."""
        hub.signal(signal.SIGKILL)
        await asyncio.to_thread(hub.wait)

    async def stop(self, hub: HubProcess) -> None:
        """Stop a process in order."""
        await asyncio.to_thread(hub.stop)

    async def ready(self, hub: HubProcess, *, is_ready: bool = True, reason: str = "") -> None:
        """Return when a process says that it is ready, or that it is not for a reason."""
        async with asyncio.timeout(60):
            while True:
                with suppress(OSError):  # between two histories an edge does not listen
                    page = await asyncio.to_thread(hub.get, "/readyz")
                    if (page.status == 200) == is_ready and reason in page.body:
                        return
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        """Stop everything that still runs; all of it, whatever is wrong with one."""
        async with AsyncExitStack() as stack:
            for hub in self._hubs:
                if hub in ALIVE:
                    stack.push_async_callback(self.stop, hub)

    def log(self) -> str:
        """What all its processes logged."""
        return "".join(f"\n--- {hub.pid}\n{hub.log()}" for hub in self._hubs)

    async def _start(self, *options: str) -> HubProcess:
        self._starts += 1
        fixed = ("--heartbeat-s", HEARTBEAT_S, "--drain-s", "0.2")
        log_file = self._folder / f"hub-{self._starts}.log"
        hub = await asyncio.to_thread(HubProcess, *fixed, *options, log_file=log_file)
        self._hubs.append(hub)
        return hub


@asynccontextmanager
async def deployment(folder: Path) -> AsyncIterator[Deployment]:
    """A Redis, and a line to it, for the length of a block."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server(folder / "redis"))
        line = await stack.enter_async_context(Line("127.0.0.1", redis.port, "/0").serve())
        found = Deployment(folder, redis, line, stack)
        try:
            yield found
        except BaseException as error:
            error.add_note(found.log())
            raise
        finally:
            await found.end()
