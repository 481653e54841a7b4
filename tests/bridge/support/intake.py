"""What the tests of the intake share: a hub that keeps what it is given, ticks, and an intake between the two."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from bridge.intake import Intake
from bridge.repeats import PastTopic
from bridge.source import Batch, Interruption, Observer, SourceStatus
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
        self._restored = restored or {}
        self._held = held

    def publish(self, batch: Batch) -> None:
        self.events.append(batch)

    def announce(self, interruption: Interruption) -> None:
        self.events.append(interruption)

    def begin_run(self, run: str) -> None:
        self.events.append(run)

    def topics(self) -> Iterable[PastTopic]:
        for channel, rows in self._restored.items():
            for code in dict.fromkeys(row[0] for row in rows):
                own = packed(*(row for row in rows if row[0] == code), channel=channel)
                newest_ms = max(own.times)
                yield PastTopic(channel, code, newest_ms, own.packed[-1] if own.times[-1] == newest_ms else None)

    def rows_at(self, channel: str, code: str, time_ms: int) -> Iterable[bytes]:
        self.lookups.append((channel, code, time_ms))
        published = [row for batch in self.batches if batch.channel == channel for row in batch.rows]
        rows = [*self._restored.get(channel, ()), *published] if self._held else []
        return packed(*(row for row in rows if (row[0], row[1]) == (code, time_ms)), channel=channel).packed

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
