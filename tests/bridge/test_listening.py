"""Where the hub listens: the port is asked for before anything is begun, and the settings reach the server."""

import asyncio
import socket
from typing import Any

import pytest
from pydantic import SecretStr

from bridge.listening import StartError, check_port, server_settings
from hub.settings import Settings

LOOPBACK = "127.0.0.1"


def listening(family: socket.AddressFamily, address: str) -> socket.socket:
    """A socket of somebody else, on any port. Skips where the machine lacks the family."""
    try:
        return socket.create_server((address, 0), family=family)
    except OSError as error:
        pytest.skip(f"nobody can listen on {address} here: {error}")


async def test_a_port_that_is_free_stays_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
    await check_port(Settings(port=port))
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, LOOPBACK, port)
    server.close()
    await server.wait_closed()


async def test_any_free_port_can_be_had() -> None:
    await check_port(Settings(port=0))


async def test_a_port_in_use_is_named_with_the_reason() -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(StartError, match=f"^cannot listen on {LOOPBACK} port {port}: .+$"):
            await check_port(Settings(port=port))


async def test_the_host_of_another_machine_is_refused() -> None:
    with pytest.raises(StartError, match=r"cannot listen on 192\.0\.2\.1 port 8765: "):
        await check_port(Settings(host="192.0.2.1", insecure=True))


async def test_a_name_that_nobody_has_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def getaddrinfo(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    with pytest.raises(StartError, match=r"cannot listen on nowhere\.invalid port 8765: Name or service not known"):
        await check_port(Settings(host="nowhere.invalid", insecure=True))


async def test_every_address_of_a_name_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(socket.AF_INET, "127.0.0.2") as other:
        port = other.getsockname()[1]
        found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port)) for host in (LOOPBACK, "127.0.0.2")]

        async def getaddrinfo(*_: Any, **__: Any) -> Any:
            return found

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
        with pytest.raises(StartError, match=r"cannot listen on both\.test"):
            await check_port(Settings(host="both.test", insecure=True, port=port))


async def test_on_every_address_of_version_6_a_listener_of_version_4_is_not_in_the_way() -> None:
    with listening(socket.AF_INET6, "::1"), listening(socket.AF_INET, LOOPBACK) as other:
        port = other.getsockname()[1]
        await check_port(Settings(host="::", insecure=True, port=port))
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "::1", port)
        server.close()
        await server.wait_closed()


def test_the_settings_reach_the_server_each_in_its_place() -> None:
    settings = Settings(
        max_message_bytes=1111,
        max_topics=22,
        max_requests_per_s=33,
        max_pending_bytes=444_444,
        token=SecretStr("correct-horse"),
        allowed_origins=("https://desk.example",),
        max_clients=5,
        heartbeat_s=6,
        stall_s=7,
        auth_timeout_s=8,
        ping_interval_s=9,
        ping_timeout_s=10,
        compression=True,
    )
    made = server_settings(settings)
    limits = made.limits
    assert (limits.message_bytes, limits.topics, limits.requests_per_s, limits.pending_bytes) == (1111, 22, 33, 444_444)
    assert made.name.startswith("argus-hub/")
    assert made.token is not None
    assert made.token.accepts("correct-horse")
    assert made.allowed_origins == {"https://desk.example"}
    assert (made.max_clients, made.heartbeat_s, made.stall_s, made.auth_timeout_s) == (5, 6, 7, 8)
    assert (made.ping_interval_s, made.ping_timeout_s, made.compression) == (9, 10, True)
    assert server_settings(Settings()).token is None
