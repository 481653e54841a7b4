"""The recorded days of ``../shared/data``, read with nothing but the standard library."""

import csv
import gzip
from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.support.hub_process import REPOSITORY
from tests.e2e.support.plain_client import Row

_DATA: Final = REPOSITORY.parent / "shared" / "data"
_PRICES: Final = ("lastPrice", "open", "high", "low", "lastClose", "amount")
_LEVELS: Final = range(1, 6)


def recording(name: str) -> Path:
    """Path of a recorded day. Skips the test where the recordings are absent."""
    path = _DATA / name
    if not path.exists():
        pytest.skip(f"no recorded day at {path}")
    return path


def expected_rows(path: Path) -> list[Row]:
    """The file's rows in the order of the tick schema, without ``recv``; ``seq`` counted per code."""
    counted: Counter[str] = Counter()
    rows: list[Row] = []
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            counted[line["code"]] += 1
            rows.append(
                (
                    line["code"],
                    counted[line["code"]],
                    int(line["time"]),
                    *(float(line[name]) for name in _PRICES),
                    int(line["volume"]),
                    int(line["pvolume"]),
                    None,  # the recordings have no stockStatus
                    int(line["openInt"]),
                    None,  # nor lastSettlementPrice
                    int(line["transactionNum"]),
                    *([float(line[f"{side}Price{level}"]) for level in _LEVELS] for side in ("ask", "bid")),
                    *([int(line[f"{side}Vol{level}"]) for level in _LEVELS] for side in ("ask", "bid")),
                )
            )
    return rows


def without_recv(row: Row) -> Row:
    """A tick row of the wire without the one value that differs from run to run."""
    return (*row[:3], *row[4:])
