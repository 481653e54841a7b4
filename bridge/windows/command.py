"""What Windows is to run, with everything in it: a service sees neither the window nor the folder it was made in."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hub.config import PREFIX, load
from hub.settings import Settings

SERVICE_PROGRAM: Final = Path(__file__).parents[2] / "service.py"
HUB_PROGRAM: Final = Path(__file__).parents[2] / "run_hub.py"
STOP_MARGIN_S: Final = 15.0
"""What stopping may take beside the drain: a source in a child process is heard out, the journal is closed."""


@dataclass(frozen=True, slots=True)
class Command:
    """A hub or feeder for Windows to run.

    Attributes:
        folder: working directory, which relative paths in the options start from.
        options: those of ``run_hub.py``, complete, with a log file.
        log_file: as the options say, absolute.
        stop_s: how long stopping may take.
    """

    folder: Path
    options: tuple[str, ...]
    log_file: Path
    stop_s: float

    def run_by_service(self, name: str) -> list[str]:
        """The program and its arguments, for the service of this name."""
        return [
            sys.executable,
            str(SERVICE_PROGRAM),
            "run",
            "--name",
            name,
            "--folder",
            str(self.folder),
            *self.options,
        ]

    def run_by_task(self) -> list[str]:
        """The same for the Task Scheduler: without a console window, which somebody would close."""
        interpreter = Path(sys.executable)
        windowless = interpreter.with_name(interpreter.name.replace("python", "pythonw", 1))
        return [str(windowless), str(HUB_PROGRAM), *self.options]


def make_command(options: Sequence[str], folder: Path) -> Command:
    """Check the options and add what is missing. Raises SettingsError.

    They must be whole without the variables of this environment, which whatever Windows starts does not see.
    """
    settings = load(options, {})
    if settings.log_file is None:
        name = "hub" if settings.role == "all" else settings.role
        options = [*options, f"--log-file={settings.data / 'logs' / f'{name}.log'}"]
        settings = load(options, {})
    return Command(folder, tuple(options), _log_file(settings, folder), settings.drain_s + STOP_MARGIN_S)


def unseen_variables(environ: Mapping[str, str]) -> list[str]:
    """The hub's variables that are set here, where whatever Windows starts does not see them."""
    return sorted(name for name in environ if name.upper().startswith(PREFIX))


def _log_file(settings: Settings, folder: Path) -> Path:
    assert settings.log_file is not None  # noqa: S101 - see above
    return folder / settings.log_file
