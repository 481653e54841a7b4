"""What a feed remembers of who led: whose numbers stand at the end of its journal, and who went on from where.

It lies beside the journal, and is written before anything happens that it tells of.
"""

import logging
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from bridge.relay.state import Reign, State

NAME: Final = "relay.json"
MOST_REIGNS: Final = 64
"""A feed that was away for longer than so many others led can't tell any more where they went on."""
_NOBODY_KNOWS: Final = ("?",)

_logger = logging.getLogger("argus.relay")


class Kept(msgspec.Struct, frozen=True):
    """The state of a record.

    Attributes:
        name: of this feed, for as long as its folder lives.
        epoch: of the history that all else speaks of.
        token: under which the newest rows were numbered that the journal has.
        led: whether they were numbered here; else they were followed.
        others: names of the other feeds that follow this epoch, or have led it.
        reigns: the feeds that went on after another one, the newest last.
    """

    name: str
    epoch: str = ""
    token: int = 0
    led: bool = False
    others: tuple[str, ...] = ()
    reigns: tuple[Reign, ...] = ()


class Record:
    """What is remembered, in a folder; None: only as long as the process lives."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.kept = (None if folder is None else _read(folder)) or Kept(secrets.token_hex(8))

    def follow(self, told: State) -> None:
        """What the journal has from now on was numbered by the feed that tells this."""
        estate, name = told.estate, self.kept.name
        others = {estate.name, *estate.others} - {name, ""}
        self._keep(Kept(name, told.epoch, told.token, led=False, others=_sorted(others), reigns=estate.reigns))

    def lead(self, epoch: str, token: int) -> None:
        """Rows are numbered here, from the end of what is there."""
        kept = self.kept if self.kept.epoch == epoch else Kept(self.kept.name, epoch)
        self._keep(msgspec.structs.replace(kept, token=token, led=True))

    def succeed(self, told: State, reign: Reign) -> None:
        """Go on here after the feed that told this."""
        self.follow(told)
        reigns = (*self.kept.reigns, reign)[-MOST_REIGNS:]
        self._keep(msgspec.structs.replace(self.kept, token=reign.token, led=True, reigns=reigns))

    def second(self, names: Collection[str]) -> None:
        """These other feeds follow as well."""
        others = _sorted({*self.kept.others, *names} - {self.kept.name})
        self._keep(msgspec.structs.replace(self.kept, others=others))

    def _keep(self, kept: Kept) -> None:
        """Remember this, in one step: a process that is killed meanwhile remembers what was before."""
        if kept == self.kept:
            return
        self.kept = kept
        if self._folder is not None:
            beside = self._folder / f"{NAME}.new"
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                beside.write_bytes(msgspec.json.encode(kept))
                beside.replace(self._folder / NAME)
            except OSError as error:
                _logger.error("%s can't be written: %s", self._folder / NAME, error.strerror)


def _sorted(names: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


def _read(folder: Path) -> Kept | None:
    try:
        return msgspec.json.decode((folder / NAME).read_bytes(), type=Kept)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        # Nothing is proven then: as if another feed could have gone on.
        _logger.warning("%s can't be read (%s)", folder / NAME, error)
        return Kept(secrets.token_hex(8), others=_NOBODY_KNOWS)
