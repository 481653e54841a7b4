"""A feeder without a source: batches of 5,500 invented ticks, encoded beforehand, sent when a benchmark says so."""

import secrets
import time
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from websockets.exceptions import WebSocketException
from websockets.sync.client import connect
from websockets.typing import Subprotocol

TOPICS: Final = 5500
OPEN_MS: Final = 1_772_415_000_000  # 2026-03-02, 09:30 in Shanghai
STEP_MS: Final = 3000
MOST_UNACKNOWLEDGED: Final = 4
TRY_AGAIN_S: Final = 0.02
_BOOK: Final = (
    [11.38, 11.39, 11.4, 11.41, 11.42],
    [11.37, 11.36, 11.35, 11.34, 11.33],
    [100, 2000, 300, 4, 500],
    [9, 80, 7, 6, 5],
)
CODES: Final = tuple(f"{600000 + topic}.SH" for topic in range(TOPICS))


def ticks(number: int) -> list[tuple[Any, ...]]:
    """A row for every instrument, as a source gives it (``code, time, values``), of some 220 bytes in the hub."""
    values = (11.37, 11.2, 11.5, 11.1, 11.3, 1.5e8 + number, 130_000 + number, 13_000_000, None, 13, None, 4321, *_BOOK)
    time_ms = OPEN_MS + number * STEP_MS
    return [(code, time_ms, *values) for code in CODES]


def encoded(number: int) -> bytes:
    """The batch with this number, as it travels."""
    return msgspec.msgpack.encode((number, "tick", ticks(number), time.time_ns() // 1000))


class RawFeeder:
    """A connection to ``/feed``. ``batch`` is the newest that the hub had of this run when it said welcome.

    It tries until the hub listens.
    """

    def __init__(self, port: int, source: str = "benchmark", run: str | None = None) -> None:
        while True:
            try:
                self._socket = connect(
                    f"ws://127.0.0.1:{port}/feed",
                    subprotocols=[Subprotocol("argus.feed.v1")],
                    compression=None,
                    max_size=None,
                    proxy=None,
                )
                break
            except (OSError, WebSocketException):
                time.sleep(TRY_AGAIN_S)
        hello = {"source": source, "run": run or secrets.token_hex(8), "simulated": False, "channels": ["tick"]}
        self._tell({"op": "hello", **hello})
        welcome = self._hear()
        while welcome["type"] != "welcome":
            welcome = self._hear()
        self.batch: int = welcome["batch"]
        self._acknowledged = self.batch
        self._tell({"op": "status", "state": "connected"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send the next batch, made by `encoded`; waits while too many are not acknowledged."""
        self.batch += 1
        self._socket.send(data)
        self.settle(self.batch - MOST_UNACKNOWLEDGED)

    def settle(self, batch: int | None = None) -> None:
        """Wait until the hub has acknowledged this batch, or all of them."""
        due = self.batch if batch is None else batch
        while self._acknowledged < due:
            said = self._hear()
            if said["type"] == "ack":
                self._acknowledged = said["batch"]

    def _tell(self, message: dict[str, Any]) -> None:
        self._socket.send(msgspec.msgpack.encode(message))

    def _hear(self) -> dict[str, Any]:
        data = self._socket.recv()
        if not isinstance(data, bytes):
            raise SystemExit(f"the hub said {data!r}")
        said: dict[str, Any] = msgspec.msgpack.decode(data)
        return said
