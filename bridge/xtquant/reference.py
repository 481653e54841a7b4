"""What is known of instruments, sectors and trading days: asked of the terminal each morning, and kept on disk.

So a feeder that starts while the terminal is away still knows its universe, and how many decimals a price has.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from bridge.xtquant.codes import kind_of
from bridge.xtquant.prices import digits_of, real
from hub.calendar import shanghai_day

FILE: Final = "reference.json"

_logger = logging.getLogger("argus.xtquant")


class Instrument(msgspec.Struct, frozen=True):
    """One instrument. Prices in yuan, ``lot`` in shares; null where the terminal does not tell.

    ``listed``, ``expires``: as YYYY-MM-DD. ``is_trading``: whether orders are taken at all.
    """

    code: str
    name: str
    board: str
    kind: str
    priceTick: float | None = None  # noqa: N815 - as clients get it, beside xtquant's own names
    lot: int | None = None
    preClose: float | None = None  # noqa: N815
    upStopPrice: float | None = None  # noqa: N815
    downStopPrice: float | None = None  # noqa: N815
    listed: str | None = None
    expires: str | None = None
    isTrading: bool | None = None  # noqa: N815


class Reference(msgspec.Struct, frozen=True):
    """What the terminal knew on a day.

    ``sectors``: those whose ticks are subscribed, with their codes; ``universes``: further ones, for clients to name.
    """

    day: date
    sectors: dict[str, list[str]] = {}
    universes: dict[str, list[str]] = {}
    instruments: list[Instrument] = []
    trading_days: list[date] = []
    holidays: list[date] = []

    @property
    def codes(self) -> list[str]:
        """The instruments of all sectors, each once."""
        return list(dict.fromkeys(code for codes in self.sectors.values() for code in codes))

    @property
    def markets(self) -> dict[str, int]:
        """How many instruments of the sectors each market has."""
        return dict(Counter(code[code.rfind(".") + 1 :] for code in self.codes))

    @property
    def digits(self) -> dict[str, int]:
        """The decimal places of the prices, of the instruments whose tick size is known."""
        found = ((instrument.code, digits_of(instrument.priceTick)) for instrument in self.instruments)
        return {code: digits for code, digits in found if digits is not None}

    @property
    def known_days(self) -> frozenset[date] | None:
        """The trading days up to the end of the last year that holidays are known of; None where none is known."""
        if not self.trading_days:
            return None
        days = set(self.trading_days)
        if self.holidays:
            end, day = date(max(self.holidays).year, 12, 31), max(days) + timedelta(days=1)
            closed = set(self.holidays)
            while day <= end:
                if day.weekday() < 5 and day not in closed:
                    days.add(day)
                day += timedelta(days=1)
        return frozenset(days)


def instrument_of(code: str, detail: Mapping[str, Any]) -> Instrument:
    """An instrument from `xtdata.get_instrument_detail`, in which what is not known is the largest number there is."""
    kind = kind_of(code)
    tick = _number(detail.get("PriceTick"))
    digits = digits_of(tick)
    places = kind.digits if digits is None else digits
    return Instrument(
        code=code,
        name=str(detail.get("InstrumentName") or ""),
        board=kind.board,
        kind=kind.kind,
        priceTick=None if digits is None or tick is None else round(tick, digits),
        lot=kind.lot,
        preClose=_price(detail.get("PreClose"), places),
        upStopPrice=_price(detail.get("UpStopPrice"), places),
        downStopPrice=_price(detail.get("DownStopPrice"), places),
        listed=_day(detail.get("OpenDate")),
        expires=_day(detail.get("ExpireDate")),
        isTrading=bool(detail["IsTrading"]) if isinstance(detail.get("IsTrading"), bool | int) else None,
    )


def days_of(midnights_ms: Iterable[int]) -> list[date]:
    """The days of midnights in Shanghai, whatever the time zone of this machine."""
    return sorted({shanghai_day(int(midnight_ms)) for midnight_ms in midnights_ms})


def holidays_of(texts: Sequence[str]) -> list[date]:
    """The days of texts such as 20261001; what is none is left out."""
    return sorted({date.fromisoformat(day) for text in texts if (day := _day(text)) is not None})


class ReferenceFile:
    """Where it is kept from one start to the next."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    def read(self) -> Reference | None:
        """What was kept; None where nothing was, or it can't be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Reference)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            _logger.warning("%s can't be read (%s): the terminal is asked again", self._path, error)
            return None

    def write(self, reference: Reference) -> None:
        """Keep it, in one step: a process that dies meanwhile leaves the one before."""
        beside = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside.write_bytes(msgspec.json.encode(reference))
            beside.replace(self._path)
        except OSError as error:
            _logger.error("%s can't be written: %s", self._path, error.strerror)


def _number(given: Any) -> float | None:
    try:
        return real(given)
    except (TypeError, ValueError):
        return None


def _price(given: Any, digits: int) -> float | None:
    number = _number(given)
    return None if not number else round(number, digits)


def _day(given: Any) -> str | None:
    text = str(given)
    if len(text) != 8 or not text.isdigit():
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:])).isoformat()
    except ValueError:  # unset days are 0 or 99999999
        return None
