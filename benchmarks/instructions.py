"""Counts the machine instructions from the bytes of a fed batch to the outboxes, without sockets and without a clock.

    python -m benchmarks.instructions [CASE ...] [--out data/benchmark/instructions.json]

Where times move by a third from run to run, instructions hardly move: so a change of a few percent can be seen. Each
case runs twice in a process of its own, once for more batches than the other; the difference is what the batches
cost, without the start. Counted by ``perf stat`` where the machine lets it, else by valgrind's callgrind, which is
about fifty times slower than the hub. Counts by one and by the other are not the same and are never compared.
"""

import argparse
import gc
import os
import re
import shutil
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import msgspec

from benchmarks.fanout.machine import REPOSITORY, machine, revision
from benchmarks.fanout.rows import RowMaker, topic
from bridge.app import COLLECT_AFTER
from bridge.feed.messages import FEEDER_SAYS, FedBatch, Reader
from hub.core import Hub, SourceInfo
from hub.history import History
from hub.journal import JournalSettings
from hub.opening import Opened, with_journal
from hub.outbox import Outbox
from hub.wire import CODECS, SUBPROTOCOLS, pack

FORMAT: Final = "argus-instructions-1"
"""A document has ``format``, ``started``, ``revision``, ``machine``, ``by`` (what counted) and ``cases``: name to
``what``, ``instructions`` and ``batches`` (of the shorter and the longer run), ``per_published_row`` and
``per_delivered_row``."""

START_MS: Final = 1_767_578_400_000
STEP_MS: Final = 3000
PENDING_BYTES: Final = 2**24


@dataclass(frozen=True)
class Case:
    """What is run. The history is so small that rows are let go long before counting begins, as in a hub at noon.

    ``rows``: of one batch, of which topics in turn. ``batches``: of the shorter and of the longer run.
    """

    what: str
    topics: int
    rows: int
    clients: int
    each: int
    levels: int
    batches: tuple[int, int]
    ring_rows: int
    keeps: bool = True


def _cases() -> Iterator[tuple[str, Case]]:
    for name, case in (
        # 13 batches are 65,000 rows, which is when the journal makes its next mark.
        (
            "burst",
            Case("5,000 rows a batch, 500 clients of 50 random topics", 5000, 5000, 500, 50, 5, (4, 17), 5000),
        ),
        ("steady", Case("one row a batch, 500 clients of 50 random topics", 5000, 1, 500, 50, 5, (500, 2500), 5000)),
        ("hot", Case("one row a batch, 200 clients of one topic", 1, 1, 200, 1, 8, (500, 2500), 256)),
    ):
        yield name, case
        yield f"{name}-no-journal", replace(case, keeps=False)


CASES: Final[Mapping[str, Case]] = dict(_cases())


def run(case: Case, batches: int, folder: Path) -> int:
    """Publish and flush some batches, after one in which every topic speaks. Returns how many rows were delivered."""
    history = History(ring_rows=case.ring_rows, ring_bytes=2**22)
    opened = _opened(history, folder) if case.keeps else Opened(history, "0" * 16)
    with closing(opened) if case.keeps else nullcontext():
        hub = Hub(
            epoch=opened.epoch,
            source=SourceInfo("benchmark", False),
            channels={"tick"},
            history=history,
            universes={},
            on_wants=_pass_over,
            on_refused=_refuse,
            day_start_ms=lambda: 0,
            store=opened.store,
        )
        subscribe(hub, case)
        fed = FedBatches(case)
        reader = Reader(FEEDER_SAYS, "the benchmark")
        gc.collect()
        gc.freeze()  # this and the threshold as the hub does when it has started
        gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
        for number in range(1, batches + 2):
            batch = reader.read(fed.message(number))
            assert isinstance(batch, FedBatch)  # noqa: S101 - an array is a batch
            hub.publish(batch.channel, batch.rows, batch.recv_us, batch.number)
            hub.flush()
        return hub.counts.rows_out


class FedBatches:
    """What a feeder would say: every topic in the first batch, then topics in turn. Put together from few parts."""

    def __init__(self, case: Case) -> None:
        row = RowMaker("tick", case.levels)
        self._heads = [row.fed_head(n) for n in range(case.topics)]
        self._tail = row.tail
        self._rows = case.rows

    def message(self, number: int) -> bytes:
        """The batch of a number, from 1."""
        start = (number - 2) * self._rows % len(self._heads)
        heads = self._heads[start : start + self._rows] if number > 1 else self._heads
        time_ms = START_MS + STEP_MS * number
        between = pack(time_ms) + self._tail
        count = b"\xdd" + struct.pack("!I", len(heads))
        return b"".join(
            (b"\x94", pack(number), pack("tick"), count, between.join(heads), between, pack(time_ms * 1000))
        )


def subscribe(hub: Hub, case: Case) -> None:
    """Let the clients of a case observe their topics, the same ones every time."""
    chance = Random(1)  # noqa: S311 - no secret
    wire = deque[bytes](maxlen=0)
    for _ in range(case.clients):
        outbox = Outbox(CODECS[SUBPROTOCOLS[0]], hub.epoch, wire.append, PENDING_BYTES, _overflow, hub.counts)
        names = [topic("tick", n) for n in chance.sample(range(case.topics), case.each)]
        for name in names:
            hub.router.select(name)
        hub.router.move(outbox, frozenset(names))


def _opened(history: History, folder: Path) -> Opened:
    settings = JournalSettings(fsync_s=3600.0)  # when the disk is waited for must not depend on the clock
    day = date(2026, 1, 5)
    return with_journal(history, folder, settings, source="benchmark", run=None, day=day, on_append=_pass_over)


def _pass_over(_: object) -> None:
    """Nobody wants to know."""


def _refuse(reason: str) -> None:
    raise ValueError(reason)


def _overflow() -> None:
    raise BufferError("a client has too much waiting")


def counter() -> str:
    """What can count here: ``perf`` or ``callgrind``. Raises SystemExit where nothing can."""
    if (perf := shutil.which("perf")) is not None:
        asked = [perf, "stat", "-x", ",", "-e", "instructions:u", "true"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False)  # noqa: S603
        if re.match(r"\d+,", said.stderr):
            return "perf"
    if shutil.which("valgrind"):
        return "callgrind"
    raise SystemExit("neither perf with instruction counts nor valgrind is here (Debian: apt-get install valgrind)")


class Counted(NamedTuple):
    """A whole process that ran a case: its instructions, and how many rows it delivered."""

    instructions: int
    delivered: int


def count(by: str, name: str, batches: int) -> Counted:
    """Run a case in a process of its own. Raises SystemExit where nothing is counted."""
    with TemporaryDirectory() as folder:
        found = Path(folder) / "counts"
        if by == "perf":
            command = ["perf", "stat", "-x", ",", "-e", "instructions:u", "-o", str(found), "--"]
        else:
            command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={found}"]
        command += [sys.executable, "-m", "benchmarks.instructions", name, "--run", str(batches), "--folder", folder]
        environment = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0"}
        made = subprocess.run(  # noqa: S603 - our own
            command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise SystemExit(f"{' '.join(command)}:\n{made.stderr[-2000:]}")
        pattern = r"^(\d+)," if by == "perf" else r"^(?:totals|summary): (\d+)"
        counted = re.search(pattern, found.read_text(encoding="utf-8"), re.MULTILINE)
        if counted is None:
            raise SystemExit(f"{by} has counted nothing")
        return Counted(int(counted[1]), int(made.stdout))


def warm_up(name: str) -> None:
    """Run a case once, so that Python's compiled files are there: making them would be counted."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.instructions", name, "--run", "1", "--folder", folder]
        subprocess.run(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own


def measure(by: str, name: str) -> dict[str, Any]:
    """What the batches of a case cost."""
    case = CASES[name]
    warm_up(name)
    less, more = (count(by, name, batches) for batches in case.batches)
    instructions = more.instructions - less.instructions
    published = (case.batches[1] - case.batches[0]) * case.rows
    return {
        "what": case.what,
        "batches": case.batches,
        "instructions": (less.instructions, more.instructions),
        "per_published_row": round(instructions / published, 1),
        "per_delivered_row": round(instructions / (more.delivered - less.delivered), 1),
    }


def main(arguments: Sequence[str]) -> None:
    """Count what is asked for, or (``--run``) be the process that is counted."""
    parser = argparse.ArgumentParser(prog="benchmarks.instructions", description="Count instructions of the core.")
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--out", type=Path, default=Path("data/benchmark/instructions.json"), help="where to write")
    parser.add_argument("--run", type=int, default=0, help="run so many batches of one case, uncounted")
    parser.add_argument("--folder", type=Path, default=Path("data/benchmark"), help="for its journal (--run)")
    asked = parser.parse_args(arguments)
    if asked.run:
        sys.stdout.write(f"{run(CASES[asked.cases[0]], asked.run, asked.folder / 'journal')}\n")
        return
    by = counter()
    document: dict[str, Any] = {
        "format": FORMAT,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": machine(),
        "by": by,
        "cases": {},
    }
    sys.stdout.write(f"instructions, counted by {by}\n{'':20} {'a published row':>16} {'a delivered row':>16}\n")
    for name in asked.cases or CASES:
        found = document["cases"][name] = measure(by, name)
        sys.stdout.write(f"{name:20} {found['per_published_row']:16,.1f} {found['per_delivered_row']:16,.1f}\n")
        sys.stdout.flush()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
