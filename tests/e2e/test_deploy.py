"""What `deploy/` describes, as far as that goes without containers: settings, Redis' options, HAProxy before edges."""

import asyncio
import csv
import os
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from bridge.check import Check
from bridge.doctor import examine
from hub.config import load
from tests.bridge.support.redis_servers import free_port, needs_redis, redis_server
from tests.e2e.support.deployment import deployment
from tests.e2e.support.hub_process import REPOSITORY, HubProcess
from tests.e2e.support.plain_client import plain_client
from tests.e2e.support.scripted_feeder import TEN_MS

pytestmark = needs_redis

FOLDER: Final = REPOSITORY / "deploy"
TOKEN: Final = "Pq7-xkW2_mLd93ZsYt0b"  # noqa: S105 - of nobody
SERVICES: Final[dict[str, Any]] = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))["services"]
HUBS: Final = [name for name, service in SERVICES.items() if service["image"] == "argus-hub"]


def started(name: str) -> tuple[list[str], dict[str, str]]:
    """Options and variables with which a service of the hub is started."""
    dockerfile = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    entry = re.search(r'^ENTRYPOINT \["python", "run_hub.py", (.*)\]$', dockerfile, re.MULTILINE)
    assert entry
    options = [*re.findall(r'"([^"]*)"', entry[1]), *SERVICES[name]["command"]]
    environment = SERVICES[name]["environment"].items()
    given = {key: re.sub(r"\$\{ARGUS_TOKEN:\?.*\}", TOKEN, value) for key, value in environment}
    return options, given


def test_every_hub_of_the_deployment_has_valid_settings() -> None:
    found = {name: load(*started(name)) for name in HUBS}
    assert [found[name].role for name in HUBS] == ["feed", "edge", "edge", "edge"]
    for name, settings in found.items():
        assert (settings.access_token, settings.port) == (TOKEN, 8765)
        assert settings.redis == "redis://redis:6379/0"
        assert SERVICES[name]["ulimits"]["nofile"] > settings.max_clients
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > settings.drain_s


def test_all_that_the_services_name_is_there() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", ())) <= SERVICES.keys()
    dockerfile = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    copied = [word for line in re.findall(r"^COPY (.*) \S+$", dockerfile, re.MULTILINE) for word in line.split()]
    assert {"hub", "bridge", "run_hub.py"} <= set(copied)
    assert all((REPOSITORY / word).exists() for word in copied)
    config = (FOLDER / "haproxy.cfg").read_text(encoding="utf-8")
    edges = set(re.findall(r"server \S+ (\S+):8765", config))
    assert edges == {name for name in HUBS if name.startswith("edge")}
    maxconn = re.search(r"maxconn (\d+)", config)
    assert maxconn
    assert SERVICES["balancer"]["ulimits"]["nofile"] > 2 * int(maxconn[1])


async def test_the_doctor_has_nothing_to_say_against_its_redis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.doctor.check_clock", lambda: Check("clock", True, "+3 ms"))
    program, *options = SERVICES["redis"]["command"]
    assert program == "redis-server"
    async with redis_server(tmp_path, *options) as server:
        lines: list[str] = []
        argv = ["--doctor", "--role", "edge", "--port", "0"]
        code = await asyncio.to_thread(examine, argv, {"ARGUS_REDIS": server.url}, lines.append)
        assert (code, lines[-1]) == (0, "all is well")
        assert await server.do("CONFIG", "GET", "save") == {b"save": b""}


class Balancer:
    """HAProxy as it is deployed, but before these edges, on a port of its own and for fewer clients."""

    def __init__(self, folder: Path, edges: list[HubProcess]) -> None:
        self.port = free_port()
        self._folder = folder
        self._stats_port = free_port()
        places = {f"edge-{number}:8765": f"127.0.0.1:{edge.port}" for number, edge in enumerate(edges, 1)}
        changes = {
            "maxconn 60000": f"maxconn 100\n    stats socket ipv4@127.0.0.1:{self._stats_port}",
            "bind :8765": f"bind 127.0.0.1:{self.port}",
            " resolvers docker init-addr none": "",
            **places,
        }
        config = (FOLDER / "haproxy.cfg").read_text(encoding="utf-8").partition("resolvers docker\n")[0]
        for before, after in changes.items():
            assert before in config
            config = config.replace(before, after)
        (folder / "haproxy.cfg").write_text(config, encoding="utf-8")

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Balancer"]:
        program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
        assert program, "haproxy is missing: `make test` installs it; on Debian and Ubuntu: apt-get install haproxy"
        file, log_file = self._folder / "haproxy.cfg", self._folder / "haproxy.log"
        with log_file.open("wb") as log:
            process = await asyncio.create_subprocess_exec(program, "-db", "-f", str(file), stdout=log, stderr=log)
        try:
            yield self
        except BaseException as error:
            error.add_note(log_file.read_text(encoding="utf-8"))
            raise
        finally:
            process.kill()
            await process.wait()

    async def sees(self, **ups: int) -> None:
        """Return when it takes so many servers of each backend for usable."""
        async with asyncio.timeout(60):
            while True:
                with suppress(OSError):
                    if await self._ups() == ups:
                        return
                await asyncio.sleep(0.1)

    async def _ups(self) -> dict[str, int]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._stats_port)
        writer.write(b"show stat\n")
        lines = (await reader.read()).decode().removeprefix("# ").splitlines()
        writer.close()
        found = [row for row in csv.DictReader(lines) if row["svname"].startswith("edge-")]
        ups = dict.fromkeys((row["pxname"] for row in found), 0)
        for row in found:
            ups[row["pxname"]] += row["status"].startswith("UP")  # and with "1/2" behind it on its way down
        return ups


async def test_the_balancer_brings_clients_to_edges_whether_what_they_have_is_fresh_or_not(tmp_path: Path) -> None:
    async with deployment(tmp_path) as d:
        await d.start_feed("--source", "feed")
        edges = [await d.start_edge() for _ in range(3)]
        await (await d.feeder()).feed_ticks(["600000.SH"], rounds=3)
        async with Balancer(tmp_path, edges).running() as balancer:
            await balancer.sees(edges=3, living=3)
            for _ in range(4):
                await replayed(balancer.url)
            await d.kill(edges[0])
            await d.kill(d.feed)
            await balancer.sees(edges=0, living=2)
            for _ in range(4):
                await replayed(balancer.url)


async def replayed(url: str) -> None:
    """What a client that comes now is given."""
    async with plain_client(url) as client:
        await client.send(op="replay", id=1, topics=["tick:*"], **{"from": 0, "to": 2 * TEN_MS})
        assert (await client.control("replay_done"))["count"] == 3
