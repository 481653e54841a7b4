"""That the state machine of test_core_property finds what it is for: each of these planted bugs must be caught.

The machine begins where most bugs show: with rows that were delivered, little room in memory, one client that is live
and one that lags. In which kind of hub a bug is looked for (with a journal or without) is told with it, to save time.
"""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, multiple, rule, run_state_machine_as_test

from hub.core import Hub
from hub.cursor import Cursor
from hub.history import History
from hub.journal import Journal
from hub.outbox import Outbox
from hub.past import GapNotice
from hub.recovery import Recovery
from hub.segment import Segment
from hub.topic import Topic
from hub.wire import CODECS
from tests.hub.test_core_property import CODES, Market

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

Plant = Callable[[pytest.MonkeyPatch], None]

_CODES = st.lists(st.sampled_from(CODES[:4]), min_size=4, max_size=12)


def busy_market(journal: str | None) -> type[Market]:
    """The state machine on a hub of one kind that has little room, and in which something has happened."""

    class BusyMarket(Market):
        @initialize(
            target=Market.clients,
            ring=st.sampled_from([(1, 40_000), (3, 40_000), (1000, 1_500)]),
            segment_rows=st.sampled_from([2, 5]),
            before=_CODES,
            after=_CODES,
            since=st.sampled_from([0, 4, "none"]),
        )
        def open(
            self, ring: tuple[int, int], segment_rows: int, before: list[str], after: list[str], since: int | str
        ) -> Any:
            super().open(ring, segment_rows, journal)
            self.speak(before)
            live, lagging = (self.connect(codec) for codec in CODECS)
            self.subscribe(live, ["tick:*"], None, "every")
            self.subscribe(lagging, ["tick:*.SH"], since, "every")
            self.pump(live, 6)
            self.heartbeat(live)
            self.read(live)
            self.announce("tick:*")
            self.speak(after)
            return multiple(live, lagging)

        def speak(self, codes: list[str]) -> None:
            for code in codes:
                super().publish([(code, min(1 + self.history.at, 40))])
                self.turn()

        @rule(rows=st.lists(st.tuples(st.sampled_from(CODES[:4]), st.integers(1, 40)), min_size=3, max_size=8))
        def publish(self, rows: list[tuple[str, int]]) -> None:
            super().publish(rows)

    return BusyMarket


# What a client is sent


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


# Gaps of the source


def notices_that_readers_drop(patch: pytest.MonkeyPatch) -> None:
    take = Cursor.take_notices
    patch.setattr(Cursor, "take_notices", lambda cursor: take(cursor)[1:])


def notice_told_twice_live(patch: pytest.MonkeyPatch) -> None:
    deliver = Hub._deliver_gap

    def twice(hub: Hub, notice: GapNotice) -> None:
        deliver(hub, notice)
        hub.history._notices.pop()
        deliver(hub, notice)

    patch.setattr(Hub, "_deliver_gap", twice)


def notice_one_row_late(patch: pytest.MonkeyPatch) -> None:
    note = History.note_gap
    patch.setattr(
        History, "note_gap", lambda history, notice: note(history, notice._replace(after_at=notice.after_at + 1))
    )


def notices_looked_for_in_memory_only(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "gaps_between", lambda *_: [])


# The journal


def page_from_one_row_further(patch: pytest.MonkeyPatch) -> None:
    load = Journal.load
    patch.setattr(Journal, "load", lambda journal, at: load(journal, min(at + 1, journal.at)))


def page_that_is_never_there(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "load", lambda *_: None)


def first_row_since_a_time_one_too_late(patch: pytest.MonkeyPatch) -> None:
    first_since = Journal.first_since_many

    def late(journal: Journal, topics: Iterable[Topic], time_ms: int) -> dict[Topic, tuple[int, int]]:
        return {topic: (seq + 1, at) for topic, (seq, at) in first_since(journal, topics, time_ms).items()}

    patch.setattr(Journal, "first_since_many", late)


def first_row_after_a_place_one_too_late(patch: pytest.MonkeyPatch) -> None:
    first_after = Journal.first_after_many

    def late(journal: Journal, topics: Iterable[Topic], at: int) -> dict[Topic, int]:
        return {topic: seq + 1 for topic, seq in first_after(journal, topics, at).items()}

    patch.setattr(Journal, "first_after_many", late)


def reading_from_disk_begins_one_row_late(patch: pytest.MonkeyPatch) -> None:
    not_after = Journal.not_after

    def late(journal: Journal, seqs: dict[Topic, int]) -> int | None:
        at = not_after(journal, seqs)
        return None if at is None else at + 1

    patch.setattr(Journal, "not_after", late)


def expired_files_that_no_reader_is_told_of(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(History, "leave_past", lambda *_: None)


def expired_rows_told_short_by_one(patch: pytest.MonkeyPatch) -> None:
    lose = Cursor.lose

    def short(cursor: Cursor, up_to: int, firsts: dict[Topic, int], nexts: dict[Topic, int]) -> None:
        lose(cursor, up_to, {topic: first + 1 for topic, first in firsts.items()}, nexts)

    patch.setattr(Cursor, "lose", short)


# A restart


def restart_that_forgets_the_count_of_a_topic(patch: pytest.MonkeyPatch) -> None:
    restore = Topic.restore

    def forgetful(topic: Topic, seq: int, *rest: Any) -> None:
        restore(topic, 0 if topic.code == CODES[0] else seq, *rest)

    patch.setattr(Topic, "restore", forgetful)


def restart_that_counts_one_row_less(patch: pytest.MonkeyPatch) -> None:
    restore = History.restore

    def low(history: History, *given: Any) -> None:
        restore(history, *given)
        history.at = history.delivered_at = max(0, history.at - 1)

    patch.setattr(History, "restore", low)


@pytest.mark.parametrize(
    ("plant", "journal"),
    [
        (history_one_row_early, None),
        (history_one_row_short, None),
        (dropped_gap, None),
        (gap_not_told_at_the_join, None),
        (doubled_row, None),
        (live_before_history, None),
        (reader_one_too_far, None),
        (notices_that_readers_drop, None),
        (notice_told_twice_live, None),
        (notice_one_row_late, None),
        (notices_looked_for_in_memory_only, "whole"),
        (page_from_one_row_further, "whole"),
        (page_that_is_never_there, "whole"),
        (first_row_since_a_time_one_too_late, "whole"),
        (first_row_after_a_place_one_too_late, "whole"),
        (reading_from_disk_begins_one_row_late, "whole"),
        (expired_files_that_no_reader_is_told_of, "retained"),
        (expired_rows_told_short_by_one, "retained"),
        (restart_that_forgets_the_count_of_a_topic, "whole"),
        (restart_that_counts_one_row_less, "whole"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_planted_bug_is_found(
    plant: Plant, journal: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL")
    plant(monkeypatch)
    with pytest.raises((AssertionError, KeyError)):
        run_state_machine_as_test(busy_market(journal), settings=SEARCH)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("journal", [None, "whole", "retained"])
def test_where_no_bug_is_planted_none_is_found(journal: str | None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")
    run_state_machine_as_test(busy_market(journal), settings=settings(SEARCH, max_examples=150))  # type: ignore[no-untyped-call]
