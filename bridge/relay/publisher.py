"""The feed's end of the relay: what the hub delivered is published, turn by turn, by whoever holds the lease.

One turn is on its way at a time, and what comes meanwhile travels in the next: so at most one can be half published
when something fails, and whoever leads next can tell by the shards' heads which. Nothing is kept for a relay that is
away: the log is read on from where the relay stands when it is back.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final

from msgspec.structs import replace

from bridge.ending import end
from bridge.relay.backoff import Backoff
from bridge.relay.boundary import Addition, Head, Refused, Relay, RelayAway
from bridge.relay.keeping import Keeping
from bridge.relay.logreader import LogReader, Lost, Stretch, position_of
from bridge.relay.newest import Newest, Written
from bridge.relay.state import State, decode_question
from bridge.relay.state import encode as encode_state
from bridge.relay.turn import MalformedError, Part, Position, TurnId, decode, encode, encode_turn, no_rows, shard_of
from hub.history import History

TURN_ROWS: Final = 8192
"""Rows that travel in one turn at most: a burst as a whole, and a megabyte or two."""
ANSWER_KEEP_MS: Final = 10_000
ASKED_S: Final = 1.0
WISHES_S: Final = 0.5

_logger = logging.getLogger("argus.relay")


class Publisher:
    """Publishes one history.

    Args:
        owner: who this is among feeds: random, of this process.
        lease_ms: after so long without a word another feed may take over.
        keep_rows: rows that the streams hold, all shards together.
        keeping: what the relay keeps for the edges beside rows.
        state: how the feed is, told several times in each lease.
        on_wishes: given the topics that edges want, when they change.
    """

    def __init__(
        self,
        relay: Relay,
        history: History,
        epoch: str,
        *,
        owner: str,
        lease_ms: int,
        keep_rows: int,
        keeping: Keeping,
        state: Callable[[int, Position], State],
        on_wishes: Callable[[frozenset[str]], None],
    ) -> None:
        self.trouble = "the relay was not reached yet"
        """Why nothing is published now; empty while all is well."""
        self.published_rows = 0
        self.begun_anew = 0
        """How often the relay had to be filled anew."""
        self._relay = relay
        self._history = history
        self._epoch = epoch
        self._owner = owner
        self._lease_ms = lease_ms
        self._keep_rows = keep_rows
        self._keeping = keeping
        self._state = state
        self._on_wishes = on_wishes
        self._woken = asyncio.Event()
        self._last: dict[int, str] = {}  # by shard, the newest turn that it has confirmed
        self._published: Position | None = None  # what all shards have confirmed
        self._has_lost = False  # what follows the streams is no longer held
        self._written = Written(max(1, keep_rows // 4))
        self._turns: deque[tuple[TurnId, int]] = deque()  # those in the streams, with the rows before them
        self._shards: dict[str, int] = {}  # by topic
        self._wished: dict[str, tuple[frozenset[str], float]] = {}  # by edge, with when it was heard of last

    @property
    def behind_rows(self) -> int:
        """Delivered rows that are not published yet."""
        return self._history.delivered_at - (self._published.at if self._published is not None else 0)

    def wake(self) -> None:
        """Something was delivered."""
        self._woken.set()

    async def run(self) -> None:
        """Publish without end, whatever happens to the relay."""
        backoff = Backoff()
        while True:
            try:
                token = await self._relay.lease(self._owner, self._lease_ms)
                if token is None:
                    self._trouble("another feed has the lease")
                    await asyncio.sleep(self._lease_ms / 4000)
                    continue
                begin = await self._take_over(token)
                self._trouble("")
                backoff.over()
                await self._lead(token, begin)
            except RelayAway as error:
                self._trouble(f"the relay is away: {error}")
            except Refused as error:
                self._trouble(f"the relay has refused what was published: {error}")
            except Exception:  # the last barrier: whatever is wrong here, this hub's own clients are served
                _logger.exception("publishing to the relay has failed")
                self.trouble = "publishing to the relay has failed; the log tells more"
            await asyncio.sleep(backoff.pause_s())

    def _trouble(self, reason: str) -> None:
        if reason != self.trouble:
            self.trouble = reason
            _logger.log(logging.WARNING if reason else logging.INFO, "%s", reason or "this feed publishes to the relay")

    # Taking over

    async def _take_over(self, token: int) -> Position:
        """Shut older feeds out and find out from where on to publish."""
        shards = range(self._relay.shards)
        heads = await asyncio.gather(*(self._relay.fence(shard, token, self._epoch) for shard in shards))
        begin = None if self._has_lost else self._continuation(heads)
        if begin is None:
            had = "another history" if any(head.epoch for head in heads) else "nothing"
            _logger.warning("the relay had %s, or not all of this one: it is filled anew", had)
            return await self._begin_anew(token)
        if begin > position_of(self._history):
            raise Refused("the relay has rows of this epoch that this feed never had: see to its journal")
        self._last = {shard: head.last for shard, head in enumerate(heads)}
        if not self._turns:  # an earlier process filled the streams: nothing of theirs is let go before its time
            self._turns.append((TurnId(0, 0), begin.at))
            self._written.forget()
        self._published = begin
        return begin

    def _continuation(self, heads: Sequence[Head]) -> Position | None:
        """The position up to which the shards have everything; None where that can't be told."""
        if any(head.epoch != self._epoch for head in heads):
            return None
        newest = max(heads, key=lambda head: TurnId.parse(head.last))
        if not newest.message:
            return None
        try:
            part = decode(newest.message)
        except MalformedError:  # of another version
            return None
        for shard, head in enumerate(heads):
            known = self._last.get(shard, "")
            if TurnId.parse(head.last) < TurnId.parse(known):  # it has forgotten what it had confirmed
                return None
        is_whole = all(head.last == newest.last for shard, head in enumerate(heads) if part.shards >> shard & 1)
        return part.end if is_whole else part.begin

    async def _begin_anew(self, token: int) -> Position:
        """Fill the relay with the newest rows. The streams go on where edges are that heard all; others ask."""
        position = position_of(self._history)
        begin = self._published or Position(max(0, position.at - self._keep_rows), 0)
        rows = {shard: list(self._newest_rows(shard, position.at)) for shard in range(self._relay.shards)}
        await asyncio.gather(*(self._relay.begin(shard, token, self._epoch, own) for shard, own in rows.items()))
        self.begun_anew += 1
        self._has_lost = False
        self._last = dict.fromkeys(rows, "")
        self._written.begin(rows, begin.at)
        self._turns.clear()
        return begin

    # Leading

    async def _lead(self, token: int, begin: Position) -> None:
        """Publish, hold the lease, answer edges and hear their wishes, until one of it fails."""
        await self._keeping.keep(self._owner, token)
        works = (
            self._publish(token, begin),
            self._hold(token),
            self._keeping.run(self._owner, token),
            self._answer(token),
            self._hear_wishes(),
        )
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(tasks)

    async def _publish(self, token: int, begin: Position) -> None:
        reader, turn = self._reader(begin), TurnId(token, 0)
        self._published = begin
        while True:
            self._woken.clear()
            try:
                stretch = reader.read(TURN_ROWS)
            except Lost as lost:
                _logger.error("rows up to %d were let go before they could be published", lost.at)
                self._published, self._has_lost = Position(lost.at, 0), True
                raise Refused("rows are missing: the streams must not have a hole") from None
            if stretch is None:
                await self._woken.wait()
                continue
            turn = TurnId(token, turn.number + 1)
            self._turns.append((turn, stretch.begin.at))
            while stretch.end.at - self._turns[0][1] > self._keep_rows and len(self._turns) > 1:
                self._turns.popleft()
            additions = list(self._additions(turn, stretch))
            await self._relay.append(additions)
            self._last.update((addition.shard, str(turn)) for addition in additions)
            for addition in additions:
                if addition.newest is not None:
                    self._written.note(addition.shard, turn, stretch.end.at)
            self._published = stretch.end
            self.published_rows += len(stretch.rows.rows)

    def _additions(self, turn: TurnId, stretch: Stretch) -> Iterator[Addition]:
        """The parts of a turn. Of one shard, if it is time, the newest rows go with it."""
        shards = self._shards_of(stretch.rows.names)
        history, keep_from = self._history, self._turns[0][0]
        is_settled = history.at == history.delivered_at  # else the newest row of a topic may not be written yet
        due = self._written.due(set(shards) or {0}, stretch.end.at) if is_settled else None
        whole = Part(0, self._epoch, turn, stretch.begin, stretch.end, 0, stretch.rows, stretch.notices, stretch.states)
        for shard, message in encode_turn(whole, shards):
            newest = list(self._newest_rows(shard, history.at)) if shard == due else None
            kept = self._written.keep_from(shard, keep_from)
            yield Addition(shard, self._epoch, turn, self._last[shard], kept, message, newest)

    def _newest_rows(self, shard: int, at: int) -> Iterator[Newest]:
        """The newest row of every topic of a shard that had spoken by then."""
        for topic in self._history.topics:
            if self._shard(topic.name) == shard and topic.at <= at:
                yield Newest(topic.name, topic.at, topic.newest_time_ms, topic.newest)

    def _reader(self, begin: Position) -> LogReader:
        try:
            return LogReader(self._history, begin)
        except Lost as lost:
            return LogReader(self._history, Position(lost.at, 0))

    def _shards_of(self, names: Sequence[str]) -> list[int]:
        try:
            return list(map(self._shards.__getitem__, names))
        except KeyError:
            return list(map(self._shard, names))

    def _shard(self, name: str) -> int:
        shard = self._shards.get(name)
        if shard is None:
            shard = self._shards[name] = shard_of(name, self._relay.shards)
        return shard

    async def _hold(self, token: int) -> None:
        while True:
            self._keeping.confirmed.clear()
            state = self._state(token, self._published or Position(0, 0))
            state = replace(state, digests=dict(self._keeping.digests))
            await self._relay.hold(self._owner, token, self._lease_ms, encode_state(state))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease_ms / 4000):
                    await self._keeping.confirmed.wait()

    async def _answer(self, token: int) -> None:
        while True:
            asked = await self._relay.asked(ASKED_S)
            if asked is None:
                continue
            question, answer_to = decode_question(asked[0]), asked[1]
            answer = self._after(token, Position(question.at, question.told), question.most)
            await self._relay.answer(answer_to, answer, ANSWER_KEEP_MS)

    def _after(self, token: int, position: Position, most: int) -> bytes:
        """What follows a position, or the oldest that is held; as a part of a turn that was never published."""
        reader = self._reader(position)
        while True:
            try:
                stretch = reader.read(most)
            except Lost as lost:
                reader = self._reader(Position(lost.at, 0))
                continue
            turn = TurnId(token, 0)
            if stretch is None:
                here = position_of(self._history)
                return encode(Part(0, self._epoch, turn, here, here, 0, no_rows(), []))
            begin, end, rows, notices, states = stretch
            return encode(Part(0, self._epoch, turn, begin, end, 0, rows, notices, states))

    async def _hear_wishes(self) -> None:
        loop, told = asyncio.get_running_loop(), None
        while True:
            wishes = await self._relay.wishes()
            wanted = self._unite(wishes, loop.time())
            if wanted != told:
                told = wanted
                self._on_wishes(wanted)
            await asyncio.sleep(WISHES_S)

    def _unite(self, wishes: Mapping[str, Sequence[str]], now_s: float) -> frozenset[str]:
        """What edges want. One that is missing gets time to say it again: the relay may have forgotten."""
        self._wished.update((edge, (frozenset(topics), now_s)) for edge, topics in wishes.items())
        grace_s = 2 * self._lease_ms / 1000
        self._wished = {edge: wish for edge, wish in self._wished.items() if now_s - wish[1] <= grace_s}
        return frozenset().union(*(topics for topics, _ in self._wished.values()))
