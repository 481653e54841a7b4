"""A hub that counts what it holds when it is sent SIGUSR1: tasks, and the objects that belong to clients, by class.

    python tests/e2e/soak/observed_hub.py COUNTS_FILE [options of run_hub.py]

Memory alone would show a leaked session only after hours. The counts are written as JSON, under another name first, so
that whoever waits for the file reads a whole one.
"""

import asyncio
import gc
import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import run_hub

OF_CLIENTS: Final = (
    "_asyncio.",
    "asyncio.",
    "hub.conflation",
    "hub.connection",
    "hub.door",
    "hub.handshake",
    "hub.jobs",
    "hub.outbox",
    "hub.peers",
    "hub.replay",
    "hub.router",
    "hub.server",
    "hub.session",
    "uvloop.",
    "websockets.",
)
"""Modules whose objects come and go with clients."""


def counts() -> dict[str, int]:
    """How many objects there are of each class of those modules, after a collection; tasks by what they run."""
    gc.collect()
    found: Counter[str] = Counter()
    for held in gc.get_objects():
        kind = type(held)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name.startswith(OF_CLIENTS):
            found[name] += 1
    for task in asyncio.all_tasks():
        coroutine = task.get_coro()
        found[f"task {getattr(coroutine, '__qualname__', coroutine)}"] += 1
    return dict(found)


def main() -> int:
    """Run the hub, with the signal handled."""
    target = Path(sys.argv.pop(1))

    def write(number: int, frame: FrameType | None) -> None:
        unfinished = target.with_suffix(".part")
        unfinished.write_text(json.dumps(counts()), encoding="utf-8")
        unfinished.rename(target)

    signal.signal(signal.SIGUSR1, write)
    return run_hub.main()


if __name__ == "__main__":
    sys.exit(main())
