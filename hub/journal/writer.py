"""The two files of the part that is being written, and how a part begins: whole, or not at all."""

from contextlib import suppress
from pathlib import Path
from typing import Self

from hub.journal import disk
from hub.journal.parts import PartName


class PartWriter:
    """Appends to a part.

    Args:
        length: what is whole of its rows. Anything beyond is cut off.
        marks_length: the same for the sidecar.
    """

    def __init__(self, folder: Path, name: PartName, length: int, marks_length: int) -> None:
        self.name = name
        self.length = length
        self.marks_length = marks_length
        self.rows = disk.open_to_append(name.rows(folder), length)
        try:
            self.marks = disk.open_to_append(name.marks(folder), marks_length)
        except OSError:
            self.rows.close()
            raise

    @classmethod
    def begin(cls, folder: Path, name: PartName, data: bytes, *, durable: bool) -> Self:
        """Make a part. It gets its name when its beginning is written: half a part never counts."""
        path = name.unfinished(folder)
        with disk.open_to_append(path, 0) as file:
            disk.write_all(file, data)
            if durable:
                disk.make_durable(file)
        path.replace(name.rows(folder))
        if durable:
            disk.make_folder_durable(folder)
        return cls(folder, name, len(data), 0)

    def write(self, data: disk.Data) -> None:
        """Append to the rows."""
        disk.write_all(self.rows, data)
        self.length += len(data)

    def write_mark(self, data: bytes) -> None:
        """Append to the sidecar."""
        disk.write_all(self.marks, data)
        self.marks_length += len(data)

    def make_durable(self) -> None:
        """Return when the rows will outlast a power loss. The marks could be made from them again."""
        disk.make_durable(self.rows)

    def undo(self) -> None:
        """Cut off what a write left that failed, as far as the disk still lets us."""
        with suppress(OSError):
            self.rows.truncate(self.length)

    def close(self) -> None:
        """Close both files."""
        self.rows.close()
        self.marks.close()
