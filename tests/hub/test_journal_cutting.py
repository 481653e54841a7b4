"""The end of a journal is cut off where another process went on otherwise; a journal of another's history begins."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hub.history import History
from hub.journal import Adopted, JournalInUseError, JournalSettings, cut_journal, open_journal
from hub.past import GapNotice, RestoredTopic
from hub.topic import Topic
from tests.hub.support.core import publish
from tests.hub.support.journalled import Journalled
from tests.hub.test_journal_model import BOOT, DAY, kill, small_files

CODES = [f"{600000 + number}.SH" for number in range(5)]
Place = tuple[int, int]


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_files():
        yield


def story_of(history: History) -> list[tuple[str, int, bytes | None] | GapNotice]:
    """All rows and notices that can be read back, in order."""
    assert history.past is not None
    story: list[tuple[str, int, bytes | None] | GapNotice] = list(history.notices(0, 0))
    at = 0
    while at < history.at:
        segment = history.past.load(at + 1)
        assert segment is not None
        for place in range(at + 1 - segment.first_at, len(segment.rows)):
            at += 1
            story.append((segment.topics[place].name, segment.seqs[place], segment.rows[place]))
            story += history.notices(at, at)
    return story


def end_of(history: History) -> Place:
    return history.at, len(history.notices(history.at, history.at))


def write(hub: Journalled, chance: random.Random) -> None:
    """Write some turns, on several days."""
    for _ in range(60):
        match chance.randrange(6):
            case 0:
                hub.announce("tick:*", None, hub.history.at)
            case 1 if chance.random() < 0.3:
                hub.next_day()
            case _:
                hub.speak(*chance.sample(CODES, chance.randint(1, 5)))


@contextmanager
def journalled(folder: Path) -> Iterator[Journalled]:
    """A hub with a journal, for the length of a block."""
    hub = Journalled(folder)
    try:
        yield hub
    finally:
        kill(hub.journal)


@pytest.mark.parametrize("seed", range(25))
def test_what_is_cut_is_gone_and_all_before_it_is_there_as_it_was(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    with journalled(tmp_path) as hub:
        write(hub, chance)
        story, epoch, last_at = story_of(hub.history), hub.hub.epoch, hub.history.at
        at = chance.randint(0, last_at)
        place = at, min(chance.randint(0, 2), len(hub.history.notices(at, at)))
        kill(hub.journal)
        assert cut_journal(tmp_path, place) == last_at - at
        hub.begin()
        assert hub.hub.epoch == epoch
        assert end_of(hub.history) == place  # each row is a turn of its own here, and so is each notice
        assert story_of(hub.history) == story[: len(story_of(hub.history))]
        hub.speak(CODES[0])  # and it goes on
        assert story_of(hub.history)[-1][:2] == (f"tick:{CODES[0]}", hub.topic(CODES[0]).seq)


def test_a_turn_is_kept_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    with journalled(tmp_path) as hub:
        hub.speak(*CODES)
        publish(hub.hub, *CODES)
        hub.hub.flush()
        kill(hub.journal)
        assert cut_journal(tmp_path, (8, 0)) == 5
        hub.begin()
        assert end_of(hub.history) == (5, 0)


def test_nothing_is_cut_where_nothing_is_behind_the_place(tmp_path: Path) -> None:
    with journalled(tmp_path) as hub:
        hub.speak(*CODES)
        story = story_of(hub.history)
        kill(hub.journal)
        assert cut_journal(tmp_path, (100, 0)) == 0
        hub.begin()
        assert story_of(hub.history) == story


def test_a_journal_that_is_open_or_none_is_not_cut(tmp_path: Path) -> None:
    with journalled(tmp_path / "open"), pytest.raises(JournalInUseError):
        cut_journal(tmp_path / "open", (1, 0))
    (tmp_path / "none").mkdir()
    assert cut_journal(tmp_path / "none", (1, 0)) is None


def test_a_journal_that_begins_in_the_midst_of_a_history_knows_all_topics_and_goes_on(tmp_path: Path) -> None:
    with journalled(tmp_path / "first") as first:
        first.speak(*CODES)
        first.announce("tick:*")
        topics = [
            RestoredTopic(one.channel, one.code, one.seq, one.at, one.newest, one.time_ms, one.newest_time_ms)
            for one in first.history.topics
        ]
        notices = list(first.history.notices(5, 5))
    known: dict[str, Topic] = {}
    folder = tmp_path / "second"
    for _ in range(2):  # as it begins, and after a restart
        journal, restored = open_journal(
            folder,
            source="test",
            run=None,
            day=DAY,
            settings=JournalSettings(fsync_s=1000.0),
            on_drop=lambda _: None,
            on_note=lambda _: None,
            boot=BOOT,
            adopted=Adopted(first.hub.epoch, 5, topics, notices, "run", 7),
        )
        journal.attach(lambda channel, code: known.setdefault(code, Topic(channel, code)), int, lambda: None)
        assert (restored.epoch, restored.at, restored.run, restored.batch) == (first.hub.epoch, 5, "run", 7)
        assert restored.topics == topics
        assert (journal.first_at, list(journal.gaps_between(5, 6))) == (6, notices)
        kill(journal)
