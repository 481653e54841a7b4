"""How the Python peers are fed: rows over TCP, each as u32 length, u8 length of the topic, topic, row."""

import asyncio
import sys
from collections.abc import Callable


class Ingest(asyncio.Protocol):
    """The feeder's connection. ``publish`` is given every topic and row in order."""

    def __init__(self, publish: Callable[[str, bytes], None]) -> None:
        self._publish = publish
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        """Take what came: whole rows, and maybe a part of the next."""
        data, place = self._rest + data, 0
        while len(data) - place >= 4:
            end = place + 4 + int.from_bytes(data[place : place + 4], "little")
            if end > len(data):
                break
            row = place + 5 + data[place + 4]
            self._publish(data[place + 5 : row].decode(), data[row:end])
            place = end
        self._rest = data[place:]


async def listen(port: int, publish: Callable[[str, bytes], None]) -> None:
    """Wait for the feeder, and say that the server is ready."""
    await asyncio.get_running_loop().create_server(lambda: Ingest(publish), "127.0.0.1", port)
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def loop_factory() -> asyncio.AbstractEventLoop:
    """The loop that the hub uses, too."""
    import uvloop

    return uvloop.new_event_loop()
