"""Finds rows in the archive by number, by time and by place, exactly: bisect the marks, then search one block.

Questions about many topics are answered together, so that a block is searched once for all of them. Topics go by
their numbers here.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import methodcaller
from typing import TypeVar

from hub.journal.archive import Archive
from hub.journal.columns import Columns, places
from hub.journal.marks import Mark
from hub.journal.record import DamagedError
from hub.journal.standing import Standing

_Block = tuple[int, int]
"""Place of the part, and which of its marks the block begins with."""

_Answer = TypeVar("_Answer")


class Finder:
    """Looks things up in one archive."""

    def __init__(self, archive: Archive, standing: Standing) -> None:
        self._archive = archive
        self._standing = standing

    def at_of(self, wanted: Mapping[int, int]) -> dict[int, int]:
        """Arrival numbers of rows: by topic, ``seq`` to arrival number. Rows that are not held are left out."""
        return self._again(lambda: self._at_of(wanted))

    def not_after(self, wanted: Mapping[int, int]) -> int | None:
        """An arrival number that none of some rows precedes (by topic, ``seq``): at most a block before the first."""
        return self._again(lambda: self._not_after(wanted))

    def first_since(self, wanted: Iterable[int], time_ms: int) -> dict[int, tuple[int, int]]:
        """By topic, ``seq`` and arrival number of the first row with ``time`` at or after ``time_ms``.

        Where that may be a row that is no longer held: the oldest that is. Topics without such a row are left out.
        """
        wanted = list(wanted)
        return self._again(lambda: self._first_since(wanted, time_ms))

    def first_after(self, wanted: Iterable[int], at: int) -> dict[int, int]:
        """By topic, the number of the oldest held row that arrived after ``at``; above the newest where none did."""
        wanted = list(wanted)
        return self._again(lambda: self._first_after(wanted, at))

    def _again(self, look: Callable[[], _Answer]) -> _Answer:
        """Look until nothing damaged is in the way: each time less is held."""
        while True:
            try:
                return look()
            except DamagedError:
                continue

    def _at_of(self, wanted: Mapping[int, int]) -> dict[int, int]:
        found: dict[int, int] = {}
        for where, seqs in self._blocks_of(wanted).items():
            left = set(seqs)
            for at, columns in self._columns(where):
                for i in places(columns.numbers, left):
                    number = columns.numbers[i]
                    if columns.seqs[i] == seqs[number]:
                        found[number] = at + i
                        left.discard(number)
                if not left:
                    break
        return found

    def _not_after(self, wanted: Mapping[int, int]) -> int | None:
        begins = [self._marks(place)[block].at for place, block in self._blocks_of(wanted)]
        return max(min(begins), self._archive.base.at) + 1 if begins else None

    def _blocks_of(self, wanted: Mapping[int, int]) -> dict[_Block, dict[int, int]]:
        """The blocks in which rows are, each with its rows; those that are not held are left out."""
        base, standing = self._archive.base, self._standing
        blocks: dict[_Block, dict[int, int]] = {}
        for number, seq in wanted.items():
            if base.seq(number) < seq <= standing.seq(number):
                blocks.setdefault(self._block_of(seq, methodcaller("seq", number)), {})[number] = seq
        return blocks

    def _first_since(self, wanted: Iterable[int], time_ms: int) -> dict[int, tuple[int, int]]:
        base, standing = self._archive.base, self._standing
        blocks: dict[_Block, set[int]] = {}
        oldest: dict[int, int] = {}
        for number in wanted:
            if standing.seq(number) == base.seq(number):
                continue
            if base.newest_time_ms(number) >= time_ms:
                oldest[number] = base.seq(number) + 1
            elif standing.newest_time_ms(number) >= time_ms:
                blocks.setdefault(self._block_of(time_ms, methodcaller("newest_time_ms", number)), set()).add(number)
        found = {number: (oldest[number], at) for number, at in self._at_of(oldest).items()}
        for where, left in blocks.items():
            for at, columns in self._columns(where):
                for i in places(columns.numbers, left):
                    number = columns.numbers[i]
                    if columns.times[i] >= time_ms and number in left:
                        found[number] = columns.seqs[i], at + i
                        left.discard(number)
                if not left:
                    break
        return found

    def _first_after(self, wanted: Iterable[int], at: int) -> dict[int, int]:
        archive = self._archive
        at = min(max(at, archive.base.at), self._standing.at)
        place = max(0, bisect_right(archive.parts, at, key=lambda part: part.base.at) - 1)
        marks = self._marks(place)
        block = bisect_right(marks, at, key=lambda mark: mark.at) - 1
        found = {number: marks[block].seq(number) + 1 for number in wanted}
        if marks[block].at == at:
            return found
        topics = found.keys()
        for first_at, columns in self._columns((place, block)):
            if first_at > at:
                break
            for i in places(columns.numbers[: at + 1 - first_at], topics):
                found[columns.numbers[i]] += 1
        return found

    def _block_of(self, goal: int, reached: Callable[[Mark], int]) -> _Block:
        """The block in which something that never falls reaches a goal. At the base it has not."""
        place = bisect_left(self._archive.parts, goal, key=lambda part: reached(part.base)) - 1
        return place, bisect_left(self._marks(place), goal, key=reached) - 1

    def _marks(self, place: int) -> list[Mark]:
        try:
            return self._archive.open(place).index.marks
        except DamagedError as error:
            if self._archive.give_up(place, error):
                raise
            return [self._archive.parts[place].base]

    def _columns(self, where: _Block) -> Iterator[tuple[int, Columns]]:
        """The columns of a block, up to a damaged place when nothing can be done about that."""
        place, block = where
        try:
            yield from self._archive.open(place).columns(block)
        except DamagedError as error:
            if self._archive.give_up(place, error):
                raise
