"""Asks the terminal for its reference data, a little at a time, so that other calls have their turns in between."""

import logging
from collections import Counter
from datetime import date
from typing import Final

from bridge.xtquant.options import Options
from bridge.xtquant.owner import CallTimeout, Owner
from bridge.xtquant.reference import Instrument, Reference, days_of, holidays_of, instrument_of
from bridge.xtquant.terminal import LinkLost, Terminal
from hub.calendar import shanghai_day

AT_ONCE: Final = 100
"""Instruments that are asked for in one turn: each is a call of its own, of about 0.3 ms."""

_logger = logging.getLogger("argus.xtquant")


async def ask_sectors(owner: Owner, terminal: Terminal, options: Options, now_ms: int) -> Reference:
    """The sectors and the calendar, with no instruments yet. Raises LinkLost and CallTimeout."""
    sectors = {name: await owner.call(terminal.sector, name) for name in options.sectors}
    known = set(await owner.call(terminal.sectors))
    universes = {name: await owner.call(terminal.sector, name) for name in options.universes if name in known}
    return Reference(
        day=shanghai_day(now_ms),
        sectors={name: codes for name, codes in sectors.items() if codes},
        universes={name: codes for name, codes in universes.items() if codes},
        trading_days=days_of(await owner.call(terminal.trading_dates)),
        holidays=await _holidays(owner, terminal),
    )


async def ask_instruments(owner: Owner, terminal: Terminal, reference: Reference, *, counts: Counter[str]) -> Reference:
    """The same with its instruments. Raises LinkLost and CallTimeout."""
    codes, found = reference.codes, list[Instrument]()
    for start in range(0, len(codes), AT_ONCE):
        details = await owner.call(terminal.instruments, codes[start : start + AT_ONCE])
        found += [instrument_of(code, detail) for code, detail in details.items()]
    counts["instruments without detail"] += len(codes) - len(found)
    return Reference(
        reference.day, reference.sectors, reference.universes, found, reference.trading_days, reference.holidays
    )


async def _holidays(owner: Owner, terminal: Terminal) -> list[date]:
    try:
        return holidays_of(await owner.call(terminal.holidays))
    except (LinkLost, CallTimeout):
        raise
    except Exception as error:  # a terminal that has not downloaded them answers with a bare Exception
        _logger.info("the terminal knows no holidays: %s", error)
        return []
