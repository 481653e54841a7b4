"""A hub that is fed by script, and may die and come back: one folder for its journal, one address for its clients."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from tests.e2e.support.account import Account
from tests.e2e.support.fault_proxy import FaultProxy
from tests.e2e.support.hub_process import ALIVE, HubProcess
from tests.e2e.support.plain_client import Encoding, PlainClient, plain_client
from tests.e2e.support.scripted_feeder import Given, ScriptedFeeder, scripted_feeder

HEARTBEAT_S: Final = "0.05"


class Line(FaultProxy):
    """A line that stays where it is while the hub behind it dies and comes back elsewhere."""

    def lead_nowhere(self) -> None:
        """Let nobody through any more who comes."""
        self._there, self._port = self._port, 0

    def lead_back(self) -> None:
        """Let through again."""
        self._port = self._there

    def lead_to(self, hub: HubProcess) -> None:
        """Connect to another hub from now on."""
        self._port = hub.port

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await super()._accept(reader, writer)
        except OSError:  # nobody is there now
            writer.transport.abort()


class FedHub:
    """The hub process of now, its feeder, and what it was fed. Started and stopped by `fed_hub`."""

    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        self.given = Given()
        self.hub: HubProcess
        self.feeder: ScriptedFeeder
        self._folder = folder
        self._options = options
        self._starts = 0
        self._feeding = AsyncExitStack()

    async def start(self, *options: str) -> None:
        """Start the hub on the journal that is there, and feed it as the run that it had before."""
        await self.start_hub(*options)
        await self.enter_feeder()

    async def start_hub(self, *options: str) -> None:
        """Start the hub, and no feeder."""
        self._starts += 1
        data = ("--data", str(self._folder / "data"))
        fixed = ("--source", "feed", "--heartbeat-s", HEARTBEAT_S, "--drain-s", "0.2", *data)
        log_file = self._folder / f"hub-{self._starts}.log"
        # The test's own clients and lines go on meanwhile.
        self.hub = await asyncio.to_thread(HubProcess, *fixed, *self._options, *options, log_file=log_file)

    async def enter_feeder(self, run: str = "run-a", **fields: Any) -> None:
        """Connect a feeder, in place of the one before."""
        await self._feeding.aclose()
        url = f"ws://127.0.0.1:{self.hub.port}/feed"
        self.feeder = await self._feeding.enter_async_context(scripted_feeder(url, self.given, run, **fields))

    async def kill_feeder(self) -> None:
        """Cut the feeder's line, as when its process is killed."""
        await self._feeding.aclose()

    async def kill(self) -> None:
        """Kill the hub with SIGKILL."""
        self.hub.signal(signal.SIGKILL)
        assert await asyncio.to_thread(self.hub.wait) == -signal.SIGKILL
        await self._feeding.aclose()

    async def stop(self) -> None:
        """Stop the hub in order."""
        await asyncio.to_thread(self.hub.stop)
        await self._feeding.aclose()

    @asynccontextmanager
    async def client(
        self, account: Account | None = None, encoding: Encoding = "json", **options: Any
    ) -> AsyncIterator[PlainClient]:
        """A client, subscribed if it has an account."""
        async with plain_client(self.hub.ws_url, encoding, **options) as client:
            if account is not None:
                await account.subscribe(client)
            yield client

    def log(self) -> str:
        """What all its processes logged."""
        return "".join(file.read_text(encoding="utf-8") for file in sorted(self._folder.glob("hub-*.log")))


@asynccontextmanager
async def fed_hub(folder: Path, *options: str) -> AsyncIterator[FedHub]:
    """A hub with its feeder for the length of a block. What still runs is stopped, and must end as it should."""
    fed = FedHub(folder, options)
    await fed.start()
    try:
        yield fed
    except BaseException as error:
        error.add_note(fed.log())
        raise
    finally:
        if fed.hub in ALIVE:
            await fed.stop()
