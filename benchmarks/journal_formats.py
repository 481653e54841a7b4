"""Measures ways to keep a trading day on disk: SQLite with a row for each row or a blob for each batch, the append log.

    python benchmarks/journal_formats.py [--flushes 400] [--folder data/benchmark]

Each way writes the same flushes of 5,500 ticks (one for every instrument) in a process of its own, which then ends
without closing anything, as a killed hub does. Then it is opened again to know the newest row of every instrument, read
from end to end, and asked for rows by number and by time. The folder is emptied. A whole day is
``--only log --flushes 4800``: 26 million rows and 6.3 GB.
"""

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator
from datetime import date
from itertools import count
from pathlib import Path
from statistics import mean, median
from time import perf_counter, thread_time
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hub.journal import JournalSettings, Stretch, open_journal
from hub.journal.columns import Runs, large, small
from hub.topic import Topic
from hub.wire import pack

TOPICS = 5500
OPEN_MS = 1_772_415_000_000  # 2026-03-02, 09:30 in Shanghai
STEP_MS = 3000
DAY = date(2026, 3, 2)
BOOK = (
    [11.38, 11.39, 11.4, 11.41, 11.42],
    [11.37, 11.36, 11.35, 11.34, 11.33],
    [100, 2000, 300, 4, 500],
    [9, 80, 7, 6, 5],
)

Flush = tuple[int, list[bytes]]
"""Arrival number of the first row, and a row for every topic in the order of their numbers."""


def time_of(number: int) -> int:
    """Exchange time of all rows of a flush."""
    return OPEN_MS + number * STEP_MS


def flushes(count: int) -> Iterator[Flush]:
    """Ticks of some 220 bytes, as the hub encodes them."""
    for number in range(count):
        time_ms = time_of(number)
        recv_us = 1000 * time_ms
        seq = number + 1
        day = 11.2, 11.5, 11.1, 11.3, 1.5e8 + number, 130_000 + number, 13_000_000, None, 13, None, 4321
        yield (
            number * TOPICS + 1,
            [pack((f"{600000 + topic}.SH", seq, time_ms, recv_us, 11.37, *day, *BOOK)) for topic in range(TOPICS)],
        )


class _SqliteRows:
    """A table with a row for every row, and an index by topic."""

    def __init__(self, folder: Path) -> None:
        self._base = sqlite3.connect(folder / "rows.sqlite", isolation_level=None)
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = OFF")  # as the append log: the system holds it, a kill loses nothing
        columns = "at INTEGER PRIMARY KEY, topic INTEGER, seq INTEGER, time INTEGER, row BLOB"
        self._base.execute(f"CREATE TABLE IF NOT EXISTS rows ({columns})")
        self._base.execute("CREATE INDEX IF NOT EXISTS by_topic ON rows (topic, seq, time)")
        newest = "SELECT seq, row FROM rows WHERE topic = ? ORDER BY seq DESC LIMIT 1"
        self.newest = [self._base.execute(newest, (topic,)).fetchone() for topic in range(TOPICS)]

    def write(self, number: int, flush: Flush) -> None:
        at, rows = flush
        time_ms, seq = time_of(number), number + 1
        self._base.execute("BEGIN")
        self._base.executemany(
            "INSERT INTO rows VALUES (?, ?, ?, ?, ?)",
            [(at + topic, topic, seq, time_ms, row) for topic, row in enumerate(rows)],
        )
        self._base.execute("COMMIT")

    def settle(self) -> None:
        pass

    def read_all(self) -> int:
        return sum(1 for _ in self._base.execute("SELECT topic, seq, time, row FROM rows ORDER BY at"))

    def find(self, topic: int, seq: int) -> object:
        return self._base.execute("SELECT at FROM rows WHERE topic = ? AND seq = ?", (topic, seq)).fetchone()[0]

    def find_since(self, topics: range, time_ms: int) -> int:
        query = "SELECT seq, at FROM rows WHERE topic = ? AND time >= ? ORDER BY seq LIMIT 1"
        return sum(self._base.execute(query, (topic, time_ms)).fetchone() is not None for topic in topics)


class _SqliteBlobs:
    """A table with a row for every flush: columns and rows as two blobs. Rows would be found as the log does it."""

    def __init__(self, folder: Path) -> None:
        self._base = sqlite3.connect(folder / "blobs.sqlite", isolation_level=None)
        self._base.execute("PRAGMA page_size = 65536")
        self._base.execute("PRAGMA journal_mode = WAL")
        self._base.execute("PRAGMA synchronous = OFF")
        self._base.execute("CREATE TABLE IF NOT EXISTS flushes (at INTEGER PRIMARY KEY, columns BLOB, rows BLOB)")
        self._base.execute("SELECT max(at) FROM flushes").fetchone()

    def write(self, number: int, flush: Flush) -> None:
        at, rows = flush
        columns = [array("I", range(TOPICS)), array("I", map(len, rows))]
        columns += [array("q", [number + 1]) * TOPICS, array("q", [time_of(number)]) * TOPICS]
        blobs = b"".join(column.tobytes() for column in columns), b"".join(rows)
        self._base.execute("INSERT INTO flushes VALUES (?, ?, ?)", (at, *blobs))

    def settle(self) -> None:
        pass

    def read_all(self) -> int:
        count = 0
        for columns, rows in self._base.execute("SELECT columns, rows FROM flushes ORDER BY at"):
            end, found = 0, []
            for length in array("I", columns[4 * TOPICS : 8 * TOPICS]):
                found.append(rows[end : end + length])
                end += length
            count += len(found)
        return count


class _Log:
    """The journal of the hub."""

    def __init__(self, folder: Path) -> None:
        self._topics = [Topic("tick", f"{600000 + topic}.SH") for topic in range(TOPICS)]
        by_code = {topic.code: topic for topic in self._topics}
        self._journal, self.restored = open_journal(
            folder,
            source="benchmark",
            run=None,
            day=DAY,
            settings=JournalSettings(),
            on_drop=_ignore,
            on_note=_ignore,
        )
        self._journal.attach(lambda _, code: by_code[code], int, _nothing)
        for was in self.restored.topics:
            by_code[was.code].restore(was.seq, was.at, was.newest, was.time_ms, was.newest_time_ms)

    def number(self, number: int, flush: Flush) -> None:
        """What history does for every row that it numbers, journal or not."""
        at, rows = flush
        for row_at, topic, row in zip(count(at), self._topics, rows, strict=False):
            topic.at, topic.seq, topic.newest = row_at, number + 1, row
            topic.time_ms = topic.newest_time_ms = time_of(number)

    def write(self, number: int, flush: Flush) -> None:
        at, rows = flush
        time_ms = time_of(number)
        seqs, times = array("q", [number + 1]) * TOPICS, array("q", [time_ms]) * TOPICS
        self._journal.append(
            [Stretch(at, Runs(small((0,)), large((1000 * time_ms,)), large((0,))), self._topics, seqs, times, rows)]
        )

    def settle(self) -> None:
        self._journal.settle()

    def read_all(self) -> int:
        count, at = 0, 1
        while (segment := self._journal.load(at)) is not None:
            count += len(segment.rows)
            at = segment.end_at
        return count

    def find(self, topic: int, seq: int) -> object:
        return self._journal.at_of(self._topics[topic], seq)

    def find_since(self, topics: range, time_ms: int) -> int:
        return len(self._journal.first_since_many([self._topics[topic] for topic in topics], time_ms))


def _nothing() -> None:
    """Topics know at any time where their rows are."""


def _ignore(_: object) -> None:
    pass


WAYS: dict[str, Callable[[Path], Any]] = {"sqlite-rows": _SqliteRows, "sqlite-blobs": _SqliteBlobs, "log": _Log}


def write(name: str, folder: Path, flush_count: int) -> None:
    """Write all flushes, say what they cost (milliseconds), and end as a killed process ends."""
    way = WAYS[name](folder)
    wall: list[float] = []
    cpu: list[float] = []
    settled: list[float] = []
    for number, flush in enumerate(flushes(flush_count)):
        if isinstance(way, _Log):
            way.number(number, flush)
        start, start_cpu = perf_counter(), thread_time()
        way.write(number, flush)
        wall.append(1000 * (perf_counter() - start))
        cpu.append(1000 * (thread_time() - start_cpu))
        start_cpu = thread_time()
        way.settle()
        settled.append(1000 * (thread_time() - start_cpu))
    worst = sorted(wall)[int(0.99 * len(wall))]
    sys.stdout.write(json.dumps([median(wall), worst, mean(cpu), mean(settled)]))
    sys.stdout.flush()
    os._exit(0)


def measure(name: str, folder: Path, count: int) -> None:
    """Run one way and print its line."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, __file__, "--flushes", str(count), "--folder", str(folder), "--write", name]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - this very file
    append, worst, cpu, settle = json.loads(said)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    started, way = _timed(lambda: WAYS[name](folder))
    read_s, rows = _timed(way.read_all)
    _expect(rows, count * TOPICS)
    line = f"{name:13} {append:8.2f} {worst:8.2f} {cpu:8.2f} {settle:8.2f} {size / rows:8.1f} {1000 * started:9.1f}"
    line += f" {rows / read_s:12,.0f}"
    if hasattr(way, "find"):
        one, at = _timed(lambda: way.find(77, count // 2))
        _expect(at, (count // 2 - 1) * TOPICS + 78)
        many, found = _timed(lambda: way.find_since(range(TOPICS), time_of(count // 2) - 1))
        _expect(found, TOPICS)
        line += f" {1000 * one:8.2f} {1000 * many:9.1f}"
    sys.stdout.write(f"{line}\n")
    shutil.rmtree(folder)


def _expect(found: object, expected: object) -> None:
    if found != expected:
        raise SystemExit(f"found {found} instead of {expected}")


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = perf_counter()
    done = work()
    return perf_counter() - start, done


def main() -> None:
    """Measure the ways that are asked for."""
    parser = argparse.ArgumentParser(description="Measure ways to keep a trading day on disk.")
    parser.add_argument("--flushes", type=int, default=400, help="of 5,500 rows each")
    parser.add_argument("--folder", type=Path, default=Path("data/benchmark"), help="where to write; it is emptied")
    parser.add_argument("--only", choices=WAYS, help="measure this way only")
    parser.add_argument("--write", choices=WAYS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.write:
        write(asked.write, asked.folder, asked.flushes)
    sys.stdout.write(f"{asked.flushes} flushes of {TOPICS} rows; times in ms\n")
    sys.stdout.write(
        "way             append      p99      cpu   settle  B / row   restart  rows/s read  one row  all since\n"
    )
    for name in [asked.only] if asked.only else WAYS:
        measure(name, asked.folder, asked.flushes)


if __name__ == "__main__":
    main()
