"""Where a client goes on that was away: with any number of topics and patterns, and never where it can't be proven."""

from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.support.account import Account
from tests.e2e.support.fed_hub import FedHub, fed_hub
from tests.e2e.support.plain_client import Control, Data, Message, Row
from tests.e2e.support.scripted_feeder import TEN_MS, tick

CODES: Final = [f"{600000 + number}.SH" for number in range(10)]
CODE: Final = CODES[0]
OTHER: Final = CODES[1]
WHOLE_DAY: Final = {"time": 0}
UNKNOWN_EPOCH: Final = "0123456789abcdef"


async def follow(fed: FedHub, account: Account) -> Control:
    """Come, take all that is missing, and leave. Returns the reply to the subscribe."""
    async with fed.client() as client:
        reply = await account.subscribe(client)
        await account.read_all(client)
    return reply


async def answer(fed: FedHub, since: Any, *topics: str) -> tuple[Control, list[Message]]:
    """Subscribe after a position: the reply, and all rows and gaps up to the moment of the join."""
    async with fed.client() as client:
        reply = await client.request("subscribed", "subscribe", id=1, topics=list(topics), since=since)
        messages: list[Message] = []
        message: Message = {}
        while isinstance(message, Data) or message.get("type") != "heartbeat" or message["at"] < reply["at"]:
            messages.append(message := await client.receive())
    return reply, [message for message in messages if isinstance(message, Data) or message["type"] == "gap"]


def rows_of(messages: list[Message]) -> list[tuple[str, Row]]:
    """All rows in these messages, each with its origin."""
    return [(message.origin, row) for message in messages if isinstance(message, Data) for row in message.rows]


def gaps_of(messages: list[Message]) -> list[Control]:
    return [message for message in messages if isinstance(message, dict)]


@pytest.mark.parametrize("topics", [["tick:*"], ["tick:6*.SH", "tick:*.SZ"], ["tick:*.SH", "tick:000001.SZ"]])
async def test_an_instrument_that_first_speaks_while_the_client_is_away_is_not_lost(
    tmp_path: Path, topics: list[str]
) -> None:
    async with fed_hub(tmp_path) as fed:
        account = Account(fed.given, *topics, since=WHOLE_DAY)
        await fed.feeder.feed_ticks([CODE, OTHER], rounds=2)
        await follow(fed, account)
        await fed.feeder.feed_ticks([CODE, "000001.SZ", "688001.SH"], rounds=3)
        reply = await follow(fed, account)
    assert {"000001.SZ", "688001.SH"} <= account.newest.keys()
    assert (reply["recovered"], reply["unrecovered"], reply["replayed"]) == (True, [], 9)


async def test_thousands_of_topics_and_patterns_are_resumed_at_once(tmp_path: Path) -> None:
    named = [f"{600000 + number}.SH" for number in range(3_000)]
    others = [f"{number:06}.SZ" for number in range(1_000)]
    async with fed_hub(tmp_path) as fed:
        exact, pattern, both = (
            Account(fed.given, *topics, since=WHOLE_DAY)
            for topics in ([f"tick:{code}" for code in named], ["tick:*"], ["tick:*.SZ", *(f"tick:{c}" for c in named)])
        )
        await fed.feeder.feed_ticks([*named[:2_000], *others[:500]])
        for account in (exact, pattern, both):
            await follow(fed, account)
        await fed.feeder.feed_ticks([*named[1_000:], *others[250:]])  # some spoke again, some for the first time
        for account in (exact, pattern, both):
            assert (await follow(fed, account))["recovered"]
    assert len(exact.newest) == 3_000
    assert len(pattern.newest) == len(both.newest) == 4_000
    assert pattern.origins == {"replay"}


async def test_topics_that_a_position_does_not_name_go_on_after_its_at(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed:
        account = Account(fed.given, since=WHOLE_DAY)
        await fed.feeder.feed_ticks(CODES, rounds=3)
        await follow(fed, account)
        await fed.feeder.feed_ticks(CODES, rounds=2)
        reply, messages = await answer(fed, {"epoch": account.epoch, "at": account.at, "seq": {}}, "tick:*")
    assert (reply["recovered"], reply["replayed"]) == (True, 20)
    assert rows_of(messages) == [("replay", row) for row in fed.given.rows if row[1] > 3]


@pytest.mark.parametrize("epoch", ["", UNKNOWN_EPOCH])
async def test_a_position_of_no_epoch_or_an_unknown_one_is_told_as_lost_and_not_guessed(
    tmp_path: Path, epoch: str
) -> None:
    async with fed_hub(tmp_path) as fed:
        await fed.feeder.feed_ticks(CODES[:3], rounds=3)
        position = {"epoch": epoch, "at": 2, "seq": {f"tick:{CODE}": 2, "tick:999999.SH": 7}}
        reply, messages = await answer(fed, position, "tick:*")
    assert (reply["recovered"], reply["replayed"]) == (False, 0)
    told = {gap["topic"]: (gap["cause"], gap["epoch"], gap["from"], gap["to"]) for gap in gaps_of(messages)}
    assert told == {
        f"tick:{CODE}": ("epoch", epoch, 3, None),
        **{f"tick:{code}": ("epoch", epoch, None, None) for code in CODES[1:3]},
        "tick:999999.SH": ("epoch", epoch, 8, None),
    }
    assert len(gaps_of(messages)) == len(told)
    assert rows_of(messages) == [("snapshot", fed.given.row(code, 3)) for code in CODES[:3]]


async def test_a_position_above_the_newest_row_is_told_as_lost_and_the_others_are_resumed(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed:
        async with fed.client() as client:
            epoch = client.welcome["epoch"]
        await fed.feeder.feed_ticks([CODE, OTHER], rounds=3)
        position = {"epoch": epoch, "at": 0, "seq": {f"tick:{CODE}": 4, f"tick:{OTHER}": 2}}
        reply, messages = await answer(fed, position, "tick:*")
    assert (reply["recovered"], reply["unrecovered"], reply["replayed"]) == (False, [f"tick:{CODE}"], 1)
    (gap,) = gaps_of(messages)
    assert (gap["topic"], gap["cause"], gap["from"], gap["to"]) == (f"tick:{CODE}", "epoch", 5, None)
    newest, missed = fed.given.row(CODE, 3), fed.given.row(OTHER, 3)
    assert rows_of(messages) == [("snapshot", newest), ("replay", missed)]


async def test_an_at_above_the_newest_is_told_as_lost_for_what_is_not_named(tmp_path: Path) -> None:
    async with fed_hub(tmp_path) as fed:
        async with fed.client() as client:
            epoch = client.welcome["epoch"]
        await fed.feeder.feed_ticks([CODE, OTHER], rounds=3)
        position = {"epoch": epoch, "at": 1_000_000, "seq": {f"tick:{OTHER}": 2}}
        reply, messages = await answer(fed, position, "tick:*")
    assert (reply["recovered"], reply["replayed"]) == (False, 1)
    assert f"tick:{CODE}" in reply["unrecovered"]
    assert f"tick:{OTHER}" not in reply["unrecovered"]
    assert rows_of(messages) == [("snapshot", fed.given.row(CODE, 3)), ("replay", fed.given.row(OTHER, 3))]


async def test_a_history_that_was_lost_is_told_to_a_client_that_comes_back(tmp_path: Path) -> None:
    async with fed_hub(tmp_path, "--no-journal") as fed:
        account = Account(fed.given, since=WHOLE_DAY)
        await fed.feeder.feed_ticks([CODE, OTHER], rounds=3)
        await follow(fed, account)
        await fed.kill()
        await fed.start()
        await fed.feeder.feed([tick(CODE, TEN_MS + 60_000, 1_000)])
        async with fed.client() as client:
            assert client.welcome["epoch"] != account.epoch
        reply, messages = await answer(fed, account.position(), "tick:*")
    assert reply["unrecovered"] == [gap["topic"] for gap in gaps_of(messages)]
    assert {(gap["topic"], gap["epoch"], gap["from"], gap["to"]) for gap in gaps_of(messages)} == {
        (f"tick:{code}", account.epoch, 4, None) for code in (CODE, OTHER)
    }
    ((origin, row),) = rows_of(messages)
    assert (origin, row[0], row[1]) == ("snapshot", CODE, 1)
