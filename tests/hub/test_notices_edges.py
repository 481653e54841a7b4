"""Gaps of the source at the edges of what was asked for: older than the wish, before its first row, after its last."""

import pytest

import hub.history
import hub.jobs
import hub.outbox
import hub.replay
from hub.core import Hub
from tests.hub.support.core import EPOCH, Client, make_hub
from tests.hub.support.notices import announce, ask, gap, replay, speak

A, B, C = "600000.SH", "600001.SH", "000001.SZ"


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.history, "SEGMENT_ROWS", 4)
    for module in hub.jobs, hub.outbox, hub.replay:
        monkeypatch.setattr(module, "ROWS_PER_STEP", 3)


def test_a_lagging_client_is_not_told_of_gaps_from_before_it_subscribed() -> None:
    hub = make_hub()
    speak(hub, A, B)
    client = Client(hub)
    client.ask("subscribe", topics=[f"tick:{A}"], since={"time": 0})
    announce(hub, f"tick:{B}")
    speak(hub, B)
    client.ask("subscribe", topics=[f"tick:{B}"], since="none")
    client.pump()
    assert [what for what in client.told() if what[0] == "gap"] == []


def test_a_lagging_client_that_resumes_further_topics_is_told_once() -> None:
    hub = make_hub()
    speak(hub, A, B)
    client = Client(hub)
    client.ask("subscribe", topics=[f"tick:{A}"], since={"time": 0})
    announce(hub, f"tick:{B}")
    speak(hub, B)
    client.ask("subscribe", topics=[f"tick:{B}"], since={"epoch": EPOCH, "at": 0, "seq": {}})
    client.pump()
    assert client.told().count(gap(f"tick:{B}")) == 1


def test_a_gap_in_a_history_is_not_told_once_its_topics_are_unsubscribed() -> None:
    hub = make_hub()
    speak(hub, A, A)
    announce(hub)
    client = Client(hub)
    client.ask("subscribe", topics=[f"tick:{A}"], since={"time": 0})
    client.ask("unsubscribe", topics=[f"tick:{A}"])
    client.pump()
    assert [what for what in client.told() if what[0] == "gap"] == []


def quiet_market() -> Hub:
    """A hub in which B spoke once, between two gaps that concern it, among rows of A."""
    hub = make_hub()
    speak(hub, A)
    announce(hub, "tick:*", 1, 2)
    speak(hub, A, A, B, A)
    announce(hub, "tick:*.SH", 5, 6)
    speak(hub, A)
    return hub


def test_since_open_has_the_gaps_of_the_day_before_the_first_and_after_the_last_row() -> None:
    story = ask(Client(quiet_market()), "subscribe", f"tick:{B}", since="open")
    assert story == [gap(), *replay(B, 1), gap("tick:*.SH")]


def test_since_open_has_the_gaps_of_the_day_for_what_has_not_spoken() -> None:
    assert ask(Client(quiet_market()), "subscribe", "tick:600009.SH", since="open") == [gap(), gap("tick:*.SH")]


def test_a_replay_by_time_has_the_gaps_of_its_range_before_the_first_and_after_the_last_row() -> None:
    story = ask(Client(quiet_market()), "replay", f"tick:{B}", **{"from": 0, "to": 99})
    assert story == [gap(), *replay(B, 1), gap("tick:*.SH")]
