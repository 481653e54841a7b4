"""Measures what the relay costs beside a hub that is alone, and says which targets are met.

python -m benchmarks.relay [steady] [burst] [flood] [edges] [--rounds 3] [--out result.json] [--more]

A round of all takes three minutes. No process is held to a processor: a deployment has more of them than this machine;
only the feed's CPU is measured with feed and Redis side by side as well. What is done is written after each trial; with
``--more`` it is added to the rounds of an earlier run.
Linux only; needs redis-server and gcc.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.fanout.contestants import CONTESTANTS, Contestant
from benchmarks.fanout.document import Document, joined, read, write
from benchmarks.fanout.figures import figures_of
from benchmarks.fanout.machine import machine, revision
from benchmarks.fanout.native import build
from benchmarks.fanout.trial import Bench
from benchmarks.fanout.turns import expected_s, turns
from benchmarks.relay.targets import verdicts
from benchmarks.relay.workloads import DEPLOYMENTS, FORMAT, WORKLOADS

CACHE: Final = Path("data/benchmark")
SHOWN: Final = ("cpu_us_per_row", "p50_ms", "p99_ms", "last_ms", "rows_per_s", "feed_cpu_share", "redis_cpu_share")


def main() -> int:
    """Run what is asked for. Returns the exit code: 1 when a trial failed."""
    asked = _arguments().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end with it
    asked.cache.mkdir(parents=True, exist_ok=True)
    before = [read(asked.out, (FORMAT,))] if asked.more else []
    document = _run(asked, before)
    for verdict in verdicts(document):
        _say(str(verdict))
    _say(f"raw figures: {asked.out}")
    return int(any("failed" in trial for found in document["workloads"].values() for trial in found["trials"]))


def _run(asked: argparse.Namespace, before: Sequence[Document]) -> Document:
    """Run every trial, and keep what is done after each. Returns it behind what there was before."""
    workloads = [WORKLOADS[name] for name in asked.workloads or WORKLOADS]
    everybody: dict[str, Contestant] = {"hub": CONTESTANTS["hub"], **DEPLOYMENTS}
    for contestant in everybody.values():
        if reason := contestant.missing(asked.cache):
            raise SystemExit(f"{contestant.name} can't run here: {reason}")
    bench = Bench(build(asked.cache), asked.cache, pins=asked.pin)
    document: Document = {
        "format": FORMAT,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": machine() | {"pinned": bench.pins},
        "rounds": asked.rounds,
        "contestants": {c.name: {"title": c.title, "version": c.version(asked.cache)} for c in everybody.values()},
        "skipped": {},
        "workloads": {
            w.name: {
                "what": w.what,
                "parameters": w.parameters,
                "meant": dict.fromkeys(w.contestants, ""),
                "trials": [],
            }
            for w in workloads
        },
    }
    part = {workload.name: [everybody[name] for name in workload.contestants] for workload in workloads}
    plan = list(turns(workloads, part, asked.rounds))
    _say(f"{len(plan)} trials, about {sum(map(expected_s, plan)) / 60:.0f} minutes")
    for turn in plan:
        trial = bench.attempt(turn.contestant, turn.workload)
        found = {"contestant": turn.contestant.name, "round": turn.number, **trial}
        document["workloads"][turn.workload.name]["trials"].append(found)
        write(asked.out, joined([*before, document]))
        _say(f"{turn.workload.name} · {turn.contestant.name}: {_short(found)}")
    return joined([*before, document])


def _short(trial: dict[str, object]) -> str:
    if "failed" in trial:
        return f"failed: {trial['failed']}"
    found = figures_of(trial)
    return ", ".join(f"{name} {found[name]:,.2f}" for name in SHOWN if found.get(name) is not None)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.relay", description="Measure the relay beside a hub alone.")
    parser.add_argument("workloads", nargs="*", choices=[*WORKLOADS, []], metavar="steady|burst|flood|edges")
    parser.add_argument("--rounds", type=int, default=3, help="how often each runs")
    parser.add_argument("--out", type=Path, default=CACHE / "relay.json", help="where to write the figures")
    parser.add_argument("--more", action="store_true", help="add to the rounds that are in that file")
    parser.add_argument("--cache", type=Path, default=CACHE, help="for what is built")
    parser.add_argument("--pin", action="store_true", help="hub or first edge on one processor, the load on another")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
