"""Writing the files that recordings are kept in: CSV, plain or gzip, and Parquet.

A writer creates its file and never overwrites one. It blocks while it writes: `recorder` gives it a thread of its own.
"""

import gzip
import os
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Final, Protocol

from bridge.rowfile import RecordingError
from bridge.rowlayout import COLUMNS, FLOAT_COLUMNS

GZIP_LEVEL: Final = 6

ROW_GROUP_ROWS: Final = 20_000
"""Rows of one row group in Parquet, held in memory until it is full."""

_BUFFER_BYTES: Final = 1 << 20
"""Holds all rows between two flushes, so that a flush is one call to the system and a kill hardly ever splits a row."""

Cells = list[str | float | int | None]
"""The values of one row's columns."""


class RowWriter(Protocol):
    """A new file that takes rows. Every method but ``write`` of a few rows may block, and raise `OSError`."""

    @property
    def safe_rows(self) -> int:
        """Rows that would be readable if the program were killed now."""

    def write(self, cells: Cells) -> None:
        """Take one row."""

    def flush(self) -> None:
        """Hand to the system what was taken, as far as the format allows."""

    def close(self) -> None:
        """Complete the file."""

    def abandon(self) -> None:
        """Let go of a file that can't be written on, and leave what is safe. Never raises."""


def create_rows(path: Path) -> RowWriter:
    """Create a recording in the format that the suffix says: ``.csv``, ``.gz`` (of CSV) or ``.parquet``.

    Raises:
        RecordingError: if the suffix says no format, if the file exists, or if it can't be created.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".gz", ".parquet"):
        raise RecordingError(f"can't record to {path}: its name must end in .csv, .csv.gz or .parquet")
    arrow = _import_arrow(path) if suffix == ".parquet" else None
    try:
        file = path.open("xb", buffering=_BUFFER_BYTES)
    except FileExistsError as error:
        raise RecordingError(f"can't record to {path}: it exists already; choose another name") from error
    except OSError as error:
        raise RecordingError(f"can't record to {path}: {error.strerror}") from error
    try:
        return _CsvWriter(path, file, is_gzip=suffix == ".gz") if arrow is None else _ParquetWriter(file, arrow)
    except OSError as error:
        with suppress(OSError):
            file.close()
        raise RecordingError(f"can't record to {path}: {error.strerror}") from error


class _CsvWriter:
    def __init__(self, path: Path, file: BinaryIO, *, is_gzip: bool) -> None:
        self.safe_rows = 0
        self._path = path
        self._file = file
        self._stream: BinaryIO | gzip.GzipFile = file
        if is_gzip:
            self._stream = gzip.GzipFile(filename=path.name, mode="wb", compresslevel=GZIP_LEVEL, fileobj=file)
        self._lines = [",".join(COLUMNS) + "\n"]
        self._rows = 0
        self._safe_bytes = 0
        self.flush()

    def write(self, cells: Cells) -> None:
        self._lines.append(",".join(["" if cell is None else str(cell) for cell in cells]) + "\n")
        self._rows += 1

    def flush(self) -> None:
        self._stream.write("".join(self._lines).encode("ascii"))
        self._lines.clear()
        self._stream.flush()  # gzip closes a block here, so that a reader gets as far as this
        self._safe_bytes = self._file.tell()
        self.safe_rows = self._rows

    def close(self) -> None:
        self.flush()
        self._stream.close()
        self._file.close()

    def abandon(self) -> None:
        for file in (self._stream, self._file):
            with suppress(OSError):
                file.close()
        with suppress(OSError):  # the rest is at best a part of a row, whose last number would be read as a shorter one
            os.truncate(self._path, self._safe_bytes)


class _ParquetWriter:
    """Readable only once it is closed: Parquet has its directory at the end."""

    def __init__(self, file: BinaryIO, arrow: ModuleType) -> None:
        self.safe_rows = 0
        self._file = file
        self._arrow = arrow
        self._types = [
            arrow.string() if name == "code" else arrow.float64() if name in FLOAT_COLUMNS else arrow.int64()
            for name in COLUMNS
        ]
        self._schema = arrow.schema(list(zip(COLUMNS, self._types, strict=True)))
        self._writer: Any = arrow.parquet.ParquetWriter(file, self._schema)
        self._group: list[Cells] = []
        self._rows = 0

    def write(self, cells: Cells) -> None:
        self._group.append(cells)
        self._rows += 1

    def flush(self) -> None:
        if len(self._group) >= ROW_GROUP_ROWS:
            self._write_group()

    def close(self) -> None:
        if self._group:
            self._write_group()
        self._writer.close()
        self._file.close()
        self.safe_rows = self._rows

    def abandon(self) -> None:
        for file in (self._writer, self._file):
            with suppress(OSError, self._arrow.ArrowException):
                file.close()

    def _write_group(self) -> None:
        columns = zip(*self._group, strict=True)
        arrays = [self._arrow.array(column, kind) for column, kind in zip(columns, self._types, strict=True)]
        self._writer.write_batch(self._arrow.record_batch(arrays, schema=self._schema))
        self._group = []


def _import_arrow(path: Path) -> ModuleType:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise RecordingError(
            f"recording to {path} needs pyarrow, which is not installed: pip install 'argus-hub[parquet]'"
        ) from error
    module: ModuleType = pyarrow
    return module
