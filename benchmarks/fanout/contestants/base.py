"""What the benchmark needs to know of a server: how to start it, how to feed it, and how its clients subscribe."""

import os
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.fanout.rows import RowMaker, Template, masked_header
from benchmarks.fanout.workloads import Workload

START_TIMEOUT_S: Final = 30.0
KEY: Final = "YXJndXMtYmVuY2htYXJrIQ=="


class TrialFailed(Exception):  # noqa: N818 (it reads as what happened)
    """A trial has no figures; the text says why in one line."""


@dataclass(frozen=True)
class Place:
    """Where a server may work.

    ``folder`` is empty; ``cache`` keeps what was built or installed. ``cpus``: the processors to run on; None: any.
    """

    folder: Path
    cache: Path
    cpus: frozenset[int] | None = None


@dataclass(frozen=True)
class Served:
    """A server that listens: the ports for clients and for the feeder, and its processes.

    ``beside``: processes that it needs and whose CPU is told apart, by what they are.
    """

    port: int
    feed_port: int
    pids: tuple[int, ...]
    beside: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


class Contestant(ABC):
    """A server under test. ``dialect`` is what the reader must understand: see ``native/reader.c``."""

    name: str
    title: str
    dialect = "row"
    feeds_by = "raw"
    """How the pacer listens to what the server says to the feeder: ``ws`` or ``raw``."""
    has_threads = False
    """Whether it uses more than one processor; the others are held to one."""
    ready_when_open = False
    """Whether a client is subscribed as soon as its connection is open; the others are told."""
    has_patterns = True
    """Whether a client can have all topics at once."""

    def unable(self, workload: Workload) -> str:
        """Why it could not take part in a workload, in a few words; empty when it could."""
        can = self.has_patterns or all(group.symbols for group in workload.groups)
        return "" if can else "its clients can't have all topics at once"

    @abstractmethod
    def missing(self, cache: Path) -> str:
        """Why it can't run here, in a few words; empty when it can."""

    @abstractmethod
    def version(self, cache: Path) -> str:
        """What is measured, as exactly as it says."""

    @abstractmethod
    def serve(self, place: Place) -> AbstractContextManager[Served]:
        """Run it for the length of a ``with`` block."""

    @abstractmethod
    def hello(self, topics: Sequence[str]) -> bytes:
        """What a client sends to subscribe, once its connection is open. No topics: all."""

    def request(self, topics: Sequence[str]) -> bytes:
        """A client's HTTP request."""
        return upgrade("/")

    def open_feed(self, served: Served) -> socket.socket:
        """A connection for the feeder, introduced, over which messages go."""
        return connect(served.feed_port)

    @abstractmethod
    def message(self, row: RowMaker, symbols: Sequence[int]) -> Template:
        """What the feeder sends for rows that come together."""


def upgrade(path: str, subprotocol: str = "") -> bytes:
    """The request that opens a WebSocket connection."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13"]
    lines += [f"Sec-WebSocket-Protocol: {subprotocol}"] if subprotocol else []
    return "\r\n".join((*lines, "", "")).encode()


def masked(payload: bytes) -> bytes:
    """A client's WebSocket message."""
    return masked_header(len(payload)) + payload


def connect(port: int) -> socket.socket:
    """A connection to a server on this machine that may not listen yet. Raises TrialFailed when it never does."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=START_TIMEOUT_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            if time.monotonic() > deadline_s:
                raise TrialFailed(f"the server does not listen: {error}") from None
            time.sleep(0.02)


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What comes up to some bytes, to the byte. Raises TrialFailed where the connection ends before."""
    said = b""
    while not said.endswith(end):
        byte = connection.recv(1)
        if not byte:
            raise TrialFailed(f"the server closed the connection after {said!r}")
        said += byte
    return said


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(command: Sequence[str], place: Place, cwd: Path | None = None) -> "Iterator[subprocess.Popen[str]]":
    """A process for the length of a block. What it says of errors goes into a file of its folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARGUS_")}
    pinned = ["taskset", "--cpu-list", ",".join(map(str, sorted(place.cpus)))] if place.cpus else []
    with (place.folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - a server under test
            [*pinned, *command], cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def first_line(process: "subprocess.Popen[str]", place: Place) -> str:
    """What a server says when it listens. Raises TrialFailed when it ends or says nothing for too long."""
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    alarm = threading.Timer(START_TIMEOUT_S, process.kill)
    alarm.start()
    line = process.stdout.readline()
    alarm.cancel()
    if not line:
        said = (place.folder / "stderr").read_text(encoding="utf-8", errors="replace").strip()
        raise TrialFailed(f"the server did not start: {said[-500:]}")
    return line
