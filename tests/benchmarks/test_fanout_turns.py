"""Who runs when, and that one who fails does not keep the others from running."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.fanout import __main__ as program
from benchmarks.fanout import native
from benchmarks.fanout.contestants import CONTESTANTS
from benchmarks.fanout.contestants.base import Place, Served
from benchmarks.fanout.contestants.hub import ArgusHub
from benchmarks.fanout.turns import turns
from benchmarks.fanout.workloads import WORKLOADS

HUB, NATS = CONTESTANTS["hub"], CONTESTANTS["nats"]


def test_everybody_in_turns_and_every_other_round_in_reverse() -> None:
    plan = turns([WORKLOADS["burst"]], {"burst": [HUB, NATS]}, 3)
    assert [(turn.number, turn.contestant.name) for turn in plan] == [
        (0, "hub"), (0, "nats"), (1, "nats"), (1, "hub"), (2, "hub"), (2, "nats"),
    ]  # fmt: skip


def test_workloads_of_a_family_are_run_in_turns_too() -> None:
    names = ["burst", "steady", "steady-mute"]
    part = {"burst": [HUB], "steady": [HUB, NATS], "steady-mute": [HUB]}
    plan = turns([WORKLOADS[name] for name in names], part, 2)
    assert [(turn.number, turn.workload.name, turn.contestant.name) for turn in plan] == [
        (0, "burst", "hub"), (1, "burst", "hub"),
        (0, "steady", "hub"), (0, "steady-mute", "hub"), (0, "steady", "nats"),
        (1, "steady", "nats"), (1, "steady-mute", "hub"), (1, "steady", "hub"),
    ]  # fmt: skip


class Broken(ArgusHub):
    """A server that is gone when it is to serve."""

    @contextmanager
    def serve(self, place: Place) -> Iterator[Served]:
        raise ConnectionResetError("gone")
        yield


class Absent(ArgusHub):
    """A server that is not here."""

    def missing(self, cache: Path) -> str:
        return "not to be had"


@pytest.mark.skipif(sys.platform != "linux", reason="the load reader is for Linux")
def test_one_who_fails_or_is_absent_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contestants = CONTESTANTS | {"hub": Broken("hub", ()), "nats": Absent("nats", ())}
    monkeypatch.setattr(program, "CONTESTANTS", contestants)
    out = tmp_path / "result.json"
    arguments = ["burst", "--smoke", "--contestants", "hub,nats,c-each", "--cache", str(tmp_path), "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["fanout", *arguments])
    assert program.main() == 1
    burst = json.loads(out.read_text(encoding="utf-8"))["workloads"]["burst"]
    assert burst["meant"] == dict.fromkeys(WORKLOADS["burst"].contestants, "")
    first, second = burst["trials"]
    assert first == {"contestant": "hub", "round": 0, "failed": "ConnectionResetError: gone"}
    assert second["reader"]["rows"] == second["expected_rows"] > 0
    assert "not run: nats: not to be had" in capsys.readouterr().out


def test_without_a_compiler_it_says_so_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "compiler", lambda: None)
    with pytest.raises(SystemExit, match="there is no gcc"):
        native.build(tmp_path)
