"""The verdict of the kill test is held to what it must find: it would be worth nothing if it passed everything."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.e2e.kill.diary import Diary
from tests.e2e.kill.record import Noted, NotedBatch, digest
from tests.e2e.kill.verdict import Truth, check, truth

CODES = ("600000.SH", "000001.SZ", "688981.SH")


def row(code: str, time_ms: int) -> tuple[object, ...]:
    return code, time_ms, time_ms / 100, [1.0, 2.0]


def batch(run: str, *times_ms: int, given: bool = True) -> NotedBatch:
    rows = [row(code, time_ms) for time_ms in times_ms for code in CODES]
    return NotedBatch(run, given, times_ms[0] / 1000, [Noted(str(r[0]), time_ms_of(r), digest(r)) for r in rows])


def time_ms_of(row: tuple[object, ...]) -> int:
    assert isinstance(row[1], int)
    return row[1]


# Run "a" was killed with batch 3 in its hands; nobody was there for batch 4; run "b" begins with a snapshot, in
# which only what changed is new.
RECORD = [
    batch("a", 1),
    batch("a", 2),
    batch("a", 3),
    batch("b", 4, given=False),
    batch("b", 5),
    batch("b", 6),
]
GAP = {"topic": "tick:*", "cause": "upstream", "from_ms": 2, "to_ms": 5}
STREAM = [(code, seq, time_ms) for seq, time_ms in ((1, 1), (2, 2), (3, 5), (4, 6)) for code in CODES]
FIRST_AFTER = 6


def diary(
    stream: list[tuple[str, int, int]] = STREAM,
    gap: dict[str, object] | None = GAP,
    place: int = FIRST_AFTER,
    topics: tuple[str, ...] = ("tick:*",),
) -> Diary:
    written = Diary(list(topics), "msgpack")
    for number, (code, seq, time_ms) in enumerate(stream):
        if number == place and gap:
            written.take_gap(**gap)  # type: ignore[arg-type]
        time, *values = row(code, time_ms)[1:]
        written.take_row((code, seq, time, 0, *values), 0.0)
    return written


def the_truth() -> Truth:
    return truth(RECORD, diary())


def test_a_stream_that_is_as_the_record_says_passes() -> None:
    assert len(check(diary(), the_truth())) == len(STREAM)


def test_what_a_killed_feeder_could_not_give_is_known() -> None:
    (outage,) = the_truth().outages
    assert (outage.before_ms, outage.after_ms) == (2, 5)
    assert {lost.time_ms for lost in outage.lost} == {3, 4}
    assert len(outage.lost) == 2 * len(CODES)


def test_a_client_of_some_topics_must_have_their_rows_only() -> None:
    mine = [handed for handed in STREAM if handed[0].endswith(".SH")]
    place = sum(handed[2] < 5 for handed in mine)
    check(diary(mine, place=place, topics=("tick:*.SH",)), the_truth())
    with pytest.raises(AssertionError):
        check(diary(STREAM, topics=("tick:*.SH",)), the_truth())


def test_a_repeat_in_a_snapshot_counts_once() -> None:
    record = [batch("a", 1), batch("b", 1, 2)]
    stream = [(code, seq, seq) for seq in (1, 2) for code in CODES]
    handed = diary(stream, {"topic": "tick:*", "cause": "upstream", "from_ms": 1, "to_ms": 2}, len(CODES))
    assert len(check(handed, truth(record, handed))) == len(stream)


def test_a_row_that_was_not_taken_may_come_with_the_next_snapshot() -> None:
    kept = CODES[0]
    after = [batch("b", 5), batch("b", 6)]
    (kept_row, *_), (_, *newer) = RECORD[2].rows, after[0].rows
    after[0] = replace(after[0], rows=[kept_row, *newer])  # nothing new of this one since the batch that was lost
    stream = [(code, seq, time_ms) for code, seq, time_ms in STREAM]
    stream[FIRST_AFTER] = (kept, 3, 3)
    handed = diary(stream)
    assert len(check(handed, truth([*RECORD[:3], *after], handed))) == len(STREAM)


def without_one(stream: list[tuple[str, int, int]]) -> None:
    del stream[4]


def without_the_last(stream: list[tuple[str, int, int]]) -> None:
    del stream[-1]


def doubled(stream: list[tuple[str, int, int]]) -> None:
    stream.insert(4, stream[4])


def doubled_at_the_end(stream: list[tuple[str, int, int]]) -> None:
    stream.append(stream[-1])


def swapped(stream: list[tuple[str, int, int]]) -> None:
    stream[7], stream[8] = stream[8], stream[7]


def numbered_wrongly(stream: list[tuple[str, int, int]]) -> None:
    code, seq, time_ms = stream[-1]
    stream[-1] = code, seq + 1, time_ms


def altered(stream: list[tuple[str, int, int]]) -> None:
    code, seq, time_ms = stream[7]
    stream[7] = code, seq, time_ms + 100


@pytest.mark.parametrize(
    "harm", [without_one, without_the_last, doubled, doubled_at_the_end, swapped, numbered_wrongly, altered]
)
def test_a_wrong_row_is_found(harm: Callable[[list[tuple[str, int, int]]], None]) -> None:
    stream = list(STREAM)
    harm(stream)
    with pytest.raises(AssertionError):
        check(diary(stream), the_truth())


@pytest.mark.parametrize(
    ("gap", "place"),
    [
        (None, FIRST_AFTER),
        (GAP | {"cause": "evicted", "from_seq": 1, "to_seq": 1}, FIRST_AFTER),
        (GAP | {"from_ms": 1}, FIRST_AFTER),
        (GAP | {"to_ms": 6}, FIRST_AFTER),
        (GAP | {"from_ms": 4}, FIRST_AFTER),
        (GAP | {"to_ms": None}, FIRST_AFTER),
        (GAP, FIRST_AFTER - 1),
        (GAP, FIRST_AFTER + 1),
    ],
)
def test_a_gap_that_is_missing_wider_narrower_or_late_is_found(gap: dict[str, object] | None, place: int) -> None:
    with pytest.raises(AssertionError):
        check(diary(gap=gap, place=place), the_truth())
