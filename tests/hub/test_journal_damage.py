"""Files that are not what was written: cut, flipped, missing, foreign. The hub starts, and serves no wrong row."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.journal import JournalSettings
from tests.hub.test_journal_model import Model, check, check_restored, kill, open_for, read_back, small_files

SETTINGS = JournalSettings(fsync_s=1000.0, keep_days=1000, keep_bytes=1 << 40, part_bytes=600)
ONE_PART = JournalSettings(fsync_s=1000.0)
FIRST, SECOND, THIRD = (f"00000{number}-2026-03-02" for number in (1, 2, 3))


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_files():
        yield


def fill(folder: Path, settings: JournalSettings, appends: int = 12) -> Model:
    """A journal of a killed process: a few rows of a few instruments in each append."""
    model = Model()
    journal, _ = open_for(folder, model, settings)
    for number in range(appends):
        codes = [f"{(number + i) % 5}.SZ" for i in range(3)]
        model.append(journal, model.stretch("tick", [(code, 10 * number + i) for i, code in enumerate(codes)], number))
    kill(journal)
    return model


def spoil(path: Path, offset: int, data: bytes = b"\xff") -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        old = file.read(len(data))
        file.seek(offset)
        file.write(bytes(a ^ b for a, b in zip(old, data, strict=True)))


def test_an_append_that_is_cut_at_any_byte_never_was_and_what_was_before_it_goes_on(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    model = Model()
    journal, first = open_for(whole, model, ONE_PART)
    model.append(journal, model.stretch("tick", [("1.SZ", 1), ("2.SZ", 2)]), model.gap())
    proven = (whole / "proof").read_bytes()
    start = journal._writer.length
    journal.append([model.stretch("tick", [("3.SZ", 3)] * 2), model.gap()])
    end = journal._writer.length
    kill(journal)
    model.forget_offered()
    for length in range(start, end):
        shutil.copytree(whole, cut)
        (cut / "proof").write_bytes(proven)
        with (cut / f"{FIRST}.rows").open("r+b") as file:
            file.truncate(length)
        journal, restored = open_for(cut, model, ONE_PART)
        assert restored.epoch == first.epoch
        check_restored(restored, model)
        check(journal, model)
        assert (cut / f"{FIRST}.rows").stat().st_size == start
        assert len(restored.notes) == (length > start)
        assert all(f"{FIRST}.rows: {length - start} bytes at the end are left out" in note for note in restored.notes)
        kill(journal)
        shutil.rmtree(cut)


def test_rows_that_were_shown_and_are_missing_end_the_epoch_wherever_the_file_is_cut(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    model = fill(whole, ONE_PART, appends=1)
    size = (whole / f"{FIRST}.rows").stat().st_size
    reasons = set()
    for length in range(size):
        shutil.copytree(whole, cut)
        with (cut / f"{FIRST}.rows").open("r+b") as file:
            file.truncate(length)
        journal, restored = open_for(cut, model, ONE_PART)
        reasons.add(restored.new_epoch.partition(":")[0])
        assert (restored.at, restored.topics, journal.at) == (0, [], 0)
        assert restored.notes[-1] == f"a new epoch begins: {restored.new_epoch}"
        kill(journal)
        shutil.rmtree(cut)
    assert reasons == {
        f"the newest file ({FIRST}.rows) is damaged",
        "rows are missing at the end of the journal",
    }


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_whatever_byte_is_wrong_the_hub_starts_and_serves_no_wrong_row(data: st.DataObject) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = fill(folder, SETTINGS)
        for _ in range(data.draw(st.integers(1, 3))):
            path = data.draw(st.sampled_from(sorted(p for p in folder.iterdir() if p.stat().st_size)))
            match data.draw(st.sampled_from(["flip", "cut", "garbage", "delete"])):
                case "flip":
                    offset = data.draw(st.integers(0, path.stat().st_size - 1))
                    spoil(path, offset, bytes([1 << data.draw(st.integers(0, 7))]))
                case "cut":
                    with path.open("r+b") as file:
                        file.truncate(data.draw(st.integers(1, path.stat().st_size)))
                case "garbage":
                    with path.open("ab") as file:
                        file.write(data.draw(st.binary(min_size=1, max_size=100)))
                case _:
                    path.write_bytes(b"")
        journal, restored = open_for(folder, model, SETTINGS)
        if restored.new_epoch:
            model = Model()
            kill(journal)
            journal, restored = open_for(folder, model, SETTINGS)
            assert restored.new_epoch == ""
        check_restored(restored, model)
        model.append(journal, model.stretch("tick", [("9.SZ", 999)]))
        held = read_back(journal)
        assert held == list(enumerate(model.rows, 1))[journal.first_at - 1 :]
        for at, row in held:
            assert journal.at_of(row.topic, row.seq) in (at, None)  # the damage may be found only now
        for topic in model.topics:
            mine = [(at, row) for at, row in model.of(topic) if at >= journal.first_at]
            assert journal.first_seq(topic) == (mine[0][1].seq if mine else model.of(topic)[-1][1].seq + 1)
            assert all(journal.at_of(topic, row.seq) == at for at, row in mine)
        kill(journal)


def test_a_damaged_newest_file_is_set_aside_and_a_new_epoch_begins(tmp_path: Path) -> None:
    model = fill(tmp_path, ONE_PART)
    spoil(tmp_path / f"{FIRST}.rows", 50)
    journal, restored = open_for(tmp_path, Model(), ONE_PART)
    assert restored.new_epoch == f"the newest file ({FIRST}.rows) is damaged"
    assert restored.notes[0].startswith(f"{FIRST}.rows is damaged and was renamed to {FIRST}.rows.damaged: ")
    assert {path.name for path in tmp_path.iterdir()} >= {f"{FIRST}.rows.damaged", f"{SECOND}.rows"}
    model = Model()
    model.append(journal, model.stretch("tick", [("1.SZ", 1)]))
    kill(journal)
    journal, restored = open_for(tmp_path, model, ONE_PART)
    check_restored(restored, model)
    kill(journal)


def test_something_that_is_no_journal_file_is_set_aside_too(tmp_path: Path) -> None:
    (tmp_path / f"{FIRST}.rows").mkdir()
    (tmp_path / "readme.txt").write_text("not mine")
    journal, restored = open_for(tmp_path, Model())
    assert restored.new_epoch == f"the newest file ({FIRST}.rows) is damaged"
    assert (tmp_path / f"{FIRST}.rows.damaged").is_dir()
    assert (tmp_path / "readme.txt").read_text() == "not mine"
    kill(journal)


def test_what_the_marks_have_lost_is_read_from_the_rows(tmp_path: Path) -> None:
    model = fill(tmp_path, SETTINGS)
    marks = sorted(tmp_path.glob("*.marks"))
    assert len(marks) >= 3
    marks[0].unlink()
    spoil(marks[1], marks[1].stat().st_size // 2)
    spoil(marks[2], marks[2].stat().st_size - 1)
    notes: list[str] = []
    journal, restored = open_for(tmp_path, model, SETTINGS, notes=notes)
    check_restored(restored, model)
    check(journal, model)
    assert journal.first_at == 1
    assert (restored.notes, notes) == ([], [])
    kill(journal)


def test_a_damaged_place_in_an_old_file_takes_what_was_before_it_along_and_is_announced_first(tmp_path: Path) -> None:
    model = fill(tmp_path, SETTINGS)
    dropped: list[int] = []
    notes: list[str] = []
    journal, restored = open_for(tmp_path, model, SETTINGS, dropped=dropped, notes=notes)
    assert restored.new_epoch == ""
    path = tmp_path / f"{SECOND}.rows"
    second, third = (journal._archive.parts[place].base.at for place in (1, 2))
    spoil(path, path.stat().st_size - 1)
    held = read_back(journal)
    assert dropped == [third]
    assert held == list(enumerate(model.rows, 1))[third:]
    assert journal.first_at == third + 1
    assert journal.load(second + 1) is None
    assert len(notes) == 1
    assert notes[0].startswith(f"{SECOND}.rows is damaged: ")
    assert notes[0].endswith(f"the {third} oldest rows of the journal can no longer be served")
    for topic in model.topics:
        assert journal.first_after(topic, 0) == model.first_after(topic, 0, third + 1)
        assert journal.first_since(topic, 0) == model.first_since(topic, 0, third + 1)
    kill(journal)


@pytest.mark.parametrize("part", [0, 1])
def test_an_old_file_that_cannot_be_opened_takes_what_was_before_it_along(tmp_path: Path, part: int) -> None:
    model = fill(tmp_path, SETTINGS)
    path = sorted(tmp_path.glob("*.rows"))[part]
    path.write_bytes(path.read_bytes()[:40])
    journal, restored = open_for(tmp_path, model, SETTINGS)
    check_restored(restored, model)
    assert journal.first_at == model.rows.index(read_back(journal)[0][1]) + 1
    assert journal.first_at > 1
    check(journal, model)
    assert path.with_name(path.name + ".damaged").exists()
    kill(journal)


def test_an_old_file_that_is_missing_takes_what_was_before_it_along(tmp_path: Path) -> None:
    model = fill(tmp_path, SETTINGS)
    journal, _ = open_for(tmp_path, model, SETTINGS)
    third = journal._archive.parts[2].base.at
    kill(journal)
    for path in (tmp_path / f"{SECOND}.rows", tmp_path / f"{SECOND}.marks"):
        path.unlink()
        journal, restored = open_for(tmp_path, model, SETTINGS)
        check_restored(restored, model)
        assert journal.first_at == third + 1
        check(journal, model)
        kill(journal)


def test_rows_that_go_missing_from_an_old_file_later_are_announced_too(tmp_path: Path) -> None:
    model = fill(tmp_path, SETTINGS)
    dropped: list[int] = []
    journal, _ = open_for(tmp_path, model, SETTINGS, dropped=dropped)
    path = tmp_path / f"{FIRST}.rows"
    (tmp_path / f"{FIRST}.marks").unlink()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    assert journal.first_since(model.topics[0], 0) == model.first_since(
        model.topics[0], 0, journal._archive.parts[0].base.at + 1
    )
    assert dropped == [journal.first_at - 1]
    check(journal, model)
    kill(journal)


def test_a_damaged_place_in_the_block_that_is_written_leaves_only_what_comes_after_it(tmp_path: Path) -> None:
    model = Model()
    dropped: list[int] = []
    journal, _ = open_for(tmp_path, model, ONE_PART, dropped=dropped)
    model.append(journal, model.stretch("tick", [("1.SZ", 1), ("2.SZ", 2)]))
    path = tmp_path / f"{FIRST}.rows"
    spoil(path, path.stat().st_size - 1)
    assert journal.load(1) is None
    assert (dropped, journal.first_at) == ([2], 3)
    model.append(journal, model.stretch("tick", [("1.SZ", 3)]))
    check(journal, model)
    assert journal.first_seq(model.topic("tick", "1.SZ")) == 2
    assert journal.first_seq(model.topic("tick", "2.SZ")) == 2
    kill(journal)


def test_what_is_let_go_can_be_looked_up_until_the_callback_returns(tmp_path: Path) -> None:
    model = fill(tmp_path, SETTINGS)
    journal, _ = open_for(tmp_path, model, SETTINGS)
    seen: list[dict[str, int]] = []
    place = 5  # where some reader stands, before the damaged place
    journal._archive._on_drop = lambda at: seen.append(
        {topic.code: seq for topic, seq in journal.first_after_many(model.topics, place).items()}
    )
    spoil(tmp_path / f"{SECOND}.rows", (tmp_path / f"{SECOND}.rows").stat().st_size - 1)
    read_back(journal)
    assert seen == [{topic.code: model.first_after(topic, place, 1) for topic in model.topics}]
    kill(journal)


def test_a_lookup_while_damaged_rows_are_let_go_answers_what_it_can(tmp_path: Path) -> None:
    model = fill(tmp_path, SETTINGS)
    journal, _ = open_for(tmp_path, model, SETTINGS)
    answers: list[object] = []
    topics = model.topics

    def on_drop(at: int) -> None:
        answers.append(journal.first_after_many(topics, at - 1))
        answers.append(journal.at_of_many(dict.fromkeys(topics, 1)))
        answers.append(journal.gaps_between(0, at))
        answers.append(journal.load(1))

    journal._archive._on_drop = on_drop
    path = tmp_path / f"{FIRST}.rows"
    (tmp_path / f"{FIRST}.marks").unlink()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)
    assert journal.load(1) is None
    assert len(answers) == 4
    check(journal, model)
    kill(journal)
