"""Bugs that other hubs had, each as a test of the core.

Where another file has the test already, this is where to find it:

- a position's epoch stored without its offset: `test_a_position_that_is_an_epoch_and_nothing_else_is_not_guessed` and
  `test_an_epoch_and_its_numbers_are_restored_together_or_not_at_all`, both here;
- a resume with an empty epoch:
  `test_recovery.test_a_position_of_an_epoch_that_is_not_known_is_an_epoch_gap_and_a_snapshot`,
  `test_recovery.test_without_an_arrival_number_an_unknown_epoch_is_unrecovered_all_the_same`;
- rows delivered after unsubscribe: here for every way a row can be under way; and
  `test_session_subscribing.test_a_topic_dropped_in_the_midst_of_its_history_sends_nothing_after_the_reply`,
  `test_replay.test_no_row_of_a_replay_follows_the_reply_to_its_cancel`;
- subscribing while data sits in a batch buffer: here for every ``since``; and
  `test_session_subscribing.test_a_row_that_was_published_but_not_flushed_belongs_before_the_cut`;
- snapshot and stream racing: here; and `test_outbox.test_a_snapshot_is_as_of_its_moment_and_then_rows_come_live`;
- a replay reported as complete though it is not: here for everything that can go missing while it runs; and
  `test_replay.test_rows_that_were_let_go_are_a_gap_and_the_replay_is_not_complete`.
"""

from pathlib import Path
from typing import Any

import pytest

import hub.history
import hub.jobs
import hub.outbox
import hub.replay
from hub.journal import JournalSettings, abandon_journal
from tests.hub.support.core import EPOCH, Client, make_hub, publish
from tests.hub.support.journalled import WHOLE, Journalled, journalled
from tests.hub.support.notices import live, replay, speak

A, B = "600000.SH", "600001.SH"


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 4)
    for module in hub.jobs, hub.outbox, hub.replay:
        monkeypatch.setattr(module, "ROWS_PER_STEP", 3)


# Epoch and numbers belong together


@pytest.mark.parametrize("epoch", [EPOCH, "", "another"])
def test_a_position_that_is_an_epoch_and_nothing_else_is_not_guessed(epoch: str) -> None:
    hub = make_hub()
    speak(hub, A, A)
    client = Client(hub)
    client.ask("subscribe", topics=[f"tick:{A}"], since={"epoch": epoch})
    client.pump()
    gaps = [] if epoch == EPOCH else [("gap", f"tick:{A}", None, None)]
    assert client.told() == [("subscribed",), *gaps, ("snapshot", A, 2)]


@pytest.mark.parametrize("position", [{"at": 1}, {"seq": {f"tick:{A}": 1}}, {"at": 1, "seq": {}}, {}], ids=str)
def test_numbers_without_an_epoch_are_no_position(position: dict[str, Any]) -> None:
    hub = make_hub()
    speak(hub, A, A)
    client = Client(hub)
    client.ask("subscribe", topics=[f"tick:{A}"], since=position)
    client.pump()
    assert client.told() == [("error", "bad_message")]


@pytest.mark.parametrize("abandoned", [False, True])
def test_an_epoch_and_its_numbers_are_restored_together_or_not_at_all(tmp_path: Path, *, abandoned: bool) -> None:
    with journalled(tmp_path) as j:
        speak(j.hub, A, B, A)
        epoch = j.hub.epoch
        if abandoned:
            j.close()
            abandon_journal(tmp_path)
            j.begin()
        else:
            j.restart()
        numbers = {topic.code: topic.seq for topic in j.history.topics}
        assert (j.hub.epoch == epoch, j.history.at, numbers) == (
            (False, 0, {}) if abandoned else (True, 3, {A: 2, B: 1})
        )
        speak(j.hub, A)
        assert (j.topic(A).seq, j.topic(A).at) == ((1, 1) if abandoned else (3, 4))


# Rows after an unsubscribe


@pytest.mark.parametrize("under_way", ["published", "snapshot", "history", "lagging", "conflated", "waiting"])
def test_no_row_of_an_unsubscribed_topic_follows_the_reply_wherever_it_was(under_way: str) -> None:
    hub = make_hub()
    speak(hub, A, B, A)
    client = Client(hub)
    since: Any = {"time": 0} if under_way == "history" else None if under_way in ("snapshot", "lagging") else "none"
    mode = "latest" if under_way == "conflated" else "every"
    client.ask("subscribe", topics=[f"tick:{A}", f"tick:{B}"], since=since, mode=mode)
    if under_way == "waiting":
        client.outbox.writable = False
    publish(hub, A, B, A)
    if under_way != "published":
        hub.flush()
    client.ask("unsubscribe", topics=[f"tick:{A}"])
    publish(hub, A, B)
    hub.flush()
    client.outbox.writable = True
    client.pump()
    story = client.told()
    after = story[story.index(("unsubscribed",)) :]
    assert A not in [what[1] for what in after[1:]]
    assert after[-1] == ("live", B, 3)


# Subscribing while rows are published and not yet flushed


@pytest.mark.parametrize("later", [0, 1, 5])
@pytest.mark.parametrize("waiting", [0, 1, 5])
@pytest.mark.parametrize(
    "since",
    [
        None,
        "none",
        "open",
        {"time": 0},
        {"epoch": EPOCH, "at": 2, "seq": {}},
        {"epoch": EPOCH, "seq": {f"tick:{A}": 2}},
    ],
    ids=str,
)
def test_rows_that_wait_to_be_flushed_when_somebody_subscribes_come_once(since: Any, waiting: int, later: int) -> None:
    hub = make_hub()
    speak(hub, A, A)
    publish(hub, *[A] * waiting)
    client = Client(hub)
    client.ask("subscribe", topics=["tick:*"], since=since)
    publish(hub, *[A] * later)
    client.pump()
    hub.flush()
    client.pump()
    count = 2 + waiting
    before = {
        "None": [("snapshot", A, count)],
        "none": [],
        "open": replay(A, *range(1, count + 1)),
    }.get(str(since), replay(A, *range(3 if "epoch" in str(since) else 1, count + 1)))
    assert client.told() == [("subscribed",), *before, *live(A, *range(count + 1, count + 1 + later))]


# A snapshot and the rows that race it


@pytest.mark.parametrize("since", [None, "snapshot of its own"])
@pytest.mark.parametrize("pumps", range(4))
def test_rows_that_race_a_snapshot_come_after_it_once_and_never_older(pumps: int, since: str | None) -> None:
    hub = make_hub()
    speak(hub, *[A, B] * 2)
    client = Client(hub)
    if since is None:
        client.ask("subscribe", topics=["tick:*"])
    else:
        client.ask("subscribe", topics=["tick:*"], since="none")
        client.ask("snapshot", topics=["tick:*"])
    publish(hub, A)
    for _ in range(pumps):
        client.outbox.pump(hub.history.delivered_at, 0.0)
    publish(hub, B)
    hub.flush()
    client.pump()
    speak(hub, A)
    story = [what for what in client.told() if what[0] in ("snapshot", "live")]
    assert story == [("snapshot", A, 2), ("snapshot", B, 2), *live(A, 3), *live(B, 3), *live(A, 4)]


# A replay that is not complete says so


def expire(j: Journalled) -> None:
    j.next_day()
    speak(j.hub, *[A] * 8)


def damage(j: Journalled) -> None:
    path = min(j.folder.glob("*.rows"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def fail(j: Journalled) -> None:
    j.fail()
    speak(j.hub, *[A] * 8)


@pytest.mark.parametrize("go_missing", [expire, damage, fail], ids=lambda happen: happen.__name__)
@pytest.mark.parametrize("bounds", [{}, {"from": 2, "to": 99}, {"from": {"seq": 2}, "to": {"seq": 40}}], ids=str)
@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_replay_whose_rows_go_missing_tells_what_and_is_not_complete(
    tmp_path: Path, go_missing: Any, bounds: dict[str, Any], steps: int
) -> None:
    settings = JournalSettings(fsync_s=1000.0, keep_days=1) if go_missing is expire else WHOLE
    with journalled(tmp_path, settings, ring_bytes=1) as j:
        speak(j.hub, *[A] * 30)
        client = Client(j.hub)
        client.ask("replay", topics=[f"tick:{A}"], **bounds)
        for _ in range(steps):
            client.outbox.pump(j.history.delivered_at, 0.0)
        go_missing(j)
        client.pump()
        *story, done = client.messages()
        rows = [row["seq"] for message in story if message["type"] == "data" for row in message["rows"]]
        gaps = [(message["from"], message["to"]) for message in story if message["type"] == "gap"]
        assert (done["type"], done["complete"], done["count"]) == ("replay_done", False, len(rows))
        assert done["topics"] == ({f"tick:{A}": {"first": rows[0], "last": rows[-1]}} if rows else {})
        lost = [seq for first, last in gaps for seq in range(first, last + 1)]
        assert lost
        assert sorted(rows + lost) == list(range(2 if bounds else 1, 31))


def test_a_replay_of_which_nothing_goes_missing_is_complete_whatever_else_does(tmp_path: Path) -> None:
    with journalled(tmp_path, JournalSettings(fsync_s=1000.0, keep_days=1), ring_bytes=1) as j:
        speak(j.hub, *[B] * 12, *[A] * 3)
        client = Client(j.hub)
        client.ask("replay", topics=[f"tick:{A}"])
        j.next_day()
        assert j.history.first_seq(j.topic(B)) > 1
        client.pump()
        assert client.messages()[-1]["complete"] is True
