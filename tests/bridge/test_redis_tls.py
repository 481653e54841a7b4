"""Redis over TLS, and as a user with a password: what is wrong with either is told in words, and holds no secret."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import pytest
import pytest_asyncio

from bridge.redis.address import Address
from bridge.redis.relay import RedisRelay
from bridge.relay.boundary import RelayAway
from tests.bridge.support.certificates import HOST, Certificates
from tests.bridge.support.redis_servers import RedisServer, needs_redis, redis_over_tls

pytestmark = [needs_redis, pytest.mark.asyncio(loop_scope="module")]

SECRET: Final = "pa55w0rd"  # noqa: S105 - of nobody


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(
    files: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[str, RedisServer]]:
    async with redis_over_tls(tmp_path_factory.mktemp("redis"), files) as found:
        rights = ("~{argus*", "&{argus*", "+@read", "+@connection", "-getrange")
        await found[1].do("ACL", "SETUSER", "edge", "on", f">{SECRET}", *rights)
        yield found


async def complaint(url: str) -> str:
    """What a relay says of a Redis that it can't use; empty where it can."""
    relay = RedisRelay(Address.parse(url), "argus", 2)
    told = ""
    try:
        await relay.state()
        await relay.kept("words", 1)
    except RelayAway as error:
        told = str(error)
    finally:
        await relay.close()
    assert SECRET not in told
    return told


async def test_a_certificate_of_the_named_ca_is_trusted(server: tuple[str, RedisServer], files: Certificates) -> None:
    assert await complaint(f"rediss://{server[0]}?ssl_ca_certs={files.ca}&ssl_certfile={files.client}") == ""


@pytest.mark.parametrize("ca", ["", "other_ca"])
async def test_a_certificate_that_is_not_trusted_is_told(
    ca: str, server: tuple[str, RedisServer], files: Certificates
) -> None:
    query = f"?ssl_ca_certs={getattr(files, ca)}" if ca else ""
    told = await complaint(f"rediss://{server[0]}{query}")
    assert told.startswith("its certificate is not trusted (self-signed certificate in certificate chain): name the CA")
    assert "ssl_ca_certs=FILE" in told


async def test_a_certificate_for_another_host_is_told(
    files: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with redis_over_tls(tmp_path_factory.mktemp("misnamed"), files, files.misnamed) as (place, _):
        told = await complaint(f"rediss://{place}?ssl_ca_certs={files.ca}")
    assert f"certificate is not valid for '{HOST}'" in told
    assert "the host as the certificate does" in told


async def test_a_client_without_a_certificate_is_not_let_in(
    server: tuple[str, RedisServer], files: Certificates
) -> None:
    told = await complaint(f"rediss://{server[0]}?ssl_ca_certs={files.ca}")
    assert "it wants to see a certificate of this client" in told or "reset" in told  # it hangs up right away


@pytest.mark.parametrize("user", [f"edge:{SECRET}x", f"nobody:{SECRET}", f":{SECRET}"])
async def test_a_wrong_user_or_password_is_told_without_it(user: str, server: tuple[str, RedisServer]) -> None:
    told = await complaint(f"redis://{user}@127.0.0.1:{server[1].port}")
    assert told.startswith("it does not know this user or password")


async def test_what_a_user_may_not_do_is_told(server: tuple[str, RedisServer]) -> None:
    told = await complaint(f"redis://edge:{SECRET}@127.0.0.1:{server[1].port}")
    assert told.startswith("its user may not do all that the relay needs (see docs/scaling.md): ")
    assert "getrange" in told


async def test_a_server_that_does_not_answer_over_tls_is_told(
    server: tuple[str, RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.redis.address.TIMEOUT_S", 0.2)
    told = await complaint(f"rediss://127.0.0.1:{server[1].port}")  # which it does not speak there
    assert told.startswith("it does not answer in time")


async def test_listening_tells_the_same(server: tuple[str, RedisServer], files: Certificates) -> None:
    relay = RedisRelay(Address.parse(f"rediss://{server[0]}?ssl_ca_certs={files.other_ca}"), "argus", 2)
    async with asyncio.timeout(30):
        with pytest.raises(RelayAway, match="its certificate is not trusted"):
            async with relay.listen(range(relay.shards)):
                raise AssertionError("it listens")
    await relay.close()
