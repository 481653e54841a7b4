"""Makes ``benchmarks.md`` and its plots out of the result of a run, and keeps the run's figures beside them.

python -m benchmarks.fanout.report RESULT.json [ANOTHER.json ...] docs

RESULT may also be the ``benchmarks.json`` that an earlier call has kept: the page is the same.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.fanout import plots, tables
from benchmarks.fanout.document import Document, condensed, counts, joined, read, results
from benchmarks.fanout.targets import CURVES, LABELS, Verdict, verdicts

PAGE: Final = "benchmarks"

DELAYS: Final = {
    "burst": "last_ms",
    "burst-and-whole": "last_ms",
    "steady": "p99_ms",
    "steady-mute": "p99_ms",
    "level-2": "p99_ms",
}
"""Which delay is worth a picture at a workload."""

METHOD: Final = """\
## How it is measured

- **Side by side.** All servers run on the same machine, one at a time and in turns: a round has everybody once who
  takes part in it, the next one in reverse order. Every trial begins with a fresh server. What is shown is the median
  over the trials of each; who had fewer than others, or none, is [named below](#who-was-measured).{runs}
  Between machines and runs all figures move, those of everybody together; **ratios within the run are what to read**.
- **The plan is made first.** Which row is sent when, and who listens to what, is fixed before the first row is sent,
  and is the same for everybody. The feeder sends each batch at its time, late or not, and never waits for an answer;
  delays count from the planned time. So a server that stalls is charged for every row that was due meanwhile (no
  coordinated omission). How late the feeder itself was is in the tables.
- **The same bytes.** Every client gets the same rows of the same size: the hub's positional msgpack. The hub numbers
  them, keeps them, writes them to its journal and can play them again; the others pass them on. It has its journal on
  unless a line says otherwise.
- **CPU before time.** CPU is what the system has charged to the server's processes for user and system mode, from the
  first row that counts to the end of the schedule, idle work included. What the system's own threads do, such as
  bringing the journal's pages to the disk, is charged to nobody.
- **Who runs where.** {pinning}
- **The reader is C**, one thread that reads all clients and looks at every row. Its own CPU is in the tables, so that
  it can be seen not to be the bottleneck.
- **The limit** is a C program that remembers nothing and has no back-pressure: once with one `send()` per client and
  row, once with one per client and turn of its loop. It is there to say what the machine itself takes.
- Everybody is run as its documentation shows for the task: `benchmarks/fanout/servers/` has the Python ones, each about
  forty lines; nats-server and nginx with nchan are Debian's packages. socketify's loop looks at its sockets without
  waiting for them, so at low rates most of its CPU is not for rows.
"""
JOINED: Final = (
    " This page puts {} runs of one revision on one machine together, with contestants and rounds of their own."
)
PINNED: Final = (
    "The server has one processor, reader and feeder have another. nats-server alone may use all: it has threads, and "
    "all of its CPU is counted."
)
FREE: Final = "Every process could run on any processor."

AGAIN: Final = """\
## Again

```sh
python -m benchmarks.fanout --install-peers      # the Python servers, into an environment of their own
make bench ARGS="--out result.json"              # everything, for hours; make bench-quick: two minutes
make bench ARGS="burst steady --rounds 3"        # some of it; ARGS=--list says what there is
python -m benchmarks.fanout.report result.json docs
python benchmarks/compare.py docs/benchmarks.json result.json   # --partial: after some of it
```

nats-server, nginx with nchan and gcc are Debian's `nats-server`, `nginx`, `libnginx-mod-nchan` and `gcc`. Who is not
installed is left out and named. Leave the machine alone meanwhile.
"""


def page(document: Document) -> str:
    """The whole page."""
    machine = document["machine"]
    judged = list(verdicts(document))
    lines = [
        "# Benchmarks of fan-out",
        "",
        "<!-- Made by `python -m benchmarks.fanout.report` from benchmarks.json: changes by hand are lost. -->",
        "",
        f"Measured {document['started'][:10]} at revision `{document['revision']}`, {_rounds(document)}, on "
        f"{machine['cpus']} CPUs of {machine['cpu']}, {machine['memory_gib']:.0f} GiB, {machine['system']}, Python "
        f"{machine['python']}. Load of the machine before: {machine['load_before']:.1f}.",
        "",
        METHOD.format(
            pinning=PINNED if machine["pinned"] else FREE,
            runs=JOINED.format(document["runs"]) if document.get("runs", 1) > 1 else "",
        ),
        "The columns:",
        "",
        *(f"- *{name}*: {meaning}." for name, meaning in tables.MEANINGS),
        "",
        *_targets(judged),
    ]
    for name, workload in document["workloads"].items():
        if not any(name in curve for curve in CURVES.values()):
            lines += [f"## {name}", "", f"{_sentence(workload['what'])}.", ""]
            lines += _judged(verdict for verdict in judged if verdict.workload == name)
            lines += [*tables.markdown(document, name), ""]
            for figure, _ in _pictures(document, name):
                lines += [f"![{LABELS[figure].text}]({PAGE}/{name}-{figure}.svg)", ""]
    lines += _curves(document, judged)
    lines += ["## Who was measured", "", "| | |", "|---|---|"]
    lines += [f"| {about['title']} | {about['version']} |" for about in document["contestants"].values()]
    return "\n".join((*lines, "", *_left_out(document), AGAIN))


def _rounds(document: Document) -> str:
    """How many trials those had at a workload who had any."""
    trials = {count for workload in document["workloads"] for count in counts(document, workload).values() if count}
    if not trials:
        return "no trials"
    few, many = min(trials), max(trials)
    return f"{many} round{'s' if many > 1 else ''}" if few == many else f"{few} to {many} rounds"


def _left_out(document: Document) -> Iterator[str]:
    """Who had no trial, or fewer than others, at which of the workloads that were run, and why where that is known."""
    places: dict[tuple[str, str], list[str]] = {}  # by name and reason, the workloads
    for workload, run in document["workloads"].items():
        trials = counts(document, workload)
        most = max(trials.values(), default=0)
        for name, count in trials.items():
            if count == 0:
                reason = run["meant"][name] or document["skipped"].get(name) or "not run"
                places.setdefault((name, reason), []).append(workload)
            elif count < most:
                places.setdefault((name, f"{count} of {most} rounds"), []).append(workload)
    alike: dict[tuple[str, str], list[str]] = {}
    for (name, reason), workloads in places.items():
        alike.setdefault((reason, ", ".join(workloads)), []).append(name)
    if alike:
        yield "Left out, or with fewer rounds than others, of those whom a workload is meant for:"
        yield ""
        yield from (f"- {', '.join(names)} at {where}: {reason}" for (reason, where), names in alike.items())
    else:
        yield "Everybody whom a workload is meant for had all of its rounds."
    yield ""


def _targets(judged: Sequence[Verdict]) -> Iterator[str]:
    limited = [verdict for verdict in judged if verdict.met is not None]
    yield "## Targets"
    yield ""
    yield f"{sum(verdict.met is True for verdict in limited)} of {len(limited)} are met."
    yield ""
    yield "| | target | measured | without the journal | |"
    yield "|---|---|---|---|---|"
    for verdict in judged:
        cells = (verdict.workload, verdict.text, verdict.measured, verdict.unjournalled, _word(verdict))
        yield f"| {' | '.join(cells)} |"
    yield ""


def _judged(judged: Iterator[Verdict]) -> list[str]:
    told = [f"- {verdict.text}: {verdict.measured or 'nothing was measured'}. {_word(verdict)}" for verdict in judged]
    return [*told, ""] if told else []


def _word(verdict: Verdict) -> str:
    return f"**{verdict.word}**" if verdict.met is not None else verdict.word


def _curves(document: Document, judged: Sequence[Verdict]) -> Iterator[str]:
    there = {axis: [name for name in names if name in document["workloads"]] for axis, names in CURVES.items()}
    if not any(there.values()):
        return
    yield "## The cost as it grows"
    yield ""
    yield "CPU for each delivered row as one thing grows, while the rows that are fed, and how many of them one write"
    yield "carries (about one), stay. By symbols and by subscriptions a symbol keeps its clients; by clients what a row"
    yield "costs once is shared by more and more of them."
    yield ""
    for axis, names in there.items():
        if not names:
            continue
        yield f"### By {axis}"
        yield ""
        yield from _judged(verdict for verdict in judged if verdict.workload == f"curve-{axis}")
        if _lines(document, axis):
            yield f"![CPU per delivered row by {axis}]({PAGE}/curve-{axis}.svg)"
            yield ""
        for name in names:
            yield f"{_sentence(document['workloads'][name]['what'])}:"
            yield ""
            yield from tables.markdown(document, name)
            yield ""


def _pictures(document: Document, workload: str) -> Iterator[tuple[str, list[plots.Bar]]]:
    """The figures that are worth a picture at a workload, each with its bars."""
    found = results(document, workload)
    for figure in ("cpu_us_per_row", DELAYS.get(workload, ""), "rss_bytes_per_client"):
        scale = LABELS[figure].scale if figure else 1.0
        spent = {name: figures.get(figure) for name, figures in found.items()}
        bars = [(document["contestants"][name]["title"], value * scale) for name, value in spent.items() if value]
        if bars:
            yield figure, bars


def _lines(document: Document, axis: str) -> tuple[list[float], dict[str, list[float]]] | None:
    """The points of an axis, and by title what each contestant took at all of them; None where there is no line."""
    names = [name for name in CURVES[axis] if name in document["workloads"]]
    found = [results(document, name) for name in names]
    points = [document["workloads"][name]["parameters"][axis] for name in names]
    lines: dict[str, list[float]] = {}
    for name, about in document["contestants"].items():
        values = [cpu_us for figures in found if name in figures and (cpu_us := figures[name].get("cpu_us_per_row"))]
        if len(values) == len(points) > 1:
            lines[about["title"]] = values
    return (points, lines) if lines else None


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def write_pages(document: Document, folder: Path) -> None:
    """Write the page, its plots, and the figures that both are made of."""
    if unknown := [name for name, workload in document["workloads"].items() if "meant" not in workload]:
        raise SystemExit(f"the result is older than this report: it lacks whom {', '.join(unknown)} are meant for")
    document = condensed(document)
    pictures = folder / PAGE
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()
    (folder / f"{PAGE}.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
    (folder / f"{PAGE}.md").write_text(page(document), encoding="utf-8")
    for name in document["workloads"]:
        if not any(name in curve for curve in CURVES.values()):
            for figure, bars in _pictures(document, name):
                label = LABELS[figure]
                drawn = plots.bars(f"{name}: {label.text}", label.unit, bars)
                (pictures / f"{name}-{figure}.svg").write_text(drawn, encoding="utf-8")
    for axis in CURVES:
        if (lines := _lines(document, axis)) is not None:
            drawn = plots.curves("CPU per delivered row", "µs", axis, *lines)
            (pictures / f"curve-{axis}.svg").write_text(drawn, encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    """Write the pages of a result."""
    if len(arguments) < 2:
        raise SystemExit("usage: python -m benchmarks.fanout.report RESULT.json [ANOTHER.json ...] FOLDER")
    *results, folder = map(Path, arguments)
    write_pages(joined([read(result) for result in results]), folder)


if __name__ == "__main__":
    main(sys.argv[1:])
