"""Installs, starts, stops and removes the service, by the Service Control Manager. Windows only."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import pywintypes
import win32service as scm
import winerror

from bridge.windows.command import Command
from bridge.windows.errors import ServiceError

DISPLAY_NAME: Final = "Argus Hub"
DESCRIPTION: Final = "Real-time ticks of China's A-share market over WebSocket"
RESTARTS_MS: Final = (1_000, 10_000, 60_000)
"""Pauses before it is started again after failures that follow each other; the last one holds from then on."""
RESET_S: Final = 3_600
"""After so long without a failure, the pauses begin anew."""
START_S: Final = 60.0
POLL_S: Final = 0.2

_WHAT_TO_DO: Final = {
    winerror.ERROR_ACCESS_DENIED: "Windows lets only administrators do that: open the window by 'Run as administrator'",
    winerror.ERROR_SERVICE_DOES_NOT_EXIST: "there is no service {name}: install it first",
    winerror.ERROR_SERVICE_EXISTS: "there is a service {name} already: remove it first",
    winerror.ERROR_SERVICE_ALREADY_RUNNING: "the service {name} is running already",
    winerror.ERROR_SERVICE_NOT_ACTIVE: "the service {name} is not running",
    winerror.ERROR_SERVICE_MARKED_FOR_DELETE: "the service {name} is removed as soon as the Services window is closed",
    winerror.ERROR_SERVICE_REQUEST_TIMEOUT: "the service {name} did not answer: see its log",
}

Say = Callable[[str], object]


def install(name: str, command: Command, say: Say) -> None:
    """Have Windows run the command from now on after every start of the machine. Raises ServiceError."""
    line = subprocess.list2cmdline(command.run_by_service(name))
    with _errors(name):
        manager = scm.OpenSCManager(None, None, scm.SC_MANAGER_CREATE_SERVICE)
        service = scm.CreateService(
            manager,
            name,
            DISPLAY_NAME if name == DISPLAY_NAME.replace(" ", "") else f"{DISPLAY_NAME} ({name})",
            scm.SERVICE_ALL_ACCESS,
            scm.SERVICE_WIN32_OWN_PROCESS,
            scm.SERVICE_AUTO_START,
            scm.SERVICE_ERROR_NORMAL,
            line,
            None,
            False,
            None,
            None,
            None,
        )
        actions = [(scm.SC_ACTION_RESTART, pause_ms) for pause_ms in RESTARTS_MS]
        restarts = {"ResetPeriod": RESET_S, "RebootMsg": "", "Command": "", "Actions": actions}
        stop_ms = int(command.stop_s * 1000)
        for what, level, value in (
            ("a description", scm.SERVICE_CONFIG_DESCRIPTION, DESCRIPTION),
            ("a restart after a crash", scm.SERVICE_CONFIG_FAILURE_ACTIONS, restarts),
            ("a restart after an error", scm.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, True),
            ("time to drain when Windows shuts down", scm.SERVICE_CONFIG_PRESHUTDOWN_INFO, stop_ms),
        ):
            _configure(service, what, level, value, say)
    say(f"the service {name} is installed; its log will be {command.log_file}")


def start(name: str, say: Say) -> None:
    """Start it, and wait until it runs. Raises ServiceError."""
    with _errors(name):
        service = _open(name)
        scm.StartService(service, None)
        state = _wait(service, scm.SERVICE_START_PENDING, START_S)
    if state != scm.SERVICE_RUNNING:
        raise ServiceError(f"the service {name} has ended at once: see its log")
    say(f"the service {name} is running")


def stop(name: str, say: Say) -> None:
    """Stop it, and wait until its clients are drained. Raises ServiceError."""
    with _errors(name):
        service = _open(name)
        scm.ControlService(service, scm.SERVICE_CONTROL_STOP)
        state = _wait(service, scm.SERVICE_STOP_PENDING, _status(service)["WaitHint"] / 1000)
    if state != scm.SERVICE_STOPPED:
        raise ServiceError(f"the service {name} did not stop in its time: see its log")
    say(f"the service {name} has stopped")


def remove(name: str, say: Say) -> None:
    """Stop it where it runs, and have Windows forget it. Raises ServiceError."""
    with _errors(name):
        service = _open(name)
        is_running = _status(service)["CurrentState"] != scm.SERVICE_STOPPED
    if is_running:
        stop(name, say)
    with _errors(name):
        scm.DeleteService(service)
    say(f"the service {name} is removed; its data and its log stay")


def _configure(service: Any, what: str, level: int, value: object, say: Say) -> None:
    try:
        scm.ChangeServiceConfig2(service, level, value)
    except pywintypes.error as error:
        if error.winerror != winerror.ERROR_INVALID_LEVEL:
            raise
        say(f"note: this Windows knows no such thing as {what}: the service goes without")


def _open(name: str) -> Any:
    return scm.OpenService(scm.OpenSCManager(None, None, scm.SC_MANAGER_CONNECT), name, scm.SERVICE_ALL_ACCESS)


def _status(service: Any) -> Mapping[str, int]:
    status: Any = scm.QueryServiceStatusEx(service)
    found: Mapping[str, int] = status
    return found


def _wait(service: Any, pending: int, patience_s: float) -> int:
    """Wait while it is in a state; the state that it is in then, or still."""
    deadline_s = time.monotonic() + patience_s
    while True:
        state = _status(service)["CurrentState"]
        if state != pending or time.monotonic() >= deadline_s:
            return state
        time.sleep(POLL_S)


@contextmanager
def _errors(name: str) -> Iterator[None]:
    try:
        yield
    except pywintypes.error as error:
        known = _WHAT_TO_DO.get(error.winerror)
        raise ServiceError(known.format(name=name) if known else f"{error.funcname}: {error.strerror}") from None
