"""Measures what history costs and gives, over real sockets on one machine: replay, the journal's share, a restart.

    python benchmarks/history.py [replay] [journal] [restart] [--folder data/benchmark]

``replay``: rows per second to one client, from the ring and from the journal. ``journal``: the hub's CPU for a batch of
the whole market and its time from publish to the sockets, with and without a journal, side by side. ``restart``: a
hub whose journal holds a whole day, from its start to the first live row at a client (7 GB on disk, some minutes to
make). The folder is emptied. Linux only.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.processes import HubProcess, followers, replay_all, running_hub
from benchmarks.raw_client import RawClient
from benchmarks.raw_feeder import TOPICS, RawFeeder, encoded
from benchmarks.whole_day import RUN, make_day

REPLAY_BATCHES: Final = 180
REPLAY_RUNS: Final = 5
RING: Final = ("--ring-bytes", str(2**31))
HARDLY_A_RING: Final = ("--ring-bytes", str(2**22))

CLIENTS: Final = (0, 10, 50)
PAIRS: Final = 9
BATCHES_A_RUN: Final = 8
PACE_S: Final = 0.4

DAY_BATCHES: Final = 4800
RESTARTS: Final = 3
GIB: Final = 2**30


def replay(folder: Path) -> None:
    """From the ring and from the journal, each several times, the journal on in both."""
    _print(f"replay of {REPLAY_BATCHES * TOPICS:,} rows to one client, {REPLAY_RUNS} times")
    _print("from        rows/s median      worst     MB/s   hub CPU   reader CPU   rows in the ring")
    for name, ring in (("ring", RING), ("journal", HARDLY_A_RING)):
        with running_hub("--data", str(folder / name), *ring) as hub, RawFeeder(hub.port) as feeder:
            for number in range(1, REPLAY_BATCHES + 1):
                feeder.send(encoded(number))
            feeder.settle()
            runs = [_one_replay(hub) for _ in range(REPLAY_RUNS)]
            rows_s = [run["rows"] / run["seconds"] for run in runs]
            mb_s = median(run["bytes"] / run["seconds"] for run in runs) / 1e6
            hub_cpu, own_cpu = (median(run[cpu] / run["seconds"] for run in runs) for cpu in ("hub_s", "cpu_s"))
            held = hub.figures()["argus_ring_rows"]
        _print(
            f"{name:10} {median(rows_s):14,.0f} {min(rows_s):10,.0f} {mb_s:8.0f} {hub_cpu:9.0%} {own_cpu:12.0%}"
            f" {held:18,.0f}"
        )


def _one_replay(hub: HubProcess) -> dict[str, float]:
    before = hub.cpu_s
    taken = replay_all(hub)
    if taken["rows"] != REPLAY_BATCHES * TOPICS:
        raise SystemExit(f"{taken['rows']} rows came instead of {REPLAY_BATCHES * TOPICS}")
    return taken | {"hub_s": hub.cpu_s - before}


def journal(folder: Path) -> None:
    """Two hubs, one with a journal and one without, fed the same batches in turns."""
    _print(f"journal: {PAIRS} pairs of runs of {BATCHES_A_RUN} batches of {TOPICS:,} rows, one every {PACE_S:g} s")
    _print("clients  CPU ms a batch: without   with    more  publish to sockets ms: without   with    more  append ms")
    for count in CLIENTS:
        with ExitStack() as stack:
            sides = [
                stack.enter_context(_side(options, count))
                for options in (("--no-journal",), ("--data", str(folder / f"side-{count}")))
            ]
            for side in sides:
                side.run()  # warm-up
            pairs = []
            for turn in range(PAIRS):
                order = sides if turn % 2 else sides[::-1]
                costs = {side: side.run() for side in order}
                pairs.append([costs[side] for side in sides])
        without, with_it = ([pair[n] for pair in pairs] for n in (0, 1))
        cpu = [median(cost.cpu_ms for cost in costs) for costs in (without, with_it)]
        late = [median(cost.burst_ms for cost in costs) for costs in (without, with_it)]
        more = median(after.cpu_ms / before.cpu_ms - 1 for before, after in pairs)
        later_ms = median(after.burst_ms - before.burst_ms for before, after in pairs)
        append_ms = median(cost.append_ms for cost in with_it)
        _print(
            f"{count:7} {cpu[0]:23.1f} {cpu[1]:6.1f} {more:+7.1%} {late[0]:30.2f} {late[1]:6.2f} {later_ms:+7.2f}"
            f" {append_ms:10.2f}"
        )


class _Cost(NamedTuple):
    """What a batch cost a hub, in ms: CPU, time from publish to the sockets, and of that writing the journal."""

    cpu_ms: float
    burst_ms: float
    append_ms: float


class _Side:
    """One of two hubs that are compared."""

    def __init__(self, hub: HubProcess, feeder: RawFeeder) -> None:
        self._hub = hub
        self._feeder = feeder

    def run(self) -> _Cost:
        """Feed a few batches; what each of them cost on average."""
        data = [encoded(self._feeder.batch + number) for number in range(1, BATCHES_A_RUN + 1)]
        cpu_s, before = self._hub.cpu_s, self._hub.figures()
        for batch in data:
            self._feeder.send(batch)
            time.sleep(PACE_S)
        self._feeder.settle()
        cpu_s, after = self._hub.cpu_s - cpu_s, self._hub.figures()
        names = ("argus_publish_to_socket_seconds_sum", "argus_journal_append_seconds_sum")
        burst_s, append_s = (after[name] - before[name] for name in names)
        return _Cost(*(1000 * seconds / BATCHES_A_RUN for seconds in (cpu_s, burst_s, append_s)))


@contextmanager
def _side(options: tuple[str, ...], clients: int) -> Iterator[_Side]:
    with running_hub(*options) as hub, RawFeeder(hub.port) as feeder:
        feeder.send(encoded(1))
        feeder.settle()
        with followers(hub, clients):
            yield _Side(hub, feeder)


def restart(folder: Path) -> None:
    """A hub that finds a whole day in its journal, with the files in memory and not."""
    start_s = time.perf_counter()
    written = make_day(folder, DAY_BATCHES)
    rows, took_s = DAY_BATCHES * TOPICS, time.perf_counter() - start_s
    _print(f"restart with {rows:,} rows, {written / GIB:.1f} GiB on disk (made in {took_s:.0f} s), {RESTARTS} times")
    _print("files        listening s     first live row at a client s, median      worst   hub MB")
    batch = DAY_BATCHES
    for name, prepare in (("in memory", _keep), ("on disk", _forget)):
        runs = []
        for _ in range(RESTARTS):
            for path in folder.rglob("*.*"):
                prepare(path)
            batch += 1
            runs.append(_one_restart(folder, batch))
        listening_s, live_s, rss_bytes = zip(*runs, strict=True)
        _print(
            f"{name:10} {median(listening_s):13.2f} {median(live_s):42.2f} {max(live_s):10.2f}"
            f" {median(rss_bytes) / 1e6:8.0f}"
        )


def _one_restart(folder: Path, batch: int) -> tuple[float, float, float]:
    """Seconds from the start of the process until it listens, and until a client has a live row; resident memory."""
    start_s = time.perf_counter()
    with running_hub("--data", str(folder)) as hub:
        listening_s = time.perf_counter() - start_s
        client = RawClient(hub.port)
        client.ask(op="subscribe", id=1, topics=["tick:*"], since="none")
        reply = client.until("subscribed")
        with RawFeeder(hub.port, run=RUN) as feeder:
            if (reply["matched"], feeder.batch) != (TOPICS, batch - 1):
                raise SystemExit(f"the day is not there: {reply['matched']} topics, batch {feeder.batch}")
            feeder.send(encoded(batch))
            client.until_rows()
            live_s = time.perf_counter() - start_s
            feeder.settle()
        return listening_s, live_s, hub.rss_bytes


def _keep(path: Path) -> None:
    """Have the operating system hold a file in memory, as far as there is room."""
    with path.open("rb") as file:
        while file.read(1 << 24):
            pass


def _forget(path: Path) -> None:
    """Have the operating system let go of what it holds of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


WHAT: Final[dict[str, Callable[[Path], None]]] = {"replay": replay, "journal": journal, "restart": restart}


def main() -> None:
    """Measure what is asked for, or everything."""
    parser = argparse.ArgumentParser(description="Measure what history costs and gives.")
    parser.add_argument("what", nargs="*", choices=[*WHAT, []], help="all of them if none is named")
    parser.add_argument("--folder", type=Path, default=Path("data/benchmark"), help="where to write; it is emptied")
    asked = parser.parse_args()
    for name in asked.what or list(WHAT):
        shutil.rmtree(asked.folder, ignore_errors=True)
        asked.folder.mkdir(parents=True)
        _print(f"load of the machine before: {os.getloadavg()[0]:.1f} of {os.cpu_count()} processors")
        WHAT[name](asked.folder)
    shutil.rmtree(asked.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
