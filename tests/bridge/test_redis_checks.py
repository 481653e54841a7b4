"""What the doctor says of a Redis: of real ones, and of what is told of those that can't be had here."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.check import Check
from bridge.doctor import examine
from bridge.redis.checks import check_buffers, check_memory, check_redis_clock, check_version
from tests.bridge.support.redis_servers import (
    RedisServer,
    free_port,
    needs_redis,
    redis_cluster,
    redis_server,
    redis_with_sentinel,
)

BUFFER = ("CONFIG", "SET", "client-output-buffer-limit", "pubsub 64mb 32mb 60")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.doctor.check_clock", lambda: Check("clock", True, "+3 ms"))


async def ask(url: str, *options: str, role: str = "edge") -> tuple[int, dict[str, str]]:
    """Examine a machine of a role; the exit code, and each line by its check's name."""
    lines: list[str] = []
    argv = ["--doctor", "--role", role, "--port", "0", *options]
    code = await asyncio.to_thread(examine, argv, {"ARGUS_REDIS": url}, lines.append)
    return code, {line[7:].partition(": ")[0]: line for line in lines[:-1]}


@asynccontextmanager
async def good_server(folder: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(folder) as server:
        await server.do(*BUFFER)
        yield server


@needs_redis
async def test_a_redis_that_is_as_it_should_be(tmp_path: Path) -> None:
    async with good_server(tmp_path) as server:
        code, lines = await ask(server.url)
        assert code == 0
        asked = "redis, redis version, redis memory, redis buffers, redis clock, relay, feed"
        assert ", ".join(lines) == f"python, event loop, time zone, clock, settings, port, token, {asked}"
        assert lines["settings"].endswith("valid; role edge")
        assert lines["redis version"].startswith("ok     redis version: 7.")
        assert "none has published as argus yet" in lines["feed"]
        code, lines = await ask(server.url, "--data", str(tmp_path / "data"), role="feed")
        assert code == 0
        assert {"data folder", "disk", "source"} <= lines.keys()
        async with asyncio.timeout(30):
            while await server.do("DBSIZE"):  # noqa: ASYNC110 - what the doctor tried ends by itself
                await asyncio.sleep(0.05)


@needs_redis
async def test_each_thing_that_is_wrong_is_a_line_with_what_to_do(tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server:
        await server.do("CONFIG", "SET", "maxmemory", "50mb")
        await server.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        await server.do("SET", "{argus}:state", "of another version")
        code, lines = await ask(server.url)
    assert code == 1
    assert [name for name, line in lines.items() if line.startswith("WRONG")] == [
        "redis memory",
        "redis buffers",
        "feed",
    ]
    assert "throws keys away (allkeys-lru), such as the feed's lease" in lines["redis memory"]
    assert "CONFIG SET maxmemory-policy noeviction" in lines["redis memory"]
    assert 'CONFIG SET client-output-buffer-limit "pubsub 64mb 32mb 60"' in lines["redis buffers"]
    assert "of another version" in lines["feed"]


@needs_redis
async def test_a_redis_that_does_not_answer_ends_the_questions(tmp_path: Path) -> None:
    code, lines = await ask(f"redis://127.0.0.1:{free_port()}")
    assert code == 1
    assert list(lines)[-1] == "redis"
    assert "does it run there" in lines["redis"]
    async with redis_server(tmp_path) as server:
        await server.do("CONFIG", "SET", "requirepass", "secret")
        code, lines = await ask(f"redis://:wr0ng@127.0.0.1:{server.port}")
        assert "it does not know this user or password" in lines["redis"]
        assert "wr0ng" not in str(lines)


async def test_an_address_that_is_none_is_told() -> None:
    code, lines = await ask("redis://one,two")
    assert code == 1
    assert "redis should be a Redis address" in lines["redis"]


@needs_redis
async def test_a_user_who_may_not_ask_or_not_do_what_it_takes(tmp_path: Path) -> None:
    async with good_server(tmp_path) as server:
        url = f"redis://edge:secret@127.0.0.1:{server.port}"
        rights = ("+@all", "-config", "~{argus*")
        await server.do("ACL", "SETUSER", "edge", "on", ">secret", *rights, "&{argus*")
        code, lines = await ask(url)
        assert code == 0
        assert "not known, since this user may not ask" in lines["redis buffers"]
        await server.do("ACL", "SETUSER", "edge", "resetchannels", "&{other*")
        code, lines = await ask(url)
        assert code == 1
        assert "its user may not do all that the relay needs" in lines["relay"]


@needs_redis
async def test_of_a_cluster_the_server_that_is_wrong_is_named(tmp_path: Path) -> None:
    async with redis_cluster(tmp_path) as (url, servers):
        for server in servers[:2]:
            await server.do(*BUFFER)
        code, lines = await ask(url)
        assert code == 1
        assert lines["redis"].endswith(" answers, 3 masters")
        wrong = [line for line in lines.values() if line.startswith("WRONG")]
        assert len(wrong) == 1
        assert wrong[0].startswith(f"WRONG  redis buffers: 127.0.0.1:{servers[2].port}: pubsub 32mb 8mb")


@needs_redis
async def test_behind_a_sentinel_the_master_is_examined(tmp_path: Path) -> None:
    async with redis_with_sentinel(tmp_path) as (url, master, _):
        await master.do("CONFIG", "SET", "maxmemory", "1mb")
        code, lines = await ask(url)
        assert code == 1
        assert "but 200000 rows take up to 90 MB" in lines["redis memory"]
        code, lines = await ask(url.replace("/argus", "/other"))
        assert list(lines)[-1] == "redis"
        assert "the sentinels know no master 'other'" in lines["redis"]


@pytest.mark.parametrize(("version", "is_ok"), [("7.0.15", True), ("10.1", True), ("6.2.14", False), ("6.10", False)])
def test_versions(version: str, is_ok: bool) -> None:
    check = check_version({"redis_version": version})
    assert check.ok is is_ok
    assert version in check.text
    assert is_ok or "install 7.0 or newer" in check.text


def test_a_server_that_does_not_say_its_version_is_none_that_will_do() -> None:
    assert not check_version({}).ok


@pytest.mark.parametrize(
    ("info", "is_ok", "words"),
    [
        ({"maxmemory": 0, "maxmemory_policy": "allkeys-lru", "used_memory": 3e6}, True, "3 MB used, without a limit"),
        ({"maxmemory": 500_000_000, "maxmemory_policy": "noeviction"}, True, "500 MB, and nothing is thrown away"),
        ({"maxmemory": 500_000_000, "maxmemory_policy": "volatile-ttl"}, False, "(volatile-ttl)"),
        ({"maxmemory": 50_000_000, "maxmemory_policy": "noeviction"}, False, "200000 rows take up to 90 MB"),
    ],
)
def test_memory(info: dict[str, Any], is_ok: bool, words: str) -> None:
    check = check_memory(info, 200_000)
    assert check.ok is is_ok
    assert words in check.text


@pytest.mark.parametrize(
    ("limits", "is_ok"),
    [
        ("normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", False),
        ("normal 0 0 0 slave 268435456 67108864 60 pubsub 67108864 33554432 60", True),
        ("normal 1 1 1 slave 268435456 67108864 60 pubsub 0 0 0", True),
        ("pubsub 67108864 8388608 60", False),
        (None, True),
    ],
)
def test_buffers(limits: str | None, is_ok: bool) -> None:
    assert check_buffers(limits).ok is is_ok


@pytest.mark.parametrize(("ahead_s", "words"), [(-60.2, "60 s behind"), (7.9, "8 s ahead of"), (0.3, "as this")])
def test_clocks(ahead_s: float, words: str) -> None:
    check = check_redis_clock(ahead_s)
    assert words in check.text
    assert check.ok is (words == "as this")


@needs_redis
async def test_a_cluster_that_is_none_or_not_there_is_a_line(tmp_path: Path) -> None:
    code, lines = await ask(f"redis+cluster://127.0.0.1:{free_port()}")
    assert code == 1
    assert "no node of the Cluster can be reached" in lines["redis"]
    async with redis_server(tmp_path) as server:
        url = f"redis+cluster://127.0.0.1:{server.port}"
        assert "it is no Cluster" in (await ask(url))[1]["redis"]
        await server.do("CONFIG", "SET", "requirepass", "secret")
        assert "it does not know this user or password, or wants one" in (await ask(url))[1]["redis"]


@needs_redis
async def test_a_database_that_redis_does_not_have_is_a_line_and_not_a_redis_that_is_not_there(tmp_path: Path) -> None:
    async with redis_server(tmp_path) as server:
        code, lines = await ask(f"redis://127.0.0.1:{server.port}/99")
    assert code == 1
    assert "it has no database of that number" in lines["redis"]
    assert "does it run there" not in lines["redis"]
