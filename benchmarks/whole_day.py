"""A journal that holds a whole trading day: 26.4 million ticks of 5,500 instruments, written without a hub to wait for.

A hub begins it with the first batch, so that it is the journal of that hub's feeder; the rest is appended as the hub
would have done it.
"""

from array import array
from datetime import date
from itertools import count
from pathlib import Path
from typing import Final

from benchmarks.processes import running_hub
from benchmarks.raw_feeder import CODES, TOPICS, RawFeeder, encoded, ticks
from hub.journal import JournalSettings, Stretch, open_journal
from hub.journal.columns import Runs, large, small
from hub.journal.parts import find
from hub.journal.recovery import recover
from hub.topic import Topic
from hub.wire import pack

RUN: Final = "0123456789abcdef"


def make_day(folder: Path, batches: int) -> int:
    """Write so many batches of run ``RUN``, numbered from 1. Returns the bytes on disk."""
    with running_hub("--data", str(folder)) as hub, RawFeeder(hub.port, run=RUN) as feeder:
        feeder.send(encoded(1))
        feeder.settle()
    folder /= "journal"
    (part,) = find(folder)
    topics: dict[tuple[str, str], Topic] = {}
    journal, restored = open_journal(
        folder,
        source=recover(folder, part.name).state.source,
        run=None,
        day=date.fromisoformat(part.name.day),
        settings=JournalSettings(),
        on_drop=_ignore,
        on_note=_ignore,
    )
    if (restored.new_epoch, restored.batch) != ("", 1):
        raise SystemExit(f"the journal does not go on after batch {restored.batch}: {restored.new_epoch}")
    journal.attach(lambda channel, code: topics.setdefault((channel, code), Topic(channel, code)), int, _nothing)
    for was in restored.topics:
        topics[was.channel, was.code].restore(was.seq, was.at, was.newest, was.time_ms, was.newest_time_ms)
    spoken = [topics["tick", code] for code in CODES]
    at = restored.at
    for number in range(2, batches + 1):
        rows = ticks(number)
        recv_us = 1000 * rows[0][1]
        seqs, times = array("q", [number]) * TOPICS, array("q", [rows[0][1]]) * TOPICS
        packed = [pack((code, number, time_ms, recv_us, *values)) for code, time_ms, *values in rows]
        for row_at, topic, row in zip(count(at + 1), spoken, packed, strict=False):  # as history does
            topic.at, topic.seq, topic.newest = row_at, number, row
            topic.time_ms = topic.newest_time_ms = rows[0][1]
        journal.append(
            [Stretch(at + 1, Runs(small((0,)), large((recv_us,)), large((number,))), spoken, seqs, times, packed)]
        )
        journal.settle()
        at += TOPICS
    written = journal.bytes
    journal.close()
    return written


def _nothing() -> None:
    """Topics know at any time where their rows are."""


def _ignore(_: object) -> None:
    """Nothing is dropped or damaged here."""
