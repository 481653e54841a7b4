"""Where the stream of a source is not what its exchange sent: the source was away, or mute, or gave rows late.

Each becomes an `Interruption` at a place among the rows of a batch. Nothing here refuses or changes a row.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from bridge.repeats import Delivered
from bridge.source import Interruption
from hub.calendar import shanghai_day
from hub.rows import PackedRow, Rows
from hub.schema import CHANNELS

TOLD_APART: Final = 32
"""Topics of one market with late rows in one batch that are announced one by one; more are announced together."""

SNAPSHOT_MS: Final = 3000
"""The exchanges send an instrument's next row no sooner than about 3 s after the one before."""

ASKED_EVERY_MS: Final = 1000
"""How often, on the source's clock, it is asked which markets are mute."""

_TICK_NAMES: Final = CHANNELS["tick"].source_names
_CUMULATIVE: Final = slice(_TICK_NAMES.index("amount"), _TICK_NAMES.index("volume") + 1)


class Notice(NamedTuple):
    """What is to be announced before the row at this place of a batch, counted from 0."""

    place: int
    interruption: Interruption


class Late(NamedTuple):
    """A row that is older than its topic's newest: its place among the good rows of the batch, and both times."""

    place: int
    code: str
    time_ms: int
    newest_ms: int


class Before(NamedTuple):
    """What was newest before a batch: by market its newest ``time``, by code of the batch ``time`` and row."""

    newest_ms: Mapping[str, int]
    rows: Mapping[str, tuple[int, PackedRow | None]]


def rows_before(delivered: Delivered, rows: Rows) -> Before:
    """What is newest before these rows are taken."""
    newest_ms: dict[str, int] = {}
    for code, known in delivered.newest.items():
        market = market_of(code)
        newest_ms[market] = max(known.time_ms, newest_ms.get(market, 0))
    own = [code for code in rows.codes if code in delivered.newest]
    return Before(newest_ms, {code: (delivered.newest[code].time_ms, delivered.newest_row(code)) for code in own})


class Outage:
    """What is known of rows that a source did not give while it was away: from when on, for each channel."""

    def __init__(self) -> None:
        self._from_ms: dict[str, int] = {}

    def begin(self, newest_ms: Mapping[str, int]) -> None:
        """The source is away. ``newest_ms``: newest ``time`` so far of each channel that has spoken."""
        self._from_ms.update(newest_ms)

    def end(self, rows: Rows) -> list[Notice]:
        """What rows of a channel, the first ones after it was away, tell of its end; nothing if none is newer."""
        channel = rows.channel
        if channel not in self._from_ms:
            return []
        back = _first_newer(self._from_ms[channel], enumerate(rows.times))
        if back is None:
            return []
        place, to_ms = back
        return [Notice(place, Interruption(f"{channel}:*", self._from_ms.pop(channel), to_ms))]


class Silence:
    """Finds markets that were mute while trading went on, by the jump of what they had traded.

    Of a market that was mute, and then says that nothing was traded meanwhile, nothing is missing. Turnover that grew
    since the instrument's row before, on the same day, tells that rows are. The first rows of a day tell nothing.

    Args:
        was_mute: whether rows of a market were overdue in continuous trading at some time (epoch milliseconds on the
            source's clock, up to the given one) since its newest row. Must be cheap.
    """

    def __init__(self, was_mute: Callable[[str, int], bool]) -> None:
        self._was_mute = was_mute
        self._markets: dict[str, None] = {}
        self._mute: list[str] = []
        self._asked_ms = 0
        self._told_ms: dict[str, int] = {}

    def told(self, topic: str, to_ms: int | None) -> None:
        """The source has said by itself that rows of a topic or pattern are missing up to a time (epoch ms)."""
        if topic.startswith("tick:*") and to_ms is not None:
            for market in self._markets if topic == "tick:*" else (market_of(topic),):
                self._told_ms[market] = max(to_ms, self._told_ms.get(market, 0))

    def know(self, market: str) -> None:
        """Look after a market from now on."""
        self._markets[market] = None

    def is_any(self, now_ms: int) -> bool:
        """Whether any market may be found by `end` to have been mute before the batch that comes now."""
        if abs(now_ms - self._asked_ms) >= ASKED_EVERY_MS:
            self._asked_ms = now_ms
            self._mute = [market for market in self._markets if self._was_mute(market, now_ms)]
        return bool(self._mute)

    def end(self, before: Before, rows: Rows) -> list[Notice]:
        """What rows tell of markets that were mute before."""
        notices = []
        for market in tuple(self._mute):
            spoken = [place for place, code in enumerate(rows.codes) if market_of(code) == market]
            from_ms = before.newest_ms.get(market, 0)
            back = _first_newer(from_ms, [(place, rows.times[place]) for place in spoken])
            if back is None:
                continue
            place, to_ms = back
            self._mute.remove(market)
            # By the time of the data, too: of rows that come late, but without a hole, none is missing.
            if from_ms < self._told_ms.get(market, 0):
                continue
            if self._was_mute(market, to_ms) and any(_has_jumped(before, rows, at) for at in spoken):
                notices.append(Notice(place, Interruption(f"{rows.channel}:*.{market}", from_ms, to_ms)))
        return notices


def market_of(code: str) -> str:
    """The market of an instrument: ``SH`` for ``600000.SH``."""
    return code[code.rfind(".") + 1 :]


def notices_of_late(channel: str, late: Iterable[Late]) -> list[Notice]:
    """One notice for each topic, or for the market where there are many, before the first of the late rows.

    The range is from the oldest late row to the newest row that it came after: in it the order is not the exchange's.
    """
    markets: dict[str, dict[str, list[Late]]] = {}
    for item in late:
        markets.setdefault(market_of(item.code), {}).setdefault(item.code, []).append(item)
    notices = []
    for market, topics in markets.items():
        if len(topics) > TOLD_APART:
            topics = {f"*.{market}": [item for items in topics.values() for item in items]}
        for instrument, items in topics.items():
            from_ms, to_ms = min(item.time_ms for item in items), max(item.newest_ms for item in items)
            place = min(item.place for item in items)
            notices.append(Notice(place, Interruption(f"{channel}:{instrument}", from_ms, to_ms)))
    return notices


def _first_newer(from_ms: int, times: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    """Where among places with their times an interruption ends that began at ``from_ms``, and at which ``time``.

    A snapshot after an outage also has instruments that last spoke early in it: rows of others are missing long after
    those. So the end is the oldest ``time`` of the last `SNAPSHOT_MS`: between that and the newest, no instrument can
    have had yet another row. None without a newer row.
    """
    newer = [(place, time_ms) for place, time_ms in times if time_ms > from_ms]
    if not newer:
        return None
    newest_ms = max(time_ms for _, time_ms in newer)
    return newer[0][0], min(time_ms for _, time_ms in newer if time_ms > newest_ms - SNAPSHOT_MS)


def _has_jumped(before: Before, rows: Rows, place: int) -> bool:
    """Whether an instrument had traded more at this row than at its row before, on the same day."""
    code, after_ms = rows.codes[place], rows.times[place]
    before_ms, row = before.rows.get(code, (after_ms, None))
    if row is None or after_ms <= before_ms:
        return False
    if shanghai_day(before_ms) != shanghai_day(after_ms):
        return False
    old = Rows(rows.channel, [code], [before_ms], [row])[0]
    # Both are looked at: volume is in whole hands, and either may be missing.
    pairs = zip(old[_CUMULATIVE], rows[place][_CUMULATIVE], strict=True)
    return any(was is not None and now is not None and now > was for was, now in pairs)
