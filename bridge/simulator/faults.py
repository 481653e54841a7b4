"""Faults on request: what goes wrong between an exchange and a hub, at moments that a test can choose.

A fault changes what is delivered, never the market itself: the same seed gives the same market with and without.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Final, Self

from bridge.simulator.draws import Draws
from hub.schema import Row

_SPOILED: Final = 0.1
"""Part of a batch's rows that a fault of rows touches; always at least one."""


class FaultKind(StrEnum):
    """What goes wrong."""

    SILENCE = "silence"
    DISCONNECT = "disconnect"
    CRASH = "crash"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    ZERO_TIME = "zero_time"


class SourceCrashed(Exception):  # noqa: N818 (it reads as what happened)
    """The simulator ended as a crash fault asked for. Calling ``run`` again continues the same market."""


_TEXT: Final = re.compile(r"(?P<kind>\w+)@(?P<at>\d+(\.\d+)?)(\+(?P<length>\d+(\.\d+)?))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: from ``at_s`` for ``for_s`` market seconds since the source's start (skipped time not counted).

    A crash is a moment and has no length. Raises ValueError for what makes no sense.
    """

    kind: FaultKind
    at_s: float
    for_s: float = 0.0

    def __post_init__(self) -> None:
        if not (isfinite(self.at_s) and isfinite(self.for_s) and self.at_s >= 0 and self.for_s >= 0):
            raise ValueError(f"fault {self.kind}: seconds must be finite and not negative")
        if self.kind is FaultKind.CRASH and self.for_s:
            raise ValueError(f"fault crash has no length; write crash@{self.at_s:g}")
        if self.kind is not FaultKind.CRASH and not self.for_s:
            raise ValueError(f"fault {self.kind} needs a length in seconds, such as {self.kind}@{self.at_s:g}+15")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``KIND@SECONDS+SECONDS`` or ``crash@SECONDS``, such as ``silence@30+15``.

        Raises ValueError with one line that says what is wrong.
        """
        match = _TEXT.fullmatch(text.strip())
        if not match:
            raise ValueError(f"fault {text!r} is not of the form KIND@SECONDS+SECONDS, such as silence@30+15")
        kind = match["kind"]
        if kind not in tuple(FaultKind):
            raise ValueError(f"unknown fault {kind!r}; known are {', '.join(FaultKind)}")
        return cls(FaultKind(kind), float(match["at"]), float(match["length"] or 0))

    def covers(self, lived_s: float) -> bool:
        """True if a batch due at ``lived_s`` falls into the fault."""
        return self.at_s <= lived_s < self.at_s + self.for_s


class FaultPlan:
    """The faults of one source, and what they have done so far."""

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self._faults = [fault for fault in faults if fault.kind is not FaultKind.CRASH]
        self._crashes = [fault for fault in faults if fault.kind is FaultKind.CRASH]
        self._draws = Draws(seed, "faults")
        self._late: dict[str, Row] = {}

    def crash_if_due(self, lived_s: float) -> None:
        """Raise SourceCrashed once for every crash that has come due."""
        for fault in self._crashes:
            if fault.at_s <= lived_s:
                self._crashes.remove(fault)
                raise SourceCrashed(
                    f"the simulator crashed at {lived_s:g} s, as its fault crash@{fault.at_s:g} asks for"
                )

    def active(self, kind: FaultKind, lived_s: float) -> Fault | None:
        """The fault of this kind that a batch due at ``lived_s`` falls into."""
        return next((fault for fault in self._faults if fault.kind is kind and fault.covers(lived_s)), None)

    def spoil(self, rows: list[Row], lived_s: float) -> list[Row]:
        """What is delivered in place of ``rows``.

        A row that is held back follows in the batch that brings a newer row of its instrument, after that.
        """
        late = [self._late.pop(row[0]) for row in rows if row[0] in self._late]
        if rows and self.active(FaultKind.OUT_OF_ORDER, lived_s):
            overtaken = {row[0] for row in late}
            held = {row[0]: row for row in self._pick([row for row in rows if row[0] not in overtaken])}
            rows = [row for row in rows if row[0] not in held]
            self._late.update(held)
        rows = rows + late
        if rows and self.active(FaultKind.ZERO_TIME, lived_s):
            undated = {id(row) for row in self._pick(rows)}
            rows = [(row[0], 0, *row[2:]) if id(row) in undated else row for row in rows]
        if rows and self.active(FaultKind.DUPLICATE, lived_s):
            rows = rows + self._pick(rows)
        return rows

    def _pick(self, rows: list[Row]) -> list[Row]:
        uniform = self._draws.uniform
        return [row for row in rows if uniform() < _SPOILED] or rows[:1]
