"""Real Redis servers on loopback, on ports that the system gives: one, one behind sentinels, or a Cluster of three."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.bridge.support.certificates import HOST, Certificates

START_S: Final = 30
"""How long a server may take until the test is given up. Never part of what is asserted."""
SERVICE: Final = "argus"

needs_redis = pytest.mark.skipif(sys.platform == "win32", reason="there is no Redis server for Windows")

RIGHTS: Final = (
    *("-@all", "+@read", "+@write", "+@pubsub", "+@scripting", "+@connection"),
    *("-@dangerous", "+info", "+time", "+cluster|slots"),
)
"""Those that docs/scaling.md asks for."""


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """One server process, which may be killed, frozen and started again on the same port and folder."""

    def __init__(self, folder: Path, *options: str, sentinel: bool = False) -> None:
        self.port = free_port()
        self._folder = folder
        self._options = options
        self._sentinel = sentinel
        self._process: asyncio.subprocess.Process | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def client(self) -> Redis:
        return Redis(port=self.port, socket_timeout=START_S)

    async def start(self) -> None:
        """Start it, and return when it answers."""
        fixed = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--protected-mode", "no")
        if self._sentinel:
            config = self._folder / "sentinel.conf"
            config.write_text(f"port {self.port}\nbind 127.0.0.1\ndir {self._folder}\n", encoding="utf-8")
            command = ["redis-server", str(config), "--sentinel"]
        else:
            command = ["redis-server", *fixed, "--enable-debug-command", "yes", *self._options]
        with (self._folder / "redis.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=subprocess.STDOUT)
        await self.answers()

    async def answers(self) -> None:
        """Return when it answers."""

        async def ping() -> bool:
            async with self.client as client:
                return bool(await client.ping())

        await until(ping)

    async def kill(self) -> None:
        """End it with SIGKILL."""
        assert self._process
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        self._process = None

    def freeze(self) -> None:
        """Stop it where it stands; its connections stay."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process
        self._process.send_signal(signal.SIGCONT)

    async def do(self, *command: Any) -> Any:
        """Carry out one command."""
        async with self.client as client:
            return await client.execute_command(*command)

    async def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            await self.kill()


async def until(condition: Any) -> None:
    """Return when something that is outside of this process and tells nobody has become true."""
    async with asyncio.timeout(START_S):
        while True:
            with suppress(RedisError, OSError):
                if await condition():
                    return
            await asyncio.sleep(0.02)


@asynccontextmanager
async def redis_server(folder: Path, *options: str) -> AsyncIterator[RedisServer]:
    """One server that keeps nothing on disk, unless options say otherwise."""
    server = RedisServer(folder, *(options or ("--save", "", "--appendonly", "no")))
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@asynccontextmanager
async def redis_over_tls(folder: Path, files: Certificates, server: str = "") -> AsyncIterator[tuple[str, RedisServer]]:
    """A server that shows ``server``, and wants to see a certificate of its CA. Gives its host and port for TLS.

    It also listens without TLS, for the test itself.
    """
    shown, place = server or files.server, free_port()
    tls = ("--tls-port", str(place), "--tls-cert-file", shown, "--tls-key-file", shown, "--tls-ca-cert-file", files.ca)
    async with redis_server(folder, "--save", "", "--appendonly", "no", *tls) as running:
        yield f"{HOST}:{place}", running


@asynccontextmanager
async def redis_with_sentinel(folder: Path) -> AsyncIterator[tuple[str, RedisServer, RedisServer]]:
    """A master, its replica, and a sentinel that watches. Gives the address, the master and the replica."""
    async with AsyncExitStack() as stack:
        plain = ("--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0")
        master = await stack.enter_async_context(redis_server(folder / "master", *plain))
        replica_of = ("--replicaof", f"127.0.0.1 {master.port}")
        replica = await stack.enter_async_context(redis_server(folder / "replica", *plain, *replica_of))

        async def is_replicated() -> bool:
            async with replica.client as client:
                return str((await client.info("replication"))["master_link_status"]) == "up"

        await until(is_replicated)
        sentinel = RedisServer(folder / "sentinel", sentinel=True)
        await sentinel.start()
        stack.push_async_callback(sentinel.stop)
        await sentinel.do("SENTINEL", "MONITOR", SERVICE, "127.0.0.1", master.port, 1)
        for name, value in (("down-after-milliseconds", 500), ("failover-timeout", 3000)):
            await sentinel.do("SENTINEL", "SET", SERVICE, name, value)

        async def knows_replica() -> bool:
            return len(await sentinel.do("SENTINEL", "REPLICAS", SERVICE)) == 1

        await until(knows_replica)
        yield f"redis+sentinel://127.0.0.1:{sentinel.port}/{SERVICE}", master, replica


@asynccontextmanager
async def redis_cluster(folder: Path, *, replicas: bool = False) -> AsyncIterator[tuple[str, list[RedisServer]]]:
    """A Cluster of three servers that has all slots. Gives the address and these; ``replicas``: each has one."""
    async with AsyncExitStack() as stack:
        servers: list[RedisServer] = []

        async def start(number: int) -> RedisServer:
            options = ("--save", "", "--appendonly", "no", "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
            bus = ("--repl-diskless-sync-delay", "0", "--cluster-port", str(free_port()))
            return await stack.enter_async_context(redis_server(folder / str(number), *options, *bus))

        for number in range(3):
            servers.append(await start(number))
        nodes = [f"127.0.0.1:{server.port}" for server in servers]
        first = servers[0]
        each = 16384 // 3
        for number, server in enumerate(servers):
            last = 16383 if number == 2 else (number + 1) * each - 1
            await server.do("CLUSTER", "ADDSLOTSRANGE", number * each, last)
            await server.do("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for server in servers[1:]:
            bus_port = server._options[-1]
            await first.do("CLUSTER", "MEET", "127.0.0.1", server.port, bus_port)

        async def is_whole() -> bool:
            states = []
            for server in servers:
                async with server.client as client:
                    found = await client.execute_command("CLUSTER INFO")
                    states.append(found["cluster_state"] == "ok" and int(found["cluster_known_nodes"]) == 3)
            return all(states)

        await until(is_whole)
        everybody = list(servers)
        for number, server in enumerate(servers if replicas else ()):
            replica = await start(3 + number)
            everybody.append(replica)
            await replica.do("CLUSTER", "MEET", "127.0.0.1", server.port, server._options[-1])
            master = await server.do("CLUSTER", "MYID")

            async def may_follow(replica: RedisServer = replica, master: str = master) -> bool:
                return bool(await replica.do("CLUSTER", "REPLICATE", master))  # once it has heard of it

            async def follows(replica: RedisServer = replica) -> bool:
                async with replica.client as client:
                    return bool((await client.info("replication"))["master_link_status"] == "up")

            await until(may_follow)
            await until(follows)

        async def all_know_the_replicas() -> bool:  # nobody votes for one that it does not know as such
            known = [str(await server.do("CLUSTER", "NODES")).count("slave") for server in everybody]
            return known == [len(everybody) - 3] * len(everybody)

        await until(all_know_the_replicas)
        yield "redis+cluster://" + ",".join(nodes), servers
