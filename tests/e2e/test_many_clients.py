"""A hundred clients that subscribe, unsubscribe and leave at random: each gets exactly what its topics say.

What is right is computed by ``support.model`` from the whole stream, as one reference client saw it.
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import Any, Final

from tests.e2e.conftest import StartHub
from tests.e2e.support.hub_process import HubProcess
from tests.e2e.support.model import Event, Sent, Tally, Truth, check_transcript
from tests.e2e.support.plain_client import PATIENCE_S, Control, Data, Message, Row, plain_client

CLIENTS: Final = 100
SESSIONS: Final = 2
REQUESTS: Final = 6
PATTERNS: Final = (
    "tick:6*.SH",
    "tick:600*.SH",
    "tick:60*1.SH",
    "tick:688*",
    "tick:*7.SH",
    "tick:*88*",
    "tick:0*.SZ",
    "tick:300*.SZ",
    "tick:3*5.SZ",
    "tick:*.BJ",
    "tick:92*",
    "tick:*12*",
    "tick:*0.SZ",
    "tick:999999.SZ",
    "status:*",
)
WIDE: Final = ("tick:*", "tick:*.SZ", "tick:*.SH")


@dataclass
class Reference:
    """The client that sees everything: all topics since time 0, from the hub's first row to the last client's end."""

    truth: Truth = field(default_factory=Truth)
    codes: list[str] = field(default_factory=list)
    joined: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, hub: HubProcess, everybody_left: asyncio.Event) -> None:
        async with plain_client(hub.ws_url, "msgpack") as client:
            await client.send("subscribe", id=1, topics=["tick:*", "status:*"], since={"time": 0})
            reply = await client.control("subscribed", 1)
            assert reply["at"] == reply["replayed"], "the reference does not see every row that was numbered"
            while not everybody_left.is_set():
                self.take(await client.receive())
            # Whatever the others saw had been numbered by now, but may still be on its way to this client.
            await client.send("snapshot", id="last", topics=["tick:*", "status:*"])
            newest: dict[str, Row] = {}
            while (message := await client.receive()) != {"type": "snapshot_done", "id": "last", "count": len(newest)}:
                if isinstance(message, Data) and message.id == "last":
                    newest |= {f"{message.channel}:{row[0]}": row for row in message.rows}
                else:
                    self.take(message)
            while any(len(self.truth.topics[name].rows) < row[1] for name, row in newest.items()):
                self.take(await client.receive())

    def take(self, message: Message) -> None:
        if isinstance(message, Data):
            self.truth.add(message.channel, message.rows)
        elif message["type"] == "heartbeat":
            assert message["at"] == self.truth.at, "a heartbeat passed rows, or rows are missing"
            self.codes = [name for name in self.truth.topics if name.startswith("tick:")]
            if self.truth.at:
                self.joined.set()


def some_topics(chance: random.Random, codes: list[str]) -> list[str]:
    """What one request names: a few exact codes, now and then patterns that overlap them, seldom a wide one."""
    topics = chance.sample(codes, chance.randint(1, min(12, len(codes))))
    topics += chance.sample(PATTERNS, chance.choice((0, 0, 1, 2)))
    if chance.random() < 0.05:
        topics.append(chance.choice(WIDE))
    return topics


def some_since(chance: random.Random, truth: Truth) -> dict[str, Any]:
    """The ``since`` of a request, half of them absent."""
    kind = chance.choice(("absent", "absent", "absent", "none", "time", "open"))
    if kind == "absent":
        return {}
    if kind != "time":
        return {"since": kind}
    times = [topic.rows[len(topic.rows) // 2][2] for topic in truth.topics.values()]
    return {"since": {"time": chance.choice([0, *times])}}


async def visit(hub: HubProcess, chance: random.Random, reference: Reference) -> list[Event]:
    """One connection: requests at random moments of the stream, then leave. All that happened, in order.

    Every moment is a number of messages received, never a time.
    """
    transcript: list[Event] = []
    held: list[str] = []
    async with plain_client(hub.ws_url, chance.choice(("json", "msgpack"))) as client:
        for number in range(REQUESTS):
            if held and chance.random() < 0.4:
                topics = chance.sample(held, chance.randint(1, len(held)))
                request: Control = {"op": "unsubscribe", "topics": topics}
                held = [topic for topic in held if topic not in topics]
            else:
                topics = some_topics(chance, reference.codes)
                request = {"op": "subscribe", "topics": topics, **some_since(chance, reference.truth)}
                held += [topic for topic in topics if topic not in held]
            request["id"] = number if chance.random() < 0.5 else f"request {number}"
            transcript.append(Sent(request))
            await client.send(**request)
            for _ in range(chance.choice((0, 1, 3, 6))):
                transcript.append(await client.receive())
        if chance.random() < 0.3:
            client.socket.transport.abort()
            return transcript
        answered = {event["id"] for event in transcript if isinstance(event, dict) and "id" in event}
        pending = {event.request["id"] for event in transcript if isinstance(event, Sent)} - answered
        while pending or not is_heartbeat(transcript[-1]):
            event = await client.receive()
            transcript.append(event)
            if isinstance(event, dict):
                pending.discard(event.get("id"))
    return transcript


def is_heartbeat(event: Event) -> bool:
    return isinstance(event, dict) and event["type"] == "heartbeat"


async def test_every_client_receives_exactly_what_its_topics_say(start_hub: StartHub) -> None:
    hub = start_hub("--symbols", "500", "--speed", "20", "--interval", "3", "--heartbeat-s", "0.3", "--seed", "7")
    reference, everybody_left = Reference(), asyncio.Event()

    async def client(number: int) -> list[list[Event]]:
        chance = random.Random(number)
        async with asyncio.timeout(3 * PATIENCE_S):
            return [await visit(hub, chance, reference) for _ in range(SESSIONS)]

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reference.follow(hub, everybody_left))
        await reference.joined.wait()
        visits = await asyncio.gather(*map(client, range(CLIENTS)))
        everybody_left.set()

    total = Tally()
    for transcript in (transcript for sessions in visits for transcript in sessions):
        total += check_transcript(reference.truth, transcript)
    # Without these the test might have compared nothing with nothing.
    assert total.snapshot_rows > 1_000
    assert total.replayed_rows > 1_000
    assert total.live_rows > 10_000
    assert total.subscribed > CLIENTS * SESSIONS
    assert total.unsubscribed > CLIENTS
    assert total.heartbeats > CLIENTS * SESSIONS // 2
