"""The market as a machine: slices in, rows out, the same ones every time."""

from collections import Counter, defaultdict
from datetime import date, time
from itertools import chain, islice, pairwise
from typing import Any

import pytest

from bridge.simulator.market import CHUNK, Market
from bridge.simulator.timeline import Phase, Slice, slices_from
from hub.schema import CHANNELS, Row

DAY = date(2026, 9, 1)
SYMBOLS = 200
AMOUNT = CHANNELS["tick"].source_names.index("amount")


def rows_of(market: Market, piece: Slice) -> list[Row]:
    return [*chain.from_iterable(market.advance(piece))]


def test_rows_of_one_slice_are_spread_over_its_seconds() -> None:
    market = Market(SYMBOLS, 2, DAY, time(10, 0), 3000)
    piece = next(slices_from(DAY, time(10, 0), 3000))
    seconds = Counter(row[1] - piece.start_ms for row in rows_of(market, piece))
    assert set(seconds) == {0, 1000, 2000}


def test_opening_auction_books_come_every_nine_seconds() -> None:
    market = Market(SYMBOLS, 2, DAY, time(9, 20), 3000)
    times: dict[str, list[int]] = defaultdict(list)
    for piece in islice(slices_from(DAY, time(9, 20), 3000), 60):
        for row in rows_of(market, piece):
            times[row[0]].append(row[1])
    gaps = Counter(after - before for seen in times.values() for before, after in pairwise(seen))
    assert gaps.most_common(1)[0][0] == 9000
    assert min(gaps) == 9000


def test_volume_at_noon_is_about_the_same_whether_the_morning_was_lived_or_skipped() -> None:
    skipped = Market(SYMBOLS, 4, DAY, time(11, 30), 60_000)
    lived = Market(SYMBOLS, 4, DAY, time(9, 30), 60_000)
    for piece in islice(slices_from(DAY, time(9, 30), 60_000), 120):
        rows_of(lived, piece)
    turnovers = [sum(row[AMOUNT] for row in market.snapshot()) for market in (lived, skipped)]
    assert turnovers[0] == pytest.approx(turnovers[1], rel=0.35)


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    def first_minutes(seed: int) -> list[list[Row]]:
        market = Market(60, seed, DAY, time(9, 30), 3000)
        return [rows_of(market, piece) for piece in islice(slices_from(DAY, time(9, 30), 3000), 40)]

    assert first_minutes(1) == first_minutes(1)
    assert first_minutes(1) != first_minutes(2)


def test_a_slice_comes_in_small_chunks_in_the_order_of_codes() -> None:
    market = Market(500, 1, DAY, time(9, 30), 3000)
    chunks = [*market.advance(next(slices_from(DAY, time(9, 30), 3000)))]
    assert len(chunks) == market.chunks == 8
    assert all(len(chunk) <= CHUNK for chunk in chunks)
    codes = [row[0] for row in chain.from_iterable(chunks)]
    assert codes == sorted(codes)


def test_snapshots_are_rows_of_their_own_that_later_slices_do_not_change() -> None:
    market = Market(60, 1, DAY, time(10, 0), 3000)
    before = market.snapshot()
    copy: list[Any] = [tuple([*value] if isinstance(value, list) else value for value in row) for row in before]
    for piece in islice(slices_from(DAY, time(10, 0), 3000), 20):
        rows_of(market, piece)
    assert before == copy
    assert market.snapshot() != before


def test_prices_stay_plausible_over_months() -> None:
    market = Market(60, 9, DAY, time(9, 15), 600_000)
    first = {instrument.code: instrument.last_close for instrument in market.instruments()}
    for piece in slices_from(DAY, time(9, 15), 600_000):
        rows_of(market, piece)
        if piece.day >= date(2026, 12, 31) and piece.phase is Phase.CLOSED:
            break
    ratios = sorted(instrument.last_close / first[instrument.code] for instrument in market.instruments())
    assert ratios[0] > 0.2
    assert ratios[-1] < 5
    assert ratios[0] != ratios[-1]
