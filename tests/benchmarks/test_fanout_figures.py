"""Raw counts to figures and comparisons."""

import json
from pathlib import Path

import pytest

from benchmarks import compare, instructions
from benchmarks.fanout.document import condensed, read, results, write
from benchmarks.fanout.figures import percentile
from benchmarks.fanout.targets import TARGETS
from tests.benchmarks.support.results import counted, document, histogram, trial


def test_percentiles_are_those_of_the_counts() -> None:
    delays = histogram((1, 50), (2, 49), (9, 1))
    assert [percentile(delays, share) for share in (0.5, 0.51, 0.99, 0.999)] == [1, 2, 2, 9]
    assert percentile({"count": 0, "max": 0, "buckets": []}, 0.5) is None


def test_figures_are_medians_over_the_rounds() -> None:
    found = results(document(*(trial("hub", cpu_s) for cpu_s in (0.001, 0.009, 0.002))), "burst")
    assert found["hub"]["cpu_us_per_row"] == pytest.approx(2.0)
    assert found["hub"]["p50_ms"] == 1.0
    assert found["hub"]["last_ms"] == 5.0
    assert found["hub"]["rows_per_frame"] == 10.0
    assert found["hub"]["rows_per_read"] == 20.0
    assert found["hub"]["system_share"] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("hub_cpu_s", "c_cpu_s", "late_ms", "worse"),
    [
        (0.0022, 0.001, 2, []),
        (0.0024, 0.001, 2, ["cpu_us_per_row"]),
        (0.0040, 0.002, 2, []),  # the machine was slower, not the hub
        (0.0020, 0.001, 3, ["p99_ms", "p999_ms"]),
    ],
)
def test_what_got_more_than_15_percent_worse_is_flagged(
    hub_cpu_s: float, c_cpu_s: float, late_ms: int, worse: list[str]
) -> None:
    old = document(trial("hub", 0.002), trial("c-each", 0.001))
    new = document(trial("hub", hub_cpu_s, late_ms), trial("c-each", c_cpu_s))
    assert [change.figure for change in compare.changes(old, new, {"hub"}) if change.is_worse] == worse


def test_every_figure_with_a_target_is_compared() -> None:
    targets = {target.figure for target in TARGETS} - {"missing_rows", "rows_per_cpu_s"}  # told apart; CPU per row
    assert targets - {"p50_ms"} <= set(compare.LESS_IS_BETTER)  # p50 is only reported


def test_clients_that_take_longer_to_come_in_are_worse() -> None:
    took = [{"contestant": "hub", "round": 0, "figures": {"open_s": open_s}} for open_s in (10.0, 12.0)]
    old, new = (document(trial, workload="idle") for trial in took)
    assert [change.figure for change in compare.changes(old, new, {"hub"}) if change.is_worse] == ["open_s"]


def test_what_is_gone_from_the_new_result_is_named() -> None:
    old = document(trial("hub", 0.002), trial("nats", 0.002), trial("c-each", 0.001))
    old["workloads"] |= document(trial("hub", 0.002), workload="steady")["workloads"]
    new = document(trial("hub", 0.002))
    del new["workloads"]["burst"]["trials"][0]["reader"]["batches"][:]
    assert list(compare.gone(old, old, ())) == []
    lost = ["burst · hub · last_ms", "burst · hub · rows_per_s"]
    assert list(compare.gone(old, new, ())) == [*lost, "burst · nats", "steady · hub"]
    assert list(compare.gone(old, new, {"hub"})) == [*lost, "steady · hub"]


def test_comparing_ends_with_1_when_something_is_gone_unless_a_part_was_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    write(old, document(trial("hub", 0.002), trial("hub-no-journal", 0.002)))
    write(new, document(trial("hub", 0.002)))
    for options, code in (([], 1), (["--partial"], 0)):
        monkeypatch.setattr("sys.argv", ["compare.py", str(old), str(new), *options])
        assert compare.main() == code
        assert "burst · hub-no-journal" in capsys.readouterr().out
    write(old, counted(burst=(1.0, 1.0), hot=(1.0, 1.0)))
    write(new, counted(burst=(1.0, 1.0)))
    monkeypatch.setattr("sys.argv", ["compare.py", str(old), str(new)])
    assert compare.main() == 1


def test_results_of_the_relay_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    fast, slow = ({"batches": [{"planned_us": 0, "last_ns": last_ns}]} for last_ns in (5_000_000, 7_000_000))
    for path, batches in ((old, fast), (new, slow)):
        edge = trial("edge", 0.002)
        write(path, document(edge | {"reader": edge["reader"] | batches}) | {"format": "argus-relay-1"})
    monkeypatch.setattr("sys.argv", ["compare.py", str(old), str(new)])
    assert compare.main() == 1
    worse = [line.split()[4] for line in capsys.readouterr().out.splitlines() if line.endswith("WORSE")]
    assert worse == ["last_ms", "rows_per_s"]


def test_rows_that_are_missing_now_are_worse() -> None:
    old, new = document(trial("hub", 0.002)), document(trial("hub", 0.002, rows=999))
    assert [change.figure for change in compare.changes(old, new, set()) if change.is_worse] == ["missing_rows"]


def test_of_missing_rows_the_worst_round_counts() -> None:
    rounds = document(trial("hub", 0.001), trial("hub", 0.001, rows=990), trial("hub", 0.001))
    assert results(rounds, "burst")["hub"]["missing_rows"] == 10


def test_what_is_kept_of_a_run_has_the_same_figures() -> None:
    made = document(
        trial("hub", 0.001), trial("hub", 0.002, rows=999), {"contestant": "nats", "round": 0, "failed": "it"}
    )
    kept = condensed(made)
    assert results(kept, "burst") == {"hub": pytest.approx(results(made, "burst")["hub"])}
    assert condensed(kept) == kept
    assert kept["workloads"]["burst"]["trials"][0].keys() == {"contestant", "round", "figures"}


def test_trials_that_fail_now_are_worse() -> None:
    failed = {"contestant": "hub", "round": 0, "failed": "it has ended"}
    old, new = document(trial("hub", 0.002)), document(failed)
    assert [change.figure for change in compare.changes(old, new, {"hub"}) if change.is_worse] == ["failed_trials"]


def test_counts_of_instructions_are_compared_case_by_case() -> None:
    old, new = counted(burst=(1000.0, 200.0)), counted(burst=(1100.0, 260.0), hot=(1.0, 1.0))
    found = list(compare.instruction_changes(old, new))
    assert [(change.about, change.figure, change.ratio) for change in found] == [
        ("burst", "per_published_row", pytest.approx(1.1)),
        ("burst", "per_delivered_row", pytest.approx(1.3)),
    ]
    assert [change.is_worse for change in found] == [False, True]


def test_counts_by_different_means_are_not_compared() -> None:
    with pytest.raises(SystemExit, match="cannot be compared"):
        list(compare.instruction_changes(counted(), counted() | {"by": "perf"}))


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


def test_only_results_of_one_kind_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    write(old, document(trial("hub", 0.002)))
    write(new, counted())
    monkeypatch.setattr("sys.argv", ["compare.py", str(old), str(new)])
    with pytest.raises(SystemExit, match="different kinds cannot be compared"):
        compare.main()
    assert read(new, (instructions.FORMAT,)) == counted()


@pytest.mark.parametrize("text", ["", "[]", json.dumps({"format": "another"})])
def test_a_file_that_is_no_result_is_told_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit) as refused:
        read(path)
    assert str(path) in str(refused.value)
    assert str(refused.value).count("\n") == 0
