"""The life of one hub: what the source delivers goes through every part, readiness, and the order of the end."""

import asyncio
import gc
import socket
import weakref
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest

import bridge.app
from bridge.listening import StartError
from bridge.source import Batch, Sink, SourceState, SourceStatus
from hub.opening import Opened
from hub.server import HubServer
from tests.bridge.support.running_app import (
    TEN_MS,
    Scripted,
    app_of,
    connect_and_stay,
    opened_in_memory,
    running,
)
from tests.e2e.support.plain_client import plain_client
from tests.hub.support.core import EPOCH, Client, tick
from tests.hub.support.served_hub import ask, until


@pytest.fixture(autouse=True)
def collector_as_it_was() -> Iterator[None]:
    yield
    gc.unfreeze()


async def test_a_batch_goes_through_the_intake_to_the_hub_the_figures_and_the_recorder() -> None:
    def deliver(sink: Sink) -> None:
        sink.deliver(Batch("tick", [tick("600000.SH", TEN_MS), tick("600000.SH", 0), tick("nonsense", 1)], 7))

    recorded: list[Batch] = []
    app = app_of(Scripted([deliver]), recorder=SimpleNamespace(observe=recorded.append))
    await app._run_source()
    assert (app._hub.history.at, app._hub.counts.rows_in) == (1, 1)
    assert app._intake.refused == {"time zero": 1, "malformed code": 1}
    assert [len(batch.rows) for batch in recorded] == [1]
    page = app._metrics.page().decode()
    assert "argus_batch_rows_sum 1.0" in page
    app._watch.look(1)
    assert list(app._watch.markets) == ["SH"]


async def test_bars_do_not_count_as_fresh_ticks() -> None:
    source = Scripted([lambda sink: sink.deliver(Batch("1m", [("600000.SH", TEN_MS, *[None] * 7)], 7))])
    source.channels = frozenset({"tick", "1m"})
    app = app_of(source)
    await app._run_source()
    app._watch.look(1)
    assert list(app._watch.markets) == []
    assert app._hub.history.at == 1


async def test_a_row_that_cannot_be_encoded_is_logged_and_the_others_are_published(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rows = [tick("600000.SH", TEN_MS, object()), tick("600000.SH", TEN_MS)]
    app = app_of(Scripted([lambda sink: sink.deliver(Batch("tick", rows, 7))]))
    await app._run_source()
    assert app._hub.history.at == 1
    assert "row refused, not encodable: tick row that can't be encoded" in caplog.text


async def test_from_start_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    async def work(sink: Sink) -> None:
        sink.report(SourceStatus(SourceState.CONNECTED))
        sink.deliver(Batch("tick", [tick("600000.SH", TEN_MS)], 7))
        try:
            await asyncio.Event().wait()
        finally:
            order.append("source cancelled")

    monkeypatch.setattr(bridge.app, "LAG_PROBE_S", 0.001)
    monkeypatch.setattr(Opened, "close", lambda _: order.append("history closed"))
    drain = HubServer.drain

    async def note_and_drain(server: HubServer, reason: str, drain_s: float) -> None:
        order.append("drained")
        await drain(server, reason, drain_s)

    monkeypatch.setattr(HubServer, "drain", note_and_drain)
    source = Scripted([work])
    async with running(app_of(source, max_topics=3)) as hub, plain_client(hub.url) as client:
        assert client.welcome["epoch"] == EPOCH
        assert client.welcome["source"] == {"name": "scripted", "simulated": True}
        assert client.welcome["limits"]["topics"] == 3
        assert client.welcome["server"].startswith("argus-hub/")
        await client.request("subscribed", "subscribe", id=1, topics=["tick:*"])
        (rows,) = await client.data(1)
        assert rows.rows[0][:2] == ("600000.SH", 1)
        assert source.wanted == [frozenset({"tick:*"})]
        await until(lambda: b"argus_event_loop_lag_seconds_count 0.0" not in hub.app._metrics.page())
        assert await hub.ready() == (200, [])
        metrics = (await ask(hub.port, "/metrics")).body
        assert "argus_clients 1.0" in metrics
        assert 'argus_source_state{source="scripted",state="connected"} 1.0' in metrics
        hub.stop()
        assert (await client.control("draining"))["reason"] == "the hub is restarting"
        assert (await client.closed())[0] in (1012, 1006)
    assert order == ["source cancelled", "drained", "history closed"]
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others


async def test_a_market_that_rows_are_due_of_is_judged_though_it_never_speaks() -> None:
    app = app_of(Scripted(markets={"SH": 2000}))
    app._watch.look(1)
    assert list(app._watch.markets) == ["SH"]


async def test_an_address_of_version_6_is_told_in_brackets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HubServer, "start", started_at("::1", 8765))
    monkeypatch.setattr(HubServer, "drain", started_at())
    stopped = asyncio.Event()
    stopped.set()
    assert await app_of(Scripted([connect_and_stay])).run(stopped) == 8765
    assert capsys.readouterr().out == "Argus Hub is listening on http://[::1]:8765/ (ws://[::1]:8765/ws)\n"


def started_at(*address: Any) -> Callable[..., Any]:
    async def start(*_: Any) -> list[Any]:
        return [address]

    return start


async def test_while_the_source_has_not_reported_or_is_away_the_hub_is_not_ready() -> None:
    sinks: list[Sink] = []

    def keep(sink: Sink) -> Any:
        sinks.append(sink)
        return asyncio.Event().wait()

    async with running(app_of(Scripted([keep]))) as hub:
        assert await hub.ready() == (503, ["the source scripted is away: not started yet"])
        sinks[0].report(SourceStatus(SourceState.CONNECTED))
        sinks[0].deliver(Batch("tick", [tick("600000.SH", TEN_MS)], 7))
        assert await hub.ready() == (200, [])
        sinks[0].report(SourceStatus(SourceState.AWAY, "no terminal"))
        assert await hub.ready() == (503, ["the source scripted is away: no terminal"])
    assert hub.app._reasons_not_ready() == ["the hub is draining: it is about to restart"]


async def test_a_source_that_is_connected_but_mute_from_the_start_is_not_ready() -> None:
    """The market has been open for half an hour, and not one row has come: no light may be green."""
    source = Scripted([connect_and_stay])
    async with running(app_of(source)) as hub:
        await until(lambda: hub.app._watch.source_state == "connected")
        hub.app._watch.look(1)
        source.clock_ms += 30 * 60_000
        hub.app._watch.look(2)
        status, reasons = await hub.ready()
    assert status == 503
    assert reasons


async def test_markets_are_looked_at_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def deliver(sink: Sink) -> Any:
        sink.deliver(Batch("tick", [tick(f"{number}.SH", TEN_MS) for number in range(60)], 7))
        return connect_and_stay(sink)

    monkeypatch.setattr(bridge.app, "LOOK_S", 0.005)
    source = Scripted([deliver])
    async with running(app_of(source, heartbeat_s=0.05)) as hub, plain_client(hub.url) as client:
        states = [""]
        while states[-1] != "live":
            states.append((await client.control("heartbeat"))["markets"].get("SH", {}).get("state", ""))
        source.clock_ms += 20 * 60_000
        while states[-1] != "stale":
            states.append((await client.control("heartbeat"))["markets"]["SH"]["state"])
    assert set(states) == {"", "live", "stale"}


def test_the_lag_of_the_loop_is_how_late_a_timer_was(monkeypatch: pytest.MonkeyPatch) -> None:
    app = app_of(Scripted())
    now_s, delays_s = 100.0, [0.125, 0.0, 0.5]

    async def sleep(delay_s: float) -> None:
        nonlocal now_s
        if not delays_s:
            raise asyncio.CancelledError
        now_s += delay_s + delays_s.pop(0)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "sleep", sleep)
        patch.setattr(asyncio, "get_running_loop", lambda: SimpleNamespace(time=lambda: now_s))
        with pytest.raises(asyncio.CancelledError):
            app._probe_lag().send(None)
    page = app._metrics.page().decode()
    assert "argus_event_loop_lag_seconds_count 3.0" in page
    assert "argus_event_loop_lag_seconds_sum 0.625" in page


async def test_a_clock_that_fails_once_does_not_end_the_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a vendor's code raises: a watch that has ended would say for ever what it said last."""
    monkeypatch.setattr(bridge.app, "LOOK_S", 0.005)
    source = Scripted([connect_and_stay])
    async with running(app_of(source)) as hub:
        looks: list[int] = []

        def now_ms() -> int:
            looks.append(1)
            if len(looks) == 1:
                raise RuntimeError("the terminal is gone")
            return TEN_MS

        hub.app._watch._now_ms = now_ms
        await until(lambda: len(looks) > 3, patience_s=3)


async def test_it_says_where_it_listens_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    async with running(app_of(Scripted([connect_and_stay]))) as hub:
        await hub.ready()
    port = hub.port
    assert capsys.readouterr().out == f"Argus Hub is listening on http://127.0.0.1:{port}/ (ws://127.0.0.1:{port}/ws)\n"
    assert hub.ended.result() == port


async def test_a_port_that_was_taken_meanwhile_is_a_mistake_and_the_history_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[Opened] = []
    monkeypatch.setattr(Opened, "close", lambda opened: closed.append(opened))
    source = Scripted([connect_and_stay])
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        app = app_of(source, port=port)
        with pytest.raises(StartError, match=f"^cannot listen on 127.0.0.1 port {port}: "):
            await app.run(asyncio.Event())
    assert len(closed) == 1
    assert source.started == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_hub_that_has_ended_leaves_nothing_frozen_and_can_be_let_go() -> None:
    """A hub that is fed may begin several histories in its life: the memory of the others must come back."""
    gc.unfreeze()
    app = app_of(Scripted([connect_and_stay]))
    async with running(app) as hub:
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0
    history = weakref.ref(app._hub)
    del app, hub
    gc.collect()
    assert history() is None


async def test_what_ended_before_is_let_go_before_anything_is_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = app_of(Scripted())
    gone_hub = weakref.ref(gone._hub)
    async with running(app_of(Scripted([connect_and_stay]))):
        pass
    assert gone_hub() is not None
    del gone
    async with running(app_of(Scripted([connect_and_stay]))):
        assert gone_hub() is None


async def test_of_a_history_that_goes_on_the_source_was_away(caplog: pytest.LogCaptureFixture) -> None:
    """Between the last row of a hub and the first of the next one, others may have been traded."""
    opened = opened_in_memory()
    opened.history.append("tick", [tick("600000.SH", TEN_MS)], 1)

    def deliver(sink: Sink) -> None:
        sink.deliver(Batch("tick", [tick("600000.SH", TEN_MS + 3000)], 7))

    app = app_of(Scripted([deliver]), opened)
    await app._run_source()
    app._hub.flush()
    (notice,) = opened.history.notices(0, 2)
    assert notice == (1, "tick:*", TEN_MS, TEN_MS + 3000)


async def test_of_a_new_history_nothing_is_missing() -> None:
    opened = opened_in_memory()
    app = app_of(Scripted([lambda sink: sink.deliver(Batch("tick", [tick("600000.SH", TEN_MS)], 7))]), opened)
    await app._run_source()
    app._hub.flush()
    assert list(opened.history.notices(0, 2)) == []


async def test_a_row_that_the_history_ends_with_is_a_repeat() -> None:
    opened = opened_in_memory()
    opened.history.append("tick", [tick("600000.SH", TEN_MS, 8.5)], 1)
    app = app_of(Scripted([lambda sink: sink.deliver(Batch("tick", [tick("600000.SH", TEN_MS, 8.5)], 7))]), opened)
    await app._run_source()
    assert opened.history.at == 1
    assert app._intake.refused == {"repeat": 1}
    assert "argus_rows_unproven_total 0.0" in app._metrics.page().decode()
    app._intake._past._lookback.unanswered += 2
    assert "argus_rows_unproven_total 2.0" in app._metrics.page().decode()


def shanghai_ms(day: int, hour: int, minute: int = 0) -> int:
    """A time of June 2022 in Shanghai; the third is a holiday (Friday), the sixth a Monday."""
    return int(datetime(2022, 6, day, hour, minute, tzinfo=timezone(timedelta(hours=8))).timestamp() * 1000)


@pytest.mark.parametrize(
    ("now_ms", "expected"),
    [
        (shanghai_ms(2, 15), [2, 3]),
        (shanghai_ms(2, 22), [2, 3]),
        (shanghai_ms(3, 10), [2, 3]),
        (shanghai_ms(5, 10), [2, 3]),
        (shanghai_ms(6, 0), []),
        (shanghai_ms(6, 8, 50), []),
    ],
)
async def test_since_open_begins_with_the_trading_day_that_the_sources_clock_is_in(
    now_ms: int, expected: list[int]
) -> None:
    source = Scripted(clock_ms=now_ms)
    app = app_of(source)
    times = [shanghai_ms(1, 14), shanghai_ms(2, 9, 30), shanghai_ms(2, 14)]
    app._hub.publish("tick", [tick("600000.SH", time_ms) for time_ms in times], 1)
    client = Client(app._hub)
    client.ask("subscribe", topics=["tick:*"], since="open")
    client.pump()
    assert [what[2] for what in client.told() if what[0] == "replay"] == expected


async def test_a_row_of_the_day_to_come_takes_nothing_from_since_open() -> None:
    source = Scripted(clock_ms=shanghai_ms(2, 15))
    app = app_of(source)
    batch = Batch("tick", [tick("600000.SH", shanghai_ms(2, 14)), tick("600001.SH", shanghai_ms(3, 14))], 7)
    source.runs = [lambda sink: sink.deliver(batch)]
    await app._run_source()
    client = Client(app._hub)
    client.ask("subscribe", topics=["tick:*"], since="open")
    client.pump()
    assert client.told() == [("subscribed",), ("replay", "600000.SH", 1), ("replay", "600001.SH", 1)]


async def test_since_open_and_the_files_of_the_journal_go_by_the_same_days(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Scripted([connect_and_stay], clock_ms=shanghai_ms(3, 10))
    source.trading_days = frozenset({date(2022, 6, 2), date(2022, 6, 6)})
    app = app_of(source)
    rolled: list[date] = []
    monkeypatch.setattr(app._hub, "roll", rolled.append)
    for now_ms in shanghai_ms(3, 10), shanghai_ms(6, 1):
        source.clock_ms = now_ms
        looking = asyncio.create_task(app._look())
        await until(lambda: rolled)
        looking.cancel()
        day = rolled.pop()
        assert app._hub.day_start_ms() == shanghai_ms(day.day, 0)


async def test_a_hub_with_a_source_of_its_own_has_no_door_for_feeders() -> None:
    async with running(app_of(Scripted([connect_and_stay]))) as hub:
        assert (await ask(hub.port, "/feed")).status == 404
