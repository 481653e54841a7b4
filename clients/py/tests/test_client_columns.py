from typing import Any

import pytest
from fake_hub import BAR_FIELDS, L2ORDER_FIELDS, STATUS_FIELDS, TICK_FIELDS, tick

from argus_client.columns import change, clock, columns_for, count, headings, line, price
from argus_client.messages import TopicInfo
from argus_client.rows import Row, Schemas

SCHEMAS = Schemas({"tick": TICK_FIELDS, "1m": BAR_FIELDS, "status": STATUS_FIELDS, "l2order": L2ORDER_FIELDS})


def row(channel: str, values: dict[str, Any]) -> Row:
    return SCHEMAS.rows(channel, "live", [list(values.values())])[0]


def shown(one: Row | TopicInfo) -> tuple[str, str]:
    return headings(columns_for(one)), line(columns_for(one), one)


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (1654046100000, "09:15:00.000"),
        (1654046100007, "09:15:00.007"),
        (1654099199999, "23:59:59.999"),
        (0, "08:00:00.000"),
        (None, "-"),
    ],
)
def test_times_are_shown_as_in_shanghai(time_ms: int | None, text: str) -> None:
    assert clock(time_ms) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7.3, "7.30"),
        (11.370000000000001, "11.37"),
        (1.234, "1.234"),
        (3210.12345, "3210.1235"),
        (12, "12.00"),
        (0, "-"),
    ],
)
def test_prices_have_two_to_four_decimals_and_none_is_a_dash(value: float | None, text: str) -> None:
    assert price(value) == text


def test_volumes_are_whole_numbers() -> None:
    assert (count(758613), count(862127800.0), count(0), count(None)) == ("758613", "862127800", "0", "-")


def test_the_change_is_against_the_previous_close() -> None:
    ticks: list[Any] = [row("tick", tick(lastPrice=last, lastClose=10)) for last in (11, 9.5, 10, 0)]
    assert [change(one) for one in ticks] == ["+10.00%", "-5.00%", "+0.00%", "-"]


def test_ticks_stand_in_columns_under_their_headings() -> None:
    heading, text = shown(row("tick", tick("600000.SH", 1)))
    assert heading.split()[:4] == ["time", "code", "last", "change"]
    assert text.split() == [
        *("09:30:03.000", "600000.SH", "7.31", "+0.41%"),
        *("7.31", "2429", "7.32", "10929", "758613", "0", "live"),
    ]
    for name, value in (("last", "7.31"), ("change", "+0.41%"), ("bid vol", "2429"), ("volume", "758613")):
        assert heading.index(name) + len(name) == text.index(value) + len(value)
    assert heading.index("origin") == text.index("live")


def test_a_book_that_is_empty_or_absent_shows_dashes() -> None:
    for book in ([], None, [0, 0]):
        _, text = shown(row("tick", tick(askPrice=book, bidPrice=book, askVol=[], bidVol=None)))
        assert text.split()[4:8] == ["-", "-", "-", "-"]


def test_bars_status_and_topics_have_columns_of_their_own() -> None:
    bar = dict.fromkeys(BAR_FIELDS, 7.5) | {"code": "600000.SH", "time": 1654046100000, "volume": 10, "amount": 7500}
    assert shown(row("1m", bar))[1].split() == ["09:15:00.000", "600000.SH", *["7.50"] * 4, "10", "7500", "live"]
    status = dict.fromkeys(STATUS_FIELDS, None) | {
        "code": "SH",
        "time": 1654046100000,
        "state": "stale",
        "age_ms": 9000,
    }
    assert shown(row("status", status | {"detail": "no rows"}))[1].split(maxsplit=5) == [
        "09:15:00.000", "SH", "stale", "-", "9000", "no rows",
    ]  # fmt: skip
    assert shown(TopicInfo("tick:600000.SH", 12, 1654046100000)) == (
        "topic                       seq         time",
        "tick:600000.SH               12 09:15:00.000",
    )


def test_rows_of_any_other_channel_show_all_their_fields() -> None:
    order = dict.fromkeys(L2ORDER_FIELDS, 1) | {"code": "600000.SH", "time": 1654046100000}
    text = shown(row("l2order", order))[1]
    assert text == (
        "09:15:00.000 600000.SH  live     seq=1 price=1 volume=1 entrustNo=1 entrustType=1 entrustDirection=1"
    )
