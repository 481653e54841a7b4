"""How far every topic has come, and the record that every file begins with: the same, with the newest rows.

That record is why old files can be deleted: an instrument that was suspended longer ago than they reach back keeps its
count and its newest row.
"""

from collections.abc import Sequence
from itertools import count
from typing import Final

import msgspec

from hub.journal.columns import large, small, split
from hub.journal.marks import NEVER_MS, Mark
from hub.journal.record import Kind, encode

TopicName = tuple[str, str]
"""Channel and code."""


class Tally:
    """By number of the topic: its newest row, that row's ``seq`` and arrival number, and the newest time of all."""

    def __init__(self) -> None:
        self.at = 0
        self.late_at = 0
        """Arrival number of the newest row that is older than one of its topic before it."""
        self.names: list[TopicName] = []
        self.seqs: list[int] = []
        self.ats: list[int] = []
        self.newest_times: list[int] = []
        self.newest: list[bytes] = []

    def declare(self, names: Sequence[TopicName]) -> None:
        """Add topics. They get the next numbers, from 0 on."""
        self.names += names
        self.seqs += [0] * len(names)
        self.ats += [0] * len(names)
        self.newest_times += [NEVER_MS] * len(names)
        self.newest += [b""] * len(names)

    def add(
        self, at: int, numbers: Sequence[int], seqs: Sequence[int], times: Sequence[int], rows: Sequence[bytes]
    ) -> None:
        """Count rows; the first has arrival number ``at``."""
        newest_seqs, newest_ats, newest_times, newest = self.seqs, self.ats, self.newest_times, self.newest
        for row_at, number, seq, time_ms, row in zip(count(at), numbers, seqs, times, rows, strict=False):
            newest_seqs[number] = seq
            newest_ats[number] = row_at
            newest[number] = row
            if time_ms > newest_times[number]:
                newest_times[number] = time_ms
            elif time_ms < newest_times[number]:
                self.late_at = row_at
        self.at = at + len(numbers) - 1

    def mark(self, offset: int) -> Mark:
        """The state as a mark: a copy."""
        return Mark(self.at, offset, large(self.seqs), large(self.newest_times))


class StateRecord(msgspec.Struct, array_like=True, frozen=True):
    """What stands at the beginning of a file: whose history it is, and columns by topic. The body: the newest rows."""

    epoch: str
    source: str
    run: str
    batch: int
    day: str
    names: list[TopicName]
    seqs: bytes
    ats: bytes
    newest_times: bytes
    lengths: bytes
    late_at: int

    def tally(self, at: int, body: bytes) -> Tally:
        """Go on counting from here."""
        tally = Tally()
        tally.at, tally.late_at = at, self.late_at
        tally.names = self.names
        tally.seqs = list(large(self.seqs))
        tally.ats = list(large(self.ats))
        tally.newest_times = list(large(self.newest_times))
        tally.newest = split(body, small(self.lengths))
        return tally

    def mark(self, at: int, offset: int) -> Mark:
        """The mark that a file begins with."""
        return Mark(at, offset, large(self.seqs), large(self.newest_times))


_encode: Final = msgspec.msgpack.Encoder().encode
decode_state: Final = msgspec.msgpack.Decoder(StateRecord).decode


def encode_state(tally: Tally, *, epoch: str, source: str, run: str, batch: int, day: str) -> bytes:
    """The record that a file begins with."""
    seqs, ats, newest_times = (large(column).tobytes() for column in (tally.seqs, tally.ats, tally.newest_times))
    lengths = small(map(len, tally.newest)).tobytes()
    head = _encode(
        StateRecord(epoch, source, run, batch, day, tally.names, seqs, ats, newest_times, lengths, tally.late_at)
    )
    body = b"".join(tally.newest)
    return encode(Kind.STATE, tally.at + 1, head, body) + body
