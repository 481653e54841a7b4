"""How rows look in a terminal: aligned columns, Beijing time, prices without noise."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from argus_client.messages import TopicInfo
from argus_client.rows import Bar, Row, Status, Tick

SHANGHAI: Final = timezone(timedelta(hours=8))
"""Asia/Shanghai. A fixed offset needs no time zone database: there was no daylight saving time since 1991."""

NOTHING: Final = "-"


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, its width in characters, and the text of a row."""

    heading: str
    width: int
    text: Callable[[Any], str]
    left: bool = False

    def cell(self, text: str) -> str:
        """Align a text; one that is too long pushes the rest to the right."""
        return text.ljust(self.width) if self.left else text.rjust(self.width)


def clock(time_ms: int | None) -> str:
    """Return HH:MM:SS.mmm in Asia/Shanghai for epoch milliseconds."""
    if time_ms is None:
        return NOTHING
    moment = datetime.fromtimestamp(time_ms // 1000, UTC).astimezone(SHANGHAI)
    return f"{moment:%H:%M:%S}.{time_ms % 1000:03d}"


def price(value: float | None) -> str:
    """Return a price with at least two decimals, at most four; 0 means that there is none."""
    if not value:
        return NOTHING
    whole, _, decimals = f"{value:.4f}".partition(".")
    return f"{whole}.{decimals.rstrip('0'):0<2}"


def count(value: float | None) -> str:
    """Return a volume or an amount, rounded to a whole number."""
    return NOTHING if value is None else f"{value:.0f}"


def change(tick: Tick) -> str:
    """Return the change against the previous close in percent."""
    if not tick.lastPrice or not tick.lastClose:
        return NOTHING
    return f"{(tick.lastPrice / tick.lastClose - 1) * 100:+.2f}%"


def _word(value: object) -> str:
    return NOTHING if value is None else str(value)


def _best(level: list[Any] | None, text: Callable[[Any], str]) -> str:
    return text(level[0]) if level else NOTHING


_KEY: Final = (
    Column("time", 12, lambda row: clock(row.time)),
    Column("code", 10, lambda row: row.code, left=True),
)
_ORIGIN: Final = Column("origin", 8, lambda row: row.origin, left=True)

_TICK: Final = (
    *_KEY,
    Column("last", 10, lambda tick: price(tick.lastPrice)),
    Column("change", 8, change),
    Column("bid", 10, lambda tick: _best(tick.bidPrice, price)),
    Column("bid vol", 9, lambda tick: _best(tick.bidVol, count)),
    Column("ask", 10, lambda tick: _best(tick.askPrice, price)),
    Column("ask vol", 9, lambda tick: _best(tick.askVol, count)),
    Column("volume", 11, lambda tick: count(tick.volume)),
    Column("amount", 14, lambda tick: count(tick.amount)),
    _ORIGIN,
)
_BAR: Final = (
    *_KEY,
    Column("open", 10, lambda bar: price(bar.open)),
    Column("high", 10, lambda bar: price(bar.high)),
    Column("low", 10, lambda bar: price(bar.low)),
    Column("close", 10, lambda bar: price(bar.close)),
    Column("volume", 11, lambda bar: count(bar.volume)),
    Column("amount", 14, lambda bar: count(bar.amount)),
    _ORIGIN,
)
_STATUS: Final = (
    _KEY[0],
    Column("code", 18, lambda status: status.code, left=True),
    Column("state", 10, lambda status: status.state, left=True),
    Column("phase", 16, lambda status: _word(status.phase), left=True),
    Column("age ms", 10, lambda status: _word(status.age_ms)),
    Column("detail", 0, lambda status: _word(status.detail), left=True),
)
_SHOWN_BY_KEY: Final = frozenset({"code", "time", "recv"})
_ANY: Final = (
    *_KEY,
    _ORIGIN,
    Column(
        "fields",
        0,
        lambda row: " ".join(f"{name}={value}" for name, value in row.as_dict().items() if name not in _SHOWN_BY_KEY),
        left=True,
    ),
)

TOPICS: Final = (
    Column("topic", 20, lambda info: info.topic, left=True),
    Column("seq", 10, lambda info: str(info.seq)),
    Column("time", 12, lambda info: clock(info.time)),
)

_LAYOUTS: Final[Mapping[type[Row], tuple[Column, ...]]] = {Tick: _TICK, Bar: _BAR, Status: _STATUS}


def columns_for(shown: Row | TopicInfo) -> tuple[Column, ...]:
    """Return the columns for a row, or for an entry of a list of topics."""
    if isinstance(shown, TopicInfo):
        return TOPICS
    return next((columns for kind, columns in _LAYOUTS.items() if isinstance(shown, kind)), _ANY)


def headings(columns: tuple[Column, ...]) -> str:
    """Return the line above the columns."""
    return " ".join(column.cell(column.heading) for column in columns).rstrip()


def line(columns: tuple[Column, ...], shown: Row | TopicInfo) -> str:
    """Return the columns of one row."""
    return " ".join(column.cell(column.text(shown)) for column in columns).rstrip()
