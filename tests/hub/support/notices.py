"""Rows, gaps of the source, and what clients are told of both, for the tests of how the two go together."""

from typing import Any

from hub.core import Hub
from tests.hub.support.core import JSON, Client, publish

Story = list[tuple[Any, ...]]
"""What a client is told, in short."""


def speak(hub: Hub, *codes: str) -> None:
    """Publish a row for each code in a turn of its own; its time is its arrival number."""
    for code in codes:
        publish(hub, code, time_ms=hub.history.at + 1)
        hub.flush()


def announce(hub: Hub, topic: str = "tick:*", from_ms: int | None = None, to_ms: int | None = None) -> None:
    """Announce a gap of the source in a turn of its own."""
    hub.announce(topic, from_ms, to_ms)
    hub.flush()


def make_client(hub: Hub, *topics: str, **how: Any) -> Client:
    """A client that observes topics and has been told so."""
    client = Client(hub, codec=how.pop("codec", JSON))
    client.ask("subscribe", topics=topics, **({"since": "none"} | how))
    client.pump()
    client.told()
    return client


def ask(client: Client, op: str, *topics: str, **fields: Any) -> Story:
    """What a request brings, without its reply."""
    client.ask(op, topics=topics, **fields)
    client.pump()
    story = client.told()
    return [what for what in story if what[0] not in ("subscribed", "replay_done")]


def gap(topic: str = "tick:*") -> tuple[Any, ...]:
    """A gap without numbers, in short."""
    return ("gap", topic, None, None)


def live(code: str, *seqs: int) -> Story:
    """Live rows in short."""
    return [("live", code, seq) for seq in seqs]


def replay(code: str, *seqs: int) -> Story:
    """Rows of the past in short."""
    return [("replay", code, seq) for seq in seqs]
