"""Examines a machine and the settings before anything is started: each line is ok, or says what to do.

``python run_hub.py --doctor`` with the options that the hub is to run with. What only a source can know comes from the
source's own checks.
"""

import asyncio
import importlib.util
import shutil
import socket
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from bridge.check import Check
from bridge.clock import check_clock
from bridge.listening import StartError, check_port
from bridge.redis.checks import checks as redis_checks
from bridge.rowfile import RecordingError
from bridge.sources import make_source
from bridge.xtquant.checks import checks as xtquant_checks
from hub.auth import is_loopback
from hub.config import Settings, SettingsError, load

DAY_BYTES: Final = 7_000_000_000
"""A trading day of the whole market on disk, rounded up."""
TOKEN_LENGTH: Final = 16
CONNECT_S: Final = 3.0
_HOW_TO_MAKE_ONE: Final = 'python -c "import secrets; print(secrets.token_urlsafe(24))"'


def examine(argv: Sequence[str], environ: Mapping[str, str], say: Callable[[str], object] = print) -> int:
    """Check this machine and the settings of ``argv`` and ``environ``, and say so line by line.

    Returns 0 where all is well, else 1.
    """
    wrong = 0
    for check in checks(argv, environ):
        say(f"{'ok   ' if check.ok else 'WRONG'}  {check.name}: {check.text}")
        wrong += not check.ok
    say(f"{wrong} to mend" if wrong else "all is well")
    return 1 if wrong else 0


def checks(argv: Sequence[str], environ: Mapping[str, str]) -> Iterator[Check]:
    """All checks, in the order in which one would mend what they find."""
    yield check_python()
    yield check_loop()
    yield check_time_zone()
    yield check_clock()
    try:
        settings = load(argv, environ)
    except SettingsError as error:
        for mistake in str(error).splitlines():
            yield Check("settings", False, mistake)
        return
    source = "" if settings.role == "edge" else f"source {settings.source}, "
    yield Check("settings", True, f"valid; {source}role {settings.role}")
    if settings.role != "feeder":
        yield _check_port(settings)
        yield check_token(settings)
        if settings.journal and settings.role != "edge":
            yield from check_data(settings.data, min(DAY_BYTES, settings.journal_bytes))
    else:
        yield from (check_hub(settings, address) for address in settings.to.split(","))
    if settings.redis:
        yield from redis_checks(settings)
    if settings.role != "edge":
        yield from check_source(settings)


def check_python() -> Check:
    """The interpreter: new enough, and of 64 bits."""
    bits = struct.calcsize("P") * 8
    found = f"Python {sys.version.split()[0]}, {bits} bits, on {sys.platform}"
    if sys.version_info < (3, 11) or bits < 64:
        return Check("python", False, f"{found}: install Python 3.11 of 64 bits")
    return Check("python", True, found)


def check_loop() -> Check:
    """The fast event loop, without which the hub runs, but serves fewer clients."""
    name = "winloop" if sys.platform == "win32" else "uvloop"
    if importlib.util.find_spec(name) is None:
        return Check("event loop", False, f"{name} is missing, so the standard one is used: pip install {name}")
    return Check("event loop", True, name)


def check_time_zone() -> Check:
    """The time zone of the exchanges. That of the machine does not matter."""
    try:
        offset = datetime.now(UTC).astimezone(ZoneInfo("Asia/Shanghai")).utcoffset()
    except (KeyError, OSError) as error:
        return Check("time zone", False, f"there is no data for Asia/Shanghai ({error}): pip install tzdata")
    if offset != timedelta(hours=8):
        return Check("time zone", False, f"Asia/Shanghai is {offset} from UTC here, not 8 hours: pip install -U tzdata")
    return Check("time zone", True, "Asia/Shanghai is known; this machine's own may be any")


def check_token(settings: Settings) -> Check:
    """Who may connect: on this machine anybody, from beyond it whoever has a token that can't be guessed."""
    token = settings.access_token
    if not token and is_loopback(settings.host):
        return Check("token", True, f"none, and none is needed: {settings.host} is reached from this machine only")
    if not token:
        return Check("token", False, f"none: {settings.host} can be reached by others; make one: {_HOW_TO_MAKE_ONE}")
    if not is_strong(token):
        return Check("token", False, f"it can be guessed: make one of {TOKEN_LENGTH} or more: {_HOW_TO_MAKE_ONE}")
    return Check("token", True, "set")


def is_strong(token: str) -> bool:
    """Whether a token is long, and not one character again and again."""
    return len(token) >= TOKEN_LENGTH and len(set(token)) >= TOKEN_LENGTH // 2


def check_data(folder: Path, wanted_bytes: int) -> Iterator[Check]:
    """The folder for the journal, or that which it would be made in: writable, and with room for a day."""
    folder = folder.resolve()
    place = next((path for path in (folder, *folder.parents) if path.is_dir()), Path(folder.anchor))
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
        free_bytes = shutil.disk_usage(place).free
    except OSError as error:
        yield Check(
            "data folder", False, f"{place} can't be written ({error.strerror or error}): name another (--data)"
        )
        return
    yield Check("data folder", True, f"{folder} can be written")
    free = f"{free_bytes / 1e9:.1f} GB are free on the disk of {place}"
    if free_bytes < wanted_bytes:
        yield Check("disk", False, f"{free}, a day may take {wanted_bytes / 1e9:.1f} GB: free some, or name another")
    else:
        yield Check("disk", True, free)


def check_hub(settings: Settings, address: str) -> Check:
    """Whether a hub that a feeder sends to can be reached from here."""
    url = urlsplit(address)
    host, port = url.hostname or "", url.port or (443 if url.scheme == "wss" else 80)
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except OSError as error:
        return Check(
            "hub",
            False,
            f"{host} port {port} does not answer ({error.strerror or error}): "
            "is the hub running, does it listen beyond loopback, does its firewall let this machine in?",
        )
    if not settings.access_token and not is_loopback(host):
        return Check("hub", False, "it answers, but lets in no feeder without its token: set ARGUS_TOKEN or token_file")
    return Check("hub", True, f"{host} port {port} answers")


def check_source(settings: Settings) -> Iterator[Check]:
    """Whether the source can be made, and what it knows of itself."""
    if settings.source == "feed":
        yield Check("source", True, "a feeder, which connects to this hub: run its doctor on its own machine")
        return
    if settings.source == "xtquant":
        yield from xtquant_checks(settings)
        return
    try:
        source = make_source(settings)
    except (RecordingError, StartError) as error:
        yield Check("source", False, str(error))
    else:
        yield Check("source", True, f"{source.name}{', which invents its prices' if source.simulated else ''}")


def _check_port(settings: Settings) -> Check:
    try:
        asyncio.run(check_port(settings))
    except StartError as error:
        return Check("port", False, f"{error}: stop what uses it (another hub?), or take another (--port)")
    return Check("port", True, f"{settings.port or 'any'} on {settings.host} is free")
