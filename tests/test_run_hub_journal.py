"""The program and its journal: kept, not kept, taken by another hub, or failing; live goes on whatever happens."""

import errno
import gc
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.feed.known import KnownSource, read_known
from bridge.source import Batch, Sink, SourceState, SourceStatus
from tests.bridge.support.feeding import plain_feeder
from tests.bridge.support.running_app import TEN_MS, Scripted, connect_and_stay, serving
from tests.e2e.support.plain_client import plain_client
from tests.hub.support.core import tick
from tests.hub.support.served_hub import until


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    yield
    gc.unfreeze()


class Told:
    """A source that delivers what the test tells it to."""

    def __init__(self) -> None:
        self._sink: Sink | None = None
        self.source = Scripted([self._run])

    def deliver(self, *times_s: int) -> None:
        """One batch for each of these times, in seconds after ten."""
        assert self._sink is not None
        for time_s in times_s:
            self._sink.deliver(Batch("tick", [tick("600000.SH", TEN_MS + time_s * 1000)], 17))

    def _run(self, sink: Sink) -> Any:
        self._sink = sink
        sink.report(SourceStatus(SourceState.CONNECTED))
        return connect_and_stay(sink)

    async def runs(self) -> None:
        """Wait until it may deliver."""
        await until(lambda: self._sink)


def fill_the_disk(patch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    patch.setattr("hub.journal.disk.write_all", refuse)


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def critical(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]


async def test_every_row_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    told = Told()
    async with serving(told.source, data=tmp_path) as hub:
        await told.runs()
        told.deliver(1, 2)
        async with plain_client(hub.url) as client:
            await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since={"time": 0})
            await client.data(2)
        assert await hub.figure("argus_journal_on") == 1
        assert await hub.figure("argus_journal_rows") == hub.app._hub.history.at
        assert await hub.figure("argus_journal_bytes") > 0
        assert await hub.figure("argus_journal_append_seconds_count") > 0
        assert await hub.degraded() == []
    assert next((tmp_path / "journal").glob("*.rows")).stat().st_size > 0


async def test_without_a_journal_nothing_is_written_and_that_is_no_fault(tmp_path: Path) -> None:
    told = Told()
    async with serving(told.source, data=tmp_path / "data", journal=False) as hub:
        await told.runs()
        told.deliver(1, 2)
        async with plain_client(hub.url) as client:
            await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since={"time": 0})
            await client.data(2)
        assert await hub.figure("argus_journal_on") == 0
        assert await hub.degraded() == []
        assert (await hub.ready())[0] == 200
    assert names(tmp_path) == []


async def test_a_fed_hub_without_a_journal_remembers_nobody(tmp_path: Path) -> None:
    async with serving(data=tmp_path / "data", journal=False) as hub, plain_feeder(hub.feed_url) as feeder:
        await feeder.hello(source="alpha")
        await feeder.batch(1)
        await feeder.acknowledged(1)
        async with plain_client(hub.url) as client:
            assert client.welcome["source"]["name"] == "alpha"
    assert names(tmp_path) == []


async def test_a_market_that_begins_anew_with_the_hub_has_a_new_epoch(tmp_path: Path) -> None:
    """A simulated day from its start is not the one that clients have seen, though the times are the same."""
    epochs = []
    for _ in range(2):
        told = Told()
        async with serving(told.source, data=tmp_path) as hub, plain_client(hub.url) as client:
            epochs.append(client.welcome["epoch"])
            await told.runs()
            told.deliver(1)
            since = {"epoch": epochs[0], "at": 0, "seq": {"tick:600000.SH": 0}}
            reply = await client.request("subscribed", "subscribe", id=1, topics=["tick:600000.SH"], since=since)
            assert reply["recovered"] == (len(epochs) == 1)
    assert epochs[0] != epochs[1]


# The folder is another hub's


async def test_a_second_hub_on_the_same_data_goes_on_without_a_journal_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = Told(), Told()
    async with serving(first.source, data=tmp_path) as one, serving(second.source, data=tmp_path) as two:
        (told,) = critical(caplog)
        assert f"{tmp_path / 'journal'} is in use by another hub" in told
        (reason,) = await two.degraded()
        assert "in use by another hub" in reason
        assert (await two.ready())[0] == 200
        assert await two.figure("argus_journal_on") == 0
        assert await one.degraded() == []
        assert await one.figure("argus_journal_on") == 1
        await first.runs()
        await second.runs()
        for told_source, hub in ((first, one), (second, two)):
            async with plain_client(hub.url) as client:
                await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since="none")
                told_source.deliver(1)
                (data,) = await client.data(1)
                assert data.rows[0][:2] == ("600000.SH", 1)


async def test_a_second_fed_hub_does_not_change_what_the_first_remembers(tmp_path: Path) -> None:
    async with serving(data=tmp_path) as one, serving(data=tmp_path) as two:
        for hub, name in ((one, "alpha"), (two, "beta")):
            async with plain_feeder(hub.feed_url) as feeder:
                await feeder.hello(source=name)
                await feeder.batch(1)
                await feeder.acknowledged(1)
        epoch = one.app._hub.epoch
    assert read_known(tmp_path) == KnownSource(epoch, "alpha", simulated=False)
    async with serving(data=tmp_path) as hub, plain_client(hub.url) as client:
        assert (client.welcome["epoch"], client.welcome["source"]["name"]) == (epoch, "alpha")


async def test_a_folder_that_cannot_be_made_leaves_the_hub_without_a_journal_loudly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    async with serving(Scripted([connect_and_stay]), data=tmp_path / "data") as hub:
        assert len(critical(caplog)) == 1
        assert len(await hub.degraded()) == 1
        assert (await hub.ready())[0] == 200


# The disk fails


async def test_when_the_disk_is_full_live_goes_on_and_everybody_who_asks_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    async with serving(told.source, data=tmp_path) as hub, plain_client(hub.url) as client:
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since="none")
        await told.runs()
        told.deliver(1)
        await client.data(1)
        with pytest.MonkeyPatch.context() as patch:
            fill_the_disk(patch)
            told.deliver(2)
            (data,) = await client.data(1)
        told.deliver(3, 4)
        rows = [*data.rows, *(row for data in await client.data(2) for row in data.rows)]
        assert [row[1] for row in rows] == [2, 3, 4]
        (reason,) = await hub.degraded()
        assert "cannot be written (No space left on device)" in reason
        assert await hub.ready() == (200, [])
        assert await hub.figure("argus_journal_on") == 0
        assert await hub.figure("argus_ring_rows") >= 4
        async with plain_client(hub.url) as late:
            await late.request("subscribed", "subscribe", id=1, topics=["tick:*"], since={"time": 0})
            assert [row[1] for data in await late.data(4) for row in data.rows] == [1, 2, 3, 4]
    assert critical(caplog) == [reason], "once"


async def test_the_hub_after_a_disk_that_was_full_begins_a_new_epoch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows went out that the journal does not have: their numbers must never be given out again."""
    async with serving(data=tmp_path) as hub, plain_feeder(hub.feed_url) as feeder:
        await feeder.hello()
        await feeder.batch(1)
        await feeder.acknowledged(1)
        with pytest.MonkeyPatch.context() as patch:
            fill_the_disk(patch)
            await feeder.batch(2)
            await feeder.acknowledged(2)  # what can't be kept must not come again for ever
        epoch = hub.app._hub.epoch
    caplog.clear()
    async with serving(data=tmp_path) as hub, plain_feeder(hub.feed_url) as feeder:
        assert "a new epoch begins: nothing proves that the journal is complete" in caplog.text
        assert (await feeder.hello())["batch"] == 0
        await feeder.batch(3)
        await feeder.acknowledged(3)
        assert await hub.degraded() == []
        assert await hub.figure("argus_journal_on") == 1
        async with plain_client(hub.url) as client:
            assert client.welcome["epoch"] != epoch
            reply = await client.request(
                "subscribed",
                "subscribe",
                id=1,
                topics=["tick:600000.SH"],
                since={"epoch": epoch, "at": 99, "seq": {"tick:600000.SH": 2}},
            )
            assert (reply["recovered"], reply["unrecovered"]) == (False, ["tick:600000.SH"])


async def test_a_folder_that_disappears_while_the_hub_runs_does_not_stop_it(tmp_path: Path) -> None:
    told = Told()
    async with serving(told.source, data=tmp_path) as hub, plain_client(hub.url) as client:
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"], since="none")
        await told.runs()
        told.deliver(1)
        await client.data(1)
        shutil.rmtree(tmp_path / "journal")
        told.deliver(2)
        (data,) = await client.data(1)
        assert data.rows[0][1] == 2
