"""What the hub is to reach, as data, and what a run says of it.

Every target is about medians within one run; where it holds two contestants or two workloads against each other, about
the ratio of their medians, since between machines and runs all of them move.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final, NamedTuple, Protocol

from benchmarks.fanout.document import Document, failures, results
from benchmarks.fanout.figures import Figures


class Label(NamedTuple):
    """How a figure is called and written. ``scale``: what it is multiplied by to be in its unit."""

    text: str
    unit: str
    form: str
    scale: float = 1.0

    def written(self, value: float) -> str:
        """A value in its unit."""
        return f"{value * self.scale:{self.form}}{f' {self.unit}' if self.unit else ''}"


LABELS: Final[Mapping[str, Label]] = {
    "cpu_us_per_row": Label("CPU per delivered row", "µs", ".2f"),
    "rows_per_cpu_s": Label("delivered rows per CPU second", "", ",.0f"),
    "p50_ms": Label("p50 of the delay", "ms", ".2f"),
    "p99_ms": Label("p99 of the delay", "ms", ".2f"),
    "p999_ms": Label("p99.9 of the delay", "ms", ".2f"),
    "last_ms": Label("last byte at the last client after", "ms", ".1f"),
    "missing_rows": Label("missing rows", "", ",.0f"),
    "rss_bytes_per_client": Label("resident memory per client", "KiB", ".1f", 1 / 1024),
    "open_s": Label("all clients in after", "s", ".2f"),
}


THIRD: Final = 1 / 3

UNJOURNALLED: Final[Mapping[str, str]] = {"hub": "hub-no-journal", "hub-flush-5": "hub-flush-5-no-journal"}
"""The same hub without its journal."""


class Found(NamedTuple):
    """What a run says. ``share``: of the limit, 1 being just met; None where there is no limit."""

    measured: str
    share: float | None


class Target(Protocol):
    """Something to reach, or (without a limit) only to report."""

    @property
    def workload(self) -> str:
        """Where it belongs."""

    @property
    def contestant(self) -> str:
        """Whom it is about."""

    @property
    def text(self) -> str:
        """What it is, in words."""

    def judge(self, document: Document, contestant: str) -> Found | None:
        """What a run says of it, for the contestant that it is about or for another; None: nothing."""


@dataclass(frozen=True)
class Value:
    """One figure, at most (or at least) so much, in the unit of its label."""

    workload: str
    figure: str
    limit: float
    at_least: bool = False
    contestant: str = "hub"

    @property
    def text(self) -> str:  # noqa: D102
        label = LABELS[self.figure]
        limit = f"{self.limit:,.0f}" if self.limit >= 1000 else f"{self.limit:g} {label.unit}".strip()
        return f"{label.text} {'at least' if self.at_least else 'at most'} {limit}"

    def judge(self, document: Document, contestant: str) -> Found | None:  # noqa: D102
        value, label = _figure(document, self.workload, contestant, self.figure), LABELS[self.figure]
        if value is None:
            return None
        scaled = value * label.scale
        if self.at_least:
            return Found(label.written(value), self.limit / scaled if scaled else float("inf"))
        over_nothing = float("inf") if scaled else 0.0
        return Found(label.written(value), scaled / self.limit if self.limit else over_nothing)


@dataclass(frozen=True)
class Ratio:
    """One figure, at most so many times that of another contestant, or of the same one at another workload."""

    workload: str
    figure: str
    limit: float
    peer: str = ""
    at: str = ""
    contestant: str = "hub"

    @property
    def text(self) -> str:  # noqa: D102
        whose = f" of {self.contestant}" if self.contestant != "hub" else ""
        other = " at ".join(filter(None, (self.peer, self.at)))
        times = "a third of" if self.limit == THIRD else f"{self.limit:g} ×"
        return f"{LABELS[self.figure].text}{whose} at most {times} that of {other}"

    def judge(self, document: Document, contestant: str) -> Found | None:  # noqa: D102
        own = _figure(document, self.workload, contestant, self.figure)
        other = _figure(document, self.at or self.workload, self.peer or contestant, self.figure)
        if own is None or not other:
            return None
        written = LABELS[self.figure].written
        return Found(f"{own / other:.2f} × ({written(own)} to {written(other)})", own / other / self.limit)


@dataclass(frozen=True)
class Added:
    """By how much one figure is more than that of another contestant: only reported.

    Without the journal it is held against the other one without its journal.
    """

    workload: str
    figure: str
    peer: str
    contestant: str = "hub"

    @property
    def text(self) -> str:  # noqa: D102
        return f"{LABELS[self.figure].text} of {self.contestant}, beside that of {self.peer}"

    def judge(self, document: Document, contestant: str) -> Found | None:  # noqa: D102
        own = _figure(document, self.workload, contestant, self.figure)
        peer = self.peer if contestant == self.contestant else UNJOURNALLED[self.peer]
        other = _figure(document, self.workload, peer, self.figure)
        if own is None or other is None:
            return None
        label = LABELS[self.figure]
        return Found(f"{label.written(own)}, {label.written(own - other)} more", None)


@dataclass(frozen=True)
class Growth:
    """One figure along an axis: from any point to any later one it is to grow so many times at most.

    ``workloads``: the points, in order; ``workload`` names the axis.
    """

    workload: str
    figure: str
    limit: float
    workloads: Sequence[str]
    contestant: str = "hub"

    @property
    def text(self) -> str:  # noqa: D102
        return f"{LABELS[self.figure].text} grows at most {self.limit:g} times from any point to a later one"

    def judge(self, document: Document, contestant: str) -> Found | None:  # noqa: D102
        values = [_figure(document, workload, contestant, self.figure) for workload in self.workloads]
        there = [value for value in values if value]
        if len(there) < len(values):
            return None
        most = max(later / earlier for earlier, later in combinations(there, 2))
        return Found(f"{most:.2f} × ({', '.join(map(LABELS[self.figure].written, there))})", most / self.limit)


CURVES: Final[Mapping[str, Sequence[str]]] = {
    axis: tuple(f"curve-{axis}-{point}" for point in points)
    for axis, points in {
        "clients": (50, 500, 5000),
        "symbols": (50, 500, 5000, 50_000),
        "subscriptions": (25_000, 250_000, 2_500_000),
    }.items()
}
"""By axis, the workloads along it."""

_HOT: Final = (300, 1000, 2000, 10_000)

TARGETS: Final[Sequence[Target]] = (
    Ratio("hot-unbatched", "cpu_us_per_row", 1.8, peer="c-each"),
    Ratio("hot-unbatched", "cpu_us_per_row", 0.5, peer="broadcast"),
    Value("burst", "last_ms", 20),
    Ratio("burst", "last_ms", THIRD, peer="nats"),
    Value("burst", "cpu_us_per_row", 0.7),
    Ratio("burst", "cpu_us_per_row", THIRD, peer="nats"),
    *(
        target
        for rows_per_s in _HOT
        for target in (
            Ratio(f"hot-{rows_per_s}", "cpu_us_per_row", 0.5, peer="nats", contestant="hub-flush-5"),
            Added(f"hot-{rows_per_s}", "p50_ms", peer="hub", contestant="hub-flush-5"),
            Added(f"hot-{rows_per_s}", "p99_ms", peer="hub", contestant="hub-flush-5"),
        )
    ),
    Value("burst-and-whole", "rows_per_cpu_s", 4_000_000, at_least=True),
    Value("steady", "p99_ms", 3),
    Value("steady", "p999_ms", 10),
    Ratio("steady-mute", "p99_ms", 1.1, at="steady"),
    Value("level-2", "missing_rows", 0),
    Value("level-2", "p99_ms", 20),
    Value("idle", "rss_bytes_per_client", 20),
    Value("idle", "open_s", 11),
    *(Growth(f"curve-{axis}", "cpu_us_per_row", 1.5, points) for axis, points in CURVES.items()),
)


@dataclass(frozen=True)
class Verdict:
    """A target and what a run says of it. ``met``: None where there is no limit, or nothing was measured.

    ``unjournalled``: the same of the hub without its journal; empty where that was not measured.
    """

    workload: str
    text: str
    measured: str
    share: float | None
    unjournalled: str

    @property
    def met(self) -> bool | None:
        """Whether it was met."""
        return None if self.share is None else self.share <= 1

    @property
    def word(self) -> str:
        """The same in a word."""
        if self.met is None:
            return "reported" if self.measured else "not measured"
        return "met" if self.met else "missed"

    def __str__(self) -> str:
        shown = f"{self.word:12} {self.workload}: {self.text}: {self.measured or '-'}"
        return f"{shown}; without the journal {self.unjournalled}" if self.unjournalled else shown


def verdicts(document: Document) -> Iterator[Verdict]:
    """What a run says of each target whose workload it has."""
    for target in TARGETS:
        workloads = target.workloads if isinstance(target, Growth) else (target.workload,)
        if not all(workload in document["workloads"] for workload in workloads):
            continue
        found = target.judge(document, target.contestant)
        beside = target.judge(document, UNJOURNALLED[target.contestant])
        measured, share = found or ("", None)
        failed = sum(len(failures(document, workload).get(target.contestant, ())) for workload in workloads)
        if failed and measured:
            measured, share = f"{measured}, but {failed} trials failed", float("inf")
        yield Verdict(target.workload, target.text, measured, share, beside.measured if beside else "")


def _figure(document: Document, workload: str, contestant: str, figure: str) -> float | None:
    nothing: Figures = {}
    return results(document, workload).get(contestant, nothing).get(figure)
