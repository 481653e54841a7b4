"""The source over the real xtdata.py and a scripted terminal: what is subscribed, what comes, what is told."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bridge.source import SourceState
from hub.schema import CHANNELS
from tests.bridge.xtquant.support.running import Clock, running
from tests.bridge.xtquant.support.terminal import MIDNIGHT_MS, TEN_MS, a_terminal, codes_of, tick

SH, SZ = codes_of(30), codes_of(3, "SZ")
SECTORS = {"沪深A股": [*SH, *SZ], "沪深300": SH[:2]}
NEWEST = {code: tick(TEN_MS) for code in (*SH, *SZ)}
DAY_MS = 86_400_000

ONLY = {"sectors": ("沪深A股",), "universes": ("沪深300", "没有的板块")}


def named(channel: str, row: Any) -> dict[str, Any]:
    return dict(zip(CHANNELS[channel].source_names, row, strict=True))


@pytest.mark.parametrize("as_bson", [True, False], ids=["bson", "dict"])
async def test_ticks_come_first_as_a_state_and_then_live(folder: Path, tmp_path: Path, as_bson: bool) -> None:
    async with (
        a_terminal(SECTORS, ticks=dict(NEWEST), as_bson=as_bson) as terminal,
        running(terminal, folder, tmp_path, **ONLY) as run,
    ):
        await run.connected()
        assert sorted(row[0] for row in run.sink.rows(is_state=True)) == sorted(NEWEST)
        assert run.sink.rows() == []
        terminal.push({SH[0]: tick(TEN_MS + 3000, 11.37), SH[1]: tick(TEN_MS + 3000, 12.0)})
        await run.sink.until(run.sink.rows)
        first, second = run.sink.rows()
        assert len(run.sink.batches[-1].rows) == 2, "a callback's rows travel as one batch"
        row = named("tick", first)
        assert (row["code"], row["time"], row["lastPrice"]) == (SH[0], TEN_MS + 3000, 11.37)
        assert row["bidPrice"] == [11.36, 11.35, 11.34, 11.33, 11.32], "on the tick, without noise"
        assert (row["volume"], row["pvolume"], row["openInt"]) == (1000, 100_000, 13)
        assert second[0] == SH[1]


async def test_ticks_are_subscribed_by_lists_of_codes_one_for_each_market(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=NEWEST) as terminal, running(terminal, folder, tmp_path, **ONLY) as run:
        await run.connected()
        assert sorted(terminal.wholes()) == sorted([SH, SZ])
        assert run.source.markets == {"SH": 30, "SZ": 3}


async def test_the_status_callbacks_are_registered_before_anything_is_subscribed(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=NEWEST) as terminal, running(terminal, folder, tmp_path, **ONLY) as run:
        await run.connected()
        names = [call[:2] for call in terminal.calls]
        assert names.index(("control", "watchquoteserverstatus")) < [name for name, *_ in names].index("whole")
        terminal.tell("watchxtquantstatus", "connected")  # it was given to the client when that was made
        await run.looked()
        run.clock.pass_s(3)
        await run.looked()
        assert run.sink.figures["the terminal connected"] == 1


async def test_repeats_are_dropped_and_counted_and_so_is_what_was_not_asked_for(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=dict(NEWEST)) as terminal, running(terminal, folder, tmp_path, **ONLY) as run:
        await run.connected()
        await run.looked()
        before = len(run.sink.batches)
        (number,) = [number for number, what in terminal.held.items() if what == ("whole", SZ)]
        zero, midnight = tick(0), tick(MIDNIGHT_MS)
        terminal.push_raw(number, {SZ[0]: NEWEST[SZ[0]], "113050.SH": tick(TEN_MS), SZ[1]: zero, SZ[2]: midnight})
        terminal.push_raw(number, {SZ[0]: {"time": "now"}, SZ[1]: 5})
        terminal.push_raw(number, {SZ[2]: tick(TEN_MS + 3000)})
        await run.sink.until(run.sink.rows)
        assert [len(batch.rows) for batch in run.sink.batches[before:]] == [1]
        run.clock.pass_s(3)
        await run.looked()
        dropped = {cause: count for cause, count in run.sink.figures.items() if cause.startswith("row left out")}
        # The 33 of the baseline came with the subscription already.
        assert dropped == {
            "row left out, equal repeat": 34,
            "row left out, not asked for": 1,
            "row left out, time zero": 1,
            "row left out, time midnight": 1,
            "row left out, malformed": 2,
        }


async def test_the_state_of_a_new_connection_brings_only_what_is_newer(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=dict(NEWEST)) as terminal, running(terminal, folder, tmp_path, **ONLY) as run:
        await run.connected()
        terminal.push({SH[0]: tick(TEN_MS + 3000)})
        await run.sink.until(run.sink.rows)
        states = len(run.sink.rows(is_state=True))
        terminal.ticks[SH[1]] = tick(TEN_MS + 6000, 10.5)
        terminal.ticks[SH[0]] = tick(TEN_MS, 9.9)  # older than what came: the terminal has started again
        terminal.cut()
        await run.sink.until(lambda: run.sink.state is SourceState.AWAY)
        assert "connection to the terminal is lost" in run.sink.statuses[-1].reason
        await run.connected()
        newer = run.sink.rows(is_state=True)[states:]
        assert [(row[0], row[1]) for row in newer] == [(SH[1], TEN_MS + 6000)]
        assert run.sink.rows() == run.sink.rows()[:1], "nothing of it as live"


async def test_without_a_terminal_it_is_away_says_where_it_looked_and_keeps_trying(
    folder: Path, tmp_path: Path
) -> None:
    async with a_terminal(SECTORS, ticks=NEWEST) as terminal:
        await terminal.stop()
        async with running(terminal, folder, tmp_path, **ONLY) as run:
            await run.sink.until(lambda: run.sink.figures.get("not connected", 0) >= 3)
            reason = run.sink.statuses[-1].reason
            assert run.sink.state is SourceState.AWAY
            assert terminal.address in reason
            assert "start miniQMT" in reason
            assert len(run.sink.statuses) == 2, "the same is told once"
            await terminal.start()
            await run.connected()


async def test_the_first_address_that_answers_is_taken(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=NEWEST) as terminal:
        nobody = "127.0.0.1:9"
        async with running(terminal, folder, tmp_path, **ONLY, addresses=(nobody, terminal.address)) as run:
            await run.connected()
            assert terminal.connections == 1


async def test_a_sector_that_is_empty_is_told_and_the_others_are_taken(folder: Path, tmp_path: Path) -> None:
    async with (
        a_terminal(SECTORS, ticks=NEWEST) as terminal,
        running(terminal, folder, tmp_path, sectors=("沪深A股", "北证A股")) as run,
    ):
        await run.connected()
        assert run.sink.state is SourceState.DEGRADED
        assert "no instruments in 北证A股" in run.sink.statuses[-1].reason
        assert sorted(terminal.wholes()) == sorted([SH, SZ])


async def test_instruments_sectors_and_calendar_are_told_and_kept_on_disk(folder: Path, tmp_path: Path) -> None:
    options = {**ONLY, "universes": ("沪深300",)}
    async with (
        a_terminal(SECTORS, ticks=NEWEST, holidays=[20261001]) as terminal,
        running(terminal, folder, tmp_path, **options) as run,
    ):
        await run.sink.until(lambda: any(getattr(told, "instruments", None) for told in run.sink.told))
        told = next(told for told in reversed(run.sink.told) if getattr(told, "instruments", None))
        assert told.universes == {"沪深300": SH[:2], "沪深A股": [*SH, *SZ]}
        assert told.instruments[0] == {
            "code": "600000.SH",
            "name": "股票600000",
            "board": "main",
            "kind": "stock",
            "priceTick": 0.01,
            "lot": 100,
            "preClose": 9.54,
            "upStopPrice": 10.49,
            "downStopPrice": None,
            "listed": "1999-11-10",
            "expires": None,
            "isTrading": True,
        }
        days = run.source.trading_days
        assert days is not None
        assert [day.isoformat() for day in sorted(days) if day.month in (9, 10)][:1] == ["2026-09-01"]
        assert "2026-10-01" not in {day.isoformat() for day in days}
    async with a_terminal(SECTORS) as terminal:
        await terminal.stop()
        async with running(terminal, folder, tmp_path, **options) as run:
            await run.sink.until(lambda: run.sink.told)
            assert run.sink.told[0] == told, "known before any terminal answers"


async def test_in_the_morning_the_lists_are_asked_for_again(folder: Path, tmp_path: Path) -> None:
    clock = Clock(MIDNIGHT_MS + 8 * 3_600_000)
    trading = [MIDNIGHT_MS, MIDNIGHT_MS + DAY_MS]
    yesterday = {code: tick(MIDNIGHT_MS - 9 * 3_600_000) for code in NEWEST}
    async with (
        a_terminal(dict(SECTORS), ticks=yesterday, trading_dates=trading) as terminal,
        running(terminal, folder, tmp_path, clock=clock, **ONLY) as run,
    ):
        await run.connected()
        assert run.sink.state is SourceState.CONNECTED, "before the open nothing is stale"
        terminal.sectors["沪深A股"] = [*SH, "603999.SH"]
        clock.pass_s(3600)  # 09:00: the refresh was due at 08:45
        await terminal.until(lambda: terminal.wholes() == [[*SH, "603999.SH"]])
        await run.looked()
        assert run.source.markets == {"SH": 31}
        clock.pass_s(600)  # 09:10: tried out, and it answers
        await run.looked(2)
        clock.pass_s(3)
        await run.looked()
        assert (run.sink.figures["refreshed"], run.sink.figures["probes"]) == (1, 1)
        assert run.sink.figures.get("probes failed", 0) == 0
        assert terminal.connections == 1


async def test_a_terminal_that_has_no_tick_before_the_open_is_connected_to_anew(folder: Path, tmp_path: Path) -> None:
    clock = Clock(MIDNIGHT_MS + 9 * 3_600_000)
    async with (
        a_terminal(SECTORS, ticks={}) as terminal,
        running(terminal, folder, tmp_path, clock=clock, **ONLY) as run,
    ):
        await run.connected()
        clock.pass_s(360)
        await terminal.until(lambda: terminal.connections == 2)
        assert any("tried out before the open" in status.reason for status in run.sink.statuses)


async def test_volumes_in_shares_are_found_out_by_the_amount_and_converted(folder: Path, tmp_path: Path) -> None:
    shares = {code: tick(TEN_MS, volume=100_000, amount=10.0 * 100_000, pvolume=0) for code in (*SH, *SZ)}
    async with a_terminal(SECTORS, ticks=shares) as terminal, running(terminal, folder, tmp_path, **ONLY) as run:
        await run.connected()
        row = named("tick", run.sink.rows(is_state=True)[0])
        assert (row["volume"], row["pvolume"]) == (1000, 100_000)
        assert run.sink.state is SourceState.CONNECTED


async def test_volumes_are_judged_as_soon_as_something_was_traded(folder: Path, tmp_path: Path) -> None:
    untraded = {code: tick(TEN_MS, volume=0, amount=0.0) for code in (*SH, *SZ)}
    async with (
        a_terminal(SECTORS, ticks=untraded) as terminal,
        running(terminal, folder, tmp_path, **ONLY, stale_after_s=3600) as run,
    ):
        await run.connected()
        for code in terminal.ticks:
            terminal.ticks[code] = tick(TEN_MS + 3000, volume=100_000, amount=10.0 * 100_000)
        run.clock.pass_s(61)
        await run.looked()
        terminal.push({SH[0]: tick(TEN_MS + 6000, volume=200_000, amount=10.0 * 200_000)})
        await run.sink.until(run.sink.rows)
        assert named("tick", run.sink.rows()[0])["volume"] == 2000


async def test_volumes_that_fit_nothing_are_told(folder: Path, tmp_path: Path) -> None:
    odd = {code: tick(TEN_MS, amount=7.0 * 10 * 1000) for code in (*SH, *SZ)}
    async with a_terminal(SECTORS, ticks=odd) as terminal, running(terminal, folder, tmp_path, **ONLY) as run:
        await run.connected()
        assert run.sink.state is SourceState.DEGRADED
        assert "volumes are neither hands nor shares" in run.sink.statuses[-1].reason


async def test_a_terminal_that_answers_with_exceptions_is_tried_again(folder: Path, tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("市场未登录")

    async with (
        a_terminal(SECTORS, ticks=NEWEST, answers={"sector": fail}) as terminal,
        running(terminal, folder, tmp_path, **ONLY) as run,
    ):
        await terminal.until(lambda: terminal.connections >= 3)
        await run.sink.until(lambda: "市场未登录" in run.sink.statuses[-1].reason)
        assert run.sink.state is SourceState.AWAY
        del terminal.answers["sector"]
        await run.connected()


async def test_a_slow_answer_does_not_hold_up_what_comes(folder: Path, tmp_path: Path) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(code: str) -> None:
        asked.set()
        await go_on.wait()

    async with (
        a_terminal(SECTORS, ticks=dict(NEWEST), answers={"instrument": slowly}) as terminal,
        running(terminal, folder, tmp_path, **ONLY) as run,
    ):
        await asked.wait()
        terminal.push({SH[0]: tick(TEN_MS + 3000)})
        await run.sink.until(run.sink.rows)
        go_on.set()
        await run.looked()


async def test_token_mode_needs_no_terminal(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bridge.xtquant.options import TokenMode

    async with a_terminal(SECTORS, ticks=NEWEST) as terminal:
        monkeypatch.setenv("SCRIPTED_CENTRE_PORT", str(terminal.port))
        wrong = TokenMode("bad token", tmp_path / "home")
        async with running(terminal, folder, tmp_path, **ONLY, token_mode=wrong, addresses=()) as run:
            await run.sink.until(lambda: run.sink.figures.get("not connected", 0) >= 1)
            assert "xtdatacenter can't log in" in run.sink.statuses[-1].reason
            assert "bad token" not in run.sink.statuses[-1].reason
        right = TokenMode("good token", tmp_path / "home", servers=("1.2.3.4:55300",))
        async with running(terminal, folder, tmp_path, **ONLY, token_mode=right, addresses=()) as run:
            await run.connected()
            assert sorted(terminal.wholes()) == sorted([SH, SZ])


def test_a_source_is_no_invention(tmp_path: Path) -> None:
    from bridge.xtquant import Options, XtquantSource

    source = XtquantSource(Options(sectors=(), data=tmp_path))
    assert (source.name, source.simulated, source.continues) == ("xtquant", False, True)
    assert source.channels == frozenset(CHANNELS) - {"status"}
