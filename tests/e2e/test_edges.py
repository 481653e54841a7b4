"""A feed and its edges as processes, with a real Redis between them: what clients of an edge see."""

import asyncio
import json
from pathlib import Path
from typing import Final

import pytest

from tests.bridge.support.redis_servers import needs_redis
from tests.e2e.support.deployment import deployment
from tests.e2e.support.plain_client import Data, PlainClient, plain_client
from tests.e2e.support.scripted_feeder import TEN_MS, tick

pytestmark = needs_redis

CODES: Final = [f"{600000 + number}.SH" for number in range(10)]
FED: Final = ("--source", "feed")
SHARDS_OF_TWO: Final = 3
"""Those of 600003.SH and 600008.SH, and that of the status channel."""


async def rows_until(client: PlainClient, code: str, seq: int) -> list[tuple[str, int, int]]:
    """Rows up to one of them, as code, seq and recv."""
    rows: list[tuple[str, int, int]] = []
    async with asyncio.timeout(60):
        while True:
            message = await client.receive()
            if not isinstance(message, Data):
                assert message["type"] != "gap", message
                continue
            for row in message.rows:
                rows.append((row[0], row[1], row[3]))
                if rows[-1][:2] == (code, seq):
                    return rows


async def test_clients_of_all_edges_and_of_the_feed_are_given_the_same_rows_under_the_same_numbers(
    tmp_path: Path,
) -> None:
    async with deployment(tmp_path) as d:
        await d.start_feed(*FED)
        edges = [await d.start_edge(), await d.start_edge()]
        feeder = await d.feeder()
        await feeder.feed_ticks(CODES, rounds=20)
        late = await d.start_edge()
        found = []
        for hub in (d.feed, *edges, late):
            async with plain_client(hub.ws_url) as client:
                assert client.welcome["epoch"]
                await client.send(op="subscribe", topics=["tick:*"], since={"time": 0})
                found.append((client.welcome["epoch"], await rows_until(client, CODES[-1], 20)))
        assert found == [found[0]] * 4
        assert len(found[0][1]) == 200


async def test_an_edge_of_few_topics_gives_the_same_rows_of_them_and_refuses_everything_else(tmp_path: Path) -> None:
    mine = [CODES[3], CODES[8]]
    served = "--edge-topics", f"tick:{mine[0]}", "--edge-topics", f"tick:{mine[1]}"
    async with deployment(tmp_path) as d:
        await d.start_feed(*FED)
        edges = [await d.start_edge(), await d.start_edge(*served)]
        assert f"topics served: 2; shards taken: {SHARDS_OF_TWO} of 16" in edges[1].log()
        feeder = await d.feeder()
        await feeder.feed_ticks(CODES, rounds=20)
        edges.append(await d.start_edge(*served))
        await feeder.feed_ticks(CODES, rounds=3)
        found = []
        for hub in edges:
            async with plain_client(hub.ws_url) as client:
                topics = [f"tick:{code}" for code in mine]
                await client.send(op="subscribe", topics=topics, since={"time": 0})
                rows = await rows_until(client, mine[1], 23)
                heartbeat = await client.control("heartbeat")
                found.append((client.welcome["epoch"], rows, heartbeat["at"]))
        assert found == [found[0]] * 3
        assert len(found[0][1]) == 46
        for hub in edges[1:]:
            async with plain_client(hub.ws_url) as client:
                for name in ("tick:*", f"tick:{CODES[0]}"):
                    await client.send(op="subscribe", topics=[name])
                    assert (await client.control("error"))["code"] == "unavailable"
                await client.send(op="subscribe", topics=["status:*"])
                await client.control("subscribed")


async def test_what_tells_a_state_is_nobody_s_live_row_on_an_edge_either(tmp_path: Path) -> None:
    async with deployment(tmp_path) as d:
        await d.start_feed(*FED)
        edge = await d.start_edge()
        feeder = await d.feeder()
        found: list[tuple[str, list[str]]] = []
        async with plain_client(edge.ws_url) as client:
            await client.send(op="subscribe", topics=["tick:*"])
            await client.control("subscribed")
            for number, is_state in enumerate((False, True, False), 1):
                await feeder.put([tick(code, TEN_MS, number) for code in CODES[:2]], is_state=is_state)
                await feeder.acknowledged()
            async with asyncio.timeout(60):
                while sum(len(codes) for _, codes in found) < 6:
                    message = await client.receive()
                    if isinstance(message, Data):
                        found.append((message.origin, [row[0] for row in message.rows]))
        assert found == [("live", CODES[:2]), ("snapshot", CODES[:2]), ("live", CODES[:2])]


async def test_what_clients_of_an_edge_want_the_feeder_is_told_until_the_edge_is_gone(tmp_path: Path) -> None:
    async with deployment(tmp_path) as d:
        await d.start_feed(*FED)
        edge = await d.start_edge()
        feeder = await d.feeder()
        async with plain_client(edge.ws_url) as client:
            await client.send(op="subscribe", topics=["tick:600000.SH"])
            await client.control("subscribed")
            assert (await feeder.hear("want"))["want"] == ["tick:600000.SH"]
            await d.kill(edge)
            assert (await feeder.hear("want"))["want"] == []


async def test_an_edge_without_its_feed_or_redis_serves_on_and_says_so_and_comes_back_by_itself(
    tmp_path: Path,
) -> None:
    async with deployment(tmp_path) as d:
        await d.start_feed(*FED)
        edge = await d.start_edge()
        await (await d.feeder()).feed_ticks(CODES)
        async with plain_client(edge.ws_url) as client:
            await client.send(op="subscribe", topics=["tick:*"])
            await rows_until(client, CODES[-1], 1)
            port = d.feed.port
            await d.kill(d.feed)
            await d.ready(edge, is_ready=False, reason="the feed is away")
            await client.send(op="replay", id=1, topics=["tick:*"], **{"from": 0, "to": 2 * TEN_MS})
            assert (await client.control("replay_done"))["count"] == 10
            await d.start_feed(*FED, "--port", str(port))
            await (await d.feeder("run-b")).feed_ticks(CODES)
            await client.control("gap")  # of the feeder, which was killed with its run
            await rows_until(client, CODES[-1], 2)
            await d.redis.kill()
            await d.ready(edge, is_ready=False, reason="the relay is away")
            await d.redis.start()
            await d.ready(edge)


async def test_a_feed_with_another_history_closes_the_clients_of_its_edges(tmp_path: Path) -> None:
    async with deployment(tmp_path) as d:
        await d.start_feed("--symbols", "20", "--no-journal")
        edge = await d.start_edge()
        async with plain_client(edge.ws_url) as client:
            before = client.welcome
            assert before["source"] == {"name": "simulator", "simulated": True}
            await d.stop(d.feed)
            await d.start_feed("--symbols", "20", "--no-journal")
            assert (await client.closed())[0] == 1012
        await d.ready(edge)
        async with plain_client(edge.ws_url) as client, plain_client(d.feed.ws_url) as other:
            assert client.welcome["epoch"] == other.welcome["epoch"] != before["epoch"]


async def test_rows_that_neither_redis_nor_the_feed_holds_any_more_are_announced_as_lost_in_the_relay(
    tmp_path: Path,
) -> None:
    async with deployment(tmp_path) as d:
        await d.start_feed(*FED, "--no-journal", "--ring-rows", "5", "--relay-rows", "5")
        edge = await d.start_edge()
        feeder = await d.feeder()
        await feeder.feed_ticks(CODES[:1])
        async with plain_client(edge.ws_url) as client:
            await client.send(op="subscribe", topics=["tick:*"])
            await rows_until(client, CODES[0], 1)
            epoch = client.welcome["epoch"]
            d.line.lead_nowhere()
            d.line.cut()
            await feeder.feed_ticks(CODES[:1], rounds=600)
            d.line.lead_back()
            assert (await client.closed())[0] == 1012
        await d.ready(edge)
        async with plain_client(edge.ws_url) as client:
            assert client.welcome["epoch"] == epoch
            since = {"epoch": epoch, "at": 1, "seq": {f"tick:{CODES[0]}": 1}}
            await client.send(op="subscribe", topics=["tick:*"], since=since)
            gap = await client.control("gap")
            assert (gap["topic"], gap["cause"], gap["from"]) == (f"tick:{CODES[0]}", "relay", 2)
            rows = await rows_until(client, CODES[0], 601)
            assert rows[0][1] == gap["to"] + 1
            assert [seq for _, seq, _ in rows] == list(range(gap["to"] + 1, 602))


async def test_an_edge_that_counts_other_shards_than_its_feed_does_not_start(tmp_path: Path) -> None:
    async with deployment(tmp_path) as d:
        await d.start_feed("--symbols", "5")
        with pytest.raises(AssertionError, match="relay_shards is 3 here, but 16 at the feed"):
            await d.start_edge("--relay-shards", "3")


async def test_a_row_is_told_of_by_its_time(tmp_path: Path) -> None:
    """The markets of an edge's heartbeat are judged by the rows that it is given."""
    async with deployment(tmp_path) as d:
        await d.start_feed(*FED)
        edge = await d.start_edge()
        feeder = await d.feeder()
        await feeder.feed([tick(CODES[0], TEN_MS, 1)])
        async with plain_client(edge.ws_url) as client:
            async with asyncio.timeout(60):
                while "SH" not in (beat := await client.control("heartbeat"))["markets"]:
                    pass
            assert beat["markets"]["SH"]["age_ms"] is not None


INSTRUMENTS: Final = [{"code": code, "name": f"第{code}"} for code in CODES]
REFERENCE: Final = {"instruments": INSTRUMENTS, "universes": {"沪市": CODES[:3]}}


async def instruments_of(client: PlainClient, pattern: str) -> list[str]:
    """The codes that a pattern covers, as soon as the edge knows of any."""
    async with asyncio.timeout(60):
        while True:
            await client.send(op="instruments", pattern=pattern)
            reply = await client.receive()
            while isinstance(reply, Data) or reply["type"] not in ("instruments", "error"):
                reply = await client.receive()
            if reply["type"] == "instruments":
                assert all(one in INSTRUMENTS for one in reply["instruments"])
                return [one["code"] for one in reply["instruments"]]
            assert reply["code"] in ("unavailable", "bad_topic"), reply
            await asyncio.sleep(0.02)


async def test_an_edge_knows_instruments_and_universes_of_the_source_and_of_the_feed_s_operator(tmp_path: Path) -> None:
    settings = tmp_path / "hub.toml"
    settings.write_text(f'[universes]\nbanks = ["{CODES[3]}", "{CODES[4]}"]\n', encoding="utf-8")
    async with deployment(tmp_path) as d:
        await d.start_feed(*FED, "--config", str(settings))
        edge = await d.start_edge()
        feeder = await d.feeder()
        async with plain_client(edge.ws_url) as client:
            await client.send(op="subscribe", topics=["tick:@banks"])
            await client.control("subscribed")
            assert (await feeder.hear("want"))["want"] == [f"tick:{code}" for code in CODES[3:5]]
            await feeder.say("reference", **REFERENCE)
            assert await instruments_of(client, "@沪市") == CODES[:3]
            await client.send(op="subscribe", topics=["tick:@沪市"])
            await client.control("subscribed")
            assert (await feeder.hear("want"))["want"] == [f"tick:{CODES[3]}", f"tick:{CODES[4]}", "tick:@沪市"]
            await feeder.feed_ticks(CODES)
            assert [code for code, _, _ in await rows_until(client, CODES[4], 1)] == CODES[:5]
            await feeder.say("reference", instruments=INSTRUMENTS, universes={"沪市": CODES[2:6]})
            async with asyncio.timeout(60):
                while await instruments_of(client, "@沪市") != CODES[2:6]:  # noqa: ASYNC110 - clients are not told
                    await asyncio.sleep(0.02)
            await feeder.feed_ticks(CODES)
            assert [code for code, _, _ in await rows_until(client, CODES[5], 2)] == CODES[2:6]


async def test_a_new_edge_knows_instruments_at_once_also_without_a_feed_and_after_redis_forgot_them(
    tmp_path: Path,
) -> None:
    async with deployment(tmp_path) as d:
        await d.start_feed(*FED)
        feeder = await d.feeder()
        await feeder.say("reference", **REFERENCE)
        await feeder.feed_ticks(CODES)  # what is acknowledged came after it
        first = await d.start_edge()
        async with plain_client(first.ws_url) as client:
            assert await instruments_of(client, "*") == CODES
        await d.kill(d.feed)
        await d.ready(await d.start_edge(), is_ready=False, reason="the feed is away")
        await d.redis.do("FLUSHALL")
        await d.start_feed(*FED)  # from its folder: no feeder has told it anything yet
        for edge in (first, await d.start_edge()):
            async with plain_client(edge.ws_url) as client:
                found = await client.request("instruments", "instruments", pattern="@沪市")
                assert [one["code"] for one in found["instruments"]] == CODES[:3]
            assert json.loads(edge.get("/instruments").body) == REFERENCE


async def test_an_edge_serves_without_what_nobody_has_any_more(tmp_path: Path) -> None:
    async with deployment(tmp_path) as d:
        await d.start_feed(*FED)
        feeder = await d.feeder()
        await feeder.say("reference", **REFERENCE)
        await feeder.feed_ticks(CODES)
        async with plain_client((await d.start_edge()).ws_url) as client:
            assert await instruments_of(client, "*") == CODES
        await d.kill(d.feed)
        assert await d.redis.do("DEL", "{argus}:kept:reference") == 1
        edge = await d.start_edge()
        assert "what the feed knows of instruments can't be had" in edge.log()
        async with plain_client(edge.ws_url) as client:
            await client.send(op="subscribe", topics=["tick:*"])
            newest = [row[0] for data in await client.data(len(CODES)) for row in data.rows]
            assert sorted(newest) == sorted(CODES)
        await d.start_feed(*FED)
        async with plain_client(edge.ws_url) as client:
            assert await instruments_of(client, "@沪市") == CODES[:3]


async def test_clients_of_every_edge_are_told_what_the_source_can_t_give(tmp_path: Path) -> None:
    settings = tmp_path / "edge.toml"
    settings.write_text(f'[universes]\nmine = ["{CODES[0]}"]\n', encoding="utf-8")
    async with deployment(tmp_path) as d:
        await d.start_feed(*FED)
        one, other = await d.start_edge(), await d.start_edge("--config", str(settings))
        feeder = await d.feeder()
        async with plain_client(one.ws_url) as client:
            await client.send(op="subscribe", topics=[f"tick:{CODES[0]}"])
            await client.control("subscribed")
            await feeder.hear("want")
            await feeder.say("refused", topics={f"tick:{CODES[0]}": ["upstream_limit", "there is no room"]})
            error = await client.error()
            assert (error["code"], error["message"], error["retryable"]) == (
                "upstream_limit",
                "there is no room",
                False,
            )
        async with plain_client(other.ws_url) as client:  # names it otherwise, and the source is not asked again
            await client.send(op="subscribe", topics=["tick:@mine"])
            assert (await client.error())["code"] == "upstream_limit"
            await feeder.say("refused", topics={})
            await feeder.feed_ticks(CODES[:1])
            await rows_until(client, CODES[0], 1)
        async with plain_client(one.ws_url) as client:
            await client.send(op="subscribe", topics=[f"tick:{CODES[0]}"])
            await rows_until(client, CODES[0], 1)
