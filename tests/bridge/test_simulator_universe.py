import re
from collections import Counter
from datetime import date

import pytest

from bridge.simulator.boards import LISTINGS, Board, price_limits
from bridge.simulator.universe import MAX_SYMBOLS, allocate, build_universe

REAL_CODES = {
    (Board.MAIN, "SH"): r"60[0135]\d{3}",
    (Board.MAIN, "SZ"): r"00[0123]\d{3}",
    (Board.CHINEXT, "SZ"): r"30[012]\d{3}",
    (Board.STAR, "SH"): r"68[89]\d{3}",
    (Board.BSE, "BJ"): r"920\d{3}",
}


def test_the_default_market_has_5500_unique_codes_in_the_ranges_of_their_boards() -> None:
    universe = build_universe(5500, seed=1)
    assert len({profile.code for profile in universe}) == 5500
    for profile in universe:
        listing = profile.listing
        pattern = REAL_CODES[listing.board, listing.exchange]
        assert re.fullmatch(rf"{pattern}\.{listing.exchange}", profile.code)
    boards = Counter(profile.listing.board for profile in universe)
    assert boards == {Board.MAIN: 3195, Board.CHINEXT: 1400, Board.STAR: 610, Board.BSE: 295}


def test_every_name_is_given_once_and_tells_st_stocks_apart() -> None:
    universe = build_universe(5500, seed=1)
    assert len({profile.name for profile in universe}) == 5500
    assert all(profile.name.startswith(("ST", "*ST")) == profile.st for profile in universe)
    assert 80 < sum(profile.st for profile in universe) < 300


def test_the_codes_that_people_try_first_are_large_companies_in_good_standing() -> None:
    for seed in range(20):
        universe = {profile.code: profile for profile in build_universe(40, seed)}
        for code in ("600000.SH", "000001.SZ"):
            assert not universe[code].st
            assert universe[code].turnover_yuan >= 600e6


def test_closes_and_turnovers_are_plausible() -> None:
    universe = build_universe(5500, seed=1)
    closes = sorted(profile.close_fen for profile in universe)
    assert closes[0] >= 150
    assert closes[-1] <= 80_000
    assert 900 < closes[2750] < 2000
    market = sum(profile.turnover_yuan for profile in universe)
    assert 0.7e12 < market < 3e12


@pytest.mark.parametrize("symbols", [5, 20, 200])
def test_a_small_market_keeps_a_mix_of_boards_and_the_codes_that_people_try_first(symbols: int) -> None:
    universe = build_universe(symbols, seed=7)
    assert {(profile.listing.board, profile.listing.exchange) for profile in universe} == set(REAL_CODES)
    assert {"600000.SH", "000001.SZ"} <= {profile.code for profile in universe}


@pytest.mark.parametrize("symbols", [1, 14, 50_000, MAX_SYMBOLS])
def test_a_market_of_any_size_has_exactly_as_many_unique_valid_codes(symbols: int) -> None:
    universe = build_universe(symbols, seed=3)
    codes = {profile.code for profile in universe}
    assert len(universe) == len(codes) == symbols
    assert all(re.fullmatch(r"\d{6}\.(SH|SZ|BJ)", code) for code in codes)
    assert not any(code.startswith("399") for code in codes), "399xxx.SZ are indices"


@pytest.mark.parametrize("symbols", [0, -1, MAX_SYMBOLS + 1])
def test_an_impossible_number_of_symbols_is_refused_in_one_line(symbols: int) -> None:
    with pytest.raises(ValueError, match=rf"^the simulator has 1 to {MAX_SYMBOLS} symbols, not {symbols}$"):
        build_universe(symbols, seed=1)


def test_a_seed_makes_its_own_market_every_time() -> None:
    assert build_universe(300, seed=4) == build_universe(300, seed=4)
    assert build_universe(300, seed=4) != build_universe(300, seed=5)


def test_shares_are_proportional_and_nobody_is_left_out() -> None:
    assert allocate(1000, [900, 90, 10]) == [900, 90, 10]
    assert allocate(13, [900, 90, 10]) == [11, 1, 1]
    assert allocate(2, [1, 1, 98]) == [1, 1, 0]


@pytest.mark.parametrize(
    ("close", "percent", "limits"),
    [
        (1138, 10, (1024, 1252)),  # 10.242 and 12.518
        (1005, 10, (905, 1106)),  # 9.045 and 11.055: half a tick goes up
        (3, 10, (2, 4)),  # at least one tick away
        (1, 10, (1, 2)),
        (2000, 30, (1400, 2600)),
    ],
)
def test_price_limits_are_rounded_half_up_and_at_least_a_tick_away(
    close: int, percent: int, limits: tuple[int, int]
) -> None:
    assert price_limits(close, percent) == limits


def test_st_stocks_of_the_main_board_move_by_5_percent_before_july_2026_and_by_10_since() -> None:
    by_board = {(listing.board, listing.exchange): listing for listing in LISTINGS}
    main, chinext = by_board[Board.MAIN, "SH"], by_board[Board.CHINEXT, "SZ"]
    before, since = date(2026, 7, 3), date(2026, 7, 6)
    assert main.limit_percent_on(before, st=True) == 5
    assert main.limit_percent_on(since, st=True) == 10
    assert main.limit_percent_on(before, st=False) == 10
    assert chinext.limit_percent_on(before, st=True) == 20
    assert by_board[Board.STAR, "SH"].limit_percent_on(since, st=False) == 20
    assert by_board[Board.BSE, "BJ"].limit_percent_on(since, st=False) == 30
