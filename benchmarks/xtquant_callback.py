"""How long a whole market takes from the callback of the native layer to the hub's publish, and where it goes.

    python benchmarks/xtquant_callback.py [--instruments 8000] [--slices 20] [--json FILE]

The real xtdata.py runs in a feeder process over a scripted native module, which notes the time at which it calls the
callback with BSON bytes. The hub runs in this process, over the feeder's WebSocket on loopback, as it does in
production; the time at which it has published the batch is noted beside. Then the ways to read the BSON are timed by
themselves, on this Python: by layout, as the source does it, and with xtquant's own decoder, compiled or not. With
``--decoders-only`` only that, which needs nothing but the package (under Wine, too).

Prints figures; target: 150 ms from callback to publish for 8,000 instruments. Exit code 1 where it is missed.
"""

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from bridge.app import App  # noqa: E402 - found by the path above
from bridge.publishing import HubPublisher  # noqa: E402
from bridge.source import Batch  # noqa: E402
from bridge.xtquant.layouts import Layouts  # noqa: E402
from bridge.xtquant.package import load  # noqa: E402
from bridge.xtquant.ticks import FIELDS  # noqa: E402
from hub.history import History  # noqa: E402
from hub.metrics import Metrics  # noqa: E402
from hub.opening import without_journal  # noqa: E402
from hub.settings import Settings  # noqa: E402
from tests.bridge.xtquant.support.bson import encode  # noqa: E402
from tests.bridge.xtquant.support.terminal import Terminal, a_terminal, codes_of, tick  # noqa: E402
from tests.bridge.xtquant.support.wheel import install  # noqa: E402

TARGET_MS: Final = 150.0
INTERVAL_S: Final = 0.5
WARM_UP: Final = 3


def market(codes: list[str], number: int, now_ms: int) -> dict[str, Any]:
    """A slice in which everything has changed."""
    return {
        code: tick(now_ms, 5 + place % 4000 / 100 + number / 100, volume=1000 + place + number)
        for place, code in enumerate(codes)
    }


class Moments:
    """When each whole batch was published, by its newest time."""

    def __init__(self) -> None:
        self.published_ns: dict[int, int] = {}

    def install(self) -> None:
        """Note from now on what every publisher does."""
        publish = HubPublisher.publish

        def noted(publisher: HubPublisher, batch: Batch) -> None:
            publish(publisher, batch)
            if batch.channel == "tick" and len(batch.rows) > 1 and not batch.is_state:
                self.published_ns[batch.rows[0][1]] = time.time_ns()

        HubPublisher.publish = noted  # type: ignore[method-assign]


async def measure(folder: Path, instruments: int, slices: int, scratch: Path) -> dict[str, Any]:
    """Run the feeder and the hub, push, and wait for each slice."""
    codes = codes_of(instruments)
    notes = scratch / "called"
    os.environ["SCRIPTED_NOTES"] = str(notes)
    moments = Moments()
    moments.install()
    before = market(codes, 0, time.time_ns() // 1_000_000 - 60_000)  # the state at the subscription is no live row
    async with a_terminal({"沪深A股": codes}, ticks=before) as terminal:
        settings = Settings(
            port=0,
            source="xtquant",
            xtquant_folder=folder,
            xtquant_addresses=(terminal.address,),
            xtquant_sectors=("沪深A股",),
            xtquant_universes=(),
            data=scratch,
            journal=False,
            log_level="error",
            drain_s=0,
        )
        stopped = asyncio.Event()
        opened = without_journal(History(ring_rows=50, ring_bytes=1 << 28), scratch)
        running = asyncio.create_task(App(settings, None, opened, Metrics("benchmark")).run(stopped))
        try:
            await terminal.until(lambda: terminal.wholes())
            await terminal.until(lambda: sum(call[0] == "instrument" for call in terminal.calls) == instruments)
            sent = await push_all(terminal, codes, slices, moments)
        finally:
            stopped.set()
            await running
    called = dict(map(int, line.split()) for line in notes.read_text().splitlines())  # type: ignore[misc]
    numbers = [called[time_ms] for time_ms in sent]
    whole = [(moments.published_ns[time_ms] - began) / 1e6 for time_ms, began in zip(sent, numbers, strict=True)]
    return {"python": sys.version.split()[0], "instruments": instruments, "callback_to_publish_ms": summary(whole)}


async def push_all(terminal: Terminal, codes: list[str], slices: int, moments: Moments) -> list[int]:
    """Push one slice after the other, each when the one before was published. Returns their times."""
    numbers = [number for number, what in terminal.held.items() if what[0] == "whole"]
    sent = []
    for number in range(WARM_UP + slices):
        now_ms = time.time_ns() // 1_000_000
        wanted = encode(market(codes, number, now_ms))
        await asyncio.sleep(INTERVAL_S)
        terminal.as_bson = False  # it is BSON already
        terminal.push_raw(numbers[0], wanted)
        async with asyncio.timeout(60):
            while now_ms not in moments.published_ns:  # noqa: ASYNC110 - an event would be set on the path measured
                await asyncio.sleep(0.005)
        if number >= WARM_UP:
            sent.append(now_ms)
    return sent


def decoders(folder: Path, instruments: int) -> dict[str, Any]:
    """Milliseconds to read one slice, each way."""
    data = encode(market(codes_of(instruments), 1, time.time_ns() // 1_000_000))
    bson = load(folder, "xtbson")
    is_compiled = bool(sys.modules["xtquant.xtbson.bson37"]._USE_C)
    layouts = Layouts(FIELDS)
    return {
        "python": sys.version.split()[0],
        "instruments": instruments,
        "bytes": len(data),
        "by_layout_ms": best(lambda: list(layouts.read(data))),
        f"xtquant_{'compiled' if is_compiled else 'pure_python'}_ms": best(lambda: bson.BSON.decode(data)),
    }


def best(work: Callable[[], object], times: int = 7) -> float:
    """The shortest of some runs, in milliseconds."""
    found = []
    for _ in range(times):
        began_s = time.perf_counter()
        work()
        found.append((time.perf_counter() - began_s) * 1000)
    return round(min(found), 1)


def summary(values: list[float]) -> dict[str, float]:
    """Median, 90th percentile and maximum."""
    ordered = sorted(values)
    at_90 = ordered[min(len(ordered) - 1, len(ordered) * 9 // 10)]
    return {"median": round(statistics.median(ordered), 1), "p90": round(at_90, 1), "max": round(ordered[-1], 1)}


def main() -> int:
    """Measure what the options ask for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--instruments", type=int, default=8000)
    parser.add_argument("--slices", type=int, default=20)
    parser.add_argument("--decoders-only", action="store_true", help="only time the ways to read BSON")
    parser.add_argument("--folder", type=Path, help="folder that holds the package xtquant; else it is downloaded")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    options = parser.parse_args()
    folder = options.folder or install()
    found = {"decoders": decoders(folder, options.instruments)}
    if not options.decoders_only:
        with tempfile.TemporaryDirectory() as scratch:
            found["whole"] = asyncio.run(measure(folder, options.instruments, options.slices, Path(scratch)))
    text = json.dumps(found, indent=2)
    print(text)  # noqa: T201 - the result
    if options.json is not None:
        options.json.write_text(text + "\n", encoding="utf-8")
    if "whole" not in found:
        return 0
    return int(found["whole"]["callback_to_publish_ms"]["median"] > TARGET_MS)


if __name__ == "__main__":
    sys.exit(main())
