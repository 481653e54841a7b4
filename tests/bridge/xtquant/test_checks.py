"""What the doctor is told of the terminal: ok, or what to do."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from bridge.check import Check
from bridge.xtquant import checks as module
from bridge.xtquant.checks import checks
from hub.settings import Settings
from tests.bridge.xtquant.support.terminal import MIDNIGHT_MS, TEN_MS, Terminal, a_terminal, codes_of, tick

SECTORS = {"沪深A股": codes_of(3)}


async def check(folder: Path, data: Path, terminal: Terminal, **more: Any) -> dict[str, Check]:
    usual = {"xtquant_folder": folder, "xtquant_addresses": (terminal.address,), "xtquant_sectors": ("沪深A股",)}
    settings = Settings(source="xtquant", data=data, **{**usual, **more})
    found = await asyncio.to_thread(lambda: list(checks(settings)))
    assert all(one.text for one in found)
    return {one.name: one for one in found}


def open_market(patch: pytest.MonkeyPatch, *, is_open: bool) -> None:
    class Always:
        def session_start_ms(self, market: str, now_ms: int) -> int | None:
            return MIDNIGHT_MS if is_open else None

    patch.setattr(module, "Calendar", Always)


async def test_a_terminal_that_is_well_has_nothing_but_ok(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_market(monkeypatch, is_open=True)

    def push_at_once(code: str, period: str) -> int:
        number = terminal._hold(("single", code, period))
        asyncio.get_running_loop().call_later(0.05, terminal.push_single, code, period, [tick(TEN_MS)])
        return number

    async with a_terminal(SECTORS, ticks={"000001.SH": tick(TEN_MS)}, answers={"single": push_at_once}) as terminal:
        found = await check(folder, tmp_path, terminal)
    assert {name for name, one in found.items() if not one.ok} == set()
    assert list(found) == [
        *("xtquant", "native modules", "terminal", "port", "connection", "sectors", "entitlement", "live tick")
    ]
    assert found["sectors"].text == "沪深A股 3"
    assert found["live tick"].text == "ticks of 000001.SH come"


async def test_in_an_open_market_the_newest_tick_is_not_enough(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_market(monkeypatch, is_open=True)
    monkeypatch.setattr(module, "TICK_TIMEOUT_S", 0.05)
    async with a_terminal(SECTORS, ticks={"000001.SH": tick(TEN_MS)}) as terminal:
        found = await check(folder, tmp_path, terminal)
    assert not found["live tick"].ok
    assert "2026-09-01 10:00:00" in found["live tick"].text
    assert "restart the terminal" in found["live tick"].text


async def test_at_night_it_is(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_market(monkeypatch, is_open=False)
    async with a_terminal(SECTORS, ticks={"000001.SH": tick(TEN_MS)}) as terminal:
        found = await check(folder, tmp_path, terminal)
    assert found["live tick"].ok
    assert "the market rests" in found["live tick"].text


async def test_what_is_wrong_says_what_to_do(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    open_market(monkeypatch, is_open=False)

    def fail(*_: Any) -> None:
        raise RuntimeError("broken")

    async with a_terminal({}, answers={"single": lambda *_: -1, "full_tick": fail}) as terminal:
        found = await check(folder, tmp_path, terminal)
    assert "download the sector data" in found["sectors"].text
    assert "too many held by others" in found["entitlement"].text
    assert found["live tick"].text == "xtdata failed (Exception: broken); restart the terminal"
    assert [one.name for one in found.values() if not one.ok] == ["sectors", "entitlement", "live tick"]


async def test_without_a_terminal_it_says_where_it_looked(folder: Path, tmp_path: Path) -> None:
    async with a_terminal(SECTORS) as terminal:
        await terminal.stop()
        found = await check(folder, tmp_path, terminal)
        assert [name for name, one in found.items() if not one.ok] == ["port", "connection"]
        assert terminal.address in found["port"].text
        assert "start miniQMT" in found["connection"].text
        found = await check(folder, tmp_path, terminal, xtquant_addresses=())
        assert not found["terminal"].ok
        assert ".xtquant that it runs" in found["terminal"].text


def test_without_the_package_nothing_else_is_tried(tmp_path: Path) -> None:
    (found,) = checks(Settings(source="xtquant", data=tmp_path, xtquant_folder=tmp_path))
    assert (found.name, found.ok) == ("xtquant", False)
    assert "there is no package xtquant" in found.text
