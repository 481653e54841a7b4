"""Notices that whoever started this process has gone: then the pipe that is its standard input ends.

Works however the parent ended, on every system, and needs no process ids, which may be given to another meanwhile.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from contextlib import suppress


def when_stdin_ends(stop: Callable[[], None]) -> None:
    """Call ``stop`` on the running event loop when standard input has ended, or can't be read."""
    loop = asyncio.get_running_loop()

    def watch() -> None:
        with suppress(OSError):
            while os.read(0, 4096):  # not sys.stdin, whose lock would be held at the end of the interpreter
                continue
        with suppress(RuntimeError):  # the loop has ended by itself meanwhile
            loop.call_soon_threadsafe(stop)

    threading.Thread(target=watch, name="argus-stdin", daemon=True).start()
