"""picows, a WebSocket library in Cython: one ``send`` per client."""

import asyncio
import sys

from ingest import listen, loop_factory
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

hearers: dict[str, list[WSTransport]] = {}
everything: list[WSTransport] = []


class Client(WSListener):
    """One connection."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Subscribe the client to what it names."""
        if frame.msg_type == WSMsgType.BINARY:
            for name in frame.get_payload_as_bytes().decode().split("\n"):
                (everything if name == "*" else hearers.setdefault(name, [])).append(transport)
            transport.send(WSMsgType.TEXT, b"ok")


def publish(topic: str, row: bytes) -> None:
    """Send a row to whoever listens to its topic."""
    for transport in hearers.get(topic, ()):
        transport.send(WSMsgType.BINARY, row)
    for transport in everything:
        transport.send(WSMsgType.BINARY, row)


def make(_: WSUpgradeRequest) -> WSListener:
    """Take every connection."""
    return Client()


async def main() -> None:
    """Serve until the process ends."""
    await ws_create_server(make, "127.0.0.1", int(sys.argv[1]))
    await listen(int(sys.argv[2]), publish)
    await asyncio.Event().wait()


with asyncio.Runner(loop_factory=loop_factory) as runner:
    runner.run(main())
