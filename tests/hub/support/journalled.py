"""A hub with a real journal whose files are tiny, for tests of what memory has let go and the disk still holds."""

from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgpack

from hub.core import Hub, SourceInfo
from hub.cursor import Cursor
from hub.history import History
from hub.journal import Journal, JournalSettings
from hub.opening import with_journal
from hub.topic import Topic
from tests.hub.support.core import publish
from tests.hub.test_journal_model import DAY, kill, small_files

AMPLE_BYTES = 1 << 30
NO_BEGINS: Mapping[Topic, int] = {}
WHOLE = JournalSettings(fsync_s=1000.0, keep_days=10_000)
PAGE_ROWS = 4


class Journalled:
    """A hub and its journal; the time of a row is its arrival number. ``page_rows`` rows are read from disk at once."""

    history: History
    hub: Hub
    journal: Journal

    def __init__(self, folder: Path, settings: JournalSettings = WHOLE, **ring: int) -> None:
        self.folder = folder
        self.day = DAY
        self._settings = settings
        self._ring = {"ring_rows": 1000, "ring_bytes": AMPLE_BYTES} | ring
        self.begin()

    def begin(self) -> None:
        """Start with what the folder holds."""
        history = History(**self._ring)
        opened = with_journal(
            history, self.folder, self._settings, source="test", run=None, day=self.day, on_append=_ignore
        )
        assert opened.journal is not None
        self.history, self.store, self.journal = history, opened.journal, opened.journal.journal
        self.hub = Hub(
            epoch=opened.epoch,
            source=SourceInfo("test", simulated=True),
            channels={"tick", "1m"},
            history=history,
            universes={"two": ["600001.SH", "688*.SH"]},
            on_wants=_ignore,
            on_refused=_ignore,
            day_start_ms=lambda: 0,
            store=opened.store,
        )

    def speak(self, *codes: str) -> None:
        """Publish a row for each code, in a turn of its own."""
        for code in codes:
            publish(self.hub, code, time_ms=self.history.at + 1)
            self.hub.flush()

    def announce(self, topic: str, from_ms: int | None = None, to_ms: int | None = None) -> None:
        """Announce a gap of the source in a turn of its own."""
        self.hub.announce(topic, from_ms, to_ms)
        self.hub.flush()

    def topic(self, code: str) -> Topic:
        return self.history.channels["tick"][code]

    def topics(self, *codes: str) -> set[Topic]:
        return {self.topic(code) for code in codes}

    def next_day(self, days: int = 1) -> None:
        """Go on in the file of another day; what has expired goes."""
        self.day += timedelta(days=days)
        self.store.roll(self.day)

    def fail(self) -> None:
        """From now on the disk takes nothing."""
        self.journal._writer.write = _refuse  # type: ignore[method-assign]

    def restart(self, **ring: int) -> None:
        """Kill the hub and begin again with what the disk holds."""
        kill(self.journal)
        self._ring |= ring
        self.begin()

    def close(self) -> None:
        kill(self.journal)


@contextmanager
def journalled(
    folder: Path, settings: JournalSettings = WHOLE, *, page_rows: int = PAGE_ROWS, **ring: int
) -> Iterator[Journalled]:
    """A hub with a journal, closed at the end."""
    with small_files(page_rows=page_rows, block_rows=1000, block_records=1000):
        hub = Journalled(folder, settings, **ring)
        try:
            yield hub
        finally:
            hub.close()


Story = list[tuple[Any, ...]]
"""What a reader gets, in short: ("lost", code, first, last), (code, seq) and ("gap", topic)."""


def read_step(
    cursor: Cursor, topics: Set[Topic], up_to: int, begins: Mapping[Topic, int] = NO_BEGINS, most: int = 100
) -> Story:
    """One step of a cursor, in the order in which a client is told of it."""
    runs = cursor.read(up_to, topics, begins, most)
    notices = cursor.take_notices()
    losses = cursor.take_losses(at_end=cursor.at >= up_to)
    story: Story = [("lost", loss.topic.code, loss.first, loss.last) for loss in losses]
    story += [(row[0], row[1]) for run in runs for row in map(msgpack.unpackb, run.rows)]
    return story + [("gap", notice.topic) for notice in notices]


def read_all(
    cursor: Cursor, topics: Set[Topic], up_to: int, begins: Mapping[Topic, int] = NO_BEGINS, most: int = 100
) -> Story:
    """All steps of a cursor up to an arrival number."""
    story: Story = []
    for _ in range(1000):
        if cursor.at >= up_to:
            return story
        story += read_step(cursor, topics, up_to, begins, most)
    raise AssertionError("the cursor doesn't get on")


def _refuse(_: Any) -> None:
    raise OSError(28, "No space left on device")


def _ignore(_: object) -> None:
    """Where nobody listens."""
