"""What no source may deliver is counted and kept out; everything else passes as it came."""

import logging
from typing import Any

import pytest

from bridge.intake import LOGGED_ROWS, Intake
from bridge.source import Batch, SourceState, SourceStatus
from hub.schema import Row


class Taken:
    """An observer that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def observe(self, batch: Batch) -> None:
        self.batches.append(batch)

    @property
    def rows(self) -> list[Row]:
        return [row for batch in self.batches for row in batch.rows]


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def intake(taken: Taken) -> Intake:
    return Intake([taken], lambda _: None)


def deliver(intake: Intake, *rows: Row) -> None:
    intake.deliver(Batch("tick", rows, 99))


GOOD = ("600000.SH", 1)


def test_good_rows_pass_unchanged_and_in_order_with_channel_and_time(intake: Intake, taken: Taken) -> None:
    rows = [("600000.SH", 1, 8.01), ("000001.SZ", 2, None), ("600000.SH", 1, 8.02)]
    intake.deliver(Batch("1m", rows, 17))
    (batch,) = taken.batches
    assert (batch.channel, list(batch.rows), batch.recv_us) == ("1m", rows, 17)
    assert not intake.refused


def test_a_batch_of_which_every_row_is_known_to_be_good_passes_as_it_is(intake: Intake, taken: Taken) -> None:
    deliver(intake, GOOD)
    batch = Batch("tick", [GOOD, GOOD], 5)
    intake.deliver(batch)
    assert taken.batches[1] is batch


@pytest.mark.parametrize("time_ms", [0, -1])
def test_a_row_without_a_time_is_refused_and_the_others_pass(intake: Intake, taken: Taken, time_ms: int) -> None:
    deliver(intake, GOOD, ("600000.SH", time_ms), ("000001.SZ", 2))
    deliver(intake, ("600000.SH", time_ms), GOOD)
    assert taken.rows == [GOOD, ("000001.SZ", 2), GOOD]
    assert intake.refused == {"time zero": 2}


@pytest.mark.parametrize(
    "code",
    ["", "600000", ".SH", "600000.", "600000.SH.X", "600 000.SH", "600000.SH\n", "6*.SH", "@x.SH", "x" * 25 + ".SH"],
)
def test_a_row_with_a_malformed_code_is_refused_each_time(intake: Intake, taken: Taken, code: str) -> None:
    for _ in range(2):
        deliver(intake, (code, 1), GOOD)
    assert taken.rows == [GOOD, GOOD]
    assert intake.refused == {"malformed code": 2}


@pytest.mark.parametrize("code", ["600000.SH", "IF2509.IF", "00700.HK", "rb2510-C-3000.SF", "a_b.X1"])
def test_codes_of_other_markets_are_well_formed(intake: Intake, taken: Taken, code: str) -> None:
    deliver(intake, (code, 1))
    assert taken.rows == [(code, 1)]


@pytest.mark.parametrize(
    "row",
    [("600000.SH", None), ("600000.SH", "1"), (None, 1), (600000, 1), (["600000.SH"], 1), ("600000.SH",), ()],
    ids=str,
)
def test_a_row_that_is_no_row_is_refused_and_the_others_pass(intake: Intake, taken: Taken, row: Row) -> None:
    """One broken row of an adapter must neither lose the rest of its batch nor end the source."""
    deliver(intake, GOOD)
    deliver(intake, GOOD, row, GOOD)
    assert taken.rows == [GOOD] * 3
    assert sum(intake.refused.values()) == 1


def test_a_batch_of_which_nothing_is_left_is_not_handed_on(intake: Intake, taken: Taken) -> None:
    deliver(intake, ("600000.SH", 0), ("bad", 1))
    deliver(intake)
    assert taken.batches == []
    assert intake.refused == {"time zero": 1, "malformed code": 1}


def test_every_observer_is_given_every_batch_in_order() -> None:
    told: list[str] = []

    class Noting:
        def __init__(self, name: str) -> None:
            self._name = name

        def observe(self, batch: Batch) -> None:
            told.append(f"{self._name}{batch.recv_us}")

    intake = Intake([Noting("a"), Noting("b")], lambda _: None)
    for recv_us in (1, 2):
        intake.deliver(Batch("tick", [GOOD], recv_us))
    assert told == ["a1", "b1", "a2", "b2"]


def test_only_the_first_refused_rows_of_each_cause_are_logged(intake: Intake, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(LOGGED_ROWS + 5):
        deliver(intake, ("600000.SH", 0, "x" * 10_000))
    assert len(caplog.messages) == LOGGED_ROWS
    assert all(message.startswith("row refused, time zero: ('600000.SH', 0, ") for message in caplog.messages)
    assert max(map(len, caplog.messages)) < 300
    deliver(intake, ("bad", 1))
    assert caplog.messages[-1] == "row refused, malformed code: ('bad', 1)"
    assert intake.refused == {"time zero": LOGGED_ROWS + 5, "malformed code": 1}


@pytest.mark.parametrize(
    ("status", "level", "message"),
    [
        (SourceStatus(SourceState.CONNECTED), logging.INFO, "source is connected"),
        (SourceStatus(SourceState.DEGRADED, "50 codes only"), logging.WARNING, "source is degraded: 50 codes only"),
        (SourceStatus(SourceState.AWAY, "no terminal"), logging.WARNING, "source is away: no terminal"),
    ],
)
def test_the_state_of_the_source_is_passed_on_and_logged(
    status: SourceStatus, level: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told: list[Any] = []
    Intake([], told.append).report(status)
    assert told == [status]
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [(level, message)]
