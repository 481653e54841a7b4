"""Turns are written whole and in order as long as that works; once it doesn't, it is told once and live goes on."""

import errno
import logging
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from hub.core import Hub
from hub.history import SEGMENT_ROWS, History
from hub.journal import JournalError
from hub.journal.proof import read_proof
from hub.opening import Opened
from hub.store import NO_STORE
from tests.hub.support.core import Client, row_of, tick
from tests.hub.support.journaled import deliver, deliver_times, hub_of, kill, open_history

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    opened = open_history(tmp_path)
    yield opened
    kill(opened)


@pytest.fixture
def hub(opened: Opened) -> Hub:
    return hub_of(opened)


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise FULL

    monkeypatch.setattr("hub.journal.disk.write_all", refuse)


def critical(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.CRITICAL]


def written(folder: Path) -> list[tuple[Any, ...]]:
    """What another hub finds: each row in short, and each gap, in order of arrival."""
    opened = open_history(folder)
    client = Client(hub_of(opened))
    client.ask("subscribe", topics=["tick:*", "1m:*"], since={"time": 0})
    client.pump()
    told = client.told()
    kill(opened)
    return [what for what in told if what[0] != "subscribed"]


def test_a_turn_outlives_the_process_before_anybody_is_sent_it(opened: Opened, hub: Hub, tmp_path: Path) -> None:
    sent: list[Any] = []
    sizes: list[int] = []
    client = Client(hub)
    client.answer("subscribe", topics=["tick:*"], since="none")
    path = next(tmp_path.glob("*.rows"))
    hub._deliver = lambda *given: sizes.append(path.stat().st_size) or sent.append(given)  # type: ignore[method-assign,func-returns-value]
    before = path.stat().st_size
    deliver(hub, tick("600000.SH", 1))
    assert len(sent) == 1
    assert sizes[0] > before, "the system had the row before it was delivered"


def test_everything_of_a_turn_is_found_again_in_order(opened: Opened, hub: Hub, tmp_path: Path) -> None:
    hub.begin_run("run-a")
    hub.publish("tick", [tick("600000.SH", 1), tick("600001.SH", 1)], 17, 1)
    hub.announce("tick:*", 1, 5)
    hub.publish("1m", [row_of("1m", "600000.SH", 5)], 18, 2)
    hub.flush()
    kill(opened)
    assert written(tmp_path) == [
        ("replay", "600000.SH", 1),
        ("replay", "600001.SH", 1),
        ("gap", "tick:*", None, None),
        ("replay", "600000.SH", 1),
    ]


def test_a_turn_that_fills_several_segments_is_written_whole(opened: Opened, hub: Hub, tmp_path: Path) -> None:
    """The second turn begins in the middle of a segment and ends two segments later."""
    count = 2 * SEGMENT_ROWS + 100
    deliver(hub, *(tick(f"{code:06}.SZ", 1) for code in range(50)))
    deliver(hub, *(tick(f"{code:06}.SZ", 2) for code in range(count)))
    kill(opened)
    rows = written(tmp_path)
    assert rows == [("replay", f"{code:06}.SZ", 1) for code in range(50)] + [
        ("replay", f"{code:06}.SZ", 1 + (code < 50)) for code in range(count)
    ]


def test_a_turn_that_ends_with_a_segment_is_followed_by_the_next(opened: Opened, hub: Hub, tmp_path: Path) -> None:
    deliver(hub, *(tick(f"{code:06}.SZ", 1) for code in range(SEGMENT_ROWS)))
    deliver(hub, tick("000000.SZ", 2))
    kill(opened)
    assert written(tmp_path)[-2:] == [("replay", f"{SEGMENT_ROWS - 1:06}.SZ", 1), ("replay", "000000.SZ", 2)]


def test_a_batch_without_rows_counts_as_written(opened: Opened, hub: Hub, tmp_path: Path) -> None:
    hub.begin_run("run-a")
    deliver(hub, tick("600000.SH", 1), batch=1)
    deliver(hub, batch=2)
    kill(opened)
    found = open_history(tmp_path)
    assert (found.run, found.batch) == ("run-a", 2)
    kill(found)


def test_how_long_each_write_took_is_told(tmp_path: Path) -> None:
    took_s: list[float] = []
    opened = open_history(tmp_path, on_append=took_s.append)
    deliver_times(hub_of(opened), 1, 2, 3)
    assert len(took_s) == 3
    assert min(took_s) > 0
    opened.close()


def test_another_trading_day_has_a_file_of_its_own(opened: Opened, hub: Hub, tmp_path: Path) -> None:
    deliver_times(hub, 1)
    opened.store.roll(date(2026, 9, 1))
    assert len(list(tmp_path.glob("*.rows"))) == 1
    opened.store.roll(date(2026, 9, 2))
    deliver_times(hub, 2)
    kill(opened)
    assert [path.name.partition(".")[0][-10:] for path in sorted(tmp_path.glob("*.rows"))] == [
        "2026-09-01",
        "2026-09-02",
    ]
    assert written(tmp_path) == [("replay", "600000.SH", 1), ("replay", "600000.SH", 2)]


def test_a_trading_day_ends_behind_what_was_published_up_to_then(opened: Opened, hub: Hub, tmp_path: Path) -> None:
    deliver_times(hub, 1)
    hub.publish("tick", [tick("600000.SH", 2), tick("600001.SH", 2)], 17)
    hub.roll(date(2026, 9, 2))
    assert hub.history.delivered_at == 3
    deliver_times(hub, 3)
    kill(opened)
    again = open_history(tmp_path)
    assert [(topic.code, topic.seq) for topic in again.history.topics] == [("600000.SH", 3), ("600001.SH", 1)]
    kill(again)


def test_on_a_full_disk_live_goes_on_and_that_is_told_once(
    opened: Opened, hub: Hub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = Client(hub)
    client.answer("subscribe", topics=["tick:*"], since="none")
    deliver_times(hub, 1)
    assert opened.is_kept
    assert opened.reasons_degraded == []
    fill_the_disk(monkeypatch)
    deliver_times(hub, 2, 3)
    opened.store.roll(date(2026, 9, 2))
    client.pump()
    assert client.told() == [("live", "600000.SH", seq) for seq in (1, 2, 3)]
    (told,) = critical(caplog)
    assert "cannot be written (No space left on device)" in told
    assert "the next start will begin a new epoch" in told
    assert not opened.is_kept
    assert opened.reasons_degraded == [told]


def test_after_a_failure_nothing_more_is_tried_even_if_the_disk_has_room_again(
    opened: Opened, hub: Hub, tmp_path: Path
) -> None:
    """A row after a hole would make the journal a lie."""
    deliver_times(hub, 1)
    with pytest.MonkeyPatch.context() as patch:
        fill_the_disk(patch)
        deliver_times(hub, 2)
    sizes = {path: path.stat().st_size for path in tmp_path.iterdir()}
    deliver_times(hub, 3)
    opened.store.roll(date(2026, 9, 2))
    opened.close()
    assert {path: path.stat().st_size for path in tmp_path.iterdir()} == sizes


def test_rows_that_the_journal_does_not_have_are_served_from_memory(
    opened: Opened, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_times(hub, 1)
    fill_the_disk(monkeypatch)
    deliver_times(hub, 2, 3)
    client = Client(hub)
    client.ask("subscribe", topics=["tick:*"], since={"time": 0})
    client.pump()
    assert client.told() == [("subscribed",), *(("replay", "600000.SH", seq) for seq in (1, 2, 3))]


def test_the_start_after_a_failure_begins_a_new_epoch(
    opened: Opened, hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    deliver_times(hub, 1)
    with pytest.MonkeyPatch.context() as patch:
        fill_the_disk(patch)
        deliver_times(hub, 2)
    assert read_proof(tmp_path) is None
    opened.close()
    caplog.clear()
    again = open_history(tmp_path)
    assert again.epoch != opened.epoch
    assert again.history.at == 0
    assert "a new epoch begins: nothing proves that the journal is complete" in caplog.text
    again.close()


@pytest.mark.parametrize("what", ["append", "append_single", "settle", "roll", "close"])
def test_whatever_the_journal_raises_live_goes_on_and_it_is_told_once(
    opened: Opened, hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    deliver_times(hub, 1)
    journal = opened.journal
    assert journal is not None
    with pytest.MonkeyPatch.context() as patch:

        def fail(*_: object) -> None:
            raise IndexError("a fault of its own")

        patch.setattr(journal.journal, what, fail)
        deliver_times(hub, 2)  # a row by itself
        deliver(hub, tick("600000.SH", 3), tick("600000.SH", 4))
        journal.roll(date(2026, 9, 2))
        if what == "close":
            journal.close()
    deliver_times(hub, 5)
    assert hub.history.delivered_at == 5
    (told,) = critical(caplog)
    assert "IndexError: a fault of its own" in told
    assert opened.reasons_degraded == [told]
    assert read_proof(tmp_path) is None, "rows went out that the journal may not have"


@pytest.mark.parametrize("what", ["settle", "roll", "close"])
def test_a_journal_error_is_told_in_its_own_words(
    opened: Opened, hub: Hub, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    journal = opened.journal
    assert journal is not None
    with pytest.MonkeyPatch.context() as patch:

        def fail(*_: object) -> None:
            raise JournalError("the disk is gone")

        patch.setattr(journal.journal, what, fail)
        deliver_times(hub, 1)
        journal.roll(date(2026, 9, 2))
        if what == "close":
            journal.close()
    assert critical(caplog) == ["the disk is gone"]
    assert journal.failure == "the disk is gone"


def test_what_can_no_longer_be_written_is_acknowledged_as_by_a_hub_without_a_journal(
    opened: Opened, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(hub)
    client.answer("subscribe", topics=["tick:*"], since="none")
    stored: list[int] = []
    hub.on_stored = stored.append
    deliver(hub, tick("600000.SH", 1), batch=1)
    fill_the_disk(monkeypatch)
    for number in 2, 3:
        deliver(hub, tick("600000.SH", number), batch=number)
    assert opened.reasons_degraded
    assert stored == [1, 2, 3]
    assert client.told() == [("live", "600000.SH", seq) for seq in (1, 2, 3)]


def test_without_a_store_nothing_is_written_and_nothing_else_changes() -> None:
    opened = Opened(History(ring_rows=10, ring_bytes=1 << 22), "0123456789abcdef")
    hub = hub_of(opened)
    stored: list[int] = []
    hub.on_stored = stored.append
    hub.begin_run("run-a")
    deliver(hub, tick("600000.SH", 1), batch=1)
    opened.store.roll(date(2026, 9, 2))
    assert opened.store is NO_STORE
    assert (hub.history.delivered_at, stored) == (1, [1])
    assert opened.reasons_degraded == []


def test_a_batch_of_one_run_is_never_told_as_stored_to_the_next(opened: Opened, hub: Hub) -> None:
    """Runs are numbered from 1 each: batches 1 to 5 of the new one would be taken for written."""
    stored: list[int | str] = []
    hub.on_stored = stored.append
    hub.begin_run("run-a")
    hub.publish("tick", [tick("600000.SH", 1)], 17, 5)
    hub.deliver()  # and what is left to do waits
    hub.begin_run("run-b")
    stored.append("run-b")
    hub.publish("tick", [tick("600000.SH", 2)], 17, 1)
    hub.deliver()
    hub.publish("tick", [tick("600000.SH", 3)], 17, 2)
    hub.settle()
    assert stored == [5, "run-b", 1]
