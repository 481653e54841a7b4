"""Replays: they reach back through the journal, end with what can be verified, and never delay what is live."""

import asyncio
import time
from pathlib import Path
from typing import Any, Final

from tests.e2e.support.fed_hub import FedHub, fed_hub
from tests.e2e.support.plain_client import PATIENCE_S, Control, Data, Message, PlainClient, Row
from tests.e2e.support.scripted_feeder import TEN_MS, tick

CODES: Final = [f"{600000 + number}.SH" for number in range(100)]
CODE: Final = CODES[0]
SMALL_MEMORY: Final = ("--ring-bytes", str(2**22), "--ring-rows", "20")


class Replays:
    """The answers to several replays on one connection, each by its id; rows without an id are live."""

    def __init__(self) -> None:
        self.rows: dict[Any, list[Row]] = {}
        self.gaps: dict[Any, list[Control]] = {}
        self.done: dict[Any, Control] = {}
        self.said: list[Control] = []

    def take(self, message: Message) -> None:
        if isinstance(message, Data):
            assert message.origin == ("live" if message.id is None else "replay")
            assert message.id not in self.done, "rows came after the end of their replay"
            self.rows.setdefault(message.id, []).extend(message.rows)
        elif message["type"] == "gap":
            self.gaps.setdefault(message["id"], []).append(message)
        elif message["type"] == "replay_done":
            self.done[message["id"]] = message
        elif message["type"] != "heartbeat":
            self.said.append(message)

    async def read_until_done(self, client: PlainClient, *ids: Any) -> None:
        while any(one not in self.done for one in ids):
            self.take(await client.receive())

    def verify(self, one: Any, expected: list[Row]) -> None:
        """A replay gave exactly these rows, and its end says so."""
        assert self.rows.get(one, []) == expected
        assert one not in self.gaps
        bounds: dict[str, dict[str, int]] = {}
        for code, seq, *_ in expected:
            bounds.setdefault(f"tick:{code}", {"first": seq, "last": seq})["last"] = seq
        done = self.done[one]
        assert (done["count"], done["complete"], done["topics"]) == (len(expected), True, bounds)


async def replay(client: PlainClient, request_id: int, **fields: Any) -> None:
    await client.send("replay", id=request_id, **{"topics": ["tick:*"]} | fields)


async def test_times_that_lie_in_the_journal_only_are_replayed_whole_also_after_a_restart(tmp_path: Path) -> None:
    async with fed_hub(tmp_path, *SMALL_MEMORY) as fed:
        await fed.feeder.feed_ticks(CODES, rounds=300)
        async with asyncio.timeout(PATIENCE_S):
            while fed.hub.figure("argus_rows_evicted_total") <= 25_000:  # noqa: ASYNC110 - they go later, untold
                await asyncio.sleep(0.05)
        rows = fed.given.rows
        begin, end = rows[2_000][2], rows[9_000][2]
        expected = [row for row in rows if begin <= row[2] < end]
        assert 5_000 < len(expected) < 10_000
        for restarted in (False, True):
            if restarted:
                await fed.kill()
                await fed.start()
            async with fed.client(encoding="msgpack") as client:
                replays = Replays()
                await replay(client, 1, **{"from": begin, "to": end})
                await replay(client, 2, topics=[f"tick:{CODE}"], **{"from": {"seq": 21}, "to": {"seq": 40}})
                await replay(client, 3, topics=["tick:60000*.SH"], to=begin)
                await replay(client, 4, **{"from": end, "to": end})
                await replays.read_until_done(client, 1, 2, 3, 4)
            replays.verify(1, expected)
            replays.verify(2, [row for row in rows if row[0] == CODE and 21 <= row[1] < 40])
            replays.verify(3, [row for row in rows if row[0] < "600010.SH" and row[2] < begin])
            replays.verify(4, [])


async def test_one_of_several_replays_is_cancelled_and_the_others_end_whole(tmp_path: Path) -> None:
    async with fed_hub(tmp_path, *SMALL_MEMORY) as fed:
        await fed.feeder.feed_ticks(CODES, rounds=150)
        async with fed.client(encoding="msgpack") as client:
            replays = Replays()
            for one in (1, 2, 3):
                await replay(client, one)
            await replay(client, 4, speed=1e-9)  # its first row, and the next in years
            while not all(replays.rows.get(one) for one in (1, 2, 3, 4)):
                replays.take(await client.receive())
            await client.send("cancel", id="enough", replay=2)
            await client.send("cancel", id="late", replay=4)
            while len(replays.said) < 2:
                replays.take(await client.receive())
            cancelled = {one: len(replays.rows[one]) for one in (2, 4)}
            await replays.read_until_done(client, 1, 3)
    assert replays.said == [{"type": "cancelled", "id": "enough"}, {"type": "cancelled", "id": "late"}]
    assert {one: len(replays.rows[one]) for one in (2, 4)} == cancelled, "rows came after their replay was cancelled"
    assert replays.done.keys() == {1, 3}
    for one in (1, 3):
        replays.verify(one, fed.given.rows)


async def feed_received_at(fed: FedHub, *recv_s: float) -> None:
    """Feed a row for each of these times of receipt, in seconds."""
    for number, seconds in enumerate(recv_s, 1):
        await fed.feeder.feed([tick(CODE, TEN_MS + number, number)], TEN_MS * 1000 + round(seconds * 1_000_000))


async def test_at_speed_1_rows_come_no_sooner_than_they_were_received_after_one_another(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed:
        await feed_received_at(fed, 0, 0.1, 0.1, 0.4)
        async with fed.client() as client:
            replays = Replays()
            asked_s = time.monotonic()
            await replay(client, 1, speed=1)
            came_after_s: list[float] = []
            while 1 not in replays.done:
                before = len(replays.rows.get(1, []))
                replays.take(await client.receive())
                came_after_s += [time.monotonic() - asked_s] * (len(replays.rows.get(1, [])) - before)
    replays.verify(1, fed.given.rows)
    assert came_after_s[1] > 0.1, "never sooner, whatever the load"
    assert came_after_s[3] > 0.4


async def test_a_replay_at_its_original_pace_holds_up_neither_live_rows_nor_other_requests(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed:
        await feed_received_at(fed, 0, 3_600)
        async with fed.client() as client:
            await client.request("subscribed", "subscribe", id=0, topics=["tick:*"], since="none")
            replays = Replays()
            await replay(client, 1, speed=1)
            while not replays.rows.get(1):
                replays.take(await client.receive())
            await fed.feeder.feed_ticks(CODES)
            await replay(client, 2, topics=[f"tick:{CODE}"])
            await replays.read_until_done(client, 2)
            while len(replays.rows.get(None, [])) < len(CODES):
                replays.take(await client.receive())
            await client.send("cancel", id=3, replay=1)
            while not replays.said:
                replays.take(await client.receive())
    assert replays.rows[1] == fed.given.of(CODE)[:1], "the second row was due an hour later"
    assert replays.rows[None] == fed.given.rows[2:]
    replays.verify(2, fed.given.of(CODE))


async def test_a_replay_of_a_whole_day_comes_after_the_live_rows_of_others_that_arrive_meanwhile(
    tmp_path: Path,
) -> None:
    """By order, not by time: what is fed while a replay runs is with the others before the replay has ended."""
    async with fed_hub(tmp_path, *SMALL_MEMORY) as fed:
        await fed.feeder.feed_ticks(CODES, rounds=400)
        day = fed.given.rows
        async with fed.client(encoding="msgpack") as reader, fed.client() as trader:
            await trader.request("subscribed", "subscribe", id=0, topics=["tick:*"], since="none")
            replays = Replays()
            await replay(reader, 1)
            while not replays.rows.get(1):
                replays.take(await reader.receive())
            for _ in range(5):
                await fed.feeder.feed_ticks(CODES)
                live = [row for data in await trader.data(len(CODES)) for row in data.rows]
                assert live == fed.given.rows[-len(CODES) :]
            await replays.read_until_done(reader, 1)
    replays.verify(1, day)


async def test_a_replay_that_asks_for_more_than_is_held_says_what_is_missing_and_that_it_is_not_complete(
    tmp_path: Path,
) -> None:
    bounds = ("--journal-bytes", str(2**24), *SMALL_MEMORY)
    async with fed_hub(tmp_path, *bounds) as fed:
        await fed.feeder.feed_ticks(CODES, rounds=800)
        async with fed.client(encoding="msgpack") as client:
            replays = Replays()
            await replay(client, 1)
            await replays.read_until_done(client, 1)
    done, gaps, rows = replays.done[1], replays.gaps[1], replays.rows[1]
    assert not done["complete"]
    assert {gap["cause"] for gap in gaps} == {"evicted"}
    assert [gap["from"] for gap in gaps] == [1] * len(CODES), "one hole is one gap"
    lost = {(gap["topic"].removeprefix("tick:"), seq) for gap in gaps for seq in range(1, gap["to"] + 1)}
    assert rows == [row for row in fed.given.rows if row[:2] not in lost]
    assert done["count"] == len(rows) > 10_000
