"""A relay within one process: what the Redis relay promises, in the plainest form. For tests of both its ends."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from time import time

from bridge.relay.boundary import Addition, Head, Refused, RelayAway
from bridge.relay.newest import Newest, after
from bridge.relay.position import TurnId


class _Shard:
    def __init__(self) -> None:
        self.epoch = ""
        self.token = 0
        self.last = ""
        self.stream: dict[TurnId, bytes] = {}
        self.newest: Sequence[Newest] = ()
        self.newest_at = TurnId(0, 0)  # with which turn they were written

    @property
    def head(self) -> Head:
        message = self.stream.get(TurnId.parse(self.last), b"")
        return Head(self.epoch, self.token, self.last, message)


class _Incoming:
    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.has_failed = False
        self._came = asyncio.Event()

    def put(self, message: bytes) -> None:
        self.waiting.append(message)
        self._came.set()

    def fail(self) -> None:
        self.has_failed = True
        self._came.set()

    async def take(self, wait_s: float) -> Sequence[bytes]:
        with suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._came.wait()
        if self.has_failed:
            raise RelayAway("listening has ended")
        self._came.clear()
        taken, self.waiting = self.waiting, []
        return taken


class MemoryRelay:
    """A `bridge.relay.boundary.Relay`.

    Args:
        now_s: epoch seconds.
    """

    def __init__(self, shards: int, now_s: Callable[[], float] = time) -> None:
        self.shards = shards
        self.home = "memory"
        self._now_s = now_s
        self._shards = [_Shard() for _ in range(shards)]
        self._owner, self._token, self._leased_until_s = "", 0, 0.0
        self._state = b""
        self._kept: dict[str, bytes] = {}
        self._listeners: dict[_Incoming, Collection[int]] = {}
        self._wishes: dict[str, tuple[Sequence[str], float]] = {}
        self._questions: deque[tuple[bytes, str]] = deque()
        self._answers: dict[str, bytes] = {}
        self._came = asyncio.Condition()

    async def lease(self, owner: str, lease_ms: int) -> int | None:
        """Become the feed."""
        now_s = self._now_s()
        if self._owner not in ("", owner) and now_s < self._leased_until_s:
            return None
        self._owner, self._leased_until_s = owner, now_s + lease_ms / 1000
        self._token = max(self._token + 1, int(now_s * 1000))
        return self._token

    async def hold(self, owner: str, token: int, lease_ms: int, state: bytes) -> None:
        """Go on being the feed."""
        if (owner, token) != (self._owner, self._token):
            raise Refused("another feed has the lease")
        self._leased_until_s = self._now_s() + lease_ms / 1000
        self._state = state
        self._tell(state, *self._listeners)

    async def homes(self) -> tuple[str, ...]:
        """The name of its history."""
        return (self.home,)

    async def keep(self, owner: str, token: int, kind: str, piece: bytes) -> None:
        """Keep a piece."""
        if (owner, token) != (self._owner, self._token):
            raise Refused("another feed has the lease")
        self._kept[kind] = piece

    async def fence(self, shard: int, token: int, epoch: str) -> Head:
        """Let no older feed write."""
        known = self._known(shard, token)
        head = known.head
        if known.epoch == epoch:
            known.token = token
        return head

    async def begin(self, shard: int, token: int, epoch: str, newest: Sequence[Newest]) -> None:
        """Begin a shard anew."""
        self._known(shard, token)
        fresh = self._shards[shard] = _Shard()
        fresh.epoch, fresh.token = epoch, token
        fresh.newest = newest

    async def append(self, additions: Iterable[Addition]) -> None:
        """Add the parts of a turn."""
        for addition in additions:
            known = self._known(addition.shard, addition.turn.token)
            if known.last == str(addition.turn):
                continue
            if (known.token, known.epoch, known.last) != (addition.turn.token, addition.epoch, addition.previous):
                raise Refused("the shard does not have what came before")
            known.last = str(addition.turn)
            known.stream = {turn: held for turn, held in known.stream.items() if turn >= addition.keep_from}
            known.stream[addition.turn] = addition.message
            if addition.newest is not None:
                known.newest, known.newest_at = addition.newest, addition.turn
            self._tell(addition.message, *(who for who, shards in self._listeners.items() if addition.shard in shards))

    async def confirm(self, published: bytes) -> bool:
        """Tell how far everything is published."""
        partial = [who for who, shards in self._listeners.items() if len(shards) < self.shards]
        self._tell(published, *partial)
        return bool(partial)

    @asynccontextmanager
    async def listen(self, shards: Collection[int]) -> AsyncIterator[_Incoming]:
        """Hear some shards."""
        incoming = _Incoming()
        self._listeners[incoming] = shards
        try:
            yield incoming
        finally:
            del self._listeners[incoming]

    async def state(self) -> bytes:
        """What the feed told last."""
        return self._state

    async def kept(self, kind: str, most: int) -> bytes:
        """A piece, or the beginning of it."""
        return self._kept.get(kind, b"")[:most]

    async def newest(self, shard: int) -> tuple[Head, list[Newest]]:
        """The newest rows of a shard."""
        known = self._shards[shard]
        follow = [message for turn, message in known.stream.items() if turn > known.newest_at]
        return known.head._replace(message=b""), after(known.newest, follow)

    async def read(self, shard: int, after: str, most: int) -> list[tuple[str, bytes]]:
        """Messages of the stream."""
        start = TurnId.parse(after)
        held = [(str(turn), message) for turn, message in self._shards[shard].stream.items() if turn > start]
        return held[:most]

    async def wish(self, edge: str, topics: Sequence[str], lease_ms: int) -> None:
        """Say what an edge wants."""
        self._wishes[edge] = topics, self._now_s() + lease_ms / 1000

    async def wishes(self) -> Mapping[str, Sequence[str]]:
        """What edges want."""
        now_s = self._now_s()
        self._wishes = {edge: wish for edge, wish in self._wishes.items() if wish[1] > now_s}
        return {edge: topics for edge, (topics, _) in self._wishes.items()}

    async def ask(self, question: bytes, answer_to: str, keep_ms: int) -> None:
        """Ask the feed."""
        async with self._came:
            self._questions.append((question, answer_to))
            self._came.notify_all()

    async def asked(self, wait_s: float) -> tuple[bytes, str] | None:
        """The next question."""
        return self._questions.popleft() if await self._wait(lambda: bool(self._questions), wait_s) else None

    async def answer(self, answer_to: str, answer: bytes, keep_ms: int) -> None:
        """Answer a question."""
        async with self._came:
            self._answers[answer_to] = answer
            self._came.notify_all()

    async def answered(self, answer_to: str, wait_s: float) -> bytes | None:
        """The answer."""
        return self._answers.pop(answer_to) if await self._wait(lambda: answer_to in self._answers, wait_s) else None

    async def close(self) -> None:
        """Nothing is held."""

    def _known(self, shard: int, token: int) -> _Shard:
        known = self._shards[shard]
        if known.token > token:
            raise Refused("a newer feed writes")
        return known

    def _tell(self, message: bytes, *listeners: _Incoming) -> None:
        for incoming in listeners:
            incoming.put(message)

    async def _wait(self, condition: Callable[[], bool], wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s), self._came:
                await self._came.wait_for(condition)
        except TimeoutError:
            return False
        return True
