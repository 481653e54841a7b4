"""The start of a history: what the journal holds is gone on with, or a new one begins and the log says why.

Nothing that is wrong with the journal keeps the hub from serving live, except a second hub on the same folder.
"""

import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import msgspec

from hub.history import History
from hub.journal import JournalError, JournalInUseError, JournalSettings, abandon_journal, open_journal
from hub.schema import STATUS
from hub.store import NO_STORE, JournalStore, Store

_decode_head = msgspec.msgpack.Decoder(list[Any]).decode
_logger = logging.getLogger("argus.journal")


@dataclass(frozen=True, slots=True)
class Opened:
    """A history to go on with.

    Attributes:
        journal: what it is written to; None where it is kept in memory only.
        run, batch: the source's run, and the newest batch of it that the history has; empty and 0: there is none.
        failure: why there is no journal although one was asked for; empty otherwise.
    """

    history: History
    epoch: str
    journal: JournalStore | None = None
    run: str = ""
    batch: int = 0
    failure: str = ""

    @property
    def store(self) -> Store:
        """Where turns are written."""
        return self.journal if self.journal is not None else NO_STORE

    @property
    def is_kept(self) -> bool:
        """Whether every row is written before it is delivered."""
        return self.journal is not None and not self.journal.failure

    @property
    def reasons_degraded(self) -> list[str]:
        """What is wrong although live rows are served; empty when all is well."""
        failure = self.journal.failure if self.journal is not None else self.failure
        return [failure] if failure else []

    def newest(self) -> tuple[int, int] | None:
        """The newest exchange time of the source's rows (epoch ms), and when its last row was received (epoch µs)."""
        topics = [topic for topic in self.history.topics if topic.channel != STATUS]
        if not topics:
            return None
        _, _, _, recv_us = _decode_head(max(topics, key=lambda topic: topic.at).newest)[:4]
        return self.history.time_ms, recv_us

    def close(self) -> None:
        """Make everything durable, so that the next start can go on even after a restart of the machine."""
        if self.journal is not None:
            self.journal.close()

    @property
    def goes_on(self) -> bool:
        """Whether there were rows before."""
        return self.history.at > 0


def without_journal(history: History, folder: Path) -> Opened:
    """Keep a history in memory only. A journal that is there is told: it will miss numbers that are given out."""
    try:
        abandon_journal(folder)
    except JournalInUseError:
        pass  # another hub's, which knows nothing of these numbers
    except JournalError as error:
        _logger.error("%s", error)
    return Opened(history, secrets.token_hex(8))


def with_journal(
    history: History,
    folder: Path,
    settings: JournalSettings,
    *,
    source: str,
    run: str | None,
    day: date,
    on_append: Callable[[float], None],
) -> Opened:
    """Go on with what a folder holds, or begin there.

    Args:
        history: an empty one.
        source, run, day: as `hub.journal.open_journal` takes them.
        on_append: told how many seconds each write took.
    """
    try:
        journal, restored = open_journal(
            folder,
            source=source,
            run=run,
            day=day,
            settings=settings,
            on_drop=history.leave_past,
            on_note=_warn,
        )
    except JournalError as error:
        _logger.critical("%s: the hub goes on without it, and history will not outlive it", error)
        return Opened(history, secrets.token_hex(8), failure=str(error))
    for note in restored.notes:
        _warn(note)
    journal.attach(history.topic, lambda: history.late_at, history.index)
    history.restore(journal, restored.topics, restored.late_at)
    _logger.info(
        "journal %s: epoch %s, %d rows of %d topics up to now",
        folder,
        restored.epoch,
        restored.at,
        len(restored.topics),
    )
    return Opened(history, restored.epoch, JournalStore(journal, on_append), restored.run, restored.batch)


def _warn(note: str) -> None:
    _logger.warning("journal: %s", note)
