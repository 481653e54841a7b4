"""The edge's end of the relay: what the feed published is taken in order, and whatever did not come is fetched.

From the streams first, and from the feed's own history when they no longer hold it. Only what that has let go as well
is lost: then this history can't go on, and the edge begins another one that says so.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from time import time
from typing import Final, Protocol

from bridge.relay.backoff import Backoff
from bridge.relay.beginning import ask
from bridge.relay.boundary import Incoming, Relay, RelayAway
from bridge.relay.logreader import Stretch
from bridge.relay.position import Position, TurnId
from bridge.relay.state import Published, Question, State, decode_heard, decode_told
from bridge.relay.turn import MAGIC, MalformedError, Part, decode

SILENCE_S: Final = 3.0
"""The feed tells how it is several times in that time: when nothing comes, something is wrong."""
GRACE_S: Final = 0.05
"""How long parts of a turn may be on their way on different connections before they are taken for lost."""
PAGE: Final = 64
"""Messages of a shard that are read from a stream at once."""
ANSWER_ROWS: Final = 4096
"""Rows that the feed is asked for at once: it takes some 10 ms of its event loop to find them."""

_logger = logging.getLogger("argus.relay")


class Assembling(Protocol):
    """Puts together what comes: `bridge.relay.assembler.Assembler`, or that of an edge of few shards."""

    epoch: str
    position: Position
    applied: TurnId

    @property
    def let_go(self) -> int:
        """Rows that had to be let go because too many waited."""

    @property
    def shards(self) -> Collection[int]:
        """Those that are taken."""

    @property
    def has_hole(self) -> bool:
        """Whether something is known to be missing."""

    def put(self, part: Part) -> None:
        """Take a part that was heard."""

    def put_kept(self, part: Part) -> None:
        """Take a part that a stream has kept."""

    def hear(self, told: State | Published) -> None:
        """Take what the feed tells."""

    def forget(self) -> None:
        """Let go of what waits."""

    def take(self) -> Iterator[Stretch]:
        """What can follow now."""

    def take_answer(self, part: Part) -> Stretch | None:
        """What follows, of an answer."""


class EpochEnded(Exception):  # noqa: N818 (it reads as what happened)
    """The feed has another history, or this one has lost rows: an edge has to begin again.

    ``lost``: rows up to this position were lost on the way, which neither relay nor feed have any more.
    """

    def __init__(self, reason: str, lost: Position | None = None) -> None:
        super().__init__(reason)
        self.lost = lost


class Follower:
    """Follows one epoch.

    Args:
        state: what the feed told last.
        known_at: arrival number of the newest row that the relay has: before that, some topics are not known here.
        on_stretch: given what follows, in order, without a hole, each row and notice once.
        on_state: told how the feed is, each time it says so.
    """

    def __init__(
        self,
        relay: Relay,
        assembler: Assembling,
        state: State,
        known_at: int,
        on_stretch: Callable[[Stretch], None],
        on_state: Callable[[State], None],
    ) -> None:
        self.trouble = "the edge is taking over what the feed has"
        """Why what is served may be old; empty while all is well."""
        self.caught_up = asyncio.Event()
        """Set once everything was here that the feed had published."""
        self.holes = 0
        self.refilled_rows = 0
        self.cut_off = 0
        """How often listening ended by itself."""
        self._relay = relay
        self._assembler = assembler
        self._state = state
        self._known = Position(known_at, 0)
        self._published = max(state.position, self._known)
        self._heard_s = 0.0  # when something came last, epoch s
        self._handed_rows = 0
        self._on_stretch = on_stretch
        self._on_state = on_state

    async def run(self) -> None:
        """Follow without end, whatever happens to the relay. Raises EpochEnded."""
        backoff = Backoff()
        while True:
            try:
                async with self._relay.listen(self._assembler.shards) as incoming:
                    await self._look()
                    await self._refill()
                    backoff.over()
                    self._trouble("")
                    self.caught_up.set()
                    await self._follow(incoming)
            except RelayAway as error:
                self._trouble(f"the relay is away: {error}; {self._silence()}")
            except MalformedError as error:
                self._trouble(f"the relay has something that can't be read: {error}")
            await asyncio.sleep(backoff.pause_s())

    async def _follow(self, incoming: Incoming) -> None:
        """Take what comes, and fetch what should have come: however much else comes meanwhile."""
        assembler, loop = self._assembler, asyncio.get_running_loop()
        stuck_at, due_s = None, 0.0  # where this edge is behind, and when what is missing has had its time
        while True:
            if not self._is_behind():
                stuck_at = None
            elif stuck_at != assembler.position:
                stuck_at, due_s = assembler.position, loop.time() + GRACE_S
            try:
                messages = await incoming.take(SILENCE_S if stuck_at is None else max(0.0, due_s - loop.time()))
            except RelayAway:
                self.cut_off += 1
                raise
            if messages:
                self._take_all(messages)
            elif stuck_at is None:
                await self._listen_to_silence()
                continue
            if not self._is_behind():
                self._trouble("")
            elif stuck_at == assembler.position and loop.time() >= due_s:
                self.holes += 1
                await self._refill()
                stuck_at = None

    def _take_all(self, messages: Sequence[bytes]) -> None:
        self._heard_s = time()
        for message in messages:
            self._take(message)
        for stretch in self._assembler.take():
            self._hand_on(stretch)

    def _hand_on(self, stretch: Stretch) -> None:
        self._on_stretch(stretch)
        self._handed_rows += len(stretch.rows.rows)

    def _is_behind(self) -> bool:
        assembler = self._assembler
        return self._published > assembler.position or assembler.has_hole

    def _take(self, message: bytes) -> None:
        if message.startswith(MAGIC):
            self._take_part(decode(message), self._assembler.put)
            return
        told = decode_heard(message)
        if isinstance(told, State):
            self._take_state(told)
        elif told.epoch == self._assembler.epoch:
            self._assembler.hear(told)

    def _take_part(self, part: Part, put: Callable[[Part], None]) -> None:
        if part.epoch == self._assembler.epoch:
            put(part)
        elif part.turn.token > self._state.token:
            raise EpochEnded(f"another epoch has begun: {part.epoch}")

    def _take_state(self, state: State) -> None:
        if state.token < self._state.token:
            return
        if state.epoch != self._assembler.epoch:
            raise EpochEnded(f"another epoch has begun: {state.epoch}")
        if state.shards != self._state.shards:
            raise EpochEnded(f"the feed spreads topics over {state.shards} shards now")
        self._state = state
        self._published = max(state.position, self._known)
        self._assembler.hear(state)
        self._on_state(state)

    async def _look(self) -> None:
        """Ask the relay what the feed told last."""
        state = decode_told(await self._relay.state())
        if state is not None:
            self._take_state(state)

    async def _listen_to_silence(self) -> None:
        """Nothing has come for some time: either the feed says nothing, or it is not heard."""
        known = self._state
        await self._look()
        if self._state != known:
            raise RelayAway("the feed is not heard, although it publishes")
        self._trouble(f"the feed is away: {self._silence()}")

    def _silence(self) -> str:
        """Since when nothing was heard of the feed, in the time of this machine's zone."""
        if not self._heard_s:
            return "nothing was heard of the feed yet"
        since = datetime.fromtimestamp(self._heard_s, UTC).astimezone()
        return f"nothing was heard of the feed since {since.isoformat(' ', 'seconds')}"

    def _trouble(self, reason: str) -> None:
        if reason != self.trouble:
            self.trouble = reason
            _logger.log(logging.WARNING if reason else logging.INFO, "%s", reason or "this edge has what the feed has")

    # What did not come

    async def _refill(self) -> None:
        """Fetch what the feed has published and what is not here. Returns when there is nothing of the kind."""
        before = self._handed_rows
        await self.refill_from_streams()
        while self._is_behind():
            await self._refill_from_feed()
        fetched = self._handed_rows - before
        self.refilled_rows += fetched
        if fetched:
            _logger.info("%d rows were fetched that did not come by themselves", fetched)

    async def refill_from_streams(self) -> None:
        """Take what the streams have and what is not here yet."""
        relay, assembler = self._relay, self._assembler
        after = dict.fromkeys(assembler.shards, str(assembler.applied) if assembler.applied.token else "")
        while after:
            pages = await asyncio.gather(*(relay.read(shard, turn, PAGE) for shard, turn in after.items()))
            for shard, page in zip(list(after), pages, strict=True):
                for turn, message in page:
                    self._take_part(decode(message), assembler.put_kept)
                    after[shard] = turn
                if len(page) < PAGE:
                    del after[shard]
            for stretch in assembler.take():
                self._hand_on(stretch)
                await asyncio.sleep(0)  # clients are served meanwhile

    async def _refill_from_feed(self) -> None:
        assembler = self._assembler
        answer = await ask(self._relay, Question(assembler.epoch, *assembler.position, most=ANSWER_ROWS))
        if answer is None:
            self._trouble("rows are missing, and the feed does not answer")
            await self._look()
            return
        part = decode(answer)
        if part.epoch != assembler.epoch:
            raise EpochEnded(f"another epoch has begun: {part.epoch}")
        if part.begin > assembler.position:
            raise EpochEnded(
                f"rows are lost: {assembler.position.at} was the last one here, and the feed has none up to "
                f"{part.begin.at} any more",
                lost=part.begin,
            )
        stretch = assembler.take_answer(part)
        if stretch is not None:
            self._hand_on(stretch)
        for more in assembler.take():
            self._hand_on(more)
        if stretch is None and self._is_behind():
            assembler.forget()
            raise RelayAway("the relay tells of rows that the feed does not have")
