"""What the counting of instructions runs: every case delivers the rows that it says, with and without a journal."""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import instructions
from benchmarks.instructions import CASES, Counted, run


@pytest.mark.parametrize("name", CASES)
def test_a_case_delivers_a_row_for_every_subscription_as_often_as_its_topics_speak(name: str, tmp_path: Path) -> None:
    case = replace(CASES[name], topics=min(50, CASES[name].topics), each=min(10, CASES[name].each), clients=20)
    case = replace(case, rows=min(case.rows, case.topics))
    rounds = 2
    batches = rounds * case.topics // case.rows
    assert run(case, batches, tmp_path / "journal") == (1 + rounds) * case.clients * case.each
    assert bool(list(tmp_path.rglob("*.rows"))) is case.keeps


def test_the_start_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "warm_up", lambda name: None)
    monkeypatch.setattr(
        instructions, "count", lambda by, name, batches: Counted(1_000_000 + 400 * batches, 7 + 200 * batches)
    )
    found = instructions.measure("callgrind", "hot")
    assert (found["per_published_row"], found["per_delivered_row"]) == (400, 2)
