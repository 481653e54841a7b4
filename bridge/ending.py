"""Ends tasks for certain."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

AGAIN_S: Final = 0.2


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and return when all have ended; of what they failed with, nobody is told.

    Asked again and again: where a time-out within a task and its cancelling meet, as after the process was paused,
    libraries have been seen to take the one for the other, and the task went on.
    """
    pending = set(tasks)
    for task in pending:
        task.add_done_callback(_look)  # also when whoever waits here is cancelled itself
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_S)


def _look(task: asyncio.Task[Any]) -> None:
    """Else the loop would complain that nobody looked at what a task failed with."""
    if not task.cancelled():
        task.exception()
