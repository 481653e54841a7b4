"""What every relay promises, as tests: a class to inherit, with a fixture ``relay`` that gives one with four shards."""

import asyncio
from array import array
from typing import Final

import pytest

from bridge.relay.boundary import Addition, Incoming, Refused, Relay
from bridge.relay.newest import Newest
from bridge.relay.position import Position, TurnId
from bridge.relay.turn import Part, Rows, decode, encode
from hub.past import GapNotice

EPOCH = "00112233445566aa"
OTHER_EPOCH = "ffeeddccbbaa9988"
LEASE_MS = 60_000
PATIENCE_S: Final = 30.0
START = TurnId(0, 0)


def part_of(turn: TurnId, rows: list[tuple[str, int, bytes]], epoch: str = EPOCH) -> bytes:
    """A message: each row with topic, arrival number and bytes."""
    ats = [at for _, at, _ in rows]
    columns = [array("q", column) for column in (ats, ats, [at * 10 for at in ats], ats)]
    held = Rows([name for name, _, _ in rows], *columns, [row for _, _, row in rows])
    begin, end = Position(min(ats, default=1) - 1, 0), Position(max(ats, default=0), 0)
    return encode(Part(0, epoch, turn, begin, end, 1, held, [GapNotice(end.at, "tick:*", None, 5)]))


def addition(
    shard: int,
    turn: TurnId,
    previous: str,
    *rows: tuple[str, int, bytes],
    keep_from: TurnId = START,
    newest: list[Newest] | None = None,
) -> Addition:
    return Addition(shard, EPOCH, turn, previous, keep_from, part_of(turn, list(rows)), newest)


async def take_messages(incoming: Incoming, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        more = await incoming.take(PATIENCE_S)
        assert more, f"only {len(found)} of {count} messages came"
        found += more
    return found


async def lead(relay: Relay, owner: str = "one", epoch: str = EPOCH) -> int:
    """Become the feed, and begin all shards."""
    token = await relay.lease(owner, LEASE_MS)
    assert token is not None
    for shard in range(relay.shards):
        await relay.begin(shard, token, epoch, [])
    return token


class RelayConformance:
    async def test_parts_of_any_size_are_added_and_heard_once_each(self, relay: Relay) -> None:
        """Large ones travel apart, small ones together."""
        token = await lead(relay)
        sizes = {1: [90_000, 300_000, 10, 20], 2: [10, 280_000, 270_000, 30], 3: [1, 2, 3, 4]}
        last = dict.fromkeys(range(4), "")
        async with relay.listen(range(4)) as incoming:
            for number, turn_sizes in sizes.items():
                turn = TurnId(token, number)
                rows = [("tick:a", number * 10 + shard, bytes(size)) for shard, size in enumerate(turn_sizes)]
                await relay.append([addition(shard, turn, last[shard], row) for shard, row in enumerate(rows)])
                last = dict.fromkeys(last, str(turn))
                heard = [decode(message).rows.rows for message in await take_messages(incoming, 4)]
                assert sorted(len(row) for (row,) in heard) == sorted(turn_sizes)
            with pytest.raises(Refused):  # each has its own answer
                await relay.append([addition(0, TurnId(token, 9), "1-1", ("tick:a", 90, b"x"))])
        for shard in last:
            assert [turn for turn, _ in await relay.read(shard, "", 10)] == [f"{token}-{number}" for number in sizes]

    async def test_a_relay_that_is_new_has_nothing(self, relay: Relay) -> None:
        assert await relay.state() == b""
        assert await relay.read(1, "", 10) == []
        head, rows = await relay.newest(1)
        assert (head.epoch, head.last, rows) == ("", "", [])
        assert await relay.wishes() == {}

    async def test_one_feed_at_a_time_and_every_token_is_larger(self, relay: Relay) -> None:
        first = await relay.lease("one", LEASE_MS)
        assert await relay.lease("two", LEASE_MS) is None
        again = await relay.lease("one", LEASE_MS)
        assert first is not None
        assert again is not None
        assert again > first

    async def test_a_lease_that_nobody_holds_on_to_ends(self, relay: Relay) -> None:
        first = await relay.lease("one", 50)
        async with asyncio.timeout(PATIENCE_S):
            while (second := await relay.lease("two", LEASE_MS)) is None:  # noqa: ASYNC110 - nobody tells when it ends
                await asyncio.sleep(0.01)
        assert first is not None
        assert second > first
        with pytest.raises(Refused):
            await relay.hold("one", first, LEASE_MS, b"old")
        assert await relay.state() == b""

    async def test_what_a_feed_tells_is_kept_and_heard(self, relay: Relay) -> None:
        token = await lead(relay)
        async with relay.listen(range(4)) as incoming:
            await relay.hold("one", token, LEASE_MS, b"how it is")
            assert await take_messages(incoming, 1) == [b"how it is"]
        assert await relay.state() == b"how it is"

    async def test_who_listens_waits_no_longer_than_it_says(self, relay: Relay) -> None:
        token = await lead(relay)
        async with relay.listen(range(4)) as incoming:
            assert await incoming.take(0.01) == []
            await relay.hold("one", token, LEASE_MS, b"how it is")
            assert await incoming.take(PATIENCE_S) == [b"how it is"]
            assert await incoming.take(0) == []

    async def test_a_part_is_heard_kept_and_its_newest_rows_are(self, relay: Relay) -> None:
        token = await lead(relay)
        turn = TurnId(token, 1)
        sent = addition(2, turn, "", ("tick:a.SH", 1, b"old"), ("tick:b.SH", 2, b"\0\n\xff"), ("tick:a.SH", 3, b"new"))
        async with relay.listen(range(4)) as incoming:
            await relay.append([sent])
            assert await take_messages(incoming, 1) == [sent.message]
        assert await relay.read(2, "", 10) == [(str(turn), sent.message)]
        head, rows = await relay.newest(2)
        assert (head.epoch, head.token, head.last) == (EPOCH, token, str(turn))
        assert sorted(rows) == [Newest("tick:a.SH", 3, 30, b"new"), Newest("tick:b.SH", 2, 20, b"\0\n\xff")]
        assert await relay.newest(1) == ((EPOCH, token, "", b""), [])

    async def test_who_listens_to_a_few_shards_hears_those_what_is_told_and_what_is_confirmed(
        self, relay: Relay
    ) -> None:
        token = await lead(relay)
        assert not await relay.confirm(b"nobody is there")
        async with relay.listen({1, 3}) as few, relay.listen(range(4)) as every:
            sent = [
                addition(shard, TurnId(token, 1), "", (f"tick:{shard}.SH", shard + 1, b"row")) for shard in range(4)
            ]
            await relay.append(sent)
            assert await relay.confirm(b"confirmed")
            await relay.hold("one", token, LEASE_MS, b"after")
            heard_by_few = await take_messages(few, 4)
            heard = await take_messages(every, 5)
        assert sorted(heard_by_few) == sorted([sent[1].message, sent[3].message, b"confirmed", b"after"])
        assert sorted(heard) == sorted([*(part.message for part in sent), b"after"])
        async with relay.listen(range(4)):
            assert not await relay.confirm(b"nobody is there any more")

    async def test_thousands_of_rows_in_one_part(self, relay: Relay) -> None:
        token = await lead(relay)
        rows = [(f"tick:{at:06}.SH", at, b"row %d" % at) for at in range(1, 5001)]
        await relay.append([addition(0, TurnId(token, 1), "", *rows)])
        _, newest = await relay.newest(0)
        assert sorted(newest) == [Newest(name, at, at * 10, row) for name, at, row in rows]
        await relay.begin(0, token, EPOCH, newest)
        _, again = await relay.newest(0)
        assert sorted(again) == sorted(newest)

    async def test_a_turn_without_rows_carries_its_notices(self, relay: Relay) -> None:
        token = await lead(relay)
        await relay.append([addition(0, TurnId(token, 1), "")])
        [(_, message)] = await relay.read(0, "", 10)
        assert decode(message).notices == [GapNotice(0, "tick:*", None, 5)]

    async def test_what_is_asked_again_is_done_once(self, relay: Relay) -> None:
        token = await lead(relay)
        parts = [addition(shard, TurnId(token, 1), "", (f"tick:{shard}.SH", shard + 1, b"row")) for shard in (0, 1)]
        async with relay.listen(range(4)) as incoming:
            await relay.append(parts[:1])  # the rest did not come through
            await relay.append(parts)
            heard = await take_messages(incoming, 2)
            await relay.hold("one", token, LEASE_MS, b"after")
            heard += await take_messages(incoming, 1)
        assert sorted(heard) == sorted([parts[0].message, parts[1].message, b"after"])
        for shard in (0, 1):
            assert len(await relay.read(shard, "", 10)) == 1

    async def test_a_part_that_does_not_follow_is_refused(self, relay: Relay) -> None:
        token = await lead(relay)
        await relay.append([addition(0, TurnId(token, 1), "", ("tick:a.SH", 1, b"1"))])
        with pytest.raises(Refused):
            await relay.append([addition(0, TurnId(token, 3), f"{token}-2", ("tick:a.SH", 3, b"3"))])
        assert len(await relay.read(0, "", 10)) == 1
        _, newest = await relay.newest(0)
        assert newest == [Newest("tick:a.SH", 1, 10, b"1")]

    async def test_a_stream_is_read_in_steps_and_in_order(self, relay: Relay) -> None:
        token = await lead(relay)
        previous, turns = "", []
        for number in range(1, 13):
            turn = TurnId(token, number)
            await relay.append([addition(3, turn, previous, ("tick:a.SH", number, b"row"))])
            previous = str(turn)
            turns.append(previous)
        first = await relay.read(3, "", 5)
        rest = await relay.read(3, first[-1][0], 100)
        assert [turn for turn, _ in first] == turns[:5]
        assert [turn for turn, _ in rest] == turns[5:]
        assert await relay.read(3, turns[-1], 5) == []

    async def test_a_stream_is_capped(self, relay: Relay) -> None:
        token = await lead(relay)
        previous, big = "", b"x" * 9000  # a node of a stream holds 4 KB: it lets go of whole nodes only
        for number in range(1, 21):
            turn = TurnId(token, number)
            keep_from = TurnId(token, max(1, number - 4))
            await relay.append([addition(0, turn, previous, ("tick:a.SH", number, big), keep_from=keep_from)])
            previous = str(turn)
        held = [turn for turn, _ in await relay.read(0, "", 100)]
        assert held[-5:] == [f"{token}-{number}" for number in range(16, 21)]
        assert len(held) <= 7

    async def test_the_newest_rows_are_those_that_were_written_last_and_what_followed(self, relay: Relay) -> None:
        token = await lead(relay)
        first, second, third = (TurnId(token, number) for number in (1, 2, 3))
        await relay.append([addition(0, first, "", ("tick:a.SH", 1, b"1"), ("tick:b.SH", 2, b"2"))])
        written = [Newest("tick:a.SH", 3, 35, b"3"), Newest("tick:b.SH", 2, 20, b"2"), Newest("tick:c.SH", 9, 90, b"9")]
        await relay.append([addition(0, second, str(first), ("tick:a.SH", 3, b"3"), keep_from=second, newest=written)])
        assert sorted((await relay.newest(0))[1]) == written  # one is ahead of the stream
        rows = ("tick:a.SH", 4, b"4"), ("tick:c.SH", 5, b"5"), ("tick:d.SH", 6, b"6")
        await relay.append([addition(0, third, str(second), *rows, keep_from=second)])
        assert sorted((await relay.newest(0))[1]) == [
            Newest("tick:a.SH", 4, 40, b"4"), written[1], written[2], Newest("tick:d.SH", 6, 60, b"6")
        ]  # fmt: skip

    async def test_a_fenced_feed_changes_nothing(self, relay: Relay) -> None:
        old = await lead(relay)
        await relay.append([addition(0, TurnId(old, 1), "", ("tick:a.SH", 1, b"1"))])
        new = await relay.lease("one", LEASE_MS)
        assert new is not None
        head = await relay.fence(0, new, EPOCH)
        assert (head.epoch, head.last) == (EPOCH, f"{old}-1")
        assert decode(head.message).end == Position(1, 0)
        with pytest.raises(Refused):
            await relay.append([addition(0, TurnId(old, 2), f"{old}-1", ("tick:a.SH", 2, b"old"))])
        with pytest.raises(Refused):
            await relay.fence(0, old, EPOCH)
        with pytest.raises(Refused):
            await relay.begin(0, old, EPOCH, [])
        await relay.append([addition(0, TurnId(new, 1), f"{old}-1", ("tick:a.SH", 2, b"new"))])
        _, newest = await relay.newest(0)
        assert newest == [Newest("tick:a.SH", 2, 20, b"new")]

    async def test_another_epoch_is_not_fenced_and_begins_anew(self, relay: Relay) -> None:
        old = await lead(relay)
        await relay.append([addition(0, TurnId(old, 1), "", ("tick:a.SH", 1, b"1"))])
        new = await relay.lease("one", LEASE_MS)
        assert new is not None
        assert (await relay.fence(0, new, OTHER_EPOCH)).epoch == EPOCH
        await relay.begin(0, new, OTHER_EPOCH, [Newest("tick:b.SH", 7, 70, b"row")])
        assert await relay.read(0, "", 10) == []
        head, rows = await relay.newest(0)
        assert (head.epoch, head.token, head.last) == (OTHER_EPOCH, new, "")
        assert rows == [Newest("tick:b.SH", 7, 70, b"row")]

    async def test_a_piece_is_kept_until_the_next_of_its_kind(self, relay: Relay) -> None:
        assert await relay.kept("words", 100) == b""
        token = await lead(relay)
        large = bytes(range(256)) * 12_000
        await relay.keep("one", token, "words", b"old")
        await relay.keep("one", token, "words", large)
        await relay.keep("one", token, "others", b"\0\xff")
        assert await relay.kept("words", 1 << 30) == large
        assert await relay.kept("words", 16) == large[:16]
        assert await relay.kept("others", 16) == b"\0\xff"

    async def test_only_who_has_the_lease_has_pieces_kept(self, relay: Relay) -> None:
        old = await lead(relay)
        await relay.keep("one", old, "words", b"before")
        new = await lead(relay)
        for owner, token in (("one", old), ("two", new)):
            with pytest.raises(Refused):
                await relay.keep(owner, token, "words", b"after")
        assert await relay.kept("words", 100) == b"before"

    async def test_its_servers_have_histories_with_names_that_stay(self, relay: Relay) -> None:
        homes = await relay.homes()
        assert homes
        assert all(homes)
        await lead(relay)
        assert await relay.homes() == homes

    async def test_wishes_are_those_of_edges_whose_lease_runs(self, relay: Relay) -> None:
        await relay.wish("edge-1", ["tick:*"], LEASE_MS)
        await relay.wish("edge-2", ["tick:a.SH", "tick:b.SH"], LEASE_MS)
        await relay.wish("edge-1", ["tick:c.SH"], LEASE_MS)
        assert dict(await relay.wishes()) == {"edge-1": ["tick:c.SH"], "edge-2": ["tick:a.SH", "tick:b.SH"]}
        await relay.wish("edge-2", ["tick:a.SH"], 1)
        async with asyncio.timeout(PATIENCE_S):
            while len(await relay.wishes()) > 1:  # noqa: ASYNC110 - nobody tells when it ends
                await asyncio.sleep(0.005)
        assert list(await relay.wishes()) == ["edge-1"]

    async def test_questions_are_answered_to_who_asked(self, relay: Relay) -> None:
        assert await relay.asked(0.01) is None
        await relay.ask(b"what?", "me", LEASE_MS)
        await relay.ask(b"where?", "you", LEASE_MS)
        assert await relay.asked(10) == (b"what?", "me")
        assert await relay.asked(10) == (b"where?", "you")
        await relay.answer("you", b"here", LEASE_MS)
        assert await relay.answered("me", 0.01) is None
        assert await relay.answered("you", 10) == b"here"
        assert await relay.answered("you", 0.01) is None
