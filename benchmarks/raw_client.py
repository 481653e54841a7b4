"""A client that only counts: it reads the hub's msgpack frames without taking rows apart, in a process of its own.

    python benchmarks/raw_client.py PORT replay      one replay of everything; prints what it took as JSON
    python benchmarks/raw_client.py PORT follow N    N clients of all ticks until SIGTERM; a line says when they are in

So that a benchmark of the hub does not measure its reader. What the reader cost is printed too.
"""

import base64
import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Iterator
from time import perf_counter, process_time
from typing import Any, Final

import msgspec

BUFFER_BYTES: Final = 1 << 20
HEAD_BYTES: Final = 32
"""Enough of a frame to tell how many rows are in it."""


class RawClient:
    """A connection, its ``welcome`` read."""

    def __init__(self, port: int) -> None:
        self.rows = 0
        self.bytes = 0
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET /ws HTTP/1.1", f"Host: 127.0.0.1:{port}", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: argus.v1.msgpack"]
        self.socket.sendall("\r\n".join((*lines, "", "")).encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += self.socket.recv(1)  # to the byte, so that the first frame stays where it is
        if b" 101 " not in answer.partition(b"\r\n")[0]:
            raise SystemExit(f"no hub answers at port {port}: {answer!r}")
        self._buffer = bytearray(BUFFER_BYTES)
        self._held = 0
        self._skip = 0
        self.until("welcome")

    def ask(self, **request: Any) -> None:
        """Send one request. It is masked, as a client's frames must be, with zeros."""
        payload = msgspec.msgpack.encode(request)
        self.socket.sendall(bytes((0x82, 0x80 | 126)) + len(payload).to_bytes(2) + bytes(4) + payload)

    def until(self, kind: str) -> dict[str, Any]:
        """Count rows up to the first control message of a type."""
        while True:
            for message in self._messages():
                if message["type"] == kind:
                    return message
                if message["type"] == "error":
                    raise SystemExit(f"the hub refused: {message}")
            self.receive()

    def until_rows(self) -> None:
        """Wait for the first rows."""
        while not self.rows:
            self.receive()
            for message in self._messages():
                if message["type"] == "error":
                    raise SystemExit(f"the hub refused: {message}")

    def receive(self) -> None:
        """Wait for bytes and take them."""
        count = self.socket.recv_into(memoryview(self._buffer)[self._held :])
        if not count:
            raise SystemExit("the hub has closed the connection")
        self.bytes += count
        self._held += count

    def drop(self) -> None:
        """Wait for bytes and forget them."""
        self.bytes += self.socket.recv_into(self._buffer)

    def _messages(self) -> Iterator[dict[str, Any]]:
        """The control messages in what was received; rows are counted on the way."""
        buffer, place = self._buffer, 0
        while place < self._held:
            if self._skip:
                step = min(self._skip, self._held - place)
                self._skip -= step
                place += step
                continue
            body, size = _frame(buffer, place, self._held)
            here = self._held - body
            if body < 0 or here < min(size, HEAD_BYTES):
                break
            if buffer[body] >> 4 == 9:  # an array: rows
                self.rows += _rows_in(buffer, body)
                self._skip, place = size, body
            elif here < size:
                break
            else:
                place = body + size
                yield msgspec.msgpack.decode(memoryview(buffer)[body:place])
        buffer[: self._held - place] = buffer[place : self._held]
        self._held -= place


def _frame(buffer: bytearray, place: int, end: int) -> tuple[int, int]:
    """Where the payload of a frame begins (-1: not all of its header is here), and its size."""
    if end - place < 2:
        return -1, 0
    size = buffer[place + 1]
    width = {126: 2, 127: 8}.get(size, 0)
    body = place + 2 + width
    if body > end:
        return -1, 0
    return body, int.from_bytes(buffer[place + 2 : body]) if width else size


def _rows_in(buffer: bytearray, body: int) -> int:
    """How many rows a data message has: ``[channel, origin, rows]``, a short text, a small number, an array."""
    rows = body + 2 + (buffer[body + 1] & 0x1F) + 1
    if buffer[rows] == 0xDC:
        return int.from_bytes(buffer[rows + 1 : rows + 3])
    return buffer[rows] & 0x0F


def replay(port: int) -> dict[str, float]:
    """Have everything replayed, as fast as it comes."""
    client = RawClient(port)
    start, start_cpu, before = perf_counter(), process_time(), client.bytes
    client.ask(op="replay", id=1, topics=["tick:*"])
    done = client.until("replay_done")
    seconds = perf_counter() - start
    if (done["count"], done["complete"]) != (client.rows, True):
        raise SystemExit(f"{client.rows} rows came of {done['count']}, complete: {done['complete']}")
    return {
        "rows": client.rows,
        "bytes": client.bytes - before,
        "seconds": seconds,
        "cpu_s": process_time() - start_cpu,
    }


def follow(port: int, count: int) -> None:
    """Take and forget what a number of clients of the whole market get."""
    clients = [RawClient(port) for _ in range(count)]
    selector = selectors.DefaultSelector()
    for client in clients:
        client.ask(op="subscribe", id=1, topics=["tick:*"], since="none")
        client.until("subscribed")
        selector.register(client.socket, selectors.EVENT_READ, client)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _say({"clients": count})
    while True:
        for key, _ in selector.select():
            key.data.drop()


def _say(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[2] == "replay":
        _say(replay(int(sys.argv[1])))
    else:
        follow(int(sys.argv[1]), int(sys.argv[3]))
