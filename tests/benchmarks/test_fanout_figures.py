"""Raw counts to figures, pages and comparisons."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import compare
from benchmarks.fanout.document import FORMAT, read, results, write
from benchmarks.fanout.figures import percentile
from benchmarks.fanout.report import terminal, write_pages


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
        "seconds": 1.0,
        "expected_rows": 1000,
        "reader": {"rows": rows, "groups": [group], "batches": [{"last_ns": 5_000_000}]},
        "feeder": {"lateness_ns": histogram((1000, 1))},
    }


def document(*trials: dict[str, Any]) -> dict[str, Any]:
    names = dict.fromkeys(made["contestant"] for made in trials)
    return {
        "format": FORMAT,
        "started": "2026-01-05T00:00:00+00:00",
        "revision": "abc",
        "machine": {"cpu": "C", "cpus": 2, "memory_gib": 8.0, "system": "S", "python": "3.11"},
        "rounds": 1,
        "contestants": {name: {"title": f"The {name}", "version": "1"} for name in names},
        "skipped": {"nchan": "no nginx"},
        "workloads": {"burst": {"what": "many rows", "parameters": {}, "trials": list(trials)}},
    }


def test_percentiles_are_those_of_the_counts() -> None:
    counted = histogram((1, 50), (2, 49), (9, 1))
    assert [percentile(counted, share) for share in (0.5, 0.51, 0.99, 0.999)] == [1, 2, 2, 9]
    assert percentile({"count": 0, "max": 0, "buckets": []}, 0.5) is None


def test_figures_are_medians_over_the_rounds() -> None:
    found = results(document(*(trial("hub", cpu_s) for cpu_s in (0.001, 0.009, 0.002))), "burst")
    assert found["hub"]["cpu_us_per_row"] == pytest.approx(2.0)
    assert found["hub"]["p50_ms"] == 1.0
    assert found["hub"]["last_ms"] == 5.0
    assert found["hub"]["rows_per_frame"] == 10.0
    assert found["hub"]["rows_per_read"] == 20.0
    assert found["hub"]["system_share"] == pytest.approx(0.25)


def test_tables_hold_peers_against_the_hub_and_name_what_failed_or_did_not_run(tmp_path: Path) -> None:
    failed = {"contestant": "nats", "round": 0, "failed": "it has ended"}
    made = document(trial("hub", 0.002), trial("c-each", 0.001), failed)
    shown = terminal(made, "burst")
    assert "The c-each" in shown
    assert "0.50" in shown
    assert "failed: it has ended" in shown
    write_pages(made, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "| nchan | not run: no nginx |" in page
    assert "![CPU per delivered row](benchmarks/burst.svg)" in page
    assert "2.00 µs" in (tmp_path / "benchmarks" / "burst.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("hub_cpu_s", "c_cpu_s", "late_ms", "worse"),
    [
        (0.0022, 0.001, 2, []),
        (0.0024, 0.001, 2, ["cpu_us_per_row"]),
        (0.0040, 0.002, 2, []),  # the machine was slower, not the hub
        (0.0020, 0.001, 3, ["p99_ms"]),
    ],
)
def test_what_got_more_than_15_percent_worse_is_flagged(
    hub_cpu_s: float, c_cpu_s: float, late_ms: int, worse: list[str]
) -> None:
    old = document(trial("hub", 0.002), trial("c-each", 0.001))
    new = document(trial("hub", hub_cpu_s, late_ms), trial("c-each", c_cpu_s))
    assert [change.figure for change in compare.changes(old, new, {"hub"}) if change.is_worse] == worse


def test_rows_that_are_missing_now_are_worse() -> None:
    old, new = document(trial("hub", 0.002)), document(trial("hub", 0.002, rows=999))
    assert [change.figure for change in compare.changes(old, new, set()) if change.is_worse] == ["missing_rows"]


def test_comparing_ends_with_1_when_something_is_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    write(old, document(trial("hub", 0.002)))
    write(new, document(trial("hub", 0.004)))
    monkeypatch.setattr("sys.argv", ["compare.py", str(old), str(new)])
    assert compare.main() == 1
    assert "WORSE" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["compare.py", str(new), str(old)])
    assert compare.main() == 0


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"format": "another"})])
def test_a_file_that_is_no_result_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as refused:
        read(path)
    assert str(path) in str(refused.value)
    assert str(refused.value).count("\n") == 0
