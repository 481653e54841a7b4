"""One hub as a process of its own: started as a user starts it, spoken to over its port, stopped by a signal.

The hub gets the environment of the test run without any ``ARGUS_`` variable, so that a developer's own settings change
no test. Its log is kept and shown when a test fails.
"""

import http.client
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

REPOSITORY: Final = Path(__file__).parents[3]

_START_TIMEOUT_S: Final = 60
_STOP_TIMEOUT_S: Final = 60

# Windows sends a break to a whole group: the test run itself must not be in it.
if sys.platform == "win32":
    _STOP, _OWN_GROUP = signal.CTRL_BREAK_EVENT, subprocess.CREATE_NEW_PROCESS_GROUP
else:
    _STOP, _OWN_GROUP = signal.SIGTERM, 0

_LISTENING: Final = re.compile(
    r"Argus Hub is listening on http://127\.0\.0\.1:(?P<port>\d+)/ \(ws://127\.0\.0\.1:(?P=port)/ws\)"
)
NO_VARIABLES: Final[Mapping[str, str]] = MappingProxyType({})

ALIVE: Final[list["HubProcess"]] = []
"""The hubs that run now, so that a failing test can show what they logged."""


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to one plain HTTP request. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: str


class HubProcess:
    """A running hub. ``log_file`` takes its standard error; its journal is beside it, unless options say otherwise."""

    def __init__(self, *options: str, log_file: Path, variables: Mapping[str, str] = NO_VARIABLES) -> None:
        self._log_file = log_file
        self._stdout: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        data = log_file.with_suffix(".data")
        with log_file.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "run_hub.py", "--port", "0", "--data", str(data), *options],
                cwd=REPOSITORY,
                env=environment(variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
                creationflags=_OWN_GROUP,
            )
        self._reader = threading.Thread(target=self._read_stdout, daemon=True)
        self._reader.start()
        ALIVE.append(self)
        self.port = self._wait_until_it_listens()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def stdout(self) -> list[str]:
        """Every line printed on standard output so far."""
        return list(self._stdout)

    @property
    def rss_bytes(self) -> int:
        """Resident memory, as Linux accounts it."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
        assert found, status
        return int(found[1]) * 1024

    def log(self) -> str:
        """Everything written to standard error so far."""
        return self._log_file.read_text(encoding="utf-8")

    def get(self, path: str, headers: Mapping[str, str] = NO_VARIABLES) -> Page:
        """GET a page. Blocks for as long as the hub takes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_START_TIMEOUT_S)
        try:
            connection.request("GET", path, headers=dict(headers))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Page(response.status, names, response.read().decode())
        finally:
            connection.close()

    def figure(self, name: str) -> float:
        """One figure without labels of the metrics page."""
        found = re.search(rf"^{name} (\S+)$", self.get("/metrics").body, re.MULTILINE)
        assert found, f"there is no figure {name}"
        return float(found[1])

    def signal(self, number: signal.Signals = _STOP) -> None:
        """Ask it to stop, without waiting."""
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait until it has ended; the exit code."""
        try:
            code = self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError(f"the hub did not stop within {_STOP_TIMEOUT_S} s\n{self.log()}") from None
        finally:
            self._reader.join()
            if self in ALIVE:
                ALIVE.remove(self)
            if self._process.stdout:
                self._process.stdout.close()
        return code

    def stop(self) -> None:
        """Stop it if it still runs. It must end with code 0 and must not have logged a traceback."""
        if self._process.poll() is None:
            self.signal()
        code = self.wait()
        assert code == 0, f"the hub ended with exit code {code}\n{self.log()}"
        assert "Traceback (most recent call last)" not in self.log(), self.log()

    def _read_stdout(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._stdout.append(line.rstrip("\n"))
            self._lines.put(self._stdout[-1])
        self._lines.put(None)

    def _wait_until_it_listens(self) -> int:
        try:
            line = self._lines.get(timeout=_START_TIMEOUT_S)
        except queue.Empty:
            line = None
        found = _LISTENING.fullmatch(line or "")
        if not found:
            self._process.terminate()
            self.wait()
            raise AssertionError(f"the hub did not start; it printed {line!r}\n{self.log()}")
        return int(found["port"])


@contextmanager
def running_hub(*options: str, log_file: Path, variables: Mapping[str, str] = NO_VARIABLES) -> Iterator[HubProcess]:
    """A hub for the length of a ``with`` block, stopped as ``HubProcess.stop`` does."""
    hub = HubProcess(*options, log_file=log_file, variables=variables)
    try:
        yield hub
    finally:
        hub.stop()


def run_to_its_end(
    *options: str, variables: Mapping[str, str] = NO_VARIABLES, cwd: Path = REPOSITORY
) -> subprocess.CompletedProcess[str]:
    """Run a hub that is expected to refuse its settings, and give its output and exit code."""
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "run_hub.py"), *options],
        cwd=cwd,
        env=environment(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=_START_TIMEOUT_S,
        check=False,
    )


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of this run without ``ARGUS_`` variables, and with ``variables``."""
    inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("ARGUS_")}
    return inherited | dict(variables)
