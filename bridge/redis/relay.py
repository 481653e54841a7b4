"""A `bridge.relay.boundary.Relay` over Redis.

Keys carry the relay's name, and a hash tag, so that what one script touches lies on one server of a Cluster:

    {NAME:SHARD}:head     hash: epoch, token, last turn, and the turn with which the newest rows were written
    {NAME:SHARD}:rows     stream of messages, one for each turn that the shard has a part of; its ids are the turns
    {NAME:SHARD}:newest   the newest rows as they were then; what followed is in the stream
    {NAME:SHARD}:live     channel
    {NAME}:confirmed      channel: how far everything is published, for edges of a few shards
    {NAME}:lease :token :state :live :wishes :ends :asks :answers:... :kept:...

Channels are the same in all databases of a server. So they end with its number where that is not 0: :live:1
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

import msgspec
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.exceptions import NoScriptError

from bridge.redis import scripts
from bridge.redis.address import TIMEOUT_S, Address, close
from bridge.redis.line import AnsweredLine, packed
from bridge.redis.listening import Incoming, Listening
from bridge.redis.scripts import Script
from bridge.redis.words import away
from bridge.relay.boundary import Addition, Head, Refused, RelayAway
from bridge.relay.newest import Newest, after, pack, unpack

MOST_QUESTIONS: Final = 1000
WRITE_BYTES: Final = 2**18
"""Parts of a turn travel together up to about so many bytes: each write wakes two other processes."""

_topics: Final = msgspec.msgpack.Decoder(list[str])
_question: Final = msgspec.msgpack.Decoder(tuple[bytes, str])
_Answer = TypeVar("_Answer")


class RedisRelay:
    """The relay of one deployment.

    Args:
        name: several deployments may share a Redis under different names.
    """

    def __init__(self, address: Address, name: str, shards: int) -> None:
        self.shards = shards
        self._address = address
        self._name = name
        self._client: Any = address.client()  # what its calls return is typed for both kinds of decoding at once
        self._line: AnsweredLine | None = None
        database = f":{address.db}" if address.db else ""
        self._live, self._confirmed = f"live{database}", f"confirmed{database}"
        self._publish = "SPUBLISH" if address.kind == "cluster" else "PUBLISH"
        self._append_keys = [self._keys("head", "rows", "newest", self._live, of=shard) for shard in range(shards)]

    async def lease(self, owner: str, lease_ms: int) -> int | None:
        """Become the feed."""
        token = await self._run(scripts.LEASE, self._keys("lease", "token"), owner, lease_ms)
        return None if token is None else int(token)

    async def hold(self, owner: str, token: int, lease_ms: int, state: bytes) -> None:
        """Go on being the feed."""
        keys = self._keys("lease", "state", self._live)
        _expect(await self._run(scripts.HOLD, keys, owner, token, lease_ms, state, self._publish))

    async def homes(self) -> tuple[str, ...]:
        """The replication ids of the servers that have the shards."""
        return await _away(self._homes())

    async def _homes(self) -> tuple[str, ...]:
        client = self._client
        if not isinstance(client, RedisCluster):
            return (_replication_id(await client.info("replication")),)
        await client.initialize()
        nodes = {client.get_node_from_key(self._key("head", shard)): None for shard in range(self.shards)}
        if None in nodes:
            raise RelayAway("no server of the Cluster has some of the shards")
        infos = [await client.info("replication", target_nodes=node) for node in nodes]
        return tuple(map(_replication_id, infos))

    async def keep(self, owner: str, token: int, kind: str, piece: bytes) -> None:
        """Keep a piece."""
        _expect(await self._run(scripts.KEEP, self._keys("lease", f"kept:{kind}"), owner, token, piece))

    async def fence(self, shard: int, token: int, epoch: str) -> Head:
        """Let no older feed write."""
        found = await self._run(scripts.FENCE, self._keys("head", "rows", of=shard), token, epoch)
        if not isinstance(found, list):
            raise Refused("a newer feed writes")
        return Head(found[0].decode(), int(found[1]), found[2].decode(), found[3])

    async def begin(self, shard: int, token: int, epoch: str, newest: Sequence[Newest]) -> None:
        """Begin a shard anew."""
        keys = self._keys("head", "rows", "newest", of=shard)
        _expect(await self._run(scripts.BEGIN, keys, token, epoch, pack(newest)))

    async def append(self, additions: Iterable[Addition]) -> None:
        """Add the parts of a turn, each as soon as it is made."""
        calls = map(self._addition, additions)
        if isinstance(self._client, RedisCluster):
            answers = await _away(asyncio.gather(*(self._run(scripts.APPEND, keys, *values) for keys, values in calls)))
        else:
            answers = await _away(self._quickly(scripts.APPEND, calls))
        for answer in answers:
            _expect(answer)

    async def _quickly(self, script: Script, calls: Iterable[tuple[list[str], tuple[Any, ...]]]) -> list[Any]:
        """Run a script for each of some keys and values, one server having all of them."""
        line, count, held = await self._open_line(), 0, list[bytes]()
        try:
            for count, (keys, values) in enumerate(calls, 1):  # noqa: B007 - it is used
                held.append(packed("EVALSHA", script.sha, len(keys), *keys, *values))
                if sum(map(len, held)) >= WRITE_BYTES:
                    line.send(held)
                    held.clear()
            line.send(held)
            return await line.answers(count, TIMEOUT_S)
        except BaseException:  # what it will say now belongs to nobody
            self._line = None
            await line.close()
            raise

    async def _open_line(self) -> AnsweredLine:
        """The connection for what has to be fast; it knows the scripts."""
        if self._line is not None and not self._line.is_open:
            await self._line.close()
            self._line = None
        if self._line is None:
            line = AnsweredLine()
            await line.open(self._client.connection_pool)
            try:
                for script in (scripts.APPEND, scripts.CONFIRM):
                    line.write("SCRIPT", "LOAD", script.text)
                await line.answers(2, TIMEOUT_S)
            except BaseException:  # also when nobody waits any more: the answer would be taken for another's
                await line.close()
                raise
            self._line = line
        return self._line

    async def confirm(self, published: bytes) -> bool:
        """Tell how far everything is published."""
        keys, values = self._keys(self._confirmed), (published, self._publish)
        if isinstance(self._client, RedisCluster):
            return bool(await self._run(scripts.CONFIRM, keys, *values))
        (answer,) = await _away(self._quickly(scripts.CONFIRM, [(keys, values)]))
        return bool(answer)

    @asynccontextmanager
    async def listen(self, shards: Collection[int]) -> AsyncIterator[Incoming]:
        """Hear some shards."""
        incoming = Incoming()
        async with AsyncExitStack() as stack:
            with away():
                for client, channels in await self._servers(shards):
                    if client is not self._client:
                        stack.push_async_callback(client.aclose)
                    listening = Listening(incoming)
                    stack.push_async_callback(listening.close)
                    async with asyncio.timeout(TIMEOUT_S):
                        await listening.begin(client.connection_pool, channels, sharded=self._publish == "SPUBLISH")
                yield incoming

    async def state(self) -> bytes:
        """What the feed told last."""
        return await _away(self._client.get(self._key("state"))) or b""

    async def kept(self, kind: str, most: int) -> bytes:
        """A piece, or the beginning of it."""
        found: bytes = await _away(self._client.getrange(self._key(f"kept:{kind}"), 0, most - 1))
        return found

    async def newest(self, shard: int) -> tuple[Head, list[Newest]]:
        """The newest rows of a shard."""
        keys = self._keys("head", "newest", "rows", of=shard)
        epoch, token, last, written, follow = await self._run(scripts.NEWEST, keys)
        head = Head(epoch.decode(), int(token), last.decode(), b"")
        return head, after(unpack(written) if written else (), follow)

    async def read(self, shard: int, after: str, most: int) -> list[tuple[str, bytes]]:
        """Messages of the stream."""
        start = f"({after}" if after else "-"
        found = await _away(self._client.xrange(self._key("rows", shard), min=start, count=most))
        return [(turn.decode(), fields[b"m"]) for turn, fields in found]

    async def wish(self, edge: str, topics: Sequence[str], lease_ms: int) -> None:
        """Say what an edge wants."""
        wish = msgspec.msgpack.encode(list(topics))
        await self._run(scripts.WISH, self._keys("wishes", "ends"), edge, wish, lease_ms)

    async def wishes(self) -> Mapping[str, Sequence[str]]:
        """What edges want."""
        found = await self._run(scripts.WISHES, self._keys("wishes", "ends"))
        pairs = zip(found[::2], found[1::2], strict=True)
        return {edge.decode(): _topics.decode(wish) for edge, wish in pairs}

    async def ask(self, question: bytes, answer_to: str, keep_ms: int) -> None:
        """Ask the feed."""
        asked = msgspec.msgpack.encode((question, answer_to))
        await self._run(scripts.POST, self._keys("asks"), asked, keep_ms, MOST_QUESTIONS)

    async def asked(self, wait_s: float) -> tuple[bytes, str] | None:
        """The next question."""
        found = await self._pop(self._key("asks"), wait_s)
        return None if found is None else _question.decode(found)

    async def answer(self, answer_to: str, answer: bytes, keep_ms: int) -> None:
        """Answer a question."""
        await self._run(scripts.POST, [self._key(f"answers:{answer_to}")], answer, keep_ms, 1)

    async def answered(self, answer_to: str, wait_s: float) -> bytes | None:
        """The answer."""
        return await self._pop(self._key(f"answers:{answer_to}"), wait_s)

    async def close(self) -> None:
        """Close all connections."""
        if self._line is not None:
            await self._line.close()
        await close(self._client)

    def _key(self, what: str, shard: int | None = None) -> str:
        return f"{{{self._name}}}:{what}" if shard is None else f"{{{self._name}:{shard}}}:{what}"

    def _keys(self, *what: str, of: int | None = None) -> list[str]:
        return [self._key(one, of) for one in what]

    def _addition(self, addition: Addition) -> tuple[list[str], tuple[Any, ...]]:
        turn = addition.turn
        values = (turn.token, addition.epoch, str(turn), addition.previous, str(addition.keep_from), self._publish)
        newest = () if addition.newest is None else (pack(addition.newest),)
        return self._append_keys[addition.shard], (*values, addition.message, *newest)

    async def _servers(self, shards: Collection[int]) -> list[tuple[Redis, list[str]]]:
        """The servers to listen to, each with its channels."""
        channels = [self._key(self._live), *(self._key(self._live, shard) for shard in shards)]
        if len(shards) < self.shards:
            channels.append(self._key(self._confirmed))
        client = self._client
        if not isinstance(client, RedisCluster):
            return [(client, channels)]
        await client.initialize()
        await client.nodes_manager.initialize()  # a replica may have taken a place since: nothing else asks
        by_node: dict[tuple[str, int], list[str]] = {}
        for channel in channels:
            node = client.get_node_from_key(channel)
            if node is None:
                raise RelayAway(f"no server of the Cluster has {channel}")
            by_node.setdefault((str(node.host), int(node.port)), []).append(channel)
        return [(self._address.node(host, port), own) for (host, port), own in by_node.items()]

    async def _pop(self, key: str, wait_s: float) -> bytes | None:
        """Wait in short turns: the answer to a call that blocks for longer would be taken for lost."""
        found = await _away(self._client.blpop([key], timeout=min(wait_s, TIMEOUT_S / 2)))
        return None if found is None else found[1]

    async def _run(self, script: Script, keys: Sequence[str], *values: Any) -> Any:
        arguments = (len(keys), *keys, *values)

        async def run() -> Any:
            try:
                return await self._client.evalsha(script.sha, *arguments)
            except NoScriptError:
                return await self._client.eval(script.text, *arguments)

        return await _away(run())


async def _away(call: Awaitable[_Answer]) -> _Answer:
    with away():
        return await call


def _replication_id(info: Mapping[str, Any]) -> str:
    return str(info["master_replid"])


def _expect(answer: object) -> None:
    if answer != b"OK":
        raise Refused("Redis has a newer feed, or not what this one published")
