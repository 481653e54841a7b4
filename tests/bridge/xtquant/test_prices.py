"""Numbers on their tick, and null for what is none."""

import math
from typing import Any

import pytest

from bridge.xtquant.codes import kind_of
from bridge.xtquant.prices import MOST_REMEMBERED, Rounder, digits_of, real, whole


@pytest.mark.parametrize(
    ("digits", "given", "price"),
    [
        (2, 11.370000000000001, 11.37),
        (2, 19.740000000000002, 19.74),
        (3, 1.2345, 1.234),
        (2, 0, 0.0),
        (2, -0.005, -0.01),
        (2, 1.7976931348623157e308, None),
        (2, 6.95e-310, None),
        (2, math.nan, None),
        (2, math.inf, None),
    ],
)
def test_a_price_is_on_its_tick_or_none(digits: int, given: float, price: float | None) -> None:
    rounder = Rounder(digits)
    assert rounder[given] == price
    assert rounder[given] == price, "also when it is remembered"


def test_what_is_remembered_is_bounded() -> None:
    rounder = Rounder(2)
    for number in range(MOST_REMEMBERED + 2):
        rounder[float(number)]
    assert len(rounder) <= 2


@pytest.mark.parametrize("unset", [2**31 - 1, -(2**31), 2**63 - 1, 2**32 - 1])
def test_an_unset_number_is_none(unset: int) -> None:
    assert whole(unset) is None
    assert whole(unset - 1 if unset > 0 else unset + 1) is not None


def test_a_number_of_another_type_becomes_a_plain_one() -> None:
    class Int64(int):
        pass

    assert type(whole(Int64(2_054_562_284))) is int
    assert whole(2_054_562_284) == 2_054_562_284


@pytest.mark.parametrize("none", ["", "x", None, [], {}])
def test_what_is_no_number_is_an_error_and_not_null(none: Any) -> None:
    for read in (real, whole):
        with pytest.raises((TypeError, ValueError)):
            read(none)


@pytest.mark.parametrize(
    ("tick", "digits"),
    [(0.01, 2), (0.1**3, 3), (1, 0), (0.0001, 4), (0.005, 3), (0.0, None), (None, None), (1.79e308, None), (-1, None)],
)
def test_the_decimal_places_of_a_tick_size(tick: float | None, digits: int | None) -> None:
    assert digits_of(tick) == digits


@pytest.mark.parametrize(
    ("code", "kind", "board", "digits", "lot"),
    [
        ("600000.SH", "stock", "main", 2, 100),
        ("688001.SH", "stock", "star", 2, 200),
        ("000001.SZ", "stock", "main", 2, 100),
        ("301999.SZ", "stock", "chinext", 2, 100),
        ("920001.BJ", "stock", "bse", 2, 100),
        ("000001.SH", "index", "index", 4, None),
        ("399001.SZ", "index", "index", 4, None),
        ("899050.BJ", "index", "index", 4, None),
        ("510300.SH", "fund", "fund", 3, 100),
        ("159915.SZ", "fund", "fund", 3, 100),
        ("113050.SH", "bond", "bond", 3, 10),
        ("IF2609.IF", "other", "other", 3, None),
    ],
)
def test_what_a_code_stands_for(code: str, kind: str, board: str, digits: int, lot: int | None) -> None:
    found = kind_of(code)
    assert (found.kind, found.board, found.digits, found.lot) == (kind, board, digits, lot)
