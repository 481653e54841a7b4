"""The JSON document of a run: what was measured on what, and every trial with its raw figures."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.fanout.figures import medians

FORMAT: Final = "argus-fanout-1"

Document = dict[str, Any]
"""``format``, ``started``, ``revision``, ``machine``, ``contestants`` (name to title and version), ``skipped`` (name to
reason) and ``workloads``: name to ``what``, ``parameters`` and ``trials``, each with ``contestant`` and ``round``."""


def read(path: Path) -> Document:
    """Read a document. Raises SystemExit for a file that is none."""
    try:
        document: Document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: cannot be read: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise SystemExit(f"{path}: is not the result of a benchmark ({FORMAT})")
    return document


def write(path: Path, document: Document) -> None:
    """Write a document, all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(document, indent=1), encoding="utf-8")
    part.replace(path)


def results(document: Document, workload: str) -> dict[str, dict[str, float | None]]:
    """The medians of every contestant at one workload, in the document's order. Trials that failed are left out."""
    trials: dict[str, list[Mapping[str, Any]]] = {name: [] for name in document["contestants"]}
    for trial in document["workloads"][workload]["trials"]:
        if "failed" not in trial:
            trials[trial["contestant"]].append(trial)
    return {name: medians(made) for name, made in trials.items() if made}


def failures(document: Document, workload: str) -> dict[str, str]:
    """Why trials of contestants failed at one workload; of several the last reason."""
    trials = document["workloads"][workload]["trials"]
    return {trial["contestant"]: trial["failed"] for trial in trials if "failed" in trial}
