"""Tables and plots out of a document, for the terminal and for ``docs/benchmarks.md``.

python -m benchmarks.fanout.report RESULT.json docs
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from benchmarks.fanout.document import Document, failures, read, results

HUB: Final = "hub"
_BAR_PX, _ROW_PX, _LABEL_PX = 420, 22, 250

Figures = Mapping[str, float | None]
Column = tuple[str, str, str]
"""Heading, name of the figure, and how it is written."""

COLUMNS: Final[Sequence[Column]] = (
    ("CPU µs/row", "cpu_us_per_row", ".2f"),
    ("× hub", "to_hub", ".2f"),
    ("in kernel", "system_share", ".0%"),
    ("p50 ms", "p50_ms", ".2f"),
    ("p99 ms", "p99_ms", ".2f"),
    ("p99.9 ms", "p999_ms", ".2f"),
    ("max ms", "max_ms", ".1f"),
    ("last ms", "last_ms", ".1f"),
    ("rows/frame", "rows_per_frame", ".1f"),
    ("rows/read", "rows_per_read", ".1f"),
    ("server CPU", "cpu_share", ".0%"),
    ("reader CPU", "reader_cpu_share", ".0%"),
    ("late ms", "feeder_late_p99_ms", ".2f"),
    ("missing", "missing_rows", ",.0f"),
)
IDLE_COLUMNS: Final[Sequence[Column]] = (
    ("resident KiB/client", "rss_kib_per_client", ".1f"),
    ("CPU µs/client", "cpu_us_per_client", ".0f"),
    ("all in after s", "open_s", ".2f"),
    ("p99 of one ms", "open_p99_ms", ".1f"),
)
LEGEND: Final = """\
CPU: user and system mode of the server, per row that a client received; in kernel: its share in system mode. × hub:
how many times the hub's. Delays count from the time at which a row was planned to be sent, up to the last byte of its
frame at the client. last: from a burst to the last byte at the last client. rows/frame: how many rows travel in one
WebSocket message; rows/read: how many the client finds at once, so that 1.0 says that nothing was batched on the way.
reader CPU: that of the load reader; near 100 % it would be measured itself. late: by how much the feeder missed its
plan, p99. missing: rows that did not come within five seconds of their time: the server could not keep up."""


def table(document: Document, workload: str) -> Iterator[list[str]]:
    """The rows of a table, its heading first."""
    found = results(document, workload)
    columns = IDLE_COLUMNS if any("open_s" in figures for figures in found.values()) else COLUMNS
    shown = [c for c in columns if c[1] != "last_ms" or any(f["last_ms"] is not None for f in found.values())]
    yield ["", *(heading for heading, _, _ in shown)]
    for name, figures in found.items():
        all_figures = _with_derived(figures, found.get(HUB))
        yield [document["contestants"][name]["title"], *(_text(all_figures[key], how) for _, key, how in shown)]
    for name, reason in failures(document, workload).items():
        if name not in found:
            yield [document["contestants"][name]["title"], f"failed: {reason}"]


def _with_derived(figures: Figures, hub: Figures | None) -> dict[str, float | None]:
    own, hubs = figures.get("cpu_us_per_row"), hub.get("cpu_us_per_row") if hub else None
    rss_bytes = figures.get("rss_bytes_per_client")
    return {
        **figures,
        "to_hub": own / hubs if own and hubs else None,
        "rss_kib_per_client": None if rss_bytes is None else rss_bytes / 1024,
    }


def _text(value: float | None, how: str) -> str:
    return "" if value is None else format(value, how)


def terminal(document: Document, workload: str) -> str:
    """A table in columns."""
    rows = list(table(document, workload))
    widths = [max(len(row[n]) for row in rows if n < len(row) and len(row) > 2) for n in range(len(rows[0]))]
    lines = [f"{workload}: {document['workloads'][workload]['what']}"]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=False)]
        lines.append("  ".join((row[0].ljust(widths[0]), *cells)).rstrip())
    return "\n".join(lines)


def markdown(document: Document, picture: str) -> str:
    """The whole page. ``picture``: the folder of the plots, relative to the page."""
    machine = document["machine"]
    lines = [
        "# Benchmarks of fan-out",
        "",
        "<!-- Made by `python -m benchmarks.fanout.report`; changes by hand are lost. -->",
        "",
        f"Measured {document['started'][:10]} at revision `{document['revision']}`, on {machine['cpus']} CPUs of "
        f"{machine['cpu']}, {machine['memory_gib']:.0f} GiB, {machine['system']}, Python {machine['python']}, "
        f"{document['rounds']} rounds. Everybody gets the same rows at the same planned times, in turns within one "
        "run; figures are medians over the rounds. Between machines and runs they move, so ratios within the run are "
        "what to read.",
        "",
        LEGEND,
        "",
    ]
    for name, workload in document["workloads"].items():
        lines += [f"## {name}", "", f"{workload['what'][0].upper()}{workload['what'][1:]}.", ""]
        for number, row in enumerate(table(document, name)):
            lines.append(f"| {' | '.join(row)} |")
            if not number:
                lines.append(f"|{'---|' + '---:|' * (len(row) - 1)}")
        if _bars(document, name):
            lines += ["", f"![CPU per delivered row]({picture}/{name}.svg)"]
        lines.append("")
    lines += ["## Versions", "", "| | |", "|---|---|"]
    lines += [f"| {about['title']} | {about['version']} |" for about in document["contestants"].values()]
    lines += [f"| {name} | not run: {reason} |" for name, reason in document["skipped"].items()]
    return "\n".join((*lines, ""))


def _bars(document: Document, workload: str) -> list[tuple[str, float]]:
    spent = {name: figures.get("cpu_us_per_row") for name, figures in results(document, workload).items()}
    return [(document["contestants"][name]["title"], cpu_us) for name, cpu_us in spent.items() if cpu_us]


def svg(title: str, unit: str, bars: Sequence[tuple[str, float]]) -> str:
    """A plot of horizontal bars."""
    most = max(value for _, value in bars)
    width, height = _LABEL_PX + _BAR_PX + 80, _ROW_PX * (len(bars) + 1) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        f'font-size="13"><rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="8" y="16" font-weight="bold">{escape(title)}</text>',
    ]
    for number, (label, value) in enumerate(bars, 1):
        top = _ROW_PX * number + 6
        parts.append(
            f'<text x="{_LABEL_PX - 8}" y="{top + 14}" text-anchor="end">{escape(label)}</text>'
            f'<rect x="{_LABEL_PX}" y="{top + 2}" width="{max(1, value / most * _BAR_PX):.0f}" height="{_ROW_PX - 6}" '
            f'fill="{"#c0392b" if label.startswith("Argus") else "#7f8c8d"}"/>'
            f'<text x="{_LABEL_PX + value / most * _BAR_PX + 6:.0f}" y="{top + 14}">{value:.2f} {unit}</text>'
        )
    return "".join((*parts, "</svg>\n"))


def write_pages(document: Document, folder: Path) -> None:
    """Write ``benchmarks.md`` and its plots."""
    pictures = folder / "benchmarks"
    pictures.mkdir(parents=True, exist_ok=True)
    (folder / "benchmarks.md").write_text(markdown(document, pictures.name), encoding="utf-8")
    for name in document["workloads"]:
        if bars := _bars(document, name):
            (pictures / f"{name}.svg").write_text(svg(f"{name}: CPU per delivered row", "µs", bars), encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    """Write the pages of a result."""
    if len(arguments) != 2:
        raise SystemExit("usage: python -m benchmarks.fanout.report RESULT.json FOLDER")
    write_pages(read(Path(arguments[0])), Path(arguments[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
