"""A feed that does not lead: it follows the one that does, and takes over when nothing is heard of it any more.

What it follows is written to its own journal under the same numbers. So whoever takes over goes on where the other
one ended, in the same epoch, if `bridge.relay.succession` finds that proven.
"""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

from bridge.ending import end
from bridge.followedjournal import FollowedJournal, Gathered
from bridge.relay.assembler import Assembler
from bridge.relay.beginning import as_it_was
from bridge.relay.boundary import Ousted, Refused, Relay, RelayAway
from bridge.relay.follower import EpochEnded, Follower
from bridge.relay.lease import Lease, Taken, take_over
from bridge.relay.logreader import Stretch
from bridge.relay.position import Position
from bridge.relay.record import Record
from bridge.relay.state import Reign, State
from bridge.relay.state import decode as decode_state
from bridge.relay.succession import Unproven, announce, announced, divergence, follows_on
from bridge.relay.turn import MalformedError
from hub.schema import CHANNELS

PATIENCE: Final = 4
"""So many leases are given to the feed that led, where this one could not go on in its epoch anyway."""

_logger = logging.getLogger("argus.relay")


class Standby:
    """One time of standing by, up to the lease.

    Args:
        journal: where it is written what is followed; None: nothing is.
        on_state: told how the feed that leads is.
    """

    def __init__(
        self,
        relay: Relay,
        lease: Lease,
        record: Record,
        journal: FollowedJournal | None,
        on_state: Callable[[State], None],
    ) -> None:
        self.trouble = "the relay was not reached yet"
        """Why this feed does not lead."""
        self.followed_rows = 0
        self._relay = relay
        self._lease = lease
        self._record = record
        self._journal = journal
        self._on_state = on_state
        self._told: State | None = None
        self._silent_since_s = 0.0
        self._has_heard = False
        self._follower: Follower | None = None
        self._following: asyncio.Task[None] | None = None

    async def run(self) -> Taken | None:
        """Return with the lease, when it is time; None with it: a new epoch has to begin. Raises JournalError."""
        every_s = self._lease.lease_s / 8
        self._silent_since_s = monotonic()
        try:
            while True:
                asked_s = monotonic()
                try:
                    if await self._may_lead():
                        is_taken, taken = await self._take()
                        if is_taken:
                            return taken
                    await self._stand_by()
                except RelayAway as error:
                    self._silent_since_s = monotonic()
                    self._trouble(f"the relay is away: {error}")
                except (Refused, Ousted, MalformedError) as error:
                    self._trouble(str(error))
                if monotonic() - asked_s > self._lease.lease_s / 2:  # who does not answer tells nothing by silence
                    self._silent_since_s = monotonic()
                await asyncio.sleep(every_s)
        finally:
            await self._stop()

    def _trouble(self, reason: str) -> None:
        if reason != self.trouble:
            self.trouble = reason
            _logger.warning("%s", reason)

    # Following

    async def _stand_by(self) -> None:
        """Make this feed known, and see to it that what leads is followed."""
        name, words = announce(self._record.kept)
        await self._relay.wish(name, words, self._lease.lease_ms)
        if self._has_heard:
            self._wait_for_the_other()
        following = self._following
        if following is not None and following.done():
            self._following = None
            following.result()
        if self._following is None and self._journal is not None and self._told is not None and self._is_another_s():
            self._following = asyncio.create_task(self._follow(self._journal, self._told))

    def _is_another_s(self) -> bool:
        """Whether another feed was heard since, and not only what this one told last, while it led."""
        return self._has_heard and not (self._told is not None and self._is_own(self._told))

    def _is_own(self, told: State) -> bool:
        """Whether this feed has told it, and none has led since."""
        kept = self._record.kept
        return kept.led and (told.epoch, told.token) == (kept.epoch, kept.token)

    async def _follow(self, journal: FollowedJournal, told: State) -> None:
        """Follow an epoch until it ends, or can't be followed from where this feed is. Raises JournalError."""
        gathered = None if self._goes_on(journal, told) else await self._gather(told)
        if gathered is None and journal.epoch != told.epoch:
            return
        position = journal.position if gathered is None else gathered.position
        known_at = 0 if gathered is None else self._known_at
        assembler = Assembler(told.epoch, position, self._relay.shards)

        def take(stretch: Stretch) -> None:
            nonlocal gathered
            self.followed_rows += len(stretch.rows.rows)
            if gathered is None:
                journal.take(stretch)
                return
            gathered.take(stretch)
            begin_if_whole()

        def begin_if_whole() -> None:
            """Begin the journal once the newest row of every topic is known."""
            nonlocal gathered
            if gathered is not None and gathered.position >= max(Position(known_at, 0), told.position):
                journal.put_aside()  # so that a process that dies in between goes on with nothing
                self._record.follow(told)
                journal.adopt(gathered)
                gathered = None

        def take_state(state: State) -> None:
            if gathered is None:
                place = divergence(self._record.kept, state)
                if place is not None and place < journal.position:
                    raise EpochEnded("another feed went on from an earlier row")
                self._record.follow(state)
                if state.position == journal.position:
                    journal.note(state.estate.fed)

        begin_if_whole()
        take_state(told)
        self._follower = Follower(self._relay, assembler, told, known_at, take, take_state)
        try:
            await self._follower.run()
        except EpochEnded as ended:
            _logger.warning("%s", ended)
            if ended.lost is not None and gathered is None:
                journal.begin()
        except Unproven as error:
            _logger.warning("%s", error)
        except ValueError:  # what came does not fit what is here: only a new beginning mends that
            _logger.exception("the feed that leads can't be followed")
            journal.begin()

    def _goes_on(self, journal: FollowedJournal, told: State) -> bool:
        """Whether the journal goes on in the epoch of the feed that leads; what that numbered otherwise is cut off."""
        if journal.epoch != told.epoch or journal.is_empty:
            return False
        try:
            place = divergence(self._record.kept, told)
        except Unproven as error:
            _logger.warning("%s: the journal is put aside", error)
            return False
        return place is None or journal.cut(place)

    async def _gather(self, told: State) -> Gathered | None:
        """Where to begin with an epoch that is not here; None where the relay does not have all of it now."""
        self._known_at = 0
        topics = {}
        for shard in range(self._relay.shards):
            head, rows = await self._relay.newest(shard)
            if head.epoch != told.epoch:
                return None
            for row in rows:
                self._known_at = max(self._known_at, row.at)
                if row.at <= told.at and row.name.partition(":")[0] in CHANNELS:
                    topics[row.name] = as_it_was(row)
        return Gathered(told.epoch, Position(told.at, 0), topics, fed=told.estate.fed)

    async def _stop(self) -> None:
        if self._following is not None:
            await end([self._following])
        self._following = self._follower = None

    # Taking over

    async def _may_lead(self) -> bool:
        """Whether it is time to ask for the lease."""
        state = decode_state(await self._relay.state())
        if state is not None and state != self._told:
            self._has_heard |= self._told is not None
            self._told = state
            self._on_state(state)
            if self._has_heard:
                self._silent_since_s = monotonic()
        return monotonic() - self._silent_since_s >= self._lease.lease_s * self._patience(state)

    def _patience(self, told: State | None) -> int:
        """How many leases of silence it takes."""
        kept, journal = self._record.kept, self._journal
        if not self._has_heard and (not kept.epoch or (kept.led and (told is None or self._is_own(told)))):
            return 0
        if journal is None or told is None or journal.epoch != told.epoch:
            return PATIENCE
        if journal.position < told.position:  # the other one has what is missing here, and may be back in a moment
            return PATIENCE
        return 1 if kept.led or kept.name in told.estate.others else PATIENCE

    async def _take(self) -> tuple[bool, Taken | None]:
        """Try to take the lease. Returns whether that was done; and None where a new epoch has to begin."""
        journal = self._journal
        epoch, is_empty = ("", True) if journal is None else (journal.epoch, journal.is_empty)
        try:
            taken = await take_over(self._lease, epoch, is_empty, self._record.kept, leads=False)
            if taken is None:
                self._wait_for_the_other()
                return False, None
            await self._stop()
            return True, None if journal is None else await self._fit(journal, taken)
        except Unproven as error:
            if follows_on(self._record.kept, announced(await self._relay.wishes())):
                self._has_heard, self._silent_since_s = True, monotonic()  # it may go on, once this lease is over
                self._wait_for_the_other()
                return False, None
            await self._stop()
            if journal is not None:
                _logger.critical("a new epoch begins: %s", error)
                journal.begin()
            return True, None

    def _wait_for_the_other(self) -> None:
        up_to = "" if self._journal is None else f"; following it up to row {self._journal.position.at}"
        follower = self._follower
        if follower is not None and follower.trouble and not follower.caught_up.is_set():
            up_to += f" ({follower.trouble})"
        trouble = f"another feed has the lease{up_to}"
        if not self.trouble.startswith("another feed has the lease"):
            _logger.info("%s", trouble)
        self.trouble = trouble

    async def _fit(self, journal: FollowedJournal, taken: Taken) -> Taken:
        """Bring the journal to exactly what was published. Raises Unproven."""
        verdict, told = taken.verdict, taken.found.told
        if verdict.end is None or told is None:
            return taken
        if not verdict.succeeds:
            if journal.position < verdict.end:
                raise Unproven("the relay has rows of this epoch that this feed never had: see to its journal")
            return taken
        place = divergence(self._record.kept, told)
        if place is not None and not journal.cut(place):
            raise Unproven("the journal could not be cut to what was published")
        assembler = Assembler(told.epoch, journal.position, self._relay.shards)
        follower = Follower(self._relay, assembler, told, 0, journal.take, lambda _: None)
        await follower.refill_from_streams()
        if journal.position != verdict.end:
            raise Unproven(f"this feed has everything up to {journal.position}, and {verdict.end} was published")
        fill = verdict.fill or await self._has_newer(verdict.end)
        if told.position == journal.position:
            journal.note(told.estate.fed)
        self._record.succeed(told, Reign(taken.token, *verdict.end))
        _logger.warning("this feed goes on after another one, from row %d, in the same epoch", verdict.end.at)
        return taken._replace(verdict=verdict._replace(succeeds=False, fill=fill))

    async def _has_newer(self, end: Position) -> bool:
        """Whether the newest rows have some that were not published yet: they are numbered anew."""
        found = [await self._relay.newest(shard) for shard in range(self._relay.shards)]
        return any(row.at > end.at for _, rows in found for row in rows)
