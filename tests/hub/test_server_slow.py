"""Clients that don't keep up: what waits for them is bounded and counted, and nobody else notices."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

import hub.server
from hub.connection import HubConnection
from hub.outbox import Outbox
from hub.stall import StallWatch
from tests.e2e.support.plain_client import Encoding, Message, PlainClient, plain_client
from tests.hub.support.core import EPOCH, JSON
from tests.hub.support.served_hub import (
    BIG,
    BOTH_ENCODINGS,
    BOTH_LOOPS,
    MANY,
    PING,
    RawClient,
    ServedHub,
    lazy_client,
    raw_client,
    seqs_of,
    served_hub,
    settings,
    until,
)

LIMIT = 8_000_000
MORE_THAN_A_NETWORK_HOLDS = 12_000_000
STEP = 250
"""Big rows of one turn: a million bytes."""


async def publish_until(served: ServedHub, witness: PlainClient, happened: Callable[[], object]) -> int:
    """Publish big rows while a witness reads along, until something has happened. Returns how many."""
    newest = 0
    while not happened():
        assert newest < 100_000, "what was waited for never happened"
        served.publish_big(*range(newest + 1, newest + STEP + 1))
        assert seqs_of(await witness.data(STEP)) == list(range(newest + 1, newest + STEP + 1))
        newest += STEP
    return newest


def is_stuck(served: ServedHub) -> bool:
    """Whether so much waits that a socket can't take more of it, or the client was given up already."""
    return served.server.pending_bytes > MORE_THAN_A_NETWORK_HOLDS or served.server.closed_slow > 0


async def read_all(client: PlainClient) -> list[Any]:
    """Everything up to the end of the connection."""
    messages = []
    with suppress(ConnectionClosed):
        while True:
            messages.append(await client.receive())
    return messages


async def subscribe(*clients: PlainClient) -> None:
    for client in clients:
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since="none")


@BOTH_LOOPS
@BOTH_ENCODINGS
async def test_what_a_client_does_not_read_waits_is_counted_and_arrives_complete(encoding: Encoding) -> None:
    async with (
        served_hub(settings(pending_bytes=LIMIT)) as served,
        lazy_client(served, encoding) as lazy,
        plain_client(served.url, encoding) as witness,
    ):
        await subscribe(lazy, witness)
        assert served.server.pending_bytes == 0
        newest = await publish_until(served, witness, lambda: served.server.pending_bytes > LIMIT // 4)
        before = served.server.pending_bytes
        served.publish_big(newest + 1)
        await witness.data(1)
        assert BIG.__sizeof__() // 2 < served.server.pending_bytes - before < 2 * len(BIG)
        assert seqs_of(await lazy.data(newest + 1)) == list(range(1, newest + 2))
        await until(lambda: served.server.pending_bytes == 0)
        assert served.server.closed_slow == 0
        served.publish(newest + 2)
        assert seqs_of(await lazy.data(1)) == [newest + 2]


@BOTH_LOOPS
@BOTH_ENCODINGS
async def test_slow_passes_what_waits_and_comes_once_until_all_is_read(encoding: Encoding) -> None:
    def is_slow(message: Any) -> bool:
        return isinstance(message, dict) and message["type"] == "slow"

    async with (
        served_hub(settings(pending_bytes=LIMIT)) as served,
        lazy_client(served, encoding) as lazy,
        plain_client(served.url, encoding) as witness,
    ):
        await subscribe(lazy, witness)
        newest = 0
        for _ in range(2):
            begun, newest = newest, newest + await publish_until_warned(served, witness, newest)
            before = await lazy.until(is_slow)
            slow = before[-1]
            assert isinstance(slow, dict)
            assert slow["limit_bytes"] == LIMIT
            assert LIMIT // 2 < slow["pending_bytes"] <= LIMIT
            waited = newest - (seqs_of(before) or [begun])[-1]
            assert waited * len(BIG) > LIMIT // 2, "the warning did not pass what waits"
            after: list[Message] = []
            while newest not in seqs_of(after[-1:]):
                after.append(await lazy.receive())
            assert seqs_of([*before, *after]) == list(range(begun + 1, newest + 1))
            assert not any(map(is_slow, after))
            await until(lambda: served.server.pending_bytes == 0)


async def publish_until_warned(served: ServedHub, witness: PlainClient, newest: int) -> int:
    """Publish until three quarters of the budget of the other client are used. Returns how many rows."""
    begun = newest
    while served.server.pending_bytes < LIMIT * 3 // 4:
        served.publish_big(*range(newest + 1, newest + STEP + 1))
        await witness.data(STEP)
        newest += STEP
    return newest - begun


@BOTH_LOOPS
@BOTH_ENCODINGS
async def test_above_the_limit_a_client_is_closed_with_4408_and_the_others_get_every_row(encoding: Encoding) -> None:
    async with (
        served_hub(settings(pending_bytes=LIMIT)) as served,
        lazy_client(served, encoding) as lazy,
        plain_client(served.url, encoding) as witness,
    ):
        await subscribe(lazy, witness)
        newest = await publish_until(served, witness, lambda: served.server.closed_slow)
        messages = await read_all(lazy)
        assert (lazy.socket.close_code, lazy.socket.close_reason) == (
            4408,
            f"too slow: more than {LIMIT} bytes were waiting",
        )
        seqs = seqs_of(messages)
        assert seqs == list(range(1, len(seqs) + 1)), "what was sent before the close is whole and in order"
        assert newest > len(seqs) > 0
        await until(lambda: served.server.clients == 1)
        assert served.server.pending_bytes == 0
        assert served.server.closed_slow == 1
        served.publish(newest + 1)
        assert seqs_of(await witness.data(1)) == [newest + 1]


@BOTH_LOOPS
async def test_a_client_that_never_reads_again_is_aborted_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """The close frame waits behind what the client doesn't read: only cutting the line ends this."""
    monkeypatch.setattr(hub.server, "CLOSE_TIMEOUT_S", 0.1)
    async with (
        served_hub(settings(pending_bytes=LIMIT)) as served,
        raw_client(served) as deaf,
        plain_client(served.url, "msgpack") as witness,
    ):
        await deaf.subscribe("tick:*", since="none")
        await until(lambda: list(served.hub.router.audiences))
        await subscribe(witness)
        await publish_until(served, witness, lambda: served.server.closed_slow)
        await until(lambda: served.server.clients == 1)  # until then it holds its place and its bytes
        assert served.server.pending_bytes == 0


@BOTH_LOOPS
async def test_a_client_whose_socket_takes_nothing_is_closed_although_few_bytes_wait() -> None:
    async with (
        served_hub(settings(stall_s=0.2)) as served,
        lazy_client(served) as lazy,
        plain_client(served.url, "msgpack") as witness,
    ):
        await subscribe(lazy, witness)
        await publish_until(served, witness, lambda: is_stuck(served))
        await until(lambda: served.server.closed_slow)
        await read_all(lazy)
        assert lazy.socket.close_code == 4408
        await witness.request("pong", "ping", id=2)


@BOTH_LOOPS
async def test_a_lagging_client_whose_socket_takes_nothing_is_closed() -> None:
    async with served_hub(settings(stall_s=0.2)) as served, lazy_client(served) as lazy:
        served.publish_big(*range(1, MANY))
        await lazy.send("subscribe", id=1, topics=["tick:*"], since={"time": 0})
        await until(lambda: served.server.closed_slow)
        assert served.server.pending_bytes < LIMIT, "its history is not encoded before the socket takes it"
        seqs = seqs_of(await read_all(lazy))
        assert seqs == list(range(1, len(seqs) + 1))
        assert lazy.socket.close_code == 4408


async def test_a_client_that_only_sends_pings_and_reads_nothing_is_closed() -> None:
    """Every ping is answered behind what waits: that a client talks is no sign that its socket takes anything."""

    async def chatter(deaf: RawClient) -> None:
        with suppress(OSError):
            while True:
                await deaf.send(PING, b"x" * 100)
                await asyncio.sleep(0.01)

    async with (
        served_hub(settings(stall_s=0.2)) as served,
        raw_client(served) as deaf,
        plain_client(served.url, "msgpack") as witness,
    ):
        await deaf.subscribe("tick:*", since="none")
        await until(lambda: list(served.hub.router.audiences))
        await subscribe(witness)
        await publish_until(served, witness, lambda: is_stuck(served))
        talking = asyncio.create_task(chatter(deaf))
        try:
            await until(lambda: served.server.closed_slow)
        finally:
            talking.cancel()


class Stalled:
    """A watch over connections without sockets: what their transports hold at each look is told in advance.

    ``given_up`` has when and who, ``reasons`` has why.
    """

    def __init__(self, stall_s: float) -> None:
        self.given_up: list[tuple[float, str]] = []
        self.reasons: list[str] = []
        self._now_s = 0.0
        self._names: dict[Any, str] = {}
        self._watch = StallWatch(stall_s, self._give_up)

    def add(self, name: str, *held_bytes: int, is_shut: bool = False) -> HubConnection:
        """Add a connection whose transport is full, and holds so much at each look, the last of them from then on."""
        held = list(held_bytes)

        def look() -> int:
            return held.pop(0) if held[1:] else held[0]

        connection: Any = HubConnection.__new__(HubConnection)
        connection.transport = SimpleNamespace(get_write_buffer_size=look)
        connection.outbox = Outbox(JSON, EPOCH, lambda _: None, 1000, lambda: None)
        connection.outbox.writable = False
        connection.outbox.is_shut = is_shut
        self._names[connection] = name
        self._watch.add(connection)
        return connection

    def look(self, times: int) -> None:
        """Look so many times, every half second."""
        for _ in range(times):
            self._now_s += 0.5
            self._watch.look(self._now_s)

    def resume(self, connection: HubConnection, *, takes: int) -> None:
        """Have the socket take so many of the messages that wait, and be full again."""
        outbox = connection.outbox
        self._watch.remove(connection)

        def take(_: bytes) -> None:
            nonlocal takes
            takes -= 1
            outbox.writable = takes > 0

        outbox._write = take
        outbox.writable = takes > 0
        outbox.pump(0, self._now_s)
        self._watch.add(connection)

    def _give_up(self, connection: Any, why: str) -> None:
        self.given_up.append((self._now_s, self._names[connection]))
        self.reasons.append(why)


def test_a_stall_is_over_when_the_socket_took_something() -> None:
    stalled = Stalled(2.0)
    stalled.add("slow but moving", 900, 900, 900, 800, 800, 800, 700, 700, 700, 600, 600, 600, 500)
    stalled.add("stuck", 900)
    stalled.look(12)
    assert stalled.given_up == [(2.5, "stuck")]
    assert stalled.reasons == ["the socket took nothing for 2 s"]


def test_what_is_added_behind_what_waits_is_no_progress() -> None:
    stalled = Stalled(2.0)
    stalled.add("answers pings only", *range(900, 9000, 102))
    stalled.look(20)
    assert [name for _, name in stalled.given_up] == ["answers pings only"]


def test_a_client_that_is_being_closed_is_not_given_up_once_more() -> None:
    stalled = Stalled(2.0)
    stalled.add("had too many bytes waiting", 900, is_shut=True)
    stalled.look(12)
    assert stalled.given_up == []


def test_who_reads_but_has_more_than_half_waiting_all_the_time_is_given_up() -> None:
    stalled = Stalled(2.0)
    hovering, catching_up = stalled.add("hovers", 900), stalled.add("catches up at times", 900)
    for connection in hovering, catching_up:
        for _ in range(9):
            connection.outbox.put(b"x" * 100)
    for _ in range(4):
        stalled.look(1)
        for connection, takes in (hovering, 3), (catching_up, 4):
            stalled.resume(connection, takes=takes)
            for _ in range(takes):
                connection.outbox.put(b"x" * 100)
    assert stalled.given_up == []
    stalled.look(1)
    assert stalled.given_up == [(2.5, "hovers")]
    assert stalled.reasons == ["more than half of the bytes that may wait did so for 2 s"]


def test_just_half_of_the_limit_may_wait_as_long_as_something_moves() -> None:
    stalled = Stalled(2.0)
    connection = stalled.add("half", *range(900, 100, -10))
    for _ in range(5):
        connection.outbox.put(b"x" * 100)
    stalled.look(20)
    assert stalled.given_up == []
    connection.outbox.put(b"x")
    stalled.look(5)
    assert stalled.given_up == [(12.5, "half")]


@BOTH_LOOPS
async def test_who_answers_no_ping_because_it_does_not_read_is_closed_as_too_slow() -> None:
    slow = settings(ping_interval_s=0.1, ping_timeout_s=1.0)
    async with served_hub(slow) as served, lazy_client(served) as lazy:
        served.publish_big(*range(1, MANY))
        await lazy.send("subscribe", id=1, topics=["tick:*"], since={"time": 0})
        await until(lambda: served.server.closed_slow)
        await read_all(lazy)
        reason = "too slow: no ping was answered, and the socket was full"
        assert (lazy.socket.close_code, lazy.socket.close_reason) == (4408, reason)
    assert served.server.closed_slow == 1


@BOTH_LOOPS
async def test_a_client_for_which_the_hub_fails_is_not_called_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served_hub() as served, plain_client(served.url) as client:
        await subscribe(client)
        monkeypatch.setattr(Outbox, "_go_on", lambda *_: 1 / 0)
        await client.send("snapshot", id=2, topics=["tick:*"])
        await read_all(client)
        assert (client.socket.close_code, client.socket.close_reason) == (1011, "the hub failed; its log tells more")
    assert served.server.closed_slow == 0
