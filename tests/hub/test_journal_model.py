"""The naive model that the journal is held against: a list of all rows. The journal's other tests use it from here.

It numbers rows as the hub does, hands them to the journal, and answers by going through the list what the journal
answers by its marks.
"""

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import NamedTuple

import msgpack
import pytest

from hub.journal import Entry, Journal, JournalSettings, Restored, RunBegins, Single, Stretch, open_journal
from hub.journal.columns import Runs, large, small
from hub.past import GapNotice
from hub.topic import Topic

BOOT = "11111111-2222-3333-4444-555555555555"
DAY = date(2026, 3, 2)
MANY = 1 << 40


class ModelRow(NamedTuple):
    topic: Topic
    seq: int
    time_ms: int
    recv_us: int
    row: bytes


class Model:
    """Every row that was ever appended, in a list: that with arrival number 1 first."""

    def __init__(self) -> None:
        self.rows: list[ModelRow] = []
        self.gaps: list[GapNotice] = []
        self.run, self.batch = "", 0
        self.late_at = 0
        self._topics: dict[tuple[str, str], Topic] = {}
        self._by_topic: dict[Topic, list[tuple[int, ModelRow]]] = {}
        self._offered: list[ModelRow | GapNotice | RunBegins | int] = []

    @property
    def at(self) -> int:
        return len(self.rows)

    @property
    def topics(self) -> list[Topic]:
        """Those that have spoken, in the order in which they did."""
        return list(self._by_topic)

    def topic(self, channel: str, code: str) -> Topic:
        return self._topics.setdefault((channel, code), Topic(channel, code))

    def of(self, topic: Topic) -> list[tuple[int, ModelRow]]:
        """A topic's rows, with their arrival numbers."""
        return self._by_topic.get(topic, [])

    def stretch(self, channel: str, rows: Sequence[tuple[str, int]], batch: int = 0, size: int = 10) -> Stretch:
        """Number rows (code, time) that arrive together; they count once `commit` is called."""
        offered = [row for row in self._offered if isinstance(row, ModelRow)]
        seqs = {row.topic: row.seq for row in offered}
        first_at = self.at + len(offered) + 1
        recv_us = 1_700_000_000_000_000 + first_at
        for code, time_ms in rows:
            topic = self.topic(channel, code)
            seq = seqs[topic] = seqs.get(topic, len(self.of(topic))) + 1
            row = msgpack.packb([code, seq, time_ms, recv_us, "x" * size])
            self._offered.append(ModelRow(topic, seq, time_ms, recv_us, row))
        made = self._offered[len(self._offered) - len(rows) :]
        new = [row for row in made if isinstance(row, ModelRow)]
        self._offered.append(batch)
        return Stretch(
            first_at,
            runs_of(recv_us, batch),
            [row.topic for row in new],
            array("q", [row.seq for row in new]),
            array("q", [row.time_ms for row in new]),
            [row.row for row in new],
        )

    def gap(self, topic: str = "tick:*") -> GapNotice:
        """A gap notice after everything that was offered."""
        at = self.at + sum(isinstance(row, ModelRow) for row in self._offered)
        notice = GapNotice(at, topic, 5 * at, None)
        self._offered.append(notice)
        return notice

    def begin_run(self, run: str) -> RunBegins:
        self._offered.append(RunBegins(run))
        return RunBegins(run)

    def commit(self) -> None:
        """What was offered is in the journal."""
        for entry in self._offered:
            if isinstance(entry, ModelRow):
                self.rows.append(entry)
                self._by_topic.setdefault(entry.topic, []).append((self.at, entry))
                self._keep(entry)
            elif isinstance(entry, GapNotice):
                self.gaps.append(entry)
            elif isinstance(entry, RunBegins):
                self.run, self.batch = entry.run, 0
            else:
                self.batch = entry or self.batch
        self._offered.clear()

    def _keep(self, row: ModelRow) -> None:
        """The topic knows of its row, as history sees to it."""
        topic = row.topic
        topic.at, topic.seq, topic.newest, topic.time_ms = self.at, row.seq, row.row, row.time_ms
        if row.time_ms < topic.newest_time_ms:
            self.late_at = self.at
        topic.newest_time_ms = max(row.time_ms, topic.newest_time_ms)
        topic.ats.append(self.at)
        topic.newest_times.append(topic.newest_time_ms)

    def index(self) -> None:
        """The topics know at any time where their rows are."""

    def forget_offered(self) -> None:
        """What was offered is not in the journal."""
        self._offered.clear()

    def append(self, journal: Journal, *entries: Entry) -> None:
        """Append what was offered, in the way that the hub would, deliver it, and settle."""
        single = single_of(*entries)
        if single is not None:
            journal.append_single(single)
        else:
            journal.append(entries)
        self.commit()
        journal.settle()

    def first_since(self, topic: Topic, time_ms: int, first_at: int) -> tuple[int, int] | None:
        mine = self.of(topic)
        reached = next((at for at, row in mine if row.time_ms >= time_ms), None)
        if reached is None:
            return None
        return next(((row.seq, at) for at, row in mine if at >= max(reached, first_at)), None)

    def first_after(self, topic: Topic, after_at: int, first_at: int) -> int:
        mine = self.of(topic)
        return next((row.seq for at, row in mine if at > after_at and at >= first_at), mine[-1][1].seq + 1)


def runs_of(recv_us: int, batch: int) -> Runs:
    """One batch that all rows came in."""
    return Runs(small((0,)), large((recv_us,)), large((batch,)))


def single_of(*entries: Entry) -> Single | None:
    """What was offered, if it is one row of a topic that has a number."""
    match entries:
        case [Stretch(at, runs, [topic], [seq], [time_ms], [row])] if topic.number >= 0:
            return Single(at, topic, seq, time_ms, runs.recvs[0], runs.batches[0], row)
    return None


def open_for(
    folder: Path,
    model: Model,
    settings: JournalSettings | None = None,
    *,
    source: str = "simulator",
    run: str | None = None,
    day: date = DAY,
    boot: str = BOOT,
    dropped: list[int] | None = None,
    notes: list[str] | None = None,
) -> tuple[Journal, Restored]:
    """Open a journal whose topics are the model's."""
    journal, restored = open_journal(
        folder,
        source=source,
        run=run,
        day=day,
        settings=settings or JournalSettings(),
        on_drop=(dropped if dropped is not None else []).append,
        on_note=(notes if notes is not None else []).append,
        boot=boot,
    )
    journal.attach(model.topic, lambda: model.late_at, model.index)
    return journal, restored


def kill(journal: Journal) -> None:
    """End a journal as a killed process ends it: what is open is closed, and nothing more is written."""
    journal._keeper.watch(None)
    journal._keeper.stop()
    journal._archive.close()
    journal._writer.close()
    journal._proof.close()
    journal._lock.release()


def read_back(journal: Journal) -> list[tuple[int, ModelRow]]:
    """All rows that are held, through segments, with their arrival numbers."""
    found = []
    at = journal.first_at
    while at <= journal.at:
        segment = journal.load(at)
        if segment is None:  # damaged: less is held now
            assert journal.first_at > at
            found.clear()
            at = journal.first_at
            continue
        assert segment.first_at <= at < segment.end_at
        assert [run.channel for run in segment.take(range(len(segment.rows)))] == _channels(segment.topics)
        for place in range(at - segment.first_at, len(segment.rows)):
            row = segment.rows[place]
            assert row is not None
            topic, seq, time_ms = segment.topics[place], segment.seqs[place], segment.times[place]
            found.append((segment.first_at + place, ModelRow(topic, seq, time_ms, segment.recv_us(place), row)))
        at = segment.end_at
    return found


def _channels(topics: Sequence[Topic]) -> list[str]:
    channels = [topic.channel for topic in topics]
    return [channel for i, channel in enumerate(channels) if i == 0 or channels[i - 1] != channel]


def check(journal: Journal, model: Model) -> None:
    """What the journal holds is what was appended: to the end, and from where it says on."""
    assert journal.at == model.at
    assert read_back(journal) == list(enumerate(model.rows, 1))[journal.first_at - 1 :]
    held = [notice for notice in model.gaps if notice.after_at >= journal.first_at - 1]
    assert journal.gaps_between(0, journal.at + 1) == held


def check_restored(restored: Restored, model: Model) -> None:
    """What is restored is the newest of every topic."""
    assert restored.new_epoch == ""
    assert restored.at == model.at
    assert (restored.run, restored.batch) == (model.run, model.batch)
    assert [(topic.channel, topic.code) for topic in restored.topics] == [(t.channel, t.code) for t in model.topics]
    for topic, mine in zip(restored.topics, map(model.of, model.topics), strict=True):
        at, newest = mine[-1]
        assert (topic.at, topic.seq, topic.newest, topic.time_ms) == (at, newest.seq, newest.row, newest.time_ms)
        assert topic.newest_time_ms == max(row.time_ms for _, row in mine)
    histories = [model.of(topic) for topic in model.topics]
    late = [
        at
        for rows in histories
        for i, (at, row) in enumerate(rows)
        if any(row.time_ms < r.time_ms for _, r in rows[:i])
    ]
    assert restored.late_at == max(late, default=0)


@contextmanager
def small_files(page_rows: int = 4, block_rows: int = 8, block_records: int = 6) -> Iterator[None]:
    """Pages and blocks so small that few rows fill many of them, and a disk that is taken at its word."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hub.journal.marks.PAGE_ROWS", page_rows)
        patch.setattr("hub.journal.encoder.PAGE_ROWS", page_rows)
        patch.setattr("hub.journal.marks.BLOCK_ROWS", block_rows)
        patch.setattr("hub.journal.marks.BLOCK_ROWS_PER_TOPIC", 0)
        patch.setattr("hub.journal.marks.BLOCK_RECORDS", block_records)
        patch.setattr("hub.journal.disk.make_durable", lambda file: None)
        patch.setattr("hub.journal.disk.make_folder_durable", lambda folder: None)
        yield


def test_the_model_numbers_rows_by_topic_and_finds_them_by_time() -> None:
    model = Model()
    first = model.stretch("tick", [("1.SZ", 30), ("2.SZ", 10), ("1.SZ", 20)])
    second = model.stretch("1m", [("1.SZ", 50)])
    assert (first.first_at, list(first.seqs), second.first_at, list(second.seqs)) == (1, [1, 1, 2], 4, [1])
    assert model.at == 0
    model.commit()
    tick = model.topic("tick", "1.SZ")
    assert [(at, row.seq) for at, row in model.of(tick)] == [(1, 1), (3, 2)]
    assert model.first_since(tick, 20, 1) == (1, 1)
    assert model.first_since(tick, 20, 2) == (2, 3)  # the first is gone: what is left from there on
    assert model.first_since(tick, 31, 1) is None
    assert [model.first_after(tick, at, 1) for at in (0, 1, 3)] == [1, 2, 3]
