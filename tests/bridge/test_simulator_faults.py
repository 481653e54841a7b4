import re

import pytest

from bridge.simulator import Fault, FaultKind, SourceCrashed
from bridge.simulator.faults import FaultPlan
from hub.schema import Row


def rows(*codes: str, at: int = 1000) -> list[Row]:
    return [(code, at, 1.0) for code in codes]


MANY = [f"{number:06d}.SZ" for number in range(1, 101)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("silence@30+15", Fault(FaultKind.SILENCE, 30, 15)),
        ("duplicate@0+60", Fault(FaultKind.DUPLICATE, 0, 60)),
        ("crash@45", Fault(FaultKind.CRASH, 45)),
        (" out_of_order@1.5+0.5 ", Fault(FaultKind.OUT_OF_ORDER, 1.5, 0.5)),
        ("zero_time@3+3", Fault(FaultKind.ZERO_TIME, 3, 3)),
        ("disconnect@10+20", Fault(FaultKind.DISCONNECT, 10, 20)),
    ],
)
def test_a_fault_is_read_from_text(text: str, fault: Fault) -> None:
    assert Fault.parse(text) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("silence", "fault 'silence' is not of the form KIND@SECONDS+SECONDS, such as silence@30+15"),
        ("silence@-3+5", "fault 'silence@-3+5' is not of the form KIND@SECONDS+SECONDS, such as silence@30+15"),
        ("silence@1+2+3", "fault 'silence@1+2+3' is not of the form KIND@SECONDS+SECONDS, such as silence@30+15"),
        ("silence@1\n+2", "fault 'silence@1\\n+2' is not of the form KIND@SECONDS+SECONDS, such as silence@30+15"),
        ("silence@30", "fault silence needs a length in seconds, such as silence@30+15"),
        ("crash@30+5", "fault crash has no length; write crash@30"),
        (
            "explode@3",
            "unknown fault 'explode'; known are silence, disconnect, crash, duplicate, out_of_order, zero_time",
        ),
        ("silence@1" + "0" * 400 + "+1", "fault silence: seconds must be finite and not negative"),
    ],
)
def test_a_bad_text_is_refused_in_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Fault.parse(text)


def test_a_fault_covers_its_stretch_and_nothing_else() -> None:
    plan = FaultPlan([Fault.parse("silence@30+15")], seed=1)
    assert [plan.active(FaultKind.SILENCE, at) is not None for at in (29.9, 30, 44.9, 45)] == [False, True, True, False]
    assert plan.active(FaultKind.DISCONNECT, 30) is None


def test_each_crash_happens_once() -> None:
    plan = FaultPlan([Fault.parse("crash@3"), Fault.parse("crash@9")], seed=1)
    plan.crash_if_due(0)
    with pytest.raises(SourceCrashed, match="crash@3"):
        plan.crash_if_due(3)
    plan.crash_if_due(6)
    with pytest.raises(SourceCrashed, match="crash@9"):
        plan.crash_if_due(12)
    plan.crash_if_due(15)


def test_without_a_fault_rows_pass_untouched() -> None:
    plan = FaultPlan([Fault.parse("duplicate@100+1")], seed=1)
    assert plan.spoil(rows(*MANY), 3) == rows(*MANY)


@pytest.mark.parametrize("codes", [MANY, MANY[:1]])
def test_duplicates_repeat_some_rows_equal_in_every_field(codes: list[str]) -> None:
    plan = FaultPlan([Fault.parse("duplicate@0+60")], seed=1)
    spoiled = plan.spoil(rows(*codes), 3)
    repeated = spoiled[len(codes) :]
    assert spoiled[: len(codes)] == rows(*codes)
    assert 1 <= len(repeated) <= max(1, len(codes) // 4)
    assert all(row in rows(*codes) for row in repeated)


@pytest.mark.parametrize("codes", [MANY, MANY[:1]])
def test_zero_time_touches_only_the_time_of_some_rows(codes: list[str]) -> None:
    plan = FaultPlan([Fault.parse("zero_time@0+60")], seed=1)
    spoiled = plan.spoil(rows(*codes), 3)
    undated = [row for row in spoiled if row[1] == 0]
    assert 1 <= len(undated) <= max(1, len(codes) // 4)
    assert [(row[0], row[2]) for row in spoiled] == [(row[0], row[2]) for row in rows(*codes)]


def test_a_row_out_of_order_comes_after_a_newer_row_of_its_instrument() -> None:
    plan = FaultPlan([Fault.parse("out_of_order@0+4")], seed=1)
    first = plan.spoil(rows(*MANY, at=1000), 3)
    held = {code for code in MANY if code not in {row[0] for row in first}}
    assert 1 <= len(held) <= 25
    assert plan.spoil(rows("999999.SH", at=2000), 6) == rows("999999.SH", at=2000), "no newer row yet"
    second = plan.spoil(rows(*MANY, at=3000), 9)
    assert second == [*rows(*MANY, at=3000), *rows(*sorted(held), at=1000)]
    assert plan.spoil(rows(*MANY, at=4000), 12) == rows(*MANY, at=4000)


def test_rows_out_of_order_are_late_but_never_lost() -> None:
    plan = FaultPlan([Fault.parse("out_of_order@0+31")], seed=1)
    came: list[Row] = []
    sent: list[Row] = []
    for step in range(20):
        batch = rows(*MANY, at=1000 * step)
        sent += batch
        came += plan.spoil(batch, 3 * step)
    assert came != sent
    assert sorted(came) == sorted(sent)


def test_an_empty_batch_stays_empty() -> None:
    kinds = ("duplicate", "zero_time", "out_of_order")
    plan = FaultPlan([Fault.parse(f"{kind}@0+60") for kind in kinds], seed=1)
    assert plan.spoil([], 3) == []
