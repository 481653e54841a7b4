"""Readers whose rows memory has let go: they read on from the journal, and what is gone there too is told exactly."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import hub.history
from hub.cursor import Loss
from hub.history import History
from hub.journal import JournalSettings
from tests.hub.support.core import tick
from tests.hub.support.journalled import (
    AMPLE_BYTES,
    Journalled,
    Story,
    journalled,
    read_all,
    read_step,
)

A, B, C = "600000.SH", "600001.SH", "000001.SZ"
ONE_DAY = JournalSettings(fsync_s=1000.0, keep_days=1)
TWO_DAYS = JournalSettings(fsync_s=1000.0, keep_days=2)


@pytest.fixture(autouse=True)
def _segment_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 4)


@pytest.fixture(autouse=True)
def _no_endless_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A history that gives its past up again and again does not get on."""
    lose_past, times = History._lose_past, 0

    def lose(history: History, *given: Any) -> None:
        nonlocal times
        times += 1
        assert times < 100, "the reader doesn't get on"
        lose_past(history, *given)

    monkeypatch.setattr(History, "_lose_past", lose)
    return


def bytes_of(*codes: str) -> int:
    """What these rows cost in memory."""
    history = History(ring_rows=1000, ring_bytes=AMPLE_BYTES)
    for at, code in enumerate(codes, 1):
        history.append("tick", [tick(code, at)], 1)
    return history.bytes


def rows(codes: list[str], after: int = 0) -> Story:
    """The rows of codes that spoke in turn, from one on."""
    return [(code, codes[: place + 1].count(code)) for place, code in enumerate(codes)][after:]


def all_of(j: Journalled, *codes: str, at: int = 0, **how: Any) -> Story:
    return read_all(j.history.cursor_after(at), j.topics(*codes), j.history.at, **how)


def losses_of(story: Story) -> tuple[dict[str, tuple[int, int]], Story]:
    """By code the first and the last number that was told as lost, and the rest of a story."""
    losses = [told for told in story if told[0] == "lost"]
    by_code = {code: (first, last) for _, code, first, last in losses}
    assert len(by_code) == len(losses), "told in more than one piece"
    return by_code, [told for told in story if told[0] != "lost"]


def losses_among(rows: Story) -> dict[str, tuple[int, int]]:
    """What must be told where these rows are lost."""
    return {code: (min(s for c, s in rows if c == code), max(s for c, s in rows if c == code)) for code, _ in rows}


MIXED = [A, B, A, A, C, A, A, B, A, A, A, C, A, B, A, A, A, A]
BY_SEGMENT = {"ring_bytes": 1}
BY_SHARE = {"ring_rows": 1}
BY_BOTH = {"ring_rows": 2, "ring_bytes": bytes_of(*[A] * 9)}
LET_GO = pytest.mark.parametrize("ring", [BY_SEGMENT, BY_SHARE, BY_BOTH], ids=["by segment", "by share", "by both"])


# What the journal holds


@LET_GO
@pytest.mark.parametrize("page_rows", [3, 4, 8])
@pytest.mark.parametrize("most", [1, 3, 100])
def test_rows_that_memory_let_go_are_read_from_the_journal_in_order_of_arrival(
    tmp_path: Path, ring: dict[str, int], page_rows: int, most: int
) -> None:
    with journalled(tmp_path, page_rows=page_rows, **ring) as j:
        j.speak(*MIXED)
        assert j.history.evicted_rows > 0
        for at in range(len(MIXED) + 1):
            assert all_of(j, A, B, C, at=at, most=most) == rows(MIXED, at)
        assert all_of(j, B, C, most=most) == [row for row in rows(MIXED) if row[0] != A]


@LET_GO
@pytest.mark.parametrize("read", range(6))
def test_a_reader_that_lags_goes_on_from_the_journal_when_its_rows_leave_memory(
    tmp_path: Path, ring: dict[str, int], read: int
) -> None:
    with journalled(tmp_path, **ring) as j:
        j.speak(*MIXED[:6])
        cursor = j.history.cursor_after(0)
        story = read_all(cursor, j.topics(A, B, C), read)
        j.speak(*MIXED[6:])
        assert story + read_all(cursor, j.topics(A, B, C), j.history.at, most=2) == rows(MIXED)


@LET_GO
@pytest.mark.parametrize("page_rows", [3, 8, 20])
def test_a_reader_goes_no_further_than_told_though_the_page_on_disk_does(
    tmp_path: Path, ring: dict[str, int], page_rows: int
) -> None:
    with journalled(tmp_path, page_rows=page_rows, **ring) as j:
        j.speak(*MIXED)
        for up_to in range(1, len(MIXED) + 1):
            cursor = j.history.cursor_after(0)
            assert read_all(cursor, j.topics(A, B, C), up_to) == rows(MIXED)[:up_to]
            assert cursor.at == up_to


@LET_GO
def test_rows_before_a_topics_beginning_are_passed_over_on_disk_too(tmp_path: Path, ring: dict[str, int]) -> None:
    with journalled(tmp_path, **ring) as j:
        j.speak(*MIXED)
        begins = {j.topic(A): 5, j.topic(B): 3}
        for most in 1, 2, 100:
            wanted = [row for row in rows(MIXED) if row[1] >= {A: 5, B: 3, C: 1}[row[0]]]
            assert all_of(j, A, B, C, begins=begins, most=most) == wanted


@pytest.mark.parametrize("notice_after", range(1, 12))
@LET_GO
def test_a_gap_notice_is_come_by_at_its_place_whatever_a_page_on_disk_reaches_over(
    tmp_path: Path, ring: dict[str, int], notice_after: int
) -> None:
    # A page of the journal begins and ends elsewhere than a segment does.
    for page_rows in 3, 7, 20:
        with journalled(tmp_path / str(page_rows), page_rows=page_rows, **ring) as j:
            j.speak(*MIXED[:notice_after])
            j.announce("tick:*")
            j.speak(*MIXED[notice_after:])
            expected = rows(MIXED)
            expected.insert(notice_after, ("gap", "tick:*"))
            assert all_of(j, A, B, C) == expected


def test_a_segment_that_is_on_disk_is_forgotten_and_who_stood_in_it_goes_on_by_number(tmp_path: Path) -> None:
    with journalled(tmp_path, **BY_SEGMENT) as j:
        j.speak(A, A, A)
        cursor = j.history.cursor_after(0)
        segment = j.history.segment_at(cursor)
        assert read_step(cursor, j.topics(A), j.history.at, most=2) == [(A, 1), (A, 2)]
        assert cursor.in_memory
        j.speak(*[A] * 6)
        assert segment.gone
        assert not cursor.in_memory
        assert (segment.rows, segment.topics, len(segment.seqs)) == ([], [], 0)
        assert read_all(cursor, j.topics(A), j.history.at) == rows([A] * 9, 2)


def test_a_segment_that_is_not_whole_on_disk_keeps_its_skeleton_for_who_stands_in_it(tmp_path: Path) -> None:
    with journalled(tmp_path, **BY_SEGMENT) as j:
        j.speak(A, A)
        cursor = j.history.cursor_after(2)
        segment = j.history.segment_at(cursor)
        j.fail()
        j.speak(A, B, A, A, A, A)
        assert not segment.gone
        assert segment.rows == [None] * 4
        assert losses_of(read_all(cursor, j.topics(A, B), j.history.at)) == ({A: (3, 3), B: (1, 1)}, rows([A] * 7, 3))


def test_without_a_journal_a_reader_is_told_exactly_what_it_lost_however_much_has_gone_by() -> None:
    history = History(ring_rows=1000, ring_bytes=1)
    for number in range(1, 3):
        history.append("tick", [tick(A, number)], 1)
    cursor = history.cursor_after(1)
    for number in range(3, 40):
        history.append("tick", [tick(B if number % 5 == 0 else A, number)], 1)
        history.delivered_at = history.at
        history.trim()
    topics = {topic.code: topic for topic in history.topics}
    losses, story = losses_of(read_all(cursor, set(topics.values()), history.at))
    assert losses == {A: (2, topics[A].first_seq - 1), B: (1, topics[B].first_seq - 1)}
    spoken = rows([A, A, *(B if number % 5 == 0 else A for number in range(3, 40))])
    assert story == [(code, seq) for code, seq in spoken if seq >= topics[code].first_seq]


# What leaves the journal


@pytest.mark.parametrize("at", range(14))
def test_who_stands_before_files_that_expire_loses_exactly_what_was_in_them(tmp_path: Path, at: int) -> None:
    codes = [*MIXED[:14], B]
    with journalled(tmp_path, ONE_DAY, **BY_SEGMENT) as j:
        j.speak(*MIXED[:14])
        cursor = j.history.cursor_after(at)
        j.next_day()
        gone_at = max(at, j.history.cursor_after(0).at)
        assert j.history.cursor_after(0).at > 4
        assert cursor.at == gone_at
        j.speak(*codes[14:])
        losses, story = losses_of(read_all(cursor, j.topics(A, B, C), j.history.at))
        assert losses == losses_among(rows(codes)[at:gone_at])
        assert story == rows(codes, gone_at)


def test_what_expires_is_told_ahead_of_the_next_row_of_its_topic(tmp_path: Path) -> None:
    with journalled(tmp_path, ONE_DAY, **BY_SEGMENT) as j:
        j.speak(*[A, B] * 6)
        cursor = j.history.cursor_after(0)
        j.next_day()
        assert cursor.at == 8
        step = read_step(cursor, j.topics(A, B), j.history.at, most=1)
        assert step == [("lost", A, 1, 4), (A, 5)]
        assert read_step(cursor, j.topics(A, B), j.history.at, most=1) == [("lost", B, 1, 4), (B, 5)]


def test_files_that_expire_one_after_the_other_are_one_loss(tmp_path: Path) -> None:
    with journalled(tmp_path, ONE_DAY, **BY_SEGMENT) as j:
        j.speak(*[A] * 12)
        cursor = j.history.cursor_after(2)
        j.next_day()
        j.speak(*[A] * 12)
        j.next_day()
        first = j.topic(A).first_seq
        assert first > 13
        story = read_all(cursor, j.topics(A), j.history.at)
        assert losses_of(story) == ({A: (3, first - 1)}, rows([A] * 24, first - 1))


@pytest.mark.parametrize(("begin", "losses"), [(1, {A: (1, 8)}), (5, {A: (5, 8)}), (8, {A: (8, 8)}), (9, {}), (11, {})])
def test_what_was_not_meant_is_not_lost_when_files_expire(
    tmp_path: Path, begin: int, losses: dict[str, tuple[int, int]]
) -> None:
    with journalled(tmp_path, ONE_DAY, **BY_SEGMENT) as j:
        j.speak(*[A] * 12)
        cursor = j.history.cursor_after(0)
        j.next_day()
        story = read_all(cursor, j.topics(A), j.history.at, {j.topic(A): begin})
        assert losses_of(story) == (losses, rows([A] * 12, max(8, begin - 1)))


def test_topics_that_are_not_read_are_not_told_as_lost(tmp_path: Path) -> None:
    with journalled(tmp_path, ONE_DAY, **BY_SEGMENT) as j:
        j.speak(*[A, B] * 6)
        cursor = j.history.cursor_after(0)
        j.next_day()
        assert losses_of(read_all(cursor, j.topics(B), j.history.at))[0] == {B: (1, 4)}


def test_gap_notices_after_the_last_row_that_is_meant_are_not_told_when_files_expire(tmp_path: Path) -> None:
    with journalled(tmp_path, ONE_DAY, **BY_SEGMENT) as j:
        j.speak(A, A)
        j.announce("tick:6*")
        j.speak(A)
        j.announce("tick:*")
        j.speak(*[A] * 8)
        history, live = j.history.cursor_after(0), j.history.cursor_after(2)
        history.until = 2
        j.next_day()
        assert [notice.topic for notice in history.take_notices()] == ["tick:6*"]
        assert [notice.topic for notice in live.take_notices()] == ["tick:6*", "tick:*"]


def test_who_stands_in_memory_loses_nothing_when_files_expire(tmp_path: Path) -> None:
    with journalled(tmp_path, ONE_DAY) as j:
        j.speak(*MIXED)
        cursors = [j.history.cursor_after(at) for at in range(len(MIXED))]
        j.next_day()
        for at, cursor in enumerate(cursors):
            assert cursor.at == at
            assert read_all(cursor, j.topics(A, B, C), j.history.at) == rows(MIXED, at)


def test_rows_that_a_topics_share_let_go_and_files_took_along_are_lost_one_by_one(tmp_path: Path) -> None:
    with journalled(tmp_path, ONE_DAY, **BY_SHARE) as j:
        j.speak(A, B, A, C, A, A)
        cursor = j.history.cursor_after(0)
        j.next_day()
        cursor.read(0, set(), {}, 1)
        j.speak(A, B)
        cursor.read(j.history.at, j.topics(A, B, C), {}, 100)
        cursor.read(j.history.at, j.topics(A, B, C), {}, 100)
        assert cursor.take_losses(at_end=True) == [Loss(j.topic(A), 1, 4, 1, 6)]


def test_rows_on_disk_are_found_though_the_journal_begins_in_the_middle_of_what_is_in_memory(tmp_path: Path) -> None:
    with journalled(tmp_path, TWO_DAYS, **BY_SHARE) as j:
        j.speak(B, A)
        j.next_day()
        j.speak(A, A, A, A)
        cursor = j.history.cursor_after(0)
        j.next_day()
        assert (j.journal.first_at, j.history.first_seq(j.topic(A)), j.topic(A).first_seq) == (3, 2, 5)
        assert read_all(cursor, j.topics(A, B), j.history.at) == [(B, 1), ("lost", A, 1, 1), *rows([A] * 5, 1)]


def test_who_read_from_disk_up_to_rows_in_memory_loses_exactly_what_both_let_go_of_later(tmp_path: Path) -> None:
    with journalled(tmp_path, ONE_DAY, page_rows=6, ring_bytes=bytes_of(*[A] * 7)) as j:
        j.speak(*[A] * 10)
        cursor = j.history.cursor_after(0)
        assert read_step(cursor, j.topics(A), j.history.at) == rows([A] * 6)
        assert j.history.cursor_after(0).at == 0
        assert j.topic(A).first_seq == 5  # it stands where memory has the rows, but knows that by number only
        j.next_day()
        assert cursor.at == 6
        j.speak(*[A] * 8)
        assert j.topic(A).first_seq > 11
        assert read_all(cursor, j.topics(A), j.history.at) == [("lost", A, 7, 10), *rows([A] * 18, 10)]
        assert j.history.past is not None


def test_a_damaged_place_on_disk_is_a_loss_of_what_was_before_it(tmp_path: Path) -> None:
    with journalled(tmp_path, **BY_SEGMENT) as j:
        j.speak(*[A, B] * 5)
        j.next_day()
        j.speak(*[A, B] * 5)
        cursor = j.history.cursor_after(0)
        assert read_step(cursor, j.topics(A, B), j.history.at, most=3) == rows([A, B, A])
        path = min(tmp_path.glob("*.rows"))
        content = bytearray(path.read_bytes())
        content[-1] ^= 255
        path.write_bytes(content)
        losses, story = losses_of(read_all(cursor, j.topics(A, B), j.history.at))
        assert losses
        assert story[-10:] == rows([A, B] * 10, 10)
        told = rows([A, B] * 10, 3)
        lost = [(code, seq) for code, (first, last) in losses.items() for seq in range(first, last + 1)]
        assert sorted([*story, *lost]) == sorted(told)


# A journal that fails


@LET_GO
def test_when_the_journal_fails_what_it_has_is_read_for_as_long_as_memory_follows_on_it(
    tmp_path: Path, ring: dict[str, int]
) -> None:
    with journalled(tmp_path, **ring) as j:
        j.speak(*MIXED)
        j.fail()
        j.speak(B, C)
        assert all_of(j, A, B, C) == rows([*MIXED, B, C])


@pytest.mark.parametrize("later", [6, 9, 18], ids=lambda count: f"{count} rows later")
@pytest.mark.parametrize("at", range(9))
def test_when_the_journal_fails_who_stands_behind_is_told_exactly_what_can_no_longer_be_read(
    tmp_path: Path, at: int, later: int
) -> None:
    # Told once, whether it reads on at once or when memory has let more go.
    codes = [*MIXED[:10], *MIXED[:later]]
    with journalled(tmp_path, **BY_SEGMENT) as j:
        j.speak(*MIXED[:10])
        cursor = j.history.cursor_after(at)
        j.fail()
        j.speak(*codes[10:])
        assert j.history.past is None
        topics = j.topics(A, B, C)
        losses, story = losses_of(read_all(cursor, topics, j.history.at))
        held = [(code, seq) for code, seq in rows(codes) if seq >= j.topic(code).first_seq]
        assert story == held
        assert losses == losses_among([row for row in rows(codes, at) if row not in held])


def test_who_read_from_disk_up_to_rows_in_memory_loses_exactly_what_was_not_written(tmp_path: Path) -> None:
    with journalled(tmp_path, page_rows=6, ring_bytes=bytes_of(*[A] * 7)) as j:
        j.speak(*[A] * 10)
        cursor = j.history.cursor_after(0)
        assert read_step(cursor, j.topics(A), j.history.at) == rows([A] * 6)
        j.fail()
        j.speak(*[A] * 20)
        first = j.topic(A).first_seq
        story = read_all(cursor, j.topics(A), j.history.at)
        assert losses_of(story) == ({A: (7, first - 1)}, rows([A] * 30, first - 1))


def test_a_new_reader_begins_in_memory_once_the_journal_is_given_up(tmp_path: Path) -> None:
    with journalled(tmp_path, **BY_SEGMENT) as j:
        j.speak(*[A] * 8)
        j.fail()
        j.speak(*[A] * 8)
        assert j.history.past is None
        first = j.topic(A).first_seq
        assert j.history.first_seq(j.topic(A)) == first
        assert j.history.cursor_after(0).at == first - 1
        assert all_of(j, A) == rows([A] * 16, first - 1)
