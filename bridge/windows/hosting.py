"""The process that Windows starts as the service: a hub or feeder within it, which drains when Windows asks it to stop.

Windows only. The hub runs in this very process, so that Windows sees when it dies, and starts it again.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pywintypes
import servicemanager
import win32service
import win32serviceutil
import winerror

from bridge.stopping import Until
from bridge.windows.command import Command
from bridge.windows.errors import ServiceError
from hub.logfile import FILE_BYTES

Main = Callable[[tuple[str, ...], Until], int]


class HubEnded(Exception):  # noqa: N818 (it reads as what happened)
    """The hub has ended by itself, which it should not: Windows is told of a failure, and starts the service again."""


def host(name: str, command: Command, main: Main) -> None:
    """Be the service until it ends. ``main`` runs the hub and returns its exit code. Raises ServiceError."""
    keep_words(command.log_file.with_suffix(".out"))
    servicemanager.Initialize(name, None)
    servicemanager.PrepareToHostSingle(_service(name, command, main))
    try:
        servicemanager.StartServiceCtrlDispatcher()  # type: ignore[no-untyped-call]
    except pywintypes.error as error:
        if error.winerror == winerror.ERROR_FAILED_SERVICE_CONTROLLER_CONNECT:
            raise ServiceError("run is for Windows itself; to start the service: service.py start") from None
        raise


def keep_words(path: Path) -> None:
    """Have standard output and error in a file: a service has none, and a dying library says why only there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    too_long = path.exists() and path.stat().st_size > FILE_BYTES
    with path.open("wb" if too_long else "ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115


def _service(name: str, command: Command, main: Main) -> type[win32serviceutil.ServiceFramework]:
    """The class that pywin32 makes the service of."""

    class HubService(win32serviceutil.ServiceFramework):
        _svc_name_ = name
        _svc_display_name_ = name

        def __init__(self, args: Any) -> None:
            super().__init__(args)
            self._is_asked = threading.Event()
            self._stop: Callable[[], object] | None = None

        def GetAcceptedControls(self) -> int:  # noqa: N802 (all these are names of pywin32)
            controls: int = super().GetAcceptedControls()  # type: ignore[no-untyped-call]
            return controls | win32service.SERVICE_ACCEPT_PRESHUTDOWN

        def SvcDoRun(self) -> None:  # noqa: N802
            code = main(command.options, self._until)
            if not self._is_asked.is_set():
                raise HubEnded(
                    f"the hub has ended with exit code {code}; see {command.log_file} and the .out beside it"
                )

        def SvcStop(self) -> None:  # noqa: N802
            self.ReportServiceStatus(win32service.SERVICE_STOP_PENDING, waitHint=int(command.stop_s * 1000))
            self._is_asked.set()
            if self._stop is not None:
                with suppress(RuntimeError):  # the loop has ended by itself meanwhile
                    self._stop()

        def SvcOtherEx(self, control: int, event_type: int, data: Any) -> None:  # noqa: N802
            if control == win32service.SERVICE_CONTROL_PRESHUTDOWN:
                self.SvcStop()

        @contextmanager
        def _until(self, stop: Callable[[], None]) -> Iterator[None]:
            loop = asyncio.get_running_loop()
            self._stop = lambda: loop.call_soon_threadsafe(stop)
            if self._is_asked.is_set():  # before there was anything to stop
                stop()
            yield

    return HubService
