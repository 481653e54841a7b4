"""Hubs whose history is kept in a journal, opened as the program opens it."""

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any, Final

from hub.core import Hub, SourceInfo
from hub.history import History
from hub.journal import JournalSettings
from hub.opening import Opened, with_journal
from hub.schema import Row
from tests.hub import test_journal_model
from tests.hub.support.core import tick

DAY: Final = date(2026, 9, 1)
SETTINGS: Final = JournalSettings(fsync_s=1000.0)


def ignore(_: object) -> None:
    """Where nobody listens."""


def open_history(
    folder: Path, *, source: str = "test", run: str | None = None, on_append: Callable[[float], None] = ignore
) -> Opened:
    """Go on with what a folder holds, with an empty history of a thousand rows per topic."""
    history = History(ring_rows=1000, ring_bytes=1 << 24)
    return with_journal(history, folder, SETTINGS, source=source, run=run, day=DAY, on_append=on_append)


def hub_of(opened: Opened, on_wants: Callable[[Any], None] = ignore) -> Hub:
    """A hub that goes on with a history."""
    return Hub(
        epoch=opened.epoch,
        source=SourceInfo("test", simulated=True),
        channels={"tick", "1m"},
        history=opened.history,
        universes={},
        on_wants=on_wants,
        on_refused=ignore,
        day_start_ms=lambda: 0,
        store=opened.store,
    )


def deliver(hub: Hub, *rows: Row, batch: int = 0, channel: str = "tick") -> None:
    """Publish rows as one turn of the loop does."""
    hub.publish(channel, rows, 17, batch)
    hub.flush()


def deliver_times(hub: Hub, *times_ms: int, code: str = "600000.SH") -> None:
    """Publish ticks of one instrument with these times, each a turn of its own."""
    for time_ms in times_ms:
        deliver(hub, tick(code, time_ms))


def kill(opened: Opened) -> None:
    """Leave the files as a killed process leaves them."""
    assert opened.journal is not None
    test_journal_model.kill(opened.journal.journal)
