"""What the watch publishes on the status channel, tells in heartbeats, and holds against readiness."""

import json
import logging
from typing import Any

import pytest

import hub.watch
from hub.calendar import Calendar
from hub.health import Health
from hub.watch import CALENDAR_WARNING_DAYS, Watch
from tests.hub.support.core import Client, make_hub, packed, tick

TEN_MS = 1_788_228_000_000
"""2026-09-01 10:00:00 in Shanghai: a Tuesday, continuous trading."""
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


class Watched:
    """A watch with a clock that a test sets, and a client that reads the status channel."""

    def __init__(self) -> None:
        self.now_ms = TEN_MS
        self.due: dict[str, int] = {}
        calendar = Calendar()
        self.hub = make_hub()
        health = Health(calendar)
        self.watch = Watch(self.hub, health, calendar, lambda: self.now_ms, markets_due=lambda: self.due)
        self._client = Client(self.hub)
        self._client.ask("subscribe", topics=["status:*"], since="none")
        self._client.messages()

    def note(self, market: str, instruments: int = 100, age_ms: int = 0) -> None:
        """A batch of ticks of one market, all of one time."""
        self.watch.note(packed(*[tick(f"{number}.{market}", self.now_ms - age_ms) for number in range(instruments)]))

    def look(self, after_ms: int = 0) -> list[dict[str, Any]]:
        """Look some time later; the status rows that were published since the last call."""
        self.now_ms += after_ms
        self.watch.look(self.now_ms * 1000)
        return self.rows()

    def rows(self) -> list[dict[str, Any]]:
        self.hub.flush()
        return [row for message in self._client.messages() for row in message["rows"]]


@pytest.fixture
def watched() -> Watched:
    return Watched()


def test_a_market_is_published_when_it_first_speaks_with_state_phase_and_age(watched: Watched) -> None:
    assert watched.look() == []
    watched.note("SH", age_ms=1_500)
    (row,) = watched.look()
    assert row == {
        "code": "SH",
        "seq": 1,
        "time": TEN_MS,
        "recv": TEN_MS * 1000,
        "state": "live",
        "phase": "continuous",
        "age_ms": 1_500,
        "detail": None,
    }


def test_a_market_is_published_again_only_when_its_state_or_phase_changes(watched: Watched) -> None:
    watched.note("SH")
    assert len(watched.look()) == 1
    for _ in range(3):
        watched.note("SH")
        assert watched.look(3_000) == []
    assert [(row["state"], row["phase"]) for row in watched.look(HOUR_MS)] == [("stale", "continuous")]
    assert watched.look(1_000) == []
    watched.note("SH")
    assert [(row["state"], row["phase"]) for row in watched.look()] == [("live", "continuous")]
    assert [(row["state"], row["phase"]) for row in watched.look(HOUR_MS)] == [("quiet", "lunch")]
    assert [(row["state"], row["phase"]) for row in watched.look(12 * HOUR_MS)] == [("closed", "closed")]


def test_markets_that_change_together_travel_in_one_batch_and_the_others_not_at_all(watched: Watched) -> None:
    for market in ("SH", "SZ", "BJ"):
        watched.note(market)
    assert [row["code"] for row in watched.look()] == ["SH", "SZ", "BJ"]
    assert watched.hub.counts.batches_in == 1
    watched.now_ms += HOUR_MS
    watched.note("BJ")
    assert [(row["code"], row["state"]) for row in watched.look()] == [("SH", "stale"), ("SZ", "stale")]


def test_the_newest_row_of_each_market_in_a_batch_counts(watched: Watched) -> None:
    rows = [tick("1.SH", TEN_MS - 9_000), tick("2.SZ", TEN_MS - 1_000), tick("3.SH", TEN_MS - 2_000), tick("4.SH", 0)]
    watched.watch.note(packed(*rows))
    assert {row["code"]: row["age_ms"] for row in watched.look()} == {"SH": 2_000, "SZ": 1_000}


def test_rows_without_a_time_are_no_data(watched: Watched) -> None:
    watched.watch.note(packed(tick("1.SH", 0)))
    assert watched.look() == []


def test_many_rows_of_one_instrument_do_not_make_a_busy_market(watched: Watched) -> None:
    """One quiet stock may be silent for minutes, however many of its rows came in one batch."""
    watched.watch.note(packed(*[tick("600000.SH", TEN_MS + number) for number in range(60)]))
    assert [row["state"] for row in watched.look(2 * MINUTE_MS)] == ["quiet"]


def states(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["code"]: row["state"] for row in rows}


def test_batches_count_as_of_the_time_at_which_they_came_however_late_somebody_asks(watched: Watched) -> None:
    watched.note("SH", age_ms=-60_000)  # ahead of the clock: it counts as now
    (row,) = watched.look(10_000)
    assert row["age_ms"] == 10_000


def test_a_question_about_a_silence_knows_of_every_batch_before_it(watched: Watched) -> None:
    watched.note("SH")
    assert watched.watch.was_mute("SH", TEN_MS + MINUTE_MS)
    watched.now_ms += 50_000
    watched.note("SH")
    assert not watched.watch.was_mute("SH", TEN_MS + MINUTE_MS)


def test_only_so_many_batches_wait_until_somebody_asks(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.watch, "MOST_UNREAD", 3)
    noted: list[str] = []
    monkeypatch.setattr(Health, "note", lambda _, market, *__: noted.append(market))
    for _ in range(4):
        watched.note("SH")
    assert noted == ["SH"] * 3


def test_a_market_that_is_due_and_mute_from_the_start_is_seen_beside_a_live_one(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    watched.watch.report_source("connected", "", 1)
    watched.rows()
    watched.due = {"SH": 2_000, "BJ": 250}
    watched.note("SH")
    assert states(watched.look()) == {"SH": "live", "BJ": "quiet"}
    watched.now_ms += 16_000
    watched.note("SH")
    assert states(watched.look()) == {"BJ": "stale"}
    assert caplog.messages == ["BJ is stale: no row has come yet"]
    assert watched.watch.reasons_not_ready() == ["BJ is stale: no row has come yet in continuous trading"]
    assert watched.watch.heartbeat()["BJ"] == {"phase": "continuous", "state": "stale", "age_ms": None}


def test_looking_again_and_again_does_not_excuse_a_mute_market(watched: Watched) -> None:
    watched.due = {"BJ": 250}
    assert [states(watched.look(1_000)) for _ in range(17)] == [{"BJ": "quiet"}, *[{}] * 15, {"BJ": "stale"}]


def test_a_market_that_is_due_later_is_watched_from_then_on_and_one_that_no_longer_is_is_not(watched: Watched) -> None:
    """The same mapping may change, as clients want other topics."""
    watched.due["SH"] = 2_000
    watched.look()
    watched.look(10_000)
    watched.due["BJ"] = 250
    assert states(watched.look()) == {"BJ": "quiet"}
    assert states(watched.look(10_000)) == {"SH": "stale"}
    del watched.due["SH"]
    assert states(watched.look(6_000)) == {"SH": "quiet", "BJ": "stale"}


def test_of_a_market_with_few_instruments_that_are_due_rows_are_overdue_later(watched: Watched) -> None:
    watched.due = {"BJ": 5}
    watched.look()
    assert watched.look(2 * MINUTE_MS) == []
    watched.due = {"BJ": 50}
    assert states(watched.look()) == {"BJ": "stale"}


def test_a_market_that_grows_stale_is_logged_with_its_age(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    watched.note("SH")
    watched.look()
    assert caplog.messages == []
    watched.look(90_000)
    assert caplog.messages == ["SH is stale: newest data is 90000 ms old"]
    watched.look(1_000)
    assert len(caplog.messages) == 1


def test_the_state_of_the_source_is_published_each_time_with_the_reason(watched: Watched) -> None:
    watched.watch.report_source("away", "the terminal is closed", 17)
    (row,) = watched.rows()
    assert row == {
        "code": "source.test",
        "seq": 1,
        "time": TEN_MS,
        "recv": 17,
        "state": "away",
        "phase": None,
        "age_ms": None,
        "detail": "the terminal is closed",
    }
    watched.watch.report_source("connected", "", 18)
    (row,) = watched.rows()
    assert (row["state"], row["detail"], row["seq"]) == ("connected", None, 2)
    assert (watched.watch.source_state, watched.watch.source_reason) == ("connected", "")


def test_heartbeats_tell_phase_state_and_age_of_each_market_as_of_the_last_look(watched: Watched) -> None:
    assert watched.watch.heartbeat() == {}
    watched.note("SH")
    watched.look(2_000)
    watched.now_ms += HOUR_MS
    told = watched.watch.heartbeat()
    assert json.loads(json.dumps(told)) == {"SH": {"phase": "continuous", "state": "live", "age_ms": 2_000}}


def test_before_the_source_has_reported_the_hub_is_not_ready(watched: Watched) -> None:
    assert watched.watch.reasons_not_ready() == ["the source test is away: not started yet"]


@pytest.mark.parametrize("state", ["connected", "degraded"])
def test_with_a_source_and_fresh_data_the_hub_is_ready(watched: Watched, state: str) -> None:
    watched.watch.report_source(state, "", 1)
    watched.note("SH")
    assert watched.watch.reasons_not_ready() == []


def test_stale_markets_and_a_source_that_is_away_are_reasons_of_this_moment(watched: Watched) -> None:
    watched.watch.report_source("connected", "", 1)
    watched.note("SH")
    watched.note("SZ")
    watched.now_ms += 30 * MINUTE_MS
    watched.note("SZ")
    (reason,) = watched.watch.reasons_not_ready()
    assert reason.startswith("SH is stale")
    watched.watch.report_source("away", "the terminal is closed", 1)
    assert watched.watch.reasons_not_ready()[1:] == ["the source test is away: the terminal is closed"]


def test_a_source_that_is_connected_before_the_opening_has_time_until_after_it(watched: Watched) -> None:
    opening_ms = TEN_MS - 45 * MINUTE_MS
    watched.now_ms = opening_ms - 2 * HOUR_MS
    watched.watch.report_source("connected", "", 1)
    for moment_ms, is_ready in (
        (opening_ms - 1, True),
        (opening_ms + 5_000, True),
        (opening_ms + 5 * MINUTE_MS, False),
        (opening_ms + 12 * MINUTE_MS, True),  # the break before 09:30
        (TEN_MS, False),
    ):
        watched.now_ms = moment_ms
        watched.watch.look(1)
        assert (watched.watch.reasons_not_ready() == []) is is_ready


def test_outside_trading_hours_silence_is_no_reason(watched: Watched) -> None:
    watched.watch.report_source("connected", "", 1)
    watched.note("SH")
    watched.now_ms += 9 * HOUR_MS
    assert watched.watch.reasons_not_ready() == []


def test_the_end_of_the_calendar_is_warned_of_once_a_day(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    left = [CALENDAR_WARNING_DAYS]
    monkeypatch.setattr(Calendar, "days_left", lambda *_: left[0])
    watched = Watched()
    watched.look()
    assert caplog.records == []
    left[0] -= 1
    for _ in range(5):
        watched.look(1_000)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "29 days after 2026-09-01" in caplog.messages[0]
    left[0] -= 1
    watched.look(24 * HOUR_MS)
    watched.look(1_000)
    assert len(caplog.messages) == 2
    assert "28 days after 2026-09-02" in caplog.messages[1]
