"""What the doctor finds out about the terminal: each check in turn, and what to do where it is not well.

It makes a connection of its own, beside that of a feeder which may run, and subscribes one instrument for a moment.
"""

import queue
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bridge.check import Check
from bridge.sources import xtquant_options
from bridge.xtquant.options import DEFAULT_ADDRESS, Options
from bridge.xtquant.package import PackageError, find_package, load
from bridge.xtquant.terminal import Terminal, Unreachable
from hub.calendar import Calendar
from hub.settings import Settings

PORT_TIMEOUT_S: Final = 2.0
TICK_TIMEOUT_S: Final = 10.0
"""Three times the pause between two ticks of an active instrument."""
ASKED: Final = "000001.SH"
"""The index of Shanghai, which every account may see and which never rests."""


def checks(settings: Settings) -> Iterator[Check]:
    """Check what the source needs, one thing after the other; what needs something that is missing is not tried."""
    options = xtquant_options(settings)
    try:
        found = find_package(options.folder)
    except PackageError as error:
        yield Check("xtquant", False, str(error))
        return
    yield Check("xtquant", True, f"{found}")
    try:
        load(options.folder)
    except PackageError as error:
        yield Check("native modules", False, str(error))
        return
    yield Check("native modules", True, f"they fit Python {sys.version_info.major}.{sys.version_info.minor}")
    if options.token_mode is None:
        yield _terminal(options)
        yield _port(options)
    yield from _connected(options)


def _terminal(options: Options) -> Check:
    """Where a terminal says that it runs, or the addresses that were named."""
    if options.addresses:
        return Check("terminal", True, f"named by xtquant_addresses: {', '.join(options.addresses)}")
    connecting = load(options.folder, "xtconn")
    folder = Path.home() / ".xtquant"
    found = [f"{one.get('ip')}:{one.get('port')}" for one in connecting.scan_all_server_instance() if one["is_running"]]
    if found:
        return Check("terminal", True, f"runs at {', '.join(found)}, by {folder}")
    return Check(
        "terminal",
        False,
        f"none says in {folder} that it runs: start miniQMT as the user that runs the feeder, and log in; "
        f"{DEFAULT_ADDRESS} is tried all the same",
    )


def _port(options: Options) -> Check:
    tried = []
    for address in options.addresses or (DEFAULT_ADDRESS,):
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), PORT_TIMEOUT_S).close()
        except OSError as error:
            tried.append(f"{address} ({error.strerror or error})")
        else:
            return Check("port", True, f"{address} answers")
    return Check("port", False, f"nobody listens at {', '.join(tried)}: is the terminal logged in, and this its port?")


def _connected(options: Options) -> Iterator[Check]:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    terminal = Terminal(options, _ignore, _ignore)
    name = "connection" if options.token_mode is None else "token"
    try:
        try:
            address = terminal.connect()
        except (Unreachable, PackageError) as error:
            yield Check(name, False, str(error))
            return
        yield Check(name, True, f"connected to {address}")
        yield _tried("sectors", lambda: _sectors(terminal, options))
        yield _tried("entitlement", lambda: _entitlement(terminal, options, heard))
        yield _tried("live tick", lambda: _tick(terminal, heard))
    finally:
        terminal.disconnect()


def _tried(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except Exception as error:  # xtdata raises what it likes
        return Check(name, False, f"xtdata failed ({type(error).__name__}: {error}); restart the terminal")


def _sectors(terminal: Terminal, options: Options) -> Check:
    sizes = {name: len(terminal.sector(name)) for name in options.sectors}
    empty = [name for name, size in sizes.items() if not size]
    if empty:
        return Check(
            "sectors", False, f"{', '.join(empty)} have no instruments: download the sector data in the terminal"
        )
    return Check("sectors", True, ", ".join(f"{name} {size}" for name, size in sizes.items()))


def _entitlement(terminal: Terminal, options: Options, heard: "queue.SimpleQueue[Any]") -> Check:
    """Whether a single subscription is taken, and which channels beyond ticks and bars are."""
    if terminal.subscribe(ASKED, "tick", heard.put) <= 0:
        return Check("entitlement", False, "the terminal takes no single subscription: are too many held by others?")
    number = terminal.subscribe("600000.SH", "l2quote", _ignore)
    if number > 0:
        terminal.unsubscribe(number)
    level_2 = "level 2 is taken" if number > 0 else "no level 2"
    return Check(
        "entitlement",
        True,
        f"single subscriptions are taken, {options.max_subscriptions} at most; {level_2}",
    )


def _tick(terminal: Terminal, heard: "queue.SimpleQueue[Any]") -> Check:
    """Whether a tick comes; outside trading hours the newest one, which was asked for, will do."""
    now_ms = time.time_ns() // 1_000_000
    newest = terminal.full_tick([ASKED]).get(ASKED)
    if not isinstance(newest, Mapping) or not newest.get("time"):
        return Check("live tick", False, f"the terminal has no tick of {ASKED}: is it logged in to its quote server?")
    told = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(int(newest["time"]) / 1000 + 28_800))
    if Calendar().session_start_ms("SH", now_ms) is None:
        return Check("live tick", True, f"the market rests; the newest tick of {ASKED} is of {told} in Shanghai")
    try:
        heard.get(timeout=TICK_TIMEOUT_S)
    except queue.Empty:
        return Check(
            "live tick",
            False,
            f"no tick of {ASKED} came within {TICK_TIMEOUT_S:g} s in an open market, the newest is of {told}: "
            "restart the terminal",
        )
    return Check("live tick", True, f"ticks of {ASKED} come")


def _ignore(_: object) -> None:
    """Nothing that is said here is of use."""
