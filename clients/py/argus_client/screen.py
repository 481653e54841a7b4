"""Where the command line writes: aligned text for a person at a terminal, JSON lines for the next program.

Results go to standard output, everything else to standard error.
"""

import errno
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Final, Literal, TextIO

from argus_client.columns import Column, clock, columns_for, headings, line
from argus_client.messages import Gap, TopicInfo
from argus_client.rows import Row

Format = Literal["auto", "text", "json"]

_READER_LEFT: Final = frozenset({errno.EPIPE, errno.EINVAL, errno.ESHUTDOWN})
"""What writing to a pipe without a reader gives; Windows says EINVAL."""


class OutputClosedError(Exception):
    """Whoever read our output has left, as ``head`` does."""


class Screen:
    """The two output streams of one command, and how to write to them."""

    def __init__(self, stdout: TextIO, stderr: TextIO, wanted: Format) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._as_text = stdout.isatty() if wanted == "auto" else wanted == "text"
        self._columns: tuple[Column, ...] | None = None

    def show(self, shown: Row | TopicInfo) -> None:
        """Write one row, or one topic of a list."""
        if not self._as_text:
            own = {"topic": shown.topic, "origin": shown.origin} if isinstance(shown, Row) else {}
            self._write_json({**own, **(shown.as_dict() if isinstance(shown, Row) else asdict(shown))})
            return
        columns = columns_for(shown)
        if columns is not self._columns:
            self._columns = columns
            self._write(headings(columns))
        self._write(line(columns, shown))

    def show_gap(self, gap: Gap) -> None:
        """Tell a person of a gap at its place among the rows, and a program by an object with the one key ``gap``."""
        if self._as_text:
            self.flush()  # both streams may be one terminal: the rows before it come first
        else:
            known = asdict(gap)
            del known["request_id"]
            self._write_json({"gap": known})
        end = "on" if gap.to_seq is None else f"to {gap.to_seq}"
        seqs = "" if gap.from_seq is None else f" rows from {gap.from_seq} {end}"
        times = "" if gap.from_time is None else f" {clock(gap.from_time)} to {clock(gap.to_time)}"
        self.say(f"gap in {gap.topic}:{seqs}{times} ({gap.cause})")

    def show_facts(self, text: str, facts: Mapping[str, Any]) -> None:
        """Write one result: in words, or as an object."""
        if self._as_text:
            self._write(text)
        else:
            self._write_json(facts)

    def flush(self) -> None:
        """Pass on what was written."""
        try:
            self._stdout.flush()
        except OSError as error:
            raise _closed(error) from error

    def close(self) -> None:
        """Write no more. What is still to be written for a reader that has left Python would try again at its end."""
        with suppress(OSError):
            self._stdout.close()

    def say(self, text: str) -> None:
        """Tell the person something that is no result."""
        print(f"argus: {text}", file=self._stderr, flush=True)

    def remark(self, text: str) -> None:
        """Tell it only if there is a person: standard error is a terminal."""
        if self._stderr.isatty():
            self.say(text)

    def _write_json(self, value: Mapping[str, Any]) -> None:
        # ASCII: what reads a pipe may expect any encoding, on Windows above all.
        self._write(json.dumps(value, separators=(",", ":")))

    def _write(self, text: str) -> None:
        try:
            self._stdout.write(text + "\n")
        except OSError as error:
            raise _closed(error) from error


def _closed(error: OSError) -> Exception:
    return OutputClosedError() if error.errno in _READER_LEFT else error
