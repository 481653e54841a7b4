"""Runs workloads against the hub and its peers in turns, and says what came of it.

python -m benchmarks.fanout [WORKLOAD ...] [--contestants hub,nats] [--rounds 5] [--out result.json]
python -m benchmarks.fanout --quick            the most telling ones, in under two minutes
python -m benchmarks.fanout --install-peers    the Python servers, into the benchmark's own environment
python -m benchmarks.fanout --list
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks.fanout.contestants import CONTESTANTS
from benchmarks.fanout.contestants.python import install_peers
from benchmarks.fanout.document import FORMAT, Document, condensed, write
from benchmarks.fanout.figures import figures_of
from benchmarks.fanout.machine import machine, revision
from benchmarks.fanout.native import build
from benchmarks.fanout.profiling import summary
from benchmarks.fanout.tables import legend, terminal
from benchmarks.fanout.targets import verdicts
from benchmarks.fanout.trial import Bench
from benchmarks.fanout.turns import expected_s, turns
from benchmarks.fanout.workloads import QUICK, WORKLOADS, Workload, quick, smoke

CACHE: Final = Path("data/benchmark")


def main() -> int:
    """Run what is asked for. Returns the exit code: 1 when a trial failed."""
    asked = _arguments().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers end with it
    if asked.list:
        _say(_listing(asked.cache))
        return 0
    asked.cache.mkdir(parents=True, exist_ok=True)
    if asked.profile:
        asked.profile.mkdir(parents=True, exist_ok=True)
    if asked.install_peers:
        install_peers(asked.cache)
        return 0
    form: Callable[[Workload], Workload] = quick if asked.quick else smoke if asked.smoke else _as_it_is
    workloads = [form(WORKLOADS[name]) for name in asked.workloads or (QUICK if asked.quick else WORKLOADS)]
    names = asked.contestants.split(",") if asked.contestants else []
    if unknown := [name for name in names if name not in CONTESTANTS]:
        raise SystemExit(f"unknown: {', '.join(unknown)}; there are {', '.join(CONTESTANTS)}")
    rounds = asked.rounds or (1 if asked.quick or asked.smoke else 5)
    bench = Bench(build(asked.cache), asked.cache, pins=not asked.no_pin, profiles=asked.profile)
    document = _run(bench, workloads, names, rounds, asked)
    document = condensed(document)
    for workload in workloads:
        _say(f"\n{terminal(document, workload.name)}")
    _say(f"\n{legend()}\n")
    for stacks in sorted(asked.profile.glob("*.stacks")) if asked.profile else ():
        _say(f"\n{stacks.stem}: {summary(stacks)}")
    for verdict in () if asked.smoke else verdicts(document):
        _say(str(verdict))
    for name, reason in document["skipped"].items():
        _say(f"not run: {name}: {reason}")
    _say(f"raw figures: {asked.out}")
    return int(any("failed" in trial for found in document["workloads"].values() for trial in found["trials"]))


def _run(
    bench: Bench, workloads: Sequence[Workload], names: Sequence[str], rounds: int, asked: argparse.Namespace
) -> Document:
    """Run every trial, and keep what is done after each. ``names``: who is asked for; nobody: whom workloads name."""
    part = {
        workload.name: [
            c for c in map(CONTESTANTS.__getitem__, names or workload.contestants) if not c.unable(workload)
        ]
        for workload in workloads
    }
    everybody = {c.name for contestants in part.values() for c in contestants}
    skipped = {name: reason for name in CONTESTANTS if name in everybody and (reason := _missing(name, asked.cache))}
    part = {workload: [c for c in contestants if c.name not in skipped] for workload, contestants in part.items()}
    there = [contestant for name, contestant in CONTESTANTS.items() if name in everybody - skipped.keys()]
    document: Document = {
        "format": FORMAT,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": machine() | {"pinned": bench.pins},
        "rounds": rounds,
        "contestants": {c.name: {"title": c.title, "version": c.version(asked.cache)} for c in there},
        "skipped": skipped,
        "workloads": {
            workload.name: {
                "what": workload.what,
                "parameters": workload.parameters,
                "meant": {name: CONTESTANTS[name].unable(workload) for name in workload.contestants},
                "trials": [],
            }
            for workload in workloads
        },
    }
    plan = list(turns(workloads, part, rounds))
    left_s = sum(map(expected_s, plan))
    _note(f"{len(plan)} trials, about {left_s / 60:.0f} minutes")
    for number, turn in enumerate(plan, 1):
        begun_s = time.monotonic()
        trial = bench.attempt(turn.contestant, turn.workload)
        found = {"contestant": turn.contestant.name, "round": turn.number, **trial}
        document["workloads"][turn.workload.name]["trials"].append(found)
        write(asked.out, document)  # what is done is kept, whatever comes
        left_s -= expected_s(turn)
        took = f"{time.monotonic() - begun_s:.0f} s; {max(0.0, left_s) / 60:.0f} min left"
        _note(f"[{number}/{len(plan)}] {turn.workload.name} · {turn.contestant.name}: {_short(trial)} ({took})")
    return document


def _missing(name: str, cache: Path) -> str:
    return CONTESTANTS[name].missing(cache)


def _short(trial: dict[str, object]) -> str:
    if "failed" in trial:
        return f"failed: {trial['failed']}"
    shown = ("cpu_us_per_row", "p50_ms", "p99_ms", "last_ms", "missing_rows", "rss_bytes_per_client", "open_s")
    found = figures_of(trial)
    return ", ".join(f"{name} {found[name]:,.2f}" for name in shown if found.get(name) is not None)


def _listing(cache: Path) -> str:
    lines = ["workloads:", *(f"  {name:26} {workload.what}" for name, workload in WORKLOADS.items()), "contestants:"]
    for name, contestant in CONTESTANTS.items():
        reason = contestant.missing(cache)
        lines.append(f"  {name:26} {contestant.title}{f' (not here: {reason})' if reason else ''}")
    return "\n".join(lines)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.fanout", description="Measure fan-out beside its peers.")
    parser.add_argument("workloads", nargs="*", choices=[*WORKLOADS, []], metavar="WORKLOAD", help="see --list")
    parser.add_argument("--contestants", default="", help="names with commas; all that are installed if none is named")
    parser.add_argument("--rounds", type=int, default=0, help="how often each runs; 5, or 1 with --quick")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="short runs of a few workloads")
    size.add_argument("--smoke", action="store_true", help="hardly any load: for counts, not for times")
    parser.add_argument("--no-pin", action="store_true", help="let every process run on any processor")
    parser.add_argument("--profile", type=Path, help="have py-spy look at Python servers, and write its stacks here")
    parser.add_argument("--out", type=Path, default=CACHE / "result.json", help="where to write the raw figures")
    parser.add_argument("--cache", type=Path, default=CACHE, help="for what is built and installed")
    parser.add_argument("--install-peers", action="store_true", help="install the Python servers to measure against")
    parser.add_argument("--list", action="store_true", help="say what there is")
    return parser


def _as_it_is(workload: Workload) -> Workload:
    return workload


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
