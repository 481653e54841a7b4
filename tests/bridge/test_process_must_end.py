"""A source that only another process can help: what came is sent, and the feeder is started again by whoever did."""

import asyncio
import os
from typing import Any

import pytest

import run_hub
from bridge.feed.feeding import Feeding, FeedingSettings
from bridge.source import Batch, ProcessMustEnd, Sink, SourceState, SourceStatus
from tests.bridge.support.feeding import fed_hub, rows_of
from tests.bridge.support.running_app import Scripted


def bring_and_end(sink: Sink) -> Any:
    async def run() -> None:
        sink.report(SourceStatus(SourceState.CONNECTED))
        sink.deliver(Batch("tick", rows_of(1), 17))
        raise ProcessMustEnd("a call hangs")

    return run()


async def test_what_came_before_it_is_the_hub_s_and_it_is_not_run_again_here() -> None:
    source = Scripted([bring_and_end])
    async with fed_hub() as fed:
        settings = FeedingSettings(fed.url, token="", buffer_bytes=2**20, finish_s=30.0, speed=None)
        with pytest.raises(ProcessMustEnd, match="a call hangs"):
            async with asyncio.timeout(60):
                await Feeding(source, settings).run(asyncio.Event())
        assert source.started == 1
        assert [list(batch.rows) for batch in fed.sink.batches] == [rows_of(1)]


def test_the_program_ends_at_once_with_its_own_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Ended(Exception):  # noqa: N818
        pass

    def leave(code: int) -> None:
        raise Ended(code)

    async def feed(*_: Any) -> None:
        raise ProcessMustEnd("a call hangs")

    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr(run_hub, "feed", feed)
    monkeypatch.setattr("sys.argv", ["run_hub.py", "--role", "feeder", "--to", "ws://127.0.0.1:1/feed"])
    with pytest.raises(Ended) as ended:
        run_hub.main()
    assert ended.value.args == (run_hub.EXIT_AGAIN,)
    assert capsys.readouterr().err == "run_hub.py: the source can't go on in this process: a call hangs\n"
