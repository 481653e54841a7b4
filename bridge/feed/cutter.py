"""Takes code and time out of the rows of a fed batch without unpacking the rest.

A whole market comes several times a second, and unpacking it would cost more than everything else that the hub does
with it. So only what the hub has to know is taken out of each row: its code and its time, which stand at fixed places
where all codes are of one length. That is held against each row; a batch that is in any way unlike is unpacked instead,
and so is the first one of every instrument, which shows whether this feeder says what can be understood.
"""

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from hub.rows import Rows
from hub.schema import CHANNELS
from hub.wire import array_header, pack

MAX_CODES: Final = 100_000
"""Codes that are remembered for one feeder: three times all that xtquant knows."""

_SHORT_TEXT: Final = range(0xA0, 0xC0)
"""What a msgpack text of up to 31 bytes begins with: 0xa0 and its length."""
_UINT64: Final = b"\xcf"
_LEAST_UINT64: Final = 1 << 32
_HEADERS: Final = {name: array_header(len(channel.source_names)) for name, channel in CHANNELS.items()}


class Cutter:
    """Cuts the rows of one feeder."""

    def __init__(self) -> None:
        self._codes: dict[bytes, str] = {}  # by their packed form
        self._beginnings: dict[
            tuple[bytes, int], struct.Struct
        ] = {}  # of rows, by header and what their codes begin with

    def learn(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Take the codes of rows that were unpacked and understood."""
        for row in rows:
            if row and isinstance(row[0], str) and len(self._codes) < MAX_CODES:
                self._codes[pack(row[0])] = row[0]

    def cut(self, channel: str, raws: Sequence[msgspec.Raw]) -> Rows | None:
        """The columns of some packed rows (``source_names`` of the channel); None where they have to be unpacked."""
        if not raws or channel not in _HEADERS:
            return None
        rows = list(map(bytes, raws))
        header = _HEADERS[channel]
        beginning = self._beginning(header, rows[0][len(header) : len(header) + 1])
        if beginning is None:
            return None
        size = beginning.size
        try:
            headers, codes, kinds, times = zip(
                *beginning.iter_unpack(b"".join([row[:size] for row in rows])), strict=True
            )
            names = list(map(self._codes.__getitem__, codes))
        except (struct.error, KeyError):  # one is too short, or has another code
            return None
        if len(headers) != len(rows) or set(headers) != {header} or set(kinds) != {_UINT64}:
            return None
        if min(times) < _LEAST_UINT64:  # packed longer than need be: not as `hub.rows.PackedRow` has it
            return None
        return Rows(channel, names, times, rows)

    def _beginning(self, header: bytes, first: bytes) -> struct.Struct | None:
        """How rows begin whose codes begin with a byte: header, code, what the time is, time."""
        if not first or first[0] not in _SHORT_TEXT:
            return None
        key = header, first[0]
        if key not in self._beginnings:
            self._beginnings[key] = struct.Struct(f">{len(header)}s{1 + first[0] - _SHORT_TEXT.start}scQ")
        return self._beginnings[key]
