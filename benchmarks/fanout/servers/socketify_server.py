"""socketify: uWebSockets under a Python interface, with its own publish and subscribe.

Its event loop takes no sockets of ours, so the feeder is heard by a thread, which defers each batch to the loop. That
loop looks at its sockets again and again instead of waiting for them, for as long as there was something to do of
late: at low rates most of its CPU goes there.
"""

import socket
import sys
import threading

from ingest import Ingest
from socketify import App, AppListenOptions, OpCode

app = App()
wanted: set[str] = set()


def take(client, message, _) -> None:  # type: ignore[no-untyped-def]  # socketify has no types
    """Subscribe one client to what it names."""
    for name in bytes(message).decode().split("\n"):
        client.subscribe(name)
        wanted.add(name)
    client.send("ok", OpCode.TEXT)


def publish_all(rows: list[tuple[str, bytes]]) -> None:
    """Publish rows that came together; on the loop."""
    for topic, row in rows:
        app.publish(topic, row, OpCode.BINARY, False)
        if "*" in wanted:
            app.publish("*", row, OpCode.BINARY, False)


def hear(door: socket.socket) -> None:
    """Take rows from the feeder."""
    feeder, _ = door.accept()
    rows: list[tuple[str, bytes]] = []
    ingest = Ingest(lambda topic, row: rows.append((topic, row)))
    while data := feeder.recv(1 << 20):
        ingest.data_received(data)
        if rows:
            app.loop.loop.call_soon_threadsafe(publish_all, rows[:])
            rows.clear()


def listening(_: AppListenOptions) -> None:
    """Say that the server is ready."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()


door = socket.create_server(("127.0.0.1", int(sys.argv[2])))
threading.Thread(target=hear, args=(door,), daemon=True).start()
app.ws("/", {"message": take, "open": lambda client: None, "max_backpressure": 1 << 26, "idle_timeout": 0})
app.listen(AppListenOptions(port=int(sys.argv[1]), host="127.0.0.1"), listening)
app.run()
