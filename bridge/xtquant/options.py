"""What the operator says of the terminal, apart from all other settings of the hub."""

from dataclasses import dataclass
from datetime import time
from pathlib import Path
from typing import Final

DEFAULT_ADDRESS: Final = "127.0.0.1:58610"
"""Where a terminal listens unless it was told otherwise; xtdata tries it last when it looks for one by itself."""


@dataclass(frozen=True, slots=True)
class TokenMode:
    """How to run xtdatacenter, which gets quotes with a token and no terminal.

    ``home``: folder for its data. ``servers``: quote servers it may use, empty for all. ``markets``: those whose
    ticks it loads at the start.
    """

    token: str
    home: Path
    servers: tuple[str, ...] = ()
    markets: tuple[str, ...] = ("SH", "SZ", "BJ")


@dataclass(frozen=True, slots=True)
class Options:
    """Where the terminal is, what to ask it for, and how patient to be with it.

    Attributes:
        sectors: sector lists whose instruments' ticks are subscribed.
        data: folder for the reference data.
        universes: further sector lists that clients may name as ``@NAME``; nothing is subscribed for them.
        folder: folder that holds the package ``xtquant``; None where it is installed like any other.
        addresses: terminals to try, each ``host:port``, in this order; empty: whatever xtdata finds on this machine.
        token_mode: run xtdatacenter instead of looking for a terminal.
        max_subscriptions: single subscriptions (bars, level 2, ticks outside the sectors) that the account may have.
        grace_s: how long a single subscription that nobody wants is kept.
        stale_after_s: age of a market's newest data, in continuous trading, at which something is done about it.
        refresh_at: time of day (Shanghai) at which instruments, sectors and calendar are asked for again.
        probe_at: time of day (Shanghai) at which the connection is tried out before the open.
    """

    sectors: tuple[str, ...]
    data: Path
    universes: tuple[str, ...] = ()
    folder: Path | None = None
    addresses: tuple[str, ...] = ()
    token_mode: TokenMode | None = None
    max_subscriptions: int = 50
    grace_s: float = 60.0
    stale_after_s: float = 10.0
    refresh_at: time = time(8, 45)
    probe_at: time = time(9, 5)
