"""Rows that are late, missing after the source was away, or missing after a market was mute are announced in place."""

import pytest

from bridge.continuity import ASKED_EVERY_MS, TOLD_APART
from bridge.source import Interruption, SourceState, SourceStatus
from hub.schema import Row
from tests.bridge.support.intake import TEN_MS, Door, Stream, tick
from tests.hub.support.core import row_of

A, B, C = "600000.SH", "600519.SH", "000001.SZ"
AWAY = SourceStatus(SourceState.AWAY, "no terminal")
CONNECTED = SourceStatus(SourceState.CONNECTED)
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS


def missing(topic: str, from_ms: int, to_ms: int) -> Interruption:
    """An interruption with its times given after ten o'clock."""
    return Interruption(topic, TEN_MS + from_ms, TEN_MS + to_ms)


def bar(period: str, after_ms: int = 0) -> Row:
    return row_of(period, A, TEN_MS + after_ms)


@pytest.fixture
def door() -> Door:
    return Door()


# Late rows


def test_a_row_that_goes_back_in_time_is_announced_and_delivered(door: Door) -> None:
    door.deliver(tick(A))
    door.deliver(tick(A, 3_000))
    door.deliver(tick(A, 1_000))
    assert door.stream.story == [tick(A), tick(A, 3_000), missing("tick:600000.SH", 1_000, 3_000), tick(A, 1_000)]
    assert not door.refused


def test_late_rows_are_announced_right_before_the_first_of_their_topic(door: Door) -> None:
    door.deliver(tick(A), tick(C))
    door.deliver(tick(A, 3_000), tick(A, 2_000), tick(C, 3_000), tick(A, 1_000), tick(C, 2_000), tick(A, 4_000))
    assert door.stream.story[2:] == [
        *(tick(A, 3_000), missing("tick:600000.SH", 1_000, 3_000), tick(A, 2_000), tick(C, 3_000)),
        *(tick(A, 1_000), missing("tick:000001.SZ", 2_000, 3_000), tick(C, 2_000), tick(A, 4_000)),
    ]


def test_after_a_late_row_the_newest_time_stays(door: Door) -> None:
    door.deliver(tick(A, 9_000))
    door.deliver(tick(A, 3_000))
    door.deliver(tick(A, 6_000))
    assert door.stream.interruptions == [
        missing("tick:600000.SH", 3_000, 9_000),
        missing("tick:600000.SH", 6_000, 9_000),
    ]


def test_a_row_that_is_older_than_those_of_other_instruments_is_in_order(door: Door) -> None:
    """An illiquid instrument says its last word again and again, and a snapshot brings all of them."""
    door.deliver(tick(A, 9_000), tick(B, 3_000))
    door.deliver(tick(A, 12_000), tick(B, 6_000))
    assert door.stream.interruptions == []


def codes(market: str, count: int) -> list[str]:
    return [f"{number:06d}.{market}" for number in range(1, count + 1)]


def test_many_late_rows_of_a_market_are_announced_together_with_their_whole_range(door: Door) -> None:
    many = [*codes("SZ", TOLD_APART + 1), A, B]
    door.deliver(*(tick(code, 1_000 * number) for number, code in enumerate(many)))
    late = [tick(code, -1_000 * number - 1) for number, code in enumerate(many)]
    door.deliver(tick(C, 90_000), tick("600600.SH", 90_000), *late)
    assert door.stream.story[len(many) :] == [
        *(tick(C, 90_000), tick("600600.SH", 90_000)),
        missing("tick:*.SZ", -1_000 * TOLD_APART - 1, 90_000),
        *late[:-2],
        missing("tick:600000.SH", -1_000 * (TOLD_APART + 1) - 1, 1_000 * (TOLD_APART + 1)),
        late[-2],
        missing("tick:600519.SH", -1_000 * (TOLD_APART + 2) - 1, 1_000 * (TOLD_APART + 2)),
        late[-1],
    ]


def test_as_many_late_topics_as_are_told_apart_are_announced_one_by_one(door: Door) -> None:
    few = codes("SZ", TOLD_APART)
    door.deliver(*(tick(code) for code in few))
    door.deliver(*(tick(code, -1_000) for code in few))
    assert door.stream.interruptions == [missing(f"tick:{code}", -1_000, 0) for code in few]


# A source that was away


def test_after_the_source_was_away_the_range_is_announced_before_the_first_newer_row(door: Door) -> None:
    door.deliver(tick(A, 2_000), tick(C, 3_000), tick(B, 1_000))
    door.intake.report(AWAY)
    door.intake.report(CONNECTED)
    door.deliver(tick(B, 2_500), tick(A, 60_500), tick(C, 60_000))
    door.deliver(tick(B, 63_000))
    assert door.stream.story[3:] == [
        *(tick(B, 2_500), missing("tick:*", 3_000, 60_000), tick(A, 60_500), tick(C, 60_000)),
        tick(B, 63_000),
    ]


def test_nothing_is_announced_as_long_as_only_old_rows_come_back(door: Door) -> None:
    door.deliver(tick(A), tick(B, -9_000), tick(C, -9_000))
    door.intake.report(AWAY)
    door.deliver(tick(A), tick(B, -6_000), tick(C, 0))
    assert door.stream.interruptions == []
    door.intake.report(AWAY)
    door.intake.report(CONNECTED)
    door.deliver(tick(A, 9_000))
    assert door.stream.interruptions == [missing("tick:*", 0, 9_000)]


def test_a_snapshot_after_an_outage_ends_it_where_the_market_is_now_not_where_its_quietest_stock_stopped(
    door: Door,
) -> None:
    """B was last traded 3 s after the source went away: of the others, rows are missing for five minutes."""
    door.deliver(tick(A), tick(B), tick(C))
    door.intake.report(AWAY)
    door.deliver(tick(A, 300_000), tick(B, 3_000), tick(C, 298_000))
    assert door.stream.interruptions == [missing("tick:*", 0, 298_000)]


def test_each_channel_is_interrupted_from_its_own_newest_row_to_its_own_next(door: Door) -> None:
    door.deliver(bar("1m"), channel="1m")
    door.deliver(tick(A, 30_000))
    door.intake.report(AWAY)
    door.deliver(tick(A, 90_000))
    door.deliver(bar("1m", 120_000), channel="1m")
    door.deliver(bar("5m", 120_000), channel="5m")
    assert door.stream.interruptions == [missing("tick:*", 30_000, 90_000), missing("1m:*", 0, 120_000)]


def test_what_a_source_keeps_while_it_is_away_is_not_missing(door: Door) -> None:
    door.deliver(tick(A))
    door.intake.report(SourceStatus(SourceState.AWAY, "the feeder is not connected", keeps=True))
    door.intake.report(CONNECTED)
    door.deliver(tick(A, 60_000))
    assert door.stream.interruptions == []


@pytest.mark.parametrize("status", [CONNECTED, SourceStatus(SourceState.DEGRADED, "50 codes only")])
def test_a_source_that_was_not_away_is_not_interrupted(door: Door, status: SourceStatus) -> None:
    door.deliver(tick(A))
    door.intake.report(status)
    door.deliver(tick(A, 60_000))
    assert door.stream.interruptions == []


def test_before_the_first_row_nothing_can_be_missing() -> None:
    door = Door(away=True)
    door.intake.report(AWAY)
    door.intake.begin_run("a")
    door.deliver(tick(A))
    door.deliver(tick(A, 60_000))
    assert door.stream.interruptions == []


def test_what_is_announced_of_one_batch_is_in_order_of_its_rows(door: Door) -> None:
    door.deliver(tick(A, 3_000), tick(C))
    door.intake.report(AWAY)
    door.deliver(tick(A, 1_000), tick(C, 60_000))
    assert door.stream.story[2:] == [
        *(missing("tick:600000.SH", 1_000, 3_000), tick(A, 1_000)),
        *(missing("tick:*", 3_000, 60_000), tick(C, 60_000)),
    ]


def test_an_outage_is_announced_once_and_logged(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    door.deliver(tick(A))
    door.intake.report(AWAY)
    caplog.clear()
    for after_ms in (60_000, 63_000):
        door.deliver(tick(A, after_ms))
    assert door.stream.interruptions == [missing("tick:*", 0, 60_000)]
    assert caplog.messages == [f"rows of tick:* are missing between the times {TEN_MS} and {TEN_MS + 60_000}"]


def test_another_run_of_the_source_interrupts_it_and_the_same_one_does_not(door: Door) -> None:
    door.intake.begin_run("a")
    door.deliver(tick(A))
    door.intake.begin_run("a")
    door.deliver(tick(A, 3_000))
    door.intake.begin_run("b")
    door.deliver(tick(A, 60_000))
    assert door.stream.story == [
        *("a", tick(A), "a", tick(A, 3_000)),
        *("b", missing("tick:*", 3_000, 60_000), tick(A, 60_000)),
    ]


@pytest.mark.parametrize(("run", "is_interrupted"), [("a", False), ("b", True)])
def test_after_a_restart_of_the_hub_the_run_that_went_on_is_not_interrupted(run: str, is_interrupted: bool) -> None:
    door = Door(Stream({"tick": [tick(A)]}, run="a"))
    door.intake.begin_run(run)
    door.deliver(tick(A, 60_000))
    assert door.stream.interruptions == [missing("tick:*", 0, 60_000)][: int(is_interrupted)]


@pytest.mark.parametrize("away", [True, False])
def test_a_live_source_was_away_while_the_hub_was_down(away: bool) -> None:
    door = Door(Stream({"tick": [tick(A, 3_000), tick(C, 5_000), tick(C)], "1m": [bar("1m")]}), away=away)
    door.deliver(tick(A, 60_000))
    door.deliver(bar("1m", 60_000), channel="1m")
    told = [missing("tick:*", 5_000, 60_000), missing("1m:*", 0, 60_000)]
    assert door.stream.interruptions == (told if away else [])


# A market that was mute


def silence(door: Door, before: list[Row], *after: list[Row], mute: tuple[str, ...] = ("SH",)) -> list[Interruption]:
    """What is announced when these markets were mute between a batch and the next ones."""
    door.deliver(*before)
    door.mute = dict.fromkeys(mute, 0)
    for rows in after:
        door.now_ms = max([door.now_ms, *(row[1] for row in rows)])
        door.deliver(*rows)
    return door.stream.interruptions


def test_a_market_that_was_mute_while_its_turnover_grew_is_interrupted(door: Door) -> None:
    before = [tick(A, 0, volume=10), tick(B, 2_000, volume=10), tick(C, 3_000, volume=10)]
    after = [tick(C, 90_000, volume=20), tick(B, 90_000, volume=10), tick(A, 91_000, volume=11)]
    assert silence(door, before, after) == [missing("tick:*.SH", 2_000, 90_000)]
    assert door.stream.story[3:5] == [after[0], missing("tick:*.SH", 2_000, 90_000)]


@pytest.mark.parametrize("field", ["volume", "amount"])
def test_either_volume_or_amount_tells_a_jump(door: Door, field: str) -> None:
    """Odd lots show in the amount alone, and what is null tells nothing."""
    other = {"volume": None, "amount": None}
    before, after = [tick(A, 0, **other | {field: 10})], [tick(A, 90_000, **other | {field: 11})]
    assert silence(door, before, after) == [missing("tick:*.SH", 0, 90_000)]


def test_a_turnover_that_was_not_given_before_did_not_jump(door: Door) -> None:
    assert silence(door, [tick(A, volume=None, amount=None)], [tick(A, 90_000)]) == []


@pytest.mark.parametrize("values", [{}, {"volume": 0, "amount": 0.0}, {"volume": None, "amount": None}], ids=str)
def test_a_market_in_which_nothing_was_traded_meanwhile_was_quiet(door: Door, values: dict[str, object]) -> None:
    assert silence(door, [tick(A), tick(B)], [tick(A, 90_000, **values), tick("600600.SH", 90_000, volume=9)]) == []


def test_a_market_that_was_not_mute_is_not_interrupted_however_far_its_turnover_jumped(door: Door) -> None:
    """Over lunch, in auctions, or of an illiquid instrument."""
    assert silence(door, [tick(A)], [tick(A, HOUR_MS, volume=900)], mute=("SZ",)) == []


def test_the_first_rows_of_another_day_tell_nothing_of_the_silence_before(door: Door) -> None:
    next_day = [tick(A, 24 * HOUR_MS, volume=900)]
    assert silence(door, [tick(A)], next_day) == []


def test_rows_that_were_there_already_do_not_end_a_silence(door: Door) -> None:
    before = [tick(A, 0), tick(B, -9_000)]
    assert silence(door, before, [tick(A), tick(B, -3_000, volume=2)], [tick(B, 90_000, volume=3)]) == [
        missing("tick:*.SH", 0, 90_000)
    ]


def test_rows_that_come_late_but_without_a_hole_are_not_missing(door: Door) -> None:
    """The host stood still: by its clock the market was mute, by the time of its rows it was not."""
    door.deliver(tick(A))
    door.mute = {"SH": TEN_MS + 60_000}
    door.now_ms += 90_000
    for after_ms in range(3_000, 90_000, 3_000):
        door.deliver(tick(A, after_ms, volume=after_ms))
    assert door.stream.interruptions == []


def test_a_silence_is_announced_once_for_each_market_that_was_mute(door: Door) -> None:
    before = [tick(A), tick(B), tick(C)]
    after = [tick(A, 90_000, volume=2), tick(C, 89_000, volume=2)]
    later = [tick(B, 90_000, volume=2), tick(C, 90_000, volume=3)]
    assert silence(door, before, after, later, mute=("SH", "SZ")) == [
        missing("tick:*.SH", 0, 90_000),
        missing("tick:*.SZ", 0, 89_000),
    ]


def test_each_market_is_judged_when_it_speaks_again(door: Door) -> None:
    before = [tick(A), tick(C)]
    told = silence(door, before, [tick(C, 90_000, volume=2)], [tick(A, 90_500, volume=2)], mute=("SH", "SZ"))
    assert told == [missing("tick:*.SZ", 0, 90_000), missing("tick:*.SH", 0, 90_500)]


def test_an_outage_that_the_source_told_is_not_announced_as_a_silence_too(door: Door) -> None:
    door.deliver(tick(A), tick(B))
    door.intake.report(AWAY)
    door.now_ms += 90_000
    door.mute = {"SH": 0}
    door.deliver(tick(A, 90_000, volume=2))
    door.mute = {}
    door.deliver(tick(A, 93_000, volume=3), tick(B, 93_000, volume=3))
    assert door.stream.interruptions == [missing("tick:*", 0, 90_000)]


def test_after_a_restart_a_silence_is_judged_by_the_restored_rows() -> None:
    door = Door(Stream({"tick": [tick(A), tick(B), tick(B, -3_000)]}))
    told = [missing("tick:*.SH", 0, 90_000), missing("tick:*.SH", 90_000, 99_000)]
    assert silence(door, [tick(C)], [tick(B, 90_000, volume=9)]) == told[:1]
    assert silence(door, [tick(C, 3_000)], [tick(A, 99_000, volume=9)]) == told


def test_only_ticks_are_cumulative(door: Door) -> None:
    door.deliver((A, TEN_MS, 1, 1, 1, 1, 1, 1), channel="1m")
    door.mute = {"SH": 0}
    door.now_ms += 90_000
    door.deliver((A, TEN_MS + 90_000, 2, 2, 2, 2, 2, 2), channel="1m")
    assert door.stream.interruptions == []


def test_what_the_source_has_said_by_itself_is_not_said_again(door: Door) -> None:
    before, after = [tick(A, volume=10), tick(C, volume=10)], [tick(A, 90_000, volume=20), tick(C, 90_000, volume=20)]
    door.deliver(*before)
    door.mute = {"SH": 0, "SZ": 0}
    door.now_ms += 90_000
    door.intake.interrupt(missing("tick:*.SH", 0, 90_000))
    door.intake.interrupt(missing("1m:*.SZ", 0, 90_000))
    door.deliver(*after)
    assert door.stream.interruptions[2:] == [missing("tick:*.SZ", 0, 90_000)]


def test_whether_markets_are_mute_is_asked_seldom(door: Door) -> None:
    """A batch may be a single row, and come thousands of times a second."""
    door.deliver(tick(A), tick(C))
    door.asked.clear()
    for after_ms in range(0, 3 * ASKED_EVERY_MS, 10):
        door.now_ms = TEN_MS + after_ms
        door.deliver(tick(A, after_ms + 1))
    assert [until_ms - TEN_MS for _, until_ms in door.asked] == [1_000, 1_000, 2_000, 2_000]
