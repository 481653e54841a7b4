"""One process at a time writes a journal. The lock is the system's: it ends with the process, however that ends."""

import sys
from pathlib import Path
from typing import Final

from hub.journal import disk

NAME: Final = "lock"


class Lock:
    """Holds the journal's folder for this process.

    Raises:
        JournalInUseError: another process (or this one already) has it.
    """

    def __init__(self, folder: Path) -> None:
        self._file = disk.open_to_append(folder / NAME, 0)
        try:
            _lock(self._file.fileno())
        except BlockingIOError:
            self._file.close()
            raise disk.JournalInUseError(
                f"the journal {folder} is in use by another hub: stop that one, or give this one another folder"
            ) from None

    def release(self) -> None:
        """Let others have it."""
        self._file.close()


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except (
            OSError
        ) as error:  # not every C runtime says which: nothing else is wrong with a file that was just opened
            raise BlockingIOError(error.errno, "in use") from None

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
