"""The hub as a task of the Windows Task Scheduler: lighter than a service, and in the session of the terminal's user.

The task starts when that user logs on. Every minute it is started again where it does not run: "restart on failure" of
the Task Scheduler is for tasks that could not be started, and passes over those that have ended with an error.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

NAMESPACE: Final = "http://schemas.microsoft.com/windows/2004/02/mit/task"
PRIORITY: Final = "4"
"""Normal. By default a task runs below it, behind everything on the desktop."""


def task_xml(command: Sequence[str], folder: Path, user: str) -> bytes:
    r"""The task as ``schtasks /Create /XML`` takes it (UTF-16).

    Args:
        command: program and arguments.
        folder: working directory.
        user: whose session it runs in, ``COMPUTER\name``.
    """
    task = Element("Task", {"version": "1.2", "xmlns": NAMESPACE})
    _add(task, "RegistrationInfo", Description="Argus Hub: real-time ticks over WebSocket")
    logon = SubElement(SubElement(task, "Triggers"), "LogonTrigger")
    _add(logon, "Repetition", Interval="PT1M")
    SubElement(logon, "UserId").text = user
    principal = SubElement(SubElement(task, "Principals"), "Principal", {"id": "Author"})
    for name, value in {"UserId": user, "LogonType": "InteractiveToken", "RunLevel": "LeastPrivilege"}.items():
        SubElement(principal, name).text = value
    _add(
        task,
        "Settings",
        MultipleInstancesPolicy="IgnoreNew",
        DisallowStartIfOnBatteries="false",
        StopIfGoingOnBatteries="false",
        StartWhenAvailable="true",
        ExecutionTimeLimit="PT0S",
        Priority=PRIORITY,
    )
    actions = SubElement(task, "Actions", {"Context": "Author"})
    program, *arguments = command
    _add(actions, "Exec", Command=program, Arguments=subprocess.list2cmdline(arguments), WorkingDirectory=str(folder))
    indent(task)
    text: bytes = tostring(task, encoding="utf-16", xml_declaration=True)
    return text


def _add(parent: Element, tag: str, **texts: str) -> None:
    element = SubElement(parent, tag)
    for name, text in texts.items():
        SubElement(element, name).text = text
