"""The feeder of the kill test: the project's own, with a market that goes on without it and a record of its own.

    python -m tests.e2e.kill.feeder URL RECORD SYMBOLS INTERVAL_S SPEED OPENED_S AWAY_S

Every batch is in the record before the feeder has it, and a line is printed for each. SIGTERM ends it in order: it
waits for the hub's acknowledgements.
"""

import asyncio
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bridge.feed.feeding import Feeding, FeedingSettings
from hub.logs import configure_logging
from hub.schema import Row
from tests.e2e.kill.market import OngoingMarket
from tests.e2e.kill.record import NotedBatch, RecordFile, noted

BUFFER_BYTES: Final = 2**28
FINISH_S: Final = 60.0


async def main(
    url: str, record: Path, symbols: int, interval_s: float, speed: float, opened_s: float, away_s: float
) -> None:
    """Feed until SIGTERM."""
    run = secrets.token_hex(4)
    file = RecordFile(record)

    def note(rows: Sequence[Row], given: bool) -> None:
        file.write(NotedBatch(run, given, time.time(), noted(rows)))
        if given:
            sys.stdout.write("batch\n")
            sys.stdout.flush()

    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    market = OngoingMarket(symbols, interval_s, speed, opened_s, away_s, note)
    settings = FeedingSettings(url, token="", buffer_bytes=BUFFER_BYTES, finish_s=FINISH_S, speed=None)
    await Feeding(market, settings).run(stopped)


if __name__ == "__main__":
    configure_logging("console", "info")
    _url, _record, _symbols, *_times = sys.argv[1:]
    asyncio.run(main(_url, Path(_record), int(_symbols), *map(float, _times)))
