"""What the source tells of its instruments beside their rows: who they are, and in which named lists.

It is kept on disk, so that a hub that was restarted knows its universes before its feeder has connected again.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import msgspec
import orjson

from hub.topics import parse

FILE: Final = "reference.json"

_NOTHING: Final[Mapping[str, Sequence[str]]] = MappingProxyType({})

_logger = logging.getLogger("argus.reference")


class Kept(msgspec.Struct, frozen=True):
    """What a source told of its instruments, and which source it was."""

    source: str
    instruments: list[dict[str, Any]]
    universes: dict[str, list[str]]


def pack(source: str, instruments: Sequence[Mapping[str, Any]], universes: Mapping[str, Sequence[str]]) -> bytes:
    """Write what a source told, for whoever is to know it later or elsewhere."""
    return orjson.dumps({"source": source, "instruments": instruments, "universes": universes}, default=_plain)


unpack: Final = msgspec.json.Decoder(Kept).decode
"""Read what `pack` wrote. Raises msgspec.DecodeError."""


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else list(value)


class Reference:
    """Instruments and universes of one hub.

    Args:
        configured: universes of the operator, which win over those of the source.
        folder: where it is kept; None: nowhere.
    """

    def __init__(self, configured: Mapping[str, Sequence[str]] = _NOTHING, folder: Path | None = None) -> None:
        self.universes: dict[str, Sequence[str]] = dict(configured)
        """Named lists of codes and patterns, as they are now; it changes in place."""
        self.instruments: Sequence[Mapping[str, Any]] = ()
        self._configured = dict(configured)
        self._folder = folder
        self._page: bytes | None = None

    def restore(self, source: str) -> None:
        """Take what was kept, if it is of the same source."""
        if self._folder is None:
            return
        path = self._folder / FILE
        try:
            kept = unpack(path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as error:
            _logger.warning("%s can't be read (%s): universes are unknown until the source tells them", path, error)
            return
        if kept.source == source:
            self._take(kept.instruments, kept.universes)

    def take(
        self, source: str, instruments: Sequence[Mapping[str, Any]], universes: Mapping[str, Sequence[str]]
    ) -> None:
        """Take what the source tells now, and keep it."""
        self._take(instruments, universes)
        if self._folder is None:
            return
        path = self._folder / FILE
        beside = path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(pack(source, instruments, universes))
            beside.replace(path)
        except OSError as error:
            _logger.error("%s can't be written: %s", path, error.strerror)

    def select(self, pattern: str) -> list[Mapping[str, Any]]:
        """The instruments whose code a pattern or universe covers. Raises `hub.topics.TopicError`."""
        matches = parse(f"tick:{pattern}", self.universes).matches
        return [instrument for instrument in self.instruments if matches(instrument["code"])]

    def page(self) -> bytes:
        """Everything, as JSON."""
        if self._page is None:
            content = {"instruments": list(self.instruments), "universes": self.universes}
            self._page = orjson.dumps(content, default=list)
        return self._page

    def _take(self, instruments: Sequence[Mapping[str, Any]], universes: Mapping[str, Sequence[str]]) -> None:
        self.instruments = [instrument for instrument in instruments if isinstance(instrument.get("code"), str)]
        self.universes.clear()
        self.universes.update({**universes, **self._configured})
        self._page = None
