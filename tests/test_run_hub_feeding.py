"""A hub that is fed: it goes on with its feeder's history, or begins another one on the same port where it must."""

import asyncio
import gc
import logging
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from bridge.feed.known import KnownSource, read_known
from tests.bridge.support.feeding import PlainFeeder, plain_feeder, rows_of
from tests.bridge.support.running_app import Running, serving
from tests.e2e.support.plain_client import PlainClient, plain_client

RECORDING: dict[str, Any] = {"source": "recording", "simulated": False, "continues": False}
OTHERS = {
    "a recording from its start": (RECORDING, RECORDING | {"run": "run-b"}),
    "another source": ({"source": "alpha"}, {"source": "beta", "run": "run-b"}),
    "invented prices": ({"simulated": False}, {"simulated": True, "run": "run-b"}),
}
"""Two feeders of which the second does not go on with what the first has brought."""


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    yield
    gc.unfreeze()


async def feed(feeder: PlainFeeder, *numbers: int) -> None:
    """Bring batches of two rows, and wait until the hub has them."""
    for number in numbers:
        await feeder.batch(number)
    await feeder.acknowledged(numbers[-1])


async def rows_from_start(client: PlainClient, count: int) -> list[tuple[str, int]]:
    """Code and number of the first so many ticks."""
    await client.send("subscribe", topics=["tick:*"], since={"time": 0})
    return [row[:2] for message in await client.data(count) for row in message.rows]


async def fails_to_enter(hub: Running, hello: dict[str, Any]) -> None:
    """A feeder introduces itself and is closed as for a restart."""
    known = {"source": "scripted", "run": "run-a", "simulated": False, "channels": ["tick"]}
    async with plain_feeder(hub.feed_url) as feeder:
        await feeder.say("hello", **known | hello)
        assert (await feeder.hear("error"))["code"] == "restart"
        assert (await feeder.closed())[0] == 1012


async def test_until_a_feeder_has_come_the_hub_serves_and_is_not_ready(tmp_path: Path) -> None:
    async with serving(data=tmp_path) as hub:
        assert await hub.ready() == (503, ["the source feed is away: no feeder has connected yet"])
        async with plain_client(hub.url) as client:
            assert client.welcome["source"] == {"name": "feed", "simulated": False}


async def test_what_a_feeder_brings_is_delivered_and_acknowledged_and_its_name_told(tmp_path: Path) -> None:
    async with serving(data=tmp_path) as hub, plain_feeder(hub.feed_url) as feeder:
        welcome = await feeder.hello(source="alpha", simulated=True)
        assert (welcome["run"], welcome["batch"], "newest" in welcome) == ("run-a", 0, False)
        await feed(feeder, 1, 2)
        async with plain_client(hub.url) as client:
            assert client.welcome["source"] == {"name": "alpha", "simulated": True}
            assert set(client.welcome["schemas"]) == {"tick", "status"}
            assert await rows_from_start(client, 4) == [
                (code, seq) for seq in (1, 2) for code in ("600000.SH", "600001.SH")
            ]
        assert (await feeder.hear("want"))["want"] == ["tick:*"]


async def test_a_feeder_of_another_run_that_goes_on_keeps_the_epoch(tmp_path: Path) -> None:
    async with serving(data=tmp_path) as hub, plain_client(hub.url) as client:
        async with plain_feeder(hub.feed_url) as feeder:
            await feeder.hello()
            await feed(feeder, 1)
        async with plain_feeder(hub.feed_url) as feeder:
            welcome = await feeder.hello("run-b")
            assert (welcome["run"], welcome["batch"]) == ("run-b", 0)
            assert welcome["newest"]["recv"] == 17
            await feed(feeder, 1)
        assert len(hub.apps) == 1
        assert (await client.request("pong", "ping"))["time"]


@pytest.mark.parametrize("which", OTHERS)
async def test_a_feeder_that_does_not_go_on_makes_the_hub_close_its_clients_and_begin_an_epoch_on_the_same_port(
    tmp_path: Path, which: str
) -> None:
    first, second = OTHERS[which]
    async with serving(data=tmp_path) as hub:
        async with plain_feeder(hub.feed_url) as feeder:
            await feeder.hello(**first)
            await feed(feeder, 1, 2)
        async with plain_client(hub.url) as client:
            epoch = client.welcome["epoch"]
            await fails_to_enter(hub, second)
            assert (await client.control("draining"))["reason"] == "the hub is restarting"
            assert (await client.closed())[0] in (1012, 1006)  # whole frames only where it drains without time
        await hub.listens(2)
        assert hub.ports[0] == hub.ports[1]
        async with plain_feeder(hub.feed_url) as feeder:
            welcome = await feeder.hello(**second)
            assert (welcome["run"], welcome["batch"], "newest" in welcome) == ("run-b", 0, False)
            await feed(feeder, 1)
            async with plain_client(hub.url) as client:
                assert client.welcome["epoch"] != epoch
                name, simulated = second.get("source", "scripted"), second.get("simulated", False)
                assert client.welcome["source"] == {"name": name, "simulated": simulated}
                resume = {"epoch": epoch, "at": 1, "seq": {}}
                reply = await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since=resume)
                assert not reply["recovered"]
                (gap,) = [message for message in await client.until(is_gap) if is_gap(message)]
                assert (gap["cause"], gap["epoch"]) == ("epoch", epoch)
                (data,) = await client.data(2)
                assert (data.origin, [row[:2] for row in data.rows]) == (
                    "snapshot",
                    [("600000.SH", 1), ("600001.SH", 1)],
                )
        assert len(hub.apps) == 2


def is_gap(message: Any) -> bool:
    return isinstance(message, dict) and message["type"] == "gap"


async def test_clients_have_the_drain_time_and_are_closed_with_1012(tmp_path: Path) -> None:
    async with serving(data=tmp_path, drain_s=5) as hub:
        async with plain_feeder(hub.feed_url) as feeder:
            await feeder.hello(**RECORDING)
            await feed(feeder, 1)
        async with plain_client(hub.url) as one, plain_client(hub.url, "msgpack") as other:
            await fails_to_enter(hub, RECORDING | {"run": "run-b"})
            assert [(await client.closed())[0] for client in (one, other)] == [1012, 1012]
        await hub.listens(2)


async def test_several_histories_may_follow_each_other(tmp_path: Path) -> None:
    epochs = set()
    async with serving(data=tmp_path) as hub:
        for number, run in enumerate(("run-a", "run-b", "run-c"), 1):
            hello = RECORDING | {"run": run}
            if number > 1:
                await fails_to_enter(hub, hello)
                await hub.listens(number)
            async with plain_feeder(hub.feed_url) as feeder:
                await feeder.hello(**hello)
                await feed(feeder, 1)
            async with plain_client(hub.url) as client:
                epochs.add(client.welcome["epoch"])
                assert await rows_from_start(client, 2) == [("600000.SH", 1), ("600001.SH", 1)]
    assert len(epochs) == len(hub.apps) == 3
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.fixture
def unlogged() -> Iterator[None]:
    """Nothing is logged: what a test's log keeps, keeps what was logged in memory."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("unlogged")
async def test_the_memory_of_a_history_that_has_ended_comes_back(tmp_path: Path) -> None:
    async with serving(data=tmp_path) as hub:
        async with plain_feeder(hub.feed_url) as feeder:
            await feeder.hello(**RECORDING)
            await feed(feeder, 1)
        history = weakref.ref(hub.apps.pop()._hub)
        await fails_to_enter(hub, RECORDING | {"run": "run-b"})
        await hub.listens(2)
        await hub.ready()
        assert history() is None


async def test_the_figures_are_those_of_the_history_that_is_served(tmp_path: Path) -> None:
    async with serving(data=tmp_path) as hub:
        async with plain_feeder(hub.feed_url) as feeder:
            await feeder.hello(**RECORDING)
            await feed(feeder, 1, 2, 3)
        assert await hub.figure("argus_journal_on") == 1
        assert await hub.figure("argus_ring_rows") >= 6
        await fails_to_enter(hub, RECORDING | {"run": "run-b"})
        await hub.listens(2)
        assert await hub.figure("argus_journal_on") == 1
        assert await hub.figure("argus_ring_rows") < 6
        assert await hub.degraded() == []


async def test_a_second_source_is_turned_away_while_the_first_feeds(tmp_path: Path) -> None:
    """Somebody who starts a simulator beside a live feeder must not throw the day's history away."""
    async with serving(data=tmp_path) as hub, plain_feeder(hub.feed_url) as feeder:
        await feeder.hello(source="alpha")
        await feed(feeder, 1)
        async with plain_feeder(hub.feed_url) as other:
            await other.say("hello", source="beta", run="run-b", simulated=True, channels=["tick"])
            assert (await other.closed())[0] == 4403
        await feed(feeder, 2)
        assert len(hub.apps) == 1


async def test_a_stopped_hub_does_not_begin_another_history(tmp_path: Path) -> None:
    async with serving(data=tmp_path) as hub:
        async with plain_feeder(hub.feed_url) as feeder:
            await feeder.hello()
            await feed(feeder, 1)
            hub.stop()
            assert (await feeder.closed())[0] == 1012
        await asyncio.wait({hub.ended})
    assert (len(hub.apps), len(hub.ports)) == (1, 1)


# The hub restarted


async def run_once(data: Path, **hello: Any) -> tuple[str, int]:
    """A hub that was fed two batches and ended; its epoch and newest arrival number."""
    async with serving(data=data) as hub, plain_feeder(hub.feed_url) as feeder:
        await feeder.hello(**hello)
        await feed(feeder, 1, 2)
        async with plain_client(hub.url) as client:
            return client.welcome["epoch"], client.welcome["at"]


async def test_a_fed_hub_that_is_restarted_knows_its_source_before_that_has_come(tmp_path: Path) -> None:
    epoch, at = await run_once(tmp_path, source="alpha", simulated=True)
    assert read_known(tmp_path) == KnownSource(epoch, "alpha", simulated=True)
    async with serving(data=tmp_path) as hub, plain_client(hub.url) as client:
        assert client.welcome["epoch"] == epoch
        assert client.welcome["at"] >= at
        assert client.welcome["source"] == {"name": "alpha", "simulated": True}
        assert await hub.ready() == (503, ["the source alpha is away: no feeder has connected yet"])


async def test_a_fed_hub_that_is_restarted_knows_the_run_and_the_newest_batch(tmp_path: Path) -> None:
    await run_once(tmp_path)
    async with serving(data=tmp_path) as hub, plain_feeder(hub.feed_url) as feeder:
        welcome = await feeder.hello()
        assert (welcome["run"], welcome["batch"]) == ("run-a", 2)
        await feeder.batch(2)  # sent again: it is there already
        await feed(feeder, 3)
        async with plain_client(hub.url) as client:
            rows = await rows_from_start(client, 6)
            assert rows == [(code, seq) for seq in (1, 2, 3) for code in ("600000.SH", "600001.SH")]


async def test_what_the_same_run_brings_after_a_restart_is_no_gap(tmp_path: Path) -> None:
    epoch, at = await run_once(tmp_path)
    async with serving(data=tmp_path) as hub, plain_client(hub.url) as client, plain_feeder(hub.feed_url) as feeder:
        resume = {"epoch": epoch, "at": at, "seq": {}}
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since=resume)
        await feeder.hello()
        await feed(feeder, 3)
        messages = await client.until(lambda message: not isinstance(message, dict))
        assert [row[:2] for row in messages[-1].rows] == [("600000.SH", 3), ("600001.SH", 3)]  # type: ignore[union-attr]
        assert not any(map(is_gap, messages))


async def test_another_run_after_a_restart_is_a_gap_of_the_source(tmp_path: Path) -> None:
    epoch, at = await run_once(tmp_path)
    async with serving(data=tmp_path) as hub, plain_client(hub.url) as client, plain_feeder(hub.feed_url) as feeder:
        resume = {"epoch": epoch, "at": at, "seq": {}}
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since=resume)
        await feeder.hello("run-b")
        await feeder.batch(1, rows=rows_of(2))  # what the other run has brought last
        await feeder.batch(2, rows=rows_of(3))
        messages = await client.until(lambda message: not isinstance(message, dict))
        assert [row[:2] for row in messages[-1].rows] == [("600000.SH", 3), ("600001.SH", 3)]  # type: ignore[union-attr]
        (gap,) = filter(is_gap, messages)
        assert isinstance(gap, dict)
        assert (gap["cause"], gap["topic"], gap["from"], gap["to"]) == ("upstream", "tick:*", None, None)


@pytest.mark.parametrize("which", OTHERS)
async def test_a_feeder_that_does_not_go_on_is_told_from_one_that_does_after_a_restart_too(
    tmp_path: Path, which: str
) -> None:
    first, second = OTHERS[which]
    epoch, _ = await run_once(tmp_path, **first)
    async with serving(data=tmp_path) as hub:
        await fails_to_enter(hub, second)
        await hub.listens(2)
        async with plain_feeder(hub.feed_url) as feeder:
            await feeder.hello(**second)
            await feed(feeder, 1)
        async with plain_client(hub.url) as client:
            assert client.welcome["epoch"] != epoch


async def test_a_hub_that_ended_between_two_histories_lets_the_new_source_in(tmp_path: Path) -> None:
    """It has a new epoch with the new run, and has remembered nobody for it but the source of the old one."""
    await run_once(tmp_path, source="alpha")
    async with serving(data=tmp_path) as hub:
        await fails_to_enter(hub, {"source": "beta", "run": "run-b"})
        await hub.listens(2)
        async with plain_client(hub.url) as client:
            epoch = client.welcome["epoch"]
    async with serving(data=tmp_path) as hub, plain_feeder(hub.feed_url) as feeder:
        await feeder.hello(source="beta", run="run-b")
        await feed(feeder, 1)
        async with plain_client(hub.url) as client:
            assert (client.welcome["epoch"], client.welcome["source"]["name"]) == (epoch, "beta")
        assert len(hub.apps) == 1


# What else is passed on


async def test_what_feeders_bring_is_recorded_in_one_file_whatever_the_history(tmp_path: Path) -> None:
    file = tmp_path / "day.csv"
    async with serving(data=tmp_path / "data", record=file) as hub:
        for run in ("run-a", "run-b"):
            if run == "run-b":
                await fails_to_enter(hub, RECORDING | {"run": run})
                await hub.listens(2)
            async with plain_feeder(hub.feed_url) as feeder:
                await feeder.hello(**RECORDING | {"run": run})
                await feeder.batch(1)
                await feeder.acknowledged(1)
    codes = [text.partition(",")[0] for text in file.read_text().splitlines()]
    assert codes == ["code", "600000.SH", "600001.SH", "600000.SH", "600001.SH"]


async def test_feeding_needs_the_token_of_the_feed_where_there_is_one(tmp_path: Path) -> None:
    async with serving(data=tmp_path, token="for-clients", feed_token="for-feeders") as hub:  # noqa: S106
        with pytest.raises(InvalidStatus, match="401"):
            async with plain_feeder(hub.feed_url, "for-clients"):
                pass
        async with plain_feeder(hub.feed_url, "for-feeders") as feeder:
            await feeder.hello()
