"""When the numbers go on after a start and when a new epoch begins, rule by rule; and who may have a journal."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from hub.journal import (
    JournalError,
    JournalInUseError,
    JournalSettings,
    RunBegins,
    abandon_journal,
    open_journal,
)
from hub.journal.opening import why_new_epoch
from hub.journal.parts import PartName
from hub.journal.proof import Proof, is_same_boot, read_proof, this_boot
from hub.journal.recovery import recover
from tests.hub.test_journal_model import BOOT, DAY, Model, check, check_restored, kill, open_for, small_files

OTHER_BOOT = "99999999-2222-3333-4444-555555555555"
SETTINGS = JournalSettings(fsync_s=1000.0)
NAME = PartName(1, DAY.isoformat())


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_files():
        yield


def write_some(folder: Path, *, run: str | None = "run 1", settings: JournalSettings = SETTINGS) -> Model:
    """A journal with a few rows, whose process was killed."""
    model = Model()
    journal, _ = open_for(folder, model, settings, run=run)
    model.run = run or ""
    model.append(journal, model.stretch("tick", [("1.SZ", 5), ("2.SZ", 6)], 4), model.gap())
    kill(journal)
    return model


Change = Callable[[Proof], Proof | None]
RULES: dict[str, tuple[Change, dict[str, str | None], str]] = {
    "killed": (lambda left: left, {}, ""),
    "killed between a write and its proof": (lambda left: left._replace(length=left.length - 1), {}, ""),
    "killed between a new file and its proof": (lambda left: left._replace(part=0, length=10**9), {}, ""),
    "the live source has another run": (lambda left: left, {"run": None}, ""),
    "closed, then the machine restarted": (lambda left: left._replace(closed=True), {"boot": OTHER_BOOT}, ""),
    "every append durable, then a power loss": (lambda left: left._replace(durable=True), {"boot": OTHER_BOOT}, ""),
    "unjournalled rows": (lambda left: None, {}, "nothing proves that the journal is complete"),
    "another epoch's proof": (lambda left: left._replace(epoch="0" * 16), {}, "the proof of completeness is that of"),
    "bytes missing": (lambda left: left._replace(length=left.length + 1), {}, "rows are missing at the end"),
    "a file missing": (lambda left: left._replace(part=2, length=1), {}, "rows are missing at the end"),
    "a power loss": (lambda left: left, {"boot": OTHER_BOOT}, "the machine was restarted while the journal was open"),
    "closed and then something was added, then a power loss": (
        lambda left: left._replace(closed=True, length=left.length - 1),
        {"boot": OTHER_BOOT},
        "the machine was restarted while the journal was open",
    ),
    "durable, and yet bytes missing": (
        lambda left: left._replace(durable=True, length=left.length + 1),
        {"boot": OTHER_BOOT},
        "rows are missing at the end",
    ),
    "another source": (lambda left: left, {"source": "recording"}, "the source is recording now and was simulator"),
    "another run": (lambda left: left, {"run": "run 2"}, "the source began another run (run 2, before: run 1)"),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_new_epoch_begins_exactly_when_going_on_is_not_proven(tmp_path: Path, rule: str) -> None:
    write_some(tmp_path)
    change, now, reason = RULES[rule]
    left = read_proof(tmp_path)
    assert left is not None
    asked = {"source": "simulator", "run": "run 1", "boot": BOOT} | now
    found = recover(tmp_path, NAME)
    why = why_new_epoch(1, found, change(left), **asked)  # type: ignore[arg-type]
    assert why.startswith(reason)
    assert bool(why) == bool(reason)


def test_a_killed_process_leaves_a_journal_that_goes_on_in_the_same_epoch(tmp_path: Path) -> None:
    model = write_some(tmp_path)
    journal, restored = open_for(tmp_path, model, SETTINGS, run="run 1")
    check_restored(restored, model)
    assert (restored.batch, restored.run, restored.day) == (4, "run 1", "2026-03-02")
    assert (journal.epoch, journal.batch, journal.run) == (restored.epoch, 4, "run 1")
    model.append(journal, model.stretch("tick", [("2.SZ", 7)], 5))
    check(journal, model)
    kill(journal)


def test_a_closed_journal_goes_on_after_a_restart_of_the_machine_and_an_open_one_does_not(tmp_path: Path) -> None:
    model = write_some(tmp_path)
    journal, before = open_for(tmp_path, model, SETTINGS)
    journal.close()
    journal, restored = open_for(tmp_path, model, SETTINGS, boot=OTHER_BOOT)
    assert restored.epoch == before.epoch
    check_restored(restored, model)
    kill(journal)
    journal, restored = open_for(tmp_path, Model(), SETTINGS, boot=BOOT)
    assert restored.epoch != before.epoch
    assert restored.new_epoch.startswith("the machine was restarted while the journal was open")
    assert (restored.at, restored.topics, restored.batch, journal.at) == (0, [], 0, 0)
    kill(journal)


def test_with_every_append_made_durable_a_power_loss_does_not_end_the_epoch(tmp_path: Path) -> None:
    settings = replace(SETTINGS, fsync_s=0)
    model = write_some(tmp_path, settings=settings)
    journal, restored = open_for(tmp_path, model, settings, boot=OTHER_BOOT)
    check_restored(restored, model)
    kill(journal)


def test_a_new_epoch_leaves_the_files_of_the_old_one_and_serves_none_of_their_rows(tmp_path: Path) -> None:
    write_some(tmp_path)
    model = Model()
    journal, restored = open_for(tmp_path, model, SETTINGS, run="run 2")
    assert len(restored.epoch) == 16
    assert int(restored.epoch, 16) >= 0
    assert restored.notes == [f"a new epoch begins: {restored.new_epoch}"]
    assert (restored.run, journal.run) == ("run 2", "run 2")
    assert NAME.rows(tmp_path).exists()
    assert journal.load(1) is None
    model.append(journal, model.stretch("tick", [("1.SZ", 50)]))
    model.run = "run 2"
    check(journal, model)
    kill(journal)
    journal, restored = open_for(tmp_path, model, SETTINGS, run="run 2")
    check_restored(restored, model)
    check(journal, model)
    kill(journal)


def test_a_run_that_begins_in_the_middle_starts_batch_numbers_again(tmp_path: Path) -> None:
    model = write_some(tmp_path)
    journal, _ = open_for(tmp_path, model, SETTINGS)
    journal.append([RunBegins("run 2"), model.stretch("tick", [("1.SZ", 9)])])
    model.commit()
    assert (journal.run, journal.batch) == ("run 2", 0)
    journal.append([model.stretch("tick", [("1.SZ", 9)], 3)])
    model.commit()
    kill(journal)
    journal, restored = open_for(tmp_path, model, SETTINGS, run="run 2")
    assert (restored.new_epoch, restored.run, restored.batch) == ("", "run 2", 3)
    kill(journal)


def test_a_start_on_another_day_begins_a_file_of_that_day(tmp_path: Path) -> None:
    model = write_some(tmp_path)
    journal, restored = open_for(tmp_path, model, SETTINGS, day=date(2026, 3, 3))
    assert (restored.day, journal.day) == ("2026-03-02", "2026-03-03")
    assert journal.day_first_at(10**20) == 3
    check(journal, model)
    model.append(journal, model.stretch("tick", [("1.SZ", 50)]))
    assert journal.day_first_at(10**20) == 3
    check(journal, model)
    kill(journal)


def test_a_hub_without_a_journal_ends_the_epoch_of_the_one_that_is_there(tmp_path: Path) -> None:
    abandon_journal(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    write_some(tmp_path)
    abandon_journal(tmp_path)
    journal, restored = open_for(tmp_path, Model(), SETTINGS)
    assert restored.new_epoch.startswith("nothing proves that the journal is complete")
    with pytest.raises(JournalInUseError):
        abandon_journal(tmp_path)  # whose hub is running says for itself what it does
    kill(journal)
    journal, restored = open_for(tmp_path, Model(), SETTINGS)
    assert restored.new_epoch == ""
    kill(journal)


def test_a_journal_that_cannot_be_opened_proves_nothing_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_some(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("hub.journal.opening.find", _no_space)
        with pytest.raises(JournalError, match=r"cannot be opened: No space left on device$"):
            open_for(tmp_path, Model(), SETTINGS)
    journal, restored = open_for(tmp_path, Model(), SETTINGS)
    assert restored.new_epoch.startswith("nothing proves that the journal is complete")
    kill(journal)


def _no_space(folder: Path) -> None:
    raise OSError(28, "No space left on device")


def test_a_folder_that_is_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(JournalError, match=r"^the journal .*data cannot be opened: "):
        open_for(tmp_path / "data", Model(), SETTINGS)


def test_a_machine_that_would_misread_the_columns_has_no_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.byteorder", "big")
    with pytest.raises(JournalError, match="needs a little-endian machine"):
        open_for(tmp_path, Model(), SETTINGS)


def test_a_second_process_is_turned_away_and_may_come_when_the_first_has_gone(tmp_path: Path) -> None:
    model = write_some(tmp_path)
    journal, _ = open_for(tmp_path, model, SETTINGS)
    code = (
        "from pathlib import Path; from datetime import date; import sys\n"
        "from hub.journal import *\n"
        "try: open_journal(Path(sys.argv[1]), source='simulator', run=None, day=date(2026, 3, 2),\n"
        "                  settings=JournalSettings(), on_drop=print, on_note=print)\n"
        "except JournalInUseError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True).stdout
    assert said == (
        f"the journal {tmp_path} is in use by another hub: stop that one, or give this one another folder\n"
    )
    model.append(journal, model.stretch("tick", [("1.SZ", 50)]))  # it took nothing away
    kill(journal)
    journal, restored = open_for(tmp_path, model, SETTINGS)
    check_restored(restored, model)
    kill(journal)


def test_two_starts_of_one_boot_are_told_from_two_boots() -> None:
    assert this_boot() == this_boot()
    assert is_same_boot(BOOT, BOOT)
    assert not is_same_boot(BOOT, OTHER_BOOT)
    assert is_same_boot("since 1000", "since 1010")  # the clock was set a little
    assert not is_same_boot("since 1000", "since 1011")
    assert not is_same_boot("since 1000", BOOT)


def test_where_the_system_has_no_id_the_time_of_its_start_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.journal.proof.BOOT_ID", Path("/nowhere/boot_id"))
    assert is_same_boot(this_boot(), this_boot())
    assert this_boot().startswith("since ")


def test_a_proof_that_is_half_written_leaves_the_one_before_it(tmp_path: Path) -> None:
    model = write_some(tmp_path)
    whole = (tmp_path / "proof").read_bytes()
    newest = read_proof(tmp_path)
    assert newest is not None
    for slot in (0, 512):
        (tmp_path / "proof").write_bytes(whole[: slot + 20] + b"\0" * 60 + whole[slot + 80 :])
        left = read_proof(tmp_path)
        assert left is not None
        assert left.epoch == newest.epoch
        journal, restored = open_for(tmp_path, model, SETTINGS)
        check_restored(restored, model)
        kill(journal)
    (tmp_path / "proof").write_bytes(b"\0" * 1024)
    assert read_proof(tmp_path) is None


def test_the_topics_of_what_was_restored_are_asked_for_in_order(tmp_path: Path) -> None:
    model = write_some(tmp_path)
    journal, _ = open_journal(
        tmp_path,
        source="simulator",
        run=None,
        day=DAY,
        settings=SETTINGS,
        on_drop=[].append,
        on_note=[].append,
        boot=BOOT,
    )
    asked = []
    journal.attach(
        lambda channel, code: asked.append((channel, code)) or model.topic(channel, code),  # type: ignore[func-returns-value]
        lambda: model.late_at,
        model.index,
    )
    assert asked == [("tick", "1.SZ"), ("tick", "2.SZ")]
    kill(journal)
