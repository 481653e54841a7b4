"""Quotes that stop: noticed by the age of the data, healed step by step, and never where nothing is due."""

import asyncio
from pathlib import Path

import pytest

from bridge.source import Interruption, ProcessMustEnd, SourceState
from bridge.xtquant import owner, source
from tests.bridge.xtquant.support.running import Clock, Running, running
from tests.bridge.xtquant.support.terminal import MIDNIGHT_MS, TEN_MS, Terminal, a_terminal, codes_of, tick

SH, SZ = codes_of(60), codes_of(60, "SZ")
SECTORS = {"沪深A股": [*SH, *SZ]}
HOUR_MS = 3_600_000


def whole_market(time_ms: int) -> dict[str, dict[str, object]]:
    return {code: tick(time_ms, 10 + time_ms % 1000 / 1000) for code in (*SH, *SZ)}


async def live_through(run: Running, terminal: Terminal, seconds: int, *, markets: str = "SH SZ") -> None:
    """Some seconds of the market, with a slice every three."""
    for _ in range(0, seconds, 3):
        run.clock.pass_s(3)
        slice_ = {code: row for code, row in whole_market(run.clock.ms).items() if code[-2:] in markets}
        due = len(run.sink.rows()) + len(slice_)
        terminal.push(slice_)
        await run.sink.until(lambda due=due: len(run.sink.rows()) >= due)
        await run.looked()


async def silent_for(run: Running, seconds: int) -> None:
    for _ in range(seconds):
        run.clock.pass_s(1)
        await run.looked()


async def test_silence_in_continuous_trading_is_noticed_within_15_s_and_healed(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=whole_market(TEN_MS)) as terminal, running(terminal, folder, tmp_path) as run:
        await run.connected()
        await live_through(run, terminal, 30)
        newest_ms, subscribed = run.clock.ms, set(terminal.held)
        await silent_for(run, 11)
        assert run.sink.state is SourceState.CONNECTED
        run.clock.pass_s(4)
        await run.looked()
        assert run.sink.state is SourceState.DEGRADED
        told = run.sink.statuses[-1].reason
        assert told == ("quotes have stopped, the newest of SH (15 s old), SZ (15 s old); step taken: resubscribe")
        await terminal.until(lambda: len(terminal.wholes()) == 2 and not subscribed & set(terminal.held))
        await live_through(run, terminal, 3)
        assert run.sink.state is SourceState.CONNECTED
        assert terminal.connections == 1
        assert run.sink.interruptions == [
            Interruption("tick:*.SH", newest_ms, run.clock.ms),
            Interruption("tick:*.SZ", newest_ms, run.clock.ms),
        ]
        assert run.sink.figures["step resubscribe"] == run.sink.figures["healed"] == 1
        place = run.sink.said.index(run.sink.interruptions[0])
        assert run.sink.said[place + 1 :][0] == run.sink.interruptions[1] or run.sink.said[place + 1 :][0].rows


async def test_one_market_that_is_mute_is_subscribed_anew_alone(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=whole_market(TEN_MS)) as terminal, running(terminal, folder, tmp_path) as run:
        await run.connected()
        await live_through(run, terminal, 9)
        kept = {number for number, what in terminal.held.items() if what == ("whole", SZ)}
        await live_through(run, terminal, 15, markets="SZ")
        await terminal.until(lambda: len(terminal.held) == 2)
        assert "SH" in run.sink.statuses[-1].reason
        assert "SZ" not in run.sink.statuses[-1].reason
        assert kept < set(terminal.held)


async def test_what_a_new_subscription_does_not_heal_a_new_connection_is_made_for(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=whole_market(TEN_MS)) as terminal, running(terminal, folder, tmp_path) as run:
        await run.connected()
        await live_through(run, terminal, 9)
        await silent_for(run, 14)
        assert terminal.connections == 1
        run.clock.pass_s(12)
        await terminal.until(lambda: terminal.connections == 2 and len(terminal.wholes()) == 2)
        assert run.sink.statuses[-1].state is not SourceState.CONNECTED
        await run.looked()
        baselines = [call for call in terminal.calls if call[0] == "full_tick"]
        assert len(baselines) == 4, "one to judge volumes by, and one after each subscription"
        await live_through(run, terminal, 3)
        assert run.sink.state is SourceState.CONNECTED
        run.clock.pass_s(3)
        await run.looked()
        assert run.sink.figures["step reconnect"] == 1


async def test_what_nothing_heals_another_process_is_asked_for(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=whole_market(TEN_MS)) as terminal, running(terminal, folder, tmp_path) as run:
        await run.connected()
        await live_through(run, terminal, 9)
        await silent_for(run, 13)
        run.clock.pass_s(12)
        await terminal.until(lambda: terminal.connections == 2 and len(terminal.wholes()) == 2)
        run.clock.pass_s(12)
        ended = await run.ended()
        assert isinstance(ended, ProcessMustEnd)
        assert "neither a new subscription nor a new connection helped" in str(ended)
        assert run.sink.state is SourceState.AWAY, "so that clients are told what is missing"


async def test_a_process_that_never_brought_anything_is_not_replaced_by_the_minute(
    folder: Path, tmp_path: Path
) -> None:
    yesterday = whole_market(MIDNIGHT_MS - 9 * HOUR_MS)
    async with a_terminal(SECTORS, ticks=yesterday) as terminal, running(terminal, folder, tmp_path) as run:
        await run.connected()
        await silent_for(run, 14)
        run.clock.pass_s(13)
        await terminal.until(lambda: terminal.connections == 2 and len(terminal.wholes()) == 2)
        run.clock.pass_s(60)
        await run.looked()
        assert not run.task.done()
        run.clock.pass_s(300)
        assert isinstance(await run.ended(), ProcessMustEnd)


async def test_the_same_rows_again_and_again_are_no_life(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=whole_market(TEN_MS)) as terminal, running(terminal, folder, tmp_path) as run:
        await run.connected()
        await live_through(run, terminal, 9)
        stuck = whole_market(run.clock.ms)
        for second in range(16):
            for code in stuck:
                stuck[code]["lastPrice"] = 10.0 + second / 100
            terminal.push(stuck)
            run.clock.pass_s(1)
            await run.looked()
        assert run.sink.state is SourceState.DEGRADED


async def test_a_wrong_clock_is_not_taken_for_silence(folder: Path, tmp_path: Path) -> None:
    ahead = Clock(TEN_MS + 40_000)
    async with (
        a_terminal(SECTORS, ticks=whole_market(TEN_MS)) as terminal,
        running(terminal, folder, tmp_path, clock=ahead) as run,
    ):
        await run.connected()
        for _ in range(10):
            run.clock.pass_s(3)
            terminal.push(whole_market(run.clock.ms - 40_000))
            await run.looked()
        assert {status.state for status in run.sink.statuses[1:]} == {SourceState.CONNECTED}


@pytest.mark.parametrize(
    ("moment_ms", "dates"),
    [
        (MIDNIGHT_MS + 11 * HOUR_MS + 1_801_000, [MIDNIGHT_MS]),
        (MIDNIGHT_MS + 9 * HOUR_MS + 1_560_000, [MIDNIGHT_MS]),
        (MIDNIGHT_MS + 3 * HOUR_MS, [MIDNIGHT_MS]),
        (MIDNIGHT_MS + 15 * HOUR_MS + 60_000, [MIDNIGHT_MS]),
        (MIDNIGHT_MS + 10 * HOUR_MS, [MIDNIGHT_MS - 24 * HOUR_MS, MIDNIGHT_MS + 24 * HOUR_MS]),
    ],
    ids=["lunch", "before 09:30", "night", "after the close", "a holiday that the terminal knows"],
)
async def test_where_nothing_is_due_nothing_is_done(
    folder: Path, tmp_path: Path, moment_ms: int, dates: list[int]
) -> None:
    async with (
        a_terminal(SECTORS, ticks=whole_market(moment_ms - 60_000), trading_dates=dates) as terminal,
        running(terminal, folder, tmp_path, clock=Clock(moment_ms)) as run,
    ):
        await run.connected()
        calls = len([call for call in terminal.calls if call[0] == "whole"])
        for _ in range(20):
            run.clock.pass_s(10)
            await run.looked()
        assert {status.state for status in run.sink.statuses[1:]} == {SourceState.CONNECTED}
        assert len([call for call in terminal.calls if call[0] == "whole"]) == calls
        assert terminal.connections == 1
        assert run.sink.interruptions == []


async def test_a_quote_server_that_is_lost_is_told_and_its_return_subscribes_anew(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS, ticks=whole_market(TEN_MS)) as terminal, running(terminal, folder, tmp_path) as run:
        await run.connected()
        await live_through(run, terminal, 3)
        held = set(terminal.held)
        terminal.tell("watchquoteserverstatus", "disconnected")
        await run.sink.until(lambda: run.sink.state is SourceState.DEGRADED)
        assert "lost its quote server 1.2.3.4:55300" in run.sink.statuses[-1].reason
        terminal.tell("watchquoteserverstatus", "connected")
        await run.sink.until(lambda: run.sink.state is SourceState.CONNECTED)
        await terminal.until(lambda: len(terminal.wholes()) == 2 and not held & set(terminal.held))
        newest_ms = run.clock.ms
        await live_through(run, terminal, 3)
        assert Interruption("tick:*.SH", newest_ms, run.clock.ms) in run.sink.interruptions


async def test_a_call_that_hangs_is_given_up_and_another_process_asked_for(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = asyncio.Event()

    async def never(*_: object) -> None:
        hangs.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(owner, "CALL_TIMEOUT_S", 0.05)
    monkeypatch.setattr(source, "DISCONNECT_TIMEOUT_S", 0.05)
    async with a_terminal(SECTORS, answers={"sector": never}) as terminal, running(terminal, folder, tmp_path) as run:
        ended = await run.ended()
        assert hangs.is_set()
        assert isinstance(ended, ProcessMustEnd)
        assert "did not return from sector" in str(ended)
        assert run.sink.state is SourceState.AWAY
