"""Addresses of Redis deployments: what is read from them, and what is refused without showing a password."""

import pytest
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.sentinel import SentinelConnectionPool

from bridge.redis.address import Address, close

SECRET = "s3cret"  # noqa: S105 - of nobody


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://localhost", Address("single", False, (("localhost", 6379),), None, None, "", 0)),
        ("redis://10.0.0.1:7000/3", Address("single", False, (("10.0.0.1", 7000),), None, None, "", 3)),
        ("rediss://[::1]:7000", Address("single", True, (("::1", 7000),), None, None, "", 0)),
        ("redis://:a%2Fb@h/0", Address("single", False, (("h", 6379),), None, "a/b", "", 0)),
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
    assert str(Address.parse(f"redis+sentinel://me:{SECRET}@h:1,i:2/main")) == "redis+sentinel://h:1,i:2/main"


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
