"""Servers that a Python programmer would pick: each a small program of ``servers/``, in an environment of their own."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.fanout.contestants.base import Place, Served, connect, first_line, free_port, masked, running, upgrade
from benchmarks.fanout.contestants.limit import SmallContestant

SERVERS: Final = Path(__file__).resolve().parents[1] / "servers"
PINS: Final = Path(__file__).resolve().parents[1] / "peers.txt"


class PythonServer(SmallContestant):
    """A program of ``servers/``. ``packages`` must be in the environment of the peers; the first one is measured."""

    def __init__(self, name: str, title: str, packages: tuple[str, ...], dialect: str = "row", path: str = "/") -> None:
        self.name = name
        self.title = title
        self.dialect = dialect
        self.packages = packages
        self._path = path

    def missing(self, cache: Path) -> str:  # noqa: D102
        python = peers_python(cache)
        if not python.exists():
            return "the Python peers are not installed (--install-peers)"
        absent = [name for name in self.packages if not _version(python, name)]
        return f"not installed: {', '.join(absent)} (--install-peers)" if absent else ""

    def version(self, cache: Path) -> str:  # noqa: D102
        return ", ".join(f"{name} {_version(peers_python(cache), name)}" for name in self.packages)

    @contextmanager
    def serve(self, place: Place) -> Iterator[Served]:  # noqa: D102
        port, feed_port = free_port(), free_port()
        script = SERVERS / f"{self.name}_server.py"
        command = [str(peers_python(place.cache)), str(script), str(port), str(feed_port)]
        with running(command, place) as process:
            first_line(process, place)
            connect(port).close()  # uvicorn listens only after the application has started
            yield Served(port, feed_port, (process.pid,))

    def request(self, topics: Sequence[str]) -> bytes:  # noqa: D102
        return upgrade(self._path)


class SocketIo(PythonServer):
    """Socket.IO: its own handshake within the WebSocket connection, and two frames for a binary event."""

    def hello(self, topics: Sequence[str]) -> bytes:  # noqa: D102
        listed = ", ".join(f'"{topic}"' for topic in topics or ["*"])
        payload = f'420["subscribe", [{listed}]]'.encode()
        frame = masked(payload)
        return bytes([0x81]) + frame[1:]


PYTHON_SERVERS: Final = (
    PythonServer("broadcast", "websockets.broadcast()", ("websockets",)),
    PythonServer("picows", "picows", ("picows", "uvloop")),
    PythonServer("socketify", "socketify (uWebSockets)", ("socketify",)),
    PythonServer("fastapi", "FastAPI on uvicorn", ("fastapi", "uvicorn", "websockets", "uvloop")),
    SocketIo(
        "socketio",
        "Socket.IO for Python",
        ("python-socketio", "uvicorn", "uvloop", "websockets"),
        "socketio",
        "/socket.io/?EIO=4&transport=websocket",
    ),
)


def peers_python(cache: Path) -> Path:
    """The interpreter of the peers' environment."""
    return cache / "peers" / "bin" / "python"


def install_peers(cache: Path) -> None:
    """Make the environment of the peers anew, with the pinned versions. Raises CalledProcessError."""
    folder = cache / "peers"
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)  # noqa: S603
    pip = [str(peers_python(cache)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for pin in PINS.read_text(encoding="utf-8").split("\n"):
        if pin and not pin.startswith("#"):
            subprocess.run([*pip, *pin.split()], check=False)  # noqa: S603 - one that is not to be had is skipped by name


def _version(python: Path, package: str) -> str:
    asked = f"import importlib.metadata as m; print(m.version({package!r}))"
    said = subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=False)  # noqa: S603
    return said.stdout.strip()
