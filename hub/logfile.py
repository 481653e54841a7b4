"""The log as files of bounded size: the newest has the name that was asked for, full ones carry the time in theirs.

Not the standard library's rotation: it renames every old file each time, and on Windows nothing can be renamed while
somebody reads it, so that lines would be lost for as long as a log is open in a viewer.
"""

from contextlib import suppress
from datetime import UTC, datetime
from logging import LogRecord
from logging.handlers import BaseRotatingHandler
from pathlib import Path
from typing import Final

FILE_BYTES: Final = 20_000_000
KEPT: Final = 10
"""Full files that stay."""


class LogFile(BaseRotatingHandler):
    """Appends to ``path``, in a folder that is made where it is missing. Raises OSError where that can't be.

    Args:
        file_bytes: size at which a file is full.
        kept: full files that stay; older ones are deleted.
    """

    def __init__(self, path: Path, file_bytes: int = FILE_BYTES, kept: int = KEPT) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        super().__init__(path, "a", encoding="utf-8")
        self._path = Path(self.baseFilename)
        self._file_bytes = file_bytes
        self._kept = kept

    def shouldRollover(self, record: LogRecord) -> bool:  # noqa: N802 (the standard library's name)
        """Whether the file is full."""
        return self.stream is not None and self.stream.tell() >= self._file_bytes

    def doRollover(self) -> None:  # noqa: N802
        """Set the full file aside and begin another. Where the full one is being read on Windows, it grows on."""
        if self.stream is not None:
            self.stream.close()
        path, now = self._path, datetime.now(UTC)
        with suppress(PermissionError):
            path.rename(path.with_name(f"{path.stem}.{now:%Y%m%dT%H%M%S.%f}{path.suffix}"))
        self.stream = self._open()
        for old in sorted(path.parent.glob(f"{path.stem}.2*{path.suffix}"))[: -self._kept]:
            with suppress(PermissionError):
                old.unlink()
