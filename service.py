"""The hub or feeder as a Windows service: ``install`` with options of ``run_hub.py``, ``start``, ``stop``, ``remove``.

``task`` writes a task for the Task Scheduler instead. ``docs/windows.md`` tells when to use which.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bridge.windows.command import make_command, unseen_variables
from bridge.windows.errors import ServiceError
from bridge.windows.task import task_xml
from hub.config import SettingsError

EXIT_FAILED = 1
EXIT_USAGE = 2
NAME = "ArgusHub"


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says. Returns the exit code."""
    if os.name != "nt":
        return _fail("services of this kind are for Windows; here use systemd, or `make run`", EXIT_USAGE)
    asked, options = _parser().parse_known_args(argv)
    if options and asked.verb not in ("install", "task", "run"):
        return _fail(f"{asked.verb} takes no options of the hub: {options[0]}", EXIT_USAGE)
    try:
        _do(asked, options)
    except (SettingsError, ServiceError, OSError) as error:
        return _fail(str(error), EXIT_USAGE if isinstance(error, SettingsError) else EXIT_FAILED)
    return 0


def _do(asked: argparse.Namespace, options: list[str]) -> None:
    if asked.verb == "run":
        from bridge.windows.hosting import host
        from run_hub import main as run_hub

        os.chdir(asked.folder)
        host(asked.name, make_command(options, asked.folder), run_hub)
        return
    if asked.verb == "task":
        _note_variables()
        command = make_command(options, Path.cwd())
        user = f"{os.environ['USERDOMAIN']}\\{os.environ['USERNAME']}"
        asked.output.write_bytes(task_xml(command.run_by_task(), command.folder, user))
        print(f'{asked.output} is written; register it: schtasks /Create /TN {asked.name} /XML "{asked.output}"')  # noqa: T201
        return
    from bridge.windows import control

    if asked.verb == "install":
        _note_variables()
        control.install(asked.name, make_command(options, Path.cwd()), print)
    else:
        getattr(control, asked.verb)(asked.name, print)


def _note_variables() -> None:
    unseen = unseen_variables(os.environ)
    if unseen:
        print(f"note: {', '.join(unseen)} will not be seen there: use a file (--config, --token-file)")  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="service.py",
        description="The hub or the feeder as a Windows service, started with the machine and after a failure.",
        epilog="install and task take the options of run_hub.py besides, such as --config hub.toml.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "verb", choices=("install", "start", "stop", "remove", "task", "run"), help="run: by Windows only"
    )
    parser.add_argument("--name", default=NAME, help=f"of the service or the task (default {NAME})")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, default=Path("argus-hub-task.xml"), help="task: file to write")
    return parser


def _fail(text: str, code: int) -> int:
    print(f"service.py: {text}", file=sys.stderr)  # noqa: T201 - the user's answer
    return code


if __name__ == "__main__":
    sys.exit(main())
