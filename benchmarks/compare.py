"""Compares two results of a benchmark, and ends with 1 where something got more than 15 % worse.

    python benchmarks/compare.py OLD.json NEW.json [--contestants hub,hub-no-journal] [--partial]

Results of fan-out (raw ones, or docs/benchmarks.json), of the relay or counts of instructions; both of the same kind. A
ratio above 1 is worse. What the old one has and the new one lacks is named, and ends with 1 too, unless the new one is
of a part of it (--partial). Where both runs have the C program at the same workload, CPU is held against its CPU in the
same run, so that a machine that was slower that day is not taken for a slower hub.
"""

import argparse
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import instructions
from benchmarks.fanout import document
from benchmarks.fanout.document import Document, failures, read, results
from benchmarks.fanout.targets import UNJOURNALLED
from benchmarks.relay.workloads import FORMAT as RELAY

WORSE: Final = 1.15
YARDSTICKS: Final = ("c-each", "c-gathered")
LESS_IS_BETTER: Final = (
    "cpu_us_per_row", "p99_ms", "p999_ms", "last_ms", "rss_bytes_per_client", "cpu_us_per_client", "open_s",
    "feed_cpu_share", "redis_cpu_share",
)  # fmt: skip
MORE_IS_BETTER: Final = ("rows_per_s",)
HUBS: Final = (*UNJOURNALLED, *UNJOURNALLED.values())
COUNTS: Final = ("per_published_row", "per_delivered_row")
CPU: Final = "cpu_us_per_row"

Figures = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure in both runs; ``about`` says of whom at what."""

    about: str
    figure: str
    old: float
    new: float
    ratio: float

    @property
    def is_worse(self) -> bool:
        """Whether it got worse by more than it may."""
        return self.ratio > WORSE

    def __str__(self) -> str:
        name = f"{self.about} · {self.figure}"
        return f"{name:60} {self.old:12.3f} {self.new:12.3f} {self.ratio:7.2f}{'  WORSE' if self.is_worse else ''}"


def changes(old: Document, new: Document, contestants: Collection[str]) -> Iterator[Change]:
    """What both runs have, in the order of the new one. ``contestants``: none means all but the yardsticks."""
    for workload in new["workloads"]:
        if workload not in old["workloads"]:
            continue
        before, after = results(old, workload), results(new, workload)
        machine = _machine(before, after)
        for name in after:
            if name not in before or not _is_looked_at(name, contestants):
                continue
            for figure in (*LESS_IS_BETTER, *MORE_IS_BETTER):
                was, is_now = before[name].get(figure), after[name].get(figure)
                if was and is_now:
                    ratio = was / is_now if figure in MORE_IS_BETTER else is_now / was
                    yield Change(
                        f"{workload} · {name}", figure, was, is_now, ratio / (machine if figure == CPU else 1.0)
                    )
            if (after[name].get("missing_rows") or 0) > 0 and not before[name].get("missing_rows"):
                missing = after[name]["missing_rows"] or 0.0
                yield Change(f"{workload} · {name}", "missing_rows", 0.0, missing, float("inf"))
        failed_before = failures(old, workload)
        for name, reasons in failures(new, workload).items():
            count = len(failed_before.get(name, ()))
            if len(reasons) > count and (name in contestants or not contestants):
                yield Change(f"{workload} · {name}", "failed_trials", count, len(reasons), float("inf"))


def gone(old: Document, new: Document, contestants: Collection[str]) -> Iterator[str]:
    """What the old run has and the new one lacks: of whom at what, and the figure where others are there."""
    for workload in old["workloads"]:
        after = results(new, workload)
        for name, figures in results(old, workload).items():
            if not _is_looked_at(name, contestants):
                continue
            if name not in after:
                yield f"{workload} · {name}"
                continue
            for figure in (*LESS_IS_BETTER, *MORE_IS_BETTER):
                if figures.get(figure) is not None and after[name].get(figure) is None:
                    yield f"{workload} · {name} · {figure}"


def _is_looked_at(name: str, contestants: Collection[str]) -> bool:
    return name in contestants if contestants else name not in YARDSTICKS


def instruction_changes(old: Document, new: Document) -> Iterator[Change]:
    """What both counts have. Raises SystemExit where they were counted by different means."""
    if old["by"] != new["by"]:
        raise SystemExit(f"counts by {old['by']} and by {new['by']} cannot be compared")
    for name, counted in new["cases"].items():
        for figure in COUNTS if name in old["cases"] else ():
            was, is_now = old["cases"][name][figure], counted[figure]
            yield Change(name, figure, was, is_now, is_now / was)


def _machine(before: Mapping[str, Figures], after: Mapping[str, Figures]) -> float:
    """How many times the CPU of the run before the C program took; 1 where it did not run in both."""
    for name in YARDSTICKS:
        was, is_now = before.get(name, {}).get(CPU), after.get(name, {}).get(CPU)
        if was and is_now:
            return is_now / was
    return 1.0


def _origin(made: Document) -> str:
    machine = made["machine"]
    return f"{made['started']}, revision {made['revision']}, {machine['cpu']}, Python {machine['python']}"


def main() -> int:
    """Compare two files. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare two results of a benchmark.")
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument(
        "--contestants", help="names with commas, empty: all; hubs (of the relay: all) if none is named"
    )
    parser.add_argument("--partial", action="store_true", help="the new one is of a part of the old one's workloads")
    asked = parser.parse_args()
    formats = (document.FORMAT, RELAY, instructions.FORMAT)
    old, new = read(asked.old, formats), read(asked.new, formats)
    if old["format"] != new["format"]:
        raise SystemExit(f"results of different kinds cannot be compared: {old['format']} and {new['format']}")
    if old["format"] == instructions.FORMAT:
        found, lacking = list(instruction_changes(old, new)), sorted(old["cases"].keys() - new["cases"].keys())
    else:
        usual = HUBS if old["format"] == document.FORMAT else ()
        names = usual if asked.contestants is None else tuple(filter(None, asked.contestants.split(",")))
        found, lacking = list(changes(old, new, names)), list(gone(old, new, names))
    if not found:
        raise SystemExit("the two results have nothing in common")
    lines = [f"{when}: {_origin(made)}" for when, made in (("old", old), ("new", new))]
    lines += [f"{'':60} {'old':>12} {'new':>12} {'ratio':>7}", *map(str, found)]
    lines += [f"{what:60} is not in the new result{'' if asked.partial else '  GONE'}" for what in lacking]
    worse = sum(change.is_worse for change in found)
    lines.append(f"{worse} of {len(found)} got more than {WORSE - 1:.0%} worse, {len(lacking)} are gone")
    sys.stdout.write("\n".join((*lines, "")))
    return int(worse > 0 or (len(lacking) > 0 and not asked.partial))


if __name__ == "__main__":
    sys.exit(main())
