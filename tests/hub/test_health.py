import csv
import gzip
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from itertools import groupby, pairwise
from pathlib import Path

import pytest

from hub.calendar import Calendar, Phase
from hub.health import Health, MarketHealth, MarketState

SHANGHAI = timezone(timedelta(hours=8))
DATA = Path(__file__).parents[3] / "shared" / "data"
RECORDINGS = ["ticks-20220601-szse.csv.gz", "ticks-20211201-sse.csv.gz"]

MANY = 5000
LIVE, QUIET, STALE, CLOSED = MarketState.LIVE, MarketState.QUIET, MarketState.STALE, MarketState.CLOSED


def at(time: str, day: str = "2026-09-30") -> int:
    """Epoch milliseconds of a time in Shanghai, by default of a trading day."""
    return round(datetime.fromisoformat(f"{day} {time}").replace(tzinfo=SHANGHAI).timestamp() * 1000)


def health_with(newest_ms: int, *, instruments: int = MANY, stale_after_s: float = 15.0) -> Health:
    """SH, watched since its one batch, which came without delay."""
    health = Health(Calendar(), stale_after_s)
    health.note("SH", instruments, newest_ms, newest_ms)
    return health


def state(health: Health, now_ms: int, market: str = "SH") -> MarketState:
    return health.assess(now_ms)[market].state


# What the phase says, whatever the data


@pytest.mark.parametrize(
    ("now_ms", "phase", "expected"),
    [
        (at("03:00:00"), Phase.CLOSED, CLOSED),
        (at("09:05:00"), Phase.PRE_OPEN, CLOSED),
        (at("09:14:59.999"), Phase.PRE_OPEN, CLOSED),
        (at("09:25:00"), Phase.BREAK, QUIET),
        (at("09:29:59.999"), Phase.BREAK, QUIET),
        (at("11:30:00"), Phase.LUNCH, QUIET),
        (at("12:59:59.999"), Phase.LUNCH, QUIET),
        (at("15:00:00"), Phase.AFTER_HOURS, CLOSED),
        (at("15:29:59.999"), Phase.AFTER_HOURS, CLOSED),
        (at("20:00:00"), Phase.CLOSED, CLOSED),
        (at("10:00:00", "2026-10-01"), Phase.CLOSED, CLOSED),  # National Day
        (at("10:00:00", "2026-10-10"), Phase.CLOSED, CLOSED),  # a Saturday that is worked
        (at("10:00:00", "2026-10-11"), Phase.CLOSED, CLOSED),  # Sunday
    ],
)
@pytest.mark.parametrize("age_ms", [0, 3_600_000])
def test_while_no_row_is_due_there_is_no_alarm_whatever_the_age(
    now_ms: int, phase: Phase, expected: MarketState, age_ms: int
) -> None:
    health = health_with(now_ms - age_ms)
    assert health.assess(now_ms) == {"SH": MarketHealth(phase, expected, age_ms)}
    assert health.reasons_not_ready(now_ms) == []


def test_from_friday_evening_to_monday_morning_there_is_no_alarm() -> None:
    health = health_with(at("15:00:03", "2026-09-18"))
    now_ms = at("15:00:03", "2026-09-18")
    while now_ms < at("09:15:00", "2026-09-21"):
        assert state(health, now_ms) is CLOSED
        now_ms += 60_000


# The threshold


@pytest.mark.parametrize(
    ("newest", "age_ms", "phase", "expected"),
    [
        ("10:00:00", 0, Phase.CONTINUOUS, LIVE),
        ("10:00:00", 15_000, Phase.CONTINUOUS, LIVE),
        ("10:00:00", 15_001, Phase.CONTINUOUS, STALE),
        ("10:00:00", 3_600_000, Phase.CONTINUOUS, STALE),
        ("14:30:00", 15_001, Phase.CONTINUOUS, STALE),
        ("09:18:00", 20_000, Phase.CALL_AUCTION, LIVE),
        ("09:18:00", 20_001, Phase.CALL_AUCTION, STALE),
        ("14:58:00", 20_000, Phase.CLOSING_AUCTION, LIVE),
        ("14:58:00", 20_001, Phase.CLOSING_AUCTION, STALE),
    ],
)
def test_a_market_is_live_up_to_the_threshold_and_stale_beyond_it(
    newest: str, age_ms: int, phase: Phase, expected: MarketState
) -> None:
    health = health_with(at(newest))
    assert health.assess(at(newest) + age_ms) == {"SH": MarketHealth(phase, expected, age_ms)}


@pytest.mark.parametrize(
    ("stale_after_s", "newest", "last_live_ms"),
    [(4.0, "10:00:00", 4_000), (0.5, "10:00:00", 500), (4.0, "09:18:00", 20_000), (60.0, "09:18:00", 60_000)],
)
def test_the_threshold_is_as_configured_but_in_auctions_never_below_their_own_pace(
    stale_after_s: float, newest: str, last_live_ms: int
) -> None:
    health = health_with(at(newest), stale_after_s=stale_after_s)
    assert state(health, at(newest) + last_live_ms) is LIVE
    assert state(health, at(newest) + last_live_ms + 1) is STALE


def test_a_stale_market_that_speaks_again_is_live() -> None:
    health = health_with(at("10:00:00"))
    assert state(health, at("10:01:00")) is STALE
    health.note("SH", 1, at("10:01:00"), at("10:01:01"))
    assert health.assess(at("10:01:02"))["SH"] == MarketHealth(Phase.CONTINUOUS, LIVE, 2_000)


def test_rows_that_keep_coming_but_are_old_do_not_make_a_market_live() -> None:
    health = health_with(at("10:00:00"))
    health.note("SH", MANY, at("10:00:00"), at("10:05:00"))
    assert health.assess(at("10:05:00"))["SH"] == MarketHealth(Phase.CONTINUOUS, STALE, 300_000)


def test_a_late_batch_with_an_older_time_does_not_make_the_data_older() -> None:
    health = health_with(at("10:00:10"))
    health.note("SH", 10, at("10:00:01"), at("10:00:11"))
    assert health.assess(at("10:00:12"))["SH"].age_ms == 2_000


def test_each_market_is_judged_by_its_own_data() -> None:
    health = Health(Calendar())
    for market, newest in (("SZ", "10:00:00"), ("BJ", "10:00:05"), ("SH", "10:00:30")):
        health.note(market, MANY, at(newest), at(newest))
    states = {name: market.state for name, market in health.assess(at("10:00:31")).items()}
    assert states == {"SZ": STALE, "SH": LIVE, "BJ": STALE}


def test_nothing_is_said_of_a_market_that_neither_spoke_nor_was_asked_for() -> None:
    assert Health(Calendar()).assess(at("10:00:00")) == {}
    assert Health(Calendar()).reasons_not_ready(at("10:00:00")) == []


# Openings


@pytest.mark.parametrize(
    ("newest", "opening", "allowed_ms"),
    [
        (at("15:00:03", "2026-09-29"), at("09:15:00"), 20_000),
        (at("09:25:03"), at("09:30:00"), 15_000),
        (at("11:30:03"), at("13:00:00"), 15_000),
    ],
)
def test_the_first_rows_after_an_opening_are_given_the_threshold_to_arrive(
    newest: int, opening: int, allowed_ms: int
) -> None:
    health = health_with(newest)
    assert state(health, opening) is QUIET
    assert state(health, opening + allowed_ms) is QUIET
    assert state(health, opening + allowed_ms + 1) is STALE
    health.note("SH", MANY, opening + allowed_ms, opening + allowed_ms + 1)
    assert state(health, opening + allowed_ms + 1) is LIVE


@pytest.mark.parametrize("now", ["14:56:59.999", "14:57:00", "14:57:10", "14:59:59.999"])
def test_the_start_of_the_closing_auction_does_not_excuse_a_mute_market(now: str) -> None:
    assert state(health_with(at("14:50:00")), at(now)) is STALE


# Few instruments


@pytest.mark.parametrize(
    ("instruments", "allowed_ms"),
    [(1, 750_000), (2, 375_000), (5, 150_000), (25, 30_000), (50, 15_000), (51, 15_000), (5000, 15_000)],
)
def test_the_fewer_instruments_the_longer_silence_is_allowed(instruments: int, allowed_ms: int) -> None:
    health = health_with(at("10:00:00"), instruments=instruments)
    assert state(health, at("10:00:00") + 15_000) is LIVE
    assert state(health, at("10:00:00") + allowed_ms) is (QUIET if allowed_ms > 15_000 else LIVE)
    assert state(health, at("10:00:00") + allowed_ms + 1) is STALE


def test_few_instruments_are_given_longer_after_an_opening_as_well() -> None:
    health = health_with(at("11:29:00"), instruments=5)
    assert state(health, at("13:02:30")) is QUIET
    assert state(health, at("13:02:30.001")) is STALE


def test_instruments_that_come_one_by_one_are_counted_together() -> None:
    health = Health(Calendar())
    for number in range(300):
        time_ms = at("10:00:00") + number * 10
        health.note("SH", 1, time_ms, time_ms)
    assert state(health, at("10:00:03") + 15_000) is STALE


def test_a_moment_in_which_few_speak_does_not_make_a_broad_market_small() -> None:
    health = health_with(at("10:00:00"))
    health.note("SH", 1, at("10:00:03"), at("10:00:03"))
    assert state(health, at("10:00:18.001")) is STALE


def test_one_instrument_that_speaks_for_long_stays_one() -> None:
    health = Health(Calendar())
    for number in range(200):
        time_ms = at("10:00:00") + number * 3_000
        health.note("SH", 1, time_ms, time_ms)
    assert state(health, at("10:10:00") + 600_000) is QUIET


def test_the_backlog_of_one_instrument_does_not_count_as_many_instruments() -> None:
    health = Health(Calendar())
    for number in range(200):
        health.note("SH", 1, at("09:45:00") + number * 3_000, at("10:00:00"))
    assert state(health, at("10:00:00") + 300_000) is QUIET


# Watching


def test_a_market_that_was_asked_for_and_never_spoke_becomes_stale_after_the_threshold() -> None:
    health = Health(Calendar())
    health.watch("SH", 2300, at("10:00:00"))
    assert health.assess(at("10:00:15")) == {"SH": MarketHealth(Phase.CONTINUOUS, QUIET, None)}
    assert health.assess(at("10:00:15.001")) == {"SH": MarketHealth(Phase.CONTINUOUS, STALE, None)}


def test_a_market_that_was_asked_for_before_the_opening_is_given_the_threshold_from_there() -> None:
    health = Health(Calendar())
    health.watch("SH", 2300, at("08:00:00"))
    assert health.assess(at("09:00:00")) == {"SH": MarketHealth(Phase.PRE_OPEN, CLOSED, None)}
    assert state(health, at("09:15:20")) is QUIET
    assert state(health, at("09:15:20.001")) is STALE


def test_a_first_batch_of_old_rows_is_given_the_threshold_from_when_it_came() -> None:
    health = Health(Calendar())
    health.note("SH", MANY, at("15:00:03", "2026-09-29"), at("10:00:00"))
    assert state(health, at("10:00:15")) is QUIET
    assert state(health, at("10:00:15.001")) is STALE


def test_nothing_is_overdue_of_a_market_that_nobody_wants_any_more() -> None:
    health = health_with(at("10:00:00"))
    assert state(health, at("10:01:00")) is STALE
    health.watch("SH", 0, at("10:01:00"))
    assert health.assess(at("11:00:00")) == {"SH": MarketHealth(Phase.CONTINUOUS, QUIET, 3_600_000)}


def test_a_market_that_is_wanted_again_is_watched_from_then_on() -> None:
    health = health_with(at("10:00:00"))
    health.watch("SH", 0, at("10:01:00"))
    health.watch("SH", 100, at("10:30:00"))
    assert state(health, at("10:30:15")) is QUIET
    assert state(health, at("10:30:15.001")) is STALE


@pytest.mark.parametrize("asked_before", [True, False])
def test_asking_for_more_of_a_mute_market_does_not_excuse_it(asked_before: bool) -> None:
    health = health_with(at("09:40:00"))
    if asked_before:
        health.watch("SH", 100, at("09:40:00"))
    health.watch("SH", 101, at("10:00:00"))
    assert state(health, at("10:00:01")) is STALE


def test_what_was_asked_for_counts_rather_than_what_once_spoke() -> None:
    health = health_with(at("10:00:00"), instruments=MANY)
    health.watch("SH", 5, at("10:00:00"))
    assert state(health, at("10:02:30")) is QUIET
    assert state(health, at("10:02:30.001")) is STALE


# Mute since the newest row


@pytest.mark.parametrize(
    ("newest", "until", "expected"),
    [
        ("10:00:00", "10:00:15", False),
        ("10:00:00", "10:00:15.001", True),
        ("11:29:58", "13:00:03", False),  # lunch
        ("11:29:58", "13:00:15", False),
        ("11:29:58", "13:00:15.001", True),
        ("11:29:40", "13:00:03", True),  # already mute before lunch
        ("11:29:58", "15:00:03", True),  # all afternoon
        ("14:50:00", "15:20:00", True),  # it need not end in the session
        ("09:16:00", "09:24:00", False),  # auctions
        ("09:16:00", "09:25:03", False),
        ("09:16:00", "09:30:02", False),
        ("09:25:09", "09:30:02", False),
        ("09:16:00", "09:31:00", True),
        ("14:56:58", "15:00:03", False),
        ("14:58:00", "14:59:30", False),
        ("14:58:00", "15:00:03", False),
        ("14:56:40", "15:00:03", True),
    ],
)
def test_a_market_was_mute_if_rows_were_overdue_in_continuous_trading_since_its_newest(
    newest: str, until: str, expected: bool
) -> None:
    assert health_with(at(newest)).was_mute("SH", at(until)) is expected


@pytest.mark.parametrize(
    ("day", "until_day"),
    [("2026-09-29", "2026-09-30"), ("2026-09-18", "2026-09-21"), ("2026-10-11", "2026-10-11")],
    ids=["night", "weekend", "sunday"],
)
def test_over_a_night_or_without_trading_no_market_was_mute(day: str, until_day: str) -> None:
    assert not health_with(at("10:00:00", day)).was_mute("SH", at("11:00:00", until_day))


@pytest.mark.parametrize(("instruments", "allowed_ms"), [(1, 750_000), (5, 150_000), (49, 15_306), (50, 15_000)])
def test_few_instruments_may_be_silent_for_longer_before_they_were_mute(instruments: int, allowed_ms: int) -> None:
    health = health_with(at("10:00:00"), instruments=instruments)
    assert not health.was_mute("SH", at("10:00:00") + allowed_ms)
    assert health.was_mute("SH", at("10:00:00") + allowed_ms + 1)


def test_a_market_without_rows_or_without_wanted_instruments_was_not_mute() -> None:
    health = health_with(at("10:00:00"))
    health.watch("SH", 0, at("10:00:00"))
    health.watch("SZ", MANY, at("10:00:00"))
    assert not any(health.was_mute(market, at("11:00:00")) for market in ("SH", "SZ", "BJ"))


def test_asking_whether_a_market_was_mute_changes_nothing() -> None:
    health = health_with(at("10:00:00"))
    assert health.was_mute("SH", at("10:30:00"))
    assert health.assess(at("10:00:10")) == {"SH": MarketHealth(Phase.CONTINUOUS, LIVE, 10_000)}


# Times and clocks that can't be


def test_data_ahead_of_the_clock_has_age_zero() -> None:
    health = Health(Calendar())
    health.note("SH", MANY, at("10:00:02"), at("10:00:00"))
    assert health.assess(at("10:00:00"))["SH"] == MarketHealth(Phase.CONTINUOUS, LIVE, 0)


def test_one_row_from_the_future_does_not_keep_a_mute_market_alive() -> None:
    health = Health(Calendar())
    health.note("SH", MANY, at("14:00:00"), at("10:00:00"))
    assert health.assess(at("10:00:15.001"))["SH"] == MarketHealth(Phase.CONTINUOUS, STALE, 15_001)


def test_a_time_of_zero_is_none() -> None:
    health = Health(Calendar())
    health.note("SH", MANY, 0, at("10:00:00"))
    assert health.assess(at("10:00:01"))["SH"] == MarketHealth(Phase.CONTINUOUS, QUIET, None)
    assert state(health, at("10:00:15.001")) is STALE


def test_a_day_that_starts_again_is_judged_afresh() -> None:
    health = health_with(at("14:59:59"))
    assert health.assess(at("09:00:00")) == {"SH": MarketHealth(Phase.PRE_OPEN, CLOSED, None)}
    assert state(health, at("09:15:20")) is QUIET
    assert state(health, at("09:15:20.001")) is STALE
    health.note("SH", MANY, at("09:15:21"), at("09:15:21"))
    assert health.assess(at("09:15:22"))["SH"] == MarketHealth(Phase.CALL_AUCTION, LIVE, 1_000)


def test_a_day_that_starts_again_with_a_batch_is_judged_by_that_batch() -> None:
    health = health_with(at("14:59:59"))
    health.watch("SZ", MANY, at("14:59:59"))
    health.note("SH", MANY, at("10:00:00"), at("10:00:00"))
    assert state(health, at("10:00:15")) is LIVE
    assert state(health, at("10:00:15.001")) is STALE
    assert state(health, at("10:00:15.001"), "SZ") is STALE


def test_a_clock_that_is_set_back_a_little_keeps_the_data() -> None:
    health = health_with(at("10:00:10"))
    assert health.assess(at("10:00:08"))["SH"] == MarketHealth(Phase.CONTINUOUS, LIVE, 0)
    assert health.assess(at("10:00:23"))["SH"].state is LIVE
    assert health.assess(at("10:00:23.001"))["SH"].state is STALE


# Why it is not ready


@pytest.mark.parametrize(
    ("newest", "now", "reason"),
    [
        ("10:00:00", "10:00:42.900", "SH is stale: newest row is 42 s old in continuous trading"),
        ("10:00:00", "10:01:59", "SH is stale: newest row is 119 s old in continuous trading"),
        ("10:00:00", "10:02:59", "SH is stale: newest row is 2 min old in continuous trading"),
        ("09:31:00", "14:57:00", "SH is stale: newest row is 5 h old in the closing auction"),
        ("09:15:10", "09:15:40", "SH is stale: newest row is 30 s old in the call auction"),
    ],
)
def test_the_reason_names_market_age_and_phase(newest: str, now: str, reason: str) -> None:
    assert health_with(at(newest)).reasons_not_ready(at(now)) == [reason]


def test_only_stale_markets_give_a_reason() -> None:
    health = Health(Calendar())
    health.watch("BJ", 300, at("10:00:00"))
    health.watch("HK", 0, at("10:00:00"))
    health.note("SZ", 5, at("10:00:01"), at("10:00:01"))
    health.note("SH", MANY, at("10:01:00"), at("10:01:00"))
    assert health.reasons_not_ready(at("10:01:01")) == ["BJ is stale: no row has come yet in continuous trading"]


def test_the_reason_says_when_the_day_may_be_a_holiday(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.calendar._TABLE_UNTIL", date(2026, 12, 31))
    health = health_with(at("15:00:00", "2026-12-31"))
    assert health.reasons_not_ready(at("10:00:00", "2027-01-01")) == [
        "SH is stale: newest row is 19 h old in continuous trading"
        " (the calendar ends on 2026-12-31: today may be a holiday)"
    ]


# Recorded days


def recorded(name: str) -> tuple[Calendar, list[tuple[int, set[str]]]]:
    """The day of a recording, and its times, each with the codes that have a row then."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"no recorded day at {path}")
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = [(int(line["time"]), line["code"]) for line in csv.DictReader(file)]
    day = datetime.fromtimestamp(rows[0][0] / 1000, SHANGHAI).date()
    batches = [(time_ms, {code for _, code in group}) for time_ms, group in groupby(rows, key=lambda row: row[0])]
    return Calendar(frozenset({day})), batches


def replay(calendar: Calendar, batches: list[tuple[int, int]]) -> Iterator[tuple[int, MarketState]]:
    """The state just before each batch of (time, instruments), when the silence is longest."""
    health = Health(calendar)
    health.watch("SH", batches[0][1], calendar.day_start_ms(batches[0][0]))
    for time_ms, instruments in batches:
        yield time_ms, state(health, time_ms - 1)
        health.note("SH", instruments, time_ms, time_ms)


@pytest.mark.parametrize("name", RECORDINGS)
def test_no_moment_of_a_recorded_day_is_an_alarm(name: str) -> None:
    calendar, batches = recorded(name)
    health = Health(calendar)
    states = set()
    for (time_ms, codes), (next_ms, _) in pairwise(batches):
        health.note("SZ", len(codes), time_ms, time_ms)
        states |= {state(health, now_ms, "SZ") for now_ms in (*range(time_ms, next_ms, 1000), next_ms - 1)}
    assert LIVE in states
    assert STALE not in states


@pytest.mark.parametrize("name", RECORDINGS)
def test_no_single_recorded_stock_is_an_alarm_however_illiquid(name: str) -> None:
    calendar, batches = recorded(name)
    for code in sorted(set[str]().union(*(codes for _, codes in batches))):
        alone = [(time_ms, 1) for time_ms, codes in batches if code in codes]
        assert [time_ms for time_ms, found in replay(calendar, alone) if found is STALE] == [], code


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recorded_day_that_falls_silent_is_noticed(name: str) -> None:
    calendar, batches = recorded(name)
    health = Health(calendar)
    silent_ms = calendar.day_start_ms(batches[0][0]) + 10 * 3_600_000
    for time_ms, codes in batches:
        if time_ms <= silent_ms:
            health.note("SZ", len(codes), time_ms, time_ms)
    assert state(health, silent_ms + 15_000, "SZ") is not STALE
    assert state(health, silent_ms + 150_001, "SZ") is STALE
