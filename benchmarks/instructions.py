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
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, Final

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

    ``batches``: of the shorter and of the longer run.
    """

    what: str
    topics: int
    clients: int
    each: int
    levels: int
    batches: tuple[int, int]
    ring_rows: int
    keeps: bool

    @property
    def delivered_rows(self) -> int:
        """How many rows clients get of one batch."""
        return self.clients * self.each


def _burst(*, keeps: bool) -> Case:
    what = "5,000 rows in a batch, 500 audiences of one client with 50 random topics each"
    # 13 batches are 65,000 rows, which is when the journal makes its next mark.
    return Case(what, 5000, 500, 50, 5, (4, 17), 5000, keeps)


def _hot(*, keeps: bool) -> Case:
    return Case("one row in a batch, one audience of 200 clients", 1, 200, 1, 8, (500, 2500), 256, keeps)


CASES: Final[Mapping[str, Case]] = {
    "burst": _burst(keeps=True),
    "burst-no-journal": _burst(keeps=False),
    "hot": _hot(keeps=True),
    "hot-no-journal": _hot(keeps=False),
}


def run(case: Case, batches: int, folder: Path) -> int:
    """Publish and flush some batches. Returns how many rows were delivered."""
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
            store=opened.store,
        )
        subscribe(hub, case)
        fed = FedBatches(case)
        reader = Reader(FEEDER_SAYS, "the benchmark")
        gc.collect()
        gc.freeze()  # this and the threshold as the hub does when it has started
        gc.set_threshold(COLLECT_AFTER, *gc.get_threshold()[1:])
        for number in range(1, batches + 1):
            batch = reader.read(fed.message(number))
            assert isinstance(batch, FedBatch)  # noqa: S101 - an array is a batch
            hub.publish(batch.channel, batch.rows, batch.recv_us, batch.number)
            hub.flush()
        return hub.counts.rows_out


class FedBatches:
    """What a feeder would say: one row of every topic in each batch, put together from parts that are made once."""

    def __init__(self, case: Case) -> None:
        row = RowMaker("tick", case.levels)
        heads = [row.fed_head(n) for n in range(case.topics)]
        self._parts = [heads[0], *(row.tail + head for head in heads[1:]), row.tail]
        self._count = b"\xdd" + struct.pack("!I", case.topics)

    def message(self, number: int) -> bytes:
        """The batch of a number."""
        time_ms = START_MS + STEP_MS * number
        rows = pack(time_ms).join(self._parts)
        return b"".join((b"\x94", pack(number), pack("tick"), self._count, rows, pack(time_ms * 1000)))


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


def count(by: str, name: str, batches: int) -> int:
    """The instructions of a whole process that runs a case."""
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
        return int(counted[1])


def warm_up(name: str) -> None:
    """Run a case once, so that Python's compiled files are there: making them would be counted."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.instructions", name, "--run", "1", "--folder", folder]
        subprocess.run(command, cwd=REPOSITORY, check=True)  # noqa: S603 - our own


def measure(by: str, name: str) -> dict[str, Any]:
    """What the batches of a case cost."""
    case = CASES[name]
    warm_up(name)
    less, more = (count(by, name, batches) for batches in case.batches)
    batch = (more - less) / (case.batches[1] - case.batches[0])
    return {
        "what": case.what,
        "batches": case.batches,
        "instructions": (less, more),
        "per_published_row": round(batch / case.topics, 1),
        "per_delivered_row": round(batch / case.delivered_rows, 1),
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
        run(CASES[asked.cases[0]], asked.run, asked.folder / "journal")
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
