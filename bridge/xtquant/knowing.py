"""What is known of the market beside its rows, where it comes from, and who has to know it."""

import logging
from collections.abc import Callable

import msgspec

from bridge.source import ReferenceData
from bridge.xtquant.liveness import Liveness
from bridge.xtquant.normaliser import Normaliser
from bridge.xtquant.options import Options
from bridge.xtquant.reference import Reference, ReferenceFile
from bridge.xtquant.troubles import Troubles

_logger = logging.getLogger("argus.xtquant")


class Knowing:
    """The reference data of a source, from disk at first.

    Args:
        normaliser: learns the decimal places of prices.
        liveness: learns the markets and the trading days.
    """

    def __init__(
        self,
        options: Options,
        normaliser: Normaliser,
        liveness: Liveness,
        troubles: Troubles,
        now_ms: Callable[[], int],
    ) -> None:
        self._options = options
        self._normaliser = normaliser
        self._liveness = liveness
        self._troubles = troubles
        self._now_ms = now_ms
        self._file = ReferenceFile(options.data)
        self.reference = self._file.read()
        """None before anything is known."""
        self._spread()

    @property
    def by_market(self) -> dict[str, list[str]]:
        """The instruments of the sectors, by market."""
        found: dict[str, list[str]] = {}
        for code in () if self.reference is None else self.reference.codes:
            found.setdefault(code[code.rfind(".") + 1 :], []).append(code)
        return found

    def told(self) -> ReferenceData | None:
        """What the hub is told; None where nothing is known."""
        if self.reference is None:
            return None
        instruments = [msgspec.to_builtins(instrument) for instrument in self.reference.instruments]
        return ReferenceData(instruments, {**self.reference.universes, **self.reference.sectors})

    def lacks_instruments(self, asked: Reference) -> bool:
        """Whether the instruments are not those of the day on which something else was asked for."""
        return self.reference is None or self.reference.day != asked.day or not self.reference.instruments

    def take_sectors(self, asked: Reference) -> None:
        """Take sectors and calendar as far as they were answered; instruments are still those of before."""
        missing = [name for name in self._options.sectors if name not in asked.sectors]
        before = self.reference
        if before is not None:
            known = {name: before.sectors[name] for name in missing if name in before.sectors}
            asked = msgspec.structs.replace(
                asked,
                day=before.day,
                sectors=known | asked.sectors,
                instruments=before.instruments,
                trading_days=asked.trading_days or before.trading_days,
                holidays=asked.holidays or before.holidays,
            )
        self._troubles.clear("sectors")
        if missing:
            self._troubles.have(
                "sectors",
                f"the terminal has no instruments in {', '.join(missing)}: download the sector data there, or "
                "name other sectors (xtquant_sectors)",
            )
        self.reference = asked
        self._spread()

    def take_instruments(self, asked: Reference) -> None:
        """Take the instruments of a day, and keep everything on disk."""
        assert self.reference is not None  # noqa: S101 - sectors come first
        self.reference = msgspec.structs.replace(self.reference, day=asked.day, instruments=asked.instruments)
        self._file.write(self.reference)
        self._spread()

    def _spread(self) -> None:
        if self.reference is not None:
            self._normaliser.know(self.reference.digits)
            self._liveness.know(self.reference.known_days)
            self._liveness.watch(self.reference.markets, self._now_ms())
