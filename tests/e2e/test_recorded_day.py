"""A recorded day from the file to the socket: every row once, in order, every value as recorded, in both encodings."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest

from tests.e2e.conftest import StartHub
from tests.e2e.support.hub_process import HubProcess, running_hub
from tests.e2e.support.model import covers
from tests.e2e.support.plain_client import Control, Data, Encoding, PlainClient, Row, plain_client
from tests.e2e.support.recorded_day import expected_rows, recording, without_recv

SHENZHEN: Final = "ticks-20220601-szse.csv.gz"
SHANGHAI: Final = "ticks-20211201-sse.csv.gz"
ROWS: Final = {SHENZHEN: 20_980, SHANGHAI: 22_430}
HEARTBEATS: Final = ("--heartbeat-s", "0.1")
ENCODINGS: Final[tuple[Encoding, ...]] = ("json", "msgpack")

pytestmark = pytest.mark.parametrize("encoding", ENCODINGS)


@dataclass(frozen=True)
class Day:
    """A hub that plays a recorded day as fast as it goes, and what the file holds."""

    hub: HubProcess
    rows: list[Row]
    started_us: int

    def of(self, *patterns: str) -> list[Row]:
        return [row for row in self.rows if any(covers(pattern, f"tick:{row[0]}") for pattern in patterns)]

    def newest(self, *patterns: str) -> dict[str, Row]:
        return {row[0]: row for row in self.of(*patterns)}


@pytest.fixture(scope="module", params=[SHENZHEN, SHANGHAI])
def day(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    path = recording(request.param)
    rows = expected_rows(path)
    assert len(rows) == ROWS[request.param]
    started_us = time.time_ns() // 1000
    options = ("--source", "recording", "--recording", f"../shared/data/{path.name}", "--speed", "0", *HEARTBEATS)
    with running_hub(*options, log_file=tmp_path_factory.mktemp("day") / "hub.log") as hub:
        yield Day(hub, rows, started_us)


@dataclass(frozen=True)
class Stream:
    """What one subscription brought: the reply, and all rows with the label of the message that carried each."""

    reply: Control
    rows: list[Row]
    labels: list[tuple[str, Any]]


async def collect(client: PlainClient, topics: list[str], count: int, **fields: Any) -> Stream:
    """Subscribe and read on until ``count`` rows are there and everything up to a later heartbeat has come.

    The heartbeat proves that no row follows which should not: it is sent behind all rows up to its ``at``.
    """
    reply = await client.request("subscribed", "subscribe", id="the day", topics=topics, **fields)
    rows: list[Row] = []
    labels: list[tuple[str, Any]] = []
    while True:
        message = await client.receive()
        if isinstance(message, Data):
            assert message.channel == "tick"
            rows += message.rows
            labels += [(message.origin, message.id)] * len(message.rows)
        else:
            assert message["type"] == "heartbeat", f"{message} among the rows"
            if len(rows) >= count:
                return Stream(reply, rows, labels)


def check_recv(rows: list[Row], started_us: int) -> None:
    """``recv`` is the wall clock at which each row was received, which never runs backwards within a stream."""
    received = [row[3] for row in rows]
    assert all(type(recv) is int for recv in received)
    assert received == sorted(received)
    assert started_us <= received[0]
    assert received[-1] <= time.time_ns() // 1000


async def played_out(hub: HubProcess, count: int) -> None:
    """Wait until a hub has played all its rows: a client since time 0 has got them all."""
    async with plain_client(hub.ws_url, "msgpack") as client:
        await client.send("subscribe", id=1, topics=["tick:*"], since={"time": 0})
        await client.data(count)


async def test_since_time_zero_every_row_of_the_file_arrives_exactly_once_in_order(
    day: Day, encoding: Encoding
) -> None:
    async with plain_client(day.hub.ws_url, encoding) as client:
        stream = await collect(client, ["tick:*"], len(day.rows), since={"time": 0})
    assert [without_recv(row) for row in stream.rows] == day.rows
    check_recv(stream.rows, day.started_us)
    assert stream.reply["recovered"] is True
    assert stream.reply["unrecovered"] == []
    replayed = stream.reply["replayed"]
    assert stream.labels == [("replay", "the day")] * replayed + [("live", None)] * (len(day.rows) - replayed)


async def test_a_client_that_comes_after_the_play_out_gets_all_of_it_from_history(day: Day, encoding: Encoding) -> None:
    await played_out(day.hub, len(day.rows))
    async with plain_client(day.hub.ws_url, encoding) as client:
        stream = await collect(client, ["tick:*"], len(day.rows), since={"time": 0})
        assert stream.reply["at"] >= client.welcome["at"] >= len(day.rows)
    assert [without_recv(row) for row in stream.rows] == day.rows
    assert set(stream.labels) == {("replay", "the day")}
    assert stream.reply["matched"] == len({row[0] for row in day.rows})
    assert stream.reply["replayed"] == len(day.rows)


async def test_several_clients_that_join_while_it_is_played_each_get_all_of_it(
    encoding: Encoding, start_hub: StartHub
) -> None:
    rows = expected_rows(recording(SHENZHEN))
    hub = start_hub(
        "--source", "recording", "--recording", f"../shared/data/{SHENZHEN}", "--speed", "4000", *HEARTBEATS
    )

    async def whole_stream(wait_for: int) -> Stream:
        async with plain_client(hub.ws_url, encoding) as client:
            if wait_for:
                await client.send("subscribe", id="first", topics=["tick:*"], since={"time": 0})
                seen = 0
                while seen < wait_for:
                    message = await client.receive()
                    seen += len(message.rows) if isinstance(message, Data) else 0
                await client.request("unsubscribed", "unsubscribe", id="over", topics=["tick:*"])
            return await collect(client, ["tick:*"], len(rows), since={"time": 0})

    streams = await asyncio.gather(*(whole_stream(wait_for) for wait_for in (0, 1, 2_000, 9_000)))
    for stream in streams:
        assert [without_recv(row) for row in stream.rows] == rows
        replayed = stream.reply["replayed"]
        assert stream.labels == [("replay", "the day")] * replayed + [("live", None)] * (len(rows) - replayed)
    joined_at = [stream.reply["replayed"] for stream in streams]
    assert joined_at[2] >= 2_000
    assert any(0 < replayed < len(rows) for replayed in joined_at), "nobody joined while the day was played"


@pytest.mark.parametrize(
    "topics",
    [
        ["tick:300*.SZ", "tick:688*.SH"],
        ["tick:*2*"],
        ["tick:000400.SZ", "tick:600332.SH", "tick:601689.SH"],
        ["tick:30*", "tick:300274.SZ", "tick:*88*", "tick:688*.SH"],
    ],
    ids=" ".join,
)
async def test_narrower_patterns_and_exact_names_bring_just_their_rows(
    day: Day, encoding: Encoding, topics: list[str]
) -> None:
    await played_out(day.hub, len(day.rows))
    due = day.of(*topics)
    assert due
    async with plain_client(day.hub.ws_url, encoding) as client:
        stream = await collect(client, topics, len(due), since={"time": 0})
    assert [without_recv(row) for row in stream.rows] == due
    assert stream.reply["matched"] == len({row[0] for row in due})
    assert stream.reply["replayed"] == len(due)


async def test_since_a_time_begins_at_each_topics_first_row_from_then_on(day: Day, encoding: Encoding) -> None:
    await played_out(day.hub, len(day.rows))
    moment = sorted(row[2] for row in day.rows)[len(day.rows) // 2] + 1
    started: set[str] = set()
    due = []
    for row in day.rows:
        if row[2] >= moment:
            started.add(row[0])
        if row[0] in started:
            due.append(row)
    assert 0 < len(due) < len(day.rows)
    async with plain_client(day.hub.ws_url, encoding) as client:
        stream = await collect(client, ["tick:*"], len(due), since={"time": moment})
    assert [without_recv(row) for row in stream.rows] == due
    assert stream.reply["replayed"] == len(due)


async def test_open_brings_every_row_of_the_trading_day(day: Day, encoding: Encoding) -> None:
    await played_out(day.hub, len(day.rows))
    async with plain_client(day.hub.ws_url, encoding) as client:
        stream = await collect(client, ["tick:*"], len(day.rows), since="open")
    assert [without_recv(row) for row in stream.rows] == day.rows
    assert set(stream.labels) == {("replay", "the day")}
    assert stream.reply["recovered"] is True


async def test_none_brings_nothing_of_what_was_before(day: Day, encoding: Encoding) -> None:
    await played_out(day.hub, len(day.rows))
    async with plain_client(day.hub.ws_url, encoding) as client:
        stream = await collect(client, ["tick:*"], 0, since="none")
    assert stream.rows == []
    assert stream.reply["matched"] == len({row[0] for row in day.rows})
    assert stream.reply["replayed"] == 0
    assert stream.reply["recovered"] is True


async def test_without_since_a_snapshot_of_the_newest_row_of_each_topic_comes(day: Day, encoding: Encoding) -> None:
    await played_out(day.hub, len(day.rows))
    newest = day.newest("tick:*")
    async with plain_client(day.hub.ws_url, encoding) as client:
        stream = await collect(client, ["tick:*"], len(newest))
    assert len(stream.rows) == len(newest)
    assert {row[0]: without_recv(row) for row in stream.rows} == newest
    assert set(stream.labels) == {("snapshot", "the day")}
    assert stream.reply["matched"] == len(newest)


async def test_the_op_snapshot_brings_the_newest_rows_and_then_says_how_many(day: Day, encoding: Encoding) -> None:
    await played_out(day.hub, len(day.rows))
    newest = day.newest("tick:*3*")
    assert newest
    async with plain_client(day.hub.ws_url, encoding) as client:
        # The same topics twice over: each is still delivered once.
        await client.send("snapshot", id=17, topics=["tick:*3*", f"tick:{next(iter(newest))}", "tick:000000.XX"])
        messages = await client.until(lambda message: isinstance(message, dict) and message["type"] == "snapshot_done")
    data = [message for message in messages if isinstance(message, Data)]
    rows = [without_recv(row) for message in data for row in message.rows]
    assert {(message.channel, message.origin, message.id) for message in data} == {("tick", "snapshot", 17)}
    assert len(rows) == len(newest)
    assert {row[0]: row for row in rows} == newest
    assert messages[-1] == {"type": "snapshot_done", "id": 17, "count": len(newest)}


async def test_the_op_topics_tells_number_and_time_of_each_newest_row(day: Day, encoding: Encoding) -> None:
    await played_out(day.hub, len(day.rows))
    async with plain_client(day.hub.ws_url, encoding) as client:
        everything = await client.request("topics", "topics", id=1, pattern="tick:*")
        some = await client.request("topics", "topics", id=2, pattern="tick:*3*")
    for reply, pattern in ((everything, "tick:*"), (some, "tick:*3*")):
        assert {entry["topic"]: entry for entry in reply["topics"]} == {
            f"tick:{code}": {"topic": f"tick:{code}", "seq": row[1], "time": row[2]}
            for code, row in day.newest(pattern).items()
        }
        assert len(reply["topics"]) == len(day.newest(pattern))


async def test_welcome_says_that_the_source_is_a_recording_and_not_invented(day: Day, encoding: Encoding) -> None:
    async with plain_client(day.hub.ws_url, encoding) as client:
        assert client.welcome["source"] == {"name": "recording", "simulated": False}
        assert client.welcome["protocol"] == "argus.v1"
        assert client.welcome["schemas"]["tick"][:4] == ["code", "seq", "time", "recv"]
