"""Reading the files that recordings are kept in: CSV, plain or gzip, and Parquet.

Opening checks that the file is what it should be. Reading gives raw cells in chunks, with their place in the file,
and holds no more than one chunk, however large the file is. What a cell means is `rowlayout`'s matter.
"""

import gzip
import io
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final, Protocol, TextIO

from bridge.rowlayout import COLUMNS, FLOAT_COLUMNS

CHUNK_ROWS: Final = 250
"""Rows read at a time: a few milliseconds of parsing, so that an event loop can do something else in between."""

MAX_LINE_CHARS: Final = 65_536
"""A longer line can't be a row. It is cut, so that a file without line ends doesn't fill the memory."""

Chunk = list[tuple[int, Sequence[Any]]]
"""Rows as (place, cells): the place is the line number, or the row number in Parquet, from 1."""

_GZIP_MAGIC: Final = b"\x1f\x8b"
_PARQUET_MAGIC: Final = b"PAR1"
_SHOWN_NAMES: Final = 6
_SHOWN_CHARS: Final = 40


class RecordingError(Exception):
    """A recording that can't be read or written, in one line that says what is wrong and what to do."""


class RowFile(Protocol):
    """A file of rows whose header is known to be right."""

    @property
    def unit(self) -> str:
        """What a place in the file counts: ``line`` or ``row``."""

    def chunks(self, columns: int = len(COLUMNS)) -> Generator[Chunk, None, None]:
        """Read the file from its start, at least the first ``columns`` cells of each row.

        A generator that closes the file when it ends or is closed.

        Raises:
            RecordingError: when the file can't be read on. What was read before has been given by then.
        """


def open_rows(path: Path) -> RowFile:
    """Find out by its content what kind of file it is, and check its header.

    Raises:
        RecordingError: if there is no such file, if it is empty or damaged, or if it has other columns.
    """
    try:
        if path.is_dir():
            raise RecordingError(f"{path} is a directory; name the recording's file")
        if not path.exists():
            raise RecordingError(f"there is no recording {path}")
        if not path.is_file():
            raise RecordingError(f"{path} is not a regular file; copy the recording into one")
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise RecordingError(f"can't read {path}: {error.strerror}") from error
    if not magic:
        raise RecordingError(f"{path} is empty; a recording begins with a header line")
    if magic == _PARQUET_MAGIC:
        return _ParquetRows(path)
    is_gzip = magic.startswith(_GZIP_MAGIC)
    if path.suffix == ".parquet":
        raise RecordingError(f"{path} is not Parquet, although its name says so")
    if path.suffix == ".gz" and not is_gzip:
        raise RecordingError(f"{path} is not gzip, although its name says so; rename it if it is plain CSV")
    return _CsvRows(path, is_gzip=is_gzip)


class _CsvRows:
    """Comma-separated lines without quotes, with or without a byte order mark. Blank lines are passed over."""

    unit = "line"

    def __init__(self, path: Path, *, is_gzip: bool) -> None:
        self._path = path
        self._is_gzip = is_gzip
        with self._open() as text:
            header = self._read_line(text)
        _check_columns(path, header.removeprefix("\ufeff").rstrip("\r\n").split(","))

    def chunks(self, columns: int = len(COLUMNS)) -> Generator[Chunk, None, None]:
        chunk: Chunk = []
        with self._open() as text:
            place = 1
            try:
                self._read_line(text)
                while line := self._read_line(text):
                    place += 1
                    if len(line) == MAX_LINE_CHARS:
                        self._skip_to_line_end(text, line)
                    if line.isspace():
                        continue
                    if "_" in line or not line.isascii():
                        line = _without_python_digits(line)
                    chunk.append((place, line.rstrip("\r\n").split(",", columns)))
                    if len(chunk) == CHUNK_ROWS:
                        yield chunk
                        chunk = []
            except RecordingError:
                if chunk:
                    yield chunk
                raise
        if chunk:
            yield chunk

    def _open(self) -> TextIO:
        try:
            file = gzip.GzipFile(self._path, "rb") if self._is_gzip else self._path.open("rb")
        except OSError as error:
            raise RecordingError(f"can't read {self._path}: {error.strerror}") from error
        # "\n" alone ends a line, so that line numbers are those of every editor; what is not UTF-8 spoils its row only
        return io.TextIOWrapper(file, encoding="utf-8", errors="replace", newline="\n")

    def _read_line(self, text: TextIO) -> str:
        try:
            return text.readline(MAX_LINE_CHARS)
        except EOFError as error:
            raise RecordingError(f"{self._path} is cut off: its gzip data end too early") from error
        except (OSError, zlib.error) as error:
            raise RecordingError(f"{self._path} is damaged or can't be read: {error}") from error

    def _skip_to_line_end(self, text: TextIO, line: str) -> None:
        while line and not line.endswith("\n"):
            line = self._read_line(text)


class _ParquetRows:
    """Parquet with the columns in any order, read batch by batch. Needs pyarrow, which is loaded only here."""

    unit = "row"

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError as error:
            raise RecordingError(
                f"reading {path} needs pyarrow, which is not installed: pip install 'argus-hub[parquet]'"
            ) from error
        self._arrow: ModuleType = pyarrow
        try:
            schema = pyarrow.parquet.read_schema(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise self._damaged(error) from error
        _check_columns(path, schema.names, in_order=False)
        for name in COLUMNS:
            self._check_type(name, schema.field(name).type)

    def chunks(self, columns: int = len(COLUMNS)) -> Generator[Chunk, None, None]:
        names = COLUMNS[:columns]
        place = 0
        try:
            with self._arrow.parquet.ParquetFile(self._path) as file:
                for batch in file.iter_batches(batch_size=CHUNK_ROWS, columns=list(names)):
                    rows = zip(*(batch.column(name).to_pylist() for name in names), strict=True)
                    yield list(enumerate(rows, place + 1))
                    place += batch.num_rows
        except (self._arrow.ArrowException, OSError) as error:
            raise self._damaged(error) from error

    def _check_type(self, name: str, found: Any) -> None:
        types = self._arrow.types
        if name == "code":
            fits = types.is_string(found) or types.is_large_string(found) or types.is_dictionary(found)
            wanted = "string"
        elif name in FLOAT_COLUMNS:
            fits, wanted = types.is_floating(found) or types.is_integer(found), "double"
        else:
            fits, wanted = types.is_integer(found), "int64"
        if not fits:
            raise RecordingError(f"{self._path}: column {name} is of type {found}; a recording has {wanted} there")

    def _damaged(self, error: Exception) -> RecordingError:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return RecordingError(f"{self._path} is damaged or can't be read: {reason}")


def _without_python_digits(line: str) -> str:
    """Spoil what only Python takes for numbers, such as ``1_000`` and full-width digits."""
    return line.encode("ascii", "replace").decode("ascii").replace("_", "?")


def _check_columns(path: Path, found: Sequence[str], *, in_order: bool = True) -> None:
    problems = {
        "missing": [name for name in COLUMNS if name not in found],
        "unexpected": [name for name in found if name not in COLUMNS],
        "twice": [name for name in COLUMNS if found.count(name) > 1],
    }
    faults = [f"{problem}: {_listed(names)}" for problem, names in problems.items() if names]
    if not faults and in_order and tuple(found) != COLUMNS:
        place = next(place for place, name in enumerate(COLUMNS) if found[place] != name)
        faults = [f"in another order: {COLUMNS[place]} belongs where {found[place]} is"]
    if faults:
        raise RecordingError(f"{path} does not have the columns of a recording ({'; '.join(faults)})")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(
        name[:_SHOWN_CHARS] if name.isprintable() else repr(name[:_SHOWN_CHARS]) for name in names[:_SHOWN_NAMES]
    )
    more = len(names) - _SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
