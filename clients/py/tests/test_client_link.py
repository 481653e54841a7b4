import asyncio
import socket
import ssl
from typing import Any

import pytest
from fake_hub import FakeHub, Peer, tick, until

from argus_client import ConnectError, ConnectionLost, connect
from argus_client.codec import Encoding
from argus_client.link import SILENT_HEARTBEATS

WORD = "s3cret"


async def failure(url: str, **options: Any) -> ConnectError:
    with pytest.raises(ConnectError) as caught:
        await connect(url, **options)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
async def test_the_encoding_is_asked_for_and_the_welcome_read(encoding: Encoding) -> None:
    async with FakeHub() as fake, connect(fake.url, encoding=encoding) as hub:
        assert fake.handshakes[0].headers["Sec-WebSocket-Protocol"] == f"argus.v1.{encoding}"
        assert (hub.epoch, hub.at, hub.welcome.source.name) == ("00000000000000ab", 100, "simulator")


async def test_the_token_travels_in_the_header_and_not_in_the_url() -> None:
    async with FakeHub() as fake, connect(fake.url, token=WORD):
        assert fake.handshakes[0].headers["Authorization"] == f"Bearer {WORD}"
        assert WORD not in fake.handshakes[0].path


async def test_without_a_token_there_is_no_such_header() -> None:
    async with FakeHub() as fake, connect(fake.url):
        assert "Authorization" not in fake.handshakes[0].headers


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8765",
        "http://127.0.0.1:8765/ws",
        "ws://",
        "ws:///ws",
        "ws://h:99999/ws",
        "ws://[::1/ws",
        "ws://h/#x",
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"is not a hub's address: it must look like ws://127\.0\.0\.1:8765/ws"):
        connect(url)


@pytest.mark.parametrize("url", ["ws://user:s3cret@hub/ws", "ws://s3cret@hub/ws", "http://s3cret@hub/ws"])
def test_credentials_in_the_url_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValueError, match="credentials don't belong into the URL") as caught:
        connect(url)
    assert WORD not in str(caught.value)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "密码"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(ValueError, match="the token is empty, or has characters") as caught:
        connect("ws://h/ws", token=token)
    assert not token or token not in str(caught.value)


def test_other_wrong_arguments_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="encoding must be one of msgpack, json, not 'xml'"):
        connect("ws://h/ws", encoding="xml")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="ssl= needs a wss:// address"):
        connect("ws://h/ws", ssl=ssl.create_default_context())
    with pytest.raises(ValueError, match="queue_rows must be at least 1"):
        connect("ws://h/ws", queue_rows=0)


async def test_nobody_there_is_a_clear_error_that_may_pass() -> None:
    async with FakeHub() as fake:
        url = fake.url
    error = await failure(url)
    assert str(error) == f"cannot connect to {url}: connection refused; is the hub running there?"
    assert (error.status, error.retryable) == (None, True)


@pytest.mark.parametrize(
    ("status", "body", "says", "retryable"),
    [
        (400, "known: argus.v2\nmore", r"this version of the protocol \(HTTP 400: known: argus.v2\)", False),
        (401, "", r"the token is wrong or expired \(HTTP 401\)", False),
        (403, "origin not allowed", r"forbidden \(HTTP 403: origin not allowed\)", False),
        (404, "\x1b[31mno\n", r"not a hub's WebSocket endpoint, which ends in /ws \(HTTP 404: \[31mno\)", False),
        (503, "starting", r"takes no more clients, or is not ready yet \(HTTP 503: starting\)", True),
    ],
)  # fmt: skip
async def test_a_refused_handshake_tells_why(status: int, body: str, says: str, retryable: bool) -> None:
    async with FakeHub(refuse=(status, body)) as fake:
        error = await failure(fake.url, token=WORD)
    assert error.status == status
    assert error.retryable is retryable
    with pytest.raises(ConnectError, match=says):
        raise error


async def test_a_hub_that_wants_a_token_from_one_who_has_none_says_so() -> None:
    async with FakeHub(refuse=(401, "")) as fake:
        assert "the hub wants a token (HTTP 401)" in str(await failure(fake.url))


async def test_a_query_is_not_repeated_in_errors() -> None:
    async with FakeHub(refuse=(403, "")) as fake:
        assert "key=s3cret" not in str(await failure(fake.url + "?key=s3cret"))


async def test_a_websocket_server_that_is_no_hub_is_told_apart() -> None:
    async with FakeHub(subprotocols=None) as fake:
        assert "this is not an Argus hub: it does not speak argus.v1.msgpack" in str(await failure(fake.url))


async def test_a_server_that_speaks_no_http_is_told_apart() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ready\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        error = await failure(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws")
    assert "not answered as a hub would" in str(error)


async def test_a_plain_hub_at_a_secure_address_is_told_apart() -> None:
    async with FakeHub() as fake:
        error = await failure(fake.url.replace("ws://", "wss://"))
    assert "the connection broke off at once; does it speak TLS?" in str(error)


async def test_a_certificate_that_is_not_trusted_is_told_apart() -> None:
    async def fail(*args: object, **options: object) -> None:
        raise ssl.SSLCertVerificationError(1, "certificate verify failed: self-signed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "create_connection", fail)
        error = await failure("wss://127.0.0.1/ws")
    assert "no secure connection: " in str(error)
    assert "self-signed" in str(error)
    assert not error.retryable


async def test_a_name_with_several_addresses_where_nobody_listens_gives_one_clear_line() -> None:
    async def fail(*args: object, **options: object) -> None:
        raise OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1, 0, 0), [Errno 111] and so on")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "create_connection", fail)
        error = await failure("ws://localhost:1/ws")
    assert str(error) == "cannot connect to ws://localhost:1/ws: nobody answers there; is the hub running?"


async def test_a_host_that_is_not_known_is_told_apart() -> None:
    async def fail(*args: object, **options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "create_connection", fail)
        error = await failure("ws://no-such-host/ws")
    assert str(error) == "cannot connect to ws://no-such-host/ws: Name or service not known"


async def test_a_hub_that_does_not_greet_is_not_waited_for() -> None:
    async with FakeHub(welcome=None) as fake:
        error = await failure(fake.url, open_timeout_s=0.05)
    assert "no answer within 0.05 s" in str(error)
    assert error.retryable


async def test_a_hub_that_refuses_before_its_welcome_is_heard() -> None:
    async def refuse(peer: Peer) -> None:
        await peer.say("error", code="unauthorized", message="who are you?", retryable=False, retry_in_ms=None)
        await peer.idle()

    async with FakeHub(refuse, welcome=None) as fake:
        assert "unauthorized: who are you?" in str(await failure(fake.url))


@pytest.mark.parametrize(("code", "retryable"), [(4401, False), (1012, True)])
async def test_a_hub_that_closes_before_its_welcome_is_heard(code: int, retryable: bool) -> None:
    async def close(peer: Peer) -> None:
        await peer.close(code, "not now")

    async with FakeHub(close, welcome=None) as fake:
        error = await failure(fake.url)
    assert f"({code}: not now)" in str(error)
    assert error.retryable is retryable


async def test_a_hub_that_begins_with_something_else_is_refused() -> None:
    async def chat(peer: Peer) -> None:
        await peer.say("draining", reason="x", close_in_ms=1)
        await peer.idle()

    async def babble(peer: Peer) -> None:
        await peer.raw(b"\xc1")
        await peer.idle()

    async with FakeHub(chat, welcome=None) as fake:
        assert "began with a Draining instead of a welcome" in str(await failure(fake.url))
    async with FakeHub(babble, welcome=None) as fake:
        assert "malformed message" in str(await failure(fake.url))


async def test_a_hub_that_falls_silent_is_noticed_by_its_missing_heartbeats() -> None:
    async with FakeHub(welcome={"heartbeat_s": 0.02}) as fake, connect(fake.url, reconnect=False) as hub:
        with pytest.raises(ConnectionLost, match=r"nothing was heard from the hub for 0\.06 s") as caught:
            await hub.wait_closed()
    assert caught.value.code == 1006
    assert caught.value.retryable


async def test_silence_does_not_count_while_reading_is_paused_for_a_slow_user() -> None:
    async def script(peer: Peer) -> None:
        await peer.subscribed(await peer.expect("subscribe"))
        await peer.rows([tick(seq=1), tick(seq=2)])
        await peer.say("pong", id=(await peer.expect("ping"))["id"], time=0)
        await peer.gone()

    async with FakeHub(script) as fake, connect(fake.url, reconnect=False, queue_rows=2) as hub:
        assert hub._link._websocket.keepalive_task is None  # it would wait for answers that nobody reads
        rows = await hub.subscribe("tick:*")
        await until(lambda: rows.queued == 2)
        for _ in range(2 * SILENT_HEARTBEATS):
            hub._link._on_beat()
        assert [(await anext(rows)).seq, (await anext(rows)).seq] == [1, 2]
        await hub.ping()
        # Now it is waited for the hub again, and the same silence is its death.
        waiting = asyncio.ensure_future(anext(rows))
        await until(lambda: hub._link._receiving)
        for _ in range(SILENT_HEARTBEATS):
            hub._link._on_beat()
        with pytest.raises(ConnectionLost, match="nothing was heard from the hub"):
            await waiting


async def test_whatever_arrives_ends_the_silence() -> None:
    async def script(peer: Peer) -> None:
        for _ in range(SILENT_HEARTBEATS):
            request = await peer.expect("ping")
            await peer.say("pong", id=request["id"], time=0)
        await peer.gone()

    async with FakeHub(script) as fake, connect(fake.url) as hub:
        for _ in range(SILENT_HEARTBEATS):
            await until(lambda: hub._link._receiving)
            hub._link._on_beat()
            await hub.ping()
