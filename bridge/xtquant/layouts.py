"""Reads ticks out of BSON by their layout, without a decoder.

The ticks of a callback are laid out alike: the same fields in the same order, and only the numbers differ. So what is
not a number is held against what is expected in one comparison, and all numbers are taken out at once. That is ten
times as fast as xtquant's own decoder. (Its wheel has compiled ones for Python 3.7 to 3.11, but they need pymongo's
package `bson`; without that it falls back to pure Python on these, too.) A tick of another layout is decoded as xtquant
does it, and its layout learned.
"""

import struct
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Final, NamedTuple

MOST_LAYOUTS: Final = 64
"""Layouts that are remembered. A number may take 4 or 8 bytes, so there are some, but not many."""

MOST_CODES: Final = 100_000
"""Codes that are remembered: three times all that xtquant knows."""

_DOUBLE, _DOCUMENT, _ARRAY, _INT32, _INT64 = 0x01, 0x03, 0x04, 0x10, 0x12
_FORMATS: Final = {_DOUBLE: ("d", 8), _INT32: ("i", 4), _INT64: ("q", 8)}
_size_at: Final = struct.Struct("<i").unpack_from


class _Unlike(Exception):  # noqa: N818 (it reads as what it is)
    """A document that has no layout of numbers and lists of numbers."""


class _Number(NamedTuple):
    offset: int
    format: str
    size: int


class Layout:
    """How the numbers of a document lie.

    Args:
        document: one that is laid out so. Raises an error of its own where it holds anything but numbers and lists of
            numbers.
        names: the fields to read. One that the document lacks is read as None.
    """

    def __init__(self, document: bytes, names: tuple[str, ...]) -> None:
        numbers: list[_Number] = []
        places = dict(_walk(document, 4, len(document) - 1, numbers))
        form, mask, at = "<", bytearray(b"\xff" * len(document)), 0
        for number in numbers:
            form += f"{number.offset - at}x{number.format}"
            at = number.offset + number.size
            mask[number.offset : at] = bytes(number.size)
        self._mask = int.from_bytes(mask, "little")
        self._expected = int.from_bytes(document, "little") & self._mask
        self._unpack = struct.Struct(f"{form}{len(document) - at}x").unpack
        missing = len(numbers)
        self._pick = itemgetter(*(places.get(name, missing) for name in names))
        self._lacks = any(name not in places for name in names)

    def fits(self, document: bytes) -> bool:
        """Whether a document of the same length is laid out so."""
        return int.from_bytes(document, "little") & self._mask == self._expected

    def read(self, document: bytes) -> tuple[Any, ...]:
        """The fields of a document that fits: a number, or a tuple of numbers for a list."""
        numbers = self._unpack(document)
        fields: tuple[Any, ...] = self._pick((*numbers, None) if self._lacks else numbers)
        return fields


class Layouts:
    """The layouts that were met.

    Args:
        names: the fields to read of each document.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._by_size: dict[int, list[Layout]] = {}
        self._known = 0
        self._codes: dict[bytes, str] = {}

    def read(self, data: bytes) -> Iterator[tuple[str, tuple[Any, ...] | bytes]]:
        """The members of a document of documents, by name: their fields, or their bytes where no layout fits.

        Raises ValueError for what is no document of documents.
        """
        if len(data) < 5 or _size_at(data)[0] != len(data):
            raise ValueError(f"{len(data)} bytes are no BSON document")
        at, end, names, by_size = 4, len(data) - 1, self._codes, self._by_size
        find = data.find
        while at < end:
            name_end = find(0, at + 1)
            if data[at] != _DOCUMENT or name_end < 0 or name_end + 4 >= end:
                raise ValueError("a member is no document")
            name, start = data[at + 1 : name_end], name_end + 1
            at = start + _size_at(data, start)[0]
            if not start < at <= end:
                raise ValueError("a member has no size that can be")
            document = data[start:at]
            for layout in by_size.get(at - start, ()):
                if layout.fits(document):
                    fields: tuple[Any, ...] | bytes = layout.read(document)
                    break
            else:
                fields = self._learn(document)
            yield names.get(name) or self._know(name), fields

    def _know(self, name: bytes) -> str:
        if len(self._codes) >= MOST_CODES:
            self._codes.clear()
        code = self._codes[name] = name.decode()
        return code

    def _learn(self, document: bytes) -> tuple[Any, ...] | bytes:
        """The fields of a document of a new layout; the document itself where it has none that can be learned."""
        if self._known >= MOST_LAYOUTS:
            return document
        try:
            layout = Layout(document, self._names)
        except (_Unlike, struct.error, IndexError, ValueError):
            return document
        self._known += 1
        self._by_size.setdefault(len(document), []).append(layout)
        return layout.read(document)


def _walk(data: bytes, at: int, end: int, numbers: list[_Number]) -> Iterator[tuple[str, int | slice]]:
    """Every field of a document with its place, or its stretch, among the numbers, which are added to."""
    while at < end:
        kind, name_end = data[at], data.index(0, at + 1)
        name, at = data[at + 1 : name_end].decode(), name_end + 1
        if kind in _FORMATS:
            form, size = _FORMATS[kind]
            yield name, len(numbers)
            numbers.append(_Number(at, form, size))
            at += size
        elif kind == _ARRAY:
            first, size = len(numbers), _size_at(data, at)[0]
            if size < 5:
                raise _Unlike
            for _, place in _walk(data, at + 4, at + size - 1, numbers):
                if isinstance(place, slice):
                    raise _Unlike
            yield name, slice(first, len(numbers))
            at += size
        else:
            raise _Unlike
    if at != end:
        raise _Unlike
