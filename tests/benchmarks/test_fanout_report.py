"""Tables, plots and the page, and that the page of this project is what its figures make."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.fanout.document import joined, read
from benchmarks.fanout.report import write_pages
from benchmarks.fanout.tables import terminal
from tests.benchmarks.support.results import document, trial

DOCS = Path(__file__).parents[2] / "docs"
FAILED = {"contestant": "nats", "round": 0, "failed": "it has ended | badly"}


def test_tables_hold_peers_against_the_hub_and_name_what_failed() -> None:
    shown = terminal(document(trial("hub", 0.002), trial("c-each", 0.001), FAILED), "burst")
    assert [line.split()[3] for line in shown.splitlines() if line.startswith("The c-each")] == ["0.50"]
    assert "failed: it has ended" in shown


def test_a_contestant_that_failed_in_some_rounds_has_figures_and_a_word_of_it() -> None:
    shown = terminal(document(trial("hub", 0.002), trial("nats", 0.001), FAILED), "burst")
    assert "The nats (1 failed)" in shown


def test_the_page_has_the_method_targets_figures_plots_and_who_did_not_run(tmp_path: Path) -> None:
    made = document(trial("hub", 0.002), trial("nats", 0.001), FAILED | {"contestant": "socketio"})
    write_pages(made, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    headings = [line for line in page.splitlines() if line.startswith("## ")]
    assert headings == ["## How it is measured", "## Targets", "## burst", "## Who was measured", "## Again"]
    assert "| burst | CPU per delivered row at most 0.7 µs | 2.00 µs |  | **missed** |" in page
    assert "- CPU per delivered row at most 0.7 µs: 2.00 µs. **missed**" in page
    assert "failed: it has ended \\| badly" in page
    assert "Everybody whom a workload is meant for had all of its rounds." in page
    for picture in ("burst-cpu_us_per_row", "burst-last_ms"):
        assert f"(benchmarks/{picture}.svg)" in page
        drawn = ElementTree.parse(tmp_path / "benchmarks" / f"{picture}.svg")  # noqa: S314 - made here
        assert "The hub" in [text.text for text in drawn.iter("{http://www.w3.org/2000/svg}text")]


def test_the_page_names_who_was_left_out_where_and_why(tmp_path: Path) -> None:
    made = document(trial("hub", 0.002), trial("hub", 0.002) | {"round": 1}, trial("nats", 0.001))
    meant = {"hub": "", "nats": "", "picows": "", "fastapi": "", "nchan": "", "socketio": "it can't"}
    made["workloads"]["burst"]["meant"] = meant
    other = document(trial("hub", 0.002), workload="steady")
    other["workloads"]["steady"]["meant"] = {"hub": "", "picows": "", "fastapi": ""}
    write_pages(joined([made, other]), tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    told = [line for line in page[page.index("## Who was measured") :].splitlines() if line.startswith("- ")]
    assert told == [
        "- nats at burst: 1 of 2 rounds",
        "- picows, fastapi at burst, steady: not run",
        "- nchan at burst: no nginx",
        "- socketio at burst: it can't",
    ]
    assert "`abc`, 1 to 2 rounds, on" in page
    assert "This page puts 2 runs of one" in page
    assert "Everybody whom" not in page


def test_who_ran_in_another_run_of_the_same_is_not_left_out(tmp_path: Path) -> None:
    first, second = document(trial("hub", 0.002)), document(trial("nchan", 0.002))
    first["workloads"]["burst"]["meant"] |= {"nchan": ""}
    write_pages(joined([first, second | {"skipped": {}}]), tmp_path)
    page = (tmp_path / "benchmarks.md").read_text(encoding="utf-8")
    assert "Everybody whom a workload is meant for had all of its rounds." in page
    assert "no nginx" not in page


def test_a_result_that_does_not_say_whom_it_is_meant_for_makes_no_page(tmp_path: Path) -> None:
    made = document(trial("hub", 0.002))
    del made["workloads"]["burst"]["meant"]
    with pytest.raises(SystemExit, match="lacks whom burst"):
        write_pages(made, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_axis_is_a_plot_with_a_line_for_everybody(tmp_path: Path) -> None:
    made = document(workload="curve-clients-50")
    for clients in (50, 500, 5000):
        point = document(trial("hub", 0.001), workload=f"curve-clients-{clients}")
        point["workloads"][f"curve-clients-{clients}"]["parameters"] = {"clients": clients}
        made = point | {"workloads": made["workloads"] | point["workloads"]}
    write_pages(made, tmp_path)
    drawn = (tmp_path / "benchmarks" / "curve-clients.svg").read_text(encoding="utf-8")
    assert drawn.count("<polyline") == 1
    assert "(benchmarks/curve-clients.svg)" in (tmp_path / "benchmarks.md").read_text(encoding="utf-8")


def test_what_is_kept_makes_the_same_page_again(tmp_path: Path) -> None:
    write_pages(document(trial("hub", 0.002), FAILED), tmp_path / "first")
    write_pages(read(tmp_path / "first" / "benchmarks.json"), tmp_path / "again")
    assert _files(tmp_path / "first") == _files(tmp_path / "again")


def test_the_page_of_this_project_is_made_of_its_figures(tmp_path: Path) -> None:
    write_pages(read(DOCS / "benchmarks.json"), tmp_path)
    kept = {path: text for path, text in _files(DOCS).items() if path.parts[0].startswith("benchmarks")}
    assert _files(tmp_path) == kept


def _files(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("benchmarks*/*")} | {
        path.relative_to(folder): path.read_bytes() for path in folder.glob("benchmarks.*")
    }


def test_results_of_one_machine_and_revision_are_joined_on_one_page() -> None:
    bursts = document(trial("hub", 0.002), trial("nats", 0.001)) | {"rounds": 3}
    steady = document(trial("hub", 0.004), workload="steady")
    steady |= {"rounds": 1, "machine": steady["machine"] | {"load_before": 9.0}}
    both = joined([bursts, steady])
    assert list(both["workloads"]) == ["burst", "steady"]
    assert (both["rounds"], both["machine"]["load_before"]) == ("1 to 3", 9.0)
    assert joined([bursts]) == bursts


def test_what_was_run_again_counts_as_further_rounds() -> None:
    again = document(trial("hub", 0.004), trial("hub", 0.006) | {"round": 1}) | {"rounds": 2}
    both = joined([document(trial("hub", 0.002)) | {"rounds": 1}, again])
    trials = both["workloads"]["burst"]["trials"]
    assert [(one["round"], one["server_cpu_s"]) for one in trials] == [(0, 0.002), (1, 0.004), (2, 0.006)]
    assert both["rounds"] == 3


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"revision": "def"}, "different revisions"),
        ({"machine": {"cpu": "D"}}, "different revisions or machines"),
    ],
    ids=["another revision", "another machine"],
)
def test_results_that_do_not_belong_together_are_not_joined(other: dict[str, Any], why: str) -> None:
    made = document(trial("hub", 0.002), workload="steady")
    other = made | {"workloads": {}} | other | ({"machine": made["machine"] | other.get("machine", {})})
    with pytest.raises(SystemExit, match=why):
        joined([document(trial("hub", 0.002)), other])
