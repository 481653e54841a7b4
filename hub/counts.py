"""Totals of one hub since its start. Plain numbers: the metrics page reads them when somebody asks."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """Rows out and conflated are counted for each client that they were for."""

    rows_in: int = 0
    batches_in: int = 0
    rows_refused: int = 0
    gaps_in: int = 0
    rows_out: int = 0
    rows_conflated: int = 0
