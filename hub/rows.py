"""Rows of one channel in columns, packed once: how they travel from the door of the hub to their numbers.

What a row says beside its code and its time is never looked at on the way. So it is packed as early as can be, by a
feeder even in another process, and only spliced from then on.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Self, overload

import msgspec

from hub.schema import CHANNELS, Row
from hub.wire import pack

_unpack: Final = msgspec.msgpack.Decoder(tuple[Any, ...]).decode

PackedRow = bytes
"""A row as a source gives it (``source_names``): a msgpack array. Code and time are packed as `hub.wire.pack` does."""


class Rows(Sequence[Row]):
    """Rows of one channel in order of arrival.

    As a sequence it gives rows as their source did (``source_names`` of the channel), each unpacked when it is asked
    for.

    Args:
        channel: one of `hub.schema.CHANNELS`.
        codes, times: of every row: the instrument, and epoch milliseconds that fit 64 bits.
        packed: every row.
    """

    __slots__ = ("channel", "codes", "packed", "times")

    def __init__(self, channel: str, codes: Sequence[str], times: Sequence[int], packed: Sequence[PackedRow]) -> None:
        self.channel = channel
        self.codes = codes
        self.times = times
        self.packed = packed

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[Row]:
        return map(_unpack, self.packed)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> Row | Self:
        if isinstance(place, slice):
            return type(self)(self.channel, self.codes[place], self.times[place], self.packed[place])
        return _unpack(self.packed[place])

    def pick(self, places: Iterable[int]) -> Self:
        """Some of the rows, by place."""
        codes, times, packed = self.codes, self.times, self.packed
        kept = [(codes[place], times[place], packed[place]) for place in places]
        return type(self)(self.channel, *map(list, zip(*kept, strict=True))) if kept else self[:0]


def pack_rows(channel: str, rows: Iterable[Row]) -> tuple[Rows, list[str]]:
    """Pack rows (``source_names`` of the channel). Returns those that can be, and for each other one the reason."""
    width = len(CHANNELS[channel].source_names)
    codes: list[str] = []
    times = array("q")
    packed: list[PackedRow] = []
    refused: list[str] = []
    for row in rows:
        if len(row) != width:
            refused.append(f"{channel} row of {len(row)} values instead of {width}: {str(row)[:120]}")
            continue
        try:
            data = pack(tuple(row))
            str.encode(row[0])
            times.append(row[1])
        except (TypeError, ValueError, OverflowError) as error:
            refused.append(f"{channel} row that can't be encoded ({error}): {str(row)[:120]}")
            continue
        codes.append(row[0])
        packed.append(data)
    return Rows(channel, codes, times, packed), refused
