"""The start of a history: gone on with where the journal proves it, else begun anew; in memory where there is none."""

import logging
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from hub.history import History
from hub.journal import JournalError, JournalSettings
from hub.opening import Opened, with_journal, without_journal
from hub.schema import STATUS
from hub.store import NO_STORE
from tests.hub.support.core import Client, row_of, tick
from tests.hub.support.journaled import DAY, deliver, deliver_times, hub_of, ignore, kill, open_history


def history() -> History:
    return History(ring_rows=1000, ring_bytes=1 << 24)


def opened_in_memory() -> Opened:
    return Opened(history(), "0123456789abcdef")


def filled(folder: Path, **how: Any) -> Opened:
    """A history with two rows of one instrument and one of another, whose hub was killed."""
    opened = open_history(folder, **how)
    hub = hub_of(opened)
    hub.begin_run("run-a")
    deliver(hub, tick("600000.SH", 5), tick("600001.SH", 6), batch=1)
    deliver(hub, tick("600000.SH", 7), batch=2)
    kill(opened)
    return opened


def is_epoch(text: str) -> bool:
    return len(text) == 16 and set(text) <= set("0123456789abcdef")


# Going on


def test_a_killed_hub_is_gone_on_with_in_the_same_epoch_by_the_next_number(tmp_path: Path) -> None:
    before = filled(tmp_path)
    opened = open_history(tmp_path)
    assert opened.epoch == before.epoch
    assert opened.goes_on
    assert (opened.history.at, opened.run, opened.batch) == (3, "run-a", 2)
    hub = hub_of(opened)
    client = Client(hub)
    client.ask("subscribe", topics=["tick:600000.SH"], since={"epoch": before.epoch, "at": 2, "seq": {}})
    deliver_times(hub, 9)
    client.pump()
    assert client.told() == [("subscribed",), ("replay", "600000.SH", 2), ("live", "600000.SH", 3)]
    opened.close()


def test_a_hub_that_ended_in_order_is_gone_on_with_too(tmp_path: Path) -> None:
    opened = open_history(tmp_path)
    deliver_times(hub_of(opened), 1)
    opened.close()
    again = open_history(tmp_path)
    assert (again.epoch, again.history.at) == (opened.epoch, 1)
    again.close()


def test_the_snapshot_after_a_restart_is_the_newest_row_of_every_instrument(tmp_path: Path) -> None:
    filled(tmp_path)
    opened = open_history(tmp_path)
    client = Client(hub_of(opened))
    client.ask("subscribe", topics=["tick:*"])
    client.pump()
    told = client.told()
    assert told[0] == ("subscribed",)
    assert sorted(told[1:]) == [("snapshot", "600000.SH", 2), ("snapshot", "600001.SH", 1)]
    opened.close()


def test_what_is_left_of_the_log_is_told_with_the_epoch_and_how_much_there_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path)
    with caplog.at_level(logging.INFO):
        opened = open_history(tmp_path)
    assert f"journal {tmp_path}: epoch {opened.epoch}, 3 rows of 2 topics up to now" in caplog.text
    opened.close()


def test_a_torn_end_is_cut_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = filled(tmp_path)
    path = next(tmp_path.glob("*.rows"))
    with path.open("ab") as file:
        file.write(b"half an append")
    opened = open_history(tmp_path)
    assert (opened.epoch, opened.history.at) == (before.epoch, 3)
    assert "journal: " in caplog.text
    assert "14 bytes at the end are left out" in caplog.text
    opened.close()


# Beginning


def test_an_empty_folder_begins_an_epoch_without_a_word_of_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_history(tmp_path / "data" / "journal")
    assert is_epoch(opened.epoch)
    assert (opened.goes_on, opened.run, opened.batch, opened.failure) == (False, "", 0, "")
    assert opened.is_kept
    assert caplog.records == []
    opened.close()


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"source": "another"}, "the source is another now and was test"),
        ({"run": "run-b"}, "the source began another run (run-b, before: run-a)"),
    ],
    ids=["another source", "another run"],
)
def test_what_is_no_part_of_the_history_begins_another_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: dict[str, Any], why: str
) -> None:
    before = filled(tmp_path)
    opened = open_history(tmp_path, **how)
    assert is_epoch(opened.epoch)
    assert opened.epoch != before.epoch
    assert (opened.goes_on, opened.run, opened.batch) == (False, how.get("run", ""), 0)
    assert f"a new epoch begins: {why}" in caplog.text
    opened.close()


def test_the_same_run_of_a_source_goes_on(tmp_path: Path) -> None:
    before = filled(tmp_path)
    opened = open_history(tmp_path, run="run-a")
    assert opened.epoch == before.epoch
    opened.close()


# Without


@pytest.fixture
def taken(tmp_path: Path) -> Any:
    """The folder of a hub that runs."""
    opened = filled(tmp_path)
    other = open_history(tmp_path)
    yield other
    assert other.epoch == opened.epoch
    other.close()


def test_a_folder_that_another_hub_has_leaves_this_one_without_a_journal_loudly(
    taken: Opened, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_history(tmp_path)
    assert is_epoch(opened.epoch)
    assert opened.epoch != taken.epoch
    assert (opened.journal, opened.store, opened.is_kept, opened.goes_on) == (None, NO_STORE, False, False)
    (told,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "in use by another hub" in told.getMessage()
    assert "the hub goes on without it" in told.getMessage()
    (reason,) = opened.reasons_degraded
    assert "in use by another hub" in reason


def test_the_other_hub_s_journal_is_not_touched(taken: Opened, tmp_path: Path) -> None:
    def content() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    before = content()
    for opened in (open_history(tmp_path), without_journal(history(), tmp_path)):
        deliver_times(hub_of(opened), 1)
        opened.close()
    assert content() == before


def test_a_hub_without_a_journal_delivers_from_memory(taken: Opened, tmp_path: Path) -> None:
    hub = hub_of(open_history(tmp_path))
    client = Client(hub)
    client.answer("subscribe", topics=["tick:*"], since="none")
    deliver_times(hub, 1)
    client.pump()
    assert client.told() == [("live", "600000.SH", 1)]


def test_a_folder_that_cannot_be_made_is_no_reason_not_to_serve(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "data").write_text("a file where the folder should be")
    opened = open_history(tmp_path / "data" / "journal")
    assert is_epoch(opened.epoch)
    assert len(opened.reasons_degraded) == 1
    assert opened.reasons_degraded[0] in caplog.text


def test_each_hub_without_a_journal_has_an_epoch_of_its_own(tmp_path: Path) -> None:
    epochs = {without_journal(history(), tmp_path).epoch for _ in range(5)}
    assert len(epochs) == 5
    assert all(map(is_epoch, epochs))


def test_who_asks_for_no_journal_gets_none_and_nothing_is_made_or_degraded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = without_journal(history(), tmp_path / "journal")
    assert (opened.store, opened.is_kept, opened.reasons_degraded) == (NO_STORE, False, [])
    opened.close()
    assert list(tmp_path.iterdir()) == []
    assert caplog.records == []


def test_the_numbers_that_go_out_without_the_journal_end_its_epoch(tmp_path: Path) -> None:
    before = filled(tmp_path)
    without_journal(history(), tmp_path).close()
    opened = open_history(tmp_path)
    assert opened.epoch != before.epoch
    opened.close()


def test_a_journal_that_cannot_be_told_is_told_to_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: Path) -> None:
        raise JournalError("delete it before the next start with a journal")

    monkeypatch.setattr("hub.opening.abandon_journal", refuse)
    assert is_epoch(without_journal(history(), tmp_path).epoch)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "delete it before" in caplog.text


# What is told of it


def test_of_an_empty_history_there_is_no_newest_row() -> None:
    assert opened_in_memory().newest() is None


def test_the_newest_row_is_told_by_exchange_time_and_by_receipt(tmp_path: Path) -> None:
    """The time is the newest of all, though the last row is of an earlier one; a feeder goes on from there."""
    opened = open_history(tmp_path)
    hub = hub_of(opened)
    hub.publish("tick", [tick("600000.SH", 9)], 100)
    hub.publish("tick", [tick("600001.SH", 7)], 200)
    hub.flush()
    assert opened.newest() == (9, 200)
    kill(opened)
    again = open_history(tmp_path)
    assert again.newest() == (9, 200)
    again.close()


def test_what_the_hub_says_itself_is_no_row_of_the_source() -> None:
    opened = opened_in_memory()
    opened.history.append(STATUS, [row_of(STATUS, "source.test", 10**15)], 300)
    assert opened.newest() is None
    opened.history.append("tick", [tick("600000.SH", 9)], 100)
    opened.history.append(STATUS, [row_of(STATUS, "source.test", 10**15)], 300)
    assert opened.newest() == (9, 100)


def test_rows_that_have_expired_are_let_go_by_readers_too(tmp_path: Path) -> None:
    """A reader that stands in a file which is deleted is told what it lost, and reads on."""
    settings = JournalSettings(fsync_s=1000.0, keep_days=1)
    memory = History(ring_rows=1, ring_bytes=1 << 24)
    opened = with_journal(memory, tmp_path, settings, source="test", run=None, day=DAY, on_append=ignore)
    hub = hub_of(opened)
    client = Client(hub)
    deliver_times(hub, *range(1, 6))
    opened.close()
    memory = History(ring_rows=1000, ring_bytes=1 << 24)
    opened = with_journal(memory, tmp_path, settings, source="test", run=None, day=DAY, on_append=ignore)
    hub = hub_of(opened)
    client = Client(hub)
    client.ask("subscribe", topics=["tick:*"], since={"time": 0})
    opened.store.roll(date(2026, 9, 2))
    deliver_times(hub, 6)
    client.pump()
    assert client.told() == [("subscribed",), ("gap", "tick:600000.SH", 1, 5), ("live", "600000.SH", 6)]
    opened.close()


@pytest.mark.parametrize("end", [Opened.close, lambda _: None], ids=["closed", "not closed"])
def test_closing_lets_others_have_the_journal(tmp_path: Path, end: Callable[[Opened], None]) -> None:
    opened = filled(tmp_path)
    opened = open_history(tmp_path)
    end(opened)
    again = open_history(tmp_path)
    assert again.is_kept == (end is Opened.close)
    again.close()
    kill(opened)


def test_a_history_in_memory_has_nothing_to_close() -> None:
    opened_in_memory().close()
