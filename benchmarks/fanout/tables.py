"""What a run found at one workload, as a table: for the terminal and for pages."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from benchmarks.fanout.document import Document, failures, results
from benchmarks.fanout.figures import Figures

HUB: Final = "hub"


class Column(NamedTuple):
    """``form``: how the figure is written. ``always``: also where nobody has it."""

    heading: str
    figure: str
    form: str
    always: bool = True


COLUMNS: Final[Sequence[Column]] = (
    Column("CPU µs/row", "cpu_us_per_row", ".2f"),
    Column("× hub", "to_hub", ".2f"),
    Column("in kernel", "system_share", ".0%"),
    Column("p50 ms", "p50_ms", ".2f"),
    Column("p99 ms", "p99_ms", ".2f"),
    Column("p99.9 ms", "p999_ms", ".2f"),
    Column("max ms", "max_ms", ".1f"),
    Column("last ms", "last_ms", ".1f", always=False),
    Column("rows/frame", "rows_per_frame", ".1f"),
    Column("rows/read", "rows_per_read", ".1f"),
    Column("server CPU", "cpu_share", ".0%"),
    Column("reader CPU", "reader_cpu_share", ".0%"),
    Column("reader ms", "reader_batch_ms", ".1f", always=False),
    Column("late ms", "feeder_late_p99_ms", ".2f"),
    Column("missing", "missing_rows", ",.0f"),
)
IDLE_COLUMNS: Final[Sequence[Column]] = (
    Column("resident KiB/client", "rss_kib_per_client", ".1f"),
    Column("CPU µs/client", "cpu_us_per_client", ".0f"),
    Column("all in after s", "open_s", ".2f"),
    Column("p99 of one ms", "open_p99_ms", ".1f"),
)
MEANINGS: Final[Sequence[tuple[str, str]]] = (
    ("CPU µs/row", "of the server, in user and system mode, for each row that a client received; × hub: how many times "
                   "the hub's; in kernel: how much of it is system mode"),
    ("p50 to max ms", "delays, from the time at which a row was planned to be sent to the last byte of its frame at "
                      "the client"),
    ("last ms", "from the time of a burst to its last byte at the last client"),
    ("rows/frame", "rows in one WebSocket message"),
    ("rows/read", "rows that a client finds at once: 1.0 says that nothing was batched on the way"),
    ("reader CPU", "of the load reader, which would be measured itself near 100 %; reader ms: its CPU for each burst, "
                   "which is to be well below last ms"),
    ("late ms", "by how much the feeder missed its plan, p99: part of every delay"),
    ("missing", "rows that did not come within five seconds of the end, in the worst round: the server could not "
                "keep up"),
)  # fmt: skip


def table(document: Document, workload: str) -> Iterator[list[str]]:
    """The rows of a table, its heading first."""
    found = {name: _with_derived(figures) for name, figures in results(document, workload).items()}
    hubs = found.get(HUB, {}).get("cpu_us_per_row")
    for figures in found.values():
        own = figures.get("cpu_us_per_row")
        figures["to_hub"] = own / hubs if own and hubs else None
    columns = IDLE_COLUMNS if any("open_s" in figures for figures in found.values()) else COLUMNS
    shown = [c for c in columns if c.always or any(figures.get(c.figure) is not None for figures in found.values())]
    yield ["", *(column.heading for column in shown)]
    failed = failures(document, workload)
    for name, figures in found.items():
        reasons = failed.pop(name, [])
        title = document["contestants"][name]["title"] + (f" ({len(reasons)} failed)" if reasons else "")
        yield [title, *(_text(figures.get(column.figure), column.form) for column in shown)]
    for name, reasons in failed.items():
        yield [document["contestants"][name]["title"], f"failed: {reasons[-1]}"]


def terminal(document: Document, workload: str) -> str:
    """A table in columns."""
    rows = list(table(document, workload))
    widths = [max(len(row[n]) for row in rows if n < len(row) and len(row) > 2) for n in range(len(rows[0]))]
    lines = [f"{workload}: {document['workloads'][workload]['what']}"]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join((row[0].ljust(widths[0]), *cells)).rstrip())
    return "\n".join(lines)


def markdown(document: Document, workload: str) -> Iterator[str]:
    """A table for a page, line by line."""
    heading, *rows = table(document, workload)
    yield f"| {' | '.join(heading)} |"
    yield f"|{'---|' + '---:|' * (len(heading) - 1)}"
    for row in rows:
        cells = [cell.replace("|", "\\|").replace("\n", " ") for cell in row]
        yield f"| {' | '.join((*cells, *[''] * (len(heading) - len(cells))))} |"


def legend() -> str:
    """What the columns mean."""
    return "\n".join(f"{name}: {meaning}." for name, meaning in MEANINGS)


def _with_derived(figures: Figures) -> dict[str, float | None]:
    rss_bytes = figures.get("rss_bytes_per_client")
    return {**figures, "rss_kib_per_client": None if rss_bytes is None else rss_bytes / 1024}


def _text(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
