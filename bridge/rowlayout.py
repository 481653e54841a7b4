"""The column layout of a recording: one tick in one row of 32 columns, as text cells or as typed values.

``parse`` turns the cells of one row into a tick row and says why where it can't; ``to_cells`` is the way back.
Nothing here knows files: `rowfile` reads them, `recorder` writes them.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

from hub.schema import CHANNELS, Row

LEVELS: Final = 5
"""Levels of the book that a recording keeps."""

NOT_KEPT: Final = ("stockStatus", "lastSettlementPrice")
"""Fields of a tick that the layout has no column for. They are None in every row that is played."""

_BOOKS: Final = ("askPrice", "bidPrice", "askVol", "bidVol")

COLUMNS: Final = (
    *(name for name in CHANNELS["tick"].source_names if name not in (*NOT_KEPT, *_BOOKS)),
    *(f"{book}{level}" for book in _BOOKS for level in range(1, LEVELS + 1)),
)
"""The columns in order. ``code`` is text; prices and ``amount`` are decimal numbers; all others are whole numbers."""

FLOAT_COLUMNS: Final = frozenset(
    name
    for name in COLUMNS
    if name.startswith(("askPrice", "bidPrice")) or name in ("lastPrice", "open", "high", "low", "lastClose", "amount")
)

EARLIEST_MS: Final = 661_536_000_000
"""1990-12-19, the first day of the Shanghai exchange."""

LATEST_MS: Final = 4_102_416_000_000
"""2100-01-01. Together the two bounds catch a ``time`` in seconds, in microseconds or with a broken digit."""

INT64_MAX: Final = 2**63 - 1
"""Largest whole number of a recording."""

_EXCHANGES: Final = ("SH", "SZ", "BJ")
_INSTRUMENT: Final = re.compile(r"[0-9A-Z]{6}")
_WRITABLE_CODE: Final = re.compile(r"[0-9A-Za-z_.-]+")
_UNSUSPICIOUS: Final = 2**53
_SHOWN_CHARS: Final = 40


class Cause(StrEnum):
    """Why a row can't be used, in the words that logs and metrics show."""

    COLUMNS = "wrong column count"
    NUMBER = "not a number"
    RANGE = "number out of range"
    CODE = "malformed code"
    EXCHANGE = "unknown exchange"
    TIME = "time out of place"


class BadRowError(ValueError):
    """A row that can't be used: its cause, and the details as message."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


def parse(cells: Sequence[Any]) -> Row:
    """Turn the cells of one row, text or typed values, into a tick row.

    An empty cell (or None) is null; ``code``, ``time`` and ``lastPrice`` must be there, and a book is there with
    all its levels or not at all.

    Returns:
        The values in the order of the tick channel's ``source_names``: prices and ``amount`` as floats,
        all other numbers as ints of 64 bits, each book as a list of five, ``NOT_KEPT`` as None.

    Raises:
        BadRowError: with the cause, and the column in the message.
    """
    if len(cells) != len(COLUMNS):
        found = f"more than {len(COLUMNS)}" if len(cells) > len(COLUMNS) else str(len(cells))
        raise BadRowError(Cause.COLUMNS, f"{found} columns instead of {len(COLUMNS)}")
    code = _parse_code(cells[0])
    time_ms = parse_time(cells[1])
    prices = _numbers(cells, 2, 8, float)
    if prices[0] is None:
        raise BadRowError(Cause.NUMBER, "lastPrice is empty")
    volume, pvolume, open_int, transactions = _numbers(cells, 8, 12, int)
    asks_and_bids = _numbers(cells, 12, 22, float)
    ask_and_bid_volumes = _numbers(cells, 22, 32, int)
    return (
        code,
        time_ms,
        *prices,
        volume,
        pvolume,
        None,
        open_int,
        None,
        transactions,
        _book(asks_and_bids[:LEVELS], "askPrice"),
        _book(asks_and_bids[LEVELS:], "bidPrice"),
        _book(ask_and_bid_volumes[:LEVELS], "askVol"),
        _book(ask_and_bid_volumes[LEVELS:], "bidVol"),
    )


def parse_time(cell: Any) -> int:
    """Return the ``time`` of a row in epoch milliseconds.

    Raises:
        BadRowError: if it isn't a whole number, or not a time at which the exchanges existed.
    """
    try:
        time_ms = int(cell)
    except (ValueError, TypeError):
        raise BadRowError(Cause.NUMBER, f"time is {_shown(cell)}, not a whole number") from None
    if not EARLIEST_MS <= time_ms < LATEST_MS:
        raise BadRowError(Cause.TIME, f"time {_shown(cell)} is not in epoch milliseconds between 1990-12-19 and 2100")
    return time_ms


def to_cells(row: Row) -> list[str | float | int | None]:
    """Turn a tick row into the values of its columns, ready for ``str`` or for a typed file.

    A book of fewer than five levels is filled up with 0, one of more is cut; a level that is None becomes 0. What
    ``NOT_KEPT`` names is left out.

    Raises:
        BadRowError: if the row has another shape, or a value that its column can't hold.
    """
    if len(row) != len(CHANNELS["tick"].source_names):
        raise BadRowError(Cause.COLUMNS, f"{len(row)} values instead of {len(CHANNELS['tick'].source_names)}")
    code, time_ms, *prices = row[:8]
    volume, pvolume, _, open_int, _, transactions = row[8:14]
    ask_prices, bid_prices, ask_volumes, bid_volumes = row[14:18]
    if not isinstance(code, str) or not _WRITABLE_CODE.fullmatch(code):
        raise BadRowError(Cause.CODE, f"code {code!r} can't be written")
    try:
        return [
            code,
            _whole(time_ms),
            *_each(float, prices),
            *_each(_whole, (volume, pvolume, open_int, transactions)),
            *_each(float, [*_levels(ask_prices), *_levels(bid_prices)]),
            *_each(_whole, [*_levels(ask_volumes), *_levels(bid_volumes)]),
        ]
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRowError(Cause.NUMBER, str(error)) from error


def _parse_code(cell: Any) -> str:
    instrument, _, exchange = str(cell).partition(".")
    if not _INSTRUMENT.fullmatch(instrument) or not exchange:
        raise BadRowError(Cause.CODE, f"code {cell!r} is not six digits and an exchange, such as 600000.SH")
    if exchange not in _EXCHANGES:
        raise BadRowError(Cause.EXCHANGE, f"code {cell!r}: the exchange is none of {', '.join(_EXCHANGES)}")
    return str(cell)


def _numbers(cells: Sequence[Any], start: int, stop: int, kind: type[int] | type[float]) -> list[Any]:
    """Convert a stretch of columns at once; go through them one by one only where something is remarkable."""
    part = cells[start:stop]
    try:
        values: list[Any] = list(map(kind, part))
        if min(values) >= 0 and sum(values) <= _UNSUSPICIOUS:  # a NaN or an infinity makes the sum fail as well
            return values
    except (ValueError, TypeError):
        pass
    return [_number(cell, kind, COLUMNS[column]) for column, cell in enumerate(part, start)]


def _number(cell: Any, kind: type[int] | type[float], column: str) -> int | float | None:
    if cell is None or cell == "":
        return None
    try:
        value = kind(cell)
    except (ValueError, TypeError):
        wanted = "a whole number" if kind is int else "a number"
        raise BadRowError(Cause.NUMBER, f"{column} is {_shown(cell)}, not {wanted}") from None
    if kind is float and not math.isfinite(value):
        raise BadRowError(Cause.NUMBER, f"{column} is {_shown(cell)}, not a finite number")
    if value < 0 or (kind is int and value > INT64_MAX):
        raise BadRowError(Cause.RANGE, f"{column} is {_shown(cell)}, {'below 0' if value < 0 else 'above 64 bits'}")
    return value


def _shown(cell: Any) -> str:
    text = repr(cell)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"


def _book(levels: list[Any], name: str) -> list[Any] | None:
    if None not in levels:
        return levels
    if any(level is not None for level in levels):
        raise BadRowError(Cause.NUMBER, f"{name} has empty levels beside full ones")
    return None


def _levels(book: Sequence[Any] | None) -> Sequence[Any]:
    if book is None:
        return (None,) * LEVELS
    levels = [0 if level is None else level for level in book[:LEVELS]]
    return levels + [0] * (LEVELS - len(levels))


def _each(kind: Callable[[Any], int | float], values: Iterable[Any]) -> list[Any]:
    return [None if value is None else kind(value) for value in values]


def _whole(value: Any) -> int:
    number = int(value)
    if number != value:
        raise ValueError(f"{value!r} is not a whole number")
    if abs(number) > INT64_MAX:
        raise OverflowError(f"{value!r} has more than 64 bits")
    return number
