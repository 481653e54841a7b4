"""Results of benchmarks as they could have been."""

from typing import Any

from benchmarks import instructions
from benchmarks.fanout.document import FORMAT

MACHINE = {
    "cpu": "C",
    "cpus": 2,
    "memory_gib": 8.0,
    "system": "S",
    "python": "3.11",
    "load_before": 0.5,
    "pinned": True,
}


def histogram(*buckets: tuple[int, int]) -> dict[str, Any]:
    return {"count": sum(count for _, count in buckets), "max": buckets[-1][0], "buckets": list(buckets)}


def trial(contestant: str, cpu_s: float, late_ms: int = 2, rows: int = 1000) -> dict[str, Any]:
    group = {"frames": 100, "reads": 50, "delays_ns": histogram((1_000_000, 900), (late_ms * 1_000_000, 100))}
    return {
        "contestant": contestant,
        "round": 0,
        "server_cpu_s": cpu_s,
        "server_user_s": 0.75 * cpu_s,
        "server_system_s": 0.25 * cpu_s,
        "reader_cpu_s": 0.1,
        "server_rss_bytes": 1000,
        "seconds": 1.0,
        "expected_rows": 1000,
        "reader": {"rows": rows, "groups": [group], "batches": [{"planned_us": 1_000_000, "last_ns": 5_000_000}]},
        "feeder": {"lateness_ns": histogram((1000, 1))},
    }


def document(*trials: dict[str, Any], workload: str = "burst") -> dict[str, Any]:
    """The result of a run with one workload."""
    names = dict.fromkeys(made["contestant"] for made in trials)
    return {
        "format": FORMAT,
        "started": "2026-01-05T00:00:00+00:00",
        "revision": "abc",
        "machine": MACHINE,
        "rounds": 1,
        "contestants": {name: {"title": f"The {name}", "version": "1"} for name in names},
        "skipped": {"nchan": "no nginx"},
        "workloads": {
            workload: {"what": "many rows", "parameters": {}, "meant": dict.fromkeys(names, ""), "trials": list(trials)}
        },
    }


def counted(**cases: tuple[float, float]) -> dict[str, Any]:
    """Counts of instructions: by case, a published and a delivered row."""
    return {
        "format": instructions.FORMAT,
        "started": "2026-01-05T00:00:00+00:00",
        "revision": "abc",
        "machine": MACHINE,
        "by": "callgrind",
        "cases": {
            name: {"per_published_row": published, "per_delivered_row": delivered}
            for name, (published, delivered) in cases.items()
        },
    }
