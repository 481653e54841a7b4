"""Gaps of the source that memory has let go: found in the journal, and told to whoever lagged in any case."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest

import hub.history
import hub.jobs
import hub.outbox
import hub.replay
from hub.journal import JournalSettings
from tests.hub.support.core import Client, make_hub
from tests.hub.support.journalled import WHOLE, Journalled, journalled
from tests.hub.support.notices import Story, announce, ask, gap, live, make_client, replay, speak

A, B, C = "600000.SH", "600001.SH", "000001.SZ"


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 4)
    for module in hub.jobs, hub.outbox, hub.replay:
        monkeypatch.setattr(module, "ROWS_PER_STEP", 3)


# What memory has let go


def fill(j: Journalled) -> None:
    """Rows at the times 1 to 20, and gaps after the second, the fourth and the last."""
    j.speak(A, B)
    j.announce("tick:*", 2, 3)
    j.speak(A, B)
    j.announce(f"tick:{B}", 4, 5)
    j.speak(*[A] * 16)
    j.announce("tick:*.SH", 20, None)


ALL_OF_IT: Story = [
    *replay(A, 1),
    *replay(B, 1),
    gap(),
    *replay(A, 2),
    *replay(B, 2),
    gap(f"tick:{B}"),
    *replay(A, *range(3, 19)),
    gap("tick:*.SH"),
]


@pytest.mark.parametrize("ring", [{"ring_bytes": 1}, {"ring_rows": 1}], ids=["by segment", "by share"])
@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
def test_gaps_that_left_memory_are_found_in_the_journal(tmp_path: Path, ring: dict[str, int], restarted: bool) -> None:
    with journalled(tmp_path, **ring) as j:
        fill(j)
        if restarted:
            j.restart()
        epoch = j.hub.epoch
        assert ask(Client(j.hub), "subscribe", "tick:*", since={"time": 0}) == ALL_OF_IT
        assert ask(Client(j.hub), "replay", "tick:*") == ALL_OF_IT
        for at in range(20):
            place = [what for what in ALL_OF_IT if what[0] != "gap"][at]
            position = {"epoch": epoch, "at": at, "seq": {}}
            expected = ALL_OF_IT[ALL_OF_IT.index(place) :]
            if at in (2, 4):  # the client can't say whether it was told
                expected = ALL_OF_IT[ALL_OF_IT.index(place) - 1 :]
            assert ask(Client(j.hub), "subscribe", "tick:*", since=position) == expected


def test_a_gap_after_the_newest_row_outlives_a_restart_and_comes_before_the_next_row(tmp_path: Path) -> None:
    with journalled(tmp_path) as j:
        j.speak(A)
        j.announce("tick:*", 1, 2)
        epoch = j.hub.epoch
        j.restart()
        assert j.hub.epoch == epoch
        assert [notice.topic for notice in j.history.notices(0, 1)] == ["tick:*"]
        late = Client(j.hub)
        late.ask("subscribe", topics=["tick:*"], since={"epoch": epoch, "at": 1, "seq": {f"tick:{A}": 1}})
        j.speak(A)
        late.pump()
        assert late.told() == [("subscribed",), gap(), *live(A, 2)]
        fresh = make_client(j.hub, "tick:*")
        j.speak(A)
        assert fresh.told() == live(A, 3)


def test_a_lagging_client_finds_gaps_in_the_journal_that_left_memory_meanwhile(tmp_path: Path) -> None:
    with journalled(tmp_path, ring_bytes=1) as j:
        j.speak(A, A)
        client = Client(j.hub)
        client.ask("subscribe", topics=["tick:*"], since={"time": 0})
        j.announce("tick:6*")
        j.speak(*[A] * 20)
        j.announce("tick:*")
        client.pump()
        story = [*replay(A, 1, 2), gap("tick:6*"), *live(A, *range(3, 23)), gap()]
        assert client.told() == [("subscribed",), *story]


def test_without_a_journal_who_comes_later_is_not_told_of_what_went_with_its_rows() -> None:
    hub = make_hub(ring_bytes=1)
    speak(hub, A, A)
    announce(hub, "tick:6*")
    speak(hub, *[A] * 12)
    announce(hub)
    story = ask(Client(hub), "subscribe", "tick:*", since={"time": 0})
    assert [what for what in story if what[0] == "gap"][1:] == [gap()]


def test_without_a_journal_a_lagging_client_is_told_between_what_it_lost() -> None:
    hub = make_hub(ring_bytes=1)
    speak(hub, A, A)
    client = Client(hub)
    client.ask("subscribe", topics=["tick:*"], since={"time": 0})
    announce(hub, "tick:6*")
    speak(hub, *[A] * 8)
    announce(hub)
    speak(hub, *[A] * 8)
    client.pump()
    first = hub.history.first_seq(hub.history.channels["tick"][A])
    assert [what for what in client.told() if what[0] != "live"] == [
        ("subscribed",),
        ("gap", f"tick:{A}", 1, 2),
        gap("tick:6*"),
        ("gap", f"tick:{A}", 3, 10),
        gap(),
        ("gap", f"tick:{A}", 11, first - 1),
    ]


def test_who_loses_rows_with_files_that_expire_is_told_of_the_gaps_among_them_once(tmp_path: Path) -> None:
    with journalled(tmp_path, JournalSettings(fsync_s=1000.0, keep_days=1), ring_bytes=1) as j:
        j.speak(A, A)
        client = Client(j.hub)
        client.ask("subscribe", topics=["tick:*"], since={"time": 0})
        j.announce("tick:6*")
        j.speak(*[A] * 6)
        j.announce("tick:*")
        j.speak(*[A] * 8)
        j.next_day()
        j.speak(A)
        client.pump()
        story = client.told()
        first = next(what[2] for what in story if what[0] == "live")
        assert [what for what in story if what[0] == "gap" and what[2] is None] == [gap("tick:6*"), gap()]
        lost = [seq for what in story if what[0] == "gap" and what[2] for seq in range(what[2], what[3] + 1)]
        assert set(lost) == set(range(1, first))
        assert story.index(gap()) < story.index(("live", A, first))
        assert [what for what in story if what[0] == "live"] == live(A, *range(first, 18))


@pytest.mark.parametrize("rows", [1, 3, 12, 30])
def test_when_the_journal_fails_gaps_go_on_being_told(tmp_path: Path, rows: int) -> None:
    with journalled(tmp_path, WHOLE, ring_bytes=1) as j:
        j.speak(A, A)
        j.announce("tick:60*")
        j.speak(*[A] * 6)
        live_one = make_client(j.hub, "tick:*")
        lagging = Client(j.hub)
        lagging.ask("subscribe", topics=["tick:*"], since={"time": 0})
        j.fail()
        j.announce("tick:6*")
        j.speak(*[A] * rows)
        j.announce("tick:*")
        assert [what for what in live_one.told() if what[0] == "gap"] == [gap("tick:6*"), gap()]
        lagging.pump()
        story = [what for what in lagging.told() if what[0] == "gap" and what[2] is None]
        assert story == [gap("tick:60*"), gap("tick:6*"), gap()]


# From day to day


@pytest.mark.parametrize("op", ["subscribe", "replay"])
@pytest.mark.parametrize(
    ("from_ms", "gaps"),
    [(0, [gap("tick:60*"), gap(), gap("tick:6*")]), (3, [gap(), gap("tick:6*")]), (5, [gap("tick:6*")])],
)
def test_a_gap_before_the_first_row_is_told_on_a_later_trading_day_too(
    tmp_path: Path, op: str, from_ms: int, gaps: Story
) -> None:
    with journalled(tmp_path) as j:
        j.speak(B, B)
        j.announce("tick:60*", 1, 2)
        j.announce("tick:*", 2, 4)
        j.speak(B, B)
        j.announce("tick:6*", 4, 5)
        j.next_day()
        j.speak(B, A)  # the first row of A is of this day
        j.next_day()
        j.speak(B)
        range_ = {"since": {"time": from_ms}} if op == "subscribe" else {"from": from_ms}
        assert ask(Client(j.hub), op, f"tick:{A}", **range_) == [*gaps, *replay(A, 1)]


def test_a_gap_of_a_trading_day_whose_rows_are_over_is_told(tmp_path: Path) -> None:
    with journalled(tmp_path) as j:
        j.speak(A)
        j.announce("tick:*", 1, 2)
        j.next_day()
        j.speak(B)
        j.next_day()
        j.speak(B)
        assert ask(Client(j.hub), "subscribe", f"tick:{A}", since={"time": 2}) == [gap()]
        assert ask(Client(j.hub), "replay", f"tick:{A}", **{"from": 2}) == [gap()]


def test_a_gap_of_unknown_end_belongs_to_its_trading_day(tmp_path: Path) -> None:
    with journalled(tmp_path) as j:
        j.speak(A)
        j.announce("tick:60*")
        j.speak(B)  # what comes after the last row of a day belongs to both
        j.next_day()
        j.announce("tick:6*")
        j.next_day()
        j.announce("tick:*")
        j.speak(A)
        morning_ms = int(datetime.combine(j.day - timedelta(days=1), time(1), UTC).timestamp() * 1000)
        assert ask(Client(j.hub), "subscribe", f"tick:{A}", since={"time": morning_ms}) == [gap("tick:6*"), gap()]
        assert ask(Client(j.hub), "replay", f"tick:{A}", **{"from": morning_ms}) == [gap("tick:6*"), gap()]


@pytest.mark.parametrize("ring", [{}, {"ring_bytes": 1}, {"ring_rows": 1}], ids=["in memory", "by segment", "by share"])
@pytest.mark.parametrize("restarted", [False, True], ids=["", "restarted"])
def test_who_resumes_by_numbers_is_told_of_gaps_wherever_its_last_rows_are(
    tmp_path: Path, ring: dict[str, int], restarted: bool
) -> None:
    with journalled(tmp_path, **ring) as j:
        fill(j)
        j.next_day()
        j.speak(C, C)
        if restarted:
            j.restart()
        for seq in range(19):
            story = [what for what in ALL_OF_IT if what[1] != B and what != gap(f"tick:{B}")]
            since = {"epoch": j.hub.epoch, "seq": {f"tick:{A}": seq}}
            told = ask(Client(j.hub), "subscribe", f"tick:{A}", since=since)
            begin = 0 if seq == 0 else story.index(("replay", A, seq)) + 1
            assert told == story[begin:]
        since = {"epoch": j.hub.epoch, "seq": {f"tick:{B}": 1}}
        story = [gap(), *replay(B, 2), gap(f"tick:{B}"), gap("tick:*.SH")]
        assert ask(Client(j.hub), "subscribe", f"tick:{B}", since=since) == story
