"""What a hub remembers of the source that feeds it, from one start to the next.

Until the feeder has connected again, clients are told of the source by this; and prices of another source never get
into the same history.
"""

import logging
from pathlib import Path
from typing import Final

import msgspec

NAME: Final = "feed.json"

_logger = logging.getLogger("argus.feed")


class KnownSource(msgspec.Struct, frozen=True):
    """The source that a history was fed by, and which history that is: of another one it says nothing."""

    epoch: str
    source: str
    simulated: bool


def read_known(folder: Path) -> KnownSource | None:
    """What was remembered in a folder; None where nothing was, or it can't be read."""
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=KnownSource)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        _logger.warning("%s can't be read (%s): the source is unknown until it connects", folder / NAME, error)
        return None


def remember(folder: Path, known: KnownSource) -> None:
    """Remember a source, in one step: a hub that is killed meanwhile remembers the one before."""
    beside = folder / f"{NAME}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(msgspec.json.encode(known))
        beside.replace(folder / NAME)
    except OSError as error:
        _logger.error("%s can't be written: %s", folder / NAME, error.strerror)
