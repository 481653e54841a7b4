"""The thread that waits for the disk, so that the event loop need not: makes durable, closes and deletes."""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from io import FileIO
from pathlib import Path

from hub.journal import disk


class Keeper:
    """Makes what was written durable every so often.

    Args:
        every_s: seconds between two times; what was written since the last may be lost with the power.
            0: the caller makes everything durable itself, and the thread only closes and deletes.
    """

    def __init__(self, every_s: float) -> None:
        self.failure: OSError | None = None
        """Why something could not be made durable."""
        self._every_s = every_s
        self._file: FileIO | None = None
        self._written = False
        self._tasks: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    def start(self) -> None:
        """Begin with what there is to do."""
        self._thread.start()

    def watch(self, file: FileIO | None) -> None:
        """Make this file durable from now on, and no other."""
        with self._wake:
            self._file = file

    def note_write(self) -> None:
        """There is something to make durable."""
        self._written = True

    def retire(self, file: FileIO) -> None:
        """Make a file durable for the last time and close it."""
        self._do(partial(_retire, file))

    def delete(self, path: Path) -> None:
        """Delete a file; of some gigabytes that takes a while. What a reader holds open on Windows is deleted later."""
        self._do(partial(_delete, path))

    def stop(self) -> None:
        """End the thread when everything that it was given is done."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _do(self, task: Callable[[], None]) -> None:
        with self._wake:
            self._tasks.append(task)
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._tasks or self._stopping, self._every_s or None)
                tasks, file, stopping = list(self._tasks), self._file, self._stopping
                self._tasks.clear()
            if file is not None and self._every_s and self._written:
                self._written = False
                tasks.append(partial(disk.make_durable, file))
            for task in tasks:
                try:
                    task()
                except OSError as error:
                    self.failure = error
            if stopping:
                return


def _retire(file: FileIO) -> None:
    with file:
        disk.make_durable(file)


def _delete(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
