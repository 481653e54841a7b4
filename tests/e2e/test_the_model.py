"""The model that judges the hub is judged first: it accepts a right transcript and finds each kind of fault in one."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.e2e.support.model import Event, Sent, Truth, check_transcript
from tests.e2e.support.plain_client import Data, Row

MORNING_MS = 1_654_046_100_000


def row(code: str, seq: int, second: int) -> Row:
    return (code, seq, MORNING_MS + 1000 * second, 0)


A1, B1, A2, B2, A3, B3, A4 = (
    row("A.SZ", 1, 1),
    row("B.SZ", 1, 2),
    row("A.SZ", 2, 3),
    row("B.SZ", 2, 4),
    row("A.SZ", 3, 5),
    row("B.SZ", 3, 6),
    row("A.SZ", 4, 7),
)


@pytest.fixture
def truth() -> Truth:
    truth = Truth()
    truth.add("tick", [A1, B1, A2, B2, A3, B3, A4])
    return truth


def subscribe(request_id: int, *topics: str, **fields: Any) -> Sent:
    return Sent({"op": "subscribe", "id": request_id, "topics": list(topics), **fields})


def subscribed(request_id: int, at: int, matched: int, replayed: int = 0) -> dict[str, Any]:
    return {
        "type": "subscribed",
        "id": request_id,
        "at": at,
        "matched": matched,
        "recovered": True,
        "unrecovered": [],
        "replayed": replayed,
    }


def right_transcript() -> list[Event]:
    """A.SZ by snapshot; then all, of which only B.SZ is new and has history; then A.SZ alone again, then none."""
    return [
        subscribe(1, "tick:A.SZ"),
        subscribed(1, at=3, matched=1),
        Data("tick", "snapshot", [A2], 1),
        subscribe(2, "tick:*", since={"time": 0}),
        subscribed(2, at=4, matched=2, replayed=2),
        Data("tick", "replay", [B1, B2], 2),
        Data("tick", "live", [A3, B3], None),
        Sent({"op": "unsubscribe", "id": 3, "topics": ["tick:*"]}),
        {"type": "unsubscribed", "id": 3},
        Data("tick", "live", [A4], None),
        {"type": "heartbeat", "at": 7},
    ]


def test_a_right_transcript_is_accepted(truth: Truth) -> None:
    tally = check_transcript(truth, right_transcript())
    assert (tally.snapshot_rows, tally.replayed_rows, tally.live_rows) == (1, 2, 3)
    assert (tally.subscribed, tally.unsubscribed, tally.heartbeats) == (2, 1, 1)


def drop_a_snapshot_row(transcript: list[Any]) -> None:
    transcript[2].rows.clear()


def drop_a_replayed_row(transcript: list[Any]) -> None:
    transcript[5].rows.pop(0)


def drop_a_live_row_in_between(transcript: list[Any]) -> None:
    transcript[6].rows.pop(0)


def drop_the_last_row(transcript: list[Any]) -> None:
    transcript[9].rows.clear()


def repeat_a_row(transcript: list[Any]) -> None:
    transcript[6].rows.append(B3)


def change_a_value(transcript: list[Any]) -> None:
    transcript[6].rows[0] = (*A3[:3], 1)


def turn_the_order_of_arrival_around(transcript: list[Any]) -> None:
    transcript[6].rows.reverse()


def deliver_history_again_that_was_observed(transcript: list[Any]) -> None:
    transcript[5].rows.insert(0, A1)


def deliver_after_unsubscribed(transcript: list[Any]) -> None:
    transcript[6].rows.remove(B3)
    transcript[9].rows.insert(0, B3)


def deliver_what_nobody_subscribed(transcript: list[Any]) -> None:
    transcript[2].rows.append(B1)


def call_history_live(transcript: list[Any]) -> None:
    transcript[5] = Data("tick", "live", [B1, B2], None)


def call_live_rows_history(transcript: list[Any]) -> None:
    transcript[6] = Data("tick", "replay", [A3, B3], 2)


def answer_with_another_id(transcript: list[Any]) -> None:
    transcript[2] = Data("tick", "snapshot", [A2], 2)


def match_too_few(transcript: list[Any]) -> None:
    transcript[4]["matched"] = 1


def announce_too_few_rows(transcript: list[Any]) -> None:
    transcript[4]["replayed"] = 1


def answer_with_an_error(transcript: list[Any]) -> None:
    transcript[8] = {"type": "error", "id": 3, "code": "internal"}


def let_a_heartbeat_pass_rows(transcript: list[Any]) -> None:
    transcript.insert(9, transcript.pop())


FAULTS = (
    drop_a_snapshot_row,
    drop_a_replayed_row,
    drop_a_live_row_in_between,
    drop_the_last_row,
    repeat_a_row,
    change_a_value,
    turn_the_order_of_arrival_around,
    deliver_history_again_that_was_observed,
    deliver_after_unsubscribed,
    deliver_what_nobody_subscribed,
    call_history_live,
    call_live_rows_history,
    answer_with_another_id,
    match_too_few,
    announce_too_few_rows,
    answer_with_an_error,
    let_a_heartbeat_pass_rows,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_in_a_transcript_is_found(truth: Truth, fault: Callable[[list[Any]], None]) -> None:
    transcript = deepcopy(right_transcript())
    fault(transcript)
    with pytest.raises(AssertionError):
        check_transcript(truth, transcript)


def test_a_hole_in_the_reference_itself_is_found() -> None:
    truth = Truth()
    truth.add("tick", [A1])
    with pytest.raises(AssertionError, match="seq 3 follows 1"):
        truth.add("tick", [A3])
