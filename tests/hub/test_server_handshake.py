"""Who is let in, in which encoding, and what everybody else is told."""

import asyncio
import gc
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

import hub.handshake
import hub.server
from hub.auth import Token
from hub.handshake import Handshake, Reception
from hub.session import Session
from tests.e2e.support.plain_client import PATIENCE_S, PlainClient, plain_client
from tests.hub.support.served_hub import (
    BOTH_LOOPS,
    NEVER_S,
    UPGRADE,
    Answer,
    ServedHub,
    ask,
    ask_on,
    raw_client,
    served_hub,
    settings,
    small_socket,
    until,
)

TOKEN = "correct-horse-battery"  # noqa: S105 - of the hub under test


async def handshake(served: ServedHub, *headers: str, path: str = "/ws") -> Answer:
    """Ask for an upgrade that is going to be refused."""
    return await ask(served.port, path, *UPGRADE, *headers)


@BOTH_LOOPS
@pytest.mark.parametrize(
    ("query", "offered", "chosen", "is_binary"),
    [
        ("", [], None, False),
        ("?encoding=msgpack", [], None, True),
        ("?encoding=json", [], None, False),
        ("", ["argus.v1.msgpack", "argus.v1.json"], "argus.v1.msgpack", True),
        ("", ["argus.v1.json", "argus.v1.msgpack"], "argus.v1.json", False),
        ("", ["argus.v2.json", "argus.v1.msgpack"], "argus.v1.msgpack", True),
        ("?encoding=msgpack", ["argus.v1.json"], "argus.v1.json", False),
    ],
)
async def test_the_first_known_subprotocol_is_taken_and_without_one_the_query_decides(
    query: str, offered: list[str], chosen: str | None, is_binary: bool
) -> None:
    subprotocols = [Subprotocol(name) for name in offered] or None
    async with served_hub() as served, connect(served.url + query, subprotocols=subprotocols, proxy=None) as socket:
        assert socket.subprotocol == chosen
        assert isinstance(await socket.recv(), bytes) is is_binary
        client = PlainClient(socket, "msgpack" if is_binary else "json")
        await client.request("pong", "ping", id=1)


async def test_unknown_subprotocols_are_refused_with_the_names_of_the_known_ones() -> None:
    async with served_hub() as served:
        answer = await handshake(served, "Sec-WebSocket-Protocol: argus.v9, mqtt")
        assert served.server.clients == 0
    assert answer.status == 400
    assert "argus.v1.msgpack" in answer.body
    assert "argus.v1.json" in answer.body


@pytest.mark.parametrize("path", ["/", "/ws/", "/WS", "/feed", "/wss", "/%77s", "//[/ws", "//["])
async def test_other_paths_are_404_with_and_without_an_upgrade(path: str) -> None:
    async with served_hub() as served:
        for answer in (await handshake(served, path=path), await ask(served.port, path)):
            assert answer.status == 404
            assert "/ws" in answer.body


async def test_ws_without_an_upgrade_is_426() -> None:
    async with served_hub() as served:
        answer = await ask(served.port, "/ws")
    assert answer.status == 426
    assert answer.headers["upgrade"] == "websocket"


async def test_pages_are_answered_by_path_whatever_the_query() -> None:
    async with served_hub() as served:
        for path in ("/page", "/page?of=today"):
            answer = await ask(served.port, path)
            assert (answer.status, answer.body) == (200, "a page")
            assert answer.headers["server"] == "argus-hub/test"


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_pages_are_for_reading_only(method: str) -> None:
    async with served_hub() as served:
        answer = await ask(served.port, "/page", method=method)
    assert answer.status == 405
    assert "GET" in answer.headers["allow"]


async def test_head_is_answered_without_a_body_or_not_at_all() -> None:
    async with served_hub() as served:
        answer = await ask(served.port, "/page", method="HEAD")
    assert answer.status in (200, 405)
    assert answer.body == ""


async def test_a_page_that_fails_is_500_and_the_hub_goes_on() -> None:
    def failing(path: str) -> Response | None:
        raise RuntimeError(path)

    async with served_hub(pages=failing) as served:
        assert (await ask(served.port, "/page")).status == 500
        async with plain_client(served.url) as client:
            await client.request("pong", "ping", id=1)


@BOTH_LOOPS
async def test_a_foreign_origin_is_403_and_the_own_host_and_allowed_ones_are_let_in() -> None:
    async with served_hub(settings(allowed_origins=frozenset({"https://desk.example"}))) as served:
        for foreign in ("https://evil.example", "https://hub.test.evil.example", "null", "http://desk.example", "http"):
            answer = await handshake(served, f"Origin: {foreign}")
            assert (answer.status, foreign in answer.body) == (403, True)
        for own in (f"http://127.0.0.1:{served.port}", "https://desk.example"):
            async with plain_client(served.url, origin=own):
                pass
        async with plain_client(served.url):  # no browser
            pass


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//["])
async def test_an_origin_that_is_none_is_403(origin: str) -> None:
    async with served_hub() as served:
        assert (await handshake(served, f"Origin: {origin}")).status == 403


@pytest.mark.parametrize("name", ["Origin", "Authorization", "Host", "Upgrade"])
async def test_a_header_that_comes_twice_is_the_client_s_mistake(name: str) -> None:
    async with served_hub(settings(token=Token(TOKEN))) as served:
        answer = await handshake(served, f"{name}: one", f"{name}: two")
        assert served.server.clients == 0
    assert 400 <= answer.status < 500


@BOTH_LOOPS
async def test_a_wrong_token_in_the_header_is_401_and_the_right_one_is_enough() -> None:
    async with served_hub(settings(token=Token(TOKEN))) as served:
        for wrong in (f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer", "Bearer ü"):
            assert (await handshake(served, f"Authorization: {wrong}")).status == 401
        assert (await handshake(served, "Authorization:")).status == 401
        async with plain_client(served.url, headers={"Authorization": f"bearer {TOKEN}"}) as client:
            await client.request("pong", "ping", id=1)


async def test_where_no_token_is_needed_the_header_does_not_matter() -> None:
    async with served_hub() as served, plain_client(served.url, headers={"Authorization": "Bearer x"}) as client:
        await client.request("pong", "ping", id=1)


@BOTH_LOOPS
async def test_the_op_auth_lets_in_who_showed_no_header() -> None:
    async with served_hub(settings(token=Token(TOKEN))) as served, plain_client(served.url) as client:
        await client.send("subscribe", id=1, topics=["tick:*"])
        assert (await client.error(1))["code"] == "unauthorized"
        await client.request("authenticated", "auth", id=2, token=TOKEN)
        await client.request("subscribed", "subscribe", id=3, topics=["tick:*"])


@BOTH_LOOPS
async def test_a_wrong_token_in_the_op_auth_closes_with_4401() -> None:
    async with served_hub(settings(token=Token(TOKEN))) as served, plain_client(served.url) as client:
        await client.send("auth", id=1, token=TOKEN[:-1])
        await client.send("auth", id=2, token=TOKEN)
        assert (await client.error(1))["code"] == "unauthorized"
        with pytest.raises(ConnectionClosed):  # the right token comes too late to be answered
            await client.receive()
        assert await client.closed() == (4401, "wrong token")
        await until(lambda: served.server.clients == 0)


@BOTH_LOOPS
async def test_who_shows_no_token_in_time_is_closed_with_4401_and_who_does_stays() -> None:
    async with (
        served_hub(settings(token=Token(TOKEN), auth_timeout_s=0.2)) as served,
        plain_client(served.url, headers={"Authorization": f"Bearer {TOKEN}"}) as known,
        plain_client(served.url) as prompt,
    ):
        await prompt.request("authenticated", "auth", id=1, token=TOKEN)
        async with plain_client(served.url) as late:
            assert await late.closed() == (4401, "no token was shown in time")
        for client in (known, prompt):
            await client.request("pong", "ping", id=2)


async def test_a_client_that_is_gone_before_its_time_to_show_a_token_is_over_harms_nothing() -> None:
    async with served_hub(settings(token=Token(TOKEN), auth_timeout_s=0.05)) as served:
        async with raw_client(served) as gone:
            gone.reset()
            await until(lambda: served.server.clients == 0)
        async with plain_client(served.url) as late:
            await late.closed()
    assert served.faults == []


@BOTH_LOOPS
async def test_above_the_greatest_number_of_clients_the_answer_is_503_until_one_leaves() -> None:
    async with served_hub(settings(max_clients=3)) as served:
        async with AsyncExitStack() as clients:
            for _ in range(3):
                await clients.enter_async_context(plain_client(served.url))
            answer = await handshake(served)
            assert (answer.status, "no room" in answer.body) == (503, True)
            assert (await ask(served.port, "/page")).status == 200
        await until(lambda: served.server.clients == 0)
        async with plain_client(served.url):
            pass


@BOTH_LOOPS
async def test_clients_that_come_at_once_do_not_slip_in_above_the_greatest_number() -> None:
    async with served_hub(settings(max_clients=3)) as served:
        clients = [connect(served.url, proxy=None) for _ in range(20)]
        came = await asyncio.gather(*clients, return_exceptions=True)
        assert served.server.clients == 3
        for connection in came:
            if isinstance(connection, ClientConnection):
                await connection.close()
    refused = [error.response.status_code for error in came if isinstance(error, InvalidStatus)]
    assert refused == [503] * 17


async def test_a_message_above_the_limit_closes_with_1009_and_harms_nobody_else() -> None:
    async with served_hub() as served, plain_client(served.url) as other:
        async with plain_client(served.url) as client:
            await client.socket.send("x" * ((1 << 18) + 1))
            assert (await client.closed())[0] == 1009
        await other.request("pong", "ping", id=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_start_tells_every_address_that_is_listened_on(host: str) -> None:
    async with served_hub() as other:
        server = type(other.server)(other.hub, other.delivery, settings(), lambda _: None, dict)
        addresses = await server.start(host, 0)
        try:
            assert all(port > 0 for _, port in addresses)
            assert "127.0.0.1" in [address for address, _ in addresses]
        finally:
            await server.drain("the test is over", NEVER_S)


async def test_a_port_in_use_is_an_os_error() -> None:
    async with served_hub() as other:
        server = type(other.server)(other.hub, other.delivery, settings(), lambda _: None, dict)
        with pytest.raises(OSError, match=r"in use|10048"):  # the latter where Windows speaks another language
            await server.start("127.0.0.1", other.port)


async def test_an_encoding_that_nobody_knows_is_refused() -> None:
    async with served_hub() as served:
        answer = await ask(served.port, "/ws?encoding=xml", *UPGRADE)
    assert answer.status == 400
    assert "msgpack" in answer.body


async def test_a_page_of_a_name_that_was_made_to_point_here_is_refused() -> None:
    """`ask` says ``Host: hub.test``; a hub on loopback has no such name."""
    async with served_hub() as served:
        answer = await ask(served.port, "/ws", *UPGRADE, "Origin: http://hub.test")
    assert answer.status == 403


# Before the request, and while others wait for their answer


@asynccontextmanager
async def silent(served: ServedHub) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which nothing was said yet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        yield reader, writer
    finally:
        writer.close()


@BOTH_LOOPS
@pytest.mark.parametrize("said", [b"", b"GET /ws HTTP/1.1\r\nHost: hub.test\r\n"], ids=["nothing", "half a request"])
async def test_who_does_not_finish_its_request_in_time_is_cut_off(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(hub.handshake, "OPEN_TIMEOUT_S", 0.2)
    async with served_hub() as served, silent(served) as (reader, writer), plain_client(served.url) as other:
        writer.write(said)
        async with asyncio.timeout(PATIENCE_S):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        await other.request("pong", "ping", id=1)
    assert served.faults == []


@BOTH_LOOPS
async def test_who_has_sent_its_request_in_time_is_not_cut_off_because_the_hub_is_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub.handshake, "OPEN_TIMEOUT_S", 0.02)
    read_some = Reception._read_some
    cuts: list[int] = []
    cut = Reception._cut

    def note_and_cut(self: Reception, late: Sequence[Handshake]) -> None:
        cuts.append(len(late))
        cut(self, late)

    def read_late(self: Reception) -> None:
        if len(cuts) < 3:
            asyncio.get_running_loop().call_soon(read_late, self)
        else:
            read_some(self)

    monkeypatch.setattr(Reception, "_cut", note_and_cut)
    monkeypatch.setattr(Reception, "_read_some", read_late)
    async with served_hub() as served:
        assert (await ask(served.port, "/page")).status == 200
    assert len(cuts) >= 3


@BOTH_LOOPS
async def test_above_the_greatest_number_without_a_request_the_oldest_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub.handshake, "MOST_OPENING", 3)
    async with served_hub() as served, plain_client(served.url) as client, AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(silent(served)) for _ in range(5)]
        for reader, _ in callers[:2]:
            async with asyncio.timeout(PATIENCE_S):
                with suppress(ConnectionResetError):
                    assert await reader.read() == b""
        for reader, writer in callers[2:]:
            assert (await ask_on(reader, writer, "/page")).status == 200
        await client.request("pong", "ping", id=1)


@BOTH_LOOPS
async def test_a_storm_of_clients_leaves_turns_to_everybody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.handshake, "BUDGET_S", 0)
    turns = 0
    read_at: list[int] = []
    read = Reception._read

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def note_and_read(self: Reception, handshake: Handshake, data: bytes) -> None:
        read_at.append(turns)
        read(self, handshake, data)

    monkeypatch.setattr(Reception, "_read", note_and_read)
    async with served_hub() as served, AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(silent(served)) for _ in range(20)]
        working = asyncio.create_task(others())
        answers = await asyncio.gather(*(ask_on(reader, writer, "/page") for reader, writer in callers))
        working.cancel()
    assert [answer.status for answer in answers] == [200] * 20
    assert len(set(read_at)) == len(read_at) == 20, "two requests were read in one turn"


@BOTH_LOOPS
@pytest.mark.parametrize("pieces", [1, 4])
async def test_what_is_said_right_behind_the_request_is_not_lost(monkeypatch: pytest.MonkeyPatch, pieces: int) -> None:
    """No client may (RFC 6455, section 4.1), but some do; it comes in the same packet, or while the request waits."""
    read_some, on_data = Reception._read_some, Reception.on_data
    arrived: list[bytes] = []

    def note(self: Reception, handshake: Handshake, data: bytes) -> None:
        arrived.append(data)
        on_data(self, handshake, data)

    def read_when_all_are_here(self: Reception) -> None:
        if len(self._unread) < pieces:
            asyncio.get_running_loop().call_soon(read_when_all_are_here, self)
        else:
            read_some(self)

    monkeypatch.setattr(Reception, "on_data", note)
    monkeypatch.setattr(Reception, "_read_some", read_when_all_are_here)
    request = "\r\n".join(("GET /ws HTTP/1.1", "Host: hub.test", *UPGRADE, "", "")).encode()
    said = [request, *(frame(b'{"op":"ping","id":%d}' % number) for number in (1, 2, 3))]
    async with served_hub() as served, silent(served) as (reader, writer):
        for number, piece in enumerate(said if pieces > 1 else [b"".join(said)], 1):
            writer.write(piece)
            await until(lambda number=number: len(arrived) >= number)
        async with asyncio.timeout(PATIENCE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            heard = b""
            while b'"id":3' not in heard:
                heard += await reader.read(1 << 16)
        assert head.startswith(b"HTTP/1.1 101 ")
        places = [heard.index(part) for part in (b'"welcome"', b'"id":1', b'"id":2', b'"id":3')]
        assert places == sorted(places)
    assert served.faults == []


def frame(payload: bytes) -> bytes:
    """A text frame of a client."""
    return bytes((0x81, 0x80 | len(payload))) + bytes(4) + payload


@BOTH_LOOPS
async def test_who_was_refused_and_does_not_close_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.server, "CLOSE_TIMEOUT_S", 0.1)
    lost: list[Handshake] = []
    connection_lost = Handshake.connection_lost

    def note_lost(self: Handshake, exc: Exception | None) -> None:
        lost.append(self)
        connection_lost(self, exc)

    monkeypatch.setattr(Handshake, "connection_lost", note_lost)
    async with served_hub() as served:
        loop = asyncio.get_running_loop()
        with small_socket() as raw:
            await loop.sock_connect(raw, ("127.0.0.1", served.port))
            await loop.sock_sendall(raw, b"GET /nothing HTTP/1.1\r\nHost: hub.test\r\n\r\n")
            await until(lambda: lost)
    assert served.faults == []


@BOTH_LOOPS
async def test_of_a_client_that_was_let_in_its_headers_are_not_kept() -> None:
    """They are a large part of what an idle client would weigh, and may hold the token."""
    async with served_hub() as served, raw_client(served, "X-Mark: of this test"):
        requests = [held for held in gc.get_objects() if type(held) is Request]
        assert not any("X-Mark" in request.headers for request in requests)


@BOTH_LOOPS
async def test_a_client_that_cannot_be_let_in_is_cut_off_and_the_next_one_comes_in(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    welcome = Session.welcome
    failed: list[str] = []

    def fail_once(self: Session, *args: Any) -> None:
        if not failed:
            failed.append(self.name)
            raise RuntimeError("no welcome for you")
        welcome(self, *args)

    monkeypatch.setattr(Session, "welcome", fail_once)
    async with served_hub() as served:
        with pytest.raises((ConnectionClosed, InvalidMessage)):
            async with connect(served.url, proxy=None) as client:
                await client.recv()
        async with plain_client(served.url) as other:
            await other.request("pong", "ping", id=1)
        await until(lambda: served.server.clients == 0)
    assert "no welcome for you" in caplog.text


@BOTH_LOOPS
async def test_who_leaves_while_its_request_waits_harms_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    read_some = Reception._read_some
    lost: list[Handshake] = []
    connection_lost = Handshake.connection_lost

    def note_lost(self: Handshake, exc: Exception | None) -> None:
        lost.append(self)
        connection_lost(self, exc)

    def read_when_it_is_gone(self: Reception) -> None:
        if lost:
            read_some(self)
        else:
            asyncio.get_running_loop().call_soon(read_when_it_is_gone, self)

    monkeypatch.setattr(Handshake, "connection_lost", note_lost)
    monkeypatch.setattr(Reception, "_read_some", read_when_it_is_gone)
    async with served_hub() as served:
        async with silent(served) as (_, writer):
            writer.write("\r\n".join(("GET /ws HTTP/1.1", "Host: hub.test", *UPGRADE, "", "")).encode())
        async with plain_client(served.url) as other:
            await other.request("pong", "ping", id=1)
            assert served.server.clients == 1
    assert served.faults == []
