"""Two feeds over a relay that fails, killed, paused and cut off from it at random moments.

Whatever happens, everybody has the same rows under the same numbers, and everything that the feeder was told is stored.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgpack
import pytest

from bridge.relay import answering, beginning, hearing, publisher
from bridge.relay.newest import Newest
from bridge.relay.position import Position
from hub.past import GapNotice
from tests.bridge.support.feeds import LEASE_MS, SHARDS, Feed, Feeder, LosingRelay, Witness, until
from tests.bridge.support.relaying import few, hurry
from tests.hub.support.core import tick

CODES = [f"{600000 + number}.SH" for number in range(12)]
FEW = few("tick:600001.SH", "tick:600007.SH")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are as short as the relay is near, and turns so short that batches are cut by them."""
    hurry(monkeypatch)
    monkeypatch.setattr(beginning, "ANSWER_S", 0.1)
    monkeypatch.setattr(answering, "ASKED_S", 0.02)
    monkeypatch.setattr(hearing, "WISHES_S", 0.01)
    monkeypatch.setattr(publisher, "TURN_ROWS", 5)


class Stage:
    """A relay, two feeds, their feeder, and witnesses: two of everything, one that takes a few shards."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        self.chance = random.Random(seed)
        self.relay = LosingRelay(self.chance)
        self.feeds = [Feed(name, folder / name, self.relay) for name in "ab"]
        self.feeder = Feeder(self.feeds, self.chance)
        self.witnesses: list[Witness] = []

    @property
    def leader(self) -> Feed:
        return next(feed for feed in self.feeds if feed.takes)

    @property
    def other(self) -> Feed:
        return next(feed for feed in self.feeds if feed is not self.leader)

    async def begins(self) -> None:
        """Return when one leads, the other one follows and is known to, and something is stored."""
        for feed in self.feeds:
            feed.start()
        await until(lambda: any(feed.takes for feed in self.feeds))
        await self.stores(3)
        await self.is_seconded()

    async def is_seconded(self) -> None:
        def is_so() -> bool:
            leading = next((feed.leading for feed in self.feeds if feed.takes), None)
            followers = [feed.standby for feed in self.feeds if feed.standby is not None]
            if leading is None or not followers or followers[0]._journal is None:
                return False
            end = leading.publisher._published
            return leading.publisher.hearing.seconded.is_set() and followers[0]._journal.position == end and bool(end)

        await until(is_so)
        beat = self.leader.leading.publisher._beat  # type: ignore[union-attr]
        await until(lambda: self.leader.leading.publisher._beat > beat + 1)  # type: ignore[union-attr]

    async def stores(self, batches: int) -> None:
        for _ in range(batches):
            self.feeder.give(CODES, self.chance.randint(1, 12))
        async with asyncio.timeout(30):
            await self.feeder.all_stored()

    async def is_seen(self) -> None:
        """Return when every witness has what is published now."""
        await self.stores(1)

        def is_so() -> bool:
            leading = next((feed.leading for feed in self.feeds if feed.takes), None)
            if leading is None or self.feeder.newest < len(self.feeder.given):
                self.feeder.work()
                return False
            goal = leading.hub.epoch, leading.hub.history.at
            return all((witness.epoch, witness.at) == goal for witness in self.witnesses)

        await until(is_so)

    def check(self) -> set[str]:
        """No number for two rows, no row under two numbers, nothing acknowledged is missing. Returns the epochs."""
        seen: dict[tuple[str, int], tuple[str, int, bytes]] = {}
        for feed in self.feeds:
            feed.check()
        for witness in self.witnesses:
            witness.check()
            for place, row in witness.seen.items():
                assert seen.setdefault(place, row) == row
                assert witness.share.serves(row[0])
        leading = self.leader.leading
        assert leading is not None
        journalled = dict(leading.journalled())
        assert len(journalled) > 1
        for at, row in journalled.items():
            assert seen.get((leading.hub.epoch, at), row) == row, "its journal has another row under this number"
        numbers = [(epoch, name, seq) for (epoch, _), (name, seq, _) in seen.items()]
        assert len(set(numbers)) == len(numbers)
        rows = [(epoch, name, msgpack.unpackb(row)[2]) for (epoch, _), (name, _, row) in seen.items()]
        assert len(set(rows)) == len(rows)
        given = {(f"tick:{row[0]}", row[1]) for batch in self.feeder.given for row in batch}
        assert {(name, time_ms) for _, name, time_ms in rows} == given
        return {epoch for epoch, _ in seen}


@asynccontextmanager
async def staged(folder: Path, seed: int = 1) -> AsyncIterator[Stage]:
    stage = Stage(folder, seed)
    stage.witnesses = [*(Witness(stage.relay) for _ in range(2)), Witness(stage.relay, FEW)]
    try:
        yield stage
    finally:
        for witness in stage.witnesses:
            await witness.end()
        for feed in stage.feeds:
            if feed._task is not None:
                await feed.kill()


async def test_a_feed_that_is_killed_is_followed_by_the_other_one_in_the_same_epoch(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.begins()
        first = stage.leader
        await first.kill()
        await stage.stores(3)
        assert stage.leader is not first
        first.start()
        await stage.is_seconded()
        await stage.leader.kill()
        await stage.stores(3)
        assert stage.leader is first
        await stage.is_seen()
        assert len(stage.check()) == 1


async def test_a_feed_that_was_paused_discards_what_it_had_not_published(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.begins()
        first = stage.leader
        leading = first.leading
        assert leading is not None
        before = leading.hub.history.at
        first.line.flowing.clear()
        # Numbered just before it was stopped: on its way, and in its journal.
        leading.take(leading.batch + 1, [tick(code, 10**9) for code in CODES])
        assert leading.journal.at == before + len(CODES)
        await until(lambda: any(feed.takes for feed in stage.feeds if feed is not first))
        await stage.stores(2)
        first.line.flowing.set()
        await stage.is_seconded()
        assert first.ousted
        second = stage.leader
        await second.kill()
        await stage.stores(2)
        assert stage.leader is first
        await stage.is_seen()
        assert len(stage.check()) == 1


async def test_a_feed_that_is_behind_leaves_the_lease_to_the_one_that_has_all(tmp_path: Path) -> None:
    """The relay hangs just when a feed comes back that was paused, and it is the first to ask for the lease."""
    async with staged(tmp_path) as stage:
        await stage.begins()
        first = stage.leader
        first.line.flowing.clear()
        await until(lambda: any(feed.takes for feed in stage.feeds if feed is not first))
        second = stage.leader
        await stage.stores(20)  # more than the streams hold
        stage.relay.away = True
        await until(lambda: second.standby)
        second.line.flowing.clear()
        stage.relay.away = False
        first.line.flowing.set()
        await asyncio.sleep(2 * LEASE_MS / 1000)  # the fault itself
        second.line.flowing.set()
        await stage.stores(2)
        assert stage.leader is second
        await stage.is_seen()
        assert len(stage.check()) == 1


@pytest.mark.parametrize("parts", range(SHARDS + 1))
async def test_a_turn_that_was_half_published_by_a_feed_that_died_is_nobody_s(parts: int, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.begins()
        first = stage.leader
        stage.relay.break_off_after = parts
        stage.feeder.give(CODES, 12)
        await until(lambda: stage.relay.away)
        await first.kill()
        stage.relay.away = False
        stage.feeder.given[-1].reverse()  # what comes again is numbered otherwise
        await stage.stores(2)
        assert stage.leader is not first
        await stage.is_seen()
        late = Witness(stage.relay)
        stage.witnesses.append(late)
        await stage.is_seen()
        assert len(stage.check()) == 1


async def test_newest_rows_that_a_feed_had_not_published_when_it_died_are_nobody_s(tmp_path: Path) -> None:
    """They are written with a turn, as they are then: a turn later than the one that was published last."""
    async with staged(tmp_path) as stage:
        await stage.begins()
        await stage.leader.kill()
        shard = stage.relay._shards[1]
        row = msgpack.packb(["600999.SH", 1, 5])
        shard.newest = [*shard.newest, Newest("tick:600999.SH", 10**6, 5, row)]
        await stage.stores(1)
        _, newest = await stage.relay.newest(1)
        assert "tick:600999.SH" not in [one.name for one in newest]
        await stage.is_seen()
        assert len(stage.check()) == 1


async def test_a_relay_that_lost_everything_is_filled_by_the_feed_that_leads(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.begins()
        first = stage.leader
        for _ in range(3):
            stage.relay.flush()
            await stage.stores(2)
            await stage.is_seconded()
        assert stage.leader is first
        await stage.is_seen()
        assert len(stage.check()) == 1


async def test_a_relay_that_was_away_for_longer_than_the_lease_and_lost_everything(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.begins()
        stage.relay.away = True
        await asyncio.sleep(0.4)  # the fault itself
        stage.relay.flush()
        stage.relay.home += "'"
        stage.relay.cut()
        stage.relay.away = False
        await stage.stores(2)
        await stage.is_seen()
        assert len(stage.check()) == 1


async def test_a_feed_that_does_not_know_yet_who_followed_it_lets_that_one_go_on(tmp_path: Path) -> None:
    """It is back, the other one leads, and before it hears of that the relay loses everything: it gets the lease."""
    async with staged(tmp_path) as stage:
        await stage.begins()
        first, second = stage.leader, stage.other
        await stage.is_seen()
        await first.kill()
        first.line.flowing.clear()
        first.start()
        await until(lambda: second.takes)
        await stage.stores(2)
        second.line.flowing.clear()
        stage.relay.flush()
        first.line.flowing.set()
        await until(lambda: stage.relay._owner.startswith(first.name))
        second.line.flowing.set()
        await until(lambda: second.leading is None)  # it has found that another one has the lease
        await until(lambda: second.takes)
        await stage.stores(2)
        await stage.is_seen()
        assert len(stage.check()) == 1


async def test_where_the_newest_may_be_lost_the_feed_that_leads_goes_on(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.begins()
        first = stage.leader
        stage.relay.copy()
        await stage.stores(2)
        stage.relay.fail_over()
        await stage.stores(2)
        assert stage.leader is first
        await stage.is_seen()
        assert len(stage.check()) == 1


@pytest.mark.parametrize("follows", [True, False])
async def test_where_the_newest_may_be_lost_a_feed_that_stood_by_begins_a_new_epoch(
    follows: bool, tmp_path: Path
) -> None:
    """Whether it has more than the relay has now, or just as much: edges have more, or may have."""
    async with staged(tmp_path) as stage:
        await stage.begins()
        first = stage.leader
        await stage.is_seen()
        stage.relay.copy()
        stage.other.line.is_cut = not follows
        if not follows:
            stage.relay.cut()
        await stage.stores(2)
        await stage.is_seen()
        second = stage.other
        await first.kill()
        stage.relay.fail_over()
        second.line.is_cut = False
        await until(lambda: second.takes)
        await stage.is_seen()
        assert len({epoch for witness in stage.witnesses for epoch, _ in witness.seen}) == 2


async def test_what_is_told_of_a_gap_alone_is_followed_and_gone_on_after(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        await stage.begins()
        first, second = stage.leader, stage.other
        assert first.leading is not None
        assert second.standby is not None
        hub, journal = first.leading.hub, second.standby._journal
        hub.announce("tick:*", None, 5)
        hub.flush()
        at = hub.history.at
        await until(lambda: journal is not None and journal.position == Position(at, 1))
        await stage.is_seconded()
        await first.kill()
        await stage.stores(2)
        assert stage.leader is second
        await stage.is_seen()
        assert len(stage.check()) == 1
        assert second.leading is not None
        assert list(second.leading.hub.history.notices(at, at)) == [GapNotice(at, "tick:*", None, 5)]


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_befalls_two_feeds_no_number_is_given_twice_and_nothing_stored_is_lost(
    seed: int, tmp_path: Path
) -> None:
    async with staged(tmp_path, seed) as stage:
        chance, relay = stage.chance, stage.relay
        relay.faulty = 0.05
        await stage.begins()
        dead: list[Feed] = []
        for _ in range(100):
            stage.feeder.give(CODES, chance.randint(1, 12))
            await asyncio.sleep(chance.random() * 0.03)
            feed = chance.choice(stage.feeds)
            match chance.randrange(30):
                case 0 | 1 if feed not in dead:
                    await feed.kill()
                    dead.append(feed)
                case 2 | 3 | 4 | 5 if dead:
                    dead.pop().start()
                case 6 | 7:
                    feed.line.flowing.clear()
                case 8 | 9 | 10:
                    feed.line.flowing.set()
                case 11:
                    feed.line.is_cut = True
                case 12 | 13:
                    feed.line.is_cut = False
                case 14:
                    relay.cut()
                case 15 if chance.random() < 0.2:
                    relay.flush()
                case 16:
                    relay.copy()
                case 18 if (leading := feed.leading) is not None and feed.takes:
                    leading.hub.announce("tick:*", None, None)
                    leading.hub.flush()
                    await asyncio.sleep(0)  # it is published alone, unless something is on its way
                case 17 if relay._copy and chance.random() < 0.2:
                    relay.fail_over()
                case _:
                    pass
            for one in (*stage.witnesses, *stage.feeds):
                one.check()
        relay.faulty = 0.0
        for feed in stage.feeds:
            feed.line.is_cut = False
            feed.line.flowing.set()
        for feed in dead:
            feed.start()
        async with asyncio.timeout(60):
            await stage.feeder.all_stored()
        await stage.is_seen()
        stage.check()
