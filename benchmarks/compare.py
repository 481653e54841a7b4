"""Compares two results of the benchmark of fan-out, and ends with 1 where something got more than 15 % worse.

    python benchmarks/compare.py OLD.json NEW.json [--contestants hub,hub-no-journal]

A ratio above 1 is worse. Where both runs have the C program at the same workload, CPU is held against its CPU in the
same run, so that a machine that was slower that day is not taken for a slower hub.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.fanout.document import Document, read, results

WORSE: Final = 1.15
YARDSTICKS: Final = ("c-each", "c-gathered")
LESS_IS_BETTER: Final = ("cpu_us_per_row", "p99_ms", "last_ms", "rss_bytes_per_client", "cpu_us_per_client")
CPU: Final = "cpu_us_per_row"

Figures = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class Change:
    """One figure of one contestant in both runs."""

    workload: str
    contestant: str
    figure: str
    old: float
    new: float
    ratio: float

    @property
    def is_worse(self) -> bool:
        """Whether it got worse by more than it may."""
        return self.ratio > WORSE

    def __str__(self) -> str:
        name = f"{self.workload} · {self.contestant} · {self.figure}"
        return f"{name:60} {self.old:12.3f} {self.new:12.3f} {self.ratio:7.2f}{'  WORSE' if self.is_worse else ''}"


def changes(old: Document, new: Document, contestants: set[str]) -> Iterator[Change]:
    """What both runs have, in the order of the new one. ``contestants``: none means all but the yardsticks."""
    for workload in new["workloads"]:
        if workload not in old["workloads"]:
            continue
        before, after = results(old, workload), results(new, workload)
        machine = _machine(before, after)
        for name in after:
            if name not in before or (name not in contestants if contestants else name in YARDSTICKS):
                continue
            for figure in LESS_IS_BETTER:
                was, is_now = before[name].get(figure), after[name].get(figure)
                if was and is_now:
                    ratio = is_now / was / (machine if figure == CPU else 1.0)
                    yield Change(workload, name, figure, was, is_now, ratio)
            if (after[name].get("missing_rows") or 0) > 0 and not before[name].get("missing_rows"):
                yield Change(workload, name, "missing_rows", 0.0, after[name]["missing_rows"] or 0.0, float("inf"))


def _machine(before: Mapping[str, Figures], after: Mapping[str, Figures]) -> float:
    """How many times the CPU of the run before the C program took; 1 where it did not run in both."""
    for name in YARDSTICKS:
        was, is_now = before.get(name, {}).get(CPU), after.get(name, {}).get(CPU)
        if was and is_now:
            return is_now / was
    return 1.0


def main() -> int:
    """Compare two files. Returns the exit code."""
    parser = argparse.ArgumentParser(description="Compare two results of the benchmark of fan-out.")
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--contestants", default="hub,hub-no-journal", help="names with commas; empty: all")
    asked = parser.parse_args()
    found = list(changes(read(asked.old), read(asked.new), set(filter(None, asked.contestants.split(",")))))
    if not found:
        raise SystemExit("the two results have nothing in common")
    lines = [f"{'':60} {'old':>12} {'new':>12} {'ratio':>7}", *map(str, found)]
    worse = sum(change.is_worse for change in found)
    lines.append(f"{worse} of {len(found)} got more than {WORSE - 1:.0%} worse")
    sys.stdout.write("\n".join((*lines, "")))
    return int(worse > 0)


if __name__ == "__main__":
    sys.exit(main())
