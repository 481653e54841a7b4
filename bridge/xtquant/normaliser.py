"""What callbacks say becomes rows of the contract; what can't be one is left out, and counted by cause.

Nothing is invented and nothing is guessed: a row is passed on with its own time and numbers, or not at all.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from bridge.xtquant.codes import kind_of
from bridge.xtquant.layouts import Layouts
from bridge.xtquant.prices import Price, Rounder
from bridge.xtquant.rows import BARS, EVENTS, row_of
from bridge.xtquant.ticks import FIELDS, fields_of, tick_row
from bridge.xtquant.units import VolumeUnit
from bridge.xtquant.words import Listening
from hub.schema import Row

FRESH_S: Final = 10.0
"""How long after the first rows of a subscription the first one of an instrument may be its state at the start."""

LOGGED_ROWS: Final = 10
"""Rows that are left out and logged one by one for each cause; further ones are only counted."""

_DAY_MS: Final = 86_400_000
_SHANGHAI_MS: Final = 28_800_000

ZERO_TIME: Final = "time zero"
MIDNIGHT: Final = "time midnight"
"""Before the open the terminal has rows that no exchange sent, dated at midnight."""
MALFORMED: Final = "malformed"
UNASKED: Final = "not asked for"
REPEAT: Final = "equal repeat"
OLDER: Final = "older than known"
"""A state at a subscription that is no newer than what came already."""

_logger = logging.getLogger("argus.xtquant")


class Normalised(NamedTuple):
    """Rows of one callback in order: those that tell the state at a subscription, and those that tell what happened."""

    state: list[Row]
    live: list[Row]


class Normaliser:
    """Remembers the newest row of every instrument and channel, to tell what is new."""

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self.dropped: Counter[str] = Counter()
        """Rows that were left out, by cause."""
        self.unit = VolumeUnit.HANDS
        self.decode: Callable[[bytes], Any] = _no_decoder
        """BSON bytes to a document, as xtquant does it."""
        self._monotonic_s = monotonic_s
        self._newest: dict[str, dict[str, Row]] = {}
        self._rounders: dict[int, Rounder] = {}
        self._prices: dict[str, Price] = {}
        self._layouts = Layouts(FIELDS)

    def know(self, digits: Mapping[str, int]) -> None:
        """Take the decimal places of prices as the terminal tells them; those of indices are told too low."""
        for code, places in digits.items():
            self._prices[code] = self._price(max(places, 4) if kind_of(code).kind == "index" else places)

    def take(self, listening: Listening, said: object) -> Normalised:
        """The rows of one callback: ``{code: row}`` of whole quotes, ``{code: [row, ...]}`` of single ones.

        Either comes as BSON or decoded already.
        """
        found = Normalised([], [])
        self._note_beginning(listening)
        fresh, is_event = listening.fresh, listening.channel in EVENTS
        newest = self._newest.setdefault(listening.channel, {})
        spoken = set[str]()
        for row in self._rows(listening.channel, listening.codes, said):
            code = row[0]
            known = newest.get(code)
            is_state = code in fresh and not is_event
            if is_state:
                spoken.add(code)
            if known is not None and not is_event and row[1] <= known[1]:
                if row == known:
                    self.dropped[REPEAT] += 1
                    continue
                if is_state and listening.channel not in BARS:
                    self._drop(OLDER, row)
                    continue
            if known is None or row[1] >= known[1]:
                newest[code] = row
            (found.state if is_state else found.live).append(row)
        fresh -= spoken
        return found

    def take_state(self, ticks: Mapping[str, Any], codes: frozenset[str]) -> list[Row]:
        """The ticks of a snapshot that was asked for: what is newer than the newest known."""
        return self.take(Listening("tick", codes), ticks).state

    def _note_beginning(self, listening: Listening) -> None:
        """The first rows begin the time in which states come; after it nothing is taken for one."""
        if not listening.fresh:
            return
        now_s = self._monotonic_s()
        if listening.fresh_until_s is None:
            listening.fresh_until_s = now_s + FRESH_S
        elif now_s > listening.fresh_until_s:
            listening.fresh.clear()

    def _rows(self, channel: str, codes: frozenset[str], said: object) -> list[Row]:
        rows: list[Row] = []
        is_tick, is_day = channel in ("tick", "l2quote"), channel == "1d"
        prices, unit = self._prices, self.unit
        for code, given in self._members(said, is_tick=is_tick):
            if code not in codes:
                self._drop(UNASKED, code)
                continue
            price = prices.get(code) or self._learn(code)
            for one in given if type(given) is list else (given,):
                try:
                    if type(one) is tuple:
                        row = tick_row(code, one, price, unit)
                    elif is_tick:
                        row = tick_row(code, fields_of(one), price, unit)
                    else:
                        row = row_of(channel, code, one, price)
                except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                    self._drop(MALFORMED, (code, one))
                    continue
                if row[1] <= 0:
                    self._drop(ZERO_TIME, code)
                elif not is_day and not (row[1] + _SHANGHAI_MS) % _DAY_MS:
                    self._drop(MIDNIGHT, code)
                else:
                    rows.append(row)
        return rows

    def _learn(self, code: str) -> Price:
        price = self._prices[code] = self._price(kind_of(code).digits)
        return price

    def _members(self, said: object, *, is_tick: bool) -> Iterable[tuple[Any, Any]]:
        """What was said of each instrument: a row, a list of rows, or the fields of a tick."""
        if isinstance(said, bytes):
            try:
                if is_tick:
                    return [(code, self.decoded(found)) for code, found in self._layouts.read(said)]
            except ValueError:
                pass  # lists of rows have no layout
            said = self.decoded(said)
        if isinstance(said, Mapping):
            return said.items()
        self._drop(MALFORMED, said)
        return ()

    def decoded(self, found: Any) -> Any:
        """What was not decoded yet, as xtquant decodes it; None for what is no document."""
        if type(found) is not bytes:
            return found
        try:
            return self.decode(found)
        except Exception:  # xtquant's library raises errors of its own
            return None

    def _price(self, digits: int) -> Price:
        rounder = self._rounders.get(digits)
        if rounder is None:
            rounder = self._rounders[digits] = Rounder(digits)
        return rounder.__getitem__

    def _drop(self, cause: str, what: object) -> None:
        self.dropped[cause] += 1
        if self.dropped[cause] <= LOGGED_ROWS:
            _logger.info("row left out, %s: %.160s", cause, what)


def _no_decoder(_: bytes) -> Any:
    raise ValueError("xtquant was not imported yet")


def newest_by_market(rows: Sequence[Row]) -> dict[str, tuple[int, int]]:
    """How many rows each market has, and its newest time (epoch ms)."""
    times: dict[str, list[int]] = {}
    for row in rows:
        times.setdefault(row[0][-3:], []).append(row[1])  # most often a dot and the market
    found: dict[str, tuple[int, int]] = {}
    for suffix, own in times.items():
        market = suffix.rpartition(".")[2]
        count, newest_ms = found.get(market, (0, 0))
        found[market] = (count + len(own), max(newest_ms, *own))
    return found
