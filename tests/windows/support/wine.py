"""A Windows of one test run: programs in its Python run to their end, or go on beside the test and are spoken to.

It is a copy of the prepared prefix: runs side by side don't meet, and what a test installs in it is gone with it.
"""

import os
import queue
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Self

from tests.windows.support.preparing import CACHE, PREFIX, PYTHON, ROOT, WINE, prepare, wine_environment

INSIDE: Final = Path(__file__).parents[1] / "inside"
"""Programs that run under Wine."""

PATIENCE_S: Final = 90
"""How long one program, or one awaited line, may take before the test is given up. Never part of what is asserted."""

CTRL_C, CTRL_BREAK, CLOSE = 0, 1, 2
"""What a console may tell its programs."""


def windows_path(path: Path) -> str:
    """The path as a program under Wine has it."""
    return "Z:" + str(path).replace("/", "\\")


class Windows:
    """A running Wine. Made by `boot`."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.environment = wine_environment(prefix)

    @classmethod
    @contextmanager
    def boot(cls) -> Iterator[Self]:
        """Prepare what is missing, and take a copy for the length of a ``with`` block."""
        prepare()
        prefix = CACHE / f"run-{os.getpid()}"
        shutil.rmtree(prefix, ignore_errors=True)
        # Libraries are linked, since nobody writes them; Wine overwrites its registry in place.
        shutil.copytree(PREFIX, prefix, symlinks=True, copy_function=_link_or_copy)
        windows = cls(prefix)
        # As long as one program runs, so does Windows. Else it would boot, and start its services, again and again.
        # And what it boots keeps the pipes of whoever was first, for ever: no test must be that.
        companion = subprocess.Popen(
            windows._command("-c", "import time; print('up', flush=True); time.sleep(86400)"),
            env=windows.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert companion.stdout
        assert companion.stdout.readline().strip() == b"up"
        try:
            yield windows
        finally:
            subprocess.run(["wineserver", "--kill"], env=windows.environment, timeout=PATIENCE_S, check=False)
            subprocess.run(["wineserver", "--wait"], env=windows.environment, timeout=PATIENCE_S, check=False)
            companion.wait(PATIENCE_S)
            companion.stdout.close()
            shutil.rmtree(prefix)

    def run(self, *arguments: str, patience_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """Run ``python ARGUMENTS`` in the repository to its end. Both outputs come as ``stdout``."""
        return subprocess.run(
            self._command(*arguments),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=patience_s,
            check=False,
        )

    @contextmanager
    def running(self, *arguments: str) -> Iterator["Program"]:
        """Run ``python ARGUMENTS`` in a console without a window; what still runs at the end is killed."""
        with socket.create_server(("127.0.0.1", 0)) as keyboard:
            command = self._command(windows_path(INSIDE / "console.py"), str(keyboard.getsockname()[1]), *arguments)
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
            program = Program(process, keyboard)
            try:
                yield program
            finally:
                program.end()

    def _command(self, *arguments: str) -> list[str]:
        return [str(WINE), str(PYTHON / "python.exe"), *arguments]


class Program:
    """A program that runs under Wine, the lines that it prints, and its keyboard."""

    def __init__(self, process: subprocess.Popen[str], keyboard: socket.socket) -> None:
        self._process = process
        self._keyboard = keyboard
        self._pressing: socket.socket | None = None
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.printed: list[str] = []
        """Every line that was awaited or passed over, and after `wait` all of them."""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def await_line(self, pattern: str) -> re.Match[str]:
        """Wait for a line in which the pattern is found."""
        while (line := self._next()) is not None:
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"no line has {pattern!r}:\n" + "\n".join(self.printed))

    def press(self, event: int) -> None:
        """Have the console tell the program one of the events above."""
        self._connected().sendall(f"{event}\n".encode())

    def wait(self) -> int:
        """Wait until it has ended; the exit code."""
        code = self._process.wait(PATIENCE_S)
        while self._next() is not None:
            continue
        return code

    def end(self) -> None:
        """End it where it still runs."""
        self._connected().close()  # whereupon the console ends its program, and itself
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        if self._process.stdout:
            self._process.stdout.close()

    def _connected(self) -> socket.socket:
        if self._pressing is None:
            self._keyboard.settimeout(PATIENCE_S)
            self._pressing, _ = self._keyboard.accept()
        return self._pressing

    def _next(self) -> str | None:
        try:
            line = self._lines.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise AssertionError("nothing more came:\n" + "\n".join(self.printed)) from None
        if line is not None:
            self.printed.append(line)
        return line

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\r\n"))
        self._lines.put(None)


def _link_or_copy(source: str, target: str) -> str:
    if source.endswith(".reg"):
        shutil.copy2(source, target)
    else:
        os.link(source, target)
    return target
