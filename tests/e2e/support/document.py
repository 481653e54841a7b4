"""The examples of ``docs/protocol.md``: what its fenced blocks mean, and when a message is what an example shows.

Every fenced block is played, in the order of the page:

| block | what is done |
|---|---|
| ``csv NAME`` | saved as a file that a hub can play |
| ``sh`` with ``run_hub.py`` | stops the hub of before, starts one with these options, waits until its file is played |
| ``sh`` with ``wscat -c URL [-s SUBPROTOCOL] [-H HEADER]`` | opens a connection |
| ``sh`` with ``... -c URL/feed ...`` | opens a feeder's connection beside it |
| ``sh`` with ``curl URL`` | gets a page; ``json page STATUS`` must come, with ``shape`` only keys and types |
| ``sh`` with ``kill -TERM`` | sends the signal to the hub |
| ``json client``, ``hex client`` | is sent as a text, or binary, frame |
| ``json hub``, ``hex hub`` | must come next: the same keys, types and values, except what must differ from run to run |
| ``json hub shape`` | must come next: the same keys and types |
| ``json feeder`` | is sent on the feeder's connection, as msgpack |
| ``json feed`` | must come next on the feeder's connection, as msgpack |
| ``json hub slow`` | is checked by the test of slow clients, which can provoke it |
| ``text close`` | the connection must be closed with this code |
"""

import json
import re
from dataclasses import dataclass
from typing import Any, Final

from tests.e2e.support.hub_process import REPOSITORY

PAGE: Final = REPOSITORY / "docs" / "protocol.md"
EPOCH: Final = "3f9c1d27a80b64e5"
"""Stands for the epoch of the hub in the page's examples."""

_BLOCK: Final = re.compile(r"^```(?P<info>\S[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_DIFFERS: Final = frozenset({"server", "session", "at", "time", "message", "reason", "close_in_ms", "retry_in_ms"})
"""Keys of control messages whose values differ from run to run, or are for people."""
_ALWAYS_LITERAL: Final = frozenset({"type", "channel", "origin", "id"})


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: the line of the page where it begins, the words behind the fence, and what is in it."""

    line: int
    info: tuple[str, ...]
    body: str

    def json(self) -> Any:
        return json.loads(self.body)

    def bytes(self) -> bytes:
        """The bytes of a hex block: the left column, up to the first run of two blanks."""
        return bytes.fromhex("".join(re.split(r"\s{2,}", line)[0] for line in self.body.splitlines()))


def blocks() -> list[Block]:
    """All fenced blocks of the page, in order."""
    page = PAGE.read_text(encoding="utf-8")
    found = [
        Block(page.count("\n", 0, match.start()) + 1, tuple(match["info"].split()), match["body"])
        for match in _BLOCK.finditer(page)
    ]
    assert page.count("\n```") == 2 * len(found), "a fenced block of the page was not understood"
    return found


def check_message(example: dict[str, Any], actual: dict[str, Any], *, shape: bool = False) -> None:
    """Fail unless a message is what an example shows: with ``shape``, only in keys and types."""
    assert set(actual) == set(example), f"keys {sorted(actual)}"
    for name, value in example.items():
        if name == "rows":
            rows = actual["rows"]
            assert rows if shape else len(rows) == len(value), f"{len(rows)} rows"
            for number, row in enumerate(rows):
                _check(value[0 if shape else number], row, f"rows[{number}]", shape, frozenset({"recv"}))
        elif name == "epoch" and value == EPOCH:
            assert re.fullmatch("[0-9a-f]{16}", actual["epoch"]), f"epoch {actual['epoch']}"
        else:
            differs = name in _DIFFERS or (shape and name not in _ALWAYS_LITERAL)
            _check(value, actual[name], name, differs, frozenset())


def _check(example: Any, actual: Any, place: str, shape: bool, differs: frozenset[str]) -> None:
    assert type(actual) is type(example), f"{place} is {actual!r}"
    if isinstance(example, dict):
        assert set(actual) == set(example), f"{place} has the keys {sorted(actual)}"
        for name, value in example.items():
            _check(value, actual[name], f"{place}.{name}", shape or name in differs, differs)
    elif isinstance(example, list) and not shape:
        assert len(actual) == len(example), f"{place} is {actual}"
        for number, value in enumerate(example):
            _check(value, actual[number], f"{place}[{number}]", shape, differs)
    elif isinstance(example, list):
        for number, value in enumerate(actual if example else ()):
            _check(example[0], value, f"{place}[{number}]", shape, differs)
    elif not shape:
        assert actual == example, f"{place} is {actual!r}"
