"""Rows of one channel in columns, packed once: how they travel from the door of the hub to their numbers.

What a row says beside its code and its time is never looked at on the way. So it is packed as early as can be, by a
feeder even in another process, and only spliced from then on.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Self, overload

import msgspec

from hub.schema import CHANNELS, Row
from hub.wire import array_header, pack

_unpack: Final = msgspec.msgpack.Decoder(list[Any]).decode
_FIRST_VALUE: Final = 2
"""Place of the first value of a row as a source gives it: code and time come before."""

PackedValues = bytes
"""What a row says beside its code and its time: msgpack, one value after the other."""


class Rows(Sequence[Row]):
    """Rows of one channel in order of arrival.

    As a sequence it gives rows as their source did (``source_names`` of the channel), each unpacked when it is asked
    for.

    Args:
        channel: one of `hub.schema.CHANNELS`.
        codes, times: of every row: the instrument, and epoch milliseconds that fit 64 bits.
        values: of every row what follows them.
    """

    __slots__ = ("channel", "codes", "times", "values")

    def __init__(
        self, channel: str, codes: Sequence[str], times: Sequence[int], values: Sequence[PackedValues]
    ) -> None:
        self.channel = channel
        self.codes = codes
        self.times = times
        self.values = values

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[Row]:
        return map(self.__getitem__, range(len(self.codes)))

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> Self: ...
    def __getitem__(self, place: int | slice) -> Row | Self:
        if isinstance(place, slice):
            return type(self)(self.channel, self.codes[place], self.times[place], self.values[place])
        return (self.codes[place], self.times[place], *_unpack(_values_header(self.channel) + self.values[place]))

    def pick(self, places: Iterable[int]) -> Self:
        """Some of the rows, by place."""
        codes, times, values = self.codes, self.times, self.values
        kept = [(codes[place], times[place], values[place]) for place in places]
        return type(self)(self.channel, *map(list, zip(*kept, strict=True))) if kept else self[:0]


def pack_rows(channel: str, rows: Iterable[Row]) -> tuple[Rows, list[str]]:
    """Pack rows (``source_names`` of the channel). Returns those that can be, and for each other one the reason."""
    width, start = len(CHANNELS[channel].source_names), len(_values_header(channel))
    codes: list[str] = []
    times = array("q")
    values: list[PackedValues] = []
    refused: list[str] = []
    for row in rows:
        if len(row) != width:
            refused.append(f"{channel} row of {len(row)} values instead of {width}: {str(row)[:120]}")
            continue
        try:
            packed = pack(row[_FIRST_VALUE:])[start:]
            str.encode(row[0])
            times.append(row[1])
        except (TypeError, ValueError, OverflowError) as error:
            refused.append(f"{channel} row that can't be encoded ({error}): {str(row)[:120]}")
            continue
        codes.append(row[0])
        values.append(packed)
    return Rows(channel, codes, times, values), refused


def _values_header(channel: str) -> bytes:
    return array_header(len(CHANNELS[channel].source_names) - _FIRST_VALUE)
