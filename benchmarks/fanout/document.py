"""The JSON document of a run: what was measured on what, and every trial with its raw figures."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.fanout.figures import figures_of, medians

FORMAT: Final = "argus-fanout-1"

Document = dict[str, Any]
"""``format``, ``started``, ``revision``, ``machine``, ``rounds``, ``runs`` (how many were joined, if any were),
``contestants`` (name to title and version), ``skipped`` (name to reason) and ``workloads``: name to ``what``,
``parameters``, ``meant`` and ``trials``, each with ``contestant``, ``round`` and either ``failed`` or what was counted.
``meant``: whom the workload is for, by name why they can't take part, empty where they can."""


def read(path: Path, formats: Sequence[str] = (FORMAT,)) -> Document:
    """Read a document of one of some formats. Raises SystemExit for a file that is none."""
    try:
        document: Document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: cannot be read: {error}") from None
    if not isinstance(document, dict) or document.get("format") not in formats:
        raise SystemExit(f"{path}: is not the result of a benchmark ({', '.join(formats)})")
    return document


def write(path: Path, document: Document) -> None:
    """Write a document, all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(msgspec.json.encode(document) + b"\n")
    part.replace(path)


def joined(documents: Sequence[Document]) -> Document:
    """Several results as one: workloads that were run one after the other, with contestants and rounds of their own.
    ``runs`` says how many they are.

    What was run again counts as further rounds of the same. Raises SystemExit unless they are of one revision on one
    machine.
    """
    made, *others = documents
    if not others:
        return made
    for other in others:
        if made["revision"] != other["revision"] or _without_load(made) != _without_load(other):
            raise SystemExit("results of different revisions or machines don't belong on one page")
        workloads = {name: _again(made["workloads"].get(name), again) for name, again in other["workloads"].items()}
        made = made | {part: made[part] | other[part] for part in ("contestants", "skipped")}
        made["workloads"] = made["workloads"] | workloads
    rounds = sorted(
        sum(document["rounds"] for document in documents if name in document["workloads"]) for name in made["workloads"]
    )
    load = max(document["machine"]["load_before"] for document in documents)
    return made | {
        "runs": sum(document.get("runs", 1) for document in documents),
        "machine": made["machine"] | {"load_before": load},
        "rounds": rounds[0] if rounds[0] == rounds[-1] else f"{rounds[0]} to {rounds[-1]}",
    }


def _again(before: Mapping[str, Any] | None, again: dict[str, Any]) -> dict[str, Any]:
    """A workload with the rounds of another run of it behind those that there were."""
    if before is None:
        return again
    rounds = 1 + max((trial["round"] for trial in before["trials"]), default=-1)
    return again | {
        "meant": before.get("meant", {}) | again.get("meant", {}),
        "trials": [*before["trials"], *(trial | {"round": trial["round"] + rounds} for trial in again["trials"])],
    }


def _without_load(document: Document) -> dict[str, Any]:
    return {name: value for name, value in document["machine"].items() if name != "load_before"}


def condensed(document: Document) -> Document:
    """The same with the figures of every trial instead of its raw counts: small enough to be kept with the project."""
    return document | {
        "workloads": {
            name: workload | {"trials": [_condensed(trial) for trial in workload["trials"]]}
            for name, workload in document["workloads"].items()
        }
    }


def _condensed(trial: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: trial[name] for name in ("contestant", "round", "failed") if name in trial}
    if "failed" in kept:
        return kept
    rounded = {name: None if value is None else float(f"{value:.6g}") for name, value in figures_of(trial).items()}
    return kept | {"figures": rounded}


def results(document: Document, workload: str) -> dict[str, dict[str, float | None]]:
    """The medians of every contestant at one workload, in the document's order. Trials that failed are left out."""
    trials: dict[str, list[Mapping[str, Any]]] = {name: [] for name in document["contestants"]}
    for trial in document["workloads"].get(workload, {"trials": ()})["trials"]:
        if "failed" not in trial:
            trials[trial["contestant"]].append(trial)
    return {name: medians(made) for name, made in trials.items() if made}


def counts(document: Document, workload: str) -> dict[str, int]:
    """How many trials everybody had whom a workload is meant for, failed ones included; 0 for who was left out."""
    found = document["workloads"][workload]
    trials = Counter(trial["contestant"] for trial in found["trials"])
    return {name: trials[name] for name in (*found["meant"], *(name for name in trials if name not in found["meant"]))}


def failures(document: Document, workload: str) -> dict[str, list[str]]:
    """Why trials of contestants failed at one workload, each failed one with its reason."""
    found: dict[str, list[str]] = {}
    for trial in document["workloads"][workload]["trials"]:
        if "failed" in trial:
            found.setdefault(trial["contestant"], []).append(trial["failed"])
    return found
