"""The feeder's end, against a scripted hub: what it sends, keeps, sends again, drops, and when it gives up."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

import bridge.feed.feeder
from bridge.feed.feeder import LEAST_PAUSE_S, MOST_PAUSE_S, FeedEnded, Feeder, full_jitter
from bridge.feed.messages import Clock, Hello
from bridge.source import Batch, Interruption, SourceState, SourceStatus
from tests.bridge.support.feeding import PATIENCE_S, TEN_MS, no_task_is_left, rows_of
from tests.hub.support.core import tick
from tests.hub.support.served_hub import until

HELLO = Hello("scripted", "run-a", simulated=False, channels=["tick"])


@pytest.fixture(autouse=True)
async def nothing_is_left_running() -> Any:
    with no_task_is_left():
        yield


class HubSide:
    """One connection at the scripted hub. Knows nothing of the code under test but the bytes."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.over = asyncio.Event()

    async def receive(self) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            return msgspec.msgpack.decode(await self.socket.recv())

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send(msgspec.msgpack.encode({"type": kind, **fields}))

    async def greet(self, batch: int = 0, **fields: Any) -> dict[str, Any]:
        """Take hello and say welcome."""
        hello = await self.receive()
        await self.say("welcome", run=hello["run"], batch=batch, want=[], **fields)
        assert isinstance(hello, dict)
        return hello

    async def batches(self, count: int) -> list[int]:
        """The numbers of so many batches; other messages are passed over."""
        return [batch[0] for batch in await self.data(count)]

    async def data(self, count: int) -> list[Any]:
        found: list[Any] = []
        while len(found) < count:
            message = await self.receive()
            if isinstance(message, list):
                found.append(message)
        return found

    async def stream(self, count: int) -> list[Any]:
        """So many batches and words on dropped ones, numbers and pairs of numbers."""
        found: list[Any] = []
        while len(found) < count:
            message = await self.receive()
            if isinstance(message, list):
                found.append(message[0])
            elif message["op"] == "dropped":
                found.append((message["from"], message["to"]))
        return found

    async def close(self, code: int, reason: str = "") -> None:
        await self.socket.close(code, reason)
        self.over.set()


@dataclass
class ScriptedHub:
    """Takes feeders' connections one by one. ``refusals`` are statuses of the handshakes to come."""

    port: int = 0
    refusals: list[int] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    waiting: "asyncio.Queue[HubSide]" = field(default_factory=asyncio.Queue)
    server: Server | None = None

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/feed"

    async def start(self) -> None:
        self.server = await serve(
            self._take,
            "127.0.0.1",
            self.port,
            subprotocols=[Subprotocol("argus.feed.v1")],
            process_request=self._process,
            close_timeout=1,
        )
        self.port = next(iter(self.server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close(close_connections=False)
        for connection in list(self.server.all_connections):
            connection.transport.abort()
        await self.server.wait_closed()

    async def next(self) -> HubSide:
        async with asyncio.timeout(PATIENCE_S):
            return await self.waiting.get()

    async def _take(self, connection: ServerConnection) -> None:
        side = HubSide(connection)
        self.waiting.put_nowait(side)
        await connection.wait_closed()

    def _process(self, connection: ServerConnection, request: Request) -> Response | None:
        self.tokens.append(request.headers.get("Authorization"))
        if self.refusals:
            return connection.respond(HTTPStatus(self.refusals.pop(0)), "Not now.\nGo away.\n")
        return None


@dataclass
class Fed:
    """A feeder that runs, and the hub that it runs to."""

    hub: ScriptedHub
    feeder: Feeder
    task: "asyncio.Task[None]"
    wanted: list[frozenset[str]]

    def deliver(self, *numbers: int, value: Any = None) -> None:
        for number in numbers:
            row = tick("600000.SH", TEN_MS + number, value)
            self.feeder.deliver(Batch("tick", [row], 17))


@asynccontextmanager
async def feeding(
    *, buffer_bytes: int = 1 << 20, token: str = "", pause_s: Callable[[int], float] = lambda _: 0.0
) -> AsyncIterator[Fed]:
    hub = ScriptedHub()
    await hub.start()
    wanted: list[frozenset[str]] = []
    feeder = Feeder(hub.url, token, HELLO, buffer_bytes=buffer_bytes, on_want=wanted.append, pause_s=pause_s)
    task = asyncio.create_task(feeder.run())
    try:
        yield Fed(hub, feeder, task, wanted)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, FeedEnded):
            await task
        await hub.stop()


async def test_it_introduces_itself_with_its_token_and_sends_batches_without_waiting_for_acknowledgements() -> None:
    async with feeding(token="a-secret") as fed:  # noqa: S106
        hub = await fed.hub.next()
        hello = await hub.greet()
        assert hello == {
            "op": "hello",
            "source": "scripted",
            "run": "run-a",
            "simulated": False,
            "channels": ["tick"],
            "continues": True,
        }
        assert fed.hub.tokens == ["Bearer a-secret"]
        assert hub.socket.subprotocol == "argus.feed.v1"
        rows = rows_of(1)
        for _ in range(5):
            fed.feeder.deliver(Batch("tick", rows, 17))
        data = await hub.data(5)
        assert data[0] == [1, "tick", [list(row) for row in rows], 17]
        assert [batch[0] for batch in data] == [1, 2, 3, 4, 5]
        assert fed.feeder.waiting == 5
        await hub.say("ack", batch=4)
        await until(lambda: fed.feeder.waiting == 1)


async def test_what_was_not_acknowledged_is_sent_again_from_where_the_hub_says() -> None:
    async with feeding() as fed:
        hub = await fed.hub.next()
        await hub.greet()
        fed.deliver(1, 2, 3, 4, 5)
        assert await hub.batches(5) == [1, 2, 3, 4, 5]
        await hub.say("ack", batch=1)
        await until(lambda: fed.feeder.waiting == 4)
        hub.socket.transport.abort()
        fed.deliver(6)
        hub = await fed.hub.next()
        await hub.greet(batch=3)
        assert await hub.batches(3) == [4, 5, 6]
        fed.deliver(7)
        assert await hub.batches(1) == [7]
        assert fed.feeder.waiting == 4


async def test_a_hub_that_knows_nothing_of_this_run_is_given_all_that_is_kept() -> None:
    async with feeding() as fed:
        hub = await fed.hub.next()
        await hub.greet()
        fed.deliver(1, 2, 3)
        await hub.batches(3)
        await hub.say("ack", batch=1)
        await until(lambda: fed.feeder.waiting == 2)
        hub.socket.transport.abort()
        hub = await fed.hub.next()
        await hub.greet(batch=0)
        assert await hub.batches(2) == [2, 3]


async def test_a_hub_that_is_down_loses_nothing_and_is_found_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "argus.feeder")
    pauses: list[int] = []

    def pause_s(fruitless: int) -> float:
        pauses.append(fruitless)
        return 0.01

    async with feeding(pause_s=pause_s) as fed:
        hub = await fed.hub.next()
        await hub.greet()
        fed.deliver(1)
        await hub.batches(1)
        await fed.hub.stop()
        fed.deliver(2)
        await until(lambda: len(pauses) >= 4)
        fed.deliver(3)
        await fed.hub.start()
        hub = await fed.hub.next()
        await hub.greet(batch=1)
        assert await hub.batches(2) == [2, 3]
        assert pauses[:4] == [0, 1, 2, 3]
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert any("connection was closed" in line for line in lines)
    assert len(lines) < 4, "the same reason again and again is no news"


async def test_pauses_are_random_from_a_tenth_of_a_second_to_a_bound_that_grows_to_five() -> None:
    for fruitless, bound_s in ((0, 0.2), (1, 0.4), (4, 3.2), (5, 5.0), (10_000, 5.0)):
        drawn = [full_jitter(fruitless) for _ in range(400)]
        assert min(drawn) >= LEAST_PAUSE_S
        assert max(drawn) <= bound_s <= MOST_PAUSE_S
        assert max(drawn) - min(drawn) > (bound_s - LEAST_PAUSE_S) / 2


async def test_beyond_the_bound_the_oldest_are_dropped_and_the_hub_is_told_at_their_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with feeding(buffer_bytes=300) as fed:
        fed.deliver(*range(1, 41))
        kept = fed.feeder.waiting
        assert 0 < kept < 20
        assert fed.feeder.dropped == 40 - kept
        hub = await fed.hub.next()
        await hub.greet()
        last = 40 - kept
        assert await hub.stream(1 + kept) == [(1, last), *range(last + 1, 41)]
    assert sum("dropped" in record.getMessage() for record in caplog.records) == 1


async def test_what_was_dropped_after_it_was_sent_is_told_to_the_next_hub_only_where_it_is_missing() -> None:
    async with feeding(buffer_bytes=300) as fed:
        hub = await fed.hub.next()
        await hub.greet()
        fed.deliver(1, 2)
        await hub.batches(2)
        fed.deliver(*range(3, 41))
        hub.socket.transport.abort()
        last = 40 - fed.feeder.waiting
        hub = await fed.hub.next()
        await hub.greet(batch=2)
        assert await hub.stream(2) == [(3, last), last + 1]


async def test_delivering_never_waits_for_a_hub_that_does_not_read() -> None:
    async with feeding(buffer_bytes=1 << 22) as fed:
        hub = await fed.hub.next()
        await hub.greet()
        hub.socket.transport.pause_reading()
        fed.deliver(*range(1, 200), value="x" * 50_000)
        assert fed.feeder.batches == 199
        assert fed.feeder.dropped > 0


async def test_what_is_wanted_is_told_to_the_source() -> None:
    async with feeding() as fed:
        hub = await fed.hub.next()
        hello = await hub.receive()
        await hub.say("welcome", run=hello["run"], batch=0, want=["tick:*"])
        await hub.say("want", want=["tick:600000.SH"])
        await until(lambda: len(fed.wanted) == 2)
        assert fed.wanted == [{"tick:*"}, {"tick:600000.SH"}]


async def test_the_first_welcome_tells_where_the_history_ends() -> None:
    async with feeding() as fed:
        await (await fed.hub.next()).greet(newest={"time": TEN_MS, "recv": 99})
        newest = (await fed.feeder.welcome).newest
        assert newest is not None
        assert (newest.time, newest.recv) == (TEN_MS, 99)


async def test_state_and_clock_are_told_again_to_each_hub_the_newest_word_only() -> None:
    async with feeding() as fed:
        fed.feeder.report(SourceStatus(SourceState.CONNECTED))
        fed.feeder.report(SourceStatus(SourceState.DEGRADED, "one market is silent"))
        fed.feeder.tell(Clock(TEN_MS, 20))
        for _ in range(2):
            hub = await fed.hub.next()
            await hub.greet()
            told = [await hub.receive() for _ in range(2)]
            assert told == [
                {"op": "status", "state": "degraded", "reason": "one market is silent", "keeps": False},
                {"op": "clock", "time": TEN_MS, "pace": 20},
            ]
            hub.socket.transport.abort()


async def test_a_hub_is_not_left_to_guess_what_was_missed_while_the_source_was_away() -> None:
    """The word of it overtakes the rows that wait; what was missed is told at its place instead."""
    async with feeding() as fed:
        fed.feeder.report(SourceStatus(SourceState.AWAY, "no terminal"))
        hub = await fed.hub.next()
        await hub.greet()
        assert (await hub.receive())["keeps"] is True


async def test_what_was_missed_while_the_source_was_away_is_told_before_the_next_batch() -> None:
    """Whatever waits for the hub: the hole stands where it was, not where the word of it overtook the rows."""
    async with feeding() as fed:
        fed.deliver(1, 2)
        fed.feeder.report(SourceStatus(SourceState.AWAY, "no terminal"))
        fed.feeder.report(SourceStatus(SourceState.CONNECTED))
        fed.deliver(9, 10)
        hub = await fed.hub.next()
        await hub.greet()
        found: list[Any] = []
        while len(found) < 5:
            message = await hub.receive()
            if isinstance(message, list) or message["op"] == "dropped":
                found.append(message)
        assert [message[0] if isinstance(message, list) else "hole" for message in found] == [1, 2, "hole", 4, 5]
        assert found[2] | {"topics": []} == found[2]
        assert (found[2]["from"], found[2]["to"]) == (3, 3)
        assert (found[2]["from_time"], found[2]["to_time"]) == (TEN_MS + 2, TEN_MS + 9)


async def test_a_source_that_was_away_before_its_first_batch_has_missed_nothing_of_it() -> None:
    async with feeding() as fed:
        fed.feeder.report(SourceStatus(SourceState.AWAY, "starting"))
        fed.deliver(1)
        hub = await fed.hub.next()
        await hub.greet()
        assert await hub.stream(1) == [1]


async def test_an_interruption_of_the_source_keeps_its_place_and_its_topic() -> None:
    async with feeding() as fed:
        fed.deliver(1)
        fed.feeder.interrupt(Interruption("tick:*.SZ", 5, None))
        fed.deliver(2)
        fed.feeder.begin_run("the source's own")
        fed.deliver(3)
        hub = await fed.hub.next()
        await hub.greet()
        assert await hub.stream(5) == [1, (2, 2), 3, (4, 4), 5]


async def test_a_feeder_that_is_told_4409_ends_with_a_clear_line() -> None:
    async with feeding() as fed:
        hub = await fed.hub.next()
        await hub.greet()
        await hub.close(4409, "replaced by a newer run")
        with pytest.raises(FeedEnded, match="newer run of scripted"):
            await fed.task


@pytest.mark.parametrize("code", [4400, 1009])
async def test_what_would_end_the_same_way_again_is_not_tried_again(code: int) -> None:
    async with feeding() as fed:
        hub = await fed.hub.next()
        await hub.greet()
        await hub.close(code, "because")
        with pytest.raises(FeedEnded, match=f"{code} because"):
            await fed.task


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_hub_that_refuses_the_first_handshake_needs_other_settings(status: int) -> None:
    async with feeding() as fed:
        fed.hub.refusals = [status] * 3
        with pytest.raises(FeedEnded, match=f"HTTP {status}: Not now"):
            await fed.task


async def test_a_hub_that_is_starting_is_waited_for() -> None:
    async with feeding() as fed:
        fed.hub.refusals = [503, 502]
        fed.deliver(1)
        hub = await fed.hub.next()
        await hub.greet()
        assert await hub.batches(1) == [1]


async def test_a_hub_that_took_it_once_is_tried_again_whatever_it_answers() -> None:
    """What waits here would be lost, and the hub's settings may be put right."""
    async with feeding() as fed:
        hub = await fed.hub.next()
        await hub.greet()
        fed.hub.refusals = [401, 403, 404]
        fed.deliver(1)
        hub.socket.transport.abort()
        hub = await fed.hub.next()
        await hub.receive()
        await hub.close(4403, "another feeds")
        hub = await fed.hub.next()
        await hub.greet()
        assert await hub.batches(1) == [1]


async def test_before_its_first_welcome_4403_ends_it() -> None:
    async with feeding() as fed:
        hub = await fed.hub.next()
        await hub.receive()
        await hub.say("error", code="forbidden", message="another feeds")
        await hub.close(4403, "another feeds")
        with pytest.raises(FeedEnded, match="another feeds"):
            await fed.task


async def test_what_a_newer_hub_adds_is_passed_over_and_what_makes_no_sense_ends_the_connection() -> None:
    async with feeding() as fed:
        hub = await fed.hub.next()
        await hub.receive()
        await hub.say("greeting", text="hi")
        await hub.say("welcome", run="run-a", batch=0, want=[], colour="blue")
        await hub.say("weather", sky="clear")
        fed.deliver(1)
        assert await hub.batches(1) == [1]
        await hub.say("ack", batch="one")
        hub = await fed.hub.next()
        await hub.greet()
        assert await hub.batches(1) == [1]


async def test_rows_that_can_not_be_sent_are_left_out_and_the_others_go(caplog: pytest.LogCaptureFixture) -> None:
    async with feeding() as fed:
        rows = [tick("600000.SH", 1, object()), tick("600001.SH", 1), tick("600002.SH", 1, 2**70)]
        fed.feeder.deliver(Batch("tick", rows, 17))
        hub = await fed.hub.next()
        await hub.greet()
        ((number, _, sent, _),) = await hub.data(1)
        assert (number, [row[0] for row in sent]) == (1, ["600001.SH"])
        assert fed.feeder.unfit_rows == 2
    assert "600000.SH" in caplog.text


async def test_a_batch_that_is_too_large_for_a_message_is_sent_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge.feed.feeder, "MAX_BATCH_BYTES", 400)
    async with feeding() as fed:
        rows = rows_of(1, 40)
        fed.feeder.deliver(Batch("tick", rows, 17))
        hub = await fed.hub.next()
        await hub.greet()
        parts = await hub.data(fed.feeder.waiting)
        assert len(parts) > 3
        assert [part[0] for part in parts] == list(range(1, len(parts) + 1))
        assert [row[0] for part in parts for row in part[2]] == [row[0] for row in rows]


async def test_the_end_waits_for_acknowledgements_and_says_goodbye() -> None:
    async with feeding() as fed:
        hub = await fed.hub.next()
        await hub.greet()
        fed.deliver(1, 2)
        finishing = asyncio.create_task(fed.feeder.finish(PATIENCE_S))
        await hub.batches(2)
        await hub.say("ack", batch=1)
        await until(lambda: fed.feeder.waiting == 1)
        assert not finishing.done()
        await hub.say("ack", batch=2)
        await finishing
        fed.task.cancel()
        await asyncio.wait({fed.task})
        assert (hub.socket.close_code, hub.socket.close_reason) == (1000, "the feeder has ended")


async def test_the_end_does_not_wait_for_ever_and_tells_what_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    async with feeding() as fed:
        fed.deliver(1, 2)
        await fed.feeder.finish(0.01)
    assert "2 batches were not acknowledged" in caplog.text
