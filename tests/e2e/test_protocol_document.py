"""``docs/protocol.md`` tells the truth: all its examples are played against running hubs, by a client of no SDK."""

import asyncio
import contextlib
import json
import shlex
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.e2e.support.document import EPOCH, PAGE, Block, blocks, check_message
from tests.e2e.support.hub_process import HubProcess, Page, running_hub
from tests.e2e.support.plain_client import PATIENCE_S

OPS: Final = {"auth", "subscribe", "unsubscribe", "snapshot", "replay", "cancel", "topics", "instruments", "ping"}
TYPES: Final = {
    *("welcome", "data", "subscribed", "unsubscribed", "authenticated", "snapshot_done", "replay_done", "cancelled"),
    *("topics", "instruments", "pong", "gap", "slow", "heartbeat", "draining", "error"),
}
ERRORS: Final = {
    *("bad_message", "unknown_op", "bad_topic", "unknown_channel", "unavailable", "unauthorized", "too_many_topics"),
    *("rate_limited", "upstream_limit"),
}
FEEDER_SAYS: Final = {
    *("hello", "batch", "status", "calendar", "instruments", "clock", "dropped", "reference", "refused", "counts"),
}
FEED_SAYS: Final = {"welcome", "want", "ack", "error"}
GAPS: Final = {"evicted", "epoch", "upstream"}
NAMES: Final = ("channel", "origin", "rows", "id")
TICKS: Final = 6
STATUS_ROWS: Final = 4
"""The source is connected, and then has ended; one row of each market."""
ORIGINS: Final = ("live", "snapshot", "replay", "backfill")


class Player:
    """Plays the blocks of the page, one after the other."""

    def __init__(
        self, folder: Path, hubs: ExitStack, connections: AsyncExitStack, feed_connections: AsyncExitStack
    ) -> None:
        self.seen: Counter[str] = Counter()
        """How often each op was sent, and each type, error code and cause of a gap was received."""
        self._folder = folder
        self._hubs = hubs
        self._connections = connections
        self._hub: HubProcess
        self._socket: ClientConnection
        self._feed_connections = feed_connections
        self._feed: ClientConnection
        self._page: Page
        self._epoch = EPOCH
        self._options: list[str] = []
        self._goes_on = False
        self._welcome: dict[str, Any] = {}
        self._schemas: dict[str, list[str]] = {}

    async def play(self, block: Block) -> None:
        info = " ".join(block.info[:2])
        actions: dict[str, Callable[[Block], Coroutine[Any, Any, None]]] = {
            "sh": self._run,
            "csv example.csv": self._save,
            "json client": self._send_text,
            "hex client": self._send_binary,
            "json hub": self._expect_json,
            "hex hub": self._expect_bytes,
            "json feeder": self._send_feed,
            "json feed": self._expect_feed,
            "text close": self._expect_close,
            "json page": self._expect_page,
        }
        await actions[info](block)

    async def _save(self, block: Block) -> None:
        (self._folder / block.info[1]).write_text(block.body, encoding="utf-8")

    async def _run(self, block: Block) -> None:
        (line,) = block.body.splitlines()
        words = shlex.split(line)
        variables: dict[str, str] = {}
        while "=" in words[0]:
            name, _, variables[name] = words.pop(0).partition("=")
        match words:
            case ["python", "run_hub.py", *options]:
                await self._start_hub(options, variables)
            case ["wscat", "-c", url, "-s", subprotocol] if urlsplit(url).path == "/feed":
                await self._connect_feed(url, subprotocol)
            case ["wscat", "-c", url, *rest]:
                await self._connect(url, dict(zip(rest[::2], rest[1::2], strict=True)))
            case ["curl", url]:
                self._page = self._hub.get(urlsplit(url).path)
            case ["kill", "-TERM", "$HUB"]:
                self._hub.signal()
            case _:
                raise AssertionError(f"nobody knows how to run {line!r}")

    async def _start_hub(self, options: list[str], variables: dict[str, str]) -> None:
        await self._connections.aclose()
        await self._feed_connections.aclose()
        self._hubs.close()
        options = [str(self._folder / word) if word == "example.csv" else word for word in options]
        self._goes_on = options == self._options == ["--source", "feed"]  # a restart: the history is the same
        self._options = options
        log_file = self._folder / "hub.log"
        self._hub = self._hubs.enter_context(running_hub(*options, log_file=log_file, variables=variables))
        if "--recording" in options:
            _wait_until_played(self._hub)

    async def _connect(self, url: str, options: dict[str, str]) -> None:
        await self._connections.aclose()
        name, _, value = options.get("-H", "").partition(": ")
        subprotocol = options.get("-s")
        self._socket = await self._connections.enter_async_context(
            connect(
                self._here(url),
                subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
                additional_headers={name: value} if name else None,
                compression=None,
                proxy=None,
            )
        )
        self._welcome = await self._next()
        assert not self._goes_on or self._welcome["epoch"] == self._epoch
        self._epoch, self._schemas = self._welcome["epoch"], self._welcome["schemas"]

    async def _connect_feed(self, url: str, subprotocol: str) -> None:
        await self._feed_connections.aclose()
        self._feed = await self._feed_connections.enter_async_context(
            connect(self._here(url), subprotocols=[Subprotocol(subprotocol)], compression=None, proxy=None)
        )

    def _here(self, url: str) -> str:
        return url.replace("127.0.0.1:8765", f"127.0.0.1:{self._hub.port}")

    async def _send_text(self, block: Block) -> None:
        self.seen[f"op {block.json()['op']}"] += 1
        await self._socket.send(block.body.replace(EPOCH, self._epoch))

    async def _send_binary(self, block: Block) -> None:
        request = msgpack.unpackb(block.bytes())
        self.seen[f"op {request['op']}"] += 1
        await self._socket.send(block.bytes())

    async def _send_feed(self, block: Block) -> None:
        message = block.json()
        self.seen[f"feeder {message['op'] if isinstance(message, dict) else 'batch'}"] += 1
        await self._feed.send(msgpack.packb(message))

    async def _expect_feed(self, block: Block) -> None:
        example = block.json()
        self.seen[f"feed {example['type']}"] += 1
        async with asyncio.timeout(PATIENCE_S):
            message = msgpack.unpackb(await self._feed.recv())
        check_message(example, message)

    async def _expect_json(self, block: Block) -> None:
        example = self._as_object(block.json())
        self.seen[f"type {example['type']}"] += 1
        if block.info[2:] == ("slow",):
            return
        if example["type"] == "welcome":
            check_message(example, self._welcome)
            return
        actual = await self._next()
        while actual["type"] == "heartbeat" != example["type"]:
            actual = await self._next()
        if example["type"] == "data":
            await self._join(actual, len(example["rows"]))
        check_message(example, actual, shape="shape" in block.info)
        if example["type"] == "error":
            self.seen[f"error {example['code']}"] += 1
        if example["type"] == "gap":
            self.seen[f"gap {example['cause']}"] += 1

    async def _join(self, data: dict[str, Any], rows: int) -> None:
        """Add the rows of the messages that follow, up to a number: how a stream is cut means nothing."""
        while len(data["rows"]) < rows:
            more = await self._next()
            assert {**more, "rows": None} == {**data, "rows": None}, f"{more} came among the rows of {data}"
            data["rows"] += more["rows"]

    async def _expect_bytes(self, block: Block) -> None:
        assert await self._next() == msgpack.unpackb(block.bytes())

    async def _expect_close(self, block: Block) -> None:
        with contextlib.suppress(ConnectionClosed):
            while await self._next():
                pass
        assert self._socket.close_code == int(block.body)

    async def _expect_page(self, block: Block) -> None:
        assert self._page.status == int(block.info[2])
        check_message(block.json(), json.loads(self._page.body), shape="shape" in block.info)

    async def _next(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            frame = await self._socket.recv()
        return self._as_object(json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame))

    def _as_object(self, message: Any) -> dict[str, Any]:
        """A message as JSON has it: the arrays of msgpack get their names."""
        if isinstance(message, list):
            data = {"type": "data", **dict(zip(NAMES, message, strict=False))}
            data["origin"] = ORIGINS[data["origin"]]
            names = self._schemas[data["channel"]]
            data["rows"] = [dict(zip(names, row, strict=True)) for row in data["rows"]]
            return data
        assert isinstance(message, dict)
        return message


def _wait_until_played(hub: HubProcess) -> None:
    """Until all rows of the example are there, and the source and both markets have said how they are."""
    while hub.figure("argus_rows_in_total") < TICKS + STATUS_ROWS:
        pass


async def test_every_example_of_the_document_is_what_a_hub_does(tmp_path: Path) -> None:
    with ExitStack() as hubs:
        async with AsyncExitStack() as connections, AsyncExitStack() as feed_connections:
            player = Player(tmp_path, hubs, connections, feed_connections)
            for block in blocks():
                try:
                    await player.play(block)
                except Exception as error:
                    error.add_note(f"at {PAGE.name}, line {block.line}: {block.body}")
                    raise
    assert set(player.seen) == {
        *(f"op {op}" for op in {*OPS, "dance"}),
        *(f"type {kind}" for kind in TYPES),
        *(f"error {code}" for code in ERRORS),
        *(f"gap {cause}" for cause in GAPS),
        *(f"feeder {op}" for op in FEEDER_SAYS),
        *(f"feed {kind}" for kind in FEED_SAYS),
    }, "the document lacks an example"
