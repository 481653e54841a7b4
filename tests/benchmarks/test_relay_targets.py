"""What a run of the relay's benchmark says of its targets."""

from typing import Any

import pytest

from benchmarks.relay.targets import verdicts
from tests.benchmarks.support.results import document, trial


def of(contestant: str, workload: str, *, cpu_s: float = 1.0, late_ms: int = 2, **more: Any) -> dict[str, Any]:
    made = document(trial(contestant, cpu_s, late_ms), workload=workload)
    made["workloads"][workload]["trials"][0] |= more
    return made


def run(*parts: dict[str, Any]) -> dict[str, Any]:
    made = document()
    for part in parts:
        made["contestants"] |= part["contestants"]
        for name, workload in part["workloads"].items():
            known = made["workloads"].setdefault(name, workload)
            if known is not workload:
                known["trials"] += workload["trials"]
    return made


def words(made: dict[str, Any]) -> list[bool | None]:
    return [verdict.is_met for verdict in verdicts(made)]


def test_what_was_not_run_is_not_judged() -> None:
    assert words(document()) == [None] * 6
    made = run(of("hub", "relay-steady"), of("edge", "relay-steady"))
    assert words(made) == [True, None, None, None, None, None]


@pytest.mark.parametrize(("late_ms", "is_met"), [(4, True), (5, False)])
def test_what_the_relay_adds_is_the_difference_to_a_hub_alone(late_ms: int, is_met: bool) -> None:
    made = run(of("hub", "relay-steady", late_ms=2), of("edge", "relay-steady", late_ms=late_ms))
    assert words(made)[0] is is_met


def test_rows_that_are_missing_meet_nothing() -> None:
    made = run(of("hub", "relay-burst"), of("edge", "relay-burst", expected_rows=1001))
    assert words(made)[1] is False


@pytest.mark.parametrize(("last_ns", "is_met"), [(5_000_000, True), (7_000_000, False)])
def test_rows_a_second_count_from_the_first_that_was_due_to_the_last_that_came(last_ns: int, is_met: bool) -> None:
    made = of("edge", "relay-flood")
    made["workloads"]["relay-flood"]["trials"][0]["reader"] |= {"batches": [{"planned_us": 0, "last_ns": last_ns}]}
    assert words(made)[2] is is_met


@pytest.mark.parametrize(("four", "is_met"), [(0.105, True), (0.12, False)])
@pytest.mark.parametrize(("names", "place"), [(("edge", "edges-2", "edges-4"), 3), (("held-1", "held-2", "held-4"), 4)])
def test_the_feed_s_cpu_is_held_against_that_with_one_edge(
    names: tuple[str, ...], place: int, four: float, is_met: bool
) -> None:
    shares = zip(names, (0.1, 0.1, four), strict=True)
    made = run(*(of(name, "relay-edges", beside_cpu_s={"feed": share}) for name, share in shares))
    assert [number for number, met in enumerate(words(made)) if met is is_met] == [place]


@pytest.mark.parametrize(("cpu_s", "is_met"), [(1.14, True), (1.16, False)])
def test_an_edge_s_cpu_is_held_against_a_hub_s_steady_and_in_bursts(cpu_s: float, is_met: bool) -> None:
    hubs = of("hub", "relay-steady"), of("hub", "relay-burst")
    made = run(*hubs, of("edge", "relay-steady", cpu_s=0.9), of("edge", "relay-burst", cpu_s=cpu_s))
    assert words(made)[5] is is_met
