"""Rows that came before are recognised by their time where only the journal has them still."""

from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

import msgpack
import pytest

from hub.history import History
from hub.journal import JournalSettings
from hub.lookback import KEPT_PAGES, PAGES, SEARCH_S, TELL_EVERY_S, Lookback
from hub.opening import Opened, with_journal
from hub.store import Published
from hub.topic import Topic
from tests.hub.support.core import tick
from tests.hub.test_journal_model import kill, small_files

A, B = "600000.SH", "600001.SH"


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_files():  # pages of four rows
        yield


def open_again(folder: Path) -> Opened:
    history = History(ring_rows=100, ring_bytes=1 << 22)
    return with_journal(
        history, folder, JournalSettings(), source="s", run=None, day=date(2026, 3, 2), on_append=lambda _: None
    )


def written(folder: Path, *rows: tuple[str, int]) -> Opened:
    """A history of which nothing is in memory."""
    opened = open_again(folder)
    segment = opened.history.tail
    opened.history.append("tick", [tick(code, time_ms, price) for price, (code, time_ms) in enumerate(rows)], 1)
    opened.store.append([Published(1, len(rows), 1, 0)], segment, 0)
    assert opened.journal is not None
    kill(opened.journal.journal)
    return open_again(folder)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    opened = written(tmp_path, *[(code, time_ms) for time_ms in range(1, 11) for code in (A, B)], (A, 10))
    yield opened
    opened.close()


def topic(opened: Opened, code: str = A) -> Topic:
    return opened.history.channels["tick"][code]


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.step_s = 0.0

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


def seqs(rows: Iterable[bytes]) -> list[int]:
    return sorted({msgpack.unpackb(row)[1] for row in rows})


def test_a_row_that_only_the_journal_has_is_found_by_its_time(opened: Opened) -> None:
    lookback = Lookback(opened.history)
    assert seqs(lookback.rows_at(topic(opened), 3)) == [3]
    assert seqs(lookback.rows_at(topic(opened, B), 7)) == [7]


def test_all_rows_with_that_time_are_found_on_the_next_page_too(opened: Opened) -> None:
    assert seqs(Lookback(opened.history).rows_at(topic(opened), 10)) == [10, 11]


def test_a_time_that_no_row_has_finds_nothing(tmp_path: Path) -> None:
    opened = written(tmp_path, (A, 1), (A, 5))
    assert seqs(Lookback(opened.history).rows_at(topic(opened), 3)) == []
    opened.close()


def test_what_is_newer_than_all_that_memory_let_go_is_not_looked_for(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookback, searches = Lookback(opened.history), []
    monkeypatch.setattr(lookback, "_search", lambda *what: searches.append(what) or [])
    assert list(lookback.rows_at(topic(opened), 11)) == []
    assert searches == []


def test_rows_that_come_again_in_order_cost_a_search_for_some_pages_only(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookback, searches = Lookback(opened.history), []
    search = lookback._search
    monkeypatch.setattr(lookback, "_search", lambda *what: searches.append(what) or search(*what))
    for time_ms in range(1, 11):
        for code in (A, B):
            first = next(lookback.rows_at(topic(opened, code), time_ms))  # whoever finds it asks no further
            assert msgpack.unpackb(first)[1] == time_ms
    assert len(searches) == 2, "21 rows are six pages of four"
    assert 0 < PAGES <= len(lookback._pages) <= KEPT_PAGES


def test_searching_ends_when_it_has_taken_too_much_of_a_second_and_goes_on_in_the_next(opened: Opened) -> None:
    clock = Clock()
    lookback = Lookback(opened.history, clock)
    clock.step_s = SEARCH_S * 1.1
    assert seqs(lookback.rows_at(topic(opened), 1)) == [1]
    clock.step_s = 0.0
    assert seqs(lookback.rows_at(topic(opened), 9)) == []
    clock.now_s += 1
    assert seqs(lookback.rows_at(topic(opened), 9)) == [9]


def test_what_there_was_no_time_for_is_counted_and_told_now_and_then(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    lookback = Lookback(opened.history, clock)

    def ask_too_much() -> None:
        clock.step_s = SEARCH_S * 1.1
        assert seqs(lookback.rows_at(topic(opened), 1)) == [1]
        clock.step_s = 0.0
        for time_ms in 7, 8, 9:
            assert seqs(lookback.rows_at(topic(opened), time_ms)) == []

    ask_too_much()
    assert lookback.unanswered == 3
    assert seqs(lookback.rows_at(topic(opened), 1)) == [1]
    assert lookback.unanswered == 3, "that was answered"
    lookback._pages.clear()
    clock.now_s += 2
    ask_too_much()
    lookback._pages.clear()
    clock.now_s += TELL_EVERY_S
    ask_too_much()
    told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert ["(1 so far)" in told[0], "(7 so far)" in told[1], len(told)] == [True, True, 2]


def test_what_comes_again_in_its_order_is_found_however_much_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.lookback.EARNED_S", SEARCH_S / 5)
    opened = written(tmp_path, *[(A, time_ms) for time_ms in range(1, 101)])
    clock = Clock()
    lookback = Lookback(opened.history, clock)
    clock.step_s = SEARCH_S / 3
    searches = 0
    for time_ms in range(1, 101):
        before_s = clock.now_s
        assert msgpack.unpackb(next(lookback.rows_at(topic(opened), time_ms)))[1] == time_ms
        searches += clock.now_s > before_s
    assert clock.now_s < 1, "all within a second"
    assert searches * clock.step_s > 2 * SEARCH_S
    assert lookback.unanswered == 0
    opened.close()
