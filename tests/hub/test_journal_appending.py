"""The two ways to append, and what the journal knows of topics whose rows go on before they are appended."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from hub.history import History
from hub.journal import JournalSettings
from hub.journal.encoder import Encoder
from hub.journal.single import encode_single
from hub.journal.standing import Standing
from hub.topic import Topic
from tests.hub.support.core import tick
from tests.hub.test_journal_model import Model, kill, open_for, single_of, small_files

SETTINGS = JournalSettings(fsync_s=1000.0)


@pytest.mark.parametrize(("time_ms", "batch", "size"), [(1_772_415_000_000, 7, 300), (0, 0, 0), (2**62, 2**40, 70_000)])
def test_a_single_row_is_written_as_among_others_byte_for_byte(time_ms: int, batch: int, size: int) -> None:
    model = Model()
    stretch = model.stretch("tick", [("600000.SH", time_ms)], batch, size)
    stretch.topics[0].number = 70_000
    single = single_of(stretch)
    assert single is not None
    _, data = Encoder().encode([stretch], stretch.first_at - 1, 70_001)
    assert encode_single(single) == bytes(data)


def test_a_single_row_that_does_not_follow_is_refused(tmp_path: Path) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    model.append(journal, model.stretch("tick", [("1.SZ", 1)]))
    single = single_of(model.stretch("tick", [("1.SZ", 2)]))
    assert single is not None
    with pytest.raises(ValueError, match="row 3 does not follow row 1"):
        journal.append_single(single._replace(at=3))
    assert journal.at == 1
    kill(journal)


def test_rows_are_found_up_to_the_newest_that_is_appended(tmp_path: Path) -> None:
    model = Model()
    journal, _ = open_for(tmp_path, model, SETTINGS)
    model.append(journal, model.stretch("tick", [("1.SZ", 10), ("2.SZ", 10), ("1.SZ", 20)]))
    ahead = model.stretch("tick", [("1.SZ", 30), ("2.SZ", 30)])
    model.commit()  # numbered, and known to the topics
    one, two = model.topic("tick", "1.SZ"), model.topic("tick", "2.SZ")
    assert journal.at_of_many({one: 2, two: 2}) == {one: 3}
    assert journal.not_after({one: 3}) is None
    assert journal.first_since_many([one, two], 20) == {one: (2, 3)}
    assert journal.first_after_many([one, two], 2) == {one: 2, two: 2}
    journal.append([ahead])
    assert journal.at_of_many({one: 3, two: 2}) == {one: 4, two: 5}
    assert journal.first_since_many([one, two], 21) == {one: (3, 4), two: (2, 5)}
    kill(journal)


def test_a_mark_is_of_what_is_appended_and_a_new_file_waits_for_the_rest(tmp_path: Path) -> None:
    model = Model()
    with small_files():
        journal, _ = open_for(tmp_path, model, SETTINGS)
        for time_ms in range(20):
            stretch = model.stretch("tick", [("1.SZ", time_ms), ("2.SZ", 5)])
            journal.append([stretch])
            model.commit()
            ahead = model.stretch("tick", [("1.SZ", 100)])
            model.commit()
            journal.settle()
            with pytest.raises(ValueError, match="append it first"):
                journal.roll(date(2026, 3, 3))
            journal.append([ahead])
        kill(journal)
        journal, restored = open_for(tmp_path, model, SETTINGS)
    assert [(topic.seq, topic.at) for topic in restored.topics] == [(40, 60), (20, 59)]
    one, two = model.topics
    assert journal.at_of_many({one: 9, two: 7}) == {one: 13, two: 20}
    kill(journal)


def test_what_is_written_is_told_of_topics_that_have_gone_on_since() -> None:
    asked: list[Callable[[Standing], int]] = [
        lambda standing: standing.seq(0),
        lambda standing: standing.newest_time_ms(0),
        lambda standing: standing.tally().seqs[0],
        lambda standing: standing.tally().newest_times[0],
    ]
    found = []
    for ask in asked:
        history = History(ring_rows=10, ring_bytes=1 << 30)
        history.append("tick", [tick("1.SZ", 10), tick("2.SZ", 20), tick("1.SZ", 30)], 7)
        standing = Standing(2, list(history.topics))  # the last row is not written yet
        standing.index = history.index
        found.append(ask(standing))
    assert found == [1, 10, 1, 10]


def test_a_topic_tells_how_it_was_after_a_row_also_of_rows_that_memory_let_go() -> None:
    topic = Topic("tick", "1.SZ")
    assert topic.as_of(5) == (0, 0, -1)
    topic.restore(seq=7, at=20, newest=b"", time_ms=90, newest_time_ms=100)
    assert topic.as_of(20) == (7, 20, 100)
    for at, time_ms in ((30, 95), (40, 110), (50, 120)):
        topic.seq, topic.at, topic.newest_time_ms = topic.seq + 1, at, max(topic.newest_time_ms, time_ms)
        topic.ats.append(at)
        topic.newest_times.append(topic.newest_time_ms)
    assert [topic.as_of(at) for at in (29, 30, 45, 50, 99)] == [
        (7, 20, 100),
        (8, 30, 100),
        (9, 40, 110),
        (10, 50, 120),
        (10, 50, 120),
    ]
    topic.drop(2)
    assert topic.as_of(45) == (9, 40, 110)
    standing = Standing(45, [topic])
    assert (standing.seq(0), standing.newest_time_ms(0), standing.is_newest()) == (9, 110, False)
    assert standing.tally().newest == [b""]
