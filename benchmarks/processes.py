"""The processes of a benchmark: a hub that waits for a feeder, and what is measured of it from outside."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

REPOSITORY: Final = Path(__file__).resolve().parent.parent
_RAW_CLIENT: Final = str(Path(__file__).with_name("raw_client.py"))


class HubProcess:
    """A hub with ``--source feed``, begun when it listens."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.port = port
        self._process = process

    @property
    def cpu_s(self) -> float:
        """CPU seconds that all threads of the process have used so far, in user and system mode."""
        tasks = Path(f"/proc/{self._process.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9

    @property
    def rss_bytes(self) -> int:
        """Resident memory."""
        pages = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGESIZE")

    def figures(self) -> dict[str, float]:
        """Every figure of the metrics page, by name and labels."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics") as page:
            text: str = page.read().decode()
        return {name: float(value) for name, value in re.findall(r"^([^#\s]+) (\S+)$", text, re.MULTILINE)}


@contextmanager
def running_hub(*options: str) -> Iterator[HubProcess]:
    """A hub for the length of a block. What it logs goes to this program's standard error, errors only."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARGUS_")}
    command = [sys.executable, "run_hub.py", "--port", "0", "--source", "feed", "--log-level", "error", *options]
    process = subprocess.Popen(  # noqa: S603 - the hub
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        found = re.match(r"Argus Hub is listening on http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
        if not found:
            raise SystemExit("the hub did not start")
        yield HubProcess(process, int(found[1]))
    finally:
        process.terminate()
        process.communicate()


def replay_all(hub: HubProcess) -> dict[str, float]:
    """What one raw client took, and how long: see `raw_client.replay`."""
    command = [sys.executable, _RAW_CLIENT, str(hub.port), "replay"]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603 - our own
    taken: dict[str, float] = json.loads(said)
    return taken


@contextmanager
def followers(hub: HubProcess, count: int) -> Iterator[None]:
    """Clients of the whole market for the length of a block."""
    command = [sys.executable, _RAW_CLIENT, str(hub.port), "follow", str(count)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own
    try:
        assert process.stdout is not None  # noqa: S101 - a pipe was asked for
        _expect(json.loads(process.stdout.readline()), {"clients": count})
        yield
    finally:
        process.terminate()
        process.communicate()


def _expect(found: Any, expected: Any) -> None:
    if found != expected:
        raise SystemExit(f"found {found} instead of {expected}")
