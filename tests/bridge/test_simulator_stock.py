from datetime import date

import pytest

from bridge.simulator.boards import LISTINGS
from bridge.simulator.draws import Draws
from bridge.simulator.factors import Factors
from bridge.simulator.stock import Stock
from bridge.simulator.universe import Profile

DAY = date(2026, 9, 1)


def stock(close_fen: int, turnover_yuan: float, draws: Draws) -> Stock:
    profile = Profile("600001.SH", "岚川银行", LISTINGS[0], False, 0, close_fen, turnover_yuan)
    return Stock(profile, draws, DAY)


@pytest.mark.parametrize("ticks_away", [0.5, 1.5, 7.0])
def test_a_wide_book_near_a_limit_ends_at_the_limit(ticks_away: float) -> None:
    one = stock(70_000, 5e7, Draws("wide"))
    for _ in range(200):
        one.quote(one.limit_up - ticks_away)
        assert max(one.asks.prices) <= one.limit_up
        assert one.bids.prices[0] < one.asks.prices[0]
        one.quote(one.limit_down + ticks_away)
        assert min(one.bids.prices) >= one.limit_down
        assert one.bids.prices[0] < one.asks.prices[0]


@pytest.mark.parametrize("push", [1, -1])
def test_a_side_only_empties_when_the_limit_was_traded_at(push: int) -> None:
    reached = 0
    for day in range(60):
        draws = Draws("idle", day)
        factors = Factors(draws)
        one = stock(1000, 2e6, draws)
        one.begin_day(DAY, 0, push=push)
        limit = one.limit_up if push > 0 else one.limit_down
        for step in range(1, 200):
            factors.advance(step / 200)
            changed = one.trade_on(factors, step / 200)
            if changed and not (one.asks.prices if push > 0 else one.bids.prices):
                assert one.last == limit
                reached += 1
    assert reached > 500


def test_a_book_keeps_what_the_market_leaves_standing() -> None:
    one = stock(1000, 5e7, Draws("steady"))
    one.quote(1000.5)
    before = [dict(zip(side.prices, side.volumes, strict=True)) for side in (one.asks, one.bids)]
    one.quote(1001.5)
    after = [dict(zip(side.prices, side.volumes, strict=True)) for side in (one.asks, one.bids)]
    for was, now in zip(before, after, strict=True):
        assert was != now
        kept = [price for price in was if price in now]
        assert len(kept) >= 3
        assert sum(was[price] == now[price] for price in kept) >= len(kept) - 1


@pytest.mark.parametrize("shares", [50, 150, 249, 1050])
def test_no_total_is_half_a_hand_which_could_be_rounded_both_ways(shares: int) -> None:
    one = stock(1000, 5e7, Draws("half"))
    one.trade(shares, 1000)
    one.trade(101, 1001)
    volume, pvolume = one.make_row(0, 13)[8:10]
    assert volume == round(pvolume / 100) == int(pvolume / 100 + 0.5)
