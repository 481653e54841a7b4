"""Targets: what a run says of them, and that all of them are about something that is run."""

from typing import Any

import pytest

from benchmarks.fanout.contestants import CONTESTANTS
from benchmarks.fanout.targets import CURVES, LABELS, TARGETS, UNJOURNALLED, Added, Growth, Ratio, Value, verdicts
from benchmarks.fanout.workloads import WORKLOADS
from tests.benchmarks.support.results import document, trial


def figures(contestant: str, **found: float) -> dict[str, Any]:
    return {"contestant": contestant, "round": 0, "figures": found}


def test_targets_are_about_workloads_and_contestants_that_take_part() -> None:
    for target in TARGETS:
        for workload in target.workloads if isinstance(target, Growth) else (target.workload,):
            assert {target.contestant, UNJOURNALLED[target.contestant]} <= set(WORKLOADS[workload].contestants)
        if isinstance(target, Ratio):
            assert (target.peer or target.contestant) in WORKLOADS[target.at or target.workload].contestants
        assert target.figure in LABELS


def test_curves_are_the_workloads_of_their_axis() -> None:
    for axis, names in CURVES.items():
        assert [WORKLOADS[name].family for name in names] == [f"curve-{axis}"] * len(names)
        points = [WORKLOADS[name].parameters[axis] for name in names]
        assert points == sorted(points)


def test_a_ratio_is_that_of_medians() -> None:
    trials = [figures("hub", cpu_us_per_row=cpu_us) for cpu_us in (2.0, 9.0, 3.0)]
    made = document(*trials, figures("nats", cpu_us_per_row=6.0))
    found = Ratio("burst", "cpu_us_per_row", 0.5, peer="nats").judge(made, "hub")
    assert found == ("0.50 × (3.00 µs to 6.00 µs)", pytest.approx(1.0))


def test_a_ratio_to_another_workload_is_that_of_the_same_contestant() -> None:
    made = document(figures("hub", p99_ms=2.2), workload="steady-mute")
    made["workloads"] |= document(figures("hub", p99_ms=2.0), workload="steady")["workloads"]
    found = Ratio("steady-mute", "p99_ms", 1.1, at="steady").judge(made, "hub")
    assert found is not None
    assert found.share == pytest.approx(1.0)


def test_a_value_is_held_against_its_limit_in_the_unit_of_its_label() -> None:
    made = document(figures("hub", rss_bytes_per_client=30 * 1024.0, rows_per_cpu_s=5e6, missing_rows=0.0))
    memory = Value("burst", "rss_bytes_per_client", 20)
    assert memory.text == "resident memory per client at most 20 KiB"
    assert memory.judge(made, "hub") == ("30.0 KiB", 1.5)
    assert Value("burst", "rows_per_cpu_s", 4e6, at_least=True).judge(made, "hub") == ("5,000,000", 0.8)
    assert Value("burst", "missing_rows", 0).judge(made, "hub") == ("0", 0.0)
    missing = Value("burst", "missing_rows", 0).judge(document(figures("hub", missing_rows=1.0)), "hub")
    assert missing == ("1", float("inf"))


def test_growth_is_the_largest_rise_from_any_point_to_a_later_one() -> None:
    made = document(figures("hub", cpu_us_per_row=3.0), workload="few")
    for name, cpu_us in (("more", 1.0), ("most", 2.0)):
        made["workloads"] |= document(figures("hub", cpu_us_per_row=cpu_us), workload=name)["workloads"]
    growth = Growth("axis", "cpu_us_per_row", 2.0, ("few", "more", "most"))
    assert growth.judge(made, "hub") == ("2.00 × (3.00 µs, 1.00 µs, 2.00 µs)", 1.0)


def test_what_is_added_is_reported_without_a_limit() -> None:
    made = document(figures("hub", p50_ms=1.0), figures("hub-flush-5", p50_ms=3.5))
    found = Added("burst", "p50_ms", peer="hub", contestant="hub-flush-5").judge(made, "hub-flush-5")
    assert found == ("3.50 ms, 2.50 ms more", None)


def test_a_hub_that_flushes_late_is_reported_without_its_journal_too() -> None:
    spent = {"hub": 8.0, "hub-no-journal": 6.0, "hub-flush-5": 4.0, "hub-flush-5-no-journal": 3.0, "nats": 10.0}
    trials = [figures(name, cpu_us_per_row=cpu_us, p50_ms=cpu_us, p99_ms=cpu_us) for name, cpu_us in spent.items()]
    found = list(verdicts(document(*trials, workload="hot-300")))
    assert [verdict.measured for verdict in found] == ["0.40 × (4.00 µs to 10.00 µs)", *2 * ["4.00 ms, -4.00 ms more"]]
    unjournalled = [verdict.unjournalled for verdict in found]
    assert unjournalled == ["0.30 × (3.00 µs to 10.00 µs)", *2 * ["3.00 ms, -3.00 ms more"]]


def test_nothing_is_said_where_nothing_was_measured() -> None:
    made = document(figures("hub", cpu_us_per_row=1.0))
    assert Ratio("burst", "cpu_us_per_row", 0.5, peer="nats").judge(made, "hub") is None
    assert Value("steady", "p99_ms", 3).judge(made, "hub") is None
    assert Growth("axis", "cpu_us_per_row", 2.0, ("burst", "steady")).judge(made, "hub") is None


def test_verdicts_are_those_of_the_workloads_that_were_run() -> None:
    made = document(trial("hub", 0.0006), trial("hub-no-journal", 0.0005), trial("nats", 0.0030))
    found = {verdict.text: verdict for verdict in verdicts(made)}
    assert all(verdict.workload == "burst" for verdict in found.values())
    assert [verdict.word for verdict in found.values()] == ["met", "missed", "met", "met"]
    cpu = found["CPU per delivered row at most 0.7 µs"]
    assert (cpu.measured, cpu.unjournalled) == ("0.60 µs", "0.50 µs")
    assert str(cpu) == "met          burst: CPU per delivered row at most 0.7 µs: 0.60 µs; without the journal 0.50 µs"


def test_a_target_is_missed_where_the_hub_failed_in_a_round() -> None:
    failed = {"contestant": "hub", "round": 1, "failed": "it has ended"}
    found = {verdict.text: verdict for verdict in verdicts(document(trial("hub", 0.0006), failed))}
    cpu = found["CPU per delivered row at most 0.7 µs"]
    assert (cpu.word, cpu.measured) == ("missed", "0.60 µs, but 1 trials failed")
    assert found["CPU per delivered row at most a third of that of nats"].word == "not measured"


def test_every_contestant_has_a_workload() -> None:
    assert {name for workload in WORKLOADS.values() for name in workload.contestants} == set(CONTESTANTS)
