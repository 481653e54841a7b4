"""The limit in C, and the small protocol by which it and the Python servers are fed and subscribed."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.fanout.contestants.base import Contestant, Place, Served, first_line, masked, running
from benchmarks.fanout.native import build, compiler
from benchmarks.fanout.rows import RowMaker, Template, topic


class SmallContestant(Contestant):
    """A server made for this benchmark: topics by name, rows as they are, no history and no back-pressure.

    A client's first message names its topics, one a line, and is answered ``ok``. The feeder sends each row as u32
    length (of what follows, little-endian), u8 length of the topic, topic, row.
    """

    def hello(self, topics: Sequence[str]) -> bytes:  # noqa: D102
        return masked("\n".join(topics or ["*"]).encode())

    def message(self, row: RowMaker, symbols: Sequence[int]) -> Template:  # noqa: D102
        rows = Template()
        for symbol in symbols:
            name = topic(row.channel, symbol).encode()
            rows.add(struct.pack("<IB", 1 + len(name) + row.size, len(name)) + name)
            rows.add_row(row, symbol)
        return rows


class Limit(SmallContestant):
    """``native/limit.c``, in one of its two ways."""

    def __init__(self, name: str, way: str) -> None:
        self.name = name
        self.title = f"C, one send() per client and {'row' if way == 'each' else 'turn of the loop'}"
        self._way = way

    def missing(self, cache: Path) -> str:  # noqa: D102
        return "" if compiler() else "no gcc"

    def version(self, cache: Path) -> str:  # noqa: D102
        return "native/limit.c, gcc -O2"

    @contextmanager
    def serve(self, place: Place) -> Iterator[Served]:  # noqa: D102
        with running([str(build(place.cache)["limit"]), self._way], place) as process:
            port, feed_port = map(int, first_line(process, place).split())
            yield Served(port, feed_port, (process.pid,))
