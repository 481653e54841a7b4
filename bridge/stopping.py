"""How a running program is told to end: by signals, and on Windows by its console.

Windows knows Ctrl-C, Ctrl-Break, the closing of the console's window, logging off and shutting down. After the last
three it ends the process as soon as its handler has returned (or after some five seconds): so that one returns only
when all is done. Not `signal.signal`, whose handler has returned before the program has even begun to stop.
"""

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Final

Until = Callable[[Callable[[], None]], AbstractContextManager[None]]
"""Given what to call on the running event loop when the program is to stop, for the length of a ``with`` block."""

LAST_WORDS_S: Final = 30.0
"""How long a closing console may be kept waiting; Windows itself is less patient."""

if sys.platform == "win32":
    import win32api
    import win32con

    _AT_ONCE: Final = frozenset({win32con.CTRL_C_EVENT, win32con.CTRL_BREAK_EVENT})

    @contextmanager
    def until_signal(stop: Callable[[], None]) -> Iterator[None]:
        """Call ``stop`` on the running event loop at whatever asks this process to end; an `Until`."""
        loop = asyncio.get_running_loop()
        is_done = threading.Event()

        def handle(event: int) -> bool:  # on a thread of its own
            if is_done.is_set():
                return False
            with suppress(RuntimeError):  # the loop has ended by itself meanwhile
                loop.call_soon_threadsafe(stop)
            if event not in _AT_ONCE:
                is_done.wait(LAST_WORDS_S)
            return True

        win32api.SetConsoleCtrlHandler(handle, True)
        try:
            yield
        finally:
            # It stays: Windows lets none be removed while one runs, which would then wait for us, and we for it.
            is_done.set()

else:

    @contextmanager
    def until_signal(stop: Callable[[], None]) -> Iterator[None]:
        """Call ``stop`` on the running event loop at whatever asks this process to end; an `Until`."""
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, stop)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
