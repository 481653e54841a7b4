"""Clients whose line breaks, at every place where it can: they resume, and have the whole stream, in order, once."""

import asyncio
import random
from pathlib import Path
from typing import Final

import pytest
from websockets.exceptions import ConnectionClosed

from tests.e2e.support.account import Account
from tests.e2e.support.fed_hub import FedHub, Line, fed_hub
from tests.e2e.support.plain_client import Encoding, plain_client
from tests.e2e.support.scripted_feeder import ScriptedFeeder

CODES: Final = [f"{600000 + number}.SH" for number in range(10)]
WHOLE_DAY: Final = {"time": 0}
BOTH_ENCODINGS: Final = pytest.mark.parametrize("encoding", ["json", "msgpack"])


async def follow_for(line: Line, account: Account, byte_count: int, encoding: Encoding = "json") -> None:
    """Connect, subscribe, and have the line cut after so many bytes behind the welcome, if not before."""
    async with plain_client(line.url, encoding) as client:
        line.cut_after(byte_count)
        try:
            await account.subscribe(client)
        except ConnectionClosed:
            return
        await account.read_to_the_end(client)


async def end_whole(fed: FedHub, account: Account, encoding: Encoding = "json") -> None:
    """Come back on a good line and get all that is missing, and nothing else."""
    async with fed.client(account, encoding) as client:
        await account.read_all(client)


@BOTH_ENCODINGS
async def test_a_client_cut_during_replay_resumes_without_a_hole(tmp_path: Path, encoding: Encoding) -> None:
    async with fed_hub(tmp_path) as fed, Line.before(fed.hub.ws_url).serve() as line:
        account = Account(fed.given, since=WHOLE_DAY)
        await fed.feeder.feed_ticks(CODES)
        async with fed.client(account, encoding) as client:
            await account.read_all(client)
        for _ in range(5):
            await fed.feeder.feed_ticks(CODES, rounds=150)
            before = len(account.events)
            await follow_for(line, account, 250_000, encoding)
            assert before < len(account.events) < len(fed.given.events), "it was not cut during its replay"
            assert account.origins == {"replay"}
        await end_whole(fed, account, encoding)


async def feed_one_by_one(feeder: ScriptedFeeder, rounds: int) -> None:
    """Feed batches that do not travel together: each after the one before was delivered."""
    for _ in range(rounds):
        await feeder.feed_ticks(CODES)


@BOTH_ENCODINGS
async def test_a_client_cut_in_the_middle_of_a_frame_gets_its_rows_once(tmp_path: Path, encoding: Encoding) -> None:
    chance = random.Random(1)
    async with fed_hub(tmp_path) as fed, Line.before(fed.hub.ws_url).serve() as line:
        account = Account(fed.given, since=WHOLE_DAY)
        for _ in range(20):
            async with plain_client(line.url, encoding) as client:
                await account.subscribe(client)
                line.cut_after(chance.randrange(1, 20_000))
                feeding = asyncio.create_task(feed_one_by_one(fed.feeder, 10))
                await account.read_to_the_end(client)
                await feeding
        assert "live" in account.origins
        await end_whole(fed, account, encoding)


async def test_a_client_cut_during_its_snapshot_gets_a_whole_one(tmp_path: Path) -> None:
    codes = [f"{600000 + number}.SH" for number in range(2_000)]
    async with fed_hub(tmp_path) as fed, Line.before(fed.hub.ws_url).serve() as line:
        account = Account(fed.given)
        for byte_count in (100_000, 300_000, 600_000):
            await fed.feeder.feed_ticks(codes, rounds=2)
            await follow_for(line, account, byte_count)
            assert len(account.snapshot) < len(codes), "it was not cut during its snapshot"
        assert account.snapshot
        async with fed.client(account) as client:
            await fed.feeder.feed_ticks(codes)
            await account.read_all(client)
        assert len(account.snapshot) == len(codes)
        assert account.events


async def test_a_client_cut_during_the_history_of_its_first_subscribe_has_every_row_once(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed, Line.before(fed.hub.ws_url).serve() as line:
        await fed.feeder.feed_ticks(CODES, rounds=400)
        account = Account(fed.given, since=WHOLE_DAY)
        for byte_count in (250_000, 400_000, 550_000, 700_000):
            await follow_for(line, account, byte_count)
            assert 0 < len(account.events) < len(fed.given.events), "it was not cut during its history"
            await fed.feeder.feed_ticks(CODES, rounds=5)
        await end_whole(fed, account)


async def test_a_client_cut_between_its_reply_and_its_first_row_has_missed_nothing(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed, Line.before(fed.hub.ws_url).serve() as line:
        await fed.feeder.feed_ticks(CODES, rounds=20)
        account = Account(fed.given, since=WHOLE_DAY)
        cut_behind_the_reply = 0
        for byte_count in range(1, 400, 13):
            await follow_for(line, account, byte_count)
            assert account.events == []
            cut_behind_the_reply += account.is_subscribed
        assert cut_behind_the_reply
        await end_whole(fed, account)


async def test_a_client_cut_between_its_reply_and_its_first_live_row_has_missed_nothing(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed, Line.before(fed.hub.ws_url).serve() as line:
        account = Account(fed.given, since="none")
        async with plain_client(line.url) as client:
            await account.subscribe(client)
            await account.read_all(client)
            line.cut()
            await fed.feeder.feed_ticks(CODES)
            await account.read_to_the_end(client)
        await end_whole(fed, account)
        assert account.origins == {"replay"}


async def test_a_client_on_a_half_open_line_resumes_on_another_while_the_hub_still_believes_in_the_first(
    tmp_path: Path,
) -> None:
    async with fed_hub(tmp_path) as fed, Line.before(fed.hub.ws_url).serve() as line:
        account = Account(fed.given, since=WHOLE_DAY)
        await fed.feeder.feed_ticks(CODES)
        async with plain_client(line.url) as client:
            await account.subscribe(client)
            await account.read_all(client)
            line.flowing.clear()
            await fed.feeder.feed_ticks(CODES, rounds=5)
            async with fed.client(account) as back:
                assert fed.hub.figure("argus_clients") == 2
                await fed.feeder.feed_ticks(CODES, rounds=5)
                await account.read_all(back)
            client.socket.transport.abort()
