"""What one client may use, and the bucket that holds it to a rate of requests."""

import math
from dataclasses import dataclass
from typing import Final

BURST_S: Final = 5.0
"""A client may send this many seconds' worth of requests at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Per client: largest message in bytes, topic strings, sustained requests a second, bytes that may wait."""

    message_bytes: int
    topics: int
    requests_per_s: float
    pending_bytes: int


class TokenBucket:
    """Requests that a client may still make.

    Each request takes a token, also one that is refused: who goes on regardless runs into debt, and a debt as deep
    as the bucket is a flood.
    """

    __slots__ = ("_burst", "_rate", "_then_s", "_tokens")

    def __init__(self, rate_per_s: float, now_s: float) -> None:
        self._rate = rate_per_s
        self._burst = max(1.0, rate_per_s * BURST_S)
        self._tokens = self._burst
        self._then_s = now_s

    def take(self, now_s: float) -> bool:
        """Take a token; False when there is none."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._then_s) * self._rate) - 1
        self._then_s = now_s
        return self._tokens >= 0

    @property
    def flooded(self) -> bool:
        """Whether the debt is too deep to be an accident."""
        return self._tokens < -self._burst

    @property
    def wait_ms(self) -> int:
        """How long to wait before the next request is welcome."""
        return max(0, math.ceil((1 - self._tokens) / self._rate * 1000))
