"""What the counting of instructions runs: every case delivers the rows that it says, with and without a journal."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import instructions
from benchmarks.instructions import CASES, run


@pytest.mark.parametrize("name", CASES)
def test_a_case_delivers_what_it_says(name: str, tmp_path: Path) -> None:
    case = replace(CASES[name], clients=20)
    assert run(case, 3, tmp_path / "journal") == 3 * case.delivered_rows
    assert bool(list(tmp_path.rglob("*.rows"))) is case.keeps


def test_the_start_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["hot"]
    monkeypatch.setattr(instructions, "warm_up", lambda name: None)
    monkeypatch.setattr(instructions, "count", lambda by, name, batches: 1_000_000 + 400 * batches)
    found = instructions.measure("callgrind", "hot")
    assert (found["per_published_row"], found["per_delivered_row"]) == (400 / case.topics, 400 / case.delivered_rows)
