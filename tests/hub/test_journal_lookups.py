"""Rows found by number, by time and by place: what the marks answer is what going through all rows answers."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.journal import Journal, JournalSettings
from hub.journal.columns import FEW, places, small
from hub.topic import Topic
from tests.hub.test_journal_model import DAY, Model, check, kill, open_for, small_files

SETTINGS = JournalSettings(fsync_s=1000.0, keep_days=3)
MAX_TIME = 30
LONGEST_BLOCK = 8 + 12  # a block is ended by the first append that makes it 8 rows long


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_files():
        yield


BATCH = st.lists(st.tuples(st.integers(0, 11), st.integers(0, MAX_TIME)), min_size=1, max_size=12)
DAYS = st.lists(st.lists(BATCH, max_size=8), min_size=1, max_size=6)


@given(DAYS, st.booleans())
@settings(max_examples=80, deadline=None)
def test_every_answer_is_that_of_going_through_all_rows(
    days: list[list[list[tuple[int, int]]]], restarted: bool
) -> None:
    with TemporaryDirectory() as folder:
        model = Model()
        journal, _ = open_for(Path(folder), model, SETTINGS)
        for number, batches in enumerate(days):
            journal.roll(DAY + timedelta(days=number))
            for batch in batches:
                model.append(journal, model.stretch("tick", [(f"{code}.SZ", time_ms) for code, time_ms in batch]))
        if restarted:
            kill(journal)
            journal, _ = open_for(Path(folder), model, SETTINGS, day=DAY + timedelta(days=len(days) - 1))
        compare(journal, model)
        check(journal, model)
        kill(journal)


def compare(journal: Journal, model: Model) -> None:
    first_at, topics = journal.first_at, model.topics
    for time_ms in range(MAX_TIME + 2):
        answers = {topic: model.first_since(topic, time_ms, first_at) for topic in topics}
        assert journal.first_since_many(topics, time_ms) == {t: a for t, a in answers.items() if a is not None}
        assert [journal.first_since(topic, time_ms) for topic in topics] == list(answers.values())
    for at in range(model.at + 2):
        after = {topic: model.first_after(topic, at, first_at) for topic in topics}
        assert journal.first_after_many(topics, at) == after
        assert {topic: journal.first_after(topic, at) for topic in topics[:3]} == dict(list(after.items())[:3])
    for seq in range(max((len(model.of(topic)) for topic in topics), default=0) + 2):
        held = {topic: at for topic in topics for at, row in model.of(topic) if row.seq == seq and at >= first_at}
        assert journal.at_of_many(dict.fromkeys(topics, seq)) == held
        assert all(journal.at_of(topic, seq) == held.get(topic) for topic in topics)
        first = min(held.values(), default=None)
        not_after = journal.not_after(dict.fromkeys(topics, seq))
        assert (not_after is None) == (first is None)
        assert first is None or max(first_at, first - LONGEST_BLOCK) <= not_after <= first
    for topic in topics:
        mine = model.of(topic)
        assert journal.first_seq(topic) == sum(at < first_at for at, _ in mine) + 1
        assert journal.evicted_time_ms(topic) == max((row.time_ms for at, row in mine if at < first_at), default=-1)


def test_a_topic_that_never_spoke_has_no_rows(tmp_path: Path) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    model.append(journal, model.stretch("tick", [("1.SZ", 5)]))
    silent = Topic("tick", "2.SZ")
    assert journal.first_seq(silent) == 1
    assert journal.evicted_time_ms(silent) == -1
    assert journal.at_of(silent, 1) is None
    assert journal.first_since(silent, 0) is None
    assert journal.first_after(silent, 0) == 1
    known = model.topics[0]
    assert journal.first_since_many([silent, known], 0) == {known: (1, 1)}
    assert journal.first_after_many([silent, known], 0) == {known: 1}
    kill(journal)


def test_rows_are_found_as_soon_as_they_are_appended(tmp_path: Path) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    journal.append([model.stretch("tick", [("1.SZ", 5), ("2.SZ", 6)])])
    model.commit()
    assert journal.first_since(model.topics[1], 6) == (1, 2)
    compare(journal, model)
    journal.settle()
    compare(journal, model)
    kill(journal)


def test_many_topics_of_one_block_are_answered_by_reading_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    for number in range(30):
        model.append(journal, model.stretch("tick", [(f"{code}.SZ", number) for code in range(20)]))
    read = []
    part = journal._opened
    columns = type(part).columns
    monkeypatch.setattr(type(part), "columns", lambda self, block: read.append(block) or columns(self, block))
    assert len(journal.first_since_many(model.topics, 15)) == 20
    assert len(read) == len(set(read)) <= 2
    read.clear()
    assert len(journal.at_of_many(dict.fromkeys(model.topics, 16))) == 20
    assert len(read) == len(set(read)) <= 2
    kill(journal)


@given(st.lists(st.sampled_from([0, 1, 2, 255, 256, 257, 65536, 1 << 24, (1 << 32) - 1])), st.data())
def test_the_places_of_topics_are_found_however_their_numbers_look_as_bytes(
    numbers: list[int], data: st.DataObject
) -> None:
    wanted = data.draw(st.sets(st.sampled_from([*numbers, 0, 3]), min_size=1))
    assert list(places(small(numbers), wanted)) == [i for i, number in enumerate(numbers) if number in wanted]
    many = wanted | set(range(1000, 1001 + FEW))
    assert list(places(small(numbers), many)) == [i for i, number in enumerate(numbers) if number in wanted]
