"""A run of the relay's benchmark keeps what is done, raw and after each trial, whatever comes."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fanout.contestants.base import Place, Served
from benchmarks.fanout.contestants.hub import ArgusHub
from benchmarks.fanout.turns import expected_s, turns
from benchmarks.fanout.workloads import smoke
from benchmarks.relay import __main__ as program
from benchmarks.relay.workloads import DEPLOYMENTS, STEADY, WORKLOADS

ROOT = Path(__file__).parents[2]


class Broken(ArgusHub):
    """A deployment that is gone when it is to serve. ``seen``: what was kept when it was started."""

    def __init__(self, out: Path) -> None:
        super().__init__("edge", ())
        self.seen: list[dict[str, Any]] = []
        self._out = out

    @contextmanager
    def serve(self, place: Place) -> Iterator[Served]:
        self.seen.append(kept(self._out))
        raise ConnectionResetError("gone")
        yield


def kept(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="the load reader is for Linux")
def test_raw_figures_are_kept_after_each_trial_and_one_that_fails_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "relay.json"
    edge = Broken(out)
    monkeypatch.setattr(program, "WORKLOADS", {"steady": smoke(STEADY)})
    monkeypatch.setattr(program, "DEPLOYMENTS", {"edge": edge})
    arguments = ["relay", "steady", "--rounds", "1", "--cache", str(tmp_path), "--out", str(out)]
    monkeypatch.setattr("sys.argv", arguments)
    assert program.main() == 1
    (before,) = edge.seen
    (first,) = before["workloads"]["relay-steady"]["trials"]
    assert first["contestant"] == "hub"
    assert first["reader"]["rows"] == first["expected_rows"] > 0
    failed = {"contestant": "edge", "round": 0, "failed": "ConnectionResetError: gone"}
    assert kept(out)["workloads"]["relay-steady"]["trials"] == [first, failed]

    monkeypatch.setattr("sys.argv", [*arguments, "--more"])
    assert program.main() == 1
    trials = kept(out)["workloads"]["relay-steady"]["trials"]
    assert [(trial["contestant"], trial["round"]) for trial in trials] == [
        ("hub", 0), ("edge", 0), ("hub", 1), ("edge", 1),
    ]  # fmt: skip
    assert edge.seen[1]["workloads"]["relay-steady"]["trials"] == trials[:3]


def test_what_is_said_of_its_length_is_what_is_planned() -> None:
    everybody = {"hub": ArgusHub("hub", ()), **DEPLOYMENTS}
    part = {workload.name: [everybody[name] for name in workload.contestants] for workload in WORKLOADS.values()}
    minutes = sum(map(expected_s, turns(list(WORKLOADS.values()), part, 1))) / 60
    assert minutes == pytest.approx(3, abs=0.125)
    assert "takes three minutes" in str(program.__doc__)
    assert "a hub alone; nine minutes" in (ROOT / "Makefile").read_text(encoding="utf-8")
