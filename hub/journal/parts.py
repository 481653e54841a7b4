"""The files of the journal: their names, which of them there are, and which have had their day.

A *part* is two files, ``000012-2026-03-02.rows`` and the sidecar ``.marks``. Parts are numbered in the order in which
they were begun. What is damaged is renamed, not deleted, and goes as everything goes: when its time is over.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

_NAME: Final = re.compile(r"(\d{6,12})-(\d{4}-\d{2}-\d{2})\.(rows|marks|new)(\.damaged)?")


class PartName(NamedTuple):
    """Number and trading day of a part."""

    number: int
    day: str

    def rows(self, folder: Path) -> Path:
        """Where its rows are."""
        return folder / f"{self.number:06d}-{self.day}.rows"

    def marks(self, folder: Path) -> Path:
        """Where its marks are."""
        return folder / f"{self.number:06d}-{self.day}.marks"

    def unfinished(self, folder: Path) -> Path:
        """Where its beginning is written, before it is a part."""
        return folder / f"{self.number:06d}-{self.day}.new"


@dataclass(slots=True)
class Found:
    """What there is of a part: all its files, and whether its rows can be read."""

    name: PartName
    paths: list[Path]
    whole: bool = False
    bytes: int = 0


def find(folder: Path) -> list[Found]:
    """All parts in a folder, the oldest first."""
    found: dict[int, Found] = {}
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        number, day, kind, damaged = match.groups()
        part = found.setdefault(int(number), Found(PartName(int(number), day), []))
        part.paths.append(path)
        with suppress(FileNotFoundError):  # it may be on its way out
            part.bytes += path.stat().st_size
        if kind == "rows" and not damaged:
            part.name, part.whole = PartName(int(number), day), True
    return [found[number] for number in sorted(found)]


def set_aside(path: Path) -> str:
    """Rename a damaged file, so that nobody reads it again; says so, in words for the log."""
    aside = path.with_name(path.name + ".damaged")
    try:
        path.replace(aside)
    except OSError as error:
        return f"{path.name} is damaged and cannot be renamed ({error.strerror})"
    return f"{path.name} is damaged and was renamed to {aside.name}"


def expired(parts: Iterable[Found], keep_days: int, keep_bytes: int) -> list[Found]:
    """The parts to delete, so that no more than so many days and bytes remain. Never the newest.

    Args:
        parts: the oldest first.
        keep_days: trading days that stay, that of the newest part among them.
        keep_bytes: of all parts together.
    """
    days: set[str] = set()
    total = 0
    gone: list[Found] = []
    for age, part in enumerate(sorted(parts, key=lambda part: part.name, reverse=True)):
        days.add(part.name.day)
        total += part.bytes
        if gone or (age > 0 and (len(days) > keep_days or total > keep_bytes)):
            gone.append(part)
    return gone
