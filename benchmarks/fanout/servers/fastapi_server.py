"""FastAPI on uvicorn, as its documentation shows it: a list of connections, one awaited ``send_bytes`` per client."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from ingest import listen

hearers: dict[str, list[WebSocket]] = {}
everything: list[WebSocket] = []
rows: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()


async def send() -> None:
    """Send every row to whoever listens to its topic, in order."""
    while True:
        topic, row = await rows.get()
        for client in (*hearers.get(topic, ()), *everything):
            await client.send_bytes(row)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Take rows for as long as the application runs."""
    sending = asyncio.create_task(send())
    await listen(int(sys.argv[2]), lambda topic, row: rows.put_nowait((topic, row)))
    yield
    sending.cancel()


app = FastAPI(lifespan=lifespan)


@app.websocket("/")
async def welcome(client: WebSocket) -> None:
    """Subscribe one client to what it names."""
    await client.accept()
    for name in (await client.receive_bytes()).decode().split("\n"):
        (everything if name == "*" else hearers.setdefault(name, [])).append(client)
    await client.send_text("ok")
    try:
        await client.receive_bytes()
    except WebSocketDisconnect:
        return


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), ws_per_message_deflate=False, log_level="error")
