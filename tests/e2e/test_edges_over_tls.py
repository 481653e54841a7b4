"""A feed and an edge reach Redis over TLS as a user, and say what is wrong where they are not let in; no secret."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.bridge.support.certificates import Certificates
from tests.bridge.support.redis_servers import RIGHTS, needs_redis, redis_over_tls
from tests.e2e.support.hub_process import HubProcess, run_to_its_end, running_hub
from tests.e2e.support.plain_client import plain_client

pytestmark = needs_redis

PASSWORD: Final = "s3cret/#?@%:"  # noqa: S105 - of nobody
SECRETS: Final = (PASSWORD, quote(PASSWORD, safe=""))


@pytest.fixture
def files(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path / "tls")


@pytest_asyncio.fixture
async def place(files: Certificates, tmp_path: Path) -> AsyncIterator[str]:
    async with redis_over_tls(tmp_path / "redis", files) as (place, server):
        await server.do("ACL", "SETUSER", "argus", "on", f">{PASSWORD}", "~{argus*", "&{argus*", *RIGHTS)
        yield place


def address_of(place: str, files: Certificates, ca: str, password: str = PASSWORD) -> dict[str, str]:
    query = f"ssl_ca_certs={ca}&ssl_certfile={files.client}"
    return {"ARGUS_REDIS": f"rediss://argus:{quote(password, safe='')}@{place}/0?{query}"}


async def logged(hub: HubProcess, words: str) -> str:
    """What a hub has logged, as soon as some words are in it."""
    async with asyncio.timeout(60):
        while words not in (log := hub.log()):  # noqa: ASYNC110 - it is a file
            await asyncio.sleep(0.02)
    return log


async def test_rows_travel_over_tls_and_no_password_is_to_be_seen(
    place: str, files: Certificates, tmp_path: Path
) -> None:
    variables = address_of(place, files, files.ca)
    log_files = [tmp_path / "feed.log", tmp_path / "edge.log"]
    with (
        running_hub("--role", "feed", "--symbols", "5", log_file=log_files[0], variables=variables) as feed,
        running_hub("--role", "edge", log_file=log_files[1], variables=variables) as edge,
    ):
        async with plain_client(edge.ws_url) as client:
            await client.send(op="subscribe", topics=["tick:*"])
            assert len((await client.data(5))[0].rows[0]) > 10
        for hub in (feed, edge):
            command = await asyncio.to_thread(Path(f"/proc/{hub.pid}/cmdline").read_text, "utf-8")
            assert not any(secret in command or secret in hub.log() for secret in SECRETS)


@pytest.mark.parametrize("wrong", ["certificate", "password"])
async def test_what_is_wrong_is_logged_in_a_line_without_the_password(
    wrong: str, place: str, files: Certificates, tmp_path: Path
) -> None:
    if wrong == "certificate":
        variables, words = address_of(place, files, files.other_ca), "its certificate is not trusted"
    else:
        variables, words = address_of(place, files, files.ca, PASSWORD + "x"), "does not know this user or password"
    with running_hub("--role", "feed", "--symbols", "5", log_file=tmp_path / "feed.log", variables=variables) as feed:
        log = await logged(feed, words)
        assert f"the relay is away: its {wrong}" in log or f"the relay is away: it {words}" in log
        assert words in feed.get("/readyz").body
    assert "Traceback" not in log
    assert not any(secret in log for secret in SECRETS)


def test_a_file_that_can_t_be_used_and_a_password_among_the_options_end_the_start(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere.pem"
    ended = run_to_its_end("--role", "edge", "--redis", f"rediss://127.0.0.1?ssl_ca_certs={nowhere}")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert f"redis names a file that can't be used: ssl_ca_certs={nowhere}: No such file" in ended.stderr
    ended = run_to_its_end("--role", "edge", "--redis", f"redis://:{PASSWORD}@127.0.0.1")
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "use ARGUS_REDIS or the file" in ended.stderr
    assert PASSWORD not in ended.stderr
