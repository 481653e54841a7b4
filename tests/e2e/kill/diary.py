"""What one client was handed, in order: rows as number and digest, gaps at their place, and when."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgpack

from tests.e2e.kill.record import digest


class NotedGap(NamedTuple):
    """A gap, before the row with this place in the diary."""

    place: int
    topic: str
    cause: str
    from_seq: int | None
    to_seq: int | None
    from_ms: int | None
    to_ms: int | None


@dataclass
class Diary:
    """One client's stream. The arrays have one element a row; ``codes`` are by number."""

    topics: list[str]
    encoding: str
    codes: list[str] = field(default_factory=list)
    gaps: list[NotedGap] = field(default_factory=list)
    code_numbers: "array[int]" = field(default_factory=lambda: array("I"))
    seqs: "array[int]" = field(default_factory=lambda: array("I"))
    digests: "array[int]" = field(default_factory=lambda: array("Q"))
    at_s: "array[float]" = field(default_factory=lambda: array("d"))
    lost: int = 0
    """How often its connection was lost."""
    _numbers: dict[str, int] = field(default_factory=dict)

    def take_row(self, row: Sequence[Any], at_s: float) -> None:
        """Note a row as the hub's ``tick`` channel has it: ``code, seq, time, recv, values``."""
        code, seq, time_ms, _, *values = row
        number = self._numbers.get(code)
        if number is None:
            number = self._numbers[code] = len(self.codes)
            self.codes.append(code)
        self.code_numbers.append(number)
        self.seqs.append(seq)
        self.digests.append(digest((code, time_ms, *values)))
        self.at_s.append(at_s)

    def take_gap(
        self,
        topic: str,
        cause: str,
        from_seq: int | None = None,
        to_seq: int | None = None,
        from_ms: int | None = None,
        to_ms: int | None = None,
    ) -> None:
        """Note a gap."""
        self.gaps.append(NotedGap(len(self.seqs), topic, cause, from_seq, to_seq, from_ms, to_ms))

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        columns = [column.tobytes() for column in (self.code_numbers, self.seqs, self.digests, self.at_s)]
        path.write_bytes(msgpack.packb((self.topics, self.encoding, self.codes, self.gaps, columns, self.lost)))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Take it out of its file."""
        topics, encoding, codes, gaps, columns, lost = msgpack.unpackb(path.read_bytes())
        diary = cls(topics, encoding, codes, [NotedGap(*gap) for gap in gaps], lost=lost)
        own: tuple[array[Any], ...] = (diary.code_numbers, diary.seqs, diary.digests, diary.at_s)
        for column, data in zip(own, columns, strict=True):
            column.frombytes(data)
        return diary
