"""A feeder of the terminal whose clock is another one: markets are open when a test needs them to be.

    python -m tests.bridge.xtquant.support.shifted_feeder URL ADDRESS FOLDER DATA BEGIN_MS STALE_AFTER_S

Its clock begins at BEGIN_MS and runs as fast as the wall clock. It is told to the hub, which judges by it.
"""

import asyncio
import sys
import time
from pathlib import Path

from bridge.feed.feeding import Feeding, FeedingSettings
from bridge.xtquant import Options, XtquantSource
from hub.logs import configure_logging


async def main(url: str, address: str, folder: Path, data: Path, begin_ms: int, stale_after_s: float) -> None:
    """Feed until killed."""
    began_s = time.monotonic()
    source = XtquantSource(
        Options(sectors=("沪深A股",), data=data, folder=folder, addresses=(address,), stale_after_s=stale_after_s),
        now_ms=lambda: begin_ms + int((time.monotonic() - began_s) * 1000),
    )
    settings = FeedingSettings(url, token="", buffer_bytes=2**26, finish_s=5.0, speed=1.0)
    await Feeding(source, settings).run(asyncio.Event())


if __name__ == "__main__":
    configure_logging("console", "info")
    _url, _address, _folder, _data, _begin_ms, _stale_after_s = sys.argv[1:]
    asyncio.run(main(_url, _address, Path(_folder), Path(_data), int(_begin_ms), float(_stale_after_s)))
