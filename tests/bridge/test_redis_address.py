"""Addresses of Redis deployments: what is read from them, and what is refused without showing a password."""

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool

from bridge.redis.address import Address, close
from bridge.redis.tls import NAMES
from tests.bridge.support.certificates import Certificates

SECRET = "s3cret"  # noqa: S105 - of nobody


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://localhost", Address("single", False, (("localhost", 6379),), None, None, "", 0)),
        ("redis://10.0.0.1:7000/3", Address("single", False, (("10.0.0.1", 7000),), None, None, "", 3)),
        ("rediss://[::1]:7000", Address("single", True, (("::1", 7000),), None, None, "", 0)),
        ("redis://:a%2Fb@h/0", Address("single", False, (("h", 6379),), None, "a/b", "", 0)),
        ("redis://用户:p%C3%A4s%23%3F%40@h", Address("single", False, (("h", 6379),), "用户", "päs#?@", "", 0)),
        ("redis://me:a:b@c@h", Address("single", False, (("h", 6379),), "me", "a:b@c", "", 0)),
        ("redis://me:s@h", Address("single", False, (("h", 6379),), "me", "s", "", 0)),
        (
            "redis+sentinel://a,b:7001/main/2",
            Address("sentinel", False, (("a", 26379), ("b", 7001)), None, None, "main", 2),
        ),
        ("rediss+cluster://a:1,b:2", Address("cluster", True, (("a", 1), ("b", 2)), None, None, "", 0)),
    ],
)
def test_every_form_is_read(text: str, expected: Address) -> None:
    assert Address.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://h",
        "redis+tcp://h",
        "redis://",
        "redis://a,b",
        "redis://h:0",
        "redis://h:99999",
        "redis://h/x",
        "redis://h/0/1",
        "redis://h?db=1",
        "redis://h?ssl_ca_certs=ca.pem",
        "rediss://h?ssl_cert_reqs=none",
        "rediss://h?ssl_ca_certs",
        f"redis://me:{SECRET}?x@h",
        f"redis://me:{SECRET}/x@h",
        f"redis://me:{SECRET}#x@h",
        f"redis://:{SECRET}@h:port/0",
        "redis+sentinel://h",
        "redis+cluster://h/1",
        "redis://[::1",
    ],
)
def test_anything_else_is_refused_without_a_word_of_what_it_was(text: str) -> None:
    with pytest.raises(ValueError, match="should be a Redis address") as caught:
        Address.parse(text)
    assert SECRET not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    address = Address.parse(f"redis+sentinel://me:{SECRET}@h:1,i:2/main")
    assert str(address) == "redis+sentinel://h:1,i:2/main"
    assert SECRET not in repr(address)


async def test_each_kind_has_its_client() -> None:
    single = Address.parse("rediss://me:pw@h:7/3").client()
    assert isinstance(single, Redis)
    given = single.connection_pool.connection_kwargs
    assert (given["host"], given["port"], given["db"]) == ("h", 7, 3)
    assert (given["username"], given["password"]) == ("me", "pw")
    sentinel, cluster = (Address.parse(f"redis+{kind}").client() for kind in ("sentinel://h/main", "cluster://h"))
    assert isinstance(sentinel, Redis)
    assert isinstance(sentinel.connection_pool, SentinelConnectionPool)
    assert isinstance(cluster, RedisCluster)
    for client in (single, sentinel, cluster):
        await close(client)


@pytest.mark.parametrize("form", ["rediss://h", "rediss+sentinel://h/main", "rediss+cluster://h"])
async def test_the_files_of_tls_reach_every_connection(form: str, certificates: Certificates) -> None:
    ca, own = quote(certificates.ca), certificates.client
    client = Address.parse(f"{form}?ssl_ca_certs={ca}&ssl_certfile={own}&ssl_keyfile={own}").client()
    pools = [client.connection_pool] if isinstance(client, Redis) else []
    if isinstance(client, RedisCluster):
        given = [client.connection_kwargs]
    else:
        if isinstance(client.connection_pool, SentinelConnectionPool):
            pools += [sentinel.connection_pool for sentinel in client.connection_pool.sentinel_manager.sentinels]
        given = [pool.connection_kwargs for pool in pools]
    assert given
    for one in given:
        files = [one[name] for name in NAMES]
        assert files == [certificates.ca, certificates.client, certificates.client]
    await close(client)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("ssl_ca_certs=/nowhere.pem", "ssl_ca_certs=/nowhere.pem: No such file or directory"),
        ("ssl_ca_certs={ca}&ssl_ca_certs={ca}", "and nothing else"),
        ("ssl_ca_certs={text}", "no certificate"),
        ("ssl_certfile={ca}", "ssl_certfile={ca}: "),
        ("ssl_certfile={client}&ssl_keyfile={locked}", "the key has a password"),
        ("ssl_keyfile={client}", "not the certificate that it is the key of: ssl_certfile"),
    ],
)
def test_files_that_can_t_be_used_are_told(query: str, words: str, certificates: Certificates, tmp_path: Path) -> None:
    text, locked = tmp_path / "text.pem", tmp_path / "locked.pem"
    text.write_text("nothing", encoding="utf-8")
    locked.write_bytes(certificates.locked_key(b"secret"))
    names = {"ca": certificates.ca, "client": certificates.client, "text": text, "locked": locked}
    with pytest.raises(ValueError, match=re.escape(words.format(**names))):
        Address.parse("rediss://h?" + query.format(**names))
