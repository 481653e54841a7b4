"""The address of a Redis deployment, and a client for it.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]         one server; rediss:// over TLS
    redis+sentinel://HOST[:PORT],.../SERVICE[/DB]    the master that the sentinels name
    redis+cluster://HOST[:PORT],...                  a Cluster; any of its nodes will do

The last two have a TLS form as well: ``rediss+sentinel://``, ``rediss+cluster://``. With ``?ssl_ca_certs=FILE`` the
servers' certificates are verified by CAs of one's own; see `bridge.redis.tls`.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from bridge.redis.tls import read_files

FORMS: Final = "redis://HOST:PORT/DB, redis+sentinel://HOST:PORT,.../SERVICE or redis+cluster://HOST:PORT,..."
TIMEOUT_S: Final = 3.0
"""How long an answer may take: a Redis that hangs is away. Scripts are done in milliseconds."""

_KINDS: Final = {"": "single", "+sentinel": "sentinel", "+cluster": "cluster"}
_PORTS: Final = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_HOST: Final = re.compile(r"(\[[0-9A-Fa-f:]+\]|[0-9A-Za-z._-]+)(?::(\d{1,5}))?")


@dataclass(frozen=True, slots=True)
class Address:
    """A Redis deployment. ``kind``: single, sentinel or cluster. ``files``: see `bridge.redis.tls`."""

    kind: str
    tls: bool
    hosts: tuple[tuple[str, int], ...]
    user: str | None
    password: str | None = field(repr=False)
    service: str
    db: int
    files: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read an address. Raises ValueError with words for the user, in which no password is."""
        hint = " (in a password, / is written as %2F, # as %23, ? as %3F, % as %25)" if "@" in text else ""
        wrong = ValueError(f"should be a Redis address: {FORMS}{hint}")
        try:
            parts = urlsplit(text)
        except ValueError:
            raise wrong from None
        scheme = re.fullmatch(r"redis(s?)(\+\w+)?", parts.scheme)
        kind = _KINDS.get(scheme[2] or "") if scheme else None
        if scheme is None or kind is None or parts.fragment:
            raise wrong
        credentials, at, hosts = parts.netloc.rpartition("@")
        user, _, password = credentials.partition(":")
        found = [_HOST.fullmatch(host) for host in hosts.split(",")]
        places = tuple((host[1].strip("[]"), int(host[2] or _PORTS[kind])) for host in found if host is not None)
        steps = parts.path.strip("/").split("/") if parts.path.strip("/") else []
        service = steps.pop(0) if kind == "sentinel" and steps else ""
        db = steps.pop(0) if steps and kind != "cluster" else "0"
        is_whole = len(places) == len(found) and all(0 < port < 65536 for _, port in places)
        if not is_whole or steps or not db.isdecimal() or (kind == "sentinel") != bool(service):
            raise wrong
        if kind == "single" and len(places) != 1:
            raise wrong
        secret = unquote(password) if at and password else None
        files = read_files(parts.query, tls=bool(scheme[1]))
        return cls(kind, bool(scheme[1]), places, unquote(user) or None, secret, service, int(db), files)

    def __str__(self) -> str:
        """The address without its password, for logs."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.hosts)
        kind = "" if self.kind == "single" else f"+{self.kind}"
        return f"redis{'s' if self.tls else ''}{kind}://{hosts}" + (f"/{self.service}" if self.service else "")

    def _options(self) -> dict[str, Any]:
        return {
            "username": self.user,
            "password": self.password,
            "ssl": self.tls,
            **dict(self.files),
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": TIMEOUT_S,
            "socket_keepalive": True,
            "protocol": 2,
        }

    def client(self) -> "Redis | RedisCluster":
        """A client that does everything once: whoever calls knows what may be done again."""
        once = Retry(NoBackoff(), 0)
        if self.kind == "cluster":
            nodes = [ClusterNode(host, port) for host, port in self.hosts]
            return RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 1), **self._options())
        if self.kind == "sentinel":
            sentinels = Sentinel(  # type: ignore[no-untyped-call]
                self.hosts,
                sentinel_kwargs={
                    "socket_timeout": TIMEOUT_S,
                    "ssl": self.tls,
                    **dict(self.files),
                    "retry": once,
                    "protocol": 2,
                },
            )
            client: Redis = sentinels.master_for(self.service, db=self.db, retry=once, **self._options())
            return client
        host, port = self.hosts[0]
        return Redis(host=host, port=port, db=self.db, retry=once, **self._options())

    def node(self, host: str, port: int) -> Redis:
        """A client for one server of a Cluster."""
        return Redis(host=host, port=port, retry=Retry(NoBackoff(), 0), **self._options())


async def close(client: "Redis | RedisCluster") -> None:
    """Close a client, and those that it asks for its master."""
    await client.aclose()
    pool = None if isinstance(client, RedisCluster) else client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()
