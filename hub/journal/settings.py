"""How a journal is kept: how much of it, and what a power loss may cost."""

from dataclasses import dataclass
from typing import Final

_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """How a journal is kept.

    Args:
        fsync_s: seconds between two times of making durable what was written; 0: before every append returns.
        keep_days: trading days that stay, the current one among them.
        keep_bytes: what all files together may take.
        part_bytes: size at which a file is followed by the next; a quarter of ``keep_bytes`` at most.
    """

    fsync_s: float = 1.0
    keep_days: int = 5
    keep_bytes: int = 40 * _GIB
    part_bytes: int = _GIB

    @property
    def roll_bytes(self) -> int:
        """Size at which a file is followed by the next: so small that deleting whole files keeps the bound."""
        return min(self.part_bytes, self.keep_bytes // 4)
