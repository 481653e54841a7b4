"""A feed, a Redis and edges as their users run them: clients are at the first edge, all edges take everything."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.fanout.contestants.base import Place, Served, TrialFailed, connect, first_line, free_port, running
from benchmarks.fanout.contestants.hub import LISTENING, REPOSITORY, ArgusHub


class Deployment(ArgusHub):
    """Processes of their own for all. Where servers are pinned, the first edge has the hub's processor.

    Args:
        holds_feed: hold feed and Redis to the first processor: whether the system has them side by side or apart is as
            much of the feed's CPU as everything that edges could change.
    """

    def __init__(self, name: str, edges: int, *, holds_feed: bool = False) -> None:
        super().__init__(name, ())
        self.title = f"Feed, Redis and {edges} edge{'s' if edges > 1 else ''}"
        self._edges = edges
        self._held = None
        if holds_feed:
            self.title += "; feed and Redis on one processor"
            self._held = frozenset({min(os.sched_getaffinity(0))})

    def missing(self, cache: Path) -> str:  # noqa: D102
        return "" if shutil.which("redis-server") else "no redis-server (Debian: apt-get install redis-server)"

    def version(self, cache: Path) -> str:  # noqa: D102
        said = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True)  # noqa: S607
        return f"{super().version(cache)}, {said.stdout.strip()}"

    @contextmanager
    def serve(self, place: Place) -> Iterator[Served]:  # noqa: D102
        with ExitStack() as stack:
            port = free_port()
            options = ["--bind", "127.0.0.1", "--save", "", "--client-output-buffer-limit", "pubsub 64mb 32mb 60"]
            redis = running(["redis-server", "--port", str(port), *options], self._part(place, "redis"), place.folder)
            beside: dict[str, tuple[int, ...]] = {"redis": (stack.enter_context(redis).pid,)}
            connect(port).close()
            url = f"redis://127.0.0.1:{port}/0"

            def start(role: str, number: int) -> tuple[int, int]:
                where = self._part(place, f"{role}-{number}")
                command = [sys.executable, "run_hub.py", "--port", "0", "--role", role, "--redis", url]
                command += ["--data", str(where.folder / "data"), "--log-level", "warning"]
                command += ["--source", "feed"] if role == "feed" else []
                process = stack.enter_context(running(command, where, cwd=REPOSITORY))
                found = LISTENING.match(line := first_line(process, where))
                if not found:
                    raise TrialFailed(f"the {role} said {line!r}")
                return int(found[1]), process.pid

            feed_port, feed_pid = start("feed", 1)
            edges = [start("edge", number) for number in range(1, self._edges + 1)]
            beside |= {"feed": (feed_pid,), "other edges": tuple(pid for _, pid in edges[1:])}
            yield Served(edges[0][0], feed_port, (edges[0][1],), beside)

    def _part(self, place: Place, name: str) -> Place:
        """Where one of the processes works."""
        folder = place.folder / name
        folder.mkdir()
        cpus = {"redis": self._held, "feed-1": self._held, "edge-1": place.cpus}
        return Place(folder, place.cache, cpus.get(name))
