"""Socket.IO for Python on uvicorn: a room per topic, one ``emit`` per row."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import socketio
import uvicorn
from ingest import listen

server = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins="*")
rows: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
ALL = "*"


async def send() -> None:
    """Send every row to its room and to that of all topics, in order."""
    while True:
        topic, row = await rows.get()
        await server.emit("row", row, room=[topic, ALL])


@server.event
async def subscribe(client: str, topics: list[str]) -> bool:
    """Put a client into the rooms that it names."""
    for topic in topics:
        await server.enter_room(client, topic)
    return True


@asynccontextmanager
async def lifespan() -> AsyncIterator[None]:
    """Take rows for as long as the application runs."""
    sending = asyncio.create_task(send())
    await listen(int(sys.argv[2]), lambda topic, row: rows.put_nowait((topic, row)))
    yield
    sending.cancel()


context = lifespan()
app = socketio.ASGIApp(server, on_startup=context.__aenter__, on_shutdown=lambda: context.__aexit__(None, None, None))
uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), ws_per_message_deflate=False, log_level="error")
