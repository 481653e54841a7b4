"""A further endpoint beside the clients': its own door, rules and size of messages, and its place in the drain."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Response
from websockets.typing import Subprotocol

from hub.delivery import Delivery
from hub.peers import PeerConnection
from hub.server import HubServer
from tests.e2e.support.plain_client import PATIENCE_S, plain_client
from tests.hub.support.core import make_hub
from tests.hub.support.served_hub import (
    BOTH_LOOPS,
    NEVER_S,
    QUIET_SETTINGS,
    UPGRADE,
    Answer,
    ServedHub,
    ask,
    ask_on,
    one_page,
    settings,
    until,
)


class Echo:
    """An endpoint that says back what it hears. ``refusal`` is the status that everybody is refused with."""

    subprotocol = "echo.v1"
    max_message_bytes = QUIET_SETTINGS.limits.message_bytes * 4
    refusal: int | None = None

    def __init__(self) -> None:
        self.closed: list[int | None] = []

    def refuse(self, connection: PeerConnection, headers: Headers) -> Response | None:
        headers.get("Authorization")
        return None if self.refusal is None else connection.respond(self.refusal, "Not you.\n")

    async def serve(self, connection: PeerConnection) -> None:
        try:
            async for message in connection:
                await connection.send(message)
        finally:
            self.closed.append(connection.close_code)


class TakesAtOnce(Echo):
    """Takes what it can at once, and tells which way each message came. What begins with a ? it can't."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[str, bytes | str]] = []

    async def serve(self, connection: PeerConnection) -> None:
        connection.take_at_once = self.take
        async for message in connection:
            self.taken.append(("later", message))
            await connection.send(message)

    def take(self, message: bytes) -> bool:
        if message.startswith(b"?"):
            return False
        self.taken.append(("at once", message))
        return True


@asynccontextmanager
async def served(echo: Echo, max_clients: int = 100, ping_interval_s: float = NEVER_S) -> AsyncIterator[ServedHub]:
    hub = make_hub()
    delivery = Delivery(hub, asyncio.get_running_loop(), lambda _: None)
    chosen = settings(max_clients=max_clients, ping_interval_s=ping_interval_s)
    server = HubServer(hub, delivery, chosen, one_page, dict, {"/echo": echo})
    ((_, port),) = await server.start("127.0.0.1", 0)
    try:
        yield ServedHub(hub, server, delivery, port, {}, [])
    finally:
        if not server.draining:
            await server.drain("the test is over", 0)


def peer(served: ServedHub, *subprotocols: str) -> connect:
    offered = [Subprotocol(name) for name in subprotocols] or None
    return connect(f"ws://127.0.0.1:{served.port}/echo", subprotocols=offered, proxy=None, max_size=None)


async def heard(socket: ClientConnection) -> str | bytes:
    async with asyncio.timeout(PATIENCE_S):
        return await socket.recv()


async def handshake(served: ServedHub, *headers: str) -> Answer:
    return await ask(served.port, "/echo", *UPGRADE, *headers)


@BOTH_LOOPS
@pytest.mark.parametrize("offered", [[], ["echo.v1"], ["argus.v1.json", "echo.v1"]])
async def test_a_peer_speaks_the_endpoint_s_subprotocol_and_is_no_client(offered: list[str]) -> None:
    async with served(Echo()) as hub, peer(hub, *offered) as socket:
        await socket.send("hello")
        assert await heard(socket) == "hello"
        assert socket.subprotocol == ("echo.v1" if offered else None)
        assert hub.server.clients == 0


async def test_a_peer_that_offers_another_subprotocol_is_400_and_told_the_known_one() -> None:
    async with served(Echo()) as hub:
        answer = await handshake(hub, "Sec-WebSocket-Protocol: argus.v1.json")
    assert answer.status == 400
    assert "echo.v1" in answer.body
    assert "msgpack" not in answer.body


async def test_a_client_can_not_choose_the_subprotocol_of_another_endpoint() -> None:
    async with served(Echo()) as hub:
        answer = await ask(hub.port, "/ws", *UPGRADE, "Sec-WebSocket-Protocol: echo.v1")
    assert answer.status == 400


async def test_without_an_upgrade_it_is_426() -> None:
    async with served(Echo()) as hub:
        answer = await ask(hub.port, "/echo")
    assert answer.status == 426
    assert answer.headers["upgrade"] == "websocket"


async def test_the_endpoint_decides_who_is_refused() -> None:
    echo = Echo()
    echo.refusal = 403
    async with served(echo) as hub:
        answer = await handshake(hub)
    assert (answer.status, answer.body) == (403, "Not you.\n")


async def test_a_header_that_comes_twice_is_the_peer_s_mistake() -> None:
    async with served(Echo()) as hub:
        for name in ("Authorization", "Upgrade"):
            answer = await handshake(hub, f"{name}: one", f"{name}: two")
            assert answer.status == 400, name


@BOTH_LOOPS
async def test_peers_may_send_larger_messages_than_clients_up_to_a_limit_of_their_own() -> None:
    large = "x" * (QUIET_SETTINGS.limits.message_bytes + 1)
    async with served(Echo()) as hub:
        async with peer(hub) as socket:
            await socket.send(large)
            assert await heard(socket) == large
            await socket.send("x" * (Echo.max_message_bytes + 1))
            with pytest.raises(ConnectionClosed):
                await heard(socket)
            assert socket.close_code == 1009
        async with plain_client(hub.url) as client:
            await client.socket.send(large)
            assert (await client.closed())[0] == 1009


async def test_a_peer_takes_no_client_s_room() -> None:
    async with served(Echo(), max_clients=1) as hub, peer(hub), plain_client(hub.url) as client, peer(hub) as second:
        await client.request("pong", "ping", id=1)
        await second.send("hello")
        assert await heard(second) == "hello"


@BOTH_LOOPS
async def test_draining_closes_peers_with_1012_after_the_clients() -> None:
    echo = Echo()
    order: list[str] = []

    async def note(name: str, ended: asyncio.Future[object]) -> None:
        await ended
        order.append(name)

    async with served(echo) as hub, peer(hub) as socket, plain_client(hub.url) as client:
        await until(lambda: hub.server.clients)
        await socket.send("hello")
        await heard(socket)
        notes = [
            asyncio.create_task(note("client", asyncio.ensure_future(client.closed()))),
            asyncio.create_task(note("peer", asyncio.ensure_future(socket.wait_closed()))),
        ]
        await hub.server.drain("the hub is restarting", 5)
        await asyncio.gather(*notes)
        assert (socket.close_code, socket.close_reason) == (1012, "the hub is restarting")
    assert order == ["client", "peer"]
    assert echo.closed == [1012]


async def test_a_peer_that_does_not_answer_the_close_is_cut_off_in_time() -> None:
    echo = Echo()
    async with served(echo) as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write("\r\n".join(("GET /echo HTTP/1.1", "Host: hub.test", *UPGRADE, "", "")).encode())
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(8):
            await hub.server.drain("the hub is restarting", 0.3)
        writer.close()
    assert echo.closed == [1006]


async def test_while_draining_no_further_peer_is_let_in() -> None:
    async with served(Echo()) as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        async with plain_client(hub.url):
            ending = asyncio.create_task(hub.server.drain("the hub is restarting", 5))
            await asyncio.sleep(0)
            answer = await ask_on(reader, writer, "/echo", *UPGRADE)
            writer.close()
            assert answer.status == 503
        await ending


@BOTH_LOOPS
async def test_peers_are_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    pinged: list[PeerConnection] = []
    ping = PeerConnection.ping

    async def note_and_ping(self: PeerConnection) -> Awaitable[float]:
        pinged.append(self)
        return await ping(self)

    monkeypatch.setattr(PeerConnection, "ping", note_and_ping)
    async with served(Echo(), ping_interval_s=0.02) as hub, peer(hub) as socket:
        await until(lambda: len(pinged) >= 2)
        await socket.send("still here")
        assert await heard(socket) == "still here"


@BOTH_LOOPS
async def test_binary_messages_can_be_taken_in_the_turn_in_which_they_come() -> None:
    echo = TakesAtOnce()
    async with served(echo) as hub, peer(hub) as socket:
        for message in (b"1", b"2", "text", b"3", b"?end"):
            await socket.send(message)
            if message in ("text", b"?end"):
                assert await heard(socket) == message
    assert echo.taken == [
        ("at once", b"1"),
        ("at once", b"2"),
        ("later", "text"),
        ("at once", b"3"),
        ("later", b"?end"),
    ]


async def test_what_comes_behind_a_message_that_waits_waits_too() -> None:
    echo = TakesAtOnce()
    async with served(echo) as hub, peer(hub) as socket:
        socket.transport.write(b"".join(map(masked, (b"1", b"?2", b"3", b"4"))))  # in one piece: they come in one turn
        assert await heard(socket) == b"?2"
        assert await heard(socket) == b"3"
        assert await heard(socket) == b"4"
    assert echo.taken == [("at once", b"1"), ("later", b"?2"), ("later", b"3"), ("later", b"4")]


async def test_a_message_in_fragments_is_put_together_before_what_follows_it() -> None:
    echo = TakesAtOnce()
    async with served(echo) as hub, peer(hub) as socket:
        await socket.send([b"a", b"b", b"c"])
        await socket.send(b"?end")
        assert await heard(socket) == b"abc"
        assert await heard(socket) == b"?end"
    assert echo.taken == [("later", b"abc"), ("later", b"?end")]


def masked(message: bytes) -> bytes:
    """A binary message as a client sends it, with a mask that changes nothing."""
    return bytes((0x82, 0x80 | len(message), 0, 0, 0, 0)) + message
