"""Feeds that stand by and lead, without sockets; their feeder, witnesses of what is published, what befalls them."""

import asyncio
import copy
import random
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import date
from pathlib import Path
from typing import Any, Final

from bridge.delivered import DeliveredRows
from bridge.followedjournal import FollowedJournal
from bridge.intake import Intake
from bridge.publishing import HubPublisher
from bridge.relay.beginning import wait_for_beginning
from bridge.relay.boundary import Ousted, Relay, RelayAway
from bridge.relay.fedmarks import FedMarks, MarkingStore
from bridge.relay.follower import EpochEnded, Follower
from bridge.relay.keeping import Keeping
from bridge.relay.lease import Lease, Taken
from bridge.relay.logreader import Stretch
from bridge.relay.publisher import Publisher
from bridge.relay.record import Record
from bridge.relay.share import Share, whole
from bridge.relay.standby import Standby
from bridge.relay.turn import Fed
from bridge.source import Batch
from hub.core import Hub, SourceInfo
from hub.history import History
from hub.journal import Journal, JournalSettings
from hub.opening import with_journal
from hub.schema import Row
from tests.bridge.support.relaying import SHARDS, FaultyRelay, assembler_of, state_of
from tests.hub.support.core import tick
from tests.hub.test_journal_model import kill

DAY: Final = date(2026, 3, 2)
SETTINGS: Final = JournalSettings(fsync_s=1000.0)
LEASE_MS: Final = 150
RUN: Final = "run"
FAR_MS: Final = 1 << 50


class LosingRelay(FaultyRelay):
    """A relay whose server may be replaced by another one that has not heard of the newest."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(chance)
        self._copy: dict[str, Any] = {}

    def copy(self) -> None:
        """What a replica has from now on."""
        kept = ("_shards", "_owner", "_token", "_leased_until_s", "_state", "_wishes", "_kept")
        self._copy = {name: copy.deepcopy(self.__dict__[name]) for name in kept}

    def fail_over(self) -> None:
        """Go on with what the replica has."""
        self.__dict__.update(self._copy)
        self.home += "'"
        self.cut()


class OwnLine:
    """The line of one process to a relay: it may be cut, and held up."""

    def __init__(self, relay: Relay) -> None:
        self.is_cut = False
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._relay = relay

    @asynccontextmanager
    async def listen(self, shards: Collection[int]) -> AsyncIterator[Any]:
        await self.flowing.wait()
        if self.is_cut:
            raise RelayAway("the line is cut")
        async with self._relay.listen(shards) as incoming:
            yield incoming

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._relay, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*values: Any) -> Any:
            await self.flowing.wait()
            if self.is_cut:
                raise RelayAway("the line is cut")
            return await found(*values)

        return call


class Leading:
    """What a feed is while it leads: a hub, and who publishes for it."""

    def __init__(self, folder: Path, relay: Any, lease: Lease, record: Record, taken: Taken | None) -> None:
        history = History(ring_rows=100_000, ring_bytes=1 << 30)
        opened = with_journal(history, folder, SETTINGS, source="test", run=None, day=DAY, on_append=lambda _: None)
        assert opened.journal is not None
        self.journal: Journal = opened.journal.journal
        self.run, self.batch = opened.run, opened.batch
        self.stored = self.batch if self.run == RUN else 0
        marks = FedMarks(self._store)
        self.hub = Hub(
            epoch=opened.epoch,
            source=SourceInfo("test", simulated=True),
            channels={"tick"},
            history=history,
            universes={},
            on_wants=lambda _: None,
            on_refused=lambda _: None,
            day_start_ms=lambda: 0,
            store=MarkingStore(opened.store, marks, history, Fed(opened.run, opened.batch)),
        )
        self.publisher = Publisher(
            relay,
            history,
            opened.epoch,
            lease=lease,
            keep_rows=60,
            keeping=Keeping(relay),
            state=state_of(opened.epoch),
            on_wishes=lambda _: None,
            marks=marks,
            record=record,
            taken=taken,
        )
        self.hub.on_delivered = self.publisher.wake
        self._intake = Intake(
            HubPublisher(self.hub),
            [],
            lambda _: None,
            past=DeliveredRows(history, opened.run),
            was_mute=lambda *_: False,
            away=False,
            now_ms=lambda: FAR_MS,
        )

    def _store(self, fed: Fed) -> None:
        if fed.run == RUN:
            self.stored = fed.batch

    def journalled(self) -> Iterator[tuple[int, tuple[str, int, bytes]]]:
        """What its journal has, by arrival number."""
        past = self.journal
        at = past.first_at
        while at <= past.at:
            segment = past.load(at)
            assert segment is not None
            for place in range(at - segment.first_at, len(segment.rows)):
                row = segment.rows[place]
                assert row is not None
                yield segment.first_at + place, (segment.topics[place].name, segment.seqs[place], row)
            at = segment.end_at

    def take(self, number: int, rows: list[Row]) -> None:
        """Number a batch, unless it was."""
        if self.run != RUN:
            self.run, self.batch = RUN, 0
            self._intake.begin_run(RUN)
        if number == self.batch + 1:
            self.batch = number
            self._intake.deliver(Batch("tick", rows, 1, number))
            self.hub.flush()


class Feed:
    """A process that stands by and leads. Its folder outlives it."""

    def __init__(self, name: str, folder: Path, relay: Relay) -> None:
        self.name = name
        self.line = OwnLine(relay)
        self.leading: Leading | None = None
        self.standby: Standby | None = None
        self.ousted: list[str] = []
        self.discarded = 0
        self._folder = folder
        self._starts = 0
        self._journal: Journal | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def takes(self) -> bool:
        """Whether a feeder is let in."""
        leading = self.leading
        if leading is None or not self.line.flowing.is_set():
            return False
        return leading.publisher.caught_up.is_set() and leading.publisher.may_number

    def start(self) -> None:
        self._starts += 1
        self._task = asyncio.create_task(self._live(f"{self.name}-{self._starts}"))

    async def kill(self) -> None:
        """End it as SIGKILL does: nothing is closed in order."""
        assert self._task
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self.leading = self.standby = None

    def check(self) -> None:
        """Raise what went wrong."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()

    async def _live(self, owner: str) -> None:
        record, relay = Record(self._folder), self.line
        lease = Lease(relay, owner, LEASE_MS)  # type: ignore[arg-type]  # it has all that a relay has
        folder = self._folder / "journal"
        while True:
            journal = FollowedJournal(folder, SETTINGS, "test", lambda: DAY)
            self.standby = Standby(relay, lease, record, journal, lambda _: None)  # type: ignore[arg-type]
            try:
                taken = await self.standby.run()
            finally:
                kill(journal._journal)
            self.standby = None
            self.leading = Leading(folder, relay, lease, record, taken)
            publishing = asyncio.create_task(self.leading.publisher.run())
            try:
                await publishing
            except Ousted as ousted:
                self.ousted.append(str(ousted))
            finally:
                publishing.cancel()
                try:
                    await asyncio.gather(publishing, return_exceptions=True)
                finally:  # also where it is killed while it waits
                    kill(self.leading.journal)
                    self.leading = None


class Feeder:
    """Gives numbered batches of rows that are all different, and keeps what is not stored."""

    def __init__(self, feeds: list[Feed], chance: random.Random) -> None:
        self.given: list[list[Row]] = []
        self.acknowledged: dict[str, int] = {}
        """By epoch: where another one began, what was stored in the one before is not in it."""
        self._feeds = feeds
        self._chance = chance
        self.newest = 0
        self._at: tuple[Leading, int] | None = None  # who takes, and what was sent to it

    def give(self, codes: list[str], count: int) -> None:
        """One more batch."""
        number = len(self.given) + 1
        self.given.append([tick(code, 1000 * number) for code in self._chance.sample(codes, count)])
        self.work()

    def work(self) -> None:
        """Send what is not sent, to whoever takes it."""
        leading = next((feed.leading for feed in self._feeds if feed.takes), None)
        if leading is None:
            self._at = None
            return
        if self._at is None or self._at[0] is not leading:
            self._at = leading, leading.stored
            known = self.acknowledged.get(leading.hub.epoch, 0)
            assert leading.stored >= known, f"a feed has {leading.stored} batches, {known} were stored"
        _, sent = self._at
        while sent < len(self.given):
            sent += 1
            leading.take(sent, self.given[sent - 1])
        self._at = leading, sent
        self.acknowledged[leading.hub.epoch] = self.newest = leading.stored

    async def all_stored(self) -> None:
        """Return when everything is acknowledged."""
        self.newest = 0
        while self.newest < len(self.given):
            self.work()
            await asyncio.sleep(0.002)


class Witness:
    """An edge that writes down what it is handed: by epoch and arrival number, topic, seq and row.

    Args:
        share: what it takes; None: everything.
    """

    def __init__(self, relay: Relay, share: Share | None = None) -> None:
        self.share = share or whole(relay.shards)
        self.seen: dict[tuple[str, int], tuple[str, int, bytes]] = {}
        self.epoch = ""
        self.at = 0
        self._relay = relay
        self._task = asyncio.create_task(self._live())

    async def _live(self) -> None:
        while True:
            found = await wait_for_beginning(self._relay, self.share, 1_000_000, asyncio.Event())
            assert found is not None
            assembler = assembler_of(self.share, found, self._relay)
            self.epoch, self.at = found.state.epoch, found.position.at
            follower = Follower(self._relay, assembler, found.state, found.known_at, self._take, lambda _: None)
            with suppress(EpochEnded):
                await follower.run()

    def _take(self, stretch: Stretch) -> None:
        rows = stretch.rows
        for name, at, seq, row in zip(rows.names, rows.ats, rows.seqs, rows.rows, strict=True):
            known = self.seen.setdefault((self.epoch, at), (name, seq, row))
            assert known == (name, seq, row), "a number for two rows"
        self.at = stretch.end.at

    def check(self) -> None:
        """Raise what went wrong."""
        if self._task.done():
            self._task.result()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def until(happened: Callable[[], object], patience_s: float = 30) -> None:
    """Return when something is so that nobody tells of."""
    async with asyncio.timeout(patience_s):
        while not happened():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.002)


__all__ = ["SHARDS", "Feed", "Feeder", "LosingRelay", "Witness", "until"]
