"""That the state machine of test_core_property finds what it is for: each of these planted bugs must be caught."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from hub.cursor import Cursor
from hub.history import History
from hub.outbox import Outbox
from hub.recovery import Recovery
from hub.segment import Segment
from hub.topic import Topic
from tests.hub.test_core_property import Market

SEARCH = settings(
    max_examples=1500,
    stateful_step_count=30,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


def history_one_row_early(patch: pytest.MonkeyPatch) -> None:
    begin = Recovery._from
    patch.setattr(Recovery, "_from", lambda recovery, topic, seq: begin(recovery, topic, max(topic.first_seq, seq - 1)))


def history_one_row_short(patch: pytest.MonkeyPatch) -> None:
    first_since = Topic.first_since
    patch.setattr(Topic, "first_since", lambda topic, time_ms: first_since(topic, time_ms) + 1)


def dropped_gap(patch: pytest.MonkeyPatch) -> None:
    take = Cursor.take_losses
    patch.setattr(Cursor, "take_losses", lambda cursor, **how: take(cursor, **how)[1:])


def gap_not_told_at_the_join(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Recovery, "_lost", lambda *_, **__: None)


def doubled_row(patch: pytest.MonkeyPatch) -> None:
    find = Segment.find

    def doubled(segment: Segment, *wanted: Any) -> tuple[list[int], int]:
        places, stop = find(segment, *wanted)
        return [*places, *places[-1:]], stop

    patch.setattr(Segment, "find", doubled)


def live_before_history(patch: pytest.MonkeyPatch) -> None:
    begin = Outbox.begin

    def hasty(outbox: Outbox, *given: Any) -> None:
        begin(outbox, *given)
        if outbox.audience is not None:
            outbox.audience.live[outbox] = None

    patch.setattr(Outbox, "begin", hasty)


def reader_one_too_far(patch: pytest.MonkeyPatch) -> None:
    cursor_after = History.cursor_after
    patch.setattr(History, "cursor_after", lambda history, at: cursor_after(history, at + 1))


@pytest.mark.parametrize(
    "plant",
    [
        history_one_row_early,
        history_one_row_short,
        dropped_gap,
        gap_not_told_at_the_join,
        doubled_row,
        live_before_history,
        reader_one_too_far,
    ],
    ids=lambda plant: plant.__name__,
)
def test_a_planted_bug_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    plant(monkeypatch)
    with pytest.raises((AssertionError, KeyError, TypeError, IndexError)):
        run_state_machine_as_test(Market, settings=SEARCH)  # type: ignore[no-untyped-call]
