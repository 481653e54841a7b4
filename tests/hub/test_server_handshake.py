"""Who is let in, in which encoding, and what everybody else is told."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.http11 import Response
from websockets.typing import Subprotocol

from hub.auth import Token
from tests.e2e.support.plain_client import PlainClient, plain_client
from tests.hub.support.served_hub import (
    BOTH_LOOPS,
    NEVER_S,
    UPGRADE,
    Answer,
    ServedHub,
    ask,
    raw_client,
    served_hub,
    settings,
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
    def failing(_: ServerConnection, path: str) -> Response | None:
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


async def test_a_client_that_answers_no_ping_is_closed() -> None:
    async with (
        served_hub(settings(ping_interval_s=0.05, ping_timeout_s=0.05)) as served,
        raw_client(served) as mute,
        plain_client(served.url) as answering,
    ):
        frames = await mute.frames()
        assert frames[-1].payload[:2] == (1011).to_bytes(2)
        await answering.request("pong", "ping", id=1)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_start_tells_every_address_that_is_listened_on(host: str) -> None:
    async with served_hub() as other:
        server = type(other.server)(other.hub, other.delivery, settings(), lambda *_: None, dict)
        addresses = await server.start(host, 0)
        try:
            assert all(port > 0 for _, port in addresses)
            assert "127.0.0.1" in [address for address, _ in addresses]
        finally:
            await server.drain("the test is over", NEVER_S)


async def test_a_port_in_use_is_an_os_error() -> None:
    async with served_hub() as other:
        server = type(other.server)(other.hub, other.delivery, settings(), lambda *_: None, dict)
        with pytest.raises(OSError, match="in use"):
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
