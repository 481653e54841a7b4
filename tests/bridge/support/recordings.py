"""What the tests of recordings share: lines of ticks, sinks, a clock without waiting, and the real days."""

import asyncio
import csv
import gzip
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from bridge.recording import RecordingSource
from bridge.rowlayout import COLUMNS
from bridge.source import Batch, SourceStatus
from hub.schema import Row

OPEN_MS: Final = 1_654_047_000_000
"""2022-06-01 09:30:00 in Shanghai."""

HEADER: Final = ",".join(COLUMNS)

SHENZHEN: Final = "ticks-20220601-szse.csv.gz"
SHANGHAI: Final = "ticks-20211201-sse.csv.gz"

_VALUES: Final = {
    "code": "600000.SH",
    "time": str(OPEN_MS),
    "lastPrice": "8.01",
    "open": "8",
    "high": "8.05",
    "low": "7.99",
    "lastClose": "8.02",
    "amount": "1234567.89",
    "volume": "1541",
    "pvolume": "154128",
    "openInt": "13",
    "transactionNum": "77",
    **{f"askPrice{level}": f"{8.01 + level / 100:.2f}" for level in range(1, 6)},
    **{f"bidPrice{level}": f"{8.01 - level / 100:.2f}" for level in range(1, 6)},
    **{f"askVol{level}": str(10 * level) for level in range(1, 6)},
    **{f"bidVol{level}": str(11 * level) for level in range(1, 6)},
}


def cells(**changes: str) -> list[str]:
    """The cells of one good row, but for the changes."""
    assert changes.keys() <= _VALUES.keys()
    return list((_VALUES | changes).values())


def line(after_ms: int = 0, **changes: str) -> str:
    """One good line, so many milliseconds after the open, but for the changes."""
    return ",".join(cells(**({"time": str(OPEN_MS + after_ms)} | changes)))


def write_csv(path: Path, *lines: str) -> Path:
    """Write a recording of these lines, gzipped where the name says so."""
    text = "\n".join([HEADER, *lines, ""])
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def after_ms(rows: Sequence[Row]) -> list[int]:
    """The times of rows, in milliseconds after the open."""
    return [row[1] - OPEN_MS for row in rows]


class Collector:
    """A sink that keeps what it is given, and may do something at each batch."""

    def __init__(self, on_batch: Callable[[Batch], None] = lambda batch: None) -> None:
        self.batches: list[Batch] = []
        self.statuses: list[SourceStatus] = []
        self._on_batch = on_batch

    @property
    def rows(self) -> list[Row]:
        return [row for batch in self.batches for row in batch.rows]

    def deliver(self, batch: Batch) -> None:
        self.batches.append(batch)
        self._on_batch(batch)

    def report(self, status: SourceStatus) -> None:
        self.statuses.append(status)

    def tell(self, told: object) -> None:
        raise AssertionError(f"a recording knows nothing beside its rows: {told}")


class StepClock:
    """A wall clock that moves only when somebody sleeps, or when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)


async def play(path: Path) -> list[Row]:
    """All rows of a recording, as fast as it goes."""
    sink = Collector()
    await RecordingSource(path, speed=0).run(sink)
    return sink.rows


def real_day(name: str) -> Path:
    """A recorded day of the exchanges; the test is skipped where it isn't at hand."""
    path = Path(__file__).parents[4] / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"the recorded day ../shared/data/{name} is not here")
    return path


@cache
def rows_of_file(path: Path) -> list[tuple[Any, ...]]:
    """The rows of a real day, read by other means than the program's: by column names, with the csv module."""
    with gzip.open(path, "rt", newline="") as text:
        return [
            (
                tick["code"],
                int(tick["time"]),
                *(float(tick[name]) for name in ("lastPrice", "open", "high", "low", "lastClose", "amount")),
                *(int(tick[name]) for name in ("volume", "pvolume")),
                None,
                int(tick["openInt"]),
                None,
                int(tick["transactionNum"]),
                *([float(tick[f"{book}{level}"]) for level in range(1, 6)] for book in ("askPrice", "bidPrice")),
                *([int(tick[f"{book}{level}"]) for level in range(1, 6)] for book in ("askVol", "bidVol")),
            )
            for tick in csv.DictReader(text)
        ]
