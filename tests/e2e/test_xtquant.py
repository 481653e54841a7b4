"""The whole way, in processes of their own: the real xtdata.py over a scripted terminal, feeder, hub, clients."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from argus_client import connect
from tests.bridge.xtquant.support.terminal import TEN_MS, Terminal, a_terminal, codes_of, tick
from tests.bridge.xtquant.support.wheel import installed
from tests.e2e.conftest import StartHub
from tests.e2e.support.hub_process import HubProcess
from tests.e2e.support.plain_client import Data, Message, plain_client

CODES = codes_of(30)
SECTORS = {"沪深A股": CODES}


@pytest.fixture(scope="module")
def folder() -> Path:
    return installed()


@asynccontextmanager
async def hub_of(start_hub: StartHub, folder: Path, terminal: Terminal, *options: str) -> AsyncIterator[HubProcess]:
    hub = await asyncio.to_thread(
        start_hub,
        *("--source", "xtquant", "--xtquant-folder", str(folder), "--xtquant-addresses", terminal.address),
        *("--xtquant-sectors", "沪深A股", *options),
    )
    yield hub


def is_live(code: str) -> Callable[[Message], bool]:
    return lambda message: (
        isinstance(message, Data) and message.origin == "live" and any(row[0] == code for row in message.rows)
    )


async def test_ticks_of_the_terminal_reach_a_python_client(start_hub: StartHub, folder: Path) -> None:
    async with (
        a_terminal(SECTORS, ticks={code: tick(TEN_MS) for code in CODES}) as terminal,
        hub_of(start_hub, folder, terminal) as hub,
    ):
        await terminal.until(terminal.wholes)
        async with connect(hub.ws_url) as client:
            rows = client.subscribe("tick:*")
            first = await anext(rows)
            assert (first.origin, first.lastPrice, first.askPrice[0]) == ("snapshot", 10.0, 10.01)
            terminal.push({"600003.SH": tick(TEN_MS + 3000, 10.02)})
            async with asyncio.timeout(60):
                async for row in rows:
                    if row.origin == "live":
                        break
            assert (row.code, row.time, row.lastPrice, row.seq) == ("600003.SH", TEN_MS + 3000, 10.02, 2)
