"""Clients that read slowly or not at all cost the hub little and the others nothing, and lose nothing themselves."""

from pathlib import Path
from typing import Final

from tests.e2e.support.account import Account
from tests.e2e.support.fed_hub import Line, fed_hub
from tests.e2e.support.plain_client import Data, Message, Row, plain_client

CODES: Final = [f"{600000 + number}.SH" for number in range(200)]
WHOLE_DAY: Final = {"time": 0}
DAY_BYTES: Final = 20_000_000
"""What 50,000 rows take in JSON, at the least."""
LIVE_ROWS: Final = 167
"""Three times as many are one more than a client that catches up is given at once."""
SMALL_MEMORY: Final = ("--ring-bytes", str(2**22), "--ring-rows", "20")


async def test_a_throttled_client_that_reads_a_whole_day_from_the_journal_costs_little_and_delays_nobody(
    tmp_path: Path,
) -> None:
    async with fed_hub(tmp_path, *SMALL_MEMORY) as fed, Line.before(fed.hub.ws_url).serve() as line:
        await fed.feeder.feed_ticks(CODES, rounds=250)
        day_rows = fed.given.row_count
        line.bytes_per_s = 15_000_000
        reader, trader = Account(fed.given, since=WHOLE_DAY), Account(fed.given)
        async with fed.client(trader) as trading, plain_client(line.url) as reading:
            await reader.subscribe(reading)
            await reader.read_rows(reading, 1_000)
            line.flowing.clear()
            for _ in range(3):
                await fed.feeder.feed_ticks(CODES[:LIVE_ROWS])
                await trader.read_all(trading)
            sent = fed.hub.figure("argus_rows_out_total") - len(trader.snapshot) - len(trader.rows)
            assert sent < day_rows, "the reader had its history before the trader had the live rows"
            line.flowing.set()
            for so_many in range(5_000, day_rows, 5_000):
                await reader.read_rows(reading, so_many)
                assert fed.hub.figure("argus_pending_bytes") < DAY_BYTES / 10
            await reader.read_all(reading)
    assert reader.origins == {"replay", "live"}


async def test_a_client_that_does_not_read_is_warned_closed_with_4408_and_resumes_without_a_hole(
    tmp_path: Path,
) -> None:
    budget = 1_000_000
    options = ("--max-pending-bytes", str(budget))
    async with fed_hub(tmp_path, *options) as fed, Line.before(fed.hub.ws_url).serve() as line:
        account, others = (Account(fed.given, since=WHOLE_DAY) for _ in range(2))
        await fed.feeder.feed_ticks(CODES)
        async with plain_client(line.url) as client, fed.client(others) as healthy:
            await account.subscribe(client)
            await account.read_all(client)
            line.flowing.clear()
            while not fed.hub.figure("argus_clients_closed_slow_total"):
                await fed.feeder.feed_ticks(CODES)
                await others.read_all(healthy)
            line.flowing.set()
            code = await account.read_to_the_end(client)
            await others.read_all(healthy)
        assert code in (4408, 1006)
        (slow,) = account.slow
        assert budget / 2 <= slow["pending_bytes"] <= budget == slow["limit_bytes"]
        before = len(account.rows)
        assert len(CODES) < before < fed.given.row_count, "whole frames that were sent before must be readable"
        async with fed.client() as client:
            reply = await account.subscribe(client)
            await account.read_all(client)
    assert reply["recovered"]
    assert reply["replayed"] == fed.given.row_count - before
    assert account.evicted == []
    assert others.slow == []


async def test_mode_latest_under_back_pressure_skips_rows_that_it_counts_and_no_gap(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed, Line.before(fed.hub.ws_url).serve() as line:
        await fed.feeder.feed_ticks(CODES)
        async with plain_client(line.url) as client, fed.client() as every:
            for one, mode in ((client, "latest"), (every, "every")):
                await one.request("subscribed", "subscribe", id=1, topics=["tick:*"], since="none", mode=mode)
            line.flowing.clear()
            while fed.hub.figure("argus_rows_conflated_total") < 5_000:
                await fed.feeder.feed_ticks(CODES)
            await fed.feeder.say("status", state="away", reason="the terminal was closed")
            await fed.feeder.say("status", state="connected")
            await fed.feeder.feed_ticks(CODES)
            live = fed.given.row_count - len(CODES)
            await every.data(live)
            line.flowing.set()
            rows: list[Row] = []
            gaps = 0
            message: Message = {}
            while isinstance(message, Data) or len(rows) + message.get("conflated", 0) < live:
                message = await client.receive()
                if isinstance(message, Data):
                    rows += message.rows
                else:
                    gaps += message["type"] == "gap"
    newest: dict[str, int] = {}
    for row in rows:
        assert row == fed.given.row(*row[:2])
        assert row[1] > newest.get(row[0], 1)
        newest[row[0]] = row[1]
    assert newest == fed.given.seqs, "the newest row of each topic must come"
    assert message["conflated"] == live - len(rows) >= 5_000
    assert gaps == 1
