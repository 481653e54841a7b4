"""The feed's end of the relay: what the hub delivered is published, turn by turn, by whoever holds the lease.

One turn is on its way at a time, and what comes meanwhile travels in the next: so at most one can be half published
when something fails, and whoever leads next can tell by the shards' heads which. Nothing is kept for a relay that is
away: the log is read on from where the relay stands when it is back.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from operator import attrgetter
from time import monotonic
from typing import Final

from msgspec.structs import replace

from bridge.ending import end
from bridge.relay.answering import Answering
from bridge.relay.backoff import Backoff
from bridge.relay.boundary import Addition, Head, Ousted, Refused, Relay, RelayAway
from bridge.relay.fedmarks import FedMarks
from bridge.relay.hearing import Hearing
from bridge.relay.keeping import Keeping
from bridge.relay.lease import Lease, Taken, take_over
from bridge.relay.logreader import Lost, Stretch, position_of, reader_from
from bridge.relay.newest import Newest, Written
from bridge.relay.position import Position, TurnId
from bridge.relay.reach import Reached
from bridge.relay.record import Record
from bridge.relay.state import Estate, Published, State
from bridge.relay.state import encode as encode_state
from bridge.relay.succession import Unproven
from bridge.relay.turn import NOT_FED, Fed, Part, decode, encode_turn, parts_of, shard_of
from hub.history import History
from hub.topic import Topic

TURN_ROWS: Final = 8192
"""Rows that travel in one turn at most: a burst as a whole, and a megabyte or two."""
NOTED_TURNS: Final = 1000
"""So exactly is known which turn is the oldest that the streams have to hold."""

ASK_AGAIN_S: Final = 0.25
"""An edge of few shards that is new has to wait for so long, and for the feed's next word, at the most."""

_logger = logging.getLogger("argus.relay")
_shard_known: Final = attrgetter("shard")


class Publisher:
    """Publishes one history.

    Args:
        lease: what makes it the feed.
        keep_rows: rows that the streams hold, all shards together.
        keeping: what the relay keeps for the edges beside rows.
        state: how the feed is, told several times in each lease.
        on_wishes: given the topics that edges want, when they change.
        marks: what the feeder's batches are.
        record: what is remembered of who led.
        taken: the lease that it has already.
    """

    def __init__(
        self,
        relay: Relay,
        history: History,
        epoch: str,
        *,
        lease: Lease,
        keep_rows: int,
        keeping: Keeping,
        state: Callable[[int, Position], State],
        on_wishes: Callable[[frozenset[str]], None],
        marks: FedMarks,
        record: Record,
        taken: Taken | None = None,
    ) -> None:
        self.trouble = "the relay was not reached yet"
        """Why nothing is published now; empty while all is well."""
        self.published_rows = 0
        self.begun_anew = 0
        """How often the relay had to be filled anew."""
        self.caught_up = asyncio.Event()
        """Set once everything was published that had been delivered before it began."""
        self._relay = relay
        self._history = history
        self._epoch = epoch
        self._lease = lease
        self._keep_rows = keep_rows
        self._keeping = keeping
        self._state = state
        self._answering = Answering(relay, history, epoch, marks, lambda: self._published or Position(0, 0))
        self.hearing = Hearing(relay, record, epoch, 2 * lease.lease_s, on_wishes)
        self._marks = marks
        self._record = record
        self._taken = taken
        self._goal = position_of(history)  # where the history ended when this began
        self._beat = 0
        self._homes: tuple[str, ...] = ()
        self._floor = Position(0, 0)  # edges may have been given rows up to here
        self._woken = asyncio.Event()
        self._last: dict[int, str] = {}  # by shard, the newest turn that it has confirmed
        self._published: Position | None = None  # what all shards have confirmed
        self._has_lost = False  # what follows the streams is no longer held
        self._written = Written(max(1, keep_rows // 4))
        self._reached = Reached(relay.shards)
        self._ask_again_s = 0.0
        self._turns: deque[tuple[TurnId, int]] = deque()  # some of those in the streams, with the rows before them

    @property
    def behind_rows(self) -> int:
        """Delivered rows that are not published yet."""
        return self._history.delivered_at - (self._published.at if self._published is not None else 0)

    def wake(self) -> None:
        """Something was delivered."""
        self._woken.set()

    @property
    def may_number(self) -> bool:
        """Whether no other feed can have taken over. Where none stands by, none can."""
        return self._lease.is_held or not self._record.kept.others

    async def run(self) -> None:
        """Publish for as long as no other feed leads, whatever happens to the relay. Raises Ousted."""
        backoff = Backoff(self._lease.lease_s / 4)
        while True:
            try:
                taken = self._taken or await self._take()
                self._taken = None
                begin = await self._begin(taken)
                self._trouble("")
                backoff.over()
                await self._lead(taken.token, begin)
            except RelayAway as error:
                self._trouble(f"the relay is away: {error}")
            except Refused as error:
                self._trouble(f"the relay has refused what was published: {error}")
            except Ousted:
                raise
            except Exception:  # the last barrier: whatever is wrong here, this hub's own clients are served
                _logger.exception("publishing to the relay has failed")
                self.trouble = "publishing to the relay has failed; the log tells more"
            if not self.may_number:
                raise Ousted(f"the lease has run out, and another feed may lead: {self.trouble}")
            await asyncio.sleep(backoff.pause_s())

    def _trouble(self, reason: str) -> None:
        if reason != self.trouble:
            self.trouble = reason
            _logger.log(logging.WARNING if reason else logging.INFO, "%s", reason or "this feed publishes to the relay")

    # Taking over

    async def _take(self) -> Taken:
        """Take the lease again. Raises Ousted where another feed has it, or may have had it."""
        try:
            is_empty, kept = self._history.at == 0, self._record.kept
            taken = await take_over(self._lease, self._epoch, is_empty, kept, leads=True)
        except Unproven as error:
            raise Ousted(str(error)) from None
        if taken is None:
            raise Ousted("another feed has the lease")
        if taken.verdict.succeeds:
            raise Ousted("another feed has led meanwhile")
        return taken

    async def _begin(self, taken: Taken) -> Position:
        """Find out from where on to publish, and have the relay ready for it."""
        self._record.lead(self._epoch, taken.token)
        heads, (begin, fill, _, half) = taken.found.heads, taken.verdict
        self._homes = taken.found.homes
        # Where the journal has lost what is half published, its numbers come again; some may be given already.
        fill |= half > (self._goal if self._published is None else position_of(self._history))
        if begin is None or fill or self._has_lost or self._has_forgotten(heads):
            had = "another history" if any(head.epoch for head in heads) else "nothing"
            _logger.warning("the relay had %s, or not all of this one, or more: it is filled anew", had)
            return await self._begin_anew(taken.token, begin)
        if begin > position_of(self._history):
            raise Ousted("the relay has rows of this epoch that this feed never had")
        self._last = {shard: head.last for shard, head in enumerate(heads)}
        self._go_on(heads, begin)
        self._written.forget()
        if not self._turns:  # an earlier process filled the streams: nothing of theirs is let go before its time
            self._turns.append((TurnId(0, 0), begin.at))
        self._floor = begin
        return begin

    def _go_on(self, heads: Sequence[Head], begin: Position) -> None:
        """Learn from the newest turn how far the shards have come, unless that is known."""
        newest = max(heads, key=lambda head: TurnId.parse(head.last))
        if begin != self._reached.place and newest.message:
            part = decode(newest.message)
            self._reached.go_on(part.begin, part.reach)
            if begin == part.end:
                self._reached.note([shard for shard, _ in enumerate(heads) if part.shards >> shard & 1], part.end)

    def _has_forgotten(self, heads: Sequence[Head]) -> bool:
        """Whether a shard lacks what it had confirmed."""
        last = self._last
        return any(TurnId.parse(head.last) < TurnId.parse(last.get(shard, "")) for shard, head in enumerate(heads))

    async def _begin_anew(self, token: int, end: Position | None) -> Position:
        """Fill the relay with the newest rows. The streams go on where edges are that heard all; others ask.

        ``end``: up to where everything is published, where that is known.
        """
        position = position_of(self._history)
        begin = self._published or end or Position(max(0, position.at - self._keep_rows), 0)
        rows = {shard: list(self._newest_rows(shard, position.at)) for shard in range(self._relay.shards)}
        await asyncio.gather(*(self._relay.begin(shard, token, self._epoch, own) for shard, own in rows.items()))
        self.begun_anew += 1
        self._has_lost = False
        self._last = dict.fromkeys(rows, "")
        self._written.begin(rows, begin.at)
        self._turns.clear()
        self._floor = position  # the newest rows may be of turns that are yet to be published
        return begin

    # Leading

    async def _lead(self, token: int, begin: Position) -> None:
        """Publish, hold the lease, answer edges and hear their wishes, until one of it fails."""
        self._published = begin
        self._reached.begin(begin)
        await self._keeping.keep(self._lease.owner, token)
        await self._tell(token)  # before anything is published: who takes over has to know who led last
        self._publish_up_to(begin, NOT_FED)
        works = (
            self._publish(token, begin),
            self._hold(token),
            self._keeping.run(self._lease.owner, token),
            self._answering.run(token),
            self.hearing.run(),
        )
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await end(tasks)

    async def _publish(self, token: int, begin: Position) -> None:
        reader, turn = reader_from(self._history, begin), TurnId(token, 0)
        self._woken.set()
        while True:
            await self._woken.wait()
            self._woken.clear()
            try:
                stretch = reader.read(TURN_ROWS)
            except Lost as lost:
                _logger.error("rows up to %d were let go before they could be published", lost.at)
                self._published, self._has_lost = Position(lost.at, 0), True
                raise Refused("rows are missing: the streams must not have a hole") from None
            if stretch is None:
                continue
            if len(stretch.rows.rows) >= TURN_ROWS:  # there is more
                self._woken.set()
            turn = TurnId(token, turn.number + 1)
            self._reached.begin(stretch.begin)  # rows may have been let go before they could be published
            self._note(turn, stretch)
            shards = self._shards_of(stretch.topics)
            parts = parts_of(shards, self._relay.shards, stretch.notices)
            fed = self._marks.at(stretch.end)
            await self._relay.append(self._additions(turn, stretch._replace(fed=fed), shards, parts))
            self._last.update(dict.fromkeys(parts, str(turn)))
            self._reached.note(parts, stretch.end)
            self._publish_up_to(stretch.end, fed)
            self.published_rows += len(stretch.rows.rows)
            await self._confirm(token, stretch.end)

    def _note(self, turn: TurnId, stretch: Stretch) -> None:
        """Note which turns the streams hold: not each that has a row only, which would be one for each row."""
        turns = self._turns
        if not turns or stretch.begin.at - turns[-1][1] >= self._keep_rows // NOTED_TURNS:
            turns.append((turn, stretch.begin.at))
        while len(turns) > 1 and turns[1][1] <= stretch.end.at - self._keep_rows:
            turns.popleft()

    def _publish_up_to(self, position: Position, fed: Fed) -> None:
        """Note what all shards have confirmed."""
        self._published = position
        self._marks.tell(position, fed)
        if position >= self._goal:
            self.caught_up.set()

    async def _confirm(self, token: int, position: Position) -> None:
        """Tell edges of few shards what is published. Where there are none, that is found out now and then only."""
        now_s = monotonic()
        if now_s >= self._ask_again_s:
            published = Published(token, self._epoch, *position, self._reached.now())
            is_heard = await self._relay.confirm(encode_state(published))
            self._ask_again_s = 0.0 if is_heard else now_s + ASK_AGAIN_S

    def _additions(
        self, turn: TurnId, stretch: Stretch, shards: Sequence[int], parts: Sequence[int]
    ) -> Iterator[Addition]:
        """The parts of a turn, made one after the other. With that of the shard that is due go its newest rows."""
        history, keep_from, due = self._history, self._turns[0][0], self._written.due(parts, stretch.end.at)
        begin, end, rows, notices, states, fed, _ = stretch
        whole = Part(0, self._epoch, turn, begin, end, 0, rows, notices, states, fed, reach=self._reached.now())
        for shard, message in encode_turn(whole, shards, parts):
            kept, newest = self._written.keep_from(shard, keep_from), None
            if shard == due and history.at == history.delivered_at:  # else they may not be in the journal yet
                newest = list(self._newest_rows(shard, history.at))
                self._written.note(shard, turn, stretch.end.at)
            yield Addition(shard, self._epoch, turn, self._last[shard], kept, message, newest)

    def _newest_rows(self, shard: int, at: int) -> Iterator[Newest]:
        """The newest row of every topic of a shard that had spoken by then."""
        for topic in self._history.topics:
            if self._shard(topic) == shard and topic.at <= at:
                yield Newest(topic.name, topic.at, topic.newest_time_ms, topic.newest)

    def _shards_of(self, topics: Sequence[Topic]) -> list[int]:
        """The shard of each. A topic knows its own, since it is at hand: to look it up by name would take longer."""
        shards = list(map(_shard_known, topics))
        return list(map(self._shard, topics)) if -1 in shards else shards

    def _shard(self, topic: Topic) -> int:
        if topic.shard < 0:
            topic.shard = shard_of(topic.name, self._relay.shards)
        return topic.shard

    async def _hold(self, token: int) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._lease.lease_s / 4):
                    await self._keeping.confirmed.wait()
            if await self._relay.homes() != self._homes:
                raise Refused("its server is another one, or was started again")
            await self._tell(token)

    async def _tell(self, token: int) -> None:
        """Hold the lease, and tell how this feed is."""
        self._keeping.confirmed.clear()
        self._beat += 1
        kept, published = self._record.kept, self._published or Position(0, 0)
        fed = self._marks.at(published)
        estate = Estate(self._homes, self._floor, kept.name, kept.others, kept.reigns, self._beat, fed)
        state = self._state(token, published)
        state = replace(state, digests=dict(self._keeping.digests), estate=estate, reach=self._reached.now())
        await self._lease.hold(token, encode_state(state))
        self._marks.tell(published, fed)
