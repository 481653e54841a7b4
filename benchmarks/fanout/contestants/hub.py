"""The hub as its users run it: a process of its own that is fed over ``/feed`` by another."""

import re
import secrets
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.fanout.contestants.base import (
    Contestant,
    Place,
    Served,
    TrialFailed,
    connect,
    first_line,
    masked,
    read_until,
    running,
    upgrade,
)
from benchmarks.fanout.rows import Fill, RowMaker, Template, masked_header
from hub.settings import Settings

REPOSITORY: Final = Path(__file__).resolve().parents[3]
LISTENING: Final = re.compile(r"Argus Hub is listening on http://127\.0\.0\.1:(\d+)/")


class ArgusHub(Contestant):
    """The hub with some options; one that this revision does not have yet is a reason to be skipped."""

    dialect = "hub"
    feeds_by = "ws"

    def __init__(self, name: str, options: tuple[str, ...]) -> None:
        self.name = name
        self.title = " ".join(("Argus Hub", *options))
        self._options = options

    def missing(self, cache: Path) -> str:  # noqa: D102
        settings = (option.removeprefix("--").replace("-", "_") for option in self._options if option.startswith("--"))
        unknown = [name for name in settings if name.removeprefix("no_") not in Settings.model_fields]
        return f"this revision of the hub has no setting {', '.join(unknown)}" if unknown else ""

    def version(self, cache: Path) -> str:  # noqa: D102
        packages = [f"{name} {version(name)}" for name in ("websockets", "msgspec", "uvloop")]
        return f"{version('argus-hub')} (Python {sys.version.split()[0]}, {', '.join(packages)})"

    def command(self, place: Place) -> list[str]:
        """What starts it."""
        hub = [sys.executable, "run_hub.py", "--port", "0", "--source", "feed", "--data", str(place.folder / "data")]
        return [*hub, "--log-level", "warning", "--max-topics", "100000", *self._options]

    @contextmanager
    def serve(self, place: Place) -> Iterator[Served]:  # noqa: D102
        with running(self.command(place), place, cwd=REPOSITORY) as process:
            line = first_line(process, place)
            found = LISTENING.match(line)
            if not found:
                raise TrialFailed(f"the hub said {line!r}")
            yield Served(int(found[1]), int(found[1]), (process.pid,))

    def request(self, topics: Sequence[str]) -> bytes:  # noqa: D102
        return upgrade("/ws", "argus.v1.msgpack")

    def hello(self, topics: Sequence[str]) -> bytes:  # noqa: D102
        return masked(
            msgspec.msgpack.encode({"op": "subscribe", "topics": list(topics) or ["tick:*"], "since": "none"})
        )

    def open_feed(self, served: Served) -> socket.socket:  # noqa: D102
        feed = connect(served.feed_port)
        feed.sendall(upgrade("/feed", "argus.feed.v1"))
        answer = read_until(feed, b"\r\n\r\n")
        if b" 101 " not in answer:
            raise TrialFailed(f"the hub takes no feeder: {answer!r}")
        hello = {"source": "benchmark", "run": secrets.token_hex(8), "simulated": False}
        _tell(feed, {"op": "hello", **hello, "channels": ["tick", "l2transaction"]})
        while _hear(feed)["type"] != "welcome":
            continue
        _tell(feed, {"op": "status", "state": "connected"})
        return feed

    def message(self, row: RowMaker, symbols: Sequence[int]) -> Template:  # noqa: D102
        batch = Template()
        batch.add(b"\x94")
        batch.add_filled(Fill.NUMBER)
        batch.add(msgspec.msgpack.encode(row.channel) + b"\xdd" + struct.pack("!I", len(symbols)))
        for symbol in symbols:
            batch.add_fed_row(row, symbol)
        batch.add_filled(Fill.PLANNED_US)
        return batch.wrapped(masked_header(len(batch.data)))


def _tell(feed: socket.socket, message: dict[str, Any]) -> None:
    feed.sendall(masked(msgspec.msgpack.encode(message)))


def _hear(feed: socket.socket) -> dict[str, Any]:
    """The next message."""
    size = _read(feed, 2)[1]
    if size >= 126:
        size = int.from_bytes(_read(feed, 2 if size == 126 else 8))
    said: dict[str, Any] = msgspec.msgpack.decode(_read(feed, size))
    return said


def _read(feed: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = feed.recv(size - len(data))
        if not part:
            raise TrialFailed("the hub closed the feeder's connection")
        data += part
    return data
