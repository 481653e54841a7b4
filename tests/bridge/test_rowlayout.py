"""One row of a recording: which cells make a tick, which don't and why, and the way back to cells."""

from typing import Any

import pytest

from bridge.rowlayout import COLUMNS, FLOAT_COLUMNS, BadRowError, Cause, parse, to_cells
from hub.schema import CHANNELS
from tests.bridge.support.recordings import OPEN_MS, cells

NAMES = CHANNELS["tick"].source_names
GOOD_ROW = parse(cells())


def by_name(**changes: str) -> dict[str, Any]:
    return dict(zip(NAMES, parse(cells(**changes)), strict=True))


def row_with(**changes: Any) -> tuple[Any, ...]:
    return tuple((dict(zip(NAMES, GOOD_ROW, strict=True)) | changes).values())


def test_the_columns_are_those_of_the_published_layout() -> None:
    head = "code,time,lastPrice,open,high,low,lastClose,amount,volume,pvolume,openInt,transactionNum"
    books = [f"{book}{level}" for book in ("askPrice", "bidPrice", "askVol", "bidVol") for level in range(1, 6)]
    assert list(COLUMNS) == head.split(",") + books


def test_every_value_stands_under_its_own_name() -> None:
    assert by_name() == {
        "code": "600000.SH",
        "time": OPEN_MS,
        "lastPrice": 8.01,
        "open": 8.0,
        "high": 8.05,
        "low": 7.99,
        "lastClose": 8.02,
        "amount": 1234567.89,
        "volume": 1541,
        "pvolume": 154128,
        "stockStatus": None,
        "openInt": 13,
        "lastSettlementPrice": None,
        "transactionNum": 77,
        "askPrice": [8.02, 8.03, 8.04, 8.05, 8.06],
        "bidPrice": [8.0, 7.99, 7.98, 7.97, 7.96],
        "askVol": [10, 20, 30, 40, 50],
        "bidVol": [11, 22, 33, 44, 55],
    }


def test_prices_and_amount_are_floats_and_all_other_numbers_ints() -> None:
    row = by_name()
    floats = {name for name in row if type(row[name]) is float}
    ints = {name for name in row if type(row[name]) is int}
    assert floats == {"lastPrice", "open", "high", "low", "lastClose", "amount"}
    assert ints == {"time", "volume", "pvolume", "openInt", "transactionNum"}
    assert {type(level) for name in ("askPrice", "bidPrice") for level in row[name]} == {float}
    assert {type(level) for name in ("askVol", "bidVol") for level in row[name]} == {int}


@pytest.mark.parametrize("code", ["000001.SZ", "688981.SH", "920002.BJ"])
def test_the_three_exchanges_are_known(code: str) -> None:
    assert by_name(code=code)["code"] == code


@pytest.mark.parametrize("largest", [2**31, 2**53 + 1, 2**63 - 1])
def test_whole_numbers_are_exact_up_to_64_bits(largest: int) -> None:
    assert by_name(pvolume=str(largest), bidVol5=str(largest))["pvolume"] == largest


BAD_CELLS = [
    (Cause.NUMBER, {"lastPrice": "abc"}),
    (Cause.NUMBER, {"lastPrice": ""}),
    (Cause.NUMBER, {"time": ""}),
    (Cause.NUMBER, {"time": "1654047000000.0"}),
    (Cause.NUMBER, {"high": "nan"}),
    (Cause.NUMBER, {"amount": "inf"}),
    (Cause.NUMBER, {"amount": "-Infinity"}),
    (Cause.NUMBER, {"amount": "1e999"}),
    (Cause.NUMBER, {"volume": "12.5"}),
    (Cause.NUMBER, {"volume": "0x10"}),
    (Cause.NUMBER, {"bidVol5": "none"}),
    (Cause.NUMBER, {"askPrice3": "NaN"}),
    (Cause.NUMBER, {"bidPrice1": ""}),
    (Cause.RANGE, {"volume": "-1"}),
    (Cause.RANGE, {"volume": str(2**63)}),
    (Cause.RANGE, {"askVol2": "9" * 30}),
    (Cause.RANGE, {"low": "-0.01"}),
    (Cause.RANGE, {"bidPrice5": "-8"}),
    (Cause.EXCHANGE, {"code": "600000.HK"}),
    (Cause.EXCHANGE, {"code": "600000.sh"}),
    (Cause.EXCHANGE, {"code": "600000.SH.SZ"}),
    (Cause.CODE, {"code": ""}),
    (Cause.CODE, {"code": "600000"}),
    (Cause.CODE, {"code": "600000."}),
    (Cause.CODE, {"code": "60000.SH"}),
    (Cause.CODE, {"code": "600 00.SH"}),
    (Cause.CODE, {"code": "SH.600000"}),
    (Cause.TIME, {"time": "0"}),
    (Cause.TIME, {"time": "-1654047000000"}),
    (Cause.TIME, {"time": "1654047000"}),
    (Cause.TIME, {"time": "1654047000000000"}),
    (Cause.TIME, {"time": "9" * 30}),
]


@pytest.mark.parametrize(("cause", "changes"), BAD_CELLS, ids=str)
def test_a_bad_cell_makes_a_bad_row_of_its_cause(cause: Cause, changes: dict[str, str]) -> None:
    with pytest.raises(BadRowError) as caught:
        parse(cells(**changes))
    assert caught.value.cause == cause
    assert next(iter(changes)).rstrip("12345") in str(caught.value)


def test_a_bad_cell_is_shown_shortened() -> None:
    with pytest.raises(BadRowError) as caught:
        parse(cells(volume="x" * 10_000))
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("count", [0, 1, 31, 33])
def test_a_row_of_another_width_is_bad(count: int) -> None:
    with pytest.raises(BadRowError) as caught:
        parse((cells() * 2)[:count])
    assert caught.value.cause == Cause.COLUMNS


def test_an_empty_cell_is_null_where_a_source_may_have_nothing() -> None:
    books = {f"{book}{level}": "" for book in ("askPrice", "bidVol") for level in range(1, 6)}
    row = by_name(open="", amount="", pvolume="", openInt="", transactionNum="", **books)
    null = {name for name in NAMES if row[name] is None}
    assert null == {
        "open",
        "amount",
        "pvolume",
        "openInt",
        "transactionNum",
        "askPrice",
        "bidVol",
        "stockStatus",
        "lastSettlementPrice",
    }
    assert row["volume"] == 1541


def test_typed_values_are_taken_like_text() -> None:
    kinds = {name: str if name == "code" else float if name in FLOAT_COLUMNS else int for name in COLUMNS}
    typed = [kinds[name](cell) for name, cell in zip(COLUMNS, cells(), strict=True)]
    assert parse(typed) == GOOD_ROW


def test_a_row_goes_to_cells_and_back_unchanged() -> None:
    awkward = row_with(lastPrice=11.370000000000001, amount=1e15 + 0.125, low=5e-324, pvolume=2**63 - 1)
    nulls = row_with(open=None, volume=None, askPrice=None, bidVol=None)
    for row in (GOOD_ROW, awkward, nulls):
        text = ["" if cell is None else str(cell) for cell in to_cells(row)]
        assert parse(text) == row


def test_what_the_layout_has_no_column_for_is_left_out() -> None:
    row = row_with(stockStatus=3, lastSettlementPrice=8.02)
    assert parse(to_cells(row)) == GOOD_ROW


def test_a_book_is_brought_to_five_levels() -> None:
    row = row_with(askPrice=[8.02, None], askVol=[1, 2], bidPrice=[8.0 - n / 100 for n in range(10)], bidVol=[])
    back = dict(zip(NAMES, parse(to_cells(row)), strict=True))
    assert back["askPrice"] == [8.02, 0.0, 0.0, 0.0, 0.0]
    assert back["askVol"] == [1, 2, 0, 0, 0]
    assert back["bidPrice"] == [8.0 - n / 100 for n in range(5)]
    assert back["bidVol"] == [0, 0, 0, 0, 0]


def test_whole_numbers_that_come_as_floats_are_written_as_whole_numbers() -> None:
    assert parse(to_cells(row_with(volume=1541.0))) == GOOD_ROW


@pytest.mark.parametrize(
    ("cause", "row"),
    [
        (Cause.COLUMNS, GOOD_ROW[:-1]),
        (Cause.COLUMNS, (*GOOD_ROW, 1)),
        (Cause.CODE, row_with(code="600000,SH")),
        (Cause.CODE, row_with(code="600000.SH\n")),
        (Cause.CODE, row_with(code=600000)),
        (Cause.NUMBER, row_with(time=None)),
        (Cause.NUMBER, row_with(volume=1.5)),
        (Cause.NUMBER, row_with(volume=2**63)),
        (Cause.NUMBER, row_with(volume=float("nan"))),
        (Cause.NUMBER, row_with(lastPrice="cheap")),
        (Cause.NUMBER, row_with(askPrice=8.02)),
        (Cause.NUMBER, row_with(bidVol=[[1]])),
    ],
)
def test_a_row_that_no_column_can_hold_is_refused(cause: Cause, row: tuple[Any, ...]) -> None:
    with pytest.raises(BadRowError) as caught:
        to_cells(row)
    assert caught.value.cause == cause
