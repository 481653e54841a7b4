"""How much stays: by days and by bytes, never the newest file; what goes is announced, what stays keeps its numbers."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from hub.journal import JournalSettings
from hub.journal.archive import KEPT_SEGMENTS, OPEN_PARTS
from hub.journal.parts import Found, PartName, expired, find
from tests.hub.test_journal_model import DAY, Model, check, check_restored, kill, open_for, read_back, small_files

SETTINGS = JournalSettings(fsync_s=1000.0, keep_days=3)


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_files():
        yield


def parts(*given: tuple[str, int]) -> list[Found]:
    return [Found(PartName(i, day), [], True, size) for i, (day, size) in enumerate(given, 1)]


@pytest.mark.parametrize(
    ("given", "keep_days", "keep_bytes", "left"),
    [
        ([("01", 5), ("02", 5), ("03", 5)], 3, 15, [1, 2, 3]),
        ([("01", 5), ("02", 5), ("03", 5)], 2, 15, [2, 3]),
        ([("01", 5), ("02", 5), ("02", 5)], 1, 15, [2, 3]),  # two files of a day
        ([("01", 5), ("02", 5), ("03", 5)], 3, 14, [2, 3]),
        ([("01", 5), ("02", 9), ("03", 5)], 3, 13, [3]),  # no hole: the first would still fit
        ([("01", 5), ("02", 50)], 9, 10, [2]),  # never the newest
        ([("09", 5), ("02", 5)], 1, 99, [2]),  # newer is what was begun later, whatever its day
        ([], 1, 1, []),
    ],
)
def test_files_expire_from_the_oldest_on(
    given: list[tuple[str, int]], keep_days: int, keep_bytes: int, left: list[int]
) -> None:
    found = parts(*given)
    gone = expired(found, keep_days, keep_bytes)
    assert [part.name.number for part in found if part not in gone] == left


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.rows"))


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def write_days(folder: Path, days: int, settings: JournalSettings = SETTINGS) -> tuple[Model, list[int]]:
    """A row of three instruments a day, one of which is suspended after the first."""
    model = Model()
    dropped: list[int] = []
    journal, _ = open_for(folder, model, settings, dropped=dropped)
    model.append(journal, model.stretch("tick", [("suspended.SZ", 1)] * 2))
    for day in range(days):
        journal.roll(DAY + timedelta(days=day))
        model.append(journal, model.stretch("tick", [("1.SZ", 100 * day), ("2.SZ", 100 * day + 1)]), model.gap())
        check(journal, model)
    journal.close()
    return model, dropped


def test_the_files_of_the_newest_days_stay_and_the_rest_is_let_go(tmp_path: Path) -> None:
    _, dropped = write_days(tmp_path, 5)
    assert names(tmp_path) == [f"00000{3 + i}-2026-03-0{4 + i}.rows" for i in range(3)]
    assert len(list(tmp_path.glob("*.marks"))) == 3
    assert dropped == [4, 6]


def test_an_instrument_that_is_suspended_longer_than_the_files_reach_back_keeps_its_count(tmp_path: Path) -> None:
    model, _ = write_days(tmp_path, 6)
    journal, restored = open_for(tmp_path, model, SETTINGS, day=DAY + timedelta(days=5))
    check_restored(restored, model)
    suspended = model.topic("tick", "suspended.SZ")
    assert journal.first_seq(suspended) == 3  # no row of it is held
    assert journal.evicted_time_ms(suspended) == 1
    assert journal.first_since(suspended, 0) is None
    assert journal.at_of(suspended, 2) is None
    model.append(journal, model.stretch("tick", [("suspended.SZ", 900)]))
    assert journal.first_since(suspended, 0) == (3, model.at)
    check(journal, model)
    kill(journal)


def test_a_start_lets_go_of_what_has_expired_meanwhile(tmp_path: Path) -> None:
    model, _ = write_days(tmp_path, 3)
    dropped: list[int] = []
    journal, restored = open_for(
        tmp_path, model, replace(SETTINGS, keep_days=1), day=DAY + timedelta(days=2), dropped=dropped
    )
    check_restored(restored, model)
    assert journal.first_at == 7
    assert dropped == []  # nobody reads yet
    check(journal, model)
    journal.close()
    assert names(tmp_path) == ["000003-2026-03-04.rows"]


def test_files_of_an_old_epoch_and_damaged_ones_expire_as_all_do(tmp_path: Path) -> None:
    write_days(tmp_path, 2)
    newest = tmp_path / "000002-2026-03-03.rows"
    newest.write_bytes(newest.read_bytes()[:30])
    (tmp_path / "000009-2026-03-03.new").write_bytes(b"what a killed process had begun")
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS, day=DAY + timedelta(days=2))
    assert [part.name.number for part in find(tmp_path)] == [1, 2, 3]
    journal.roll(DAY + timedelta(days=3))
    journal._keeper.stop()
    assert [part.name.number for part in find(tmp_path)] == [2, 3, 4]
    journal.close()
    journal, _ = open_for(tmp_path, model, SETTINGS, day=DAY + timedelta(days=4))
    journal.close()
    assert [part.name.number for part in find(tmp_path)] == [3, 4, 5]
    assert not list(tmp_path.glob("*.damaged"))


def test_the_files_of_one_day_are_followed_by_others_so_that_bytes_are_bounded_too(tmp_path: Path) -> None:
    settings = JournalSettings(fsync_s=1000.0, keep_days=1, keep_bytes=20_000)
    model = Model()
    dropped: list[int] = []
    journal, _ = open_for(tmp_path, model, settings, dropped=dropped)
    for number in range(200):
        model.append(journal, model.stretch("tick", [(f"{number % 7}.SZ", number), ("9.SZ", number)], size=100))
        assert journal.bytes <= 20_000
    check(journal, model)
    assert dropped == sorted(dropped)
    assert journal.first_at - 1 == dropped[-1] > 200
    assert journal.bytes > 10_000
    assert journal.day == DAY.isoformat()
    journal.close()
    on_disk = sum(path.stat().st_size for path in tmp_path.iterdir() if path.suffix in (".rows", ".marks"))
    assert on_disk <= 20_000
    journal, restored = open_for(tmp_path, model, settings)
    check_restored(restored, model)
    check(journal, model)
    assert journal.bytes == on_disk
    kill(journal)


@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted in /proc")
def test_files_and_segments_that_are_open_are_bounded_however_much_is_read(tmp_path: Path) -> None:
    settings = JournalSettings(fsync_s=1000.0, keep_days=100)
    before = open_files()
    model, _ = write_days(tmp_path, 20, settings)
    journal, _ = open_for(tmp_path, model, settings, day=date(2026, 3, 21))
    for _ in range(2):
        check(journal, model)
    own = 5  # lock, proof, rows, marks, and the rows to read
    assert open_files() - before == own + OPEN_PARTS
    assert len(journal._archive._segments) == KEPT_SEGMENTS
    assert sum(part.opened is not None for part in journal._archive.parts) == OPEN_PARTS + 1
    kill(journal)
    assert open_files() == before


def test_segments_that_are_kept_are_bounded_in_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = write_days(tmp_path, 6, JournalSettings(keep_days=100))
    journal, _ = open_for(tmp_path, model, JournalSettings(keep_days=100), day=date(2026, 3, 7))
    read_back(journal)
    sizes = [size for _, size in journal._archive._segments.values()]
    assert len(sizes) > 3
    monkeypatch.setattr("hub.journal.archive.KEPT_SEGMENTS_BYTES", sum(sizes[-2:]))
    kill(journal)
    journal, _ = open_for(tmp_path, model, JournalSettings(keep_days=100), day=date(2026, 3, 7))
    read_back(journal)
    assert len(journal._archive._segments) == 2
    monkeypatch.setattr("hub.journal.archive.KEPT_SEGMENTS_BYTES", 1)
    kill(journal)
    journal, _ = open_for(tmp_path, model, JournalSettings(keep_days=100), day=date(2026, 3, 7))
    read_back(journal)
    assert len(journal._archive._segments) == 1  # the one that is read now
    kill(journal)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets nobody delete a file that is open")
def test_a_file_that_somebody_else_has_deleted_is_no_error(tmp_path: Path) -> None:
    model, _ = write_days(tmp_path, 3)
    journal, _ = open_for(tmp_path, model, SETTINGS, day=DAY + timedelta(days=2))
    (tmp_path / "000001-2026-03-02.rows").unlink()
    journal.roll(DAY + timedelta(days=3))
    check(journal, model)
    kill(journal)
