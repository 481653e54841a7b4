"""The one thread that makes all calls of xtdata: they are not safe side by side, and may take minutes or for ever.

It is a daemon: a call that never returns must not keep the process from ending.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

T = TypeVar("T")

CALL_TIMEOUT_S: Final = 60.0
"""How long one call may take. xtdata's own limit for a request is 150 s; in an open market that is too long."""


class CallTimeout(Exception):  # noqa: N818 (it reads as what happened)
    """A call did not return in time. Its thread can't be had back: only another process helps."""


_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class Owner:
    """Runs functions one after the other on its thread; calls of it are made on the event loop."""

    def __init__(self, name: str = "argus-xtdata") -> None:
        self.stuck = ""
        """The call that did not return; empty while all do."""
        self._loop = asyncio.get_running_loop()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def call(self, function: Callable[..., T], *args: Any, timeout_s: float | None = None) -> T:
        """Run a function on the thread and wait for what it returns, or raise what it raises.

        ``timeout_s``: how long it may take; None: `CALL_TIMEOUT_S`.

        Raises:
            CallTimeout: it did not return in time, or one before it did not.
        """
        timeout_s = CALL_TIMEOUT_S if timeout_s is None else timeout_s
        name = getattr(function, "__name__", str(function))
        if self.stuck:
            raise CallTimeout(f"xtdata is still busy with {self.stuck}")
        done: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((lambda: function(*args), done))
        try:
            finished, _ = await asyncio.wait({done}, timeout=timeout_s)
        except asyncio.CancelledError:
            done.cancel()
            raise
        if not finished:
            self.stuck = name
            done.cancel()
            raise CallTimeout(f"xtdata did not return from {name} within {timeout_s:g} s")
        return done.result()

    def stop(self) -> None:
        """End the thread after what it does now."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, done = job
            try:
                result, error = function(), None
            except BaseException as raised:  # whatever it is, it belongs to the caller
                result, error = None, raised
            with suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(_settle, done, result, error)
            del job, function, done, result, error  # nothing of a call outlives it


def _settle(done: "asyncio.Future[Any]", result: Any, error: BaseException | None) -> None:
    if done.done():  # nobody waits for it any more
        return
    if error is not None:
        done.set_exception(error)
    else:
        done.set_result(result)
