"""A line between a client and a hub that fails on demand: delay, throttle, half-open, cut, reset, cut within a frame.

It knows bytes and no protocol. What is set holds for open lines and for those that come later; ``cut`` and its like
concern those that are open.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Self
from urllib.parse import urlsplit

CHUNK_BYTES: Final = 65_536


class Line:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, hub: asyncio.StreamWriter) -> None:
        self.client = client
        self.hub = hub
        self.last_bytes: int | None = None

    def abort(self) -> None:
        """End both sides at once; what is on its way is lost."""
        for writer in (self.client, self.hub):
            writer.transport.abort()

    def reset(self) -> None:
        """End both sides with a TCP reset."""
        for writer in (self.client, self.hub):
            # Without lingering, the kernel throws away what was not sent, and sends a reset.
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()


class FaultProxy:
    """A proxy in front of a hub.

    ``delay_s`` holds up every chunk; ``bytes_per_s`` throttles what the hub sends; while ``flowing`` is not set,
    nothing passes and both sides believe to be connected (half-open).
    """

    def __init__(self, host: str, port: int, path: str) -> None:
        self.delay_s = 0.0
        self.bytes_per_s: float | None = None
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.lines: list[Line] = []
        self.opened = 0
        self._host, self._port, self._path = host, port, path
        self._url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    def before(cls, url: str) -> Self:
        """Make a proxy in front of the hub at a ``ws://`` address."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        return cls(parts.hostname, parts.port, parts.path)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self._url

    def cut(self) -> None:
        """End all lines at once."""
        for line in list(self.lines):
            line.abort()

    def reset(self) -> None:
        """End all lines with a reset."""
        for line in list(self.lines):
            line.reset()

    def cut_after(self, byte_count: int) -> None:
        """End each line after so many more bytes from the hub, most often in the middle of a frame."""
        for line in self.lines:
            line.last_bytes = byte_count

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        """Serve for the length of the block."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}{self._path}"
        try:
            yield self
        finally:
            server.close()
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hub_reader, hub_writer = await asyncio.open_connection(self._host, self._port)
        line = Line(writer, hub_writer)
        self.lines.append(line)
        self.opened += 1
        ways = {
            asyncio.ensure_future(self._carry(line, reader, hub_writer, from_hub=False)),
            asyncio.ensure_future(self._carry(line, hub_reader, writer, from_hub=True)),
        }
        self._tasks |= ways
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.lines.remove(line)
            line.abort()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self._tasks -= ways

    async def _carry(
        self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_hub: bool
    ) -> None:
        with suppress(ConnectionError):
            while chunk := await reader.read(CHUNK_BYTES):
                await self.flowing.wait()
                pause_s = self.delay_s
                if from_hub and self.bytes_per_s is not None:
                    pause_s += len(chunk) / self.bytes_per_s
                if pause_s:
                    await asyncio.sleep(pause_s)  # the fault itself, not a wait for something
                if from_hub:
                    chunk, ends = self._cut_short(line, chunk)
                    writer.write(chunk)
                    if ends:
                        writer.close()
                        await writer.wait_closed()
                        return
                else:
                    writer.write(chunk)
                await writer.drain()

    @staticmethod
    def _cut_short(line: Line, chunk: bytes) -> tuple[bytes, bool]:
        if line.last_bytes is None:
            return chunk, False
        kept = chunk[: line.last_bytes]
        line.last_bytes -= len(kept)
        return kept, line.last_bytes == 0
