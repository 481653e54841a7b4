"""The hub's own source as a feeder in a child process: neither slows down the other, and a crash stays there.

The child is this program in the role of a feeder. Its standard input is a pipe from the hub, at whose end it ends in
order; so it never outlives its hub, however that ended.
"""

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from hub.settings import Settings

SOURCE_SETTINGS: Final = (
    *("source", "symbols", "interval", "seed", "speed", "sim_start", "faults", "recording"),
    *("feed_buffer_bytes", "log_format", "log_level"),
)
"""Settings of the hub that are the child's too."""

XTQUANT_SETTINGS: Final = (
    *("data", "xtquant_folder", "xtquant_stale_after_s", "xtquant_refresh_at", "xtquant_probe_at"),
    *("max_subscriptions", "subscription_grace_s"),
)
"""The same for the source xtquant."""

XTQUANT_LISTS: Final = (
    *("xtquant_addresses", "xtquant_sectors", "xtquant_universes"),
    *("xtquant_servers", "xtquant_markets"),
)
"""The same for lists, which may be empty where the default is not: they go through the environment."""

FIRST_PAUSE_S, LAST_PAUSE_S = 1.0, 30.0
RAN_WELL_S: Final = 60.0
"""After a run of this length, a death is a new mishap and the pauses begin anew."""
FINISH_S: Final = 2.0
"""What the child gives the hub at its end to acknowledge what waits."""
END_S: Final = 5.0
"""What the hub gives the child to end in order."""
EXIT_USAGE: Final = 2


_logger = logging.getLogger("argus.isolation")


class ChildRefused(Exception):  # noqa: N818 (it reads as what happened)
    """The child found the settings wrong at its first start, and said so on standard error."""


def child_command(settings: Settings, program: Path, address: tuple[str, int]) -> list[str]:
    """The command that runs the hub's source as a feeder to the hub itself, which listens on ``address``."""
    return feeder_command(settings, program, own_url(address), FINISH_S)


def own_url(address: tuple[str, int]) -> str:
    """The address of the feed of a hub that listens on ``address``, from the same machine."""
    host, port = address
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - where a socket for all listens, too
    shown = f"[{here}]" if ":" in here else here
    return f"ws://{shown}:{port}/feed"


def feeder_command(settings: Settings, program: Path, url: str, finish_s: float, *more: str) -> list[str]:
    """The command that runs the source as a feeder to a hub, and ends with its standard input.

    ``more``: names of further settings that are the child's too.
    """
    command = [sys.executable, str(program), "--role", "feeder", "--to", url]
    command += ["--end-with-stdin", "--drain-s", str(finish_s)]
    names = [*SOURCE_SETTINGS, *(XTQUANT_SETTINGS if settings.source == "xtquant" else ()), *more]
    given = settings.model_dump(mode="json", include=set(names))
    for name in names:
        values = given[name] if isinstance(given[name], list) else [given[name]]
        for value in values:
            if value is not None:
                command.append(f"--{name.replace('_', '-')}={value}")
    if settings.log_file is not None:  # two processes can't set one file aside
        command.append(f"--log-file={settings.log_file.with_stem(f'{settings.log_file.stem}.source')}")
    return command


def child_environment(environ: Mapping[str, str], token: str) -> dict[str, str]:
    """The hub's environment without its own settings, and with the token, which no other user must see."""
    kept = {name: value for name, value in environ.items() if not name.upper().startswith("ARGUS_")}
    return kept | {"ARGUS_TOKEN": token}


def source_variables(settings: Settings) -> dict[str, str]:
    """Variables for the source in the child: lists, and what no other user must see."""
    if settings.source != "xtquant":
        return {}
    lists = settings.model_dump(mode="json", include=set(XTQUANT_LISTS))
    variables = {f"ARGUS_{name.upper()}": json.dumps(lists[name]) for name in XTQUANT_LISTS}
    if settings.quote_token:
        variables["ARGUS_XTQUANT_TOKEN"] = settings.quote_token
    return variables


class ChildFeeder:
    """Keeps a feeder running.

    Args:
        command: what to run; see `child_command`.
        environ: its whole environment.
        starts_again: whether a child that has died is started again; not for a source that would begin anew.
        pause_s: how long to wait after so many deaths in a row.
    """

    def __init__(
        self,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        starts_again: bool = True,
        pause_s: Callable[[int], float] = lambda deaths: min(FIRST_PAUSE_S * 2.0**deaths, LAST_PAUSE_S),
    ) -> None:
        self.starts = 0
        """How many times it was started."""
        self.pid: int | None = None
        """Of the child that runs; None while none does."""
        self._command = command
        self._environ = environ
        self._starts_again = starts_again
        self._pause_s = pause_s

    async def run(self) -> None:
        """Run until cancelled, and then end the child in order.

        Returns when the child has ended and is not started again. Raises ChildRefused where the first one found its
        settings wrong, and OSError where the first one can't be started at all.
        """
        loop = asyncio.get_running_loop()
        deaths = 0
        while True:
            began_s = loop.time()
            code = await self._live()
            if code == EXIT_USAGE and self.starts == 1:
                raise ChildRefused("the isolated source finds its settings wrong; see the line above")
            if not self._starts_again:
                _logger.error("the isolated source has ended with code %d and is left ended", code)
                return
            if loop.time() - began_s >= RAN_WELL_S:
                deaths = 0
            pause_s = self._pause_s(deaths)
            deaths += 1
            _logger.error("the isolated source has ended with code %d; it is started again in %.0f s", code, pause_s)
            await asyncio.sleep(pause_s)

    async def _live(self) -> int:
        """One life of the child, up to its exit code."""
        self.starts += 1
        child = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # its log goes to the hub's standard error
            **_apart(),
        )
        self.pid = child.pid
        try:
            return await child.wait()
        finally:
            self.pid = None
            if child.returncode is None:
                await _end(child)


async def supervise(settings: Settings, program: Path, stopped: asyncio.Event) -> None:
    """Keep a feeder to a hub elsewhere running in a child process until ``stopped`` is set.

    Raises ChildRefused and OSError as `ChildFeeder.run` does.
    """
    child = ChildFeeder(
        feeder_command(settings, program, settings.to, settings.drain_s, "record"),
        child_environment(os.environ, settings.access_token) | source_variables(settings),
    )
    running, stopping = asyncio.create_task(child.run()), asyncio.create_task(stopped.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (running, stopping):
        task.cancel()
    await asyncio.wait({running, stopping})
    if not running.cancelled():
        running.result()


def _apart() -> Mapping[str, Any]:
    """How a child is started that Ctrl-C does not reach: that is the hub's affair, which ends the child in its time."""
    if sys.platform == "win32" and isinstance(asyncio.get_running_loop(), asyncio.ProactorEventLoop):
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}  # winloop refuses the flags, and makes of this a process without a console


async def _end(child: asyncio.subprocess.Process) -> None:
    """End a child in order, or without mercy where it takes too long."""
    if child.stdin is not None:
        child.stdin.close()
    ending = asyncio.ensure_future(child.wait())
    # Not `asyncio.timeout`: in a task that is being cancelled, Python 3.11.2 gives its end as another cancellation.
    await asyncio.wait({ending}, timeout=END_S)
    if not ending.done():
        _logger.error("the isolated source did not end within %g s and is killed", END_S)
        with suppress(ProcessLookupError):
            child.kill()
    await ending
