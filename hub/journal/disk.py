"""What the journal asks of the operating system, the same on Linux, macOS and Windows: open, write, make durable."""

import os
import sys
from io import FileIO
from pathlib import Path

Data = bytes | memoryview


class JournalError(Exception):
    """The journal can't be opened or written; the text tells what, and what to do."""


class JournalInUseError(JournalError):
    """Another process has this journal open."""


def reason(error: OSError) -> str:
    """Why the operating system refused, in its own words."""
    return error.strerror or str(error)


def open_to_read(path: Path) -> FileIO:
    """Open without a buffer: every read of the journal is a large one."""
    return FileIO(path, "r")


def open_to_append(path: Path, length: int) -> FileIO:
    """Open for writing after the first ``length`` bytes; what is beyond them is cut off. Made when it isn't there."""
    file = FileIO(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644), "r+")
    file.truncate(length)
    file.seek(length)
    return file


def write_all(file: FileIO, data: Data) -> None:
    """Write in one call to the operating system. Goes on where that took less, until it refuses: OSError."""
    rest = memoryview(data)[file.write(data) :]
    while rest:
        rest = rest[file.write(rest) :]


if sys.platform == "win32":

    def write_at(file: FileIO, offset: int, data: bytes) -> None:
        """Write at a place in a file. OSError where the operating system refuses."""
        file.seek(offset)
        write_all(file, data)

else:

    def write_at(file: FileIO, offset: int, data: bytes) -> None:
        """Write at a place in a file, in one call to the operating system. OSError where that refuses."""
        written = os.pwrite(file.fileno(), data, offset)
        while written < len(data):
            written += os.pwrite(file.fileno(), data[written:], offset + written)


def make_durable(file: FileIO) -> None:
    """Return when everything that was written will outlast a power loss, as far as the disk keeps its word."""
    os.fsync(file.fileno())


def make_folder_durable(folder: Path) -> None:
    """The same for names that were made, changed or removed. Windows has no such call and needs none (NTFS)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
