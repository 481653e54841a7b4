"""Hubs that are killed, restarted and drained: the history goes on, and clients have the whole stream, once."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from argus_client import Backoff, Gap, connect
from argus_client.ledger import FromTime
from tests.e2e.support.account import Account
from tests.e2e.support.fed_hub import FedHub, Line, fed_hub
from tests.e2e.support.plain_client import plain_client
from tests.e2e.support.scripted_feeder import TEN_MS, tick

CODES: Final = [f"{600000 + number}.SH" for number in range(10)]
MANY_CODES: Final = [f"{600000 + number}.SH" for number in range(200)]
WHOLE_DAY: Final = FromTime(time=0)
SMALL_MEMORY: Final = ("--ring-rows", "20")
SOON: Final = Backoff(least_s=0.01, most_s=0.1)


async def end_whole(fed: FedHub, account: Account) -> None:
    """Come back and get all that is missing, and nothing else."""
    async with fed.client(account) as client:
        await account.read_all(client)


async def test_a_client_whose_hub_is_killed_while_it_catches_up_from_the_journal_goes_on_where_it_was(
    tmp_path: Path,
) -> None:
    async with fed_hub(tmp_path, *SMALL_MEMORY) as fed, Line.before(fed.hub.ws_url).serve() as line:
        account = Account(fed.given, since=WHOLE_DAY)
        await fed.feeder.feed_ticks(CODES)
        await end_whole(fed, account)
        await fed.feeder.feed_ticks(MANY_CODES, rounds=100)
        epoch = account.epoch
        for _ in range(2):
            before = len(account.rows)
            line.lead_to(fed.hub)
            line.bytes_per_s = 10_000_000
            async with plain_client(line.url) as client:
                await account.subscribe(client)
                await account.read_rows(client, before + 1_000)
                await fed.kill()
                await account.read_to_the_end(client)
            assert len(account.events) < fed.given.row_count, "it had everything before the hub was killed"
            await fed.start()
            await fed.feeder.feed_ticks(CODES)
        await end_whole(fed, account)
    assert account.epoch == epoch
    assert account.evicted == []


async def test_a_client_that_comes_back_after_the_hub_was_killed_twice_has_missed_nothing(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed:
        account = Account(fed.given, since=WHOLE_DAY)
        for _ in range(2):
            await fed.feeder.feed_ticks(CODES, rounds=3)
            if not account.epoch:
                await end_whole(fed, account)
            await fed.kill()
            await fed.start()
        await fed.feeder.feed_ticks(["000001.SZ", *CODES])
        epoch = account.epoch
        async with fed.client() as client:
            reply = await account.subscribe(client)
            await account.read_all(client)
    assert (reply["recovered"], reply["replayed"]) == (True, 41)
    assert account.epoch == epoch


async def test_rows_that_every_client_has_seen_are_there_after_the_hub_was_killed_in_that_moment(
    tmp_path: Path,
) -> None:
    """A row reaches a socket only when it is written: whoever saw it can go on after it."""
    async with fed_hub(tmp_path) as fed:
        account = Account(fed.given, since=WHOLE_DAY)
        for number in range(4):
            async with fed.client(account) as client:
                for batch in range(50):
                    rows = [tick(code, TEN_MS + (number * 50 + batch) * 3_000, batch) for code in CODES]
                    await fed.feeder.put(rows)
                await account.read_rows(client, fed.given.row_count - 250)
                await fed.kill()
                await account.read_to_the_end(client)
            await fed.start_hub()
            async with fed.client() as client:
                listed = (await client.request("topics", "topics", id=1, pattern="tick:*"))["topics"]
                kept = {one["topic"].removeprefix("tick:"): one["seq"] for one in listed}
            assert all(kept[code] >= seq for code, seq in account.newest.items())
            await fed.enter_feeder()
            await fed.feeder.send_again()
        await end_whole(fed, account)


async def test_a_hub_that_restarts_while_its_feeder_holds_batches_loses_none_and_doubles_none(tmp_path: Path) -> None:
    """The feeder knows of nothing but acknowledgements: what it did not hear of, it sends again."""
    async with fed_hub(tmp_path) as fed:
        account = Account(fed.given, since=WHOLE_DAY)
        for number in range(5):
            async with fed.client(account) as client:
                for batch in range(20):
                    await fed.feeder.put(tick(code, TEN_MS + (number * 20 + batch) * 3_000, batch) for code in CODES)
                if number % 2:  # some have come as far as the hub, and are not acknowledged yet
                    await account.read_rows(client, fed.given.row_count - 200)
                await fed.kill()
                await account.read_to_the_end(client)
            await fed.start()
            await fed.feeder.send_again(back=5)  # further than it must: what the hub has already is dropped
        await end_whole(fed, account)
    assert account.gaps == []


async def test_clients_of_a_draining_hub_are_told_closed_one_after_the_other_and_back_after_the_restart(
    tmp_path: Path,
) -> None:
    async with fed_hub(tmp_path, "--drain-s", "1") as fed, AsyncExitStack() as stack:
        accounts = [Account(fed.given, since=WHOLE_DAY) for _ in range(20)]
        clients = [await stack.enter_async_context(fed.client(account)) for account in accounts]
        await fed.feeder.feed_ticks(CODES, rounds=3)
        for account, client in zip(accounts, clients, strict=True):
            await account.read_all(client)
        fed.hub.signal()
        announced = [await client.control("draining") for client in clients]
        codes = [await client.closed() for client in clients]
        await fed.stop()
        await fed.start()
        await fed.feeder.feed_ticks(CODES, rounds=3)
        for account in accounts:
            await end_whole(fed, account)
    assert codes == [(1012, "the hub is restarting")] * 20
    closes = [message["close_in_ms"] for message in announced]
    assert closes == sorted(closes)
    assert len(set(closes)) > 10, "they were all closed at once"
    assert max(closes) <= 1_000


async def test_python_clients_ride_out_a_kill_and_a_drain(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed, Line.before(fed.hub.ws_url).serve() as line, AsyncExitStack() as stack:
        gaps: list[Gap] = []
        backs: list[Any] = []
        received: list[list[tuple[str, int]]] = [[] for _ in range(5)]
        changed = asyncio.Event()

        async def all_have_all() -> None:
            while any(len(rows) < fed.given.row_count for rows in received):
                changed.clear()
                await changed.wait()

        for rows in received:
            client = await stack.enter_async_context(
                connect(line.url, reconnect=SOON, on_gap=gaps.append, on_reconnect=backs.append)
            )

            def keep(row: Any, rows: list[tuple[str, int]] = rows) -> None:
                rows.append((row.code, row.seq))
                changed.set()

            await client.on("tick:*", callback=keep, since=WHOLE_DAY)
        for end in (fed.kill, fed.stop, fed.kill):
            await fed.feeder.feed_ticks(CODES, rounds=5)
            await end()
            await fed.start()
            line.lead_to(fed.hub)
            await fed.feeder.feed_ticks(CODES, rounds=5)
            async with asyncio.timeout(60):
                await all_have_all()
    assert gaps == []
    assert all(rows == [row[:2] for row in fed.given.rows] for rows in received)
    assert len(backs) == 3 * len(received)
    assert all(back.same_history for back in backs)


async def test_what_the_journal_let_go_is_told_with_exact_numbers_and_the_rest_is_there(tmp_path: Path) -> None:
    """Retention by bytes: a client that was away for longer is told from its last row to the oldest that is held."""
    bounds = ("--journal-bytes", str(2**24), "--ring-bytes", str(2**22), "--ring-rows", "20")
    async with fed_hub(tmp_path, *bounds) as fed:
        account, newcomer = (Account(fed.given, since=WHOLE_DAY) for _ in range(2))
        await fed.feeder.feed_ticks([*MANY_CODES, "000001.SZ"], rounds=5)
        await end_whole(fed, account)
        had = dict(account.newest)
        await fed.feeder.feed_ticks(MANY_CODES, rounds=450)
        for one in (account, newcomer):
            before = len(one.rows)
            async with fed.client() as client:
                reply = await one.subscribe(client)
                await one.read_all(client)
            assert not reply["recovered"]
            assert sorted(reply["unrecovered"]) == sorted(gap["topic"] for gap in one.evicted), "more was lost"
            assert reply["replayed"] == len(one.rows) - before > 10_000
    assert sum(file.stat().st_size for file in (tmp_path / "data" / "journal").iterdir()) <= 1.1 * 2**24
    # 000001.SZ is held no more either, but whoever has all of it has lost nothing.
    assert {gap["topic"] for gap in account.evicted} == {f"tick:{code}" for code in MANY_CODES}
    assert {gap["topic"] for gap in newcomer.evicted} == {f"tick:{code}" for code in [*MANY_CODES, "000001.SZ"]}
    for gap in account.evicted:
        code = gap["topic"].removeprefix("tick:")
        assert gap["from"] == had[code] + 1
        assert gap["to_time"] == fed.given.row(code, gap["to"])[2]
