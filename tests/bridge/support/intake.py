"""What the tests of the intake share: a hub that keeps what it is given, ticks, and an intake between the two."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from bridge.intake import Intake
from bridge.repeats import PastTopic
from bridge.source import Batch, Interruption, Observer, SourceStatus
from hub.rows import Rows
from hub.schema import CHANNELS, Row
from tests.hub.support.core import packed

TEN_MS: Final = 1_788_228_000_000
"""2026-09-01 10:00:00 in Shanghai: a Tuesday, continuous trading."""


def tick(code: str, after_ms: int = 0, **values: Any) -> Row:
    """One tick so long after ten o'clock, in the order of ``source_names``."""
    usual: dict[str, Any] = {"code": code, "time": TEN_MS + after_ms, "lastPrice": 8.01, "amount": 800.0, "volume": 1}
    usual |= {"askPrice": [8.02, 8.03], "bidPrice": [8.01, 8.0]}
    return tuple((usual | values).get(name) for name in CHANNELS["tick"].source_names)


class Stream:
    """The hub: a publisher that keeps everything in order, and the past made of that.

    Args:
        restored: rows of an earlier process, by channel.
        held: whether rows can still be looked up.
    """

    def __init__(self, restored: dict[str, list[Row]] | None = None, run: str = "", *, held: bool = True) -> None:
        self.events: list[Batch | Interruption | str] = []
        """Batches, interruptions and runs."""
        self.lookups: list[tuple[str, str, int]] = []
        self.run = run
        self._held = held
        self._newest_ms: dict[tuple[str, str], int] = {}
        self._last: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._rows: dict[tuple[str, str, int], list[bytes]] = {}
        for channel, rows in (restored or {}).items():
            self._keep(packed(*rows, channel=channel))

    def publish(self, batch: Batch) -> None:
        self.events.append(batch)
        assert isinstance(batch.rows, Rows)
        self._keep(batch.rows)

    def announce(self, interruption: Interruption) -> None:
        self.events.append(interruption)

    def begin_run(self, run: str) -> None:
        self.events.append(run)

    def topics(self) -> Iterable[PastTopic]:
        for (channel, code), newest_ms in self._newest_ms.items():
            yield PastTopic(channel, code, newest_ms)

    def last_row(self, channel: str, code: str) -> bytes | None:
        time_ms, row = self._last.get((channel, code), (-1, b""))
        return row if time_ms == self._newest_ms.get((channel, code)) else None

    def rows_at(self, channel: str, code: str, time_ms: int) -> Iterable[bytes]:
        self.lookups.append((channel, code, time_ms))
        return self._rows.get((channel, code, time_ms), ()) if self._held else ()

    def _keep(self, rows: Rows) -> None:
        for code, time_ms, row in zip(rows.codes, rows.times, rows.packed, strict=True):
            topic = rows.channel, code
            self._newest_ms[topic] = max(time_ms, self._newest_ms.get(topic, 0))
            self._last[topic] = time_ms, row
            self._rows.setdefault((*topic, time_ms), []).append(row)

    @property
    def batches(self) -> list[Batch]:
        return [event for event in self.events if isinstance(event, Batch)]

    @property
    def rows(self) -> list[Row]:
        return [row for batch in self.batches for row in batch.rows]

    @property
    def interruptions(self) -> list[Interruption]:
        return [event for event in self.events if isinstance(event, Interruption)]

    @property
    def story(self) -> list[Row | Interruption | str]:
        """Rows, interruptions and runs one after the other, wherever batches were cut."""
        told: list[Row | Interruption | str] = []
        for event in self.events:
            told += event.rows if isinstance(event, Batch) else [event]
        return told


class Taken:
    """An observer that keeps what it is given."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def observe(self, batch: Batch) -> None:
        self.batches.append(batch)

    @property
    def rows(self) -> list[Row]:
        return [row for batch in self.batches for row in batch.rows]


class Door:
    """An intake into a `Stream`, with a clock and mute markets that a test sets."""

    def __init__(
        self,
        stream: Stream | None = None,
        *,
        observers: Sequence[Observer] = (),
        on_status: Callable[[SourceStatus], None] = lambda _: None,
        away: bool = False,
    ) -> None:
        self.now_ms = TEN_MS
        self.mute: dict[str, int] = {}
        """Markets that were mute, and the time after which they were."""
        self.asked: list[tuple[str, int]] = []
        self.stream = stream or Stream()
        self.intake = Intake(
            self.stream,
            observers,
            on_status,
            past=self.stream,
            was_mute=self._was_mute,
            away=away,
            now_ms=lambda: self.now_ms,
        )

    def deliver(self, *rows: Row, channel: str = "tick", number: int = 0) -> None:
        """Deliver one batch."""
        self.intake.deliver(Batch(channel, rows, 99, number))

    @property
    def refused(self) -> dict[str, int]:
        return dict(self.intake.refused)

    def _was_mute(self, market: str, until_ms: int) -> bool:
        self.asked.append((market, until_ms))
        return until_ms > self.mute.get(market, until_ms)
