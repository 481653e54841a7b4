"""Figures out of raw counts: percentiles of histograms, medians over trials."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

Histogram = Mapping[str, Any]
"""``count``, ``max`` and ``buckets``: pairs of a bucket's lower edge and how many are in it."""

Figures = Mapping[str, float | None]


def percentile(histogram: Histogram, share: float) -> float | None:
    """The value below which a share (0 to 1) of all lie; None where there are none. Off by 0.8 % at most."""
    left = share * histogram["count"]
    for edge, count in histogram["buckets"]:
        left -= count
        if left <= 0:
            return float(min(edge, histogram["max"]))
    return None


def middle(values: Iterable[float | None]) -> float | None:
    """The median of the values that there are."""
    there = [value for value in values if value is not None]
    return median(there) if there else None


def figures_of(trial: Mapping[str, Any]) -> Figures:
    """What one trial comes to. Times as the names say, CPU in user and system mode together."""
    if "figures" in trial:
        figures: Figures = trial["figures"]
        return figures
    if "rss_bytes_per_client" in trial:
        return {name: trial[name] for name in ("rss_bytes_per_client", "open_s", "cpu_us_per_client", "open_p99_ms")}
    rows, reader = trial["reader"]["rows"], trial["reader"]
    delays = reader["groups"][0]["delays_ns"]
    frames, reads = (sum(group[what] for group in reader["groups"]) for what in ("frames", "reads"))
    last_ms = [batch["last_ns"] / 1e6 for batch in reader["batches"]]
    return {
        "cpu_us_per_row": trial["server_cpu_s"] / rows * 1e6 if rows else None,
        "cpu_share": trial["server_cpu_s"] / trial["seconds"],
        "rows_per_cpu_s": rows / trial["server_cpu_s"],
        "system_share": _share(trial["server_system_s"], trial["server_user_s"]),
        "rows_per_frame": rows / frames if frames else None,
        "rows_per_read": rows / reads if reads else None,
        "p50_ms": _ms(percentile(delays, 0.5)),
        "p99_ms": _ms(percentile(delays, 0.99)),
        "p999_ms": _ms(percentile(delays, 0.999)),
        "max_ms": _ms(delays["max"] if delays["count"] else None),
        "last_ms": middle(last_ms),
        "worst_last_ms": max(last_ms, default=None),
        "missing_rows": trial["expected_rows"] - rows,
        "rss_bytes": trial["server_rss_bytes"],
        "reader_cpu_share": trial["reader_cpu_s"] / trial["seconds"],
        "rows_per_s": _rate(reader),
        **{f"{name}_cpu_share": cpu_s / trial["seconds"] for name, cpu_s in trial.get("beside_cpu_s", {}).items()},
        "reader_batch_ms": trial["reader_cpu_s"] / len(last_ms) * 1e3 if last_ms else None,
        "feeder_late_p99_ms": _ms(percentile(trial["feeder"]["lateness_ns"], 0.99)),
    }


def medians(trials: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """The median of each figure over the trials of one contestant at one workload; of missing rows the most."""
    found = [figures_of(trial) for trial in trials]
    middles = {name: middle(figures[name] for figures in found) for name in found[0]}
    if "missing_rows" in middles:
        middles["missing_rows"] = max(figures["missing_rows"] or 0.0 for figures in found)
    return middles


def _rate(reader: Mapping[str, Any]) -> float | None:
    """Rows a second from the first that was due to the last that came, where batches were told apart."""
    batches = reader["batches"]
    if not batches:
        return None
    begun_us = min(batch["planned_us"] for batch in batches)
    ended_us = max(batch["planned_us"] + batch["last_ns"] / 1000 for batch in batches)
    return float(reader["rows"] / (ended_us - begun_us) * 1e6)


def _ms(value_ns: float | None) -> float | None:
    return None if value_ns is None else value_ns / 1e6


def _share(part: float, rest: float) -> float | None:
    return part / (part + rest) if part + rest else None
