"""A Python program as a child process on the event loop: its lines awaited, killed or ended, its log kept.

Where a test has several processes, or one that dies and comes back, and clients of its own go on meanwhile.
"""

import asyncio
import re
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from tests.e2e.support.hub_process import NO_VARIABLES, REPOSITORY, environment

PATIENCE_S: Final = 300
"""How long one line, or the end, may take before the test is given up. Never part of what is asserted."""


class Child:
    """A running program. What it writes to standard error is added to ``log_file``."""

    def __init__(self, process: asyncio.subprocess.Process, log_file: Path) -> None:
        self._process = process
        self._log_file = log_file

    @classmethod
    async def start(cls, *arguments: str, log_file: Path, variables: Mapping[str, str] = NO_VARIABLES) -> Self:
        """Start ``python ARGUMENTS`` in the repository, without waiting for anything."""
        with log_file.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                cwd=REPOSITORY,
                env=environment(variables),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        return cls(process, log_file)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.returncode is not None

    def log(self) -> str:
        """Everything written to standard error so far, by earlier children with this log file too."""
        return self._log_file.read_text(encoding="utf-8")

    async def line(self, pattern: str) -> re.Match[str]:
        """The next line of its output that matches as a whole; others are passed over."""
        assert self._process.stdout
        async with asyncio.timeout(PATIENCE_S):
            while line := await self._process.stdout.readline():
                if found := re.fullmatch(pattern, line.decode().rstrip("\n")):
                    return found
        raise AssertionError(f"it ended before it printed {pattern!r}\n{self.log()}")

    async def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, without waiting."""
        self._process.send_signal(number)

    async def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._gone()

    async def stop(self) -> None:
        """Ask it to end, and wait as `ended` does."""
        if not self.has_ended:
            self._process.send_signal(signal.SIGTERM)
        await self.ended()

    async def ended(self) -> None:
        """Wait until it has ended. It must do so with code 0 and must not have logged a traceback."""
        code = await self._gone()
        assert code == 0, f"it ended with exit code {code}\n{self.log()}"
        assert "Traceback (most recent call last)" not in self.log(), self.log()

    async def _gone(self) -> int:
        async with asyncio.timeout(PATIENCE_S):
            await self._process.communicate()  # what it still prints must not keep it
        assert self._process.returncode is not None
        return self._process.returncode
