"""A whole simulated day, looked at row by row as a trader would."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import date, datetime, time, timedelta
from functools import cache
from itertools import chain, islice, pairwise
from typing import NamedTuple

import pytest

from bridge.simulator.market import Market
from bridge.simulator.timeline import CHINA, Slice, slices_from
from bridge.simulator.universe import Instrument
from hub.schema import CHANNELS, Row

DAY = date(2026, 9, 1)
SYMBOLS = 200
# Coarser than the exchanges' 3 s, to look at a whole day in a few seconds.
INTERVAL_MS = 12_000


@cache
def clock(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, CHINA).strftime("%H:%M:%S")


class Tick(NamedTuple):
    code: str
    time: int
    lastPrice: float  # noqa: N815
    open: float
    high: float
    low: float
    lastClose: float  # noqa: N815
    amount: float
    volume: int
    pvolume: int
    stockStatus: int | None  # noqa: N815
    openInt: int  # noqa: N815
    lastSettlementPrice: float  # noqa: N815
    transactionNum: int  # noqa: N815
    askPrice: list[float]  # noqa: N815
    bidPrice: list[float]  # noqa: N815
    askVol: list[int]  # noqa: N815
    bidVol: list[int]  # noqa: N815

    @property
    def clock(self) -> str:
        return clock(self.time)

    @property
    def exchange(self) -> str:
        return self.code[-2:]


class Day(NamedTuple):
    instruments: dict[str, Instrument]
    ticks: list[Tick]
    by_code: dict[str, list[Tick]]
    next_morning: list[Tick]


def rows_of(market: Market, piece: Slice) -> list[Row]:
    return [*chain.from_iterable(market.advance(piece))]


def ticks_of(rows: Iterable[Row]) -> list[Tick]:
    return [Tick._make(row) for row in rows]


@pytest.fixture(scope="module")
def day() -> Day:
    market = Market(SYMBOLS, 5, DAY, time(9, 15), INTERVAL_MS)
    instruments = {instrument.code: instrument for instrument in market.instruments()}
    ticks: list[Tick] = []
    by_code: dict[str, list[Tick]] = defaultdict(list)
    for piece in slices_from(DAY, time(9, 15), INTERVAL_MS):
        batch = ticks_of(rows_of(market, piece))
        if piece.day != DAY:
            if batch:
                return Day(instruments, ticks, by_code, batch)
            continue
        for tick in batch:
            assert piece.start_ms // 1000 * 1000 <= tick.time < piece.end_ms
            by_code[tick.code].append(tick)
        ticks += batch
    raise AssertionError("the market ended")


def traded(day: Day) -> Iterator[Tick]:
    return (tick for tick in day.ticks if tick.pvolume)


def standing(day: Day) -> Iterator[Tick]:
    """Rows with a book in which orders stand, not an auction's indicative one."""
    return (tick for tick in day.ticks if tick.openInt in (13, 14, 15))


def test_rows_have_the_columns_of_the_tick_channel() -> None:
    assert Tick._fields == CHANNELS["tick"].source_names


def test_there_are_rows_enough_to_judge(day: Day) -> None:
    assert set(day.by_code) == set(day.instruments)
    assert len(day.instruments) == SYMBOLS
    assert len(day.ticks) > 150_000


def test_every_value_has_the_type_that_clients_are_told(day: Day) -> None:
    for tick in day.ticks:
        floats = (tick.lastPrice, tick.open, tick.high, tick.low, tick.lastClose, tick.amount, tick.lastSettlementPrice)
        assert all(type(value) is float for value in (*floats, *tick.askPrice, *tick.bidPrice))
        ints = (tick.time, tick.volume, tick.pvolume, tick.openInt, tick.transactionNum)
        assert all(type(value) is int for value in (*ints, *tick.askVol, *tick.bidVol))
        assert tick.stockStatus is None
        assert {len(tick.askPrice), len(tick.bidPrice), len(tick.askVol), len(tick.bidVol)} == {5}


def test_every_price_is_on_the_tick_grid_without_noise(day: Day) -> None:
    for tick in day.ticks:
        for price in (tick.lastPrice, tick.open, tick.high, tick.low, tick.lastClose, *tick.askPrice, *tick.bidPrice):
            assert price == round(price, 2)
        assert tick.amount == round(tick.amount, 2)


def test_no_price_is_beyond_the_limits_of_the_day(day: Day) -> None:
    for tick in day.ticks:
        instrument = day.instruments[tick.code]
        for price in (tick.lastPrice, tick.open, tick.high, tick.low, *tick.askPrice, *tick.bidPrice):
            assert price == 0 or instrument.limit_down <= price <= instrument.limit_up


def test_times_are_whole_seconds_and_never_go_back_for_an_instrument(day: Day) -> None:
    assert all(tick.time % 1000 == 0 for tick in day.ticks)
    for ticks in day.by_code.values():
        assert all(before.time <= after.time for before, after in pairwise(ticks))


def test_what_accumulates_never_decreases_and_grows_together(day: Day) -> None:
    for ticks in day.by_code.values():
        for before, after in pairwise(ticks):
            growth = {
                after.pvolume - before.pvolume,
                after.transactionNum - before.transactionNum,
                round(after.amount - before.amount, 2),
            }
            assert growth == {0} or min(growth) > 0
            assert after.volume >= before.volume
            assert after.lastClose == before.lastClose


def test_amount_volume_and_shares_agree(day: Day) -> None:
    for tick in day.ticks:
        assert tick.volume == round(tick.pvolume / 100)
        assert tick.transactionNum <= tick.pvolume
        if tick.pvolume:
            assert tick.low - 1e-9 <= tick.amount / tick.pvolume <= tick.high + 1e-9
        else:
            assert tick.amount == tick.open == tick.high == tick.low == 0


def test_open_and_last_are_between_low_and_high(day: Day) -> None:
    for tick in traded(day):
        assert tick.low <= min(tick.open, tick.lastPrice)
        assert max(tick.open, tick.lastPrice) <= tick.high


def test_the_open_never_changes_and_the_range_only_widens(day: Day) -> None:
    for ticks in day.by_code.values():
        for before, after in pairwise(tick for tick in ticks if tick.pvolume):
            assert after.open == before.open
            assert after.low <= before.low
            assert before.high <= after.high


def test_standing_books_are_sorted_with_the_bid_below_the_ask(day: Day) -> None:
    for tick in standing(day):
        asks = [price for price in tick.askPrice if price]
        bids = [price for price in tick.bidPrice if price]
        assert asks == sorted(set(asks)) == tick.askPrice[: len(asks)]
        assert bids == sorted(set(bids), reverse=True) == tick.bidPrice[: len(bids)]
        assert [bool(price) for price in tick.askPrice] == [volume > 0 for volume in tick.askVol]
        assert [bool(price) for price in tick.bidPrice] == [volume > 0 for volume in tick.bidVol]
        assert asks or bids
        if asks and bids:
            assert bids[0] < asks[0]


def test_a_side_is_empty_exactly_at_a_limit_where_the_other_side_queues(day: Day) -> None:
    at_limit = Counter[str]()
    for tick in standing(day):
        instrument = day.instruments[tick.code]
        if not tick.askPrice[0]:
            assert tick.askPrice == [0.0] * 5
            assert tick.askVol == [0] * 5
            assert tick.lastPrice == tick.bidPrice[0] == tick.high == instrument.limit_up
            assert tick.bidVol[0] >= 90
            at_limit["up"] += 1
        elif not tick.bidPrice[0]:
            assert tick.bidPrice == [0.0] * 5
            assert tick.bidVol == [0] * 5
            assert tick.lastPrice == tick.askPrice[0] == tick.low == instrument.limit_down
            assert tick.askVol[0] >= 90
            at_limit["down"] += 1
        else:
            assert tick.bidPrice[0] < instrument.limit_up
            assert tick.askPrice[0] > instrument.limit_down
    assert at_limit["up"] > 100
    assert at_limit["down"] > 100


def test_a_few_stocks_reach_their_limits_and_most_do_not(day: Day) -> None:
    reached = sum(
        ticks[-1].high == day.instruments[code].limit_up or ticks[-1].low == day.instruments[code].limit_down
        for code, ticks in day.by_code.items()
    )
    assert 2 <= reached <= 0.1 * SYMBOLS


def test_the_status_tells_the_phase(day: Day) -> None:
    suspended = {code for code, ticks in day.by_code.items() if ticks[0].openInt == 1}
    for tick in day.ticks:
        if tick.code in suspended:
            continue
        if tick.clock < "09:25:00":
            expected = 12
        elif tick.clock < "09:30:00" or "11:30:00" <= tick.clock < "13:00:00":
            expected = 13 if tick.exchange == "SH" else 14
        elif tick.clock < "14:57:00":
            expected = 13
        elif tick.clock < "15:00:00":
            expected = 18
        else:
            expected = 15
        assert tick.openInt == expected


def test_a_suspended_stock_has_one_empty_row_all_day(day: Day) -> None:
    suspended = [ticks for ticks in day.by_code.values() if ticks[0].openInt == 1]
    assert 1 <= len(suspended) <= 3
    for ticks in suspended:
        assert len(ticks) == 1
        assert ticks[0].lastPrice == ticks[0].volume == ticks[0].askPrice[0] == ticks[0].bidPrice[0] == 0
        assert ticks[0].lastClose > 0


def test_auction_books_show_the_indicative_price_and_the_surplus_on_one_side(day: Day) -> None:
    shown = [tick for tick in day.ticks if tick.openInt in (12, 18)]
    with_price = [tick for tick in shown if tick.askPrice[0]]
    assert len(with_price) > 0.8 * len(shown)
    for tick in shown:
        price, matched = tick.askPrice[0], tick.askVol[0]
        assert tick.askPrice == tick.bidPrice == [price, 0.0, 0.0, 0.0, 0.0]
        assert tick.bidVol[0] == matched
        assert bool(price) == (matched > 0)
        assert min(tick.askVol[1], tick.bidVol[1]) == 0
        assert tick.askVol[2:] == tick.bidVol[2:] == [0, 0, 0]
        if tick.openInt == 12:
            assert tick.lastPrice == price
            assert tick.open == tick.high == tick.low == tick.volume == 0
    assert any(tick.askVol[1] for tick in shown)
    assert any(tick.bidVol[1] for tick in shown)


def test_the_0925_match_opens_the_day_at_the_price_of_the_auction(day: Day) -> None:
    opened = 0
    for ticks in day.by_code.values():
        match = [tick for tick in ticks if "09:25:00" <= tick.clock < "09:30:00"]
        auction = [tick for tick in ticks if tick.clock < "09:25:00"]
        if not match:
            assert auction[0].openInt == 1
            continue
        (row,) = match
        if not row.pvolume:
            continue
        opened += 1
        assert row.open == row.high == row.low == row.lastPrice
        assert row.amount == pytest.approx(row.open * row.pvolume)
        if auction[-1].lastPrice and auction[-1].clock > "09:24:30":
            assert row.open == pytest.approx(auction[-1].lastPrice, rel=0.01, abs=0.011)
    assert opened > 0.85 * SYMBOLS


def test_nothing_is_traded_in_breaks_and_in_the_closing_auction_before_its_match(day: Day) -> None:
    for ticks in day.by_code.values():
        for before, after in pairwise(ticks):
            if after.pvolume > before.pvolume:
                assert (
                    "09:25:00" <= after.clock < "09:25:12"
                    or "09:30:00" <= after.clock < "11:30:00"
                    or "13:00:00" <= after.clock < "14:57:00"
                    or after.clock >= "15:00:00"
                )


def test_at_the_close_every_stock_says_so_once_and_most_match(day: Day) -> None:
    closes = {code: [tick for tick in ticks if tick.openInt == 15] for code, ticks in day.by_code.items()}
    suspended = {code for code, ticks in day.by_code.items() if ticks[0].openInt == 1}
    assert {code for code, rows in closes.items() if rows} == set(day.instruments) - suspended
    assert all(len(rows) <= 1 for rows in closes.values())
    matched = sum(len(ticks) > 1 and ticks[-1].pvolume > ticks[-2].pvolume for ticks in day.by_code.values())
    assert matched > 0.8 * SYMBOLS


def test_the_closing_auction_gathers_orders_of_its_own(day: Day) -> None:
    matched = 0
    alike = 0
    for ticks in day.by_code.values():
        opening = [tick.pvolume for tick in ticks if "09:25:00" <= tick.clock < "09:30:00"]
        if opening and opening[0] and ticks[-1].pvolume > ticks[-2].pvolume:
            matched += 1
            alike += opening[0] == ticks[-1].pvolume - ticks[-2].pvolume
    assert matched > 0.7 * SYMBOLS
    assert alike < 0.05 * matched


def test_at_lunch_shanghai_has_nothing_to_say(day: Day) -> None:
    lunch = Counter(tick.exchange for tick in day.ticks if "11:30:00" <= tick.clock < "13:00:00")
    assert set(lunch) == {"SZ", "BJ"}
    assert lunch["SZ"] > 0.4 * SYMBOLS


def test_volume_smiles_through_the_day(day: Day) -> None:
    by_half_hour = Counter[str]()
    for ticks in day.by_code.values():
        for before, after in pairwise(ticks):
            half = "00" if after.clock[3:5] < "30" else "30"
            by_half_hour[f"{after.clock[:2]}:{half}"] += after.pvolume - before.pvolume
    assert by_half_hour["09:30"] > 2 * by_half_hour["11:00"]
    assert by_half_hour["13:00"] > by_half_hour["11:00"]
    assert by_half_hour["14:30"] > by_half_hour["14:00"] * 0.9


def test_instruments_move_together_and_yet_each_on_its_own(day: Day) -> None:
    returns = {
        code: ticks[-1].lastPrice / ticks[-1].lastClose - 1 for code, ticks in day.by_code.items() if ticks[-1].pvolume
    }
    assert len(set(returns.values())) > 0.8 * len(returns)
    paths = [path for ticks in day.by_code.values() if (path := five_minute_returns(ticks))]
    assert len(paths) > 0.8 * SYMBOLS
    market = [sum(step) / len(step) for step in zip(*paths, strict=True)]
    correlations = [correlation(path, market) for path in paths]
    assert 0.25 < sum(correlations) / len(correlations) < 0.8


def five_minute_returns(ticks: list[Tick]) -> list[float]:
    """Returns over five minutes of the morning; empty for a stock that does not trade or stands at a limit."""
    newest: dict[int, float] = {}
    for tick in ticks:
        if tick.openInt == 13 and tick.lastPrice and "09:30:00" <= tick.clock < "11:30:00":
            newest[tick.time // 300_000] = tick.lastPrice
    values = [*newest.values()]
    steps = [after / before - 1 for before, after in pairwise(values)]
    return steps if len(steps) == 23 and sum(step != 0 for step in steps) > 15 else []


def correlation(one: list[float], other: list[float]) -> float:
    mean_one, mean_other = sum(one) / len(one), sum(other) / len(other)
    covariance = sum((x - mean_one) * (y - mean_other) for x, y in zip(one, other, strict=True))
    spread_one = sum((x - mean_one) ** 2 for x in one)
    spread_other = sum((y - mean_other) ** 2 for y in other)
    return float(covariance / (spread_one * spread_other) ** 0.5)


def test_the_next_day_begins_from_the_close_with_everything_else_at_zero(day: Day) -> None:
    assert len(day.next_morning) == SYMBOLS
    for tick in day.next_morning:
        last = day.by_code[tick.code][-1]
        assert tick.lastClose == (last.lastPrice or last.lastClose)
        assert tick.lastSettlementPrice == tick.lastClose
        assert tick.volume == tick.pvolume == tick.amount == tick.open == tick.transactionNum == 0
        assert datetime.fromtimestamp(tick.time / 1000, CHINA).date() == DAY + timedelta(days=1)


def continuous(market: Market, minutes: int, interval_ms: int = 3000) -> dict[str, list[Tick]]:
    by_code: dict[str, list[Tick]] = defaultdict(list)
    for piece in islice(slices_from(DAY, time(10, 0), interval_ms), minutes * 60_000 // interval_ms):
        for tick in ticks_of(rows_of(market, piece)):
            by_code[tick.code].append(tick)
    return by_code


def test_active_instruments_change_every_interval_and_illiquid_ones_are_silent_for_minutes() -> None:
    by_code = continuous(Market(SYMBOLS, 2, DAY, time(10, 0), 3000), minutes=10)
    counts = sorted(len(by_code[code]) for code in by_code)
    assert sum(count > 190 for count in counts) > 0.5 * SYMBOLS, "of 200 slices"
    silent = [
        code
        for code, ticks in by_code.items()
        if any(after.time - before.time > 120_000 for before, after in pairwise(ticks))
    ]
    assert silent
    assert len(silent) < 0.15 * SYMBOLS


@pytest.mark.parametrize(
    ("start", "statuses"),
    [
        (time(9, 15), {11}),
        (time(9, 20), {12}),
        (time(9, 30), {13, 14}),
        (time(10, 45), {13}),
        (time(11, 30, 6), {13, 14}),
        (time(14, 30), {13}),
        (time(14, 58), {18}),
    ],
)
def test_a_market_that_starts_in_the_middle_of_the_day_has_lived_through_the_morning(
    start: time, statuses: set[int]
) -> None:
    market = Market(SYMBOLS, 4, DAY, start, 3000)
    before = {row[0]: Tick._make(row) for row in market.snapshot()}
    assert len(before) == SYMBOLS
    common = Counter(tick.openInt for tick in before.values() if tick.openInt != 1)
    assert {status for status, count in common.items() if count > 0.1 * SYMBOLS} == statuses
    start_ms = int(datetime.combine(DAY, start, CHINA).timestamp()) * 1000
    assert all(tick.time < start_ms for tick in before.values())
    opened = [tick for tick in before.values() if tick.open and tick.volume and tick.low <= tick.lastPrice <= tick.high]
    if start >= time(9, 25):
        assert len(opened) > 0.85 * SYMBOLS
    else:
        assert not opened
    newest = {**before}
    for piece in islice(slices_from(DAY, start, 3000), 20):
        for tick in ticks_of(rows_of(market, piece)):
            assert tick.time >= newest[tick.code].time
            assert tick.pvolume >= newest[tick.code].pvolume
            if newest[tick.code].open:
                assert tick.open == newest[tick.code].open
            newest[tick.code] = tick


def test_instruments_carry_the_limits_and_lots_of_their_boards(day: Day) -> None:
    percents = {"main": 10, "chinext": 20, "star": 20, "bse": 30}
    lots = {"main": 100, "chinext": 100, "star": 200, "bse": 100}
    for instrument in day.instruments.values():
        percent = percents[instrument.board]
        assert instrument.limit_up == pytest.approx(instrument.last_close * (1 + percent / 100), abs=0.0051)
        assert instrument.limit_down == pytest.approx(instrument.last_close * (1 - percent / 100), abs=0.0051)
        assert instrument.lot == lots[instrument.board]
        assert instrument.tick_size == 0.01
