"""What the relay is to reach, and what a run says of it: about medians of contestants that ran in turns."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.fanout.document import Document, results
from benchmarks.relay.workloads import BURST, EDGES, FLOOD, STEADY


@dataclass(frozen=True)
class Verdict:
    """A target and what was found. ``is_met``: None where it was not measured."""

    text: str
    measured: str
    is_met: bool | None

    def __str__(self) -> str:
        word = {True: "met", False: "missed", None: "not measured"}[self.is_met]
        return f"{word:12} {self.text}: {self.measured or '-'}"


def verdicts(document: Document) -> Iterator[Verdict]:
    """What a run says of each target."""
    for text, judge in _TARGETS:
        try:
            measured, is_met = judge(document)
        except KeyError:
            yield Verdict(text, "", None)
        else:
            yield Verdict(text, measured, is_met)


def _added(workload: str, figure: str, most_ms: float) -> Callable[[Document], tuple[str, bool]]:
    def judge(document: Document) -> tuple[str, bool]:
        hub, edge = (_figure(document, workload, name, figure) for name in ("hub", "edge"))
        is_whole = not any(_figure(document, workload, name, "missing_rows") for name in ("hub", "edge"))
        return f"{edge - hub:+.2f} ms ({hub:.2f} to {edge:.2f} ms)", is_whole and edge - hub <= most_ms

    return judge


def _flood(document: Document) -> tuple[str, bool]:
    rows_per_s, missing = (_figure(document, FLOOD.name, "edge", figure) for figure in ("rows_per_s", "missing_rows"))
    return f"{rows_per_s:,.0f} rows/s, {missing:.0f} rows missing", rows_per_s >= 150_000 and not missing


def _feed_cpu(*names: str) -> Callable[[Document], tuple[str, bool]]:
    def judge(document: Document) -> tuple[str, bool]:
        one, two, four = (_figure(document, EDGES.name, name, "feed_cpu_share") for name in names)
        return f"{one:.1%}, {two:.1%}, {four:.1%} of a core", max(two, four) <= 1.1 * one

    return judge


def _edge_cpu(document: Document) -> tuple[str, bool]:
    found, shares = [], []
    for workload in (STEADY, BURST):
        hub, edge = (_figure(document, workload.name, name, "cpu_us_per_row") for name in ("hub", "edge"))
        name = workload.name.removeprefix("relay-")
        found.append(f"{name} {edge / hub:.2f} × ({hub:.2f} to {edge:.2f} µs)")
        shares.append(edge / hub)
    return ", ".join(found), max(shares) <= 1.15


def _figure(document: Document, workload: str, contestant: str, figure: str) -> float:
    value = results(document, workload)[contestant][figure]
    if value is None:
        raise KeyError(figure)
    return value


_TARGETS: Final = (
    ("the relay adds at most 2 ms at p99 at 1,800 rows/s", _added(STEADY.name, "p99_ms", 2)),
    ("the relay adds at most 10 ms to a burst's last byte", _added(BURST.name, "last_ms", 10)),
    ("at least 150,000 rows/s through one Redis, from a feeder to a client", _flood),
    ("the feed's CPU is the same with 1, 2 and 4 edges, within a tenth", _feed_cpu("edge", "edges-2", "edges-4")),
    ("the same with feed and Redis on one processor", _feed_cpu("held-1", "held-2", "held-4")),
    ("an edge's CPU for a delivered row is at most 1.15 times a hub's", _edge_cpu),
)
