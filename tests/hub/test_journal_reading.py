"""What was appended, read back as segments of the log: rows, channels, times of arrival, gap notices at their place."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from hub.history import History
from hub.journal import JournalSettings
from hub.past import GapNotice
from tests.hub.test_journal_model import Model, check, check_restored, kill, open_for, small_files

SETTINGS = JournalSettings(fsync_s=1000.0)


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_files():
        yield


def test_batches_of_several_channels_in_one_append_keep_their_channel_and_their_arrival(tmp_path: Path) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    model.append(
        journal,
        model.stretch("tick", [("1.SZ", 1)]),
        model.stretch("tick", [("2.SZ", 2)]),
        model.stretch("1m", [("1.SZ", 3)]),
        model.stretch("1m", [("3.SZ", 3)]),
        model.stretch("tick", [("1.SZ", 4)] * 9),
    )
    first, second = journal.load(1), journal.load(5)
    assert first is not None
    assert second is not None
    assert (first.first_at, first.end_at, second.first_at) == (1, 5, 5)
    assert first.channels == [(0, "tick"), (2, "1m")]
    arrivals = [row.recv_us for row in model.rows]
    assert [first.recv_us(place) for place in range(4)] == arrivals[:4]
    assert second.channels == [(0, "tick")]
    assert [second.recv_us(place) for place in range(9)] == arrivals[4:]
    assert first.topics[0] is model.topic("tick", "1.SZ")
    assert list(first.seqs) == [1, 1, 1, 1]
    assert list(second.times) == [4] * 4
    check(journal, model)
    kill(journal)


def test_a_cursor_of_the_log_reads_a_loaded_segment(tmp_path: Path) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    model.append(journal, model.stretch("tick", [("1.SZ", 1), ("2.SZ", 2), ("1.SZ", 3)]))
    history = History(ring_rows=10, ring_bytes=1 << 22)
    history.restore(journal, [], 0)
    cursor = history.cursor_after(0)
    runs = cursor.read(3, {model.topic("tick", "1.SZ")}, {}, 100)
    assert [(run.channel, run.rows) for run in runs] == [("tick", [model.rows[0].row, model.rows[2].row])]
    kill(journal)


def test_rows_that_are_not_there_yet_cannot_be_loaded_and_appear_when_they_are(tmp_path: Path) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    assert (journal.at, journal.first_at, journal.load(0), journal.load(1)) == (0, 1, None, None)
    model.append(journal, model.stretch("tick", [("1.SZ", 1)]))
    first = journal.load(1)
    assert first is not None
    assert (len(first.rows), journal.load(2)) == (1, None)
    model.append(journal, model.stretch("tick", [("1.SZ", 2)]))
    assert journal.load(2) is not None
    check(journal, model)
    kill(journal)


def test_a_segment_that_is_full_is_kept_for_the_next_reader(tmp_path: Path) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    for number in range(6):
        model.append(journal, model.stretch("tick", [("1.SZ", number), ("2.SZ", number)]))
    assert journal.load(1) is journal.load(4)
    check(journal, model)
    kill(journal)


def test_gap_notices_are_given_back_at_their_place_each_once(tmp_path: Path) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    model.append(journal, model.gap("tick:*.SH"), model.stretch("tick", [("1.SZ", 1)] * 3), model.gap(), model.gap())
    model.append(journal, model.stretch("tick", [("1.SZ", 1)]), model.gap("tick:1.SZ"))
    first, second, third, last = model.gaps
    assert [gap.after_at for gap in model.gaps] == [0, 3, 3, 4]
    assert journal.gaps_between(0, 3) == [first]
    assert journal.gaps_between(3, 4) == [second, third]
    assert journal.gaps_between(1, 3) == []
    assert journal.gaps_between(4, 5) == [last]
    assert last == GapNotice(4, "tick:1.SZ", 20, None)
    journal.roll(date(2026, 3, 3))
    assert journal.gaps_between(0, 9) == model.gaps
    model.append(journal, model.gap(), model.stretch("tick", [("1.SZ", 1)]))
    assert journal.gaps_between(0, 9) == model.gaps
    kill(journal)
    journal, restored = open_for(tmp_path, model, SETTINGS, day=date(2026, 3, 4))
    check_restored(restored, model)
    assert journal.gaps_between(0, 9) == model.gaps
    kill(journal)


def test_a_gap_notice_before_the_oldest_row_that_is_held_stays_when_the_rows_before_it_go(tmp_path: Path) -> None:
    model = Model()
    settings = replace(SETTINGS, keep_days=1)
    journal, _ = open_for(tmp_path, model, settings)
    model.append(journal, model.gap(), model.stretch("tick", [("1.SZ", 1)]), model.gap(), model.gap("tick:1.SZ"))
    journal.roll(date(2026, 3, 3))
    assert journal.first_at == 2
    assert journal.gaps_between(0, 9) == model.gaps[1:]
    journal.roll(date(2026, 3, 4))
    kill(journal)
    journal, _ = open_for(tmp_path, model, settings, day=date(2026, 3, 4))
    assert journal.gaps_between(0, 9) == model.gaps[1:]
    kill(journal)


def test_a_hole_between_what_is_appended_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    good = model.stretch("tick", [("1.SZ", 1)])
    before = journal.bytes
    with pytest.raises(ValueError, match="rows from 3 on do not follow row 1"):
        journal.append([good, good._replace(first_at=3)])
    with pytest.raises(ValueError, match="rows from 1 on do not follow row 1"):
        journal.append([good, good])
    with pytest.raises(ValueError, match="a gap notice after row 1 does not follow row 0"):
        journal.append([GapNotice(1, "tick:*", 0, 1)])
    journal.append([])
    assert (journal.at, journal.bytes) == (0, before)
    journal.append([good])
    model.commit()
    check(journal, model)
    kill(journal)


def test_a_batch_without_rows_is_no_row_and_counts_as_written(tmp_path: Path) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    for batch, end in [(1, kill), (4, type(journal).close)]:
        model.append(journal, model.stretch("tick", [("1.SZ", 1)], batch), model.stretch("tick", [], batch + 1))
        model.append(journal, model.stretch("tick", [], batch + 2), model.stretch("tick", []))
        assert (journal.at, journal.batch) == (model.at, batch + 2)
        check(journal, model)
        end(journal)
        journal, restored = open_for(tmp_path, model, SETTINGS)
        check_restored(restored, model)
    kill(journal)


def noon_ms(day: int) -> int:
    """Noon in Shanghai of a day of March 2026."""
    return int(datetime(2026, 3, day, 4, tzinfo=UTC).timestamp() * 1000)


def test_the_first_row_of_a_trading_day_is_known_across_its_files(tmp_path: Path) -> None:
    model = Model()
    settings = replace(SETTINGS, part_bytes=300)
    journal, _ = open_for(tmp_path, model, settings)
    assert journal.day_first_at(noon_ms(2)) == 1
    model.append(journal, model.stretch("tick", [("1.SZ", 1)] * 3))
    journal.roll(date(2026, 3, 3))
    assert journal.day_first_at(noon_ms(3)) == 4
    for _ in range(5):
        model.append(journal, model.stretch("tick", [("1.SZ", 1)] * 3))
    assert len(list(tmp_path.glob("*2026-03-03.rows"))) > 2
    assert journal.day_first_at(noon_ms(3)) == 4
    journal.roll(date(2026, 3, 3))
    assert journal.day_first_at(noon_ms(3)) == 4
    journal.roll(date(2026, 3, 9))
    firsts = [journal.day_first_at(time_ms) for time_ms in (-(10**20), *map(noon_ms, (1, 2, 3, 8, 9, 10)), 10**20)]
    assert firsts == [1, 1, 1, 4, 4, 19, 19, 19]
    kill(journal)


def test_a_closed_journal_starts_without_reading_a_row_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    for number in range(20):
        model.append(journal, model.stretch("tick", [(f"{number % 5}.SZ", number)] * 3), model.gap())
    journal.close()
    with monkeypatch.context() as patch:
        patch.setattr("hub.journal.recovery.Recovered.apply", None)
        journal, restored = open_for(tmp_path, model, SETTINGS)
    check_restored(restored, model)
    check(journal, model)
    journal.close()
