from datetime import date, datetime, timedelta, timezone

import chinese_calendar
import pytest

from hub.calendar import Calendar, Phase, shanghai_day

SHANGHAI = timezone(timedelta(hours=8))
TABLE_ENDS = date(2026, 12, 31)


@pytest.fixture(autouse=True)
def table_that_ends_with_2026(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests of what happens beyond the table must hold when the package learns another year."""
    monkeypatch.setattr("hub.calendar._TABLE_UNTIL", TABLE_ENDS)


def at(text: str) -> int:
    """Epoch milliseconds of a time in Shanghai, such as ``2026-09-30 09:15:00.000``."""
    return round(datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).timestamp() * 1000)


def day(text: str) -> date:
    return date.fromisoformat(text)


@pytest.mark.parametrize(
    ("text", "trades"),
    [
        ("2026-09-30", True),  # Wednesday
        ("2026-10-01", False),  # National Day
        ("2026-10-07", False),  # Wednesday, last day of that holiday
        ("2026-10-08", True),
        ("2026-10-10", False),  # Saturday, worked to make up
        ("2026-02-14", False),  # Saturday, worked to make up
        ("2026-09-20", False),  # Sunday, worked to make up
        ("2026-10-11", False),  # Sunday
        ("2026-02-16", False),  # Spring Festival
        ("2026-02-24", True),
        ("2026-01-02", False),  # Friday, bridged
        ("2022-06-01", True),
        ("2022-06-03", False),  # Dragon Boat Festival
        ("2024-02-08", True),
        ("2024-02-09", False),  # a working day that only the exchanges closed on
        ("2004-01-19", False),
        ("2004-01-16", True),
    ],
)
def test_trading_days_are_weekdays_without_holidays_and_never_made_up_weekends(text: str, trades: bool) -> None:
    calendar = Calendar()
    assert calendar.is_trading_day(day(text)) is trades
    assert not calendar.is_guess(day(text))


def test_the_days_above_that_make_up_for_a_holiday_are_working_days_of_the_package() -> None:
    for text in ("2026-10-10", "2026-02-14", "2026-09-20"):
        assert chinese_calendar.is_workday(day(text))
        assert day(text).weekday() >= 5


def test_a_year_has_the_number_of_trading_days_that_the_exchanges_had() -> None:
    days = [date(2022, 1, 1) + timedelta(days=n) for n in range(365)]
    assert sum(map(Calendar().is_trading_day, days)) == 242


@pytest.mark.parametrize("market", ["SH", "SZ", "BJ", "HK"])
@pytest.mark.parametrize(
    ("time", "phase"),
    [
        ("00:00:00.000", Phase.CLOSED),
        ("08:59:59.999", Phase.CLOSED),
        ("09:00:00.000", Phase.PRE_OPEN),
        ("09:14:59.999", Phase.PRE_OPEN),
        ("09:15:00.000", Phase.CALL_AUCTION),
        ("09:24:59.999", Phase.CALL_AUCTION),
        ("09:25:00.000", Phase.BREAK),
        ("09:29:59.999", Phase.BREAK),
        ("09:30:00.000", Phase.CONTINUOUS),
        ("11:29:59.999", Phase.CONTINUOUS),
        ("11:30:00.000", Phase.LUNCH),
        ("12:59:59.999", Phase.LUNCH),
        ("13:00:00.000", Phase.CONTINUOUS),
        ("14:56:59.999", Phase.CONTINUOUS),
        ("14:57:00.000", Phase.CLOSING_AUCTION),
        ("14:59:59.999", Phase.CLOSING_AUCTION),
        ("15:00:00.000", Phase.AFTER_HOURS),
        ("15:29:59.999", Phase.AFTER_HOURS),
        ("15:30:00.000", Phase.CLOSED),
        ("23:59:59.999", Phase.CLOSED),
    ],
)
def test_each_phase_lasts_from_its_start_up_to_the_millisecond_before_its_end(
    market: str, time: str, phase: Phase
) -> None:
    assert Calendar().phase(market, at(f"2026-09-30 {time}")) is phase


@pytest.mark.parametrize("text", ["2026-10-01", "2026-10-10", "2026-10-11"])
def test_a_day_without_trading_is_closed_all_day(text: str) -> None:
    calendar = Calendar()
    for minute in range(24 * 60):
        time_ms = at(f"{text} 00:00:00.000") + minute * 60_000
        assert calendar.phase("SH", time_ms) is Phase.CLOSED
        assert calendar.session_start_ms("SH", time_ms) is None


def test_the_phase_is_right_whatever_day_was_asked_for_before() -> None:
    calendar = Calendar()
    days = ["2026-09-30", "2026-10-01", "2026-09-29", "2026-10-08", "2026-10-09", "2026-10-10"] * 2
    phases = [calendar.phase("SZ", at(f"{text} 10:00:00.000")) for text in days]
    trading, closed = Phase.CONTINUOUS, Phase.CLOSED
    assert phases == [trading, closed, trading, trading, trading, closed] * 2


@pytest.mark.parametrize(
    ("time", "opened"),
    [
        ("09:14:59.999", None),
        ("09:15:00.000", "09:15:00.000"),
        ("09:24:59.999", "09:15:00.000"),
        ("09:25:00.000", None),
        ("09:30:00.000", "09:30:00.000"),
        ("11:29:59.999", "09:30:00.000"),
        ("11:30:00.000", None),
        ("13:00:00.000", "13:00:00.000"),
        ("14:56:59.999", "13:00:00.000"),
        ("14:57:00.000", "13:00:00.000"),  # the closing auction goes on with the afternoon
        ("14:59:59.999", "13:00:00.000"),
        ("15:00:00.000", None),
    ],
)
def test_rows_are_due_since_the_opening_of_the_session(time: str, opened: str | None) -> None:
    expected = None if opened is None else at(f"2026-09-30 {opened}")
    assert Calendar().session_start_ms("SH", at(f"2026-09-30 {time}")) == expected


@pytest.mark.parametrize(
    ("time", "trading_day"),
    [
        ("2026-09-30 00:00:00.000", "2026-09-30"),
        ("2026-09-30 23:59:59.999", "2026-09-30"),
        ("2026-10-01 00:00:00.000", "2026-09-30"),
        ("2026-10-07 23:59:59.999", "2026-09-30"),
        ("2026-10-08 00:00:00.000", "2026-10-08"),
        ("2026-10-11 12:00:00.000", "2026-10-09"),  # Sunday after a Saturday that is worked
        ("2024-02-18 12:00:00.000", "2024-02-08"),
    ],
)
def test_a_time_belongs_to_its_own_trading_day_or_to_the_newest_before(time: str, trading_day: str) -> None:
    calendar = Calendar()
    assert calendar.trading_day(at(time)) == day(trading_day)
    assert calendar.day_start_ms(at(time)) == at(f"{trading_day} 00:00:00.000")


def test_the_day_changes_at_midnight_in_shanghai() -> None:
    midnight_ms = at("2026-10-09 00:00:00.000")
    assert shanghai_day(midnight_ms - 1) == day("2026-10-08")
    assert shanghai_day(midnight_ms) == day("2026-10-09")
    assert midnight_ms == round(datetime.fromisoformat("2026-10-08T16:00:00+00:00").timestamp() * 1000)


@pytest.mark.parametrize(
    ("text", "trades", "guess"),
    [
        ("2026-12-31", True, False),
        ("2027-01-01", True, True),  # a holiday in truth; the table can't know
        ("2027-01-02", False, False),  # Saturday: exchanges never open on one
        ("2027-01-04", True, True),
        ("2003-12-31", True, True),
        ("2004-01-02", True, False),
    ],
)
def test_a_weekday_beyond_the_table_counts_as_a_trading_day_and_is_called_a_guess(
    text: str, trades: bool, guess: bool
) -> None:
    calendar = Calendar()
    assert calendar.is_trading_day(day(text)) is trades
    assert calendar.is_guess(day(text)) is guess


@pytest.mark.parametrize(
    ("time", "left"),
    [
        ("2026-12-01 00:00:00.000", 30),
        ("2026-12-01 23:59:59.999", 30),
        ("2026-12-02 00:00:00.000", 29),
        ("2026-12-31 12:00:00.000", 0),
        ("2027-03-01 12:00:00.000", 0),
        ("2025-12-31 12:00:00.000", 365),
    ],
)
def test_days_left_counts_down_to_the_end_of_the_table(time: str, left: int) -> None:
    assert Calendar().days_left(at(time)) == left


def test_the_table_ends_with_the_last_year_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    known_until = Calendar().known_until
    chinese_calendar.is_workday(known_until)
    with pytest.raises(NotImplementedError):
        chinese_calendar.is_workday(known_until + timedelta(days=1))


def test_days_of_a_source_rule_for_the_range_they_span_and_the_table_outside() -> None:
    calendar = Calendar(frozenset({day("2026-09-30"), day("2026-10-10"), day("2026-10-13")}))
    expected = {
        "2026-09-29": True,  # table
        "2026-09-30": True,
        "2026-10-01": False,
        "2026-10-08": False,  # a trading day of the table, but the source knows better
        "2026-10-10": True,  # a Saturday
        "2026-10-12": False,
        "2026-10-13": True,
        "2026-10-14": True,  # table
        "2026-10-17": False,  # table
    }
    assert {text: calendar.is_trading_day(day(text)) for text in expected} == expected


def test_the_day_of_a_recording_is_a_trading_day_whatever_the_table_says() -> None:
    calendar = Calendar(frozenset({day("2026-10-01")}))
    assert calendar.phase("SZ", at("2026-10-01 10:00:00.000")) is Phase.CONTINUOUS
    assert calendar.phase("SZ", at("2026-10-02 10:00:00.000")) is Phase.CLOSED
    assert calendar.trading_day(at("2026-10-03 10:00:00.000")) == day("2026-10-01")
    assert calendar.known_until == TABLE_ENDS


def test_a_source_without_any_trading_day_leaves_all_to_the_table() -> None:
    calendar = Calendar(frozenset())
    assert calendar.is_trading_day(day("2026-09-30"))
    assert not calendar.is_trading_day(day("2026-10-01"))
    assert calendar.known_until == TABLE_ENDS


def test_days_of_a_source_that_go_on_where_the_table_ends_extend_the_calendar() -> None:
    calendar = Calendar(frozenset({day("2026-12-31"), day("2027-01-04"), day("2027-01-05")}))
    assert calendar.known_until == day("2027-01-05")
    assert calendar.days_left(at("2026-12-31 12:00:00.000")) == 5
    assert not calendar.is_trading_day(day("2027-01-01"))
    assert not calendar.is_guess(day("2027-01-01"))
    assert calendar.is_guess(day("2027-01-06"))


def test_days_of_a_source_that_begin_on_the_day_after_the_table_leave_no_hole() -> None:
    calendar = Calendar(frozenset({TABLE_ENDS + timedelta(days=1), day("2027-01-29")}))
    assert calendar.known_until == day("2027-01-29")


def test_a_hole_between_table_and_source_is_not_known() -> None:
    calendar = Calendar(frozenset({day("2027-03-01"), day("2027-03-31")}))
    assert calendar.known_until == TABLE_ENDS
    assert calendar.is_guess(day("2027-02-26"))
    assert calendar.days_left(at("2027-02-26 12:00:00.000")) == 0
    assert not calendar.is_guess(day("2027-03-02"))
    assert calendar.days_left(at("2027-03-02 12:00:00.000")) == 29
