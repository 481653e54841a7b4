"""The websockets library and its own ``broadcast()``: what its documentation shows for many clients."""

import asyncio
import sys

from ingest import listen, loop_factory
from websockets.asyncio.server import ServerConnection, broadcast, serve

hearers: dict[str, list[ServerConnection]] = {}
everything: list[ServerConnection] = []


async def welcome(connection: ServerConnection) -> None:
    """Subscribe one client to what it names."""
    names = await connection.recv()
    assert isinstance(names, bytes)  # noqa: S101 - the reader sends bytes
    for name in names.decode().split("\n"):
        (everything if name == "*" else hearers.setdefault(name, [])).append(connection)
    await connection.send("ok")
    await connection.wait_closed()


def publish(topic: str, row: bytes) -> None:
    """Send a row to whoever listens to its topic."""
    broadcast(hearers.get(topic, ()), row)
    broadcast(everything, row)


async def main() -> None:
    """Serve until the process ends."""
    async with serve(welcome, "127.0.0.1", int(sys.argv[1]), compression=None):
        await listen(int(sys.argv[2]), publish)
        await asyncio.Event().wait()


with asyncio.Runner(loop_factory=loop_factory) as runner:
    runner.run(main())
