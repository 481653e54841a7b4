"""Nothing to hear is no fault: not of a market at lunch, not of an illiquid instrument, not of a line without rows."""

import asyncio
from pathlib import Path
from typing import Any, Final

from argus_client import Backoff, ConnectionLost, connect
from tests.e2e.conftest import StartHub
from tests.e2e.support.fed_hub import fed_hub
from tests.e2e.support.hub_process import HubProcess
from tests.e2e.support.plain_client import PATIENCE_S, Data, plain_client
from tests.e2e.support.scripted_feeder import TEN_MS, tick

CODES: Final = [f"{600000 + number}.SH" for number in range(10)]
SOON: Final = Backoff(least_s=0.01, most_s=0.05)


class Watched:
    """What a hub says of its markets, in heartbeats, status rows and ``/readyz``, until something has been seen."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        """Phases and states, as they changed."""
        self.ready: set[int] = set()
        self.rows = 0

    async def watch(self, hub: HubProcess, *wanted: tuple[str, str], rows: int = 1) -> None:
        """Watch until these phases and states have been seen in this order, and so many ticks."""
        async with asyncio.timeout(PATIENCE_S), plain_client(hub.ws_url) as client:
            await client.request("subscribed", "subscribe", id=1, topics=["status:*", "tick:*"], since="open")
            while not _is_within(wanted, self.seen) or self.rows < rows:
                message = await client.receive()
                if isinstance(message, Data) and message.channel == "status":
                    self._take([(row[5], row[4]) for row in message.rows if not row[0].startswith("source.")])
                elif isinstance(message, Data):
                    self.rows += len(message.rows)
                elif message["type"] == "heartbeat":
                    self._take([(market["phase"], market["state"]) for market in message["markets"].values()])
                    self.ready.add((await asyncio.to_thread(hub.get, "/readyz")).status)

    def _take(self, seen: list[tuple[str, str]]) -> None:
        self.seen += [one for one in seen if [one] != self.seen[-1:]]

    @property
    def states(self) -> set[str]:
        return {state for _, state in self.seen}


def _is_within(wanted: tuple[Any, ...], seen: list[Any]) -> bool:
    rest = iter(seen)
    return all(one in rest for one in wanted)


async def test_a_lunch_break_raises_no_alarm(start_hub: StartHub) -> None:
    market = ("--symbols", "100", "--interval", "1", "--sim-start", "11:29:50", "--speed", "10")
    hub = start_hub(*market, "--heartbeat-s", "0.1")
    watched = Watched()
    await watched.watch(hub, ("continuous", "live"), ("lunch", "quiet"), ("continuous", "live"))
    assert "stale" not in watched.states
    assert watched.ready == {200}


async def test_an_illiquid_instrument_raises_no_alarm(start_hub: StartHub) -> None:
    hub = start_hub("--symbols", "1", "--interval", "60", "--speed", "60", "--heartbeat-s", "0.1")
    watched = Watched()
    await watched.watch(hub, ("continuous", "quiet"), rows=4)
    assert "stale" not in watched.states
    assert watched.ready == {200}


async def test_a_market_that_falls_silent_while_it_trades_raises_one(start_hub: StartHub) -> None:
    market = ("--symbols", "100", "--interval", "1", "--speed", "30", "--faults", "silence@10+90")
    hub = start_hub(*market, "--heartbeat-s", "0.1")
    watched = Watched()
    await watched.watch(hub, ("continuous", "stale"), ("continuous", "live"))
    assert watched.ready == {200, 503}


async def test_a_client_in_a_quiet_market_stays_connected(tmp_path: Path) -> None:
    """Its watchdog listens for the hub, not for rows."""
    async with fed_hub(tmp_path) as fed:
        lost: list[ConnectionLost] = []
        beats = 0
        enough = asyncio.Event()

        def on_heartbeat(_: Any) -> None:
            nonlocal beats
            beats += 1
            if beats == 30:  # ten times as long as a hub may be silent
                enough.set()

        async with (
            connect(fed.hub.ws_url, reconnect=SOON, on_disconnect=lost.append, on_heartbeat=on_heartbeat) as client,
            client.subscribe("tick:*", since="none") as rows,
        ):
            async with asyncio.timeout(60):
                await enough.wait()
            await fed.feeder.feed_ticks(CODES)
            assert [(await anext(rows)).code for _ in CODES] == CODES
    assert lost == []


async def test_an_iterator_whose_queue_was_full_goes_on_to_the_last_row(tmp_path: Path) -> None:
    """Of a real hub, which has more to send than all buffers hold, while rows keep coming."""
    async with fed_hub(tmp_path) as fed:
        await fed.feeder.feed_ticks(CODES, rounds=1_000)
        async with (
            connect(fed.hub.ws_url, queue_rows=100) as client,
            client.subscribe("tick:*", since={"time": 0}) as rows,
        ):
            got: list[tuple[str, int]] = []
            while len(got) < fed.given.row_count:
                async with asyncio.timeout(60):
                    row = await anext(rows)
                got.append((row.code, row.seq))
                if len(got) in (500, 5_000, 9_999):  # the queue is full, the socket waits, and then it is read again
                    await fed.feeder.feed([tick(CODES[0], TEN_MS + 1_000_000 + len(got), len(got))])
                    await client.ping()
    assert got == [row[:2] for row in fed.given.rows]
