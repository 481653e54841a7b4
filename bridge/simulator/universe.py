"""The instruments of the simulated market: unique codes on every board, invented names, closes and turnover."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp
from typing import Final

from bridge.simulator.boards import LISTINGS, Board, Listing
from bridge.simulator.draws import Draws
from bridge.simulator.names import SECTORS, Namer

MAX_SYMBOLS: Final = 60_000
"""Beyond it the supply of codes and names runs short."""

_PREFIX_FULL: Final = 900
"""Instruments that one code prefix takes before the next is opened: the exchanges leave holes, too."""

_ST_SHARE: Final = 0.035
_ILLIQUID_SHARE: Final = 0.06

_MEDIAN_CLOSE_FEN: Final = {Board.MAIN: 1100, Board.CHINEXT: 1900, Board.STAR: 3400, Board.BSE: 1500}
_MEDIAN_TURNOVER_YUAN: Final = {Board.MAIN: 110e6, Board.CHINEXT: 130e6, Board.STAR: 120e6, Board.BSE: 25e6}


@dataclass(frozen=True, slots=True)
class Instrument:
    """What is known of an instrument before its day begins. Prices in yuan; ``lot``: smallest order in shares."""

    code: str
    name: str
    board: Board
    last_close: float
    limit_up: float
    limit_down: float
    tick_size: float
    lot: int


@dataclass(frozen=True, slots=True)
class Profile:
    """An instrument's lasting traits. ``close_fen``: before the first day; ``turnover_yuan``: of a usual day."""

    code: str
    name: str
    listing: Listing
    st: bool
    sector: int
    close_fen: int
    turnover_yuan: float


def allocate(total: int, weights: Sequence[int]) -> list[int]:
    """Share ``total`` out in proportion to ``weights``, but at least one to each, the first ones first."""
    if total < len(weights):
        return [int(index < total) for index in range(len(weights))]
    exact = [total * weight / sum(weights) for weight in weights]
    shares = [max(1, int(value)) for value in exact]
    while (missing := total - sum(shares)) != 0:
        if missing > 0:
            shares[max(range(len(shares)), key=lambda index: exact[index] - shares[index])] += 1
        else:
            richest = [index for index, share in enumerate(shares) if share > 1]
            shares[min(richest, key=lambda index: exact[index] - shares[index])] -= 1
    return shares


def _codes(listing: Listing, count: int, draws: Draws) -> list[str]:
    """``count`` unique codes of a listing. The first number of every prefix is among them: 600000.SH, 000001.SZ."""
    wanted = allocate(count, tuple(listing.weights.values()))
    taken = {prefix: min(share, _PREFIX_FULL) for prefix, share in zip(listing.weights, wanted, strict=True)}
    left = count - sum(taken.values())
    for prefix in (*listing.weights, *listing.spare):
        more = min(left, _PREFIX_FULL - taken.get(prefix, 0))
        taken[prefix] = taken.get(prefix, 0) + more
        left -= more
    codes = []
    for prefix, share in taken.items():
        if share:
            later = draws.sample(range(listing.first_number + 1, 1000), share - 1)
            codes += [f"{prefix}{number:03d}.{listing.exchange}" for number in (listing.first_number, *later)]
    return codes


def build_universe(symbols: int, seed: int) -> list[Profile]:
    """A market of ``symbols`` instruments in order of their codes, with the boards mixed as in the real one.

    Raises ValueError when ``symbols`` is not between 1 and ``MAX_SYMBOLS``.
    """
    if not 1 <= symbols <= MAX_SYMBOLS:
        raise ValueError(f"the simulator has 1 to {MAX_SYMBOLS} symbols, not {symbols}")
    draws = Draws(seed, "universe")
    namer = Namer(draws)
    shares = allocate(symbols, [listing.instruments for listing in LISTINGS])
    listed = [
        (code, listing)
        for listing, share in zip(LISTINGS, shares, strict=True)
        for code in _codes(listing, share, draws)
    ]
    return [_profile(code, listing, namer, draws) for code, listing in sorted(listed, key=lambda pair: pair[0])]


def _profile(code: str, listing: Listing, namer: Namer, draws: Draws) -> Profile:
    board = listing.board
    sector = int(draws.uniform() * len(SECTORS))
    # The first code of a prefix is an old and large company, and what people try first.
    leader = int(code[3:6]) == listing.first_number
    st = not leader and board is not Board.BSE and draws.uniform() < _ST_SHARE
    close = _MEDIAN_CLOSE_FEN[board] * exp(0.7 * draws.normal())
    turnover = _MEDIAN_TURNOVER_YUAN[board] * exp(1.2 * draws.normal())
    if st:
        close *= 0.3
        turnover *= 0.15
    if leader:
        turnover = max(turnover, 600e6)
    elif draws.uniform() < _ILLIQUID_SHARE:
        # Traded now and then: some of them are silent for minutes.
        turnover = 1.5e6 * exp(0.8 * draws.normal())
    return Profile(
        code=code,
        name=namer.name(sector, st=st),
        listing=listing,
        st=st,
        sector=sector,
        close_fen=int(min(max(close, 150.0), 80_000.0)),
        turnover_yuan=turnover,
    )
