"""nats-server with its WebSocket listener, as Debian packages it: fed over TCP, read over WebSocket."""

import json
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.fanout.contestants.base import (
    Contestant,
    Place,
    Served,
    connect,
    free_port,
    masked,
    read_until,
    running,
    upgrade,
)
from benchmarks.fanout.rows import RowMaker, Template, code

_CONNECT: Final = b"CONNECT " + json.dumps({"verbose": False, "pedantic": False}).encode() + b"\r\n"


class Nats(Contestant):
    """One server, no cluster, no JetStream. A topic is the subject ``tick.600000.SH``."""

    name = "nats"
    title = "nats-server"
    dialect = "nats"
    has_threads = True

    def missing(self, cache: Path) -> str:  # noqa: D102
        return "" if shutil.which("nats-server") else "no nats-server (Debian: apt-get install nats-server)"

    def version(self, cache: Path) -> str:  # noqa: D102
        said = subprocess.run(["nats-server", "--version"], capture_output=True, text=True, check=True)  # noqa: S607
        return said.stdout.strip()

    @contextmanager
    def serve(self, place: Place) -> Iterator[Served]:  # noqa: D102
        port, feed_port = free_port(), free_port()
        settings = place.folder / "nats.conf"
        settings.write_text(
            f"host: 127.0.0.1\nport: {feed_port}\nmax_connections: 100000\n"
            f"websocket {{ host: 127.0.0.1, port: {port}, no_tls: true, compression: false }}\n"
        )
        with running(["nats-server", "--config", str(settings)], place) as process:
            for wanted in (port, feed_port):
                connect(wanted).close()
            yield Served(port, feed_port, (process.pid,))

    def hello(self, topics: Sequence[str]) -> bytes:  # noqa: D102
        subjects = [topic.replace(":", ".") for topic in topics] or [">"]
        lines = [f"SUB {subject} {number}\r\n" for number, subject in enumerate(subjects, 1)]
        return masked(_CONNECT + "".join(lines).encode() + b"PING\r\n")

    def request(self, topics: Sequence[str]) -> bytes:  # noqa: D102
        return upgrade("/")

    def open_feed(self, served: Served) -> socket.socket:  # noqa: D102
        feed = connect(served.feed_port)
        feed.sendall(_CONNECT + b"PING\r\n")
        read_until(feed, b"PONG\r\n")
        return feed

    def message(self, row: RowMaker, symbols: Sequence[int]) -> Template:  # noqa: D102
        rows = Template()
        for symbol in symbols:
            rows.add(f"PUB {row.channel}.{code(symbol)} {row.size}\r\n".encode())
            rows.add_row(row, symbol)
            rows.add(b"\r\n")
        return rows
